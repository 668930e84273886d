"""The panel's draws: who is seated, and that nobody who knows the randomness can change it."""

import pytest
from court import CLASS, DECLINES, GOOD, SILENT, Court, Else, arbiter_data
from world import NOBODY, ONE, reverts

from deai.job import JobState, Outcome
from deai.panel import Phase, Verdict


def test_a_draw_seats_three_accounts_and_their_tickets(court: Court) -> None:
    court.verifiers(5)
    case = court.opened()
    sent = case.draw()
    assert court.event("Drawn") == {
        "id": case.key,
        "round": 1,
        "empty": 0,
        "voteFrom": sent.time + 50,
        "voteBy": sent.time + 50 + 600 + 100,
    }
    seats = case.seats()
    assert len({seat.account for seat in seats} - {NOBODY}) == 3
    assert [(event["account"], event["seat"], event["slot"]) for event in court.events("SeatDrawn")] == [
        (seat.account, index, seat.slot) for index, seat in enumerate(seats)
    ]
    assert all(court.ticket(seat.slot)[0] == seat.account and court.ticket(seat.slot)[3] for seat in seats)
    assert court.tickets() == (5, 2, 5, 0)


def test_nobody_draws_before_the_block_of_the_draw_is_known(court: Court) -> None:
    court.verifiers(3)
    case = court.opened()
    # A block's hash is known from the next block on.
    court.mine(case.draw_block - court.world.web3.eth.block_number - 1)
    with reverts("DrawAhead", case.key, case.draw_block):
        court.send(court.world.stranger, "draw", CLASS)
    court.send(court.world.stranger, "draw", CLASS)


def test_without_a_request_there_is_nothing_to_draw(court: Court) -> None:
    with reverts("NothingToDraw", CLASS):
        court.send(court.world.stranger, "draw", CLASS)


def test_the_parties_are_never_seated(court: Court) -> None:
    world = court.world
    for party in (world.submitter, world.provider):
        court.verifier(tickets=8, account=party)
    honest = court.verifiers(3)
    case = court.opened()
    case.draw()
    # With so many tickets of the parties a seat may find nobody in its tries.
    assert case.accounts()
    assert set(case.accounts()) <= set(honest)


def test_no_account_is_seated_twice(court: Court) -> None:
    rich = court.verifier(tickets=9)
    poor = court.verifiers(2)
    drawn = 0
    for blocks in range(5):
        with court.world.undone():
            court.mine(blocks + 1)
            accounts = court.drawn().accounts()
            assert len(set(accounts)) == len(accounts)
            assert set(accounts) <= {rich, *poor}
            drawn += len(accounts)
    # One time in fifty a last seat finds nobody new in its tries, and stays empty.
    assert drawn >= 10


def test_a_seat_that_nobody_can_take_stays_empty_for_the_round(court: Court) -> None:
    accounts = [court.verifier(tickets=2), court.verifier()]
    case = court.drawn()
    assert court.event("Drawn")["empty"] == 1
    assert sorted(case.accounts()) == sorted(accounts)
    case.vote(GOOD, GOOD)
    case.end_phase()
    assert (case.phase, case.round) == (Phase.DRAWING, 2)


def test_more_tickets_are_drawn_more_often(court: Court) -> None:
    """Of ten tickets nine are one account's: it sits on nearly every case with one seat."""
    rich = court.verifier(tickets=9)
    court.verifier()
    seated = 0
    for blocks in range(8):
        with court.world.undone():
            court.mine(blocks + 1)
            case = court.drawn(arbiter_data=arbiter_data(seats=1), dispute_fee=ONE)
            seated += case.accounts() == [rich]
    assert seated >= 5


def test_a_stake_after_the_request_is_not_drawn(court: Court) -> None:
    early = court.verifiers(3)
    case = court.opened()
    for _ in range(5):
        court.verifier(tickets=5)
    case.draw()
    assert sorted(case.accounts()) == sorted(early)


def test_an_empty_slot_taken_after_the_request_is_not_drawn(court: Court) -> None:
    leaver = court.verifier(tickets=9)
    court.send(leaver, "leave", CLASS, list(range(9)))
    early = court.verifiers(3)
    court.world.rpc("evm_increaseTime", 5000)
    court.send(leaver, "unstake", CLASS, list(range(9)))
    case = court.opened()
    late = court.verifier(tickets=9)
    case.draw()
    assert court.ticket(0)[0] == late
    assert set(case.accounts()) <= set(early)


def test_who_asks_to_leave_after_the_request_is_drawn_all_the_same(court: Court) -> None:
    accounts = court.verifiers(3)
    case = court.opened()
    for slot, account in enumerate(accounts):
        court.send(account, "leave", CLASS, [slot])
    case.draw()
    assert sorted(case.accounts()) == sorted(accounts)


def test_who_may_leave_before_the_draw_must_be_made_is_not_drawn(court: Court) -> None:
    """So it does not matter whether it leaves before or after the draw."""
    leaver = court.verifier(tickets=9)
    sent = court.send(leaver, "leave", CLASS, list(range(9)))
    stays = court.verifiers(3)
    court.world.rpc("evm_setNextBlockTimestamp", sent.time + 5000 - 60)
    court.world.rpc("evm_mine")
    case = court.drawn()
    assert sorted(case.accounts()) == sorted(stays)


@pytest.mark.parametrize("how", [DECLINES, SILENT])
def test_a_draw_is_the_same_whatever_happens_after_its_request(court: Court, how: Else) -> None:
    """With the randomness known, accounts decline seats elsewhere or lose them, stake, and ask to leave: the draw does not change."""
    first, *_ = court.verifiers(6)
    other = court.drawn()
    case = court.disputed()
    for blocks in range(1, 11):
        with court.world.undone():
            court.mine(blocks)
            case.open(at=other.deadline - 50)
            court.mine(4)
            with court.world.undone():
                case.draw()
                expected = case.seats()
            if how is DECLINES:
                other.vote(DECLINES, DECLINES, DECLINES)
            else:
                other.advance(at=other.deadline)
            court.verifier(tickets=4, account=first)
            court.send(first, "leave", CLASS, [0])
            while case.phase is Phase.DRAWING:
                court.send(court.world.stranger, "draw", CLASS)
            assert case.seats() == expected


def test_busy_tickets_leave_their_seats_empty_instead_of_to_the_free_ones(court: Court) -> None:
    """Who keeps half of the tickets in cases of its own does not get all seats of another."""
    honest = court.verifiers(3)
    court.drawn()
    others = court.verifiers(3)
    drawn = empty = 0
    for blocks in range(10):
        with court.world.undone():
            court.mine(blocks + 1)
            case = court.drawn()
            assert not set(case.accounts()) & set(honest)
            assert set(case.accounts()) <= set(others)
            drawn += len(case.accounts())
            empty += case.empty
    assert drawn + empty == 30
    assert drawn >= 3
    assert empty >= 3


def test_tickets_of_the_case_itself_do_not_count_as_busy(court: Court) -> None:
    """Its own seats are looked past, those let go or slashed too."""
    court.verifiers(4)
    case = court.drawn()
    case.vote(DECLINES, SILENT, GOOD)
    case.end_phase()
    court.verifier()
    case.draw()
    assert case.empty == 1


def test_a_draw_from_no_slot_at_all_seats_nobody_and_holds_up_no_other(court: Court) -> None:
    court.verifier()
    case = court.drawn(arbiter_data=arbiter_data(seats=1), dispute_fee=ONE)
    case.vote(SILENT)
    case.end_phase()
    case.draw()
    court.send(court.world.stranger, "compact", CLASS, 1)
    assert court.tickets() == (0, 0, 0, 0)
    case.end_phase()
    court.verifiers(4)
    other = court.opened()
    case.draw()
    assert (case.phase, case.empty) == (Phase.VOTING, 1)
    other.draw()
    assert len(other.accounts()) == 3


def test_draws_of_a_class_are_made_in_the_order_of_their_requests(court: Court) -> None:
    """Who may choose the order of two draws may choose which tickets the second finds free."""
    court.verifiers(9)
    first, second = court.opened(), court.opened()
    second.draw()
    assert (first.phase, second.phase) == (Phase.VOTING, Phase.DRAWING)
    second.draw()
    assert second.phase is Phase.VOTING
    assert not set(first.accounts()) & set(second.accounts())


def test_one_ticket_never_backs_two_cases(court: Court) -> None:
    account = court.verifier(tickets=6)
    court.verifiers(4)
    cases = [court.drawn(), court.drawn()]
    slots = [seat.slot for case in cases for seat in case.seats() if seat.account != NOBODY]
    assert len(slots) == len(set(slots))
    assert account in cases[0].accounts() or account in cases[1].accounts()


def test_classes_do_not_wait_for_each_other(court: Court) -> None:
    court.verifiers(3)
    for _ in range(3):
        court.verifier(resource_class=CLASS + 1)
    court.opened()
    other = court.opened(arbiter_data=arbiter_data(CLASS + 1))
    other.draw()
    assert other.phase is Phase.VOTING


@pytest.mark.parametrize("why", ["the hash is gone", "the time is over"])
def test_a_draw_nobody_made_is_lost_for_the_disputer(court: Court, why: str) -> None:
    court.verifiers(3)
    case = court.opened()
    if why == "the hash is gone":
        court.world.rpc("anvil_mine", hex(300), hex(0))
        case.advance(at=case.deadline - 1)
    else:
        case.advance(at=case.deadline)
    closed = court.event("CaseClosed")
    assert (closed["verdict"], closed["ruled"], closed["shareBps"]) == (Verdict.UNDRAWN, True, 10_000)
    assert court.world.ending(case.job) == (JobState.CLOSED, Outcome.PAID)
    assert court.view("unearned", court.world.token) == 3 * ONE
    # Its request is out of date, and taken from the queue without effect.
    court.mine(3)
    court.send(court.world.stranger, "draw", CLASS)
    assert court.tickets() == (3, 3, 3, 0)


def test_a_missed_draw_cannot_be_made_late(court: Court) -> None:
    court.verifiers(3)
    case = court.opened()
    case.draw(at=case.deadline)
    assert case.accounts() == []
    case.advance()
    assert case.phase is Phase.CLOSED


def test_a_draw_that_can_be_made_is_not_missed(court: Court) -> None:
    court.verifiers(3)
    case = court.opened()
    court.mine(10)
    with reverts("PhaseAhead", case.key, Phase.DRAWING, case.deadline):
        case.advance()


def test_in_a_missed_second_draw_those_that_voted_are_paid(court: Court) -> None:
    court.verifiers(4)
    case = court.drawn()
    case.vote(GOOD, GOOD, SILENT)
    case.end_phase()
    case.advance(at=case.deadline)
    assert court.event("CaseClosed")["verdict"] == Verdict.UNDRAWN
    assert [court.view("earned", account) for account in case.sealed] == [3 * ONE // 2] * 2


def test_a_second_draw_has_randomness_of_its_own(court: Court) -> None:
    court.verifiers(9)
    case = court.drawn()
    block = case.draw_block
    case.vote(DECLINES, DECLINES, DECLINES)
    before = court.world.web3.eth.block_number
    case.end_phase()
    assert case.draw_block > before >= block


def test_a_draw_costs_the_same_with_many_tickets(court: Court) -> None:
    """Up to what chance costs: the slots it looks at in vain."""
    court.verifiers(3)
    few = _draw_cost(court)
    for _ in range(4):
        court.verifier(tickets=50)
    many = _draw_cost(court)
    assert court.tickets()[0] == 203
    assert many < few + 50_000


def _draw_cost(court: Court) -> int:
    with court.world.undone():
        case = court.opened()
        return case.draw().gas_used
