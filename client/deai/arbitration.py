"""How a disputed job would be judged: by whom, for which fee, with which bond, so that neither cheating nor lying pays. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from deai.errors import BadField
from deai.job import Address, Wei
from deai.verification import (
    NOTHING,
    Odds,
    Stakes,
    cheating_loses,
    expected_loss,
    least_bond,
    least_check_rate,
    least_fee,
    majority,
)

SEATS, MAX_SEATS = 3, 15
CHECK_RATE = Fraction(1, 5)
CORRUPT_SHARE = Fraction(1, 10)
"""The part of the panel's stake that is taken to be in corrupt hands."""
MARGIN = Fraction(5, 4)
"""A bond that nobody chose is this much more than the least one."""
MIN_RULING_SECONDS = 3_600
"""Less is refused by providers: an arbiter without time is silent, and then half the price is lost."""
_CLASS_SHIFT, _SEATS_SHIFT = 240, 232

Show = Callable[[Wei], str]
"""An amount as people read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the submitter says about disputes; None where it leaves the choice to the arithmetic."""

    seats: int = SEATS
    resource_class: int = 0
    check_rate: Fraction = CHECK_RATE
    outside_gain: Wei = NOTHING
    bond: Wei | None = None
    dispute_fee: Wei | None = None
    ruling_seconds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Court:
    """What a panel asks of a job. Amounts in the token's smallest unit."""

    arbiter: Address
    seat_fee: Wei
    """The least a case pays for each seat."""
    ruling_seconds: int
    """The least time that a case of this job needs."""
    tickets: int
    """The stakes of the resource class, from which seats are drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arbitration:
    """What a job says about disputes, and why nobody gains by cheating in it."""

    arbiter: Address
    arbiter_data: bytes
    dispute_fee: Wei
    bond: Wei
    ruling_seconds: int
    seats: int
    stakes: Stakes
    odds: Odds

    @property
    def cheaters_loss(self) -> Wei:
        """What a cheater loses on average against working, if an honest run costs it all that it is paid; more if it costs less."""
        return expected_loss(self.stakes, self.odds)


def arbiter_data(resource_class: int, seats: int) -> bytes:
    """A job's 32 bytes for the panel: its class and seats, and the comparison of results byte by byte."""
    return (resource_class << _CLASS_SHIFT | seats << _SEATS_SHIFT).to_bytes(32)


def class_of(data: bytes) -> int | None:
    """The resource class that a job's 32 bytes for the panel name, or None where no panel takes them."""
    number = int.from_bytes(data)
    resource_class, seats = number >> _CLASS_SHIFT, seats_of(data)
    known = seats % 2 == 1 and seats <= MAX_SEATS and data == arbiter_data(resource_class, seats)
    return resource_class if known else None


def seats_of(data: bytes) -> int:
    """How many seats a job's 32 bytes for the panel name."""
    return int.from_bytes(data) >> _SEATS_SHIFT & 0xFF


def arbitration(wishes: Wishes, court: Court, cap: Wei, run: Wei, show: Show) -> Arbitration:
    """What to sign. `cap` is the most the job pays, `run` what one run of it is offered for, `show` tells amounts in refusals.

    Raises BadField for a setting in which cheating or lying pays, or of which the panel takes no case.
    """
    _check(wishes, court)
    colluding = majority(wishes.seats, CORRUPT_SHARE)
    odds = Odds(check_rate=wishes.check_rate, colluding=colluding)
    fee = _fee(wishes, court, cap, run, colluding, show)
    stakes = Stakes(pay=cap, honest_cost=cap, outside_gain=wishes.outside_gain)
    bond = _bond(wishes, stakes, odds, fee, show)
    least = max(court.ruling_seconds, MIN_RULING_SECONDS)
    if wishes.ruling_seconds is not None and wishes.ruling_seconds < least:
        rule = f"is less than the {least} s that a case of this job may take; a silent panel would cost you half the price"
        raise BadField("ruling", f"{wishes.ruling_seconds} s", rule)
    return Arbitration(
        arbiter=court.arbiter,
        arbiter_data=arbiter_data(wishes.resource_class, wishes.seats),
        dispute_fee=fee,
        bond=bond,
        ruling_seconds=wishes.ruling_seconds or least,
        seats=wishes.seats,
        stakes=replace(stakes, bond=bond),
        odds=odds,
    )


def _check(wishes: Wishes, court: Court) -> None:
    if wishes.seats % 2 == 0 or not 1 <= wishes.seats <= MAX_SEATS:
        raise BadField("seats", wishes.seats, f"is an odd number from 1 to {MAX_SEATS}")
    if court.tickets < wishes.seats:
        rule = f"is more than the {court.tickets} stakes in the panel's class {wishes.resource_class}: a dispute would find no judges"
        raise BadField("seats", wishes.seats, rule)
    if not 0 < wishes.check_rate <= 1:
        rule = "is above 0 and at most 1: what nobody checks, nobody disputes"
        raise BadField("check_rate", float(wishes.check_rate), rule)


def _fee(wishes: Wishes, court: Court, cap: Wei, run: Wei, colluding: Fraction, show: Show) -> Wei:
    lie = least_fee(cap, colluding)
    if lie is None:
        raise BadField("seats", wishes.seats, "would be corrupt every time")
    least = Wei(max(wishes.seats * court.seat_fee, lie))
    if wishes.dispute_fee is None:
        return Wei(max(least, wishes.seats * run))
    if wishes.dispute_fee < least:
        rule = (
            f"is below {show(least)}: each of {wishes.seats} seats takes {show(court.seat_fee)},"
            " and a lie about a good result must cost more than it brings"
        )
        raise BadField("dispute_fee", show(wishes.dispute_fee), rule)
    return wishes.dispute_fee


def _bond(wishes: Wishes, stakes: Stakes, odds: Odds, fee: Wei, show: Show) -> Wei:
    needed = least_bond(stakes, odds)
    if needed is None:
        raise BadField("check_rate", float(odds.check_rate), "holds no cheater, whatever its bond")
    # Twice the fee: a case that a provider makes with itself must burn as much as it costs.
    least = Wei(2 * fee)
    if wishes.bond is None:
        return Wei(max(ceil(needed * MARGIN), least))
    if wishes.bond < least:
        raise BadField("bond", show(wishes.bond), f"is below {show(least)}, twice the dispute fee")
    bonded = replace(stakes, bond=wishes.bond)
    if not cheating_loses(bonded, odds):
        rate = least_check_rate(bonded, odds)
        other = f", or check at least {ceil(rate * 1000) / 10:g} of 100 results" if rate is not None else ""
        rule = f"is too little: cheating would pay. It takes {show(needed)}{other}"
        raise BadField("bond", show(wishes.bond), rule)
    return wishes.bond
