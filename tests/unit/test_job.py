"""A job's times and money, as pure values."""

from dataclasses import astuple, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deai.job import (
    TRANSITIONS,
    ZERO_ADDRESS,
    ZERO_DIGEST,
    Action,
    Address,
    Bid,
    Job,
    JobId,
    JobState,
    Payout,
    Terms,
    Timestamp,
    Wei,
    award_terms,
    fee,
    lapsed,
    may,
    paid,
    ramp,
    refunded,
    ruled,
)

SUBMITTER, PROVIDER, MATCHER, ARBITER = (Address("0x" + digit * 40) for digit in "1236")
JOB = Job(
    submitter=SUBMITTER,
    token=Address("0x" + "4" * 40),
    price_start=Wei(100),
    price_cap=Wei(200),
    bond=Wei(50),
    matcher=MATCHER,
    matcher_fee_bps=250,
    open_at=Timestamp(1_000),
    award_by=Timestamp(2_000),
    deliver_seconds=600,
    challenge_seconds=60,
    spec=b"\x01" * 32,
    salt=b"\x02" * 32,
)
BID = Bid(job=JobId("0x" + "5" * 64), provider=PROVIDER, price=Wei(150), expires_at=Timestamp(1_600))
AWARDED_AT = Timestamp(1_500)
TERMS = award_terms(JOB, BID, AWARDED_AT, PROVIDER)
DELIVERED = replace(TERMS, arbiter=ARBITER, dispute_fee=Wei(20)).delivered(b"\x09" * 32, Timestamp(1_900))
DISPUTED = DELIVERED.disputed(SUBMITTER, Timestamp(3_000))
AMOUNTS = st.integers(0, 2**96 - 1).map(Wei)


@pytest.mark.parametrize(
    ("now", "most"),
    [
        (0, 100),
        (999, 100),
        (1_000, 100),
        (1_009, 100),
        (1_010, 101),
        (1_500, 150),
        (1_999, 199),
        (2_000, 200),
        (9_999, 200),
    ],
)
def test_the_ramp_is_flat_until_open_at_and_rises_to_the_cap_rounding_down(now: int, most: int) -> None:
    assert ramp(JOB, Timestamp(now)) == most


@given(AMOUNTS, AMOUNTS, st.integers(0, 2**40 - 1), st.integers(0, 2**40 - 1), st.integers(0, 2**40 - 1))
def test_the_ramp_never_falls_and_never_leaves_its_bounds(
    one: Wei, other: Wei, opens: int, ends: int, now: int
) -> None:
    opens, ends = min(opens, ends), max(opens, ends) + 1
    start, cap = min(one, other), max(one, other)
    job = replace(JOB, price_start=start, price_cap=cap, open_at=Timestamp(opens), award_by=Timestamp(ends))

    assert start <= ramp(job, Timestamp(now)) <= ramp(job, Timestamp(now + 1)) <= cap


@pytest.mark.parametrize(("price", "due"), [(0, 0), (1, 0), (39, 0), (40, 1), (9_999, 249), (10_000, 250)])
def test_the_fee_rounds_down(price: int, due: int) -> None:
    assert fee(JOB, Wei(price)) == due


def test_the_fee_is_due_only_to_the_matcher_that_sent_the_award() -> None:
    by_matcher = award_terms(JOB, BID, AWARDED_AT, MATCHER)

    assert (by_matcher.matcher, by_matcher.fee) == (MATCHER, 3)
    assert (TERMS.matcher, TERMS.fee) == (ZERO_ADDRESS, 0)


def test_durations_run_from_the_award() -> None:
    assert TERMS.deliver_by == AWARDED_AT + JOB.deliver_seconds
    assert (TERMS.window_end, TERMS.result) == (0, ZERO_DIGEST)


BPS = st.integers(0, 10_000)


@given(AMOUNTS, AMOUNTS, AMOUNTS, BPS, BPS, st.booleans())
def test_what_comes_in_goes_out(
    price: Wei, bond: Wei, cost: Wei, fee_bps: int, share: int, by_arbiter: bool
) -> None:
    job = replace(JOB, bond=bond, matcher_fee_bps=fee_bps, arbiter=ARBITER, dispute_fee=Wei(min(cost, bond)))
    awarded = award_terms(job, replace(BID, price=price), AWARDED_AT, MATCHER)
    disputed = awarded.disputed(ARBITER if by_arbiter else SUBMITTER, Timestamp(3_000))

    endings = [(awarded, paid(awarded)), (awarded, refunded(awarded)), (awarded, ruled(awarded, share))]
    endings += [(disputed, lapsed(disputed)), (disputed, ruled(disputed, share))]

    for terms, payout in endings:
        parts = astuple(payout)
        assert sum(parts) == terms.price + terms.bond + terms.prepaid
        assert min(parts) >= 0
        assert payout.to_arbiter <= job.dispute_fee


def test_a_refund_gives_the_price_back_and_burns_the_bond() -> None:
    assert refunded(TERMS) == Payout(to_submitter=Wei(150), burned=Wei(50))


def test_a_lost_case_costs_the_provider_its_bond_and_gives_the_submitter_back_what_it_prepaid() -> None:
    assert ruled(DISPUTED, 0) == Payout(to_submitter=Wei(150 + 20), to_arbiter=Wei(20), burned=Wei(50 - 20))


def test_a_lost_dispute_costs_the_submitter_what_it_prepaid() -> None:
    assert ruled(DISPUTED, 10_000) == Payout(to_provider=Wei(150 + 50), to_arbiter=Wei(20))


def test_a_shared_fault_costs_both() -> None:
    assert ruled(DISPUTED, 5_000) == Payout(
        to_submitter=Wei(75 + 10), to_provider=Wei(75 + 25), to_arbiter=Wei(10 + 10), burned=Wei(25 - 10)
    )


def test_a_silent_arbiter_halves_the_price_and_burns_what_was_prepaid() -> None:
    assert lapsed(DISPUTED) == Payout(to_submitter=Wei(75), to_provider=Wei(75 + 50), burned=Wei(20))


def test_a_case_that_the_arbiter_opened_and_forgot_costs_nobody_anything() -> None:
    forgotten = DELIVERED.disputed(ARBITER, Timestamp(3_000))

    assert lapsed(forgotten) == Payout(to_provider=Wei(150 + 50))


BORDERS: list[tuple[Action, JobState, Terms | None, int, bool]] = [
    (Action.POST, JobState.UNKNOWN, None, 2_000, True),
    (Action.AWARD, JobState.UNKNOWN, None, 2_000, True),
    (Action.AWARD, JobState.OPEN, None, 2_000, True),
    (Action.DELIVER, JobState.AWARDED, TERMS, 2_100, True),
    (Action.RECLAIM, JobState.AWARDED, TERMS, 2_100, False),
    (Action.SETTLE, JobState.DELIVERED, DELIVERED, 1_900, False),
    (Action.DELIVER_AND_CLOSE, JobState.AWARDED, TERMS, 2_100, True),
    (Action.DISPUTE, JobState.DELIVERED, DELIVERED, 1_900, True),
    (Action.RULE, JobState.DELIVERED, DELIVERED, 1_900, True),
    (Action.RULE, JobState.DISPUTED, DISPUTED, 3_000, True),
    (Action.LAPSE, JobState.DISPUTED, DISPUTED, 3_000, False),
]
"""A verb, the border of its time, and whether it is allowed before it; after it, the contrary."""


@pytest.mark.parametrize(("action", "state", "terms", "border", "before"), BORDERS)
def test_times_are_half_open(
    action: Action, state: JobState, terms: Terms | None, border: int, before: bool
) -> None:
    assert may(action, state, Timestamp(border - 1), JOB, terms) is before
    assert may(action, state, Timestamp(border), JOB, terms) is not before
    assert may(action, state, Timestamp(border + 1), JOB, terms) is not before


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("state", JobState)
def test_what_is_not_in_the_table_is_never_allowed(state: JobState, action: Action) -> None:
    times = (0, 1_000, 1_500, 1_999, 2_000, 5_000)
    allowed = any(may(action, state, Timestamp(now), JOB, DELIVERED) for now in times)

    assert allowed == ((state, action) in TRANSITIONS)


@pytest.mark.parametrize("action", [Action.DELIVER, Action.RECLAIM, Action.SETTLE])
def test_after_the_award_nothing_is_allowed_without_its_terms(action: Action) -> None:
    assert not any(may(action, state, Timestamp(5_000), JOB) for state in JobState)
