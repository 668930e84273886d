"""The panel's laws over random cases: no stake and no fee is lost or made, and its events alone tell who has what."""

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from court import (
    BAD,
    CLASS,
    DECLINES,
    GOOD,
    NO_INPUTS,
    NO_OUTPUT,
    SEAT_STAKE,
    SILENT,
    TRAP,
    WORSE,
    Court,
    CourtCase,
    Else,
    Vote,
)
from world import NOBODY

from deai.job import Address
from deai.panel import Phase

CASES = 4
CHOICES: list[Vote | Else] = [GOOD, GOOD, GOOD, BAD, BAD, WORSE, NO_OUTPUT, NO_INPUTS, TRAP, SILENT, DECLINES]


@dataclass(slots=True)
class Ledger:
    """What the panel's events alone tell: the tickets (account, leave_at, seated), what each account earned, and what was slashed."""

    tickets: dict[int, tuple[str, int, bool]] = field(default_factory=dict)
    earned: Counter[str] = field(default_factory=Counter)
    slashed: int = 0
    _seats: dict[bytes, dict[str, int]] = field(default_factory=dict)

    def read(self, name: str, event: dict[str, Any]) -> None:
        """Takes in the next event."""
        seats = self._seats.setdefault(event.get("id", b""), {})
        match name:
            case "Staked":
                self.tickets[event["slot"]] = (event["account"], 0, False)
            case "Leaving":
                self.tickets[event["slot"]] = (event["account"], event["leaveAt"], False)
            case "Left":
                del self.tickets[event["slot"]]
            case "Moved" if event["from"] != event["to"]:
                self.tickets[event["to"]] = self.tickets.pop(event["from"])
            case "SeatDrawn":
                seats[event["account"]] = event["slot"]
                self._sit(event["slot"], seated=True)
            case "Declined":
                self._sit(seats.pop(event["account"]), seated=False)
            case "SeatSlashed":
                self.slashed += event["amount"]
                del self.tickets[seats.pop(event["account"])]
            case "CaseClosed":
                # The minority is slashed after this.
                for slot in seats.values():
                    self._sit(slot, seated=False)
            case "Earned":
                self.earned[event["account"]] += event["amount"]
            case "Collected":
                self.earned[event["account"]] -= event["amount"]

    def _sit(self, slot: int, *, seated: bool) -> None:
        account, leave_at, _ = self.tickets[slot]
        self.tickets[slot] = (account, leave_at, seated)


@pytest.mark.parametrize("seed", range(2))
def test_random_cases_keep_the_laws(court: Court, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a test that can be repeated
    ledger = Ledger()
    read = court.world.web3.eth.block_number + 1
    accounts = court.verifiers(6)
    for _ in range(CASES):
        _disturb(court, dice, accounts)
        while court.tickets()[1] < 5:
            court.verifier(account=dice.choice(accounts))
        case = court.opened()
        while case.phase is not Phase.CLOSED:
            _step(case, dice)
            for name, event in court.history(read):
                ledger.read(name, event)
            read = court.world.web3.eth.block_number + 1
            if dice.random() < 0.2:
                _check(court, ledger, accounts)
        _check(court, ledger, accounts)
        assert court.tickets()[0] == court.tickets()[1]


def _disturb(court: Court, dice: random.Random, accounts: list[Address]) -> None:
    """Somebody stakes, leaves, collects or compacts."""
    account = dice.choice(accounts)
    slots = [slot for slot in range(court.tickets()[2]) if court.ticket(slot)[0] == account]
    match dice.randrange(4):
        case 0:
            court.verifier(account=account)
        case 1 if slots and court.ticket(slots[0])[2] == 0:
            leave_at = court.send(account, "leave", CLASS, slots[:1]).time + 5000
            court.send(account, "unstake", CLASS, slots[:1], at=leave_at)
        case 2 if court.view("earned", account):
            court.send(account, "collect")
        case 3:
            court.send(account, "compact", CLASS, 2)


def _step(case: CourtCase, dice: random.Random) -> None:
    match case.phase:
        case Phase.DRAWING if dice.random() < 0.95:
            case.draw()
        case Phase.VOTING:
            case.vote(*(dice.choice(CHOICES) for _ in case.to_vote()))
            case.end_phase()
        case Phase.REVEALING:
            case.reveal_all(but=[account for account in case.accounts() if dice.random() < 0.1])
            case.end_phase()
        case _:
            case.end_phase()


def _check(court: Court, ledger: Ledger, accounts: list[Address]) -> None:
    world = court.world
    tickets, free, slots, _ = court.tickets()
    assert len(ledger.tickets) == tickets
    assert sum(not seated and leave_at == 0 for _, leave_at, seated in ledger.tickets.values()) == free
    for slot in range(slots):
        account, _, leave_at, seated = court.ticket(slot)
        assert ledger.tickets.get(slot, (NOBODY, 0, False)) == (account, leave_at, seated)
    assert court.view("slashed") == ledger.slashed
    assert court.staked(court.panel.address) == tickets * SEAT_STAKE + ledger.slashed
    for account in accounts:
        assert court.view("earned", account) == ledger.earned[account]
    unearned = court.view("unearned", world.token)
    owed = sum(ledger.earned.values()) + unearned
    assert world.view("balanceOf", world.token, court.panel.address) == owed
