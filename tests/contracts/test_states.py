"""Every state and every verb: what TRANSITIONS allows succeeds, everything else is refused, and Closed is for good."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from world import RESULT, World, reverts

from deai import signing
from deai.job import TRANSITIONS, Action, Bid, Job, JobState, Outcome, Terms


@dataclass(frozen=True, slots=True)
class Case:
    """A job somewhere in its life, with all that any verb could ask for."""

    job: Job
    bid: Bid
    terms: Terms


def unknown(world: World, window: int = 300) -> Case:
    job = world.judged() if window else world.job(challenge_seconds=0)
    bid = world.bid(job)
    with world.undone():
        terms = world.award(job, bid)
    return Case(job, bid, terms)


def opened(world: World) -> Case:
    case = unknown(world)
    world.send(world.submitter, "post", case.job)
    return case


def awarded(world: World, window: int = 300) -> Case:
    case = unknown(world, window)
    return Case(case.job, case.bid, world.award(case.job, case.bid))


def delivered(world: World) -> Case:
    case = awarded(world)
    return Case(case.job, case.bid, world.deliver(case.job, case.terms))


def disputed(world: World) -> Case:
    case = delivered(world)
    return Case(case.job, case.bid, world.dispute(case.job, case.terms))


def cancelled(world: World) -> Case:
    case = unknown(world)
    world.send(world.submitter, "cancel", case.job)
    return case


def paid(world: World) -> Case:
    case = delivered(world)
    world.send(world.submitter, "approve", world.key(case.job), case.terms)
    return case


def refunded(world: World) -> Case:
    case = awarded(world)
    late = case.terms.deliver_by
    world.send(world.stranger, "reclaim", world.key(case.job), case.terms, at=late)
    return case


def split(world: World) -> Case:
    case = disputed(world)
    world.send(world.arbiter, "rule", world.key(case.job), case.terms, 5_000)
    return case


REACHED: list[tuple[JobState, Outcome, Callable[[World], Case]]] = [
    (JobState.UNKNOWN, Outcome.NONE, unknown),
    (JobState.OPEN, Outcome.NONE, opened),
    (JobState.AWARDED, Outcome.NONE, awarded),
    (JobState.DELIVERED, Outcome.NONE, delivered),
    (JobState.DISPUTED, Outcome.NONE, disputed),
    (JobState.CLOSED, Outcome.CANCELLED, cancelled),
    (JobState.CLOSED, Outcome.PAID, paid),
    (JobState.CLOSED, Outcome.REFUNDED, refunded),
    (JobState.CLOSED, Outcome.SPLIT, split),
]


def act(world: World, case: Case, action: Action) -> None:
    """The verb by the right party, at a time at which only the state can forbid it."""
    job, terms, key = case.job, case.terms, world.key(case.job)
    match action:
        case Action.POST:
            world.send(job.submitter, "post", job)
        case Action.CANCEL:
            world.send(job.submitter, "cancel", job)
        case Action.AWARD:
            signatures = world.signed(job), world.signed(case.bid)
            world.send(world.stranger, "award", job, signatures[0], case.bid, signatures[1])
        case Action.DELIVER:
            world.send(terms.provider, "deliver", key, terms, RESULT)
        case Action.DELIVER_AND_CLOSE:
            person = world.people[terms.submitter]
            approval = signing.sign_approval(person, world.id(job), terms.provider, RESULT, world.domain)
            world.send(terms.provider, "deliverAndClose", key, terms, RESULT, approval)
        case Action.DISPUTE:
            world.send(terms.submitter, "dispute", key, terms)
        case Action.RULE:
            world.send(world.arbiter, "rule", key, terms, 10_000)
        case Action.LAPSE:
            world.send(world.stranger, "lapse", key, terms, at=world.now + 10_000)
        case Action.APPROVE:
            world.send(terms.submitter, "approve", key, terms)
        case Action.SETTLE:
            world.send(world.stranger, "settle", key, terms, at=world.now + 10_000)
        case Action.RECLAIM:
            world.send(world.stranger, "reclaim", key, terms, at=world.now + 10_000)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize(("state", "outcome", "reach"), REACHED)
def test_a_verb_succeeds_where_the_table_has_an_arrow_and_nowhere_else(
    world: World, state: JobState, outcome: Outcome, reach: Callable[[World], Case], action: Action
) -> None:
    case = reach(world)
    assert world.ending(case.job) == (state, outcome)
    targets = TRANSITIONS.get((state, action), frozenset())
    if targets:
        act(world, case, action)
        assert world.state(case.job) in targets
    else:
        with reverts("WrongState", world.key(case.job), state):
            act(world, case, action)
        assert world.ending(case.job) == (state, outcome)


def test_a_delivery_reaches_both_states_that_the_table_names(world: World) -> None:
    reached = set()
    for window in (0, 300):
        case = awarded(world, window)
        act(world, case, Action.DELIVER)
        reached.add(world.state(case.job))
    assert reached == TRANSITIONS[JobState.AWARDED, Action.DELIVER]


def test_every_state_and_outcome_of_the_contract_is_reached() -> None:
    assert {state for state, _, _ in REACHED} == set(JobState)
    assert {outcome for _, outcome, _ in REACHED} == set(Outcome)


@pytest.mark.parametrize("reach", [awarded, delivered, disputed])
def test_from_every_locked_state_a_stranger_can_end_the_job(
    world: World, reach: Callable[[World], Case]
) -> None:
    case = reach(world)
    endings = {
        JobState.AWARDED: Action.RECLAIM,
        JobState.DELIVERED: Action.SETTLE,
        JobState.DISPUTED: Action.LAPSE,
    }
    act(world, case, endings[world.state(case.job)])
    assert world.state(case.job) is JobState.CLOSED


@pytest.mark.parametrize("late", [True, False])
def test_delivery_and_reclaim_in_one_block_never_both_succeed(world: World, late: bool) -> None:
    for verbs in (("deliver", "reclaim"), ("reclaim", "deliver")):
        with world.undone():
            job, terms = world.awarded()
            calls = {
                "deliver": (world.provider, "deliver", world.key(job), terms, RESULT),
                "reclaim": (world.stranger, "reclaim", world.key(job), terms),
            }
            time = terms.deliver_by - (0 if late else 1)
            done = world.in_one_block([calls[verb] for verb in verbs], at=time)
            assert [verb for verb, ok in zip(verbs, done, strict=True) if ok] == [
                "reclaim" if late else "deliver"
            ]


@pytest.mark.parametrize("first", ["cancel", "award"])
def test_of_cancel_and_award_in_one_block_the_first_succeeds(world: World, first: str) -> None:
    job = world.job()
    bid = world.bid(job)
    calls = [
        (world.submitter, "cancel", job),
        (world.stranger, "award", job, world.signed(job), bid, world.signed(bid)),
    ]
    if first == "award":
        calls.reverse()
    assert world.in_one_block(calls, at=world.now + 5) == [True, False]
    assert world.state(job) is (JobState.CLOSED if first == "cancel" else JobState.AWARDED)


@pytest.mark.parametrize("late", [True, False])
def test_dispute_and_settle_in_one_block_never_both_succeed(world: World, late: bool) -> None:
    for verbs in (("dispute", "settle"), ("settle", "dispute")):
        with world.undone():
            job, terms = world.delivered(world.judged())
            senders = {"dispute": world.submitter, "settle": world.stranger}
            calls = [(senders[verb], verb, world.key(job), terms) for verb in verbs]
            done = world.in_one_block(calls, at=terms.window_end - (0 if late else 1))
            assert [verb for verb, ok in zip(verbs, done, strict=True) if ok] == [
                "settle" if late else "dispute"
            ]


@pytest.mark.parametrize("late", [True, False])
def test_rule_and_lapse_in_one_block_never_both_succeed(world: World, late: bool) -> None:
    for verbs in (("rule", "lapse"), ("lapse", "rule")):
        with world.undone():
            job, terms = world.disputed()
            calls = {
                "rule": (world.arbiter, "rule", world.key(job), terms, 0),
                "lapse": (world.stranger, "lapse", world.key(job), terms),
            }
            done = world.in_one_block([calls[verb] for verb in verbs], at=terms.rule_by - (0 if late else 1))
            assert [verb for verb, ok in zip(verbs, done, strict=True) if ok] == ["lapse" if late else "rule"]
