"""The panel's whole cases: who is paid, who is slashed, and that one silent and one corrupt seat of three change nothing."""

from dataclasses import dataclass

import pytest
from court import (
    BAD,
    CLASS,
    DECLINES,
    GOOD,
    NO_INPUTS,
    NO_OUTPUT,
    ROUNDS,
    SEAT_STAKE,
    SILENT,
    TRAP,
    WORSE,
    Court,
    Vote,
    arbiter_data,
)
from world import ONE

from deai.job import JobState, Outcome
from deai.panel import Phase, Verdict

FEE = 3 * ONE
BOND = 8 * ONE
PRICE = 10 * ONE


@dataclass(frozen=True, slots=True)
class Trial:
    """Three votes, how they end, and which of them are lost and paid."""

    votes: tuple[Vote, ...]
    verdict: Verdict
    outcome: Outcome
    lost: tuple[Vote, ...] = ()
    paid: tuple[Vote, ...] = ()


TRIALS = {
    "all find it good": Trial((GOOD, GOOD, GOOD), Verdict.GOOD, Outcome.PAID, paid=(GOOD,)),
    "two find it good": Trial((GOOD, BAD, GOOD), Verdict.GOOD, Outcome.PAID, (BAD,), (GOOD,)),
    "two get the same other result": Trial((BAD, GOOD, BAD), Verdict.BAD, Outcome.REFUNDED, (GOOD,), (BAD,)),
    "nobody can fetch the result": Trial(
        (NO_OUTPUT, NO_OUTPUT, GOOD), Verdict.OUTPUT_MISSING, Outcome.REFUNDED, paid=(NO_OUTPUT,)
    ),
    "nobody can fetch the result, and one not the inputs": Trial(
        (NO_OUTPUT, NO_OUTPUT, NO_INPUTS), Verdict.OUTPUT_MISSING, Outcome.REFUNDED, paid=(NO_OUTPUT,)
    ),
    "nobody can fetch the inputs, and one finds a trap": Trial(
        (TRAP, NO_INPUTS, NO_INPUTS), Verdict.INPUTS_MISSING, Outcome.PAID, paid=(NO_INPUTS,)
    ),
    "nobody can fetch the inputs": Trial(
        (NO_INPUTS, BAD, NO_INPUTS), Verdict.INPUTS_MISSING, Outcome.PAID, paid=(NO_INPUTS,)
    ),
    "one was not served the result": Trial((GOOD, NO_OUTPUT, GOOD), Verdict.GOOD, Outcome.PAID, paid=(GOOD,)),
    "one was not served the inputs": Trial((BAD, BAD, NO_INPUTS), Verdict.BAD, Outcome.REFUNDED, paid=(BAD,)),
    "one says it does not run again": Trial((GOOD, GOOD, TRAP), Verdict.GOOD, Outcome.PAID, (TRAP,), (GOOD,)),
    "two say it does not run again": Trial(
        (TRAP, TRAP, GOOD), Verdict.NOT_RERUNNABLE, Outcome.PAID, paid=(TRAP, GOOD)
    ),
    "three different results": Trial(
        (GOOD, BAD, WORSE), Verdict.DISAGREED, Outcome.PAID, paid=(GOOD, BAD, WORSE)
    ),
    "two bad ones differ": Trial(
        (BAD, WORSE, TRAP), Verdict.DISAGREED, Outcome.PAID, paid=(BAD, WORSE, TRAP)
    ),
}


@pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS.keys())
def test_a_case_ends_as_its_votes_say(court: Court, trial: Trial) -> None:
    court.verifiers(3)
    case = court.drawn()
    case.judge(*trial.votes)
    closed = court.event("CaseClosed")
    assert (closed["verdict"], closed["ruled"]) == (trial.verdict, True)
    assert closed["shareBps"] == (10_000 if trial.outcome is Outcome.PAID else 0)
    assert case.phase is Phase.CLOSED
    assert court.world.ending(case.job) == (JobState.CLOSED, trial.outcome)
    lost, paid = case.holders(*trial.lost), case.holders(*trial.paid)
    slashes = court.events("SeatSlashed")
    assert [(event["account"], event["voted"]) for event in slashes] == [(account, True) for account in lost]
    assert court.view("slashed") == len(lost) * SEAT_STAKE
    assert {account: court.view("earned", account) for account in case.accounts()} == {
        account: FEE // len(paid) if account in paid else 0 for account in case.accounts()
    }
    check_solvent(court)


def test_the_money_of_a_bad_result(court: Court) -> None:
    """The submitter gets all of its money back; the bond pays the panel's fee, and the rest is burned."""
    court.verifiers(3)
    case = court.drawn()
    case.judge(BAD, BAD, BAD)
    world = court.world
    assert world.balance(world.submitter) == 1000 * ONE
    assert world.balance(world.provider) == 1000 * ONE - BOND
    assert world.view("balanceOf", world.token, court.panel.address) == FEE
    assert world.view("burned", world.token) == BOND - FEE


def test_the_money_of_a_good_result(court: Court) -> None:
    """The provider gets price and bond; the submitter that lied bears the panel's fee."""
    court.verifiers(3)
    case = court.drawn(matcher_fee_bps=0)
    case.judge(GOOD, GOOD, GOOD)
    world = court.world
    assert world.balance(world.provider) == 1000 * ONE + PRICE
    assert world.balance(world.submitter) == 1000 * ONE - PRICE - FEE
    assert world.view("balanceOf", world.token, court.panel.address) == FEE
    assert world.view("burned", world.token) == 0


@pytest.mark.parametrize("honest", [GOOD, BAD])
@pytest.mark.parametrize("corrupt", [BAD, GOOD, TRAP, NO_OUTPUT])
def test_one_silent_and_one_corrupt_seat_of_three_change_nothing(
    court: Court, honest: Vote, corrupt: Vote
) -> None:
    if corrupt == honest:
        corrupt = WORSE
    court.verifiers(4)
    case = court.drawn()
    case.vote(SILENT, corrupt, honest)
    silent = case.to_vote()
    case.end_phase()
    assert [event["account"] for event in court.events("SeatSlashed")] == silent
    assert (case.phase, case.round) == (Phase.DRAWING, 2)
    case.draw()
    assert case.seats()[0].account not in [*silent, *case.sealed]
    case.judge(honest)
    assert court.event("CaseClosed")["verdict"] == honest.verdict
    slashed = [] if corrupt == NO_OUTPUT else case.holders(corrupt)
    assert [event["account"] for event in court.events("SeatSlashed")] == slashed
    assert court.view("slashed") == (1 + len(slashed)) * SEAT_STAKE
    assert [court.view("earned", account) for account in case.holders(honest)] == [FEE // 2] * 2
    check_solvent(court)


def test_a_seat_that_does_not_reveal_is_slashed_and_drawn_anew(court: Court) -> None:
    court.verifiers(4)
    case = court.drawn()
    case.vote(BAD, GOOD, GOOD)
    case.end_phase()
    case.reveal_all(but=case.holders(GOOD)[:1])
    case.end_phase()
    assert [event["account"] for event in court.events("SeatSlashed")] == case.holders(GOOD)[:1]
    assert (case.phase, case.round) == (Phase.DRAWING, 2)
    case.draw()
    case.judge(GOOD)
    assert court.event("CaseClosed")["verdict"] == Verdict.GOOD
    # The newcomer knew the others' votes, so nobody loses a stake by its vote; but the minority is not paid.
    assert court.view("slashed") == SEAT_STAKE
    (minority,) = case.holders(BAD)
    assert court.view("earned", minority) == 0
    assert [court.view("earned", account) for account in case.holders(GOOD)[1:]] == [FEE // 2] * 2
    assert court.tickets() == (3, 3, 4, 0)


def test_a_majority_needs_no_other_round(court: Court) -> None:
    court.verifiers(4)
    case = court.drawn()
    case.vote(GOOD, GOOD, GOOD)
    case.end_phase()
    case.reveal_all(but=case.accounts()[:1])
    case.end_phase()
    assert case.phase is Phase.CLOSED
    assert court.event("CaseClosed")["verdict"] == Verdict.GOOD


def test_seats_that_declined_are_drawn_anew_and_lose_nothing(court: Court) -> None:
    court.verifiers(6)
    case = court.drawn()
    decliners = case.to_vote()[:2]
    case.vote(DECLINES, DECLINES, GOOD)
    case.end_phase()
    assert case.round == 2
    case.draw()
    assert not set(decliners) & set(case.accounts())
    case.judge(GOOD, GOOD)
    assert court.event("CaseClosed")["verdict"] == Verdict.GOOD
    assert court.view("slashed") == 0
    assert court.tickets() == (6, 6, 6, 0)


def test_a_silent_panel_loses_its_stake_and_the_job_lapses(court: Court) -> None:
    court.verifiers(9)
    case = court.drawn()
    for round_ in (1, 2, 3):
        assert case.round == round_
        case.vote(SILENT, SILENT, SILENT)
        case.end_phase()
        if round_ < 3:
            case.draw()
    closed = court.event("CaseClosed")
    assert (closed["verdict"], closed["ruled"]) == (Verdict.UNDECIDED, False)
    assert court.view("slashed") == 9 * SEAT_STAKE
    assert court.tickets()[:2] == (0, 0)
    world = court.world
    world.send(world.stranger, "lapse", case.key, case.terms, at=case.terms.rule_by)
    assert world.ending(case.job) == (JobState.CLOSED, Outcome.SPLIT)
    check_solvent(court)


def test_a_majority_of_all_seats_decides_after_the_last_round(court: Court) -> None:
    """Two good votes of three, and nobody left to draw."""
    court.verifiers(3)
    case = court.drawn()
    case.vote(GOOD, SILENT, GOOD)
    case.end_phase()
    case.draw()
    case.end_phase()
    case.draw()
    case.end_phase()
    assert case.phase is Phase.REVEALING
    case.reveal_all()
    case.end_phase()
    assert court.event("CaseClosed")["verdict"] == Verdict.GOOD


def test_without_a_majority_of_all_seats_nothing_is_ruled(court: Court) -> None:
    court.verifiers(3)
    case = court.drawn()
    case.vote(GOOD, SILENT, BAD)
    case.end_phase()
    for _ in (2, 3):
        case.draw()
        case.end_phase()
    case.reveal_all()
    case.end_phase()
    closed = court.event("CaseClosed")
    assert (closed["verdict"], closed["ruled"]) == (Verdict.UNDECIDED, False)
    assert court.view("slashed") == SEAT_STAKE
    assert court.tickets() == (2, 2, 3, 0)


def test_five_seats_of_which_two_are_corrupt(court: Court) -> None:
    court.verifiers(5)
    case = court.drawn(arbiter_data=arbiter_data(seats=5), dispute_fee=5 * ONE, bond=10 * ONE)
    case.judge(GOOD, BAD, GOOD, BAD, GOOD)
    assert court.event("CaseClosed")["verdict"] == Verdict.GOOD
    assert len(court.events("SeatSlashed")) == 2
    assert court.view("earned", case.holders(GOOD)[0]) == 5 * ONE // 3
    assert court.view("unearned", court.world.token) == 5 * ONE % 3


def test_a_case_that_is_too_late_rules_nothing_and_frees_its_seats(court: Court) -> None:
    court.verifiers(3)
    case = court.drawn()
    case.vote(GOOD, GOOD, BAD)
    case.end_phase()
    case.reveal_all()
    case.advance(at=case.terms.rule_by)
    closed = court.event("CaseClosed")
    assert (closed["verdict"], closed["ruled"], closed["shareBps"]) == (Verdict.GOOD, False, 0)
    assert court.world.state(case.job) is JobState.DISPUTED
    assert court.tickets() == (2, 2, 3, 0)


def test_a_verifier_collects_what_it_earned(court: Court) -> None:
    court.verifiers(3)
    case = court.drawn()
    case.judge(GOOD, GOOD, GOOD)
    winner = case.accounts()[0]
    court.send(winner, "collect")
    assert court.event("Collected") == {"account": winner, "amount": ONE}
    assert court.world.dai.functions.balanceOf(winner).call() == ONE
    assert court.view("earned", winner) == 0


@pytest.mark.parametrize(("late", "phase"), [(0, Phase.DRAWING), (1, Phase.REVEALING)])
def test_seats_are_drawn_again_where_a_whole_round_still_fits(court: Court, late: int, phase: Phase) -> None:
    court.verifiers(4)
    case = court.drawn()
    case.vote(GOOD, GOOD, SILENT)
    a_round = int(court.view("caseSeconds", case.job.deliver_seconds)) // ROUNDS
    case.advance(at=case.terms.rule_by - a_round + late)
    assert case.phase is phase


def test_an_empty_seat_is_not_taken_for_a_silent_one(court: Court) -> None:
    court.verifiers(3)
    case = court.drawn()
    _, silent, _ = case.accounts()
    case.vote(DECLINES, SILENT, GOOD)
    case.end_phase()
    assert [(event["account"], event["voted"]) for event in court.events("SeatSlashed")] == [(silent, False)]
    assert (case.still_open, case.empty) == (0, 2)


def test_the_start_of_the_reveal_is_told_with_its_end(court: Court) -> None:
    court.verifiers(3)
    case = court.drawn()
    case.vote(GOOD, GOOD, GOOD)
    case.end_phase()
    assert court.event("RevealStarted") == {"id": case.key, "revealBy": case.deadline}


@pytest.mark.parametrize(("vote", "share"), [(GOOD, 10_000), (BAD, 0)])
def test_one_seat_alone_decides_and_earns_the_fee(court: Court, vote: Vote, share: int) -> None:
    court.verifiers(1)
    case = court.drawn(arbiter_data=arbiter_data(seats=1), dispute_fee=ONE)
    case.judge(vote)
    closed = court.event("CaseClosed")
    assert (closed["verdict"], closed["shareBps"]) == (vote.verdict, share)
    assert court.view("earned", case.accounts()[0]) == ONE


def test_two_of_five_decide_nothing(court: Court) -> None:
    court.verifiers(5)
    case = court.drawn(arbiter_data=arbiter_data(seats=5), dispute_fee=5 * ONE, bond=10 * ONE)
    case.judge(BAD, BAD, GOOD, WORSE, TRAP)
    assert court.event("CaseClosed")["verdict"] == Verdict.DISAGREED


def test_the_least_that_can_be_earned_is_collected(court: Court) -> None:
    court = court.another(seat_fee=1)
    court.verifiers(3)
    case = court.drawn(dispute_fee=3)
    case.judge(GOOD, GOOD, GOOD)
    winner = case.accounts()[0]
    court.send(winner, "collect")
    assert court.world.dai.functions.balanceOf(winner).call() == 1


def check_solvent(court: Court) -> None:
    """Stakes and slashed stakes are here; what was earned, or not, is the panel's in the escrow."""
    tickets = court.tickets(CLASS)[0]
    assert court.staked(court.panel.address) == tickets * SEAT_STAKE + court.view("slashed")
    everybody = {event["account"] for event in court.events("Staked", since=0)}
    owed = sum(court.view("earned", account) for account in everybody)
    world = court.world
    assert world.view("balanceOf", world.token, court.panel.address) == owed + court.view(
        "unearned", world.token
    )
