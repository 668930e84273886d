"""Who gains by which deviation, in balances before and after: the table of docs/incentives.md, line by line.

One job: price 100, bond 50, a case costs 10, the matcher's fee is 2.5 % of the price. What a party spent on the work is not counted here.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from world import ONE, World, reverts

from deai.job import Address, Job, Terms, Timestamp, Wei

PRICE, BOND, COST, FEE = 100 * ONE, 50 * ONE, 10 * ONE, 5 * ONE // 2
ALL, NOTHING = 10_000, 0


class Purse:
    """What each party gained since the start; `burned` what nobody has any more."""

    def __init__(self, world: World) -> None:
        self._world, self._before = world, _holdings(world)

    def __getattr__(self, party: str) -> int:
        return _holdings(self._world)[party] - self._before[party]


def _holdings(world: World) -> dict[str, int]:
    parties = ("submitter", "provider", "matcher", "arbiter", "stranger")
    return {party: world.balance(getattr(world, party)) for party in parties} | {"burned": world.burned()}


@contextmanager
def gains(world: World) -> Iterator[Purse]:
    """What comes in goes out, whatever happens in the block."""
    purse = Purse(world)
    yield purse
    parties = ("submitter", "provider", "matcher", "arbiter", "stranger", "burned")
    assert sum(getattr(purse, party) for party in parties) == 0


def _job(world: World, **changes: Any) -> Job:
    prices = {
        "price_start": Wei(PRICE),
        "price_cap": Wei(3 * PRICE),
        "bond": Wei(BOND),
        "dispute_fee": Wei(COST),
    }
    return world.judged(**{**prices, **changes})


def _awarded(world: World, **changes: Any) -> tuple[Job, Terms]:
    job = _job(world, **changes)
    return job, world.award(job, world.bid(job, price=Wei(PRICE)), by=world.matcher)


def _delivered(world: World) -> tuple[Job, Terms]:
    job, terms = _awarded(world)
    return job, world.deliver(job, terms)


def _disputed(world: World, by: Address | None = None) -> tuple[Job, Terms]:
    job, terms = _delivered(world)
    return job, world.dispute(job, terms, by)


def _rule(world: World, job: Job, terms: Terms, share: int) -> None:
    world.send(world.arbiter, "rule", world.key(job), terms, share)


def test_honest_work_pays_its_price(world: World) -> None:
    with gains(world) as gain:
        job, terms = _delivered(world)
        world.send(world.stranger, "settle", world.key(job), terms, at=terms.window_end)
    assert (gain.submitter, gain.provider, gain.matcher) == (-PRICE, PRICE - FEE, FEE)
    assert (gain.burned, gain.arbiter, gain.stranger) == (0, 0, 0)


def test_an_award_held_back_to_its_last_second_takes_no_time_from_the_provider(world: World) -> None:
    with gains(world) as gain:
        job = _job(world)
        bid = world.bid(job, price=Wei(PRICE))
        last = bid.expires_at - 1
        terms = world.award(job, bid, by=world.matcher, at=last)
        assert terms.deliver_by == last + job.deliver_seconds
        terms = world.deliver(job, terms, at=terms.deliver_by - 1)
        world.send(world.submitter, "approve", world.key(job), terms)
    assert (gain.provider, gain.matcher, gain.burned) == (PRICE - FEE, FEE, 0)


def test_a_result_never_delivered_costs_its_provider_the_bond(world: World) -> None:
    with gains(world) as gain:
        job, terms = _awarded(world)
        world.send(world.submitter, "reclaim", world.key(job), terms, at=terms.deliver_by)
    assert (gain.provider, gain.submitter, gain.matcher) == (-BOND, 0, 0)
    assert gain.burned == BOND


def test_a_result_withheld_or_forged_costs_the_bond_and_the_submitter_nothing(world: World) -> None:
    with gains(world) as gain:
        job, terms = _disputed(world)
        _rule(world, job, terms, NOTHING)
    assert (gain.provider, gain.submitter, gain.matcher) == (-BOND, 0, 0)
    assert (gain.arbiter, gain.burned) == (COST, BOND - COST)


def test_a_silent_arbiter_gives_a_liar_half_the_price_less_the_fee(world: World) -> None:
    with gains(world) as gain:
        job, terms = _disputed(world)
        world.send(world.stranger, "lapse", world.key(job), terms, at=terms.rule_by)
    saved = gain.submitter + PRICE
    assert saved == PRICE // 2 - COST
    assert gain.provider == PRICE // 2 - FEE // 2
    assert (gain.arbiter, gain.burned) == (0, COST)


def test_silence_pays_no_liar_whose_fee_is_half_the_price(world: World) -> None:
    with gains(world) as gain:
        job, terms = _awarded(world, dispute_fee=Wei(PRICE // 2), bond=Wei(PRICE))
        terms = world.dispute(job, world.deliver(job, terms))
        world.send(world.stranger, "lapse", world.key(job), terms, at=terms.rule_by)
    assert gain.submitter == -PRICE


@pytest.mark.parametrize(
    ("share", "loss"), [(NOTHING, BOND), (ALL, COST + FEE), (5_000, (BOND + COST + FEE) // 2)]
)
def test_who_is_submitter_and_provider_in_one_loses_by_disputing_itself(
    world: World, share: int, loss: int
) -> None:
    with gains(world) as gain:
        job, terms = _disputed(world)
        _rule(world, job, terms, share)
    assert gain.submitter + gain.provider == -loss
    assert gain.arbiter <= COST


def test_who_is_submitter_and_provider_in_one_loses_by_an_arbiter_that_never_rules(world: World) -> None:
    with gains(world) as gain:
        job, terms = _disputed(world)
        world.send(world.stranger, "lapse", world.key(job), terms, at=terms.rule_by)
    assert gain.submitter + gain.provider == -COST - FEE // 2


def test_a_trap_job_wins_its_author_no_part_of_the_bond(world: World) -> None:
    for share in (NOTHING, 2_500, 5_000, ALL):
        with world.undone(), gains(world) as gain:
            job, terms = _disputed(world)
            _rule(world, job, terms, share)
            assert gain.submitter <= 0
            assert gain.submitter == -(PRICE + COST) * share // ALL


def test_sabotage_that_makes_a_provider_late_pays_nobody(world: World) -> None:
    with gains(world) as gain:
        job, terms = _awarded(world)
        world.send(world.stranger, "reclaim", world.key(job), terms, at=terms.deliver_by)
    assert max(gain.submitter, gain.matcher, gain.arbiter, gain.stranger) == 0
    assert (gain.provider, gain.burned) == (-BOND, BOND)


def test_a_provider_that_awards_itself_gets_the_ramp_and_not_the_cap(world: World) -> None:
    job = _job(world, open_at=Timestamp(world.now + 10), award_by=Timestamp(world.now + 1_010))
    capped = world.bid(job, price=job.price_cap)
    orders: Callable[..., tuple[Any, ...]] = lambda bid: (job, world.signed(job), bid, world.signed(bid))  # noqa: E731
    with reverts("NotOpen", world.key(job), job.open_at):
        world.send(world.provider, "award", *orders(capped), at=job.open_at - 1)
    with reverts("PriceAboveRamp", world.key(job), job.price_cap, PRICE):
        world.send(world.provider, "award", *orders(capped), at=job.open_at)
    with gains(world) as gain:
        terms = world.award(job, world.bid(job, price=Wei(PRICE)), by=world.provider, at=job.open_at + 1)
        terms = world.deliver(job, terms)
        world.send(world.submitter, "approve", world.key(job), terms)
    assert (gain.provider, gain.submitter, gain.matcher) == (PRICE, -PRICE, 0)


def test_a_liars_dispute_costs_the_liar_the_case(world: World) -> None:
    with gains(world) as gain:
        job, terms = _disputed(world)
        _rule(world, job, terms, ALL)
    assert (gain.submitter, gain.provider) == (-PRICE - COST, PRICE - FEE)
    assert (gain.arbiter, gain.burned) == (COST, 0)


@pytest.mark.parametrize("share", [NOTHING, 1, 5_000, 9_999, ALL])
def test_an_arbiter_that_rules_early_gets_no_more_than_the_case_costs(world: World, share: int) -> None:
    with gains(world) as gain:
        job, terms = _delivered(world)
        _rule(world, job, terms, share)
    assert gain.arbiter == COST * (ALL - share) // ALL
    assert gain.burned == BOND * (ALL - share) // ALL - gain.arbiter


def test_an_arbiter_that_opens_a_case_and_stays_silent_gains_nothing(world: World) -> None:
    with gains(world) as gain:
        job, terms = _disputed(world, by=world.arbiter)
        world.send(world.stranger, "lapse", world.key(job), terms, at=terms.rule_by)
    assert (gain.submitter, gain.provider, gain.arbiter, gain.burned) == (-PRICE, PRICE - FEE, 0, 0)


def test_an_arbiter_in_league_with_the_submitter_takes_the_price_and_its_fee_and_the_rest_burns(
    world: World,
) -> None:
    with gains(world) as gain:
        job, terms = _disputed(world, by=world.arbiter)
        _rule(world, job, terms, NOTHING)
    assert gain.submitter + gain.arbiter == COST
    assert (gain.provider, gain.burned) == (-BOND, BOND - COST)
