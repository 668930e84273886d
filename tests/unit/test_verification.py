"""The arithmetic of disputes, held against the published figures and against a simulation of many jobs."""

import random
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deai.job import Wei
from deai.verification import (
    Odds,
    Stakes,
    caught,
    cheating_loses,
    cheating_profit,
    expected_loss,
    honest_profit,
    least_bond,
    least_check_rate,
    least_fee,
    majority,
    taking_part_pays,
)

UNIT = 10**6
KNOWN = Stakes(pay=Wei(UNIT), honest_cost=Wei(UNIT * 7 // 10), cheat_cost=Wei(UNIT // 20))
ROUNDS = 40_000

amounts = st.integers(0, 10**12).map(Wei)
chances = st.fractions(0, 1, max_denominator=1_000)
stakes = st.builds(
    Stakes, pay=amounts, bond=amounts, honest_cost=amounts, cheat_cost=amounts, outside_gain=amounts
)
odds = st.builds(Odds, check_rate=chances, colluding=chances, false_alarm=chances)


@pytest.mark.parametrize(("times", "expected"), [(0, 0.65), (1, 0.325), (2, 0.217), (5, 0.108), (10, 0.059)])
def test_the_published_check_rates_come_out(times: int, expected: float) -> None:
    rate = least_check_rate(replace(KNOWN, bond=Wei(times * UNIT)), Odds(check_rate=Fraction(0)))
    assert rate is not None
    assert float(rate) == pytest.approx(expected, abs=0.0006)


@pytest.mark.parametrize(
    ("seats", "share", "expected"),
    [(3, "0.1", 0.028), (5, "0.1", 0.0086), (3, "0.2", 0.104), (5, "0.2", 0.058), (1, "0.3", 0.3)],
)
def test_the_published_majorities_come_out(seats: int, share: str, expected: float) -> None:
    assert float(majority(seats, Fraction(share))) == pytest.approx(expected, abs=0.0005)


@given(stakes, odds)
def test_the_least_check_rate_is_enough_and_a_little_less_is_not(stakes: Stakes, odds: Odds) -> None:
    rate = least_check_rate(stakes, odds)
    if rate is None:
        assert not cheating_loses(stakes, replace(odds, check_rate=Fraction(1)))
        return
    assert cheating_loses(stakes, replace(odds, check_rate=rate))
    if rate > 0:
        assert not cheating_loses(stakes, replace(odds, check_rate=rate * Fraction(999, 1_000)))


@given(stakes, odds)
def test_the_least_bond_is_enough_and_one_unit_less_is_not(stakes: Stakes, odds: Odds) -> None:
    bond = least_bond(stakes, odds)
    if bond is None:
        assert not cheating_loses(replace(stakes, bond=Wei(10**30)), odds)
        return
    assert cheating_loses(replace(stakes, bond=bond), odds)
    if bond > 0:
        assert not cheating_loses(replace(stakes, bond=Wei(bond - 1)), odds)


@given(amounts, st.fractions(0, Fraction(99, 100), max_denominator=100))
def test_at_the_least_fee_a_liar_gains_nothing_and_below_it_something(pay: Wei, colluding: Fraction) -> None:
    fee = least_fee(pay, colluding)
    assert fee is not None
    assert colluding * pay - (1 - colluding) * fee <= 0
    if fee > 0:
        assert colluding * pay - (1 - colluding) * (fee - 1) > 0


def test_no_fee_keeps_liars_from_an_arbiter_they_own() -> None:
    assert least_fee(Wei(1), Fraction(1)) is None


def test_what_nobody_checks_no_bond_can_hold() -> None:
    assert least_bond(KNOWN, Odds(check_rate=Fraction(0))) is None


def test_a_false_alarm_on_a_large_bond_drives_honest_providers_away() -> None:
    careful = Odds(check_rate=Fraction(1, 2), false_alarm=Fraction(1, 100))
    assert taking_part_pays(KNOWN, careful)
    assert not taking_part_pays(replace(KNOWN, bond=Wei(100 * UNIT)), careful)


def test_a_gain_elsewhere_asks_for_a_larger_bond() -> None:
    checked = Odds(check_rate=Fraction(1, 5))
    bare, tempted = least_bond(KNOWN, checked), least_bond(replace(KNOWN, outside_gain=Wei(UNIT)), checked)
    assert bare is not None
    assert tempted is not None
    assert tempted - bare == 4 * UNIT, "one gained for sure against (1 - p) / p of it"


def test_the_formulas_are_what_many_jobs_earn_on_average() -> None:
    """Plays the game draw by draw: checks, disputes, and a panel of three drawn from stake of which a fifth is corrupt."""
    share, draw = Fraction(1, 5), random.Random(4)  # noqa: S311
    odds = Odds(check_rate=Fraction(3, 10), colluding=majority(3, share), false_alarm=Fraction(1, 50))
    game = replace(KNOWN, bond=Wei(2 * UNIT), outside_gain=Wei(UNIT // 2))
    honest = cheating = caught_ = 0
    for _ in range(ROUNDS):
        is_checked = draw.random() < odds.check_rate
        corrupt = sum(draw.random() < share for _ in range(3)) >= 2
        alarm = is_checked and draw.random() < odds.false_alarm
        honest += (-game.bond if alarm else game.pay) - game.honest_cost
        condemned = is_checked and not corrupt
        cheating += (-game.bond if condemned else game.pay + game.outside_gain) - game.cheat_cost
        caught_ += condemned

    assert caught_ / ROUNDS == pytest.approx(float(caught(odds)), abs=0.01)
    assert honest / ROUNDS == pytest.approx(float(honest_profit(game, odds)), abs=0.03 * UNIT)
    assert cheating / ROUNDS == pytest.approx(float(cheating_profit(game, odds)), abs=0.03 * UNIT)
    assert (honest - cheating) / ROUNDS == pytest.approx(expected_loss(game, odds), abs=0.03 * UNIT)
