"""dispute: opens a case, by the submitter at a fee or by the arbiter."""

import pytest
from world import NOBODY, ONE, RESULT, World, reverts

from deai.job import JobState, Outcome, Timestamp, Wei


def test_a_submitter_prepays_the_fee_and_gives_the_arbiter_its_time(world: World) -> None:
    job, terms = world.delivered(world.judged())
    held = world.held()
    sent = world.send(world.submitter, "dispute", world.key(job), terms, at=world.now + 7)
    assert [log.name for log in sent.logs] == ["JobDisputed"]
    assert sent.only("JobDisputed") == {
        "id": world.key(job),
        "disputer": world.submitter,
        "fee": 2 * ONE,
        "ruleBy": sent.time + 400,
    }
    assert world.ending(job) == (JobState.DISPUTED, Outcome.NONE)
    assert world.view(
        "isCommitted", world.key(job), terms.disputed(world.submitter, Timestamp(sent.time + 400))
    )
    assert world.balance(world.submitter) == 988 * ONE
    assert (world.balance(world.provider), world.balance(world.arbiter)) == (995 * ONE, 0)
    assert world.held() == held


def test_an_arbiter_opens_a_case_and_prepays_nothing(world: World) -> None:
    job, terms = world.delivered(world.judged())
    sent = world.send(world.arbiter, "dispute", world.key(job), terms)
    assert sent.only("JobDisputed") == {
        "id": world.key(job),
        "disputer": world.arbiter,
        "fee": 0,
        "ruleBy": sent.time + 400,
    }
    assert world.state(job) is JobState.DISPUTED
    assert world.view(
        "isCommitted", world.key(job), terms.disputed(world.arbiter, Timestamp(sent.time + 400))
    )
    assert (world.balance(world.submitter), world.balance(world.arbiter)) == (990 * ONE, 0)


def test_a_case_that_costs_nothing_is_opened_without_a_balance(world: World) -> None:
    job, terms = world.delivered(world.judged(dispute_fee=Wei(0)))
    world.send(world.submitter, "withdraw", world.token, world.submitter, 990 * ONE)
    assert world.send(world.submitter, "dispute", world.key(job), terms).only("JobDisputed")["fee"] == 0


def test_nobody_else_opens_a_case(world: World) -> None:
    job, terms = world.delivered(world.judged())
    for who in (world.provider, world.matcher, world.stranger):
        with reverts("WrongCaller", who, world.submitter):
            world.send(who, "dispute", world.key(job), terms)


def test_a_job_without_an_arbiter_cannot_be_disputed(world: World) -> None:
    job, terms = world.delivered()
    for who in (world.submitter, world.stranger):
        with reverts("WrongCaller", who, NOBODY):
            world.send(who, "dispute", world.key(job), terms)


@pytest.mark.parametrize("by", ["submitter", "arbiter"])
@pytest.mark.parametrize(("late", "fits"), [(-1, True), (0, False), (1, False)])
def test_a_case_is_opened_only_while_the_window_is(world: World, by: str, late: int, fits: bool) -> None:
    job, terms = world.delivered(world.judged())
    who, at = getattr(world, by), terms.window_end + late
    if fits:
        world.send(who, "dispute", world.key(job), terms, at=at)
        assert world.state(job) is JobState.DISPUTED
    else:
        with reverts("WindowOver", world.key(job), terms.window_end):
            world.send(who, "dispute", world.key(job), terms, at=at)


def test_a_submitter_whose_balance_misses_one_unit_of_the_fee_reverts(world: World) -> None:
    job, terms = world.delivered(world.judged())
    world.send(world.submitter, "withdraw", world.token, world.submitter, 988 * ONE + 1)
    with reverts("InsufficientBalance", world.token, world.submitter, 2 * ONE - 1, 2 * ONE):
        world.send(world.submitter, "dispute", world.key(job), terms)
    assert world.state(job) is JobState.DELIVERED


def test_a_case_is_opened_once(world: World) -> None:
    job, terms = world.disputed()
    for who in (world.submitter, world.arbiter):
        with reverts("WrongState", world.key(job), JobState.DISPUTED):
            world.send(who, "dispute", world.key(job), terms)


def test_the_terms_of_the_award_open_no_case(world: World) -> None:
    job, terms = world.awarded(world.judged())
    world.deliver(job, terms)
    with reverts("WrongTerms", world.key(job)):
        world.send(world.submitter, "dispute", world.key(job), terms)


def test_before_the_delivery_there_is_nothing_to_dispute(world: World) -> None:
    job, terms = world.awarded(world.judged())
    with reverts("WrongState", world.key(job), JobState.AWARDED):
        world.send(world.submitter, "dispute", world.key(job), terms.delivered(RESULT, terms.deliver_by))


def test_from_the_dispute_on_nobody_approves_or_settles(world: World) -> None:
    job, terms = world.delivered(world.judged())
    disputed = world.dispute(job, terms)
    for known in (terms, disputed):
        with reverts("WrongState", world.key(job), JobState.DISPUTED):
            world.send(world.submitter, "approve", world.key(job), known)
        with reverts("WrongState", world.key(job), JobState.DISPUTED):
            world.send(
                world.provider, "settle", world.key(job), known, at=max(terms.window_end, world.now) + 1
            )
