"""The market's awards, on the reference chain: each bid is awarded once, or its match makes room."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deai.ask import Prices
from deai.chain import Receipt
from deai.errors import BadField, WrongRequest, WrongState
from deai.job import Address, JobId, JobState
from deai_market.market import Market
from tests.market_world import COIN, DAI, World

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
