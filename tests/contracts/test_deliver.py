"""deliver: the result's digest on chain."""

import pytest
from world import ONE, RESULT, World, reverts

from deai.job import JobState, Outcome


def test_a_delivery_opens_the_window(world: World) -> None:
    job, terms = world.awarded()
    sent = world.send(world.provider, "deliver", world.key(job), terms, RESULT, at=world.now + 9)
    assert [log.name for log in sent.logs] == ["JobDelivered"]
    assert sent.only("JobDelivered") == {
        "id": world.key(job),
        "result": RESULT,
        "windowEnd": sent.time + 300,
    }
    assert world.ending(job) == (JobState.DELIVERED, Outcome.NONE)
    assert world.balance(world.provider) == 995 * ONE


def test_a_delivery_without_a_window_is_paid_at_once(world: World) -> None:
    job, terms = world.awarded(challenge_seconds=0)
    sent = world.send(world.provider, "deliver", world.key(job), terms, RESULT)
    assert [log.name for log in sent.logs] == ["JobDelivered", "JobClosed"]
    assert sent.only("JobDelivered")["windowEnd"] == sent.time
    assert world.ending(job) == (JobState.CLOSED, Outcome.PAID)
    assert world.balance(world.provider) == 1010 * ONE - terms.fee
    assert world.balance(world.matcher) == terms.fee


def test_only_the_awarded_provider_delivers(world: World) -> None:
    job, terms = world.awarded()
    for who in (world.rival, world.submitter, world.matcher):
        with reverts("WrongCaller", who, world.provider):
            world.send(who, "deliver", world.key(job), terms, RESULT)


def test_an_empty_result_reverts(world: World) -> None:
    job, terms = world.awarded()
    with reverts("Malformed", "result"):
        world.send(world.provider, "deliver", world.key(job), terms, bytes(32))


def test_a_delivery_in_the_last_second_counts(world: World) -> None:
    job, terms = world.awarded()
    world.send(world.provider, "deliver", world.key(job), terms, RESULT, at=terms.deliver_by - 1)
    assert world.state(job) is JobState.DELIVERED


@pytest.mark.parametrize("late", [0, 1])
def test_a_delivery_from_the_deadline_on_reverts(world: World, late: int) -> None:
    job, terms = world.awarded()
    with reverts("DeliverByMissed", world.key(job), terms.deliver_by):
        world.send(world.provider, "deliver", world.key(job), terms, RESULT, at=terms.deliver_by + late)


def test_a_second_delivery_reverts(world: World) -> None:
    job, terms = world.delivered()
    with reverts("WrongState", world.key(job), JobState.DELIVERED):
        world.send(world.provider, "deliver", world.key(job), terms, b"\x08" * 32)
