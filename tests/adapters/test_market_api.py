"""MarketApi against a real server on loopback, over the reference model of the chain."""

import hashlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from eth_account.signers.local import LocalAccount

from deai.ask import Prices
from deai.cid import Cid, Codec
from deai.errors import (
    BadField,
    BadSignature,
    ChainUnavailable,
    InsufficientBalance,
    MarketUnavailable,
    WrongRequest,
    WrongState,
)
from deai.job import ZERO_ADDRESS, Address, JobId, JobState, Timestamp, Wei
from deai.market_api import MarketApi
from deai.signing import Domain, Request, sign_request
from deai.store import Block
from deai.wire import Authorization, JobView, LogChunk, Matches, Observation, Order, origin
from deai_market.app import serving
from deai_market.settings import Rules
from tests.market_world import COIN, DAI, NOW, RULES, World, account, spec

T = TypeVar("T")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def api(world: World) -> Iterator[MarketApi]:
    with world.served() as api:
        yield api


@pytest.fixture
def http(api: MarketApi) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api.url, timeout=10, trust_env=False) as client:
        yield client


def eventually(look: Callable[[], T], done: Callable[[T], bool]) -> T:
    for _ in range(1_000):
        found = look()
        if done(found):
            return found
        time.sleep(0.01)
    raise AssertionError(f"it stayed {found}")


def until(look: Callable[[], JobView], state: str) -> JobView:
    return eventually(look, lambda view: view.state == state)


def awarded(world: World, api: MarketApi, **fields: Any) -> Order:
    """An order that went the whole way to its award."""
    order = world.order(**fields)
    api.submit(order)
    api.ask(world.ask(issued_at=world.chain.now - world.salts))
    assert [match.id for match in api.matches(Address(world.provider.address), 0, 10).matches] == [
        world.id(order)
    ]
    api.bid(world.bid(world.id(order)))
    until(lambda: api.job(world.id(order)), "Awarded")
    return order


# The life of an order.


def test_an_order_is_matched_bid_on_awarded_and_followed_to_its_payment(world: World, api: MarketApi) -> None:
    order = world.order()
    assert api.submit(order).state == "Signed"
    api.ask(world.ask())
    (match,) = api.matches(Address(world.provider.address), 0, 10).matches
    assert (match.id, match.job, match.signature) == (world.id(order), order.job, order.signature)
    assert api.job(match.id).note == f"matched with {world.provider.address}, which has yet to bid"

    api.bid(world.bid(match.id))
    view = until(lambda: api.job(match.id), "Awarded")
    assert (view.provider, view.price) == (Address(world.provider.address), Wei(COIN // 2))
    world.pay(order)
    view = until(lambda: api.job(match.id), "Paid")
    assert view.result_cid == str(Cid(Codec.DAG_PB, b"\7" * 32))
    assert [line.event for line in view.history] == ["Signed", "JobAwarded", "JobDelivered", "JobClosed"]
    assert [line.block is None for line in view.history] == [True, False, False, False]
    assert view.history[-1].text == "Paid: 1.5 DAI to the provider"
    assert api.jobs(state="Paid")[0].id == match.id


def test_history_is_provisional_until_it_is_deep_enough(world: World, api: MarketApi) -> None:
    order = awarded(world, api)
    assert [line.final for line in api.job(world.id(order)).history] == [False, False]
    world.chain.mine(RULES.confirmations)
    eventually(lambda: api.job(world.id(order)), lambda view: view.history[1].final)


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


def test_a_cancelled_order_is_offered_to_nobody(world: World, api: MarketApi) -> None:
    order = world.order()
    api.submit(order)
    world.chain.cancel(world.submitter, order.job.value())
    until(lambda: api.job(world.id(order)), "Cancelled")
    api.ask(world.ask())
    time.sleep(0.2)
    assert api.matches(Address(world.provider.address)).matches == ()


def test_a_job_cancelled_before_it_came_here_is_refused(world: World, api: MarketApi) -> None:
    order = world.order()
    world.chain.cancel(world.submitter, order.job.value())
    with pytest.raises(WrongState):
        api.submit(order)


def test_a_posted_job_is_awarded_without_its_signature(world: World, api: MarketApi) -> None:
    order = world.order()
    world.chain.post(world.submitter, order.job.value())
    assert api.submit(order).id == world.id(order)
    api.ask(world.ask())
    api.matches(Address(world.provider.address), 0, 10)
    api.bid(world.bid(world.id(order)))
    until(lambda: api.job(world.id(order)), "Awarded")


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


def test_after_a_restart_orders_asks_matches_and_logs_are_still_there(world: World) -> None:
    with world.served() as api:
        order = awarded(world, api)
        api.send_logs(world.provider, world.id(order), LogChunk(offset=0, data=b"hello"))
        waiting = world.order()
        api.submit(waiting)
        found = api.matches(Address(world.provider.address), 0, 10)
        asks = api.asks()
    with world.served() as api:
        assert api.job(world.id(order)).state == "Awarded"
        assert api.matches(Address(world.provider.address)) == found
        assert api.asks() == asks
        assert api.logs(world.submitter, world.id(order)).data == b"hello"
        api.bid(world.bid(world.id(waiting)))
        until(lambda: api.job(world.id(waiting)), "Awarded")


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


# What is refused.


def test_the_same_order_again_changes_nothing(world: World, api: MarketApi) -> None:
    order = world.order()
    assert api.submit(order).id == api.submit(order).id
    assert len(api.jobs()) == 1
    with pytest.raises(WrongRequest, match="another callback_url"):
        api.submit(order.model_copy(update={"callback_url": "https://example.org/"}))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"token": Address("0x" + "11" * 20)}, "job.token"),
        ({"arbiter": Address("0x" + "11" * 20)}, "job.arbiter"),
        ({"arbiter_data": b"\1" * 32}, "job.arbiter_data"),
        ({"ruling_seconds": 1}, "job.ruling_seconds"),
        ({"epoch": 1}, "job.epoch"),
        ({"price_start": Wei(11 * COIN)}, "job.price_start"),
        ({"price_start": Wei(0), "price_cap": Wei(0)}, "job.price_cap"),
        ({"open_at": Timestamp(NOW + 1_200)}, "job.open_at"),
        ({"open_at": Timestamp(NOW - 9), "award_by": NOW}, "job.award_by"),
        ({"award_by": Timestamp(NOW + 367 * 86_400)}, "job.award_by"),
        ({"deliver_seconds": 59}, "job.deliver_seconds"),
        ({"deliver_seconds": 0}, "job.deliver_seconds"),
        ({"spec": b"\1" * 32}, "spec"),
    ],
)
def test_an_order_that_breaks_a_rule_is_refused_with_the_field(
    world: World, api: MarketApi, fields: dict[str, Any], field: str
) -> None:
    with pytest.raises(BadField) as refused:
        api.submit(world.order(**fields))
    assert refused.value.field == field
    assert api.jobs() == []


def test_orders_with_a_wrong_signature_are_refused(world: World, api: MarketApi) -> None:
    order = world.order()
    for wrong in (
        world.order(signer=world.other),
        order.model_copy(update={"signature": b""}),
        order.model_copy(update={"signature": b"\xff" * 65}),
        order.model_copy(update={"signature": bytes(65)}),
    ):
        with pytest.raises(BadSignature):
            api.submit(wrong)
    world.domain = Domain(1, world.domain.contract)
    with pytest.raises(BadSignature):
        api.submit(world.order())


def test_a_spec_that_is_not_canonical_or_has_unknown_fields_is_refused(world: World, api: MarketApi) -> None:
    text = spec().canonical().decode()
    for wrong, said in (
        (" " + text, "canonically"),
        (text[:-1] + ',"privileged":true}', "privileged"),
        ("{", "spec"),
    ):
        digest = hashlib.sha256(wrong.encode()).digest()
        order = world.order(spec=digest)
        with pytest.raises(BadField, match=said):
            api.submit(order.model_copy(update={"spec": wrong}))


def test_orders_beyond_the_balance_are_refused_until_others_end(world: World, api: MarketApi) -> None:
    orders = [world.order() for _ in range(11)]
    for order in orders[:10]:
        api.submit(order)
    with pytest.raises(InsufficientBalance) as refused:
        api.submit(orders[10])
    assert refused.value.args == (DAI.address, world.submitter.address, 100 * COIN, 110 * COIN)
    world.chain.cancel(world.submitter, orders[0].job.value())
    until(lambda: api.job(world.id(orders[0])), "Cancelled")
    api.submit(orders[10])


def test_one_account_has_a_limit_of_open_orders(world: World) -> None:
    with world.served(Rules(poll_seconds=0.02, open_jobs=2)) as api:
        api.submit(world.order())
        api.submit(world.order())
        with pytest.raises(WrongRequest, match="has 2 open orders already"):
            api.submit(world.order())


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


# Logs and observations.


def test_the_submitter_follows_the_providers_log(world: World, api: MarketApi) -> None:
    job = world.id(awarded(world, api))
    assert api.logs(world.submitter, job) == LogChunk(offset=0, data=b"")
    heard: list[LogChunk] = []
    thread = threading.Thread(target=lambda: heard.append(api.logs(world.submitter, job, 0, 15)))
    thread.start()
    time.sleep(0.2)
    api.send_logs(world.provider, job, LogChunk(offset=0, data=b"one\n"))
    thread.join()
    assert heard == [LogChunk(offset=0, data=b"one\n")]
    api.send_logs(world.provider, job, LogChunk(offset=0, data=b"one\n"))
    api.send_logs(world.provider, job, LogChunk(offset=2, data=b"e\ntwo\n"))
    api.send_logs(world.provider, job, LogChunk(offset=8, data=b"", end=True))
    assert api.logs(world.submitter, job) == LogChunk(offset=0, data=b"one\ntwo\n", end=True)
    assert api.logs(world.submitter, job, 8, 10) == LogChunk(offset=8, data=b"", end=True)
    with pytest.raises(WrongRequest, match="8 bytes are here"):
        api.send_logs(world.provider, job, LogChunk(offset=9, data=b"x"))
    with pytest.raises(WrongRequest, match="ended"):
        api.send_logs(world.provider, job, LogChunk(offset=8, data=b"x"))


def test_logs_are_capped(world: World) -> None:
    with world.served(Rules(poll_seconds=0.02, log_bytes=10)) as api:
        job = world.id(awarded(world, api))
        api.send_logs(world.provider, job, LogChunk(offset=0, data=b"0123456789"))
        with pytest.raises(WrongRequest, match="at most 10 are kept"):
            api.send_logs(world.provider, job, LogChunk(offset=10, data=b"x"))


def test_a_long_log_comes_in_pieces(world: World, api: MarketApi) -> None:
    job, sent = world.id(awarded(world, api)), b""
    for number in range(5):
        data = bytes([number]) * 700_000
        api.send_logs(world.provider, job, LogChunk(offset=len(sent), data=data, end=number == 4))
        sent += data
    read, end = b"", False
    while not end:
        chunk = api.logs(world.submitter, job, len(read))
        read, end = read + chunk.data, chunk.end
        assert len(chunk.data) <= 1 << 20
    assert read == sent


def test_the_log_of_a_closed_job_ends_though_its_provider_never_said_so(world: World, api: MarketApi) -> None:
    order = awarded(world, api)
    api.send_logs(world.provider, world.id(order), LogChunk(offset=0, data=b"x"))
    world.pay(order)
    until(lambda: api.job(world.id(order)), "Paid")
    assert api.logs(world.submitter, world.id(order), 0) == LogChunk(offset=0, data=b"x", end=True)


def test_logs_and_observations_belong_to_the_parties(world: World, api: MarketApi) -> None:
    job = world.id(awarded(world, api))
    chunk, running = LogChunk(offset=0, data=b"x"), Observation(event="Running")
    for act in (
        lambda: api.logs(world.provider, job),
        lambda: api.logs(world.other, job),
        lambda: api.send_logs(world.other, job, chunk),
        lambda: api.send_logs(world.submitter, job, chunk),
        lambda: api.observe(world.other, job, running),
        lambda: api.observe(world.other, job, Observation(event="Staging")),
    ):
        with pytest.raises(WrongRequest, match="not"):
            act()
    api.observe(world.provider, job, running)
    api.observe(world.provider, job, running)
    assert [line.event for line in api.job(job).history] == ["Signed", "JobAwarded", "Running"]
    with pytest.raises(WrongRequest, match="no job"):
        api.logs(world.submitter, JobId("0x" + "00" * 32))


def test_observations_are_capped(world: World) -> None:
    with world.served(Rules(poll_seconds=0.02, observations=2)) as api:
        job = world.id(awarded(world, api))
        for text in ("a", "b"):
            api.observe(world.provider, job, Observation(event="Running", text=text))
        with pytest.raises(WrongRequest, match="which is the limit"):
            api.observe(world.provider, job, Observation(event="Running", text="c"))


def test_a_provider_that_fills_its_share_of_observations_takes_nothing_from_the_next(world: World) -> None:
    rules = Rules(poll_seconds=0.02, match_seconds=30, observations=2)
    with world.served(rules) as api:
        api.ask(world.ask())
        api.submit(world.order())
        (match,) = api.matches(Address(world.provider.address), 0, 10).matches
        for text in ("a", "b"):
            api.observe(world.provider, match.id, Observation(event="Staging", text=text))
        world.chain.advance(20)
        # What it says is not kept any more, what it does counts.
        with pytest.raises(WrongRequest, match="which is the limit"):
            api.observe(world.provider, match.id, Observation(event="Staging", text="c"))
        world.chain.advance(20)
        time.sleep(1.2)
        assert api.matches(Address(world.provider.address)).matches
        api.ask(world.ask(world.other))
        with pytest.raises(WrongRequest, match="which is the limit"):
            api.observe(world.provider, match.id, Observation(event="Declined", text="no"))

        assert api.matches(Address(world.other.address), 0, 10).matches
        for text in ("a", "b"):
            api.observe(world.other, match.id, Observation(event="Staging", text=text))
        assert [line.event for line in api.job(match.id).history] == ["Signed"] + ["Staging"] * 4


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


def authorization(
    world: World, market: str, signer: LocalAccount, method: str, path: str, body: bytes, ahead: int = 60
) -> str:
    account, expires_at = Address(signer.address), Timestamp(world.chain.now + ahead)
    digest = hashlib.sha256(body).digest()
    request = Request(
        account=account, market=market, method=method, path=path, body=digest, expires_at=expires_at
    )
    return str(Authorization(account, expires_at, sign_request(signer, request, world.domain)))


def test_an_authorization_is_good_for_its_request_alone_and_not_for_long(
    world: World, api: MarketApi, http: httpx.Client
) -> None:
    path = f"/jobs/{world.id(awarded(world, api))}/logs?offset=0"

    def status(target: str, **signed: Any) -> int:
        values = {
            "market": api.url,
            "signer": world.submitter,
            "method": "GET",
            "path": path,
            "body": b"",
            "ahead": 60,
            **signed,
        }
        return http.get(target, headers={"Authorization": authorization(world, **values)}).status_code

    assert status(path) == 200
    assert status(path, signer=world.other) == 403
    assert status(path, market=api.url.replace("127.0.0.1", "localhost")) == 200
    for wrong in (
        {"market": "http://another.example:80"},
        {"market": api.url.replace("http", "https")},
        {"market": "http://127.0.0.1:80"},
        {"market": ""},
        {"method": "POST"},
        {"path": path + "1"},
        {"body": b"x"},
        {"ahead": 0},
        {"ahead": 121},
    ):
        assert status(path, **wrong) == 401, wrong
    good = authorization(world, api.url, world.submitter, "GET", path, b"")
    stolen = good.replace(world.submitter.address, world.other.address)
    for header in (stolen, good[:-2], "deai", "Bearer x", good + "0"):
        answer = http.get(path, headers={"Authorization": header})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "deai")
    assert http.get(path).status_code == 401
    world.chain.advance(61)
    time.sleep(0.2)
    assert http.get(path, headers={"Authorization": good}).status_code == 401


def test_what_was_signed_for_another_market_is_refused_whatever_host_the_request_claims(
    world: World, api: MarketApi, http: httpx.Client
) -> None:
    path = f"/jobs/{world.id(awarded(world, api))}/logs"
    caught = list[httpx.Request]()

    def catch(request: httpx.Request) -> httpx.Response:
        caught.append(request)
        raise httpx.ConnectError("the network broke here")

    with world.api("http://another.example:81") as elsewhere:
        elsewhere._client = httpx.Client(base_url=elsewhere.url, transport=httpx.MockTransport(catch))
        with pytest.raises(MarketUnavailable):
            elsewhere.logs(world.submitter, world.id(world.order()))
        with pytest.raises(MarketUnavailable):
            elsewhere.logs(world.submitter, JobId(path.split("/")[2]))
    relayed = caught[-1]
    answer = http.get(
        relayed.url.raw_path.decode(),
        headers={"Authorization": relayed.headers["Authorization"], "Host": "another.example:81"},
    )
    assert answer.status_code == 401
    assert "not for this market" in answer.json()["detail"]


def test_a_market_that_has_names_answers_to_those_alone(world: World) -> None:
    market = world.market()
    with (
        serving(market, "127.0.0.1", 0, ["HTTPS://Market.example/", "http://10.0.0.1:8420"]) as url,
        httpx.Client(base_url=url, trust_env=False) as http,
    ):
        order = world.order()
        job = market.book.submit(order)
        path = f"/jobs/{job}/logs"
        for name, status in (
            ("https://market.example:443", 200),
            ("http://10.0.0.1:8420", 200),
            ("http://market.example:443", 401),
            (url, 401),
        ):
            header = authorization(world, name, world.submitter, "GET", path, b"")
            assert http.get(path, headers={"Authorization": header}).status_code == status, name


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://Market.Example", "http://market.example:80"),
        ("HTTPS://market.example/", "https://market.example:443"),
        ("http://127.0.0.1:8420/prefix?x", "http://127.0.0.1:8420"),
        ("http://user:word@host:1/", "http://host:1"),
        ("http://[::1]:8420", "http://[::1]:8420"),
    ],
)
def test_a_markets_origin_is_its_url_without_what_does_not_matter(url: str, named: str) -> None:
    assert origin(url) == named


@pytest.mark.parametrize("url", ["", "market", "ftp://host", "http://", "http://host:99999", "http://[::1"])
def test_an_origin_that_is_no_url_is_refused(world: World, url: str) -> None:
    market = world.market()
    with pytest.raises(BadField, match="market"), serving(market, "127.0.0.1", 0, [url]):
        pass
    market.close()


# The gateway, and hostile bytes.


def test_the_gateway_serves_verified_blocks_raw(world: World, api: MarketApi, http: httpx.Client) -> None:
    cid = Cid.of(b"some bytes", Codec.RAW)
    world.store.put([Block(cid, b"some bytes")])
    answer = http.get(f"/ipfs/{cid}?format=raw")
    assert (answer.status_code, answer.content) == (200, b"some bytes")
    assert answer.headers["content-type"] == "application/vnd.ipld.raw"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "public, max-age=29030400, immutable"
    assert answer.headers["content-disposition"] == f'attachment; filename="{cid}.bin"'
    assert answer.headers["etag"] == f'"{cid}.raw"'
    assert http.get(f"/ipfs/{cid}", headers={"Accept": "application/vnd.ipld.raw"}).content == b"some bytes"
    assert http.head(f"/ipfs/{cid}?format=raw").headers["content-length"] == "10"
    assert (
        http.get(f"/ipfs/{cid}?format=raw", headers={"If-None-Match": answer.headers["etag"]}).status_code
        == 304
    )
    assert http.get(f"/ipfs/{cid}").status_code == 406
    assert http.get(f"/ipfs/{cid}?format=car").status_code == 406
    assert http.get(f"/ipfs/{Cid.of(b'absent', Codec.RAW)}?format=raw").status_code == 404
    assert http.get("/ipfs/..%2f..%2fetc%2fpasswd?format=raw").status_code in (400, 404)
    assert http.get("/ipfs/nonsense?format=raw").status_code == 400


def test_an_order_puts_its_spec_where_providers_find_it(
    world: World, api: MarketApi, http: httpx.Client
) -> None:
    wanted = spec(name="with a spec to find")
    api.submit(world.order(wanted))
    assert http.get(f"/ipfs/{wanted.cid()}?format=raw").content == wanted.canonical()


HOSTILE = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"\xff\xfe",
    b'{"job": NaN}',
    b"[" * 100_000,
    b'{"job":{"price_cap":' + b"9" * 5_000 + b"}}",
    b'{"spec":"\\ud800","job":{},"signature":"0x"}',
    b'{"ask":"\\ud800","signature":"0x"}',
    b'{"ask":"{}","signature":"0xzz"}',
    b'{"offset":1e400,"data":"0x"}',
    b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
]


def test_hostile_bodies_are_refused_and_never_break_a_route(
    world: World, api: MarketApi, http: httpx.Client
) -> None:
    job, kind = world.id(awarded(world, api)), {"Content-Type": "application/json"}
    own = [
        b'{"offset":-1,"data":"0x"}',
        b'{"offset":9007199254740992,"data":"0x"}',
        b'{"offset":0,"data":"0xzz"}',
        b'{"offset":0,"data":"0x0"}',
        b'{"offset":0,"data":"\\ud800"}',
        b'{"offset":0,"data":"0x","end":"maybe"}',
        b'{"event":"Paid"}',
        b'{"event":"Running\\n"}',
        b'{"event":"Running","text":"' + b"x" * 257 + b'"}',
        b'{"event":"Running","text":"\\ud800"}',
        b'{"event":["Running"]}',
    ]
    for body, path in itertools.product(
        HOSTILE + own, ("/jobs", "/asks", "/bids", f"/jobs/{job}/logs", f"/jobs/{job}/observations")
    ):
        # As the awarded provider, so that nothing but the body can be what is refused.
        header = authorization(world, api.url, world.provider, "POST", path, body)
        answer = http.post(path, content=body, headers={**kind, "Authorization": header})
        assert 400 <= answer.status_code < 500, (path, body[:40], answer.text)
        assert answer.status_code not in (401, 403), (path, body[:40], answer.text)
        assert set(answer.json()) == {"error", "detail", "facts"}
    assert api.logs(world.submitter, job).data == b""
    assert [line.event for line in api.job(job).history] == ["Signed", "JobAwarded"]


def test_mutated_orders_never_break_the_market(world: World, api: MarketApi, http: httpx.Client) -> None:
    whole = world.order().model_dump(mode="json")
    kind = {"Content-Type": "application/json"}
    evil: list[Any] = [
        None,
        -1,
        1 << 300,
        "9" * 400,
        "",
        "\x00",
        "\ud800",
        [],
        {},
        True,
        1.5,
        "0x",
        "0x" + "ff" * 100,
    ]
    for name in whole["job"]:
        for value in evil:
            body = {**whole, "job": {**whole["job"], name: value}}
            answer = http.post("/jobs", content=json.dumps(body), headers=kind)
            assert 400 <= answer.status_code < 500, (name, value, answer.text)
    for name in ("signature", "spec", "callback_url"):
        for value in evil:
            if name == "callback_url" and value is None:
                continue
            answer = http.post("/jobs", content=json.dumps({**whole, name: value}), headers=kind)
            assert 400 <= answer.status_code < 500, (name, value, answer.text)
    assert api.jobs() == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/jobs/0x00", 422),
        ("/jobs/0x" + "00" * 32, 404),
        ("/jobs?state=Nonsense", 400),
        ("/jobs?submitter=0x12", 422),
        ("/jobs?limit=501", 422),
        ("/nothing", 404),
        ("/providers/nobody/matches", 422),
        ("/providers/0x0000000000000000000000000000000000000001/matches?wait=21", 422),
        ("/providers/0x0000000000000000000000000000000000000001/matches?after=" + "9" * 30, 422),
    ],
)
def test_wrong_paths_and_queries_are_refused(
    api: MarketApi, http: httpx.Client, path: str, status: int
) -> None:
    answer = http.get(path)
    assert (answer.status_code, set(answer.json())) == (status, {"error", "detail", "facts"})


def test_bodies_beyond_the_limit_are_refused_unread(world: World) -> None:
    with world.served(Rules(body_bytes=1_000)) as api, httpx.Client(base_url=api.url) as http:
        assert http.post("/jobs", content=b"x" * 1_001).status_code == 413

        def endless() -> Iterator[bytes]:
            while True:
                yield b"x" * 500

        # Without a Content-Length it is counted as it comes; the market hangs up in the middle.
        try:
            assert http.post("/jobs", content=endless()).status_code == 413
        except httpx.WriteError:
            assert http.get("/health").status_code == 200


def test_a_dead_node_is_said_and_leaves_the_rest_standing(world: World, api: MarketApi) -> None:
    order = world.order()
    state = world.chain.state

    def dead(job: JobId) -> Any:
        raise ChainUnavailable("the network broke here")

    world.chain.state = dead  # type: ignore[method-assign]
    with pytest.raises(MarketUnavailable, match="the network broke here"):
        api.submit(order)
    assert api.jobs() == []
    world.chain.state = state  # type: ignore[method-assign]
    assert api.submit(order).state == "Signed"


# The client's own side.


def test_a_market_that_is_not_there_is_named(world: World) -> None:
    with (
        world.api("http://127.0.0.1:1") as api,
        pytest.raises(MarketUnavailable, match=r"http://127\.0\.0\.1:1"),
    ):
        api.info()


def test_a_market_of_another_escrow_is_refused(world: World, api: MarketApi) -> None:
    with (
        MarketApi(api.url, Domain(1, world.domain.contract)) as other,
        pytest.raises(BadField, match="on chain 31337"),
    ):
        other.info()


def test_an_address_in_use_is_said(world: World, api: MarketApi, tmp_path: Path) -> None:
    port = int(api.url.rpartition(":")[2])
    other = World(tmp_path / "other")
    market = other.market()
    with pytest.raises(BadField, match="cannot be listened on"), serving(market, "127.0.0.1", port):
        pass
    market.close()


def test_stopping_ends_long_polls_at_once(world: World) -> None:
    market, heard = world.market(), list[Matches]()
    with serving(market, "127.0.0.1", 0) as url:
        api = world.api(url)
        thread = threading.Thread(
            target=lambda: heard.append(api.matches(Address(world.provider.address), 7, 20))
        )
        thread.start()
        time.sleep(0.3)
        begun = time.monotonic()
    thread.join()
    api.close()
    assert time.monotonic() - begun < 5
    assert heard == [Matches(cursor=7, matches=())]
