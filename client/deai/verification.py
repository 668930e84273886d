"""What honesty costs: when cheating, lying and taking part pay, in a job whose result may be disputed. Pure, exact, rounded to the safe side.

With R the pay, C what an honest run costs the provider, c what a cheat costs it, S its bond, G what a cheat earns it elsewhere, p how often
results are checked (chosen after the delivery), r how often the arbiter wrongly sides with the cheater, e how often it wrongly condemns an
honest result:

    an honest provider earns    R - C - p e (R + S)
    a cheating one              R + G - c - p (1 - r) (R + S + G)
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil, comb, floor

from deai.job import Wei

NOTHING = Wei(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stakes:
    """What a job moves, in the token's smallest unit."""

    pay: Wei
    """R: what the provider gets for a result that stands."""
    bond: Wei = NOTHING
    """S: what the provider loses with a result that does not."""
    honest_cost: Wei
    """C: what running the job costs the provider. Where nobody knows, `pay`: no provider works for less than its cost."""
    cheat_cost: Wei = NOTHING
    """c: what making up a result costs."""
    outside_gain: Wei = NOTHING
    """G: what a wrong result that stands earns the provider elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Odds:
    """Probabilities, from 0 to 1."""

    check_rate: Fraction
    """p: how often the submitter compares a result with what it should be, and disputes a wrong one."""
    colluding: Fraction = Fraction(0)
    """r: how often the arbiter sides with whoever is wrong."""
    false_alarm: Fraction = Fraction(0)
    """e: how often an honest result is condemned once it is checked."""


def majority(seats: int, share: Fraction) -> Fraction:
    """How often more than half of `seats`, drawn by stake, belong to those who hold that share of the stake."""
    return sum(
        (comb(seats, count) * share**count * (1 - share) ** (seats - count) for count in range(seats // 2 + 1, seats + 1)),
        start=Fraction(0),
    )  # fmt: skip


def honest_profit(stakes: Stakes, odds: Odds) -> Fraction:
    """What an honest run earns the provider on average."""
    alarm = odds.check_rate * odds.false_alarm
    return stakes.pay - stakes.honest_cost - alarm * (stakes.pay + stakes.bond)


def cheating_profit(stakes: Stakes, odds: Odds) -> Fraction:
    """What a made-up result earns the provider on average."""
    gain = stakes.pay + stakes.outside_gain
    return gain - stakes.cheat_cost - caught(odds) * (gain + stakes.bond)


def caught(odds: Odds) -> Fraction:
    """How often a wrong result is found out and condemned."""
    return odds.check_rate * (1 - odds.colluding)


def cheating_loses(stakes: Stakes, odds: Odds) -> bool:
    """Whether a provider earns at least as much by working as by cheating."""
    return honest_profit(stakes, odds) >= cheating_profit(stakes, odds)


def taking_part_pays(stakes: Stakes, odds: Odds) -> bool:
    """Whether an honest provider does not lose on average."""
    return honest_profit(stakes, odds) >= 0


def least_check_rate(stakes: Stakes, odds: Odds) -> Fraction | None:
    """The least p at which cheating loses, whatever `odds.check_rate` is: (C - c + G) / [(1 - r)(R + S + G) - e(R + S)].

    None if no p up to 1 is enough.
    """
    saved = _saved(stakes)
    if saved <= 0:
        return Fraction(0)
    held = stakes.pay + stakes.bond
    per_check = (1 - odds.colluding) * (held + stakes.outside_gain) - odds.false_alarm * held
    if per_check < saved:
        return None
    return saved / per_check


def least_bond(stakes: Stakes, odds: Odds) -> Wei | None:
    """The least S at which cheating loses, whatever `stakes.bond` is. Rounds up. None if no bond is enough: nothing is checked, or the arbiter
    is wrong as often as right."""
    bare = replace(stakes, bond=Wei(0))
    lacking = cheating_profit(bare, odds) - honest_profit(bare, odds)
    if lacking <= 0:
        return Wei(0)
    per_unit = caught(odds) - odds.check_rate * odds.false_alarm
    return Wei(ceil(lacking / per_unit)) if per_unit > 0 else None


def least_fee(pay: Wei, colluding: Fraction) -> Wei | None:
    """The least dispute fee at which lying about a good result loses: a liar gets the pay back in r of all cases, and loses the fee in the others.
    Rounds up. None if no fee is enough."""
    return Wei(ceil(colluding * pay / (1 - colluding))) if colluding < 1 else None


def expected_loss(stakes: Stakes, odds: Odds) -> Wei:
    """How much less a cheater earns on average than the same provider by working; negative if cheating pays. Rounds down."""
    return Wei(floor(honest_profit(stakes, odds) - cheating_profit(stakes, odds)))


def _saved(stakes: Stakes) -> Fraction:
    return Fraction(stakes.honest_cost - stakes.cheat_cost + stakes.outside_gain)
