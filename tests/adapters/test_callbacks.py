"""Callbacks of a market: whom it calls, when, how often, and what it says."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deai import callback
from deai.cid import Cid, Codec
from deai.errors import BadField, WrongRequest
from deai.job import Address, JobId, Wei
from deai.wire import CallbackView, Order
from deai_market.callbacks import MAX_ATTEMPTS, MAX_SECONDS, delay
from deai_market.courier import Courier
from deai_market.market import Market
from deai_market.settings import Rules
from tests.market_world import COIN, DAI, World, account
from tests.receivers import OK, Heard, Receiver, says

RULES = Rules(poll_seconds=0.02, confirmations=2, callback_private=True)
SECRET = callback.new_secret()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def market(world: World) -> Iterator[Market]:
    with running(world) as market:
        yield market


class running:  # noqa: N801 - reads as a word of its own
    """A market that has started, with a courier of little patience."""

    def __init__(self, world: World, rules: Rules = RULES, courier: Courier | None = None) -> None:
        self.market = world.market(rules, courier or Courier(private=True, seconds=1))

    def __enter__(self) -> Market:
        self.market.start()
        return self.market

    def __exit__(self, *_: object) -> None:
        self.market.close()


def with_callback(order: Order, url: str, secret: str = SECRET) -> Order:
    return order.model_copy(update={"callback_url": url, "callback_secret": secret})


def submitted(world: World, market: Market, url: str, **fields: Any) -> Order:
    order = with_callback(world.order(**fields), url)
    market.book.submit(order, order.job.submitter)
    return order


def closed(world: World, market: Market, url: str) -> JobId:
    """The id of a job that was cancelled, for good."""
    order = submitted(world, market, url)
    world.chain.cancel(world.submitter, order.job.value())
    world.chain.mine(RULES.confirmations)
    return world.id(order)


def eventually(look: Callable[[], Any], seconds: float = 40) -> None:
    until = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.01)


def becomes(market: Market, job: JobId, step: str, attempts: int) -> CallbackView:
    eventually(
        lambda: (market.callbacks.view(job).step, market.callbacks.view(job).attempts) == (step, attempts)
    )
    return market.callbacks.view(job)


def read(heard: Heard, world: World) -> dict[str, Any]:
    return callback.verify(heard.headers, heard.body, SECRET, world.chain.now)


def test_a_paid_job_is_told_with_its_result_and_price(
    world: World, market: Market, receiver: Receiver
) -> None:
    order = submitted(world, market, receiver.url)
    job = world.award(order)
    closing = world.chain.head()
    world.pay(order)
    assert market.callbacks.view(job) == CallbackView(step="waiting", attempts=0)
    world.chain.mine(RULES.confirmations)
    view = becomes(market, job, "delivered", 1)
    assert view == CallbackView(step="delivered", attempts=1)
    (heard,) = receiver.heard
    told = read(heard, world)
    assert (told["type"], told["timestamp"]) == ("job.closed", "2027-01-15T08:00:00Z")
    tx = heard.data["tx"]
    assert told["data"] == {
        "job": job,
        "chain_id": 31337,
        "contract": world.deployment.contract,
        "submitter": world.submitter.address,
        "provider": world.provider.address,
        "state": "Closed",
        "outcome": "Paid",
        "token": DAI.address,
        "price": str(COIN // 2),
        "result_cid": str(Cid(Codec.DAG_PB, b"\7" * 32)),
        "closed_at": closing.time,
        "block": closing.number + 2,
        "tx": tx,
    }
    assert heard.headers["webhook-id"] == f"closed_{job}"
    with pytest.raises(WrongRequest, match="not signed"):
        callback.verify(heard.headers, heard.body, callback.new_secret(), world.chain.now)


def test_a_cancelled_job_is_told(world: World, market: Market, receiver: Receiver) -> None:
    job = closed(world, market, receiver.url)
    becomes(market, job, "delivered", 1)
    data = receiver.heard[0].data
    assert (data["outcome"], data["provider"], data["price"], data["result_cid"]) == (
        "Cancelled",
        None,
        None,
        None,
    )


def test_nobody_is_called_before_the_end_is_final_and_a_reorg_calls_nobody(
    world: World, market: Market, receiver: Receiver
) -> None:
    order = submitted(world, market, receiver.url)
    world.chain.cancel(world.submitter, order.job.value())
    world.chain.mine(RULES.confirmations - 1)
    time.sleep(1.2)
    assert market.callbacks.view(world.id(order)).step == "waiting"
    world.chain.reorg(RULES.confirmations)
    world.award(order)
    world.pay(order)
    world.chain.mine(RULES.confirmations)
    becomes(market, world.id(order), "delivered", 1)
    assert [heard.data["outcome"] for heard in receiver.heard] == ["Paid"]


def test_a_receiver_that_was_down_is_called_again_with_the_same_words(
    world: World, market: Market, receiver: Receiver
) -> None:
    receiver.answer = says(b"HTTP/1.1 500 Oops\r\n\r\n")
    job = closed(world, market, receiver.url)
    view = becomes(market, job, "due", 1)
    eventually(lambda: market.callbacks.view(job).error is not None)
    view = market.callbacks.view(job)
    assert view.error == "the receiver answered 500"
    assert view.next_at is not None
    assert 4 <= view.next_at - world.chain.now <= 6
    world.chain.advance(3)
    time.sleep(1.2)
    assert market.callbacks.view(job).attempts == 1
    world.chain.advance(4)
    becomes(market, job, "due", 2)
    eventually(lambda: len(receiver.heard) == 2)
    receiver.answer = says(OK)
    world.chain.advance(30)
    becomes(market, job, "delivered", 3)
    assert len({(heard.body, heard.headers["webhook-id"]) for heard in receiver.heard}) == 1
    assert len({heard.headers["webhook-timestamp"] for heard in receiver.heard}) == 3


def test_a_market_that_died_in_the_middle_of_an_attempt_makes_it_again(
    world: World, receiver: Receiver
) -> None:
    dead = threading.Event()

    class Dying(Courier):
        def post(self, *args: Any) -> int:
            super().post(*args)
            dead.set()
            time.sleep(3_600)  # killed: nothing that follows happens
            raise AssertionError

    with running(world, courier=Dying(private=True)) as market:
        job = closed(world, market, receiver.url)
        assert dead.wait(10)
    with running(world) as market:
        assert market.callbacks.view(job).attempts == 1
        time.sleep(1.2)
        assert market.callbacks.view(job).attempts == 1
        world.chain.advance(30)
        becomes(market, job, "delivered", 2)
    assert len({heard.headers["webhook-id"] for heard in receiver.heard}) == 1
    assert len(receiver.heard) == 2


def test_a_callback_that_waits_is_made_after_a_restart(world: World, receiver: Receiver) -> None:
    with running(world) as market:
        order = submitted(world, market, receiver.url)
    world.chain.cancel(world.submitter, order.job.value())
    world.chain.mine(RULES.confirmations)
    with running(world) as market:
        becomes(market, world.id(order), "delivered", 1)


def test_it_is_given_up_after_so_many_attempts_and_that_is_said(
    world: World, market: Market, receiver: Receiver
) -> None:
    receiver.answer = says(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n")
    job = closed(world, market, receiver.url)
    answered = 0
    while market.callbacks.view(job).step != "given up":
        if len(receiver.heard) > answered:
            answered = len(receiver.heard)
            time.sleep(0.2)
            world.chain.advance(18_000)
        time.sleep(0.01)
    view = market.callbacks.view(job)
    assert view.error == "the receiver answered 302, and redirects are not followed"
    assert view.attempts < MAX_ATTEMPTS  # here a day was over first
    assert view.next_at is None
    world.chain.advance(MAX_SECONDS)
    time.sleep(1.2)
    assert len(receiver.heard) == view.attempts


def test_a_receiver_that_is_gone_is_not_called_again(
    world: World, market: Market, receiver: Receiver
) -> None:
    receiver.answer = says(b"HTTP/1.1 410 Gone\r\n\r\n")
    job = closed(world, market, receiver.url)
    assert becomes(market, job, "given up", 1).error == "the receiver answered 410"


@pytest.mark.parametrize("roll", [0.0, 0.5, 0.999])
def test_the_pauses_grow_and_a_day_holds_all_attempts(roll: float) -> None:
    pauses = [delay(attempt, roll) for attempt in range(1, MAX_ATTEMPTS)]
    assert pauses == sorted(pauses)
    assert 4 <= pauses[0] <= 6
    assert pauses[-1] <= 4.8 * 3_600
    assert roll > 0.5 or sum(pauses) < MAX_SECONDS
    assert len({delay(3, roll) for roll in (0.0, 0.3, 0.9)}) == 3


def test_a_slow_receiver_delays_only_its_own_submitter_and_that_one_little(
    world: World, receiver: Receiver
) -> None:
    def stall(_: object) -> None:
        time.sleep(5)

    slow, other = Receiver(stall), world.other
    world.chain.deposit(world.submitter, DAI.address, Wei(400 * COIN))
    with slow, running(world, courier=Courier(private=True, seconds=3)) as market:
        jobs = [closed(world, market, slow.url) for _ in range(20)]
        eventually(lambda: slow.connections >= 2)
        order = with_callback(world.order(signer=other, submitter=Address(other.address)), receiver.url)
        market.book.submit(order, Address(other.address))
        world.chain.cancel(other, order.job.value())
        world.chain.mine(RULES.confirmations)
        becomes(market, world.id(order), "delivered", 1)
        waiting = sum(market.callbacks.view(job).attempts == 0 for job in jobs)
        assert waiting > 10, "its own submitter's others wait for the two of them"


def test_addresses_of_the_markets_own_net_are_not_called(world: World, receiver: Receiver) -> None:
    rules = Rules(poll_seconds=0.02, confirmations=2)
    with running(world, rules, Courier(private=False, seconds=1)) as market:
        with pytest.raises(BadField, match="not at a public address"):
            submitted(world, market, receiver.url)
        job = closed(world, market, f"http://localhost:{receiver.port}/")
        becomes(market, job, "due", 1)
        eventually(lambda: market.callbacks.view(job).error == "the host is not at a public address")
    assert receiver.connections == 0


# Whose it is.


def test_a_callback_comes_from_the_jobs_submitter_alone(world: World) -> None:
    """A job's signature is seen by others: its provider, and everybody once it is on chain."""
    with world.served(RULES) as api:
        order = world.order()
        stolen = with_callback(order, "http://thief.example/")
        with pytest.raises(WrongRequest, match="its submitter signed"):
            api._send("POST", "/jobs", stolen)
        for thief in (world.provider, world.other, account(9)):
            with pytest.raises(WrongRequest, match="comes from the job's submitter"):
                api.submit(stolen, thief)
        assert api.jobs() == []
        # Who comes first with the bare job takes nothing from the submitter.
        api.submit(order)
        mine = with_callback(order, "http://mine.example/")
        with pytest.raises(WrongRequest, match="no callback"):
            api.callback(world.submitter, world.id(order))
        api.submit(mine, world.submitter)
        api.submit(mine, world.submitter)
        api.submit(order)
        for changed in (
            with_callback(order, "http://mine.example/2"),
            with_callback(order, mine.callback_url or "", callback.new_secret()),
        ):
            with pytest.raises(WrongRequest, match="another callback"):
                api.submit(changed, world.submitter)
        for thief in (world.provider, world.other):
            with pytest.raises(WrongRequest, match=r"its submitter|comes from"):
                api.submit(stolen, thief)
            with pytest.raises(WrongRequest, match="belongs to the submitter"):
                api.callback(thief, world.id(order))
        assert api.callback(world.submitter, world.id(order)) == CallbackView(step="waiting", attempts=0)


@pytest.mark.parametrize(
    ("url", "secret", "field"),
    [
        ("http://127.0.0.1/", SECRET, "callback_url"),
        ("ftp://example.org/", SECRET, "callback_url"),
        ("http://name:word@example.org/", SECRET, "callback_url"),
        ("http://example.org/", None, "callback_secret"),
        ("http://example.org/", "whsec_AAAA", "callback_secret"),
        (None, SECRET, "callback_secret"),
    ],
)
def test_a_callback_that_cannot_be_made_is_refused_with_the_order(
    world: World, url: str | None, secret: str | None, field: str
) -> None:
    with world.served() as api:
        order = world.order().model_copy(update={"callback_url": url, "callback_secret": secret})
        with pytest.raises(BadField) as refused:
            api.submit(order, world.submitter)
        assert refused.value.field == field
        for private in (url, secret):
            assert private is None or private not in str(refused.value)
        assert api.jobs() == []
