"""Asks, matches, bids and awards at a market."""

import threading
import time
from pathlib import Path

import pytest

from deai.ask import Prices
from deai.errors import BadField, BadSignature, InsufficientBalance, WrongRequest
from deai.job import ZERO_ADDRESS, Address, JobState, Timestamp, Wei
from deai.market_api import MarketApi
from deai.wire import Observation
from deai_market.settings import Rules
from tests.adapters.market_fixtures import awarded, eventually, until
from tests.market_world import COIN, DAI, NOW, RULES, World, account


def test_a_match_reaches_a_waiting_provider_in_milliseconds(world: World, api: MarketApi) -> None:
    api.ask(world.ask())
    provider, heard = Address(world.provider.address), list[tuple[float, int]]()

    def listen() -> None:
        found = api.matches(provider, 0, 15)
        heard.append((time.monotonic(), len(found.matches)))

    thread = threading.Thread(target=listen)
    thread.start()
    time.sleep(0.3)
    order = world.order()
    begun = time.monotonic()
    api.submit(order)
    thread.join()
    assert heard[0][1] == 1
    # Far below the second that periodic rounds take; a loaded machine has room.
    assert heard[0][0] - begun < 0.8


def test_the_cursor_of_matches_moves_on_and_the_wait_ends_empty(world: World, api: MarketApi) -> None:
    provider = Address(world.provider.address)
    assert api.matches(provider).matches == ()
    api.ask(world.ask())
    api.submit(world.order())
    found = api.matches(provider, 0, 10)
    begun = time.monotonic()
    assert api.matches(provider, found.cursor, 0.3).matches == ()
    assert 0.3 <= time.monotonic() - begun < 5
    assert api.matches(provider, 0).matches == found.matches


def test_capacity_is_not_given_twice(world: World, api: MarketApi) -> None:
    orders = [world.order() for _ in range(3)]
    for order in orders:
        api.submit(order)
    api.ask(world.ask())
    busy, matched = (
        "every fitting provider is busy",
        f"matched with {world.provider.address}, which has yet to bid",
    )
    eventually(
        lambda: [api.job(world.id(order)).note for order in orders],
        lambda notes: notes == [matched, matched, busy],
    )


def test_a_job_whose_run_has_ended_makes_room_for_the_next_one(world: World, api: MarketApi) -> None:
    first = awarded(world, api)
    world.chain.advance(10)
    second = awarded(world, api)
    third = api.submit(world.order()).id
    busy = "every fitting provider is busy"
    eventually(lambda: api.job(third).note, lambda note: note == busy)
    api.observe(world.provider, world.id(first), Observation(event="Running"))
    with pytest.raises(WrongRequest, match="not"):
        api.observe(world.other, world.id(first), Observation(event="Uploading"))
    time.sleep(1.2)
    assert api.job(third).note == busy
    api.observe(world.provider, world.id(second), Observation(event="Uploading"))
    assert [match.id for match in api.matches(Address(world.provider.address), 0, 10).matches] == [third]
    fourth = api.submit(world.order()).id
    eventually(lambda: api.job(fourth).note, lambda note: note == busy)


def test_a_match_without_a_bid_goes_to_the_next_ask(world: World, api: MarketApi) -> None:
    api.submit(world.order())
    api.ask(world.ask())
    first = api.matches(Address(world.provider.address), 0, 10)
    api.ask(world.ask(world.other, prices={DAI.address: Prices(job=COIN // 2 + 1)}))
    world.chain.advance(RULES.match_seconds)
    second = api.matches(Address(world.other.address), 0, 10)
    assert [each.id for each in second.matches] == [each.id for each in first.matches]
    with pytest.raises(WrongRequest, match="has no match"):
        api.bid(world.bid(first.matches[0].id))


def test_staging_holds_a_match_but_not_for_ever(world: World, tmp_path: Path) -> None:
    rules = Rules(poll_seconds=0.02, match_seconds=30, staging_seconds=50)
    with world.served(rules) as api:
        api.submit(world.order())
        api.ask(world.ask())
        (match,) = api.matches(Address(world.provider.address), 0, 10).matches
        for _ in range(2):
            world.chain.advance(20)
            api.observe(world.provider, match.id, Observation(event="Staging"))
            time.sleep(0.1)
        assert api.matches(Address(world.provider.address)).matches
        world.chain.advance(10)
        eventually(lambda: api.matches(Address(world.provider.address)).matches, lambda found: not found)
        assert [line.event for line in api.job(match.id).history] == ["Signed", "Staging"]


def test_a_job_with_a_bond_is_not_offered_to_a_provider_without_a_deposit(
    world: World, api: MarketApi
) -> None:
    empty = account(9)
    api.ask(world.ask(empty, prices={DAI.address: Prices(job=0)}))
    job = api.submit(world.order()).id
    lacks = f"{empty.address}, the cheapest that fits, has not deposited the bond of 1 DAI"
    eventually(lambda: api.job(job).note, lambda note: note == lacks)
    assert api.matches(Address(empty.address)).matches == ()
    api.ask(world.ask())
    assert api.matches(Address(world.provider.address), 0, 10).matches[0].id == job
    free = api.submit(world.order(bond=Wei(0))).id
    eventually(lambda: api.job(free).note, lambda note: note.startswith(f"matched with {empty.address}"))


def test_an_award_that_the_escrow_refuses_goes_to_the_next_ask(world: World, api: MarketApi) -> None:
    order = world.order(bond=Wei(4 * COIN))
    api.submit(order)
    api.ask(world.ask())
    (match,) = api.matches(Address(world.provider.address), 0, 10).matches
    # The bond is there when the bid is checked, and gone when its award is sent.
    world.chain.withdraw(world.provider, DAI.address, Address(world.provider.address), Wei(100 * COIN))
    balance = world.chain.balance
    world.chain.balance = lambda token, account: balance(token, account) or Wei(100 * COIN)  # type: ignore[method-assign]
    api.ask(world.ask(world.other, prices={DAI.address: Prices(job=COIN)}))
    api.bid(world.bid(match.id))
    assert api.matches(Address(world.other.address), 0, 10).matches[0].id == match.id


def test_an_award_that_a_reorg_undid_is_sent_again(world: World, api: MarketApi) -> None:
    order = awarded(world, api)
    world.chain.reorg(1)
    assert world.chain.state(world.id(order))[0] == JobState.UNKNOWN
    eventually(lambda: world.chain.state(world.id(order))[0], lambda state: state == JobState.AWARDED)
    newest = world.chain.head().number
    eventually(lambda: api.job(world.id(order)), lambda view: view.history[-1].block == newest)


def test_a_bid_taken_before_the_market_died_is_awarded_after_its_restart(world: World) -> None:
    with world.served() as api:
        order = world.order()
        api.submit(order)
        api.ask(world.ask())
        api.matches(Address(world.provider.address), 0, 10)
    market = world.market()
    market.book.bid(world.bid(world.id(order)))  # on disk, and nobody there to send it
    market.close()
    with world.served() as api:
        until(lambda: api.job(world.id(order)), "Awarded")


def test_asks_that_break_a_rule_are_refused(world: World, api: MarketApi) -> None:
    now = world.chain.now
    for fields, field in (
        ({"expires_at": now}, "ask.expires_at"),
        ({"expires_at": now + 86_401}, "ask.expires_at"),
        ({"issued_at": now + 61}, "ask.issued_at"),
        ({"chain_id": 1}, "ask.contract"),
        ({"contract": ZERO_ADDRESS}, "ask.contract"),
        ({"prices": {"DAI": Prices()}}, "ask.prices"),
        ({"prices": {DAI.address: Prices(job=1 << 96)}}, "ask.prices"),
        ({"max_bond": {DAI.address: -1}}, "ask.max_bond"),
    ):
        with pytest.raises(BadField) as refused:
            api.ask(world.ask(**fields))
        assert refused.value.field == field
    signed = world.ask()
    with pytest.raises(BadField, match="canonically"):
        api.ask(signed.model_copy(update={"ask": signed.ask + " "}))
    with pytest.raises(BadSignature):
        api.ask(signed.model_copy(update={"signature": world.ask(world.other).signature}))
    assert api.asks() == []


def test_only_a_newer_ask_replaces_an_older_one(world: World, api: MarketApi) -> None:
    first, newer = world.ask(), world.ask(issued_at=NOW + 1)
    api.ask(first)
    api.ask(first)
    api.ask(newer)
    assert api.asks() == [newer]
    for stale in (first, world.ask(issued_at=NOW + 1, expires_at=NOW + 99)):
        with pytest.raises(WrongRequest, match="has an ask issued at"):
            api.ask(stale)
    assert api.asks() == [newer]


def test_bids_that_break_a_rule_are_refused(world: World, api: MarketApi) -> None:
    order = world.order()
    job = world.id(order)
    with pytest.raises(WrongRequest, match="no order with the id"):
        api.bid(world.bid(job))
    api.submit(order)
    with pytest.raises(WrongRequest, match="has no match"):
        api.bid(world.bid(job))
    api.ask(world.ask())
    api.matches(Address(world.provider.address), 0, 10)
    with pytest.raises(WrongRequest, match="has no match"):
        api.bid(world.bid(job, world.other))
    with pytest.raises(BadField, match="above the 500000000000000000 that its ask quotes"):
        api.bid(world.bid(job, price=Wei(COIN)))
    with pytest.raises(BadField, match="above the job's ramp"):
        api.bid(world.bid(job, price=Wei(COIN + 1)))
    for expiry in (world.chain.now, world.chain.now + 121):
        with pytest.raises(BadField, match="expires_at"):
            api.bid(world.bid(job, expires_at=Timestamp(expiry)))
    with pytest.raises(BadSignature):
        api.bid(world.bid(job).model_copy(update={"signature": world.bid(job, world.other).signature}))
    world.chain.withdraw(world.provider, DAI.address, Address(world.provider.address), Wei(100 * COIN))
    with pytest.raises(InsufficientBalance):
        api.bid(world.bid(job))
    assert world.chain.state(job)[0].name == "UNKNOWN"
