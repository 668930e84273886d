"""What a job says about disputes: enough bond and fee that neither cheating nor lying pays, and a refusal that says what would do."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deai.arbitration import (
    CORRUPT_SHARE,
    MIN_RULING_SECONDS,
    Court,
    Wishes,
    arbiter_data,
    arbitration,
    class_of,
)
from deai.errors import BadField
from deai.job import Address, Wei
from deai.testing import DAI
from deai.verification import cheating_loses, majority

UNIT = 10**18
PANEL = Address("0x5FbDB2315678afecb367f032d93F642f64180aa3")
COURT = Court(arbiter=PANEL, seat_fee=Wei(UNIT // 10), ruling_seconds=7_000, tickets=9)
CAP, RUN = Wei(10 * UNIT), Wei(2 * UNIT)


def made(wishes: Wishes | None = None, court: Court = COURT, cap: Wei = CAP, run: Wei = RUN) -> Any:
    return arbitration(wishes or Wishes(), court, cap, run, DAI.show)


def refused(field: str, wishes: Wishes, court: Court = COURT) -> str:
    with pytest.raises(BadField) as raised:
        made(wishes, court)
    assert raised.value.field == field
    return raised.value.rule


@given(
    st.integers(1, 10**24),
    st.integers(0, 10**24),
    st.sampled_from([1, 3, 5, 7]),
    st.fractions(Fraction(1, 100), 1, max_denominator=100),
    st.integers(0, 10**24),
)
def test_left_to_the_arithmetic_cheating_and_lying_lose(
    cap: int, run: int, seats: int, rate: Fraction, gain: int
) -> None:
    wishes = Wishes(seats=seats, check_rate=rate, outside_gain=Wei(gain))

    found = made(wishes, cap=Wei(cap), run=Wei(run))

    assert cheating_loses(found.stakes, found.odds)
    assert found.cheaters_loss >= 0
    assert found.bond >= 2 * found.dispute_fee
    assert found.dispute_fee >= seats * max(run, COURT.seat_fee)
    lie = majority(seats, CORRUPT_SHARE)
    assert lie * cap <= (1 - lie) * found.dispute_fee


def test_the_panels_32_bytes_are_class_seats_and_comparison() -> None:
    assert arbiter_data(258, 5) == bytes([1, 2, 5]) + bytes(29)
    assert made(Wishes(resource_class=1, seats=5)).arbiter_data == arbiter_data(1, 5)


@pytest.mark.parametrize("number", [0, 1, 258, 2**16 - 1])
@pytest.mark.parametrize("seats", [1, 3, 15])
def test_the_class_is_read_back_from_a_jobs_bytes(number: int, seats: int) -> None:
    assert class_of(arbiter_data(number, seats)) == number


@pytest.mark.parametrize(
    "data",
    [
        bytes(32),
        arbiter_data(0, 4),
        arbiter_data(0, 17),
        b"\0\0\3\1" + bytes(28),
        b"\0\0\3" + bytes(28) + b"\1",
    ],
)
def test_bytes_that_no_panel_takes_name_no_class(data: bytes) -> None:
    assert class_of(data) is None


def test_a_bond_at_which_cheating_pays_is_refused_with_what_would_do() -> None:
    wishes = Wishes(bond=Wei(20 * UNIT), dispute_fee=Wei(UNIT), check_rate=Fraction(1, 10))

    rule = refused("bond", wishes)

    assert "cheating would pay" in rule
    needed = rule.split("It takes ")[1].split(" DAI")[0]
    assert made(replace(wishes, bond=DAI.amount(needed))).bond == DAI.amount(needed)
    rate = Fraction(rule.split("at least ")[1].split(" of 100")[0]) / 100
    assert made(replace(wishes, check_rate=rate)).bond == wishes.bond


def test_a_bond_below_twice_the_fee_is_refused() -> None:
    assert "twice the dispute fee" in refused("bond", Wishes(bond=Wei(UNIT)))


def test_a_fee_for_which_nobody_judges_or_a_lie_pays_is_refused() -> None:
    assert "is below 0.3" in refused("dispute_fee", Wishes(dispute_fee=Wei(UNIT // 5)))
    cheap = replace(COURT, seat_fee=Wei(0))
    assert "a lie" in refused("dispute_fee", Wishes(dispute_fee=Wei(UNIT // 5)), cheap)


@pytest.mark.parametrize("seats", [0, 2, 4, 17])
def test_an_even_or_a_huge_panel_is_refused(seats: int) -> None:
    refused("seats", Wishes(seats=seats))


def test_a_class_with_fewer_stakes_than_seats_is_refused() -> None:
    assert "the 2 stakes" in refused("seats", Wishes(), replace(COURT, tickets=2))


@pytest.mark.parametrize("rate", [Fraction(0), Fraction(11, 10)])
def test_what_nobody_checks_is_refused(rate: Fraction) -> None:
    refused("check_rate", Wishes(check_rate=rate))


def test_the_panel_gets_the_time_it_needs_and_providers_the_least_they_take() -> None:
    assert made().ruling_seconds == COURT.ruling_seconds
    assert made(court=replace(COURT, ruling_seconds=5)).ruling_seconds == MIN_RULING_SECONDS
    assert made(Wishes(ruling_seconds=9_999)).ruling_seconds == 9_999
    assert "half the price" in refused("ruling", Wishes(ruling_seconds=6_999))
