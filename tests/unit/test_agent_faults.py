"""What goes wrong around a provider costs it no bond and no pay."""

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deai import unixfs
from deai.chain import JobAwarded
from deai.cid import Cid
from deai.clock import ChainClock
from deai.errors import ChainUnavailable, EngineUnavailable, StoreUnavailable, WrongRequest
from deai.job import Address, Bid, JobId, JobState, Outcome, Timestamp, Wei
from deai.spec import Image
from deai.testing import DAI
from deai.wire import JobJson, Match, Observation, SignedBid
from deai_provider import agent, bidding, policy, workshop
from deai_provider.executor import Run
from deai_provider.ledger import Entry, Step
from deai_provider.testing import Script
from tests.unit import provider_world
from tests.unit.provider_world import DEPOSIT, MATCHER, POLL, PROVIDER, SUBMITTER, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """By how much the machine's clock is wrong, in seconds."""
    off = [0.0]
    monkeypatch.setattr(provider_world, "ChainClock", lambda: ChainClock(lambda: time.time() + off[0]))
    return off


def hang(_: Run) -> Script:
    return Script(seconds=None, log=b"working\n")


def award(world: World, entry: Entry) -> None:
    """Somebody sends the award of the bid that the row tells of."""
    assert entry.price is not None
    assert entry.expires_at is not None
    assert entry.bid_signature is not None
    bid = Bid(
        job=entry.id, provider=Address(PROVIDER.address), price=entry.price, expires_at=entry.expires_at
    )
    world.chain.award(MATCHER, entry.job, entry.signature, bid, entry.bid_signature)


def refuse_bids(world: World, times: int | None = None) -> list[SignedBid]:
    """The market refuses that many bids, or all. Returns those it saw."""
    seen: list[SignedBid] = []
    take = world.market.bid

    def bid(signed: SignedBid) -> None:
        seen.append(signed)
        if times is None or len(seen) <= times:
            raise WrongRequest("too many open orders")
        take(signed)

    world.market.bid = bid  # type: ignore[method-assign]
    return seen


# Whatever else is away, the pay is collected and late awards are served.


def market_down(world: World) -> None:
    world.market.down = True


def engine_down(world: World) -> None:
    def adopt() -> list[JobId]:
        raise EngineUnavailable("cannot connect to the engine")

    world.executor.adopt = adopt  # type: ignore[method-assign]


@pytest.mark.parametrize("fail", [market_down, engine_down])
def test_while_the_market_or_the_engine_is_away_a_delivered_job_is_settled_and_its_pay_withdrawn(
    world: World, fail: Callable[[World], None]
) -> None:
    world.rules = replace(world.rules, withdraw_above={DAI.address: DEPOSIT})
    before = world.chain.token_balance(DAI.address, Address(PROVIDER.address))
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.DELIVERED)
    fail(world)
    world.chain.advance(61)
    with world.agent():
        world.reach(id_, Step.DONE)
        world.until(lambda: world.chain.token_balance(DAI.address, Address(PROVIDER.address)) > before)
    assert world.chain.state(id_) == (JobState.CLOSED, Outcome.PAID)


def test_a_delivered_job_that_cannot_be_looked_at_does_not_keep_others_from_being_settled(
    world: World,
) -> None:
    with world.agent():
        bad = world.submit()
        world.reach(bad, Step.DELIVERED)
        good = world.submit()
        world.reach(good, Step.DELIVERED)
    state = world.chain.state

    def broken(id_: JobId) -> tuple[JobState, Outcome]:
        if id_ == bad:
            raise ValueError("an answer that nobody expected")
        return state(id_)

    world.chain.state = broken  # type: ignore[method-assign, assignment]
    world.chain.advance(61)
    with world.agent():
        world.reach(good, Step.DONE)
    assert world.reach(bad, Step.DELIVERED).step is Step.DELIVERED


def test_a_job_in_a_token_that_is_no_longer_served_is_still_paid(world: World) -> None:
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.DELIVERED)
    world.rules = replace(world.rules, prices={}, confirm_unit={}, confirmations=1)
    world.chain.advance(61)
    with world.agent():
        world.until(lambda: world.chain.state(id_)[0] is JobState.CLOSED)
        world.chain.mine(2)
        assert world.reach(id_, Step.DONE).earned == 100


def test_an_award_that_comes_late_is_served_while_the_market_is_away(world: World) -> None:
    state = world.chain.state
    world.chain.state = lambda _: (JobState.UNKNOWN, Outcome.NONE)  # type: ignore[method-assign, assignment]
    with world.agent():
        id_ = world.submit()
        world.until(lambda: bool(world.events(id_, JobAwarded)))
        world.chain.advance(policy.BID_SECONDS + policy.GRACE_SECONDS)
        world.reach(id_, Step.LOST)
    world.chain.state = state  # type: ignore[method-assign]
    world.market.down = True
    with world.agent():
        world.reach(id_, Step.DELIVERED)
    assert world.result(id_)[0].succeeded


# A bid stands as long as it can be awarded.


def test_a_bid_that_the_market_refused_once_is_offered_again_and_awarded(world: World) -> None:
    seen = refuse_bids(world, times=1)
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.DELIVERED)
    assert [signed.signature for signed in seen] == [seen[0].signature] * 2
    assert Step.LOST not in world.steps(id_)


def test_a_bid_that_the_market_refused_is_served_when_somebody_awards_it(world: World) -> None:
    seen = refuse_bids(world)
    with world.agent():
        id_ = world.submit()
        entry = world.reach(id_, Step.BIDDING)
        world.until(lambda: bool(seen))
        time.sleep(10 * POLL)
        award(world, entry)
        world.reach(id_, Step.DELIVERED)
    assert Step.LOST not in world.steps(id_)


def test_a_bid_that_the_market_never_took_is_awarded_by_the_agent_itself(world: World) -> None:
    refuse_bids(world)
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.BIDDING)
        world.chain.advance(60 + policy.PATIENCE_SECONDS)
        world.reach(id_, Step.DELIVERED)


def test_a_bid_whose_award_the_chain_refuses_waits_until_it_is_hopeless(world: World) -> None:
    world.market.awards = False
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.BIDDING)
        world.until(lambda: len(world.market.bids) == 1)
        world.chain.withdraw(SUBMITTER, DAI.address, Address(SUBMITTER.address), DEPOSIT)
        world.chain.advance(60 + policy.PATIENCE_SECONDS)
        time.sleep(40 * POLL)
        assert world.reach(id_, Step.BIDDING, Step.LOST).step is Step.BIDDING
        world.chain.deposit(SUBMITTER, DAI.address, Wei(1_000))
        world.reach(id_, Step.DELIVERED)


def test_a_job_that_is_matched_again_while_its_old_bid_lives_keeps_the_old_bid(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "_RETRY_SECONDS", 0)
    state = world.chain.state
    world.chain.state = lambda _: (JobState.CLOSED, Outcome.NONE)  # type: ignore[method-assign, assignment]
    world.market.awards = False
    with world.agent():
        id_ = world.submit()
        # A node that errs says that the job is over, and the bid is given up before its time.
        old = world.reach(id_, Step.LOST)
        world.until(lambda: world.clean(id_))
        world.chain.state = state  # type: ignore[method-assign]
        world.market.offer(Match(id=id_, job=JobJson.of(old.job), signature=old.signature))
        time.sleep(20 * POLL)
        assert world.steps(id_).count(Step.MATCHED) == 1
        award(world, old)
        world.reach(id_, Step.DELIVERED)


def test_a_job_whose_old_bid_is_hopeless_is_taken_when_it_is_matched_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agent, "_RETRY_SECONDS", 0)
    world.market.awards = False
    with world.agent():
        id_ = world.submit(open_at=Timestamp(world.chain.now + 500))
        world.reach(id_, Step.BIDDING)
        world.chain.advance(policy.BID_SECONDS + policy.GRACE_SECONDS)
        old = world.reach(id_, Step.LOST)
        world.until(lambda: world.clean(id_))
        time.sleep(5 * POLL)
        world.market.awards = True
        world.market.offer(Match(id=id_, job=JobJson.of(old.job), signature=old.signature))
        world.reach(id_, Step.DELIVERED)


# Every run has all of its inputs.


def test_staging_that_broke_off_under_the_award_is_finished_before_the_run(world: World) -> None:
    inputs: list[dict[str, bytes]] = []

    def look(run: Run) -> Script:
        inputs.append({path.name: path.read_bytes() for path in run.inputs.iterdir()})
        return Script()

    world.script = look
    world.market.awards = False
    given = {name: str(unixfs.add_bytes(name.encode() * 10, world.store)) for name in ("a", "b")}
    with world.agent():
        id_ = world.submit(world.spec(inputs=given))
        entry = world.reach(id_, Step.BIDDING)
    award(world, entry)
    folder = world.folder / "work" / "jobs" / id_ / "inputs"
    shutil.rmtree(folder)
    # What a fetch leaves that was killed.
    (folder / ".fetch-abc").mkdir(parents=True)
    (folder / ".fetch-abc" / "content").write_bytes(b"half")
    get, failed = world.store.get, False

    def away_once(cid: Cid) -> bytes:
        nonlocal failed
        if str(cid) == given["b"] and not failed:
            failed = True
            raise StoreUnavailable("the store is away")
        return get(cid)

    world.store.get = away_once  # type: ignore[method-assign]
    with world.agent():
        world.reach(id_, Step.DELIVERED)
    assert failed
    assert inputs == [{"a": b"a" * 10, "b": b"b" * 10}]


def test_inputs_that_are_whole_are_not_fetched_again_after_the_award(world: World) -> None:
    world.market.awards = False
    given = str(unixfs.add_bytes(b"print()", world.store))
    with world.agent():
        id_ = world.submit(world.spec(inputs={"script": given}))
        entry = world.reach(id_, Step.BIDDING)
    award(world, entry)
    get, asked = world.store.get, []

    def count(cid: Cid) -> bytes:
        asked.append(str(cid))
        return get(cid)

    world.store.get = count  # type: ignore[method-assign]
    with world.agent():
        world.reach(id_, Step.DELIVERED)
    assert given not in asked


def test_the_image_archive_of_a_job_that_waits_outlives_a_cache_that_is_full(world: World) -> None:
    world.market.awards = False
    images = [unixfs.add_bytes(bytes([each]) * (700 << 10), world.store) for each in (1, 2)]
    with world.agent():
        for image in images:
            spec = world.spec(image=Image(cid=str(image)).model_dump(exclude_none=True))
            world.reach(world.submit(spec), Step.BIDDING)
    assert sorted(path.stem for path in (world.folder / "work" / "images").iterdir()) == sorted(
        str(image) for image in images
    )


# The chain's clock decides.


def test_a_jump_of_the_machines_clock_ends_neither_the_award_nor_the_run(
    world: World, wall: list[float]
) -> None:
    world.script = hang
    with world.agent():
        id_ = world.submit(world.spec(max_seconds=540))
        world.until(lambda: world.starts(id_) == 1)
        deliver_by = world.reach(id_, Step.RUNNING).terms.deliver_by  # type: ignore[union-attr]
        wall[0] = 3_600
        time.sleep(30 * POLL)
        assert world.reach(id_, *Step).step is Step.RUNNING
        world.executor.finish(id_)
        world.reach(id_, Step.DELIVERED)
    assert world.chain.now < deliver_by
    assert not world.result(id_)[0].timed_out


def test_a_jump_of_the_machines_clock_gives_no_bid_up(world: World, wall: list[float]) -> None:
    world.market.awards = False
    with world.agent():
        id_ = world.submit()
        entry = world.reach(id_, Step.BIDDING)
        wall[0] = 3_600
        time.sleep(30 * POLL)
        assert world.reach(id_, *Step).step is Step.BIDDING
        award(world, entry)
        world.reach(id_, Step.DELIVERED)


def test_an_agent_whose_clock_is_fast_for_good_still_delivers(world: World, wall: list[float]) -> None:
    world.market.awards = False
    with world.agent():
        id_ = world.submit()
        entry = world.reach(id_, Step.BIDDING)
    award(world, entry)
    wall[0] = 3_600
    with world.agent():
        world.reach(id_, Step.DELIVERED)


@pytest.mark.parametrize("step", [Step.RUNNING, Step.DELIVERED])
def test_a_node_that_comes_back_with_an_older_head_ends_no_promise(
    world: World, monkeypatch: pytest.MonkeyPatch, wall: list[float], step: Step
) -> None:
    if step is Step.RUNNING:
        world.script = hang
    old = len(world.chain._mined)
    with world.agent():
        id_ = world.submit()
        world.reach(id_, step)
        # The job is older than any bid lives.
        monkeypatch.setattr(policy, "BID_SECONDS", 0)
        monkeypatch.setattr(policy, "GRACE_SECONDS", 0)
        wall[0] = 3_600
        kept = world.chain._mined[old:]
        del world.chain._mined[old:]
        time.sleep(30 * POLL)
        assert world.reach(id_, *Step).step is step
        world.chain._mined.extend(kept)
        if step is Step.RUNNING:
            world.executor.finish(id_)
        world.reach(id_, Step.DELIVERED)
    assert Step.LOST not in world.steps(id_)


def test_a_bid_after_a_long_staging_waits_for_its_award_as_long_as_any_other(
    world: World, monkeypatch: pytest.MonkeyPatch, wall: list[float]
) -> None:
    world.market.awards = False
    stage, passed = world.executor.stage, [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + passed[0])
    for module in (bidding, workshop):
        monkeypatch.setattr(module, "time", clock)

    def slow(*asked: Any) -> str:
        passed[0] = 3_600.0
        return stage(*asked)

    monkeypatch.setattr(world.executor, "stage", slow)
    with world.agent():
        id_ = world.submit()
        entry = world.reach(id_, Step.BIDDING)
        wall[0] = 3_600
        time.sleep(20 * POLL)
        assert world.reach(id_, *Step).step is Step.BIDDING
        award(world, entry)
        world.reach(id_, Step.DELIVERED)


# The matches.


def test_a_match_that_fails_neither_loses_the_others_nor_itself(world: World) -> None:
    world.market.awards = False
    posted, signed = world.job(), world.job()
    state, failures = world.chain.state, 0

    def blink(id_: JobId) -> tuple[JobState, Outcome]:
        nonlocal failures
        if id_ == posted[0] and not failures:
            failures += 1
            raise ChainUnavailable("the node blinked")
        return (JobState.OPEN, Outcome.NONE) if id_ == posted[0] else state(id_)

    world.chain.state = blink  # type: ignore[method-assign, assignment]
    world.market.offer(Match(id=posted[0], job=JobJson.of(posted[1]), signature=b""))
    world.market.offer(Match(id=signed[0], job=JobJson.of(signed[1]), signature=signed[2]))
    with world.agent():
        world.reach(signed[0], Step.BIDDING)
        world.reach(posted[0], Step.BIDDING)
    assert failures == 1
    assert world.steps(signed[0]).count(Step.MATCHED) == 1


# What the market hears.


def test_an_observation_that_the_market_refuses_costs_neither_the_log_nor_later_ones(world: World) -> None:
    observe = world.market.observe

    def refuse(account: object, id_: JobId, observation: Observation) -> None:
        if observation.event == "Running":
            raise WrongRequest("the award is not indexed yet")
        observe(account, id_, observation)  # type: ignore[arg-type]

    world.market.observe = refuse  # type: ignore[method-assign]
    with world.agent():
        id_ = world.submit()
        world.until(lambda: id_ in world.market.ended)
    assert world.market.logs[id_] == b"hello\n"
    assert world.market.seen[id_] == ["Staging", "Uploading"]


def test_a_market_that_refuses_the_log_does_not_hold_up_the_job(world: World) -> None:
    def refuse(*_: object) -> None:
        raise WrongRequest("forbidden")

    world.market.send_logs = refuse  # type: ignore[method-assign, assignment]
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.DELIVERED)
        world.until(lambda: world.clean(id_))
    assert world.market.seen[id_] == ["Staging", "Running", "Uploading"]
