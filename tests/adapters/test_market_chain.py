"""What a market makes of all that the escrow offers: posts, trees of jobs, the native coin, disputes, the end of all jobs at once."""

from functools import partial
from typing import Any

import pytest

from deai import car
from deai.ask import Prices
from deai.cid import Cid, Codec
from deai.errors import BadField, BadSignature, WrongEpoch
from deai.job import ZERO_ADDRESS, Address, Wei
from deai.market_api import MarketApi
from deai.signing import sign_jobs
from deai.store import Block
from tests.adapters.market_fixtures import awarded, eventually, until
from tests.market_world import COIN, DAI, NOW, World, spec


def test_a_job_that_was_posted_needs_no_request_of_its_submitter(world: World, api: MarketApi) -> None:
    api.ask(world.ask())
    order = world.order()
    job = world.id(order)
    world.chain.post(world.submitter, order.job.value())
    eventually(lambda: api.jobs(state="Open"), lambda found: bool(found) and "hand it in" in found[0].note)
    data = spec().canonical()
    api.upload(world.submitter, b"".join(car.write([], [Block(Cid.of(data, Codec.RAW), data)])))
    assert api.matches(Address(world.provider.address), 0, 10).matches[0].id == job
    api.bid(world.bid(job))
    until(lambda: api.job(job), "Awarded")


def test_jobs_signed_together_are_orders_like_any(world: World, api: MarketApi) -> None:
    plain = [world.order() for _ in range(3)]
    signatures = sign_jobs(world.submitter, [order.job.value() for order in plain], world.domain)
    for order, signature in zip(plain, signatures, strict=True):
        assert api.submit(order.model_copy(update={"signature": signature})).state == "Signed"
    alien = world.order().model_copy(update={"signature": signatures[0]})
    with pytest.raises(BadSignature):
        api.submit(alien)


def test_a_job_in_the_native_coin_is_an_order_like_any(world: World, api: MarketApi) -> None:
    for each in (world.submitter, world.provider):
        world.chain.deposit(each, ZERO_ADDRESS, Wei(20 * COIN))
    coin: dict[str, Any] = {"prices": {ZERO_ADDRESS: Prices(job=COIN)}, "max_bond": {ZERO_ADDRESS: COIN}}
    api.ask(world.ask(**coin))
    job = api.submit(world.order(token=ZERO_ADDRESS)).id
    assert api.matches(Address(world.provider.address), 0, 10).matches[0].id == job
    api.bid(world.bid(job, price=Wei(COIN)))
    view = until(lambda: api.job(job), "Awarded")
    assert view.history[-1].text == f"awarded to {world.provider.address} for 1 ETH, bond 1 ETH"


def test_a_disputed_job_is_shown_until_its_ruling(world: World, api: MarketApi) -> None:
    order = awarded(world, api, **world.judged())
    job, terms = world.id(order), world.dispute(order)
    view = until(lambda: api.job(job), "Disputed")
    assert view.rule_by == terms.rule_by == NOW + 300
    assert view.note == f"disputed; {world.arbiter.address} has until 2027-01-15 08:05:00 UTC to rule"
    assert view.history[-1].text == (
        f"disputed by {world.submitter.address} and prepaid 0.25 DAI; the arbiter may rule before"
        " 2027-01-15 08:05:00 UTC"
    )
    assert api.jobs(state="Disputed")[0].id == job
    world.chain.rule(world.arbiter, job, terms, 0)
    view = until(lambda: api.job(job), "Refunded")
    assert view.history[-1].text == (
        "Refunded: 0.75 DAI to the submitter, 0.25 DAI to the arbiter, 0.75 DAI burned"
    )


def test_a_case_that_lapsed_is_a_split(world: World, api: MarketApi) -> None:
    order = awarded(world, api, **world.judged())
    job, terms = world.id(order), world.dispute(order)
    world.chain.advance(300)
    eventually(lambda: api.job(job).note, lambda note: note.endswith("anyone may let the case lapse"))
    world.chain.lapse(world.other, job, terms)
    assert until(lambda: api.job(job), "Split").provider == Address(world.provider.address)
    assert [view.id for view in api.jobs(state="Split")] == [job]


def test_cancelling_all_takes_every_open_order_of_that_token_out(world: World, api: MarketApi) -> None:
    world.chain.deposit(world.submitter, ZERO_ADDRESS, Wei(20 * COIN))
    mine, posted = world.order(), world.order()
    world.chain.post(world.submitter, posted.job.value())
    coin, others = (
        world.order(token=ZERO_ADDRESS),
        world.order(signer=world.other, submitter=world.other.address),
    )
    for order in (mine, posted, coin, others):
        api.submit(order)
    world.chain.cancel_all(world.submitter, DAI.address)
    ended = "its submitter ended all its jobs of that epoch; nobody can award it any more"
    for job in (world.id(mine), world.id(posted)):
        view = eventually(partial(api.job, job), lambda view: view.note == ended)
        assert view.history[-1].event == "AllCancelled"
    both: dict[str, Any] = {
        "prices": {ZERO_ADDRESS: Prices(job=COIN // 2), DAI.address: Prices(job=COIN // 2)},
        "max_bond": {ZERO_ADDRESS: COIN, DAI.address: COIN},
    }
    world.chain.deposit(world.provider, ZERO_ADDRESS, Wei(20 * COIN))
    api.ask(world.ask(**both))
    found = eventually(
        lambda: api.matches(Address(world.provider.address)).matches, lambda found: len(found) == 2
    )
    assert {match.id for match in found} == {world.id(coin), world.id(others)}
    with pytest.raises(WrongEpoch):
        api.submit(world.order())
    assert api.submit(world.order(epoch=1)).state == "Signed"


def test_orders_come_back_when_a_reorg_undoes_the_end_of_them_all(world: World, api: MarketApi) -> None:
    order = world.order()
    api.submit(order)
    world.chain.cancel_all(world.submitter, DAI.address)
    eventually(lambda: api.job(world.id(order)).note, lambda note: "ended all its jobs" in note)
    world.chain.reorg(1)
    api.ask(world.ask())
    assert api.matches(Address(world.provider.address), 0, 10).matches[0].id == world.id(order)


def test_an_order_of_another_epoch_is_refused(world: World, api: MarketApi) -> None:
    with pytest.raises(WrongEpoch) as refused:
        api.submit(world.order(epoch=1))
    assert refused.value.args[1:] == (1, 0)
    assert api.jobs() == []


def test_the_orders_of_a_wallet_that_is_a_contract_are_refused_with_the_way_out(
    world: World, api: MarketApi
) -> None:
    for signature in (b"\1" * 200, b"\1" * 64):
        order = world.order().model_copy(update={"signature": signature})
        with pytest.raises(BadSignature, match="a wallet that is a contract posts its job on chain"):
            api.submit(order)
    huge = world.order().model_copy(update={"signature": bytes(64 + 33 * 32)})
    with pytest.raises(BadField, match="has at most 1088 bytes"):
        api.submit(huge)
