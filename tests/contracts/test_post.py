"""post: a job on chain, without a signature. Its form is checked as the award checks it."""

from typing import Any

import pytest
from world import NOBODY, ONE, World, plain, reverts

from deai.job import JobState, Outcome

MALFORMED = [
    ("priceStart", {"price_start": 121 * 10**18}),
    ("openAt", {"open_at": 2**40 - 1, "award_by": 2**40 - 1}),
    ("openAt", {"open_at": 2**40 - 1}),
    ("deliverSeconds", {"deliver_seconds": 0}),
    ("spec", {"spec": bytes(32)}),
    ("matcherFeeBps", {"matcher_fee_bps": 10_001}),
    ("disputeFee", {"dispute_fee": 1}),
    ("arbiterData", {"arbiter_data": b"\x01" * 32}),
    ("rulingSeconds", {"ruling_seconds": 1}),
]
MALFORMED_WITH_AN_ARBITER = [
    ("disputeFee", {"dispute_fee": 5 * ONE + 1}),
    ("challengeSeconds", {"challenge_seconds": 0}),
    ("rulingSeconds", {"ruling_seconds": 0}),
]


def test_a_posted_job_is_open_and_emitted_in_full(world: World) -> None:
    job = world.job()
    balance = world.balance(world.submitter)
    posted = world.send(world.submitter, "post", job).only("JobPosted")
    assert (posted["id"], posted["submitter"]) == (world.key(job), world.submitter)
    assert posted["job"] == plain(job)
    assert world.ending(job) == (JobState.OPEN, Outcome.NONE)
    assert world.balance(world.submitter) == balance


def test_a_job_of_the_greatest_values_is_accepted(world: World) -> None:
    greatest = 2**96 - 1
    job = world.job(
        price_start=greatest,
        price_cap=greatest,
        bond=greatest,
        matcher_fee_bps=10_000,
        award_by=2**40 - 1,
        deliver_seconds=2**32 - 1,
        challenge_seconds=2**24 - 1,
        arbiter=world.arbiter,
        dispute_fee=greatest,
        arbiter_data=b"\xff" * 32,
        ruling_seconds=2**24 - 1,
    )
    world.send(world.submitter, "post", job)
    assert world.state(job) is JobState.OPEN


def test_only_the_submitter_posts(world: World) -> None:
    with reverts("WrongCaller", world.stranger, world.submitter):
        world.send(world.stranger, "post", world.job())


def test_a_job_is_posted_once(world: World) -> None:
    job = world.job()
    world.send(world.submitter, "post", job)
    with reverts("WrongState", world.key(job), JobState.OPEN):
        world.send(world.submitter, "post", job)


@pytest.mark.parametrize(("field", "changes"), MALFORMED)
def test_a_malformed_job_is_refused(world: World, field: str, changes: dict[str, Any]) -> None:
    with reverts("Malformed", field):
        world.send(world.submitter, "post", world.job(**changes))


@pytest.mark.parametrize(("field", "changes"), MALFORMED_WITH_AN_ARBITER)
def test_a_malformed_job_with_an_arbiter_is_refused(
    world: World, field: str, changes: dict[str, Any]
) -> None:
    with reverts("Malformed", field):
        world.send(world.submitter, "post", world.judged(**changes))


def test_a_submitter_that_is_its_own_arbiter_is_refused(world: World) -> None:
    with reverts("Malformed", "arbiter"):
        world.send(world.submitter, "post", world.judged(arbiter=world.submitter))


def test_a_case_may_cost_the_whole_bond(world: World) -> None:
    job = world.judged(dispute_fee=5 * ONE)
    world.send(world.submitter, "post", job)
    assert world.state(job) is JobState.OPEN


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_job_of_another_epoch_is_refused(world: World, epoch: int) -> None:
    world.send(world.submitter, "cancelAll", world.token)
    job = world.job(epoch=epoch)
    with reverts("WrongEpoch", world.key(job), epoch, 1):
        world.send(world.submitter, "post", job)


def test_a_job_in_the_native_coin_is_accepted(world: World) -> None:
    job = world.job(token=NOBODY)
    world.send(world.submitter, "post", job)
    assert world.state(job) is JobState.OPEN


def test_post_just_before_award_by_succeeds(world: World) -> None:
    job = world.job()
    world.send(world.submitter, "post", job, at=job.award_by - 1)
    assert world.state(job) is JobState.OPEN


@pytest.mark.parametrize("late", [0, 1])
def test_post_from_award_by_on_reverts(world: World, late: int) -> None:
    job = world.job()
    with reverts("JobExpired", world.key(job), job.award_by):
        world.send(world.submitter, "post", job, at=job.award_by + late)
