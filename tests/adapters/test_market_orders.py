"""Orders at a market: their life from the signature to the payment, and what is refused of them."""

import hashlib
import time
from typing import Any

import pytest

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
from deai.job import Address, JobId, Timestamp, Wei
from deai.market_api import MarketApi
from deai.signing import Domain
from deai.wire import LogChunk
from deai_market.settings import Rules
from tests.adapters.market_fixtures import awarded, eventually, until
from tests.market_world import COIN, DAI, NOW, RULES, World, account, spec

JUDGED = {"arbiter": Address(account(5).address), "ruling_seconds": 300}


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


def test_the_same_order_again_changes_nothing(world: World, api: MarketApi) -> None:
    order = world.order()
    assert api.submit(order).id == api.submit(order).id
    assert len(api.jobs()) == 1


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"token": Address("0x" + "11" * 20)}, "job.token"),
        ({"arbiter": Address("0x" + "11" * 20)}, "job.arbiter"),
        ({"arbiter_data": b"\1" * 32}, "job.arbiter_data"),
        ({"dispute_fee": Wei(1)}, "job.dispute_fee"),
        ({"ruling_seconds": 1}, "job.ruling_seconds"),
        (JUDGED | {"dispute_fee": Wei(COIN + 1)}, "job.dispute_fee"),
        (JUDGED | {"ruling_seconds": 0}, "job.ruling_seconds"),
        (JUDGED | {"challenge_seconds": 0}, "job.challenge_seconds"),
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


def test_a_dead_node_is_said_and_leaves_the_rest_standing(world: World, api: MarketApi) -> None:
    order = world.order()
    state = world.chain.state

    def dead(job: JobId) -> Any:
        raise ChainUnavailable("the network broke here")

    world.chain.state = dead  # type: ignore[method-assign]
    with pytest.raises(MarketUnavailable, match="the chain's node is out of reach") as said:
        api.submit(order)
    # The node's URL may hold the operator's password.
    assert "the network broke here" not in str(said.value)
    assert api.jobs() == []
    world.chain.state = state  # type: ignore[method-assign]
    assert api.submit(order).state == "Signed"
