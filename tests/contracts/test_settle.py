"""settle: pays the provider once the challenge window is over."""

import pytest
from world import ONE, RESULT, World, reverts

from deai.job import JobState, Outcome, Wei


def test_settle_pays_price_less_fee_and_returns_the_bond(world: World) -> None:
    job, terms = world.delivered()
    provider, matcher = world.balance(world.provider), world.balance(world.matcher)
    sent = world.send(world.stranger, "settle", world.key(job), terms, at=terms.window_end)
    assert world.ending(job) == (JobState.CLOSED, Outcome.PAID)
    assert world.balance(world.provider) == provider + 15 * ONE - terms.fee
    assert world.balance(world.matcher) == matcher + terms.fee
    assert terms.fee == 10 * ONE * 250 // 10_000
    assert sent.only("JobClosed") == {
        "id": world.key(job),
        "outcome": Outcome.PAID,
        "payout": (0, 15 * ONE - terms.fee, terms.fee, 0, 0),
    }


@pytest.mark.parametrize("early", [1, 300])
def test_settle_before_the_window_closes_reverts(world: World, early: int) -> None:
    job, terms = world.delivered()
    with reverts("WindowOpen", world.key(job), terms.window_end):
        world.send(
            world.stranger, "settle", world.key(job), terms, at=max(terms.window_end - early, world.now + 1)
        )


@pytest.mark.parametrize("late", [0, 1, 10**6])
def test_settle_once_the_window_is_over_succeeds(world: World, late: int) -> None:
    job, terms = world.delivered()
    world.send(world.stranger, "settle", world.key(job), terms, at=terms.window_end + late)
    assert world.ending(job) == (JobState.CLOSED, Outcome.PAID)


def test_settle_of_an_undelivered_job_reverts(world: World) -> None:
    job, terms = world.awarded()
    with reverts("WrongState", world.key(job), JobState.AWARDED):
        world.send(world.stranger, "settle", world.key(job), terms.delivered(RESULT, terms.deliver_by))


def test_settle_with_the_terms_of_the_award_reverts(world: World) -> None:
    job, terms = world.awarded()
    world.send(world.provider, "deliver", world.key(job), terms, RESULT)
    with reverts("WrongTerms", world.key(job)):
        world.send(world.stranger, "settle", world.key(job), terms, at=world.now + 1000)


def test_one_unit_of_a_token_is_paid_like_any_amount(world: World) -> None:
    small = {"price_start": Wei(2), "price_cap": Wei(2), "bond": Wei(0), "matcher_fee_bps": 5_000}
    job = world.job(**small)
    terms = world.award(job, world.bid(job, price=Wei(2)), by=world.matcher)
    before = [world.balance(who) for who in (world.provider, world.matcher)]
    world.send(world.submitter, "approve", world.key(job), world.deliver(job, terms))
    assert [world.balance(who) for who in (world.provider, world.matcher)] == [each + 1 for each in before]


def test_one_unit_is_refunded_and_burned_like_any_amount(world: World) -> None:
    job = world.job(price_start=Wei(1), price_cap=Wei(1), bond=Wei(1))
    terms = world.award(job, world.bid(job, price=Wei(1)), by=world.matcher)
    before = world.balance(world.submitter)
    world.send(world.stranger, "reclaim", world.key(job), terms, at=terms.deliver_by)
    assert (world.balance(world.submitter), world.burned()) == (before + 1, 1)


def test_an_arbiters_one_unit_is_paid_like_any_amount(world: World) -> None:
    job = world.judged(price_start=Wei(1), price_cap=Wei(1), bond=Wei(1), dispute_fee=Wei(1))
    terms = world.award(job, world.bid(job, price=Wei(1)), by=world.matcher)
    terms = world.dispute(job, world.deliver(job, terms))
    world.send(world.arbiter, "rule", world.key(job), terms, 10_000)
    assert world.balance(world.arbiter) == 1
