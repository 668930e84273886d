"""The market's awards, on the reference chain: each bid is awarded once, or its match makes room."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from deai.ask import Capacity, Prices
from deai.chain import CallSkipped, JobAwarded, Receipt
from deai.errors import BadField, ChainUnavailable, NoReason, WrongRequest, WrongState
from deai.job import Address, JobId, JobState, Wei
from deai.signing import sign_jobs
from deai.wire import Observation, Order
from deai_market import awards, matcher, queries
from deai_market.market import Market
from deai_market.tables import MatchRow
from tests.market_world import COIN, DAI, RULES, World

NO_GAS = BadField("gas", 0, "the account has too little of the chain's coin")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def market(world: World) -> Iterator[Market]:
    market = world.market()
    market.start()
    yield market
    market.close()


@pytest.fixture
def only_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The market matches when it is woken, and never by itself."""
    for name in ("_ROUND_SECONDS", "_REST_SECONDS"):
        monkeypatch.setattr(matcher, name, 60.0)


def eventually(look: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if look():
            return
        time.sleep(0.01)
    raise AssertionError("it never came to be")


def matched(world: World, market: Market) -> JobId:
    """The id of an order that waits for the bid of `world.provider`; `world.other` would be next."""
    market.book.offer(world.ask())
    market.book.offer(world.ask(world.other, prices={DAI.address: Prices(job=COIN)}))
    job = market.book.submit(world.order())
    eventually(lambda: bool(market.matches(Address(world.provider.address), 0).matches))
    return job


def take(world: World, market: Market, job: JobId) -> None:
    """As the route does."""
    number = market.book.bid(world.bid(job))
    if number is not None:
        market.awards.send(number)


def is_awarded(world: World, job: JobId) -> Callable[[], bool]:
    return lambda: world.chain.state(job)[0] == JobState.AWARDED


def is_offered_on(world: World, market: Market) -> Callable[[], bool]:
    """Whether the next provider has the match."""
    return lambda: bool(market.matches(Address(world.other.address), 0).matches)


def instead(world: World, act: Callable[[Callable[[], Receipt]], Receipt]) -> list[int]:
    """From now on, awards are what `act` makes of the real one; gives a list that grows with each."""
    real, calls = world.chain.award, list[int]()

    def award(*values: Any) -> Receipt:
        calls.append(len(calls))
        return act(lambda: real(*values))

    world.chain.award = award  # type: ignore[method-assign, assignment]
    return calls


def test_a_key_without_gas_awards_once_it_is_filled(world: World, market: Market) -> None:
    job, empty = matched(world, market), [True]

    def act(real: Callable[[], Receipt]) -> Receipt:
        if empty[0]:
            raise NO_GAS
        return real()

    calls = instead(world, act)
    take(world, market, job)
    eventually(lambda: len(calls) > 1)
    assert not is_offered_on(world, market)()
    empty[0] = False
    eventually(is_awarded(world, job))


def test_a_key_that_stays_without_gas_frees_the_job_when_the_bid_expires(
    world: World, market: Market
) -> None:
    job = matched(world, market)

    def act(real: Callable[[], Receipt]) -> Receipt:
        raise NO_GAS

    calls = instead(world, act)
    take(world, market, job)
    eventually(lambda: bool(calls))
    world.chain.advance(101)
    eventually(is_offered_on(world, market))


@pytest.mark.usefixtures("only_woken")
def test_the_end_of_a_run_makes_room_for_the_next_job_at_once(world: World, market: Market) -> None:
    provider = Address(world.provider.address)
    market.book.offer(world.ask(capacity=Capacity(cpu_millis=4_000, memory_mib=8_192, disk_mib=8_192)))
    first = market.book.submit(world.order())
    eventually(lambda: bool(market.matches(provider, 0).matches))
    take(world, market, first)
    eventually(lambda: market.job(first).provider == provider)
    second = market.book.submit(world.order())
    eventually(lambda: market.job(second).note == "every fitting provider is busy")

    market.observe(first, provider, Observation(event="Uploading"))

    eventually(lambda: [each.id for each in market.matches(provider, 0).matches] == [second])


@pytest.mark.usefixtures("only_woken")
@pytest.mark.parametrize(
    "error", [WrongRequest("transaction 0x12 was mined, but reverted"), BadField("price", 1, "is wrong")]
)
def test_an_award_refused_for_any_other_reason_goes_to_the_next_ask_at_once(
    world: World, market: Market, error: WrongRequest
) -> None:
    job = matched(world, market)

    def act(real: Callable[[], Receipt]) -> Receipt:
        raise error

    calls = instead(world, act)
    take(world, market, job)
    eventually(is_offered_on(world, market))
    assert calls == [0]


def test_an_award_that_never_returns_frees_the_job_a_while_after_its_bid_expired(
    world: World, market: Market
) -> None:
    job, end = matched(world, market), threading.Event()

    def act(real: Callable[[], Receipt]) -> Receipt:
        end.wait()
        raise NO_GAS

    calls = instead(world, act)
    take(world, market, job)
    eventually(lambda: bool(calls))
    world.chain.advance(100 + 59)
    time.sleep(1.2)
    assert not is_offered_on(world, market)()
    world.chain.advance(1)
    eventually(is_offered_on(world, market))
    end.set()


def test_an_award_that_a_reorg_undid_before_it_was_indexed_is_sent_again(
    world: World, market: Market
) -> None:
    job = matched(world, market)

    def act(real: Callable[[], Receipt]) -> Receipt:
        receipt = real()
        if calls == [0]:
            world.chain.reorg(1)
        return receipt

    calls = instead(world, act)
    take(world, market, job)
    eventually(lambda: len(calls) == 2)
    eventually(is_awarded(world, job))


def test_an_award_undone_before_it_was_indexed_whose_bid_expired_goes_to_the_next_ask(
    world: World, market: Market
) -> None:
    job = matched(world, market)

    def act(real: Callable[[], Receipt]) -> Receipt:
        receipt = real()
        world.chain.reorg(1)
        world.chain.advance(101)
        return receipt

    calls = instead(world, act)
    take(world, market, job)
    eventually(is_offered_on(world, market))
    assert calls == [0]


def test_the_same_bid_many_times_is_awarded_once(world: World, market: Market) -> None:
    job = matched(world, market)

    def act(real: Callable[[], Receipt]) -> Receipt:
        time.sleep(1.5)  # as long as a block takes; a sweep comes in between
        return real()

    calls = instead(world, act)
    number = market.book.bid(world.bid(job))
    assert number is not None
    for _ in range(6):
        market.awards.send(number)
        assert market.book.bid(world.bid(job)) is None
    eventually(is_awarded(world, job))
    eventually(lambda: market.job(job).state == "Awarded")
    assert calls == [0]


def test_an_award_that_was_mined_counts_though_a_second_one_was_refused(world: World, market: Market) -> None:
    job = matched(world, market)

    def act(real: Callable[[], Receipt]) -> Receipt:
        receipt = real()
        if calls == [0]:
            raise WrongState(job, JobState.AWARDED)
        return receipt

    calls = instead(world, act)
    take(world, market, job)
    eventually(lambda: market.job(job).state == "Awarded")
    # It is a match still: were it dropped, a reorg would end it.
    world.chain.reorg(1)
    eventually(is_awarded(world, job))
    assert calls == [0, 1]


# Several at once.


@pytest.fixture
def idle(world: World) -> Iterator[Market]:
    """A market whose awards the test sends itself."""
    market = world.market()
    yield market
    market.close()


ROOM = Capacity(cpu_millis=400_000, memory_mib=1 << 20, disk_mib=1 << 20, slots=200)


def bid_for(world: World, market: Market, orders: list[Order]) -> list[JobId]:
    """Submits them all, and takes a bid for each."""
    market.book.offer(world.ask(capacity=ROOM))
    jobs = [market.book.submit(order) for order in orders]
    market._matcher.round()
    for job in jobs:
        take(world, market, job)
    return jobs


def send(market: Market) -> None:
    """One turn of a sending thread."""
    market.awards._send(market.awards._take(), threading.Event())


def cheap(world: World, count: int) -> list[Order]:
    return [world.order(price_cap=Wei(COIN), price_start=Wei(COIN)) for _ in range(count)]


def reason(market: Market, job: JobId) -> str:
    """Why the job's newest match was dropped."""
    with market._database.read() as session:
        assert queries.live_match(session, job) is None
        row = session.exec(select(MatchRow).where(MatchRow.job == job)).one()
        return row.reason or ""


def test_awards_that_are_due_together_are_one_transaction(world: World, idle: Market) -> None:
    jobs, before = bid_for(world, idle, cheap(world, 5)), world.chain.head().number
    send(idle)
    assert world.chain.head().number == before + 1
    found = world.chain.events(before + 1, before + 1)
    assert [event.id for event in found if isinstance(event, JobAwarded)] == jobs
    idle.indexer.catch_up()
    assert {idle.job(job).state for job in jobs} == {"Awarded"}


def test_a_lone_award_is_a_plain_one(world: World, idle: Market) -> None:
    calls = instead(world, lambda real: real())
    (job,) = bid_for(world, idle, cheap(world, 1))
    send(idle)
    assert (calls, world.chain.state(job)[0]) == ([0], JobState.AWARDED)


def test_one_refused_award_of_a_batch_makes_room_and_the_others_stand(world: World, idle: Market) -> None:
    orders = cheap(world, 3)
    jobs = bid_for(world, idle, orders)
    world.chain.cancel(world.submitter, orders[1].job.value())
    # It is refused by the batch itself, not seen before.
    state, asked = world.chain.state, list[JobId]()

    def late(job: JobId) -> Any:
        asked.append(job)
        return (JobState.UNKNOWN, None) if asked.count(job) == 1 else state(job)

    world.chain.state = late  # type: ignore[method-assign]
    before = world.chain.head().number
    send(idle)
    (skipped,) = [e for e in world.chain.events(before + 1, before + 1) if isinstance(e, CallSkipped)]
    assert skipped.place == 1
    idle.indexer.catch_up()
    assert [idle.job(job).state for job in jobs] == ["Awarded", "Cancelled", "Awarded"]


def test_an_award_that_its_batch_skips_says_why(world: World, idle: Market) -> None:
    orders = [*cheap(world, 2), world.order(price_start=Wei(COIN), bond=Wei(5 * COIN))]
    jobs = bid_for(world, idle, orders)
    world.chain.withdraw(world.provider, DAI.address, Address(world.provider.address), Wei(95 * COIN))
    send(idle)
    assert [world.chain.state(job)[0] for job in jobs[:2]] == [JobState.AWARDED] * 2
    assert reason(idle, jobs[2]).startswith("the award was refused: InsufficientBalance")


def test_an_award_mined_past_its_batch_is_no_refusal(world: World, idle: Market) -> None:
    orders = cheap(world, 2)
    jobs = bid_for(world, idle, orders)
    batch = world.chain.batch

    def slow(*values: Any, **options: Any) -> Receipt:
        world.award(orders[0])  # somebody else's, or our own of before a restart
        return batch(*values, **options)

    world.chain.batch = slow  # type: ignore[method-assign]
    send(idle)
    idle.indexer.catch_up()
    assert [idle.job(job).state for job in jobs] == ["Awarded"] * 2
    with idle._database.read() as session:
        assert all(queries.live_match(session, job) for job in jobs)


@pytest.mark.parametrize("error", [NO_GAS, ChainUnavailable("the network broke here")])
def test_a_batch_that_may_succeed_later_is_sent_again(
    world: World, idle: Market, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awards, "_RETRY_SECONDS", 0.01)
    jobs = bid_for(world, idle, cheap(world, 2))
    batch, calls = world.chain.batch, list[int]()

    def broken(*values: Any, **options: Any) -> Receipt:
        calls.append(1)
        if len(calls) < 3:
            raise error
        return batch(*values, **options)

    world.chain.batch = broken  # type: ignore[method-assign]
    send(idle)
    assert [world.chain.state(job)[0] for job in jobs] == [JobState.AWARDED] * 2


def test_a_batch_that_is_refused_as_a_whole_is_sent_one_by_one(world: World, idle: Market) -> None:
    jobs = bid_for(world, idle, cheap(world, 3))

    def refuse(*values: Any, **options: Any) -> Receipt:
        raise NoReason(1)

    world.chain.batch = refuse  # type: ignore[method-assign]
    send(idle)
    assert [world.chain.state(job)[0] for job in jobs] == [JobState.AWARDED] * 3


def test_a_batch_has_an_end(world: World, idle: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awards, "MAX_BATCH", 4)
    jobs = bid_for(world, idle, cheap(world, 6))
    send(idle)
    assert [world.chain.state(job)[0] == JobState.AWARDED for job in jobs] == [True] * 4 + [False] * 2
    send(idle)
    assert {world.chain.state(job)[0] for job in jobs} == {JobState.AWARDED}


def test_what_is_owed_after_a_restart_goes_as_one_batch(world: World) -> None:
    first = world.market()
    jobs = bid_for(world, first, cheap(world, 3))
    first.close()
    second, before = world.market(), world.chain.head().number
    second.awards.sweep()
    send(second)
    second.close()
    assert world.chain.head().number == before + 1
    assert {world.chain.state(job)[0] for job in jobs} == {JobState.AWARDED}


def test_jobs_signed_together_are_awarded_each_by_its_proof(world: World, idle: Market) -> None:
    plain = cheap(world, 5)
    signatures = sign_jobs(world.submitter, [order.job.value() for order in plain], world.domain)
    assert len({signature[:64] for signature in signatures}) == 1
    orders = [
        order.model_copy(update={"signature": signature})
        for order, signature in zip(plain, signatures, strict=True)
    ]
    jobs = bid_for(world, idle, orders)
    send(idle)
    assert {world.chain.state(job)[0] for job in jobs} == {JobState.AWARDED}


# Gas.


def test_a_key_that_is_low_on_gas_is_said_once(
    world: World, idle: Market, caplog: pytest.LogCaptureFixture
) -> None:
    gas = Address(world.gas.address)

    def look() -> list[str]:
        idle.awards._gas_due = 0.0
        idle.awards._look_at_gas()
        return [line for line in caplog.messages if "fill it up" in line]

    assert look() == []
    world.chain.set_gas(gas, Wei(RULES.low_gas - 1))
    assert len(look()) == len(look()) == 1
    world.chain.set_gas(gas, Wei(RULES.low_gas))
    look()
    world.chain.set_gas(gas, Wei(1))
    assert len(look()) == 2
