"""settle: pays the provider once the challenge window is over."""

import pytest
from world import ONE, RESULT, World, reverts

from deai.job import JobState, Outcome


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
