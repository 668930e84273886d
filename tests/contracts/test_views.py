"""Views of the escrow that no verb's own test reads."""

from dataclasses import replace

import pytest
from world import ONE, World, reverts

from deai.job import Timestamp, Wei


def test_a_job_is_committed_to_its_terms_of_now_from_award_to_end_and_to_no_others(world: World) -> None:
    job = world.judged()
    key = world.key(job)
    awarded = world.award(job, world.bid(job))
    delivered = world.deliver(job, awarded)
    disputed = world.dispute(job, delivered)
    assert world.view("isCommitted", key, disputed)
    assert not world.view("isCommitted", key, delivered)
    assert not world.view("isCommitted", key, replace(disputed, price=Wei(disputed.price + 1)))
    world.send(world.arbiter, "rule", key, disputed, 0)
    assert not world.view("isCommitted", key, disputed)


@pytest.mark.parametrize("after", [0, 1, 100, 101, 10_000])
def test_a_ramp_without_rise_is_level_before_and_after_its_times(world: World, after: int) -> None:
    job = world.job(
        price_start=Wei(ONE), price_cap=Wei(ONE), open_at=world.now, award_by=Timestamp(world.now + 100)
    )
    world.rpc("evm_increaseTime", after)
    assert world.view("ramp", job) == ONE


def test_a_ramp_ends_at_the_cap(world: World) -> None:
    job = world.job(
        price_start=Wei(0), price_cap=Wei(ONE), open_at=world.now, award_by=Timestamp(world.now + 100)
    )
    world.rpc("anvil_mine", hex(2), hex(200))
    assert world.view("ramp", job) == ONE


def test_a_ramp_that_falls_is_refused(world: World) -> None:
    job = world.job(price_start=Wei(2), price_cap=Wei(1))
    with reverts("Malformed", "priceStart"):
        world.ask(world.stranger, bytes.fromhex(world.data("ramp", job)[2:]))
