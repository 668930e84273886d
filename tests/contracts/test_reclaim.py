"""reclaim: the submitter's money back from a provider that did not deliver; its bond is burned."""

import pytest
from world import ONE, World, reverts

from deai.job import JobState, Outcome


@pytest.mark.parametrize("late", [0, 1, 10**6])
def test_from_the_deadline_on_anyone_reclaims_for_the_submitter(world: World, late: int) -> None:
    job, terms = world.awarded()
    held = world.held()
    sent = world.send(world.stranger, "reclaim", world.key(job), terms, at=terms.deliver_by + late)
    assert sent.only("JobClosed") == {
        "id": world.key(job),
        "outcome": Outcome.REFUNDED,
        "payout": (10 * ONE, 0, 0, 0, 5 * ONE),
    }
    assert world.ending(job) == (JobState.CLOSED, Outcome.REFUNDED)
    assert world.balance(world.submitter) == 1000 * ONE
    assert world.balance(world.provider) == 995 * ONE
    assert world.balance(world.stranger) == 0
    assert world.view("burned", world.token) == 5 * ONE
    assert world.held() == held


def test_before_the_deadline_nothing_is_reclaimed(world: World) -> None:
    job, terms = world.awarded()
    with reverts("DeliverByAhead", world.key(job), terms.deliver_by):
        world.send(world.submitter, "reclaim", world.key(job), terms, at=terms.deliver_by - 1)


def test_a_delivered_job_cannot_be_reclaimed(world: World) -> None:
    job, terms = world.delivered()
    with reverts("WrongState", world.key(job), JobState.DELIVERED):
        world.send(world.submitter, "reclaim", world.key(job), terms, at=terms.window_end + 10**6)
