"""The panel's `open` and `unfit`: which cases it takes, and what becomes of the others."""

from dataclasses import replace
from typing import Any

import pytest
from court import CLASS, DECLINES, GOOD, SEAT_FEE, SILENT, Court, Else, Vote, arbiter_data
from world import NOBODY, ONE, reverts

from deai.job import JobState, Outcome
from deai.panel import Phase, Verdict

LONGEST = 3 * (100 + 50 + 600 + 100 + 50)
"""Of a case of a job with 600 seconds to deliver: three rounds of draw, cure, work, vote and reveal."""

UNFIT: dict[str, tuple[str, dict[str, Any]]] = {
    "no seat": ("arbiterData", {"arbiter_data": arbiter_data(seats=0)}),
    "seats that may tie": ("arbiterData", {"arbiter_data": arbiter_data(seats=4)}),
    "too many seats": (
        "arbiterData",
        {"arbiter_data": arbiter_data(seats=17), "dispute_fee": 17 * ONE, "bond": 34 * ONE},
    ),
    "an unknown comparator": ("arbiterData", {"arbiter_data": arbiter_data(comparator=1)}),
    "something after the comparator": ("arbiterData", {"arbiter_data": arbiter_data(rest=1)}),
    "a fee below the least": ("disputeFee", {"dispute_fee": 3 * SEAT_FEE - 1}),
    "a fee too small for its seats": ("disputeFee", {"arbiter_data": arbiter_data(seats=5)}),
    "a bond of which too little would burn": ("bond", {"bond": 6 * ONE - 1}),
    "work longer than stakes are held": (
        "deliverSeconds",
        {"deliver_seconds": 1400, "ruling_seconds": 10**6},
    ),
    "too little time to rule": ("rulingSeconds", {"ruling_seconds": LONGEST + 60 - 1}),
}
FIT: dict[str, dict[str, Any]] = {
    "one seat": {"arbiter_data": arbiter_data(seats=1)},
    "fifteen seats": {"arbiter_data": arbiter_data(seats=15), "dispute_fee": 15 * ONE, "bond": 30 * ONE},
    "the least fee": {"dispute_fee": 3 * SEAT_FEE},
    "the least bond": {"bond": 6 * ONE},
    "the longest work": {"deliver_seconds": 1366, "ruling_seconds": 10**6},
    "the shortest time to rule": {"ruling_seconds": LONGEST + 60},
    "the last class": {"arbiter_data": arbiter_data(2**16 - 1)},
}


@pytest.mark.parametrize(("field", "changes"), UNFIT.values(), ids=UNFIT.keys())
def test_a_job_the_panel_does_not_take_is_paid_at_once(
    court: Court, field: str, changes: dict[str, Any]
) -> None:
    court.verifiers(3)
    case = court.disputed(**changes)
    assert court.world.view("jobId", case.job) == case.key
    assert court.panel.functions.unfit(plain_job(court, case.job)).call() == field
    case.open()
    assert court.event("CaseClosed") == {
        "id": case.key,
        "verdict": Verdict.UNFIT,
        "ruled": True,
        "shareBps": 10_000,
    }
    assert court.world.ending(case.job) == (JobState.CLOSED, Outcome.PAID)
    assert case.phase is Phase.CLOSED
    assert court.view("unearned", court.world.token) == case.job.dispute_fee
    assert court.tickets() == (3, 3, 3, 0)


@pytest.mark.parametrize("changes", FIT.values(), ids=FIT.keys())
def test_a_job_at_the_edge_is_taken(court: Court, changes: dict[str, Any]) -> None:
    assert court.panel.functions.unfit(plain_job(court, court.job(**changes))).call() == ""


@pytest.mark.parametrize("changes", [{"token": NOBODY}, {"arbiter": "0x" + "11" * 20}])
def test_a_job_in_another_token_or_of_another_arbiter_is_unfit(court: Court, changes: dict[str, Any]) -> None:
    (field,) = changes
    assert court.panel.functions.unfit(plain_job(court, court.job(**changes))).call() == field


def test_work_may_take_just_as_long_as_stakes_are_held(court: Court) -> None:
    court = court.another(unstake_seconds=LONGEST)
    assert court.panel.functions.unfit(plain_job(court, court.job())).call() == ""


def test_the_longest_case_is_three_rounds(court: Court) -> None:
    assert court.view("caseSeconds", 600) == LONGEST


def test_anyone_opens_a_disputed_job(court: Court) -> None:
    court.verifiers(3)
    case = court.disputed()
    sent = case.open()
    world = court.world
    assert court.event("CaseOpened") == {
        "id": case.key,
        "resourceClass": CLASS,
        "submitter": world.submitter,
        "provider": world.provider,
        "result": case.terms.result,
        "seats": 3,
        "ruleBy": case.terms.rule_by,
    }
    assert court.event("DrawRequested") == {
        "id": case.key,
        "round": 1,
        "empty": 3,
        "drawBlock": world.web3.eth.block_number + 3,
        "drawBy": sent.time + 100,
    }
    assert case.phase is Phase.DRAWING
    assert court.tickets() == (3, 3, 3, 1)


def test_a_case_is_opened_once(court: Court) -> None:
    court.verifiers(3)
    case = court.opened()
    with reverts("WrongPhase", case.key, Phase.DRAWING):
        case.open()


def test_a_case_is_not_opened_again_after_its_end(court: Court) -> None:
    court.verifiers(3)
    case = court.drawn()
    case.judge(GOOD, GOOD, GOOD)
    with reverts("WrongPhase", case.key, Phase.CLOSED):
        case.open()


def test_a_job_that_is_not_disputed_has_no_case(court: Court) -> None:
    court.verifiers(3)
    job, terms = court.world.delivered(court.job())
    with reverts("NoDispute", court.world.key(job)):
        court.send(court.world.stranger, "open", job, terms)


def test_other_terms_open_no_case(court: Court) -> None:
    court.verifiers(3)
    case = court.disputed()
    case.terms = replace(case.terms, result=b"\x01" * 32)
    with reverts("NoDispute", case.key):
        case.open()


def test_a_job_of_another_arbiter_has_no_case_here(court: Court) -> None:
    court.verifiers(3)
    world = court.world
    job, terms = world.disputed(arbiter_data=arbiter_data())
    with reverts("NoDispute", world.key(job)):
        court.send(world.stranger, "open", job, terms)


def test_a_case_opened_too_late_for_all_rounds_is_left_to_lapse(court: Court) -> None:
    court.verifiers(3)
    case = court.disputed()
    last = case.terms.rule_by - LONGEST
    with court.world.undone(), reverts("TooLate", case.key, case.terms.rule_by):
        case.open(at=last + 1)
    case.open(at=last)


def test_a_class_with_too_few_free_tickets_can_wait(court: Court) -> None:
    court.verifiers(3)
    first = court.drawn()
    second = court.disputed()
    with reverts("TooFewTickets", CLASS, 0, 3):
        second.open()
    first.judge(GOOD, GOOD, GOOD)
    second.open()


def test_seats_still_to_be_drawn_are_not_free_for_another_case(court: Court) -> None:
    court.verifiers(5)
    first, second = court.opened(), court.disputed()
    with reverts("TooFewTickets", CLASS, 2, 3):
        second.open()
    court.verifier()
    second.open()
    third = court.disputed()
    with reverts("TooFewTickets", CLASS, 0, 3):
        third.open()
    first.draw()
    with reverts("TooFewTickets", CLASS, 0, 3):
        third.open()
    first.judge(GOOD, GOOD, GOOD)
    third.open()


def test_a_missed_draw_keeps_no_ticket(court: Court) -> None:
    court.verifiers(3)
    missed = court.opened()
    missed.draw(at=missed.deadline)
    court.opened()


def test_a_draw_whose_block_the_chain_forgot_seats_nobody_though_it_is_in_time(court: Court) -> None:
    court = court.another(draw_seconds=1_000, unstake_seconds=50_000)
    court.verifiers(3)
    case = court.opened(ruling_seconds=20_000)
    court.mine(case.draw_block - court.world.web3.eth.block_number + 257)
    assert court.world.now < case.deadline - 100

    case.draw()

    assert (case.phase, case.accounts()) == (Phase.DRAWING, [])
    assert court.tickets() == (3, 3, 3, 0)


def test_a_ticket_that_asked_to_leave_is_not_free(court: Court) -> None:
    accounts = court.verifiers(3)
    court.send(accounts[0], "leave", CLASS, [0])
    case = court.disputed()
    with reverts("TooFewTickets", CLASS, 2, 3):
        case.open()
    court.verifier()
    case.open()


@pytest.mark.parametrize("leaves", ["before it is drawn", "while it is seated"])
@pytest.mark.parametrize("choice", [DECLINES, GOOD, SILENT])
def test_a_ticket_that_leaves_is_never_free_again(court: Court, leaves: str, choice: Vote | Else) -> None:
    """Drawn after the request it is leaving or seated; let go, slashed or paid back, the count of the free ones stays right."""
    accounts = court.verifiers(3)
    case = court.opened()
    if leaves == "while it is seated":
        case.draw()
    sent = court.send(accounts[0], "leave", CLASS, [0])
    if leaves == "before it is drawn":
        assert court.tickets() == (3, 2, 3, 1)
        case.draw()
    assert court.tickets() == (3, 0, 3, 0)
    case.vote(*(choice if account == accounts[0] else GOOD for account in case.to_vote()))
    while case.phase is not Phase.CLOSED:
        case.end_phase()
        if case.phase is Phase.DRAWING:
            case.draw()
        elif case.phase is Phase.REVEALING:
            case.reveal_all()
    left = 2 if choice is SILENT else 3
    assert court.tickets() == (left, 2, 3, 0)
    if choice is not SILENT:
        court.send(accounts[0], "unstake", CLASS, [0], at=sent.time + 5000)
        assert court.tickets() == (2, 2, 3, 0)


def plain_job(court: Court, job: Any) -> tuple[Any, ...]:
    """The job as the ABI's tuple."""
    from world import plain

    return tuple(plain(job))
