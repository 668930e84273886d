"""The panel's `decline`, `commit`, `reveal` and `advance`: who may, when, and with what."""

import pytest
from court import BAD, CLASS, DECLINES, GOOD, NO_OUTPUT, SEAT_STAKE, SILENT, Court, CourtCase, Vote
from world import NOBODY, ONE, RESULT, reverts

from deai.job import ZERO_DIGEST
from deai.panel import Phase, Verdict

SEAL = b"\x0a" * 32


@pytest.fixture
def case(court: Court) -> CourtCase:
    """Three seats drawn of three tickets; nobody voted."""
    court.verifiers(3)
    return court.drawn()


def test_a_vote_is_sealed(court: Court, case: CourtCase) -> None:
    account = case.accounts()[0]
    court.send(account, "commit", case.key, SEAL, at=case.vote_from)
    assert court.event("Committed") == {"id": case.key, "account": account, "seal": SEAL}
    assert case.still_open == 2


def test_votes_wait_for_the_cure(court: Court, case: CourtCase) -> None:
    """Until then the provider may publish what is missing."""
    with reverts("VoteAhead", case.key, case.vote_from):
        court.send(case.accounts()[0], "commit", case.key, SEAL, at=case.vote_from - 1)


@pytest.mark.parametrize("verb", ["commit", "decline"])
def test_at_the_deadline_it_is_too_late_to_vote(court: Court, case: CourtCase, verb: str) -> None:
    arguments = (SEAL,) if verb == "commit" else ()
    deadline, account = case.deadline, case.accounts()[0]
    with court.world.undone():
        court.send(account, verb, case.key, *arguments, at=deadline - 1)
    with reverts("PhaseOver", case.key, Phase.VOTING, deadline):
        court.send(account, verb, case.key, *arguments, at=deadline)


def test_an_empty_seal_is_refused(court: Court, case: CourtCase) -> None:
    with reverts("Malformed", "seal"):
        court.send(case.accounts()[0], "commit", case.key, ZERO_DIGEST, at=case.vote_from)


@pytest.mark.parametrize("verb", ["commit", "decline"])
def test_only_a_seat_votes(court: Court, case: CourtCase, verb: str) -> None:
    arguments = (SEAL,) if verb == "commit" else ()
    with reverts("NoSeat", case.key, court.world.stranger):
        court.send(court.world.stranger, verb, case.key, *arguments, at=case.vote_from)


@pytest.mark.parametrize("verb", ["commit", "decline"])
def test_a_sealed_vote_is_final(court: Court, case: CourtCase, verb: str) -> None:
    account = case.accounts()[0]
    case.commit(account, GOOD, at=case.vote_from)
    with reverts("NoSeat", case.key, account):
        court.send(account, verb, case.key, *((SEAL,) if verb == "commit" else ()))


def test_a_revealed_vote_is_final_in_the_next_round(court: Court) -> None:
    """A vote without a digest too."""
    court.verifiers(4)
    case = court.drawn()
    case.vote(NO_OUTPUT, BAD, GOOD)
    case.end_phase()
    case.reveal_all(but=case.holders(GOOD))
    case.end_phase()
    case.draw()
    (account,) = case.holders(NO_OUTPUT)
    for verb, arguments in (("commit", (SEAL,)), ("decline", ())):
        with reverts("NoSeat", case.key, account):
            court.send(account, verb, case.key, *arguments, at=max(case.vote_from, court.world.now + 1))


def test_a_declined_seat_is_empty_and_its_ticket_free(court: Court, case: CourtCase) -> None:
    seat = case.seats()[1]
    court.send(seat.account, "decline", case.key)
    assert court.event("Declined") == {"id": case.key, "account": seat.account, "seat": 1}
    assert case.seats()[1].account == NOBODY
    assert court.ticket(seat.slot)[3] is False
    assert court.tickets() == (3, 1, 3, 0)
    with reverts("NoSeat", case.key, seat.account):
        court.send(seat.account, "decline", case.key)


def test_a_case_that_pays_too_little_costs_its_verifiers_nothing(court: Court) -> None:
    """All decline in every round; the job lapses, and no stake is lost."""
    court.verifiers(9)
    case = court.drawn()
    for round_ in (1, 2, 3):
        case.vote(DECLINES, DECLINES, DECLINES)
        case.end_phase()
        if round_ < 3:
            case.draw()
    assert court.event("CaseClosed")["verdict"] == Verdict.UNDECIDED
    assert court.view("slashed") == 0
    assert court.tickets() == (9, 9, 9, 0)


@pytest.mark.parametrize("verb", ["commit", "decline"])
def test_nobody_votes_while_votes_are_revealed(court: Court, case: CourtCase, verb: str) -> None:
    case.vote(GOOD, GOOD, GOOD)
    case.end_phase()
    with reverts("WrongPhase", case.key, Phase.REVEALING):
        court.send(case.accounts()[0], verb, case.key, *((SEAL,) if verb == "commit" else ()))


# reveal


def test_a_vote_is_revealed(court: Court, case: CourtCase) -> None:
    case.vote(GOOD, BAD, GOOD)
    case.end_phase()
    (account,) = case.holders(BAD)
    case.reveal(account)
    assert court.event("Revealed") == {
        "id": case.key,
        "account": account,
        "verdict": Verdict.BAD,
        "digest": BAD.digest,
    }
    assert case.still_open == 2
    with reverts("NoSeat", case.key, account):
        case.reveal(account)


def test_no_vote_is_revealed_while_others_are_to_vote(court: Court, case: CourtCase) -> None:
    account = case.accounts()[0]
    case.commit(account, GOOD, at=case.vote_from)
    with reverts("WrongPhase", case.key, Phase.VOTING):
        case.reveal(account)


def test_no_vote_is_revealed_while_a_silent_seat_is_drawn_anew(court: Court) -> None:
    """Else who comes later could vote as the others did, unread."""
    court.verifiers(4)
    case = court.drawn()
    case.vote(GOOD, GOOD, SILENT)
    case.end_phase()
    with reverts("WrongPhase", case.key, Phase.DRAWING):
        case.reveal(case.accounts()[0])
    case.draw()
    with reverts("WrongPhase", case.key, Phase.VOTING):
        case.reveal(case.accounts()[0])


def test_at_the_deadline_it_is_too_late_to_reveal(court: Court, case: CourtCase) -> None:
    case.vote(GOOD, GOOD, GOOD)
    case.end_phase()
    account, deadline = case.accounts()[0], case.deadline
    with court.world.undone():
        case.reveal(account, at=deadline - 1)
    with reverts("PhaseOver", case.key, Phase.REVEALING, deadline):
        case.reveal(account, at=deadline)


def test_a_copied_seal_fails_when_it_is_revealed(court: Court, case: CourtCase) -> None:
    """The copier knows vote and salt as soon as the other reveals: the seal names whose it is."""
    first, copier, third = case.accounts()
    case.commit(first, GOOD, at=case.vote_from)
    _, salt = case.sealed[first]
    court.send(copier, "commit", case.key, case.seal(first, GOOD, salt))
    case.commit(third, GOOD)
    case.end_phase()
    case.reveal(first)
    with reverts("WrongSeal", case.key, copier):
        court.send(copier, "reveal", case.key, Verdict.GOOD, RESULT, salt)
    case.reveal(third)
    case.end_phase()
    assert court.event("CaseClosed")["verdict"] == Verdict.GOOD
    slashed = court.event("SeatSlashed")
    assert (slashed["account"], slashed["amount"], slashed["voted"]) == (copier, SEAT_STAKE, False)


def test_another_vote_than_the_sealed_one_is_refused(court: Court, case: CourtCase) -> None:
    case.vote(GOOD, GOOD, GOOD)
    case.end_phase()
    account = case.accounts()[0]
    _, salt = case.sealed[account]
    with reverts("WrongSeal", case.key, account):
        court.send(account, "reveal", case.key, Verdict.BAD, BAD.digest, salt)


def test_a_seal_of_another_case_is_refused(court: Court) -> None:
    court.verifiers(3)
    first = court.drawn()
    first.vote(GOOD, GOOD, GOOD)
    account = first.accounts()[0]
    vote, salt = first.sealed[account]
    first.end_phase()
    first.reveal_all()
    first.end_phase()
    second = court.drawn()
    court.send(account, "commit", second.key, first.seal(account, vote, salt), at=second.vote_from)
    second.sealed[account] = (vote, salt)
    second.advance(at=second.deadline)
    second.draw()
    second.end_phase()
    second.draw()
    second.end_phase()
    with reverts("WrongSeal", second.key, account):
        second.reveal(account)


@pytest.mark.parametrize(
    "vote",
    [
        Vote(Verdict.NONE),
        Vote(Verdict.GOOD, BAD.digest),
        Vote(Verdict.GOOD),
        Vote(Verdict.BAD, RESULT),
        Vote(Verdict.BAD),
        Vote(Verdict.OUTPUT_MISSING, RESULT),
        Vote(Verdict.INPUTS_MISSING, RESULT),
        Vote(Verdict.NOT_RERUNNABLE, RESULT),
        Vote(Verdict.DISAGREED),
        Vote(Verdict.UNDRAWN),
        Vote(Verdict.UNDECIDED),
        Vote(Verdict.UNFIT),
    ],
    ids=str,
)
def test_what_is_no_vote_cannot_be_revealed(court: Court, case: CourtCase, vote: Vote) -> None:
    case.vote(vote, GOOD, GOOD)
    case.end_phase()
    (account,) = case.holders(vote)
    with reverts("Malformed", "verdict"):
        case.reveal(account)


# advance


def test_before_its_deadline_a_phase_with_open_seats_goes_on(court: Court, case: CourtCase) -> None:
    case.commit(case.accounts()[0], GOOD, at=case.vote_from)
    with reverts("PhaseAhead", case.key, Phase.VOTING, case.deadline):
        case.advance(at=case.deadline - 1)


def test_an_empty_seat_is_drawn_anew_only_when_the_time_to_vote_is_over(court: Court) -> None:
    """Else rounds that found nobody free would be used up in a moment."""
    court.verifiers(4)
    case = court.drawn()
    case.vote(DECLINES, GOOD, GOOD)
    with reverts("PhaseAhead", case.key, Phase.VOTING, case.deadline):
        case.advance(at=case.deadline - 1)
    case.advance(at=case.deadline)
    assert (case.phase, case.round) == (Phase.DRAWING, 2)


def test_before_its_deadline_a_reveal_with_open_seats_goes_on(court: Court, case: CourtCase) -> None:
    case.vote(GOOD, GOOD, GOOD)
    case.end_phase()
    case.reveal(case.accounts()[0])
    with reverts("PhaseAhead", case.key, Phase.REVEALING, case.deadline):
        case.advance(at=case.deadline - 1)


def test_a_case_that_is_not_there_does_not_advance(court: Court) -> None:
    case = court.disputed()
    with reverts("WrongPhase", case.key, Phase.NONE):
        case.advance()


def test_a_closed_case_does_not_advance(court: Court, case: CourtCase) -> None:
    case.judge(GOOD, GOOD, GOOD)
    with reverts("WrongPhase", case.key, Phase.CLOSED):
        case.advance()


def test_a_case_is_not_closed_with_terms_of_another_job(court: Court, case: CourtCase) -> None:
    case.vote(GOOD, GOOD, GOOD)
    case.end_phase()
    case.reveal_all()
    other = court.disputed()
    mine, case.terms = case.terms, other.terms
    with reverts("WrongTerms", case.key):
        case.advance()
    case.terms = mine
    case.advance()


def test_no_round_begins_that_could_not_end_in_time(court: Court) -> None:
    """Pushed late, a case reveals the votes it has rather than draw a seat anew."""
    court.verifiers(4)
    case = court.drawn()
    case.vote(GOOD, GOOD, SILENT)
    case.advance(at=case.terms.rule_by - 500)
    assert case.phase is Phase.REVEALING
    case.reveal_all()
    case.end_phase()
    assert court.event("CaseClosed")["verdict"] == Verdict.GOOD


def test_a_case_ends_without_the_parties_and_without_the_verifiers(court: Court, case: CourtCase) -> None:
    """A stranger alone pushes it through to its end, whatever its seats do."""
    while case.phase is not Phase.CLOSED:
        if case.phase is Phase.DRAWING:
            case.draw()
        case.advance(at=max(case.deadline, court.world.now + 1))
    assert case.round <= 3
    assert court.tickets(CLASS)[3] == 0
    assert court.view("earned", court.world.stranger) == 0 * ONE
