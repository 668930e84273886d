"""The panel's tickets: stake, leave, unstake, compact, and tokens that misbehave."""

from typing import Any

import pytest
from court import CLASS, GOOD, SEAT_STAKE, Court, Pace
from world import NOBODY, reverts

from deai.job import Address

UNSTAKE_SECONDS = 5000


def gone(court: Court, accounts: list[Address], *slots: int) -> None:
    """The tickets in these slots, each its account's only one, are taken back, in this order."""
    for slot in slots:
        court.send(accounts[slot], "leave", CLASS, [slot])
    court.world.rpc("evm_increaseTime", UNSTAKE_SECONDS)
    for slot in slots:
        court.send(accounts[slot], "unstake", CLASS, [slot])


def test_a_stake_buys_tickets_one_slot_each(court: Court) -> None:
    account = court.verifier(tickets=3)
    assert court.tickets() == (3, 3, 3, 0)
    assert [event["slot"] for event in court.events("Staked")] == [0, 1, 2]
    assert court.ticket(1) == (account, court.world.web3.eth.block_number, 0, False)
    assert court.staked(court.panel.address) == 3 * SEAT_STAKE
    assert court.tickets(resource_class=CLASS + 1) == (0, 0, 0, 0)


def test_a_stake_of_no_ticket_is_refused(court: Court) -> None:
    with reverts("Malformed", "count"):
        court.send(court.person(), "stake", CLASS, 0)


def test_a_stake_without_the_allowance_is_refused(court: Court) -> None:
    account = court.person()
    court.world.send(account, "approve", court.panel.address, SEAT_STAKE - 1, to=court.stake_token)
    with reverts("ERC20InsufficientAllowance", court.panel.address, SEAT_STAKE - 1, SEAT_STAKE):
        court.send(account, "stake", CLASS, 1)


@pytest.mark.parametrize("name", ["FeeToken", "FalseToken"])
def test_a_token_of_which_less_arrives_is_refused(court: Court, name: str) -> None:
    court.stake_token = court.world.create(name)
    court.panel = court.new_panel()
    account = court.person()
    court.approve(account, SEAT_STAKE)
    refusal = (
        ("Malformed", "stakeToken")
        if name == "FeeToken"
        else ("SafeERC20FailedOperation", court.stake_token.address)
    )
    with reverts(*refusal):
        court.send(account, "stake", CLASS, 1)


def test_a_ticket_leaves_after_longer_than_any_case(court: Court) -> None:
    account = court.verifier(tickets=2)
    before = court.staked(account)
    sent = court.send(account, "leave", CLASS, [1])
    leave_at = sent.time + UNSTAKE_SECONDS
    assert court.event("Leaving") == {
        "resourceClass": CLASS,
        "account": account,
        "slot": 1,
        "leaveAt": leave_at,
    }
    with reverts("LeaveAhead", CLASS, 1, leave_at):
        court.send(account, "unstake", CLASS, [1], at=leave_at - 1)
    court.send(account, "unstake", CLASS, [1], at=leave_at)
    assert court.event("Left") == {"resourceClass": CLASS, "account": account, "slot": 1}
    assert court.staked(account) == before + SEAT_STAKE
    assert court.staked(court.panel.address) == SEAT_STAKE
    assert court.tickets() == (1, 1, 2, 0)
    assert court.ticket(1) == (NOBODY, 0, 0, False)


def test_a_ticket_that_did_not_ask_to_leave_stays(court: Court) -> None:
    account = court.verifier()
    with reverts("LeaveAhead", CLASS, 0, 0):
        court.send(account, "unstake", CLASS, [0], at=court.world.now + 10**6)


def test_asking_twice_does_not_move_the_time(court: Court) -> None:
    account = court.verifier()
    court.send(account, "leave", CLASS, [0])
    with reverts("LeavingAlready", CLASS, 0):
        court.send(account, "leave", CLASS, [0])


@pytest.mark.parametrize("verb", ["leave", "unstake"])
@pytest.mark.parametrize("slot", [0, 1, 2**32 - 1])
def test_only_the_owner_moves_a_ticket(court: Court, verb: str, slot: int) -> None:
    court.verifier()
    stranger = court.person()
    with reverts("NotYours", CLASS, slot, stranger):
        court.send(stranger, verb, CLASS, [slot])


def test_a_ticket_is_not_paid_back_twice(court: Court) -> None:
    court.verifier()
    account = court.verifier()
    court.send(account, "leave", CLASS, [1])
    with reverts("NotYours", CLASS, 1, account):
        court.send(account, "unstake", CLASS, [1, 1], at=court.world.now + UNSTAKE_SECONDS)


def test_a_seated_ticket_cannot_leave_before_its_case_is_over(court: Court) -> None:
    court.verifiers(3)
    case = court.disputed(deliver_seconds=600)
    holder, slot = court.ticket(0)[0], 0
    case.open()
    court.send(holder, "leave", CLASS, [slot])
    leave_at = court.ticket(slot)[2]
    case.draw()
    assert holder in case.accounts()
    with reverts("Seated", CLASS, slot):
        court.send(holder, "unstake", CLASS, [slot], at=leave_at)
    case.end_phase()
    assert court.tickets()[0] == 0  # all three were silent


def test_the_next_stake_takes_an_empty_slot(court: Court) -> None:
    first, _ = court.verifiers(2)
    court.send(first, "leave", CLASS, [0])
    court.send(first, "unstake", CLASS, [0], at=court.world.now + UNSTAKE_SECONDS)
    newcomer = court.verifier()
    assert court.ticket(0)[0] == newcomer
    assert court.tickets() == (2, 2, 2, 0)


def test_compacting_moves_the_last_tickets_to_empty_slots(court: Court) -> None:
    accounts = court.verifiers(5)
    gone(court, accounts, 0, 3)
    court.send(court.world.stranger, "compact", CLASS, 100)
    assert court.tickets() == (3, 3, 3, 0)
    assert {court.ticket(slot)[0] for slot in range(3)} == {accounts[slot] for slot in (1, 2, 4)}
    newcomers = court.verifiers(2)
    assert [court.ticket(slot)[0] for slot in (3, 4)] == newcomers


def test_a_slot_is_never_given_to_two_tickets(court: Court) -> None:
    """Compacting leaves notes of empty slots behind that are out of date."""
    accounts = court.verifiers(4)
    gone(court, accounts, 1, 3, 2)
    court.send(court.world.stranger, "compact", CLASS, 2)
    newcomers = court.verifiers(4)
    court.send(court.world.stranger, "compact", CLASS, 100)
    tickets, free, slots, _ = court.tickets()
    held = [court.ticket(slot)[0] for slot in range(slots)]
    assert (tickets, free) == (5, 5)
    assert sorted(holder for holder in held if holder != NOBODY) == sorted([accounts[0], *newcomers])


def test_a_stake_takes_no_slot_that_was_filled_since(court: Court) -> None:
    accounts = court.verifiers(4)
    gone(court, accounts, 1, 2, 3)
    court.send(court.world.stranger, "compact", CLASS, 3)
    holders = [accounts[0], *court.verifiers(3)]
    assert [court.ticket(slot)[0] for slot in range(4)] == holders


def test_a_stake_takes_the_slot_that_was_emptied_last(court: Court) -> None:
    accounts = court.verifiers(3)
    gone(court, accounts, 2, 1)
    newcomer = court.verifier()
    assert [court.ticket(slot)[0] for slot in range(3)] == [accounts[0], newcomer, NOBODY]


def test_slots_do_not_move_under_a_requested_draw(court: Court) -> None:
    court.verifiers(3)
    case = court.opened()
    with reverts("DrawsPending", CLASS):
        court.send(court.world.stranger, "compact", CLASS, 1)
    case.draw()
    court.send(court.world.stranger, "compact", CLASS, 1)


def test_compacting_stops_at_a_ticket_that_backs_a_case(court: Court) -> None:
    accounts = court.verifiers(4)
    gone(court, accounts, 0)
    case = court.drawn()
    assert case.accounts() != []
    court.send(court.world.stranger, "compact", CLASS, 10)
    assert [court.ticket(slot)[0] for slot in range(4)] == [NOBODY, *accounts[1:]]
    case.judge(GOOD, GOOD, GOOD)
    assert court.tickets() == (3, 3, 4, 0)


def test_compacting_moves_no_ticket_to_a_slot_that_was_filled_since(court: Court) -> None:
    accounts = court.verifiers(4)
    gone(court, accounts, 1, 2, 3)
    court.send(court.world.stranger, "compact", CLASS, 3)
    holders = [accounts[0], *court.verifiers(2)]
    court.send(court.world.stranger, "compact", CLASS, 1)
    assert [court.ticket(slot)[0] for slot in range(3)] == holders
    assert court.tickets() == (3, 3, 3, 0)


def test_compacting_moves_no_ticket_to_a_slot_that_was_dropped(court: Court) -> None:
    accounts = court.verifiers(4)
    gone(court, accounts, 3)
    court.send(court.world.stranger, "compact", CLASS, 1)
    court.send(court.world.stranger, "compact", CLASS, 1)
    assert [court.ticket(slot)[0] for slot in range(3)] == accounts[:3]
    assert court.tickets() == (3, 3, 3, 0)


def test_a_class_that_everybody_left_is_compacted_to_nothing(court: Court) -> None:
    gone(court, court.verifiers(2), 0, 1)
    court.send(court.world.stranger, "compact", CLASS, 5)
    assert court.tickets() == (0, 0, 0, 0)


@pytest.mark.parametrize("verb", ["stake", "unstake", "collect"])
def test_a_token_that_calls_back_gets_nowhere(court: Court, verb: str) -> None:
    """A stake in the middle of a stake would count what arrives twice."""
    world = court.world
    token = court.stake_token = world.create("ReenteringToken")
    court.panel = court.new_panel()
    account = court.person()
    court.approve(account, 2 * SEAT_STAKE)
    arguments: dict[str, Any] = {"stake": (CLASS, 1), "unstake": (CLASS, []), "collect": ()}
    data = court.panel.encode_abi(verb, args=list(arguments[verb]))
    world.send(account, "prepare", court.panel.address, data, to=token)
    court.send(account, "stake", CLASS, 1)
    assert token.functions.called().call()
    assert not token.functions.succeeded().call()
    assert world.error(token.functions.answer().call()).name == "ReentrancyGuardReentrantCall"
    assert court.tickets() == (1, 1, 1, 0)


def test_stakes_that_stay_a_second_longer_than_any_case_will_do(court: Court) -> None:
    longest = int(court.view("caseSeconds", 0))
    assert court.refusal(unstake_seconds=longest) == ("Malformed", ("unstakeSeconds",))
    court.another(unstake_seconds=longest + 1)


def test_a_slot_that_never_was_is_empty(court: Court) -> None:
    court.verifiers(2)
    assert court.ticket(1)[0] != NOBODY
    assert court.ticket(2) == court.ticket(99) == (NOBODY, 0, 0, False)


def test_a_panel_tells_its_pace(court: Court) -> None:
    assert tuple(court.view("pace")) == Pace()


def test_who_earned_nothing_collects_nothing(court: Court) -> None:
    with reverts("Malformed", "amount"):
        court.send(court.person(), "collect")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("market", NOBODY),
        ("random", NOBODY),
        ("stakeToken", NOBODY),
        ("seatStake", 0),
        ("seatFee", 0),
        ("drawBlocks", 0),
        ("openSeconds", 0),
        ("drawSeconds", 0),
        ("cureSeconds", 0),
        ("voteSeconds", 0),
        ("revealSeconds", 0),
        ("unstakeSeconds", 900),
    ],
)
def test_a_panel_that_could_not_work_is_not_made(court: Court, field: str, value: Any) -> None:
    name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in field)
    assert court.refusal(**{name: value}) == ("Malformed", (field,))
