"""award: joins a job and a bid, and locks the price and the bond."""

from dataclasses import replace
from typing import Any

import pytest
from test_post import MALFORMED, MALFORMED_WITH_AN_ARBITER
from world import NOBODY, ONE, World, reverts, terms_of

from deai.job import MAX_BID_SECONDS, JobState, Timestamp, Wei, award_terms, ramp


def test_an_award_locks_price_and_bond_and_fixes_the_terms(world: World) -> None:
    job = world.job()
    bid = world.bid(job)
    at = Timestamp(world.now + 5)
    terms = world.award(job, bid, by=world.matcher, at=at)
    assert terms == award_terms(job, bid, at, world.matcher)
    assert world.view("isCommitted", world.key(job), terms)
    assert terms.fee == bid.price * 250 // 10_000
    assert world.state(job) is JobState.AWARDED
    assert world.balance(world.submitter) == 990 * ONE
    assert world.balance(world.provider) == 995 * ONE


def test_an_award_by_a_stranger_carries_no_fee(world: World) -> None:
    job = world.job()
    terms = world.award(job, world.bid(job), by=world.stranger)
    assert (terms.matcher, terms.fee) == (NOBODY, 0)


def test_a_posted_job_and_a_placed_bid_need_no_signatures(world: World) -> None:
    job = world.job()
    bid = world.bid(job)
    world.send(world.submitter, "post", job)
    world.send(world.provider, "bid", bid)
    world.send(world.stranger, "award", job, b"", bid, b"")
    assert world.state(job) is JobState.AWARDED


def test_a_job_without_signature_that_was_not_posted_reverts(world: World) -> None:
    job = world.job()
    bid = world.bid(job)
    with reverts("WrongSignature", world.submitter, world.key(job)):
        world.send(world.stranger, "award", job, b"", bid, world.signed(bid))


def test_a_bid_without_signature_that_was_not_placed_reverts(world: World) -> None:
    job = world.job()
    with reverts("NoBid", world.key(job), world.provider):
        world.send(world.stranger, "award", job, world.signed(job), world.bid(job), b"")


def test_a_job_signed_by_somebody_else_reverts(world: World) -> None:
    job = world.job()
    bid = world.bid(job)
    forged = world.signed(replace(job, submitter=world.rival))
    with reverts("WrongSignature", world.submitter, world.key(job)):
        world.send(world.stranger, "award", job, forged, bid, world.signed(bid))


def test_a_bid_signed_by_somebody_else_reverts(world: World) -> None:
    job = world.job()
    bid = world.bid(job)
    forged = world.signed(replace(bid, provider=world.rival))
    with reverts("WrongSignature", world.provider, world.view("bidDigest", bid)):
        world.send(world.stranger, "award", job, world.signed(job), bid, forged)


@pytest.mark.parametrize(("field", "changes"), MALFORMED)
def test_a_malformed_job_is_refused(world: World, field: str, changes: dict[str, Any]) -> None:
    job = world.job(**changes)
    with reverts("Malformed", field):
        world.award(job, world.bid(job))


@pytest.mark.parametrize(("field", "changes"), MALFORMED_WITH_AN_ARBITER)
def test_a_malformed_job_with_an_arbiter_is_refused(
    world: World, field: str, changes: dict[str, Any]
) -> None:
    job = world.judged(**changes)
    with reverts("Malformed", field):
        world.award(job, world.bid(job))


def test_a_submitter_that_is_its_own_arbiter_is_refused(world: World) -> None:
    job = world.judged(arbiter=world.submitter)
    with reverts("Malformed", "arbiter"):
        world.award(job, world.bid(job))


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_job_of_another_epoch_is_refused(world: World, epoch: int) -> None:
    world.send(world.submitter, "cancelAll", world.token)
    job = world.job(epoch=epoch)
    with reverts("WrongEpoch", world.key(job), epoch, 1):
        world.award(job, world.bid(job))


def test_an_award_just_before_award_by_succeeds(world: World) -> None:
    job = world.job()
    world.award(job, world.bid(job, expires_at=job.award_by), at=job.award_by - 1)
    assert world.state(job) is JobState.AWARDED


@pytest.mark.parametrize("late", [0, 1])
def test_an_award_from_award_by_on_reverts(world: World, late: int) -> None:
    job = world.job()
    bid = world.bid(job, expires_at=Timestamp(job.award_by + 5))
    with reverts("JobExpired", world.key(job), job.award_by):
        world.award(job, bid, by=world.matcher, at=job.award_by + late)


def test_before_open_at_nobody_but_the_matcher_awards(world: World) -> None:
    job = world.job(open_at=Timestamp(world.now + 100))
    bid = world.bid(job, expires_at=Timestamp(job.open_at + 10))
    for who in (world.stranger, world.provider, world.submitter):
        with reverts("NotOpen", world.key(job), job.open_at):
            world.award(job, bid, by=who, at=max(world.now + 1, job.open_at - 10))
    with reverts("NotOpen", world.key(job), job.open_at):
        world.award(job, bid, at=job.open_at - 1)


def test_before_open_at_the_matcher_awards(world: World) -> None:
    job = world.job(open_at=Timestamp(world.now + 100))
    world.award(job, world.bid(job, price=job.price_start), by=world.matcher)
    assert world.state(job) is JobState.AWARDED


@pytest.mark.parametrize("late", [0, 1])
def test_from_open_at_on_anyone_awards(world: World, late: int) -> None:
    job = world.job(open_at=Timestamp(world.now + 100))
    bid = world.bid(job, expires_at=Timestamp(job.open_at + 10))
    world.award(job, bid, by=world.stranger, at=job.open_at + late)
    assert world.state(job) is JobState.AWARDED


def test_a_bid_for_another_job_reverts(world: World) -> None:
    job, other = world.job(), world.job()
    with reverts("WrongJob", world.key(job), world.key(other)):
        world.award(job, world.bid(other))


def test_a_bid_by_the_submitter_itself_reverts(world: World) -> None:
    job = world.job()
    with reverts("Malformed", "provider"):
        world.award(job, world.bid(job, provider=world.submitter))


def test_a_bid_by_the_jobs_arbiter_reverts(world: World) -> None:
    job = world.judged(arbiter=world.rival)
    with reverts("Malformed", "provider"):
        world.award(job, world.bid(job, provider=world.rival))


def test_an_award_with_an_arbiter_fixes_what_a_case_costs(world: World) -> None:
    job = world.judged(arbiter_data=b"\x09" * 32)
    bid = world.bid(job)
    at = Timestamp(world.now + 5)
    orders = (job, world.signed(job), bid, world.signed(bid))
    sent = world.send(world.stranger, "award", *orders, at=at)
    assert terms_of(sent) == award_terms(job, bid, at, world.stranger)
    awarded = sent.only("JobAwarded")
    assert (awarded["id"], awarded["submitter"], awarded["provider"]) == (
        world.key(job),
        world.submitter,
        world.provider,
    )
    assert (awarded["spec"], awarded["arbiterData"]) == (job.spec, job.arbiter_data)
    assert world.balance(world.submitter) == 990 * ONE


def test_a_bid_by_the_zero_address_reverts(world: World) -> None:
    job = world.job()
    with reverts("Malformed", "provider"):
        world.send(
            world.stranger, "award", job, world.signed(job), world.bid(job, provider=NOBODY), bytes(65)
        )


@pytest.mark.parametrize(("late", "fits"), [(-1, True), (0, False), (1, False)])
def test_a_bid_is_awarded_only_before_it_expires(world: World, late: int, fits: bool) -> None:
    job = world.job()
    bid = world.bid(job)
    if fits:
        world.award(job, bid, at=bid.expires_at + late)
        assert world.state(job) is JobState.AWARDED
    else:
        with reverts("BidExpired", world.key(job), bid.expires_at):
            world.award(job, bid, at=bid.expires_at + late)


@pytest.mark.parametrize(("seconds", "fits"), [(-1, True), (0, True), (1, False)])
def test_a_bid_that_lives_too_long_reverts(world: World, seconds: int, fits: bool) -> None:
    job = world.job()
    at = Timestamp(world.now + 10)
    bid = world.bid(job, expires_at=Timestamp(at + MAX_BID_SECONDS + seconds))
    if fits:
        world.award(job, bid, at=at)
        assert world.state(job) is JobState.AWARDED
    else:
        with reverts("BidTooLong", world.key(job), bid.expires_at):
            world.award(job, bid, at=at)


@pytest.mark.parametrize(("more", "fits"), [(-1, True), (0, True), (1, False)])
@pytest.mark.parametrize("after", [1, 333, 998])
def test_a_price_up_to_the_ramp_is_paid_and_not_more(world: World, after: int, more: int, fits: bool) -> None:
    job = world.job()
    at = Timestamp(job.open_at + after)
    most = ramp(job, at)
    bid = world.bid(job, price=Wei(most + more), expires_at=Timestamp(at + 1))
    if fits:
        assert world.award(job, bid, at=at).price == most + more
    else:
        with reverts("PriceAboveRamp", world.key(job), most + 1, most):
            world.award(job, bid, at=at)


def test_a_submitter_whose_balance_misses_one_unit_reverts(world: World) -> None:
    job = world.job()
    world.send(world.submitter, "withdraw", world.token, world.submitter, 990 * ONE + 1)
    with reverts("InsufficientBalance", world.token, world.submitter, 10 * ONE - 1, 10 * ONE):
        world.award(job, world.bid(job))


def test_a_provider_whose_balance_misses_one_unit_reverts(world: World) -> None:
    job = world.job()
    world.send(world.provider, "withdraw", world.token, world.provider, 995 * ONE + 1)
    with reverts("InsufficientBalance", world.token, world.provider, 5 * ONE - 1, 5 * ONE):
        world.award(job, world.bid(job))


def test_balances_that_just_suffice_are_locked_whole(world: World) -> None:
    job = world.job()
    world.send(world.submitter, "withdraw", world.token, world.submitter, 990 * ONE)
    world.send(world.provider, "withdraw", world.token, world.provider, 995 * ONE)
    world.award(job, world.bid(job))
    assert (world.balance(world.submitter), world.balance(world.provider)) == (0, 0)


def test_the_checks_come_in_the_order_of_the_requirements(world: World) -> None:
    """A job in which everything is wrong is refused for the first thing; mending that shows the next."""
    wrong = world.job(deliver_seconds=0, award_by=Timestamp(world.now + 1), open_at=world.now)
    bid = world.bid(world.job(), price=Wei(2**96 - 1), expires_at=Timestamp(2**39), provider=world.matcher)
    args = (wrong, b"\x01", bid, b"\x01")
    with reverts("WrongSignature", world.submitter, world.key(wrong)):
        world.send(world.stranger, "award", *args, at=world.now + 5)
    with reverts("Malformed", "deliverSeconds"):
        world.send(world.stranger, "award", wrong, world.signed(wrong), bid, b"\x01")
    late = replace(wrong, deliver_seconds=1)
    with reverts("JobExpired", world.key(late), late.award_by):
        world.send(world.stranger, "award", late, world.signed(late), bid, b"\x01")
    early = world.job(open_at=Timestamp(world.now + 500))
    with reverts("NotOpen", world.key(early), early.open_at):
        world.send(world.stranger, "award", early, world.signed(early), bid, b"\x01")
    job = world.job()
    signature = world.signed(job)
    with reverts("WrongJob", world.key(job), bytes.fromhex(bid.job[2:])):
        world.send(world.stranger, "award", job, signature, bid, b"\x01")
    bid = replace(bid, job=world.id(job))
    with reverts("WrongSignature", bid.provider, world.view("bidDigest", bid)):
        world.send(world.stranger, "award", job, signature, bid, b"\x01")
    with reverts("BidTooLong", world.key(job), bid.expires_at):
        world.send(world.stranger, "award", job, signature, bid, world.signed(bid))
    bid = replace(bid, expires_at=Timestamp(world.now + 60))
    at = Timestamp(world.now + 5)
    with reverts("PriceAboveRamp", world.key(job), bid.price, ramp(job, at)):
        world.send(world.stranger, "award", job, signature, bid, world.signed(bid), at=at)
    bid = replace(bid, price=Wei(ONE))
    with reverts("InsufficientBalance", world.token, world.matcher, 0, job.bond):
        world.send(world.stranger, "award", job, signature, bid, world.signed(bid))
