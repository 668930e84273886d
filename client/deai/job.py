"""A job, a bid, and what an award fixed: their values, their states and their times. Pure.

The drawing of a job's life is in README.md; `TRANSITIONS` is the same drawing as a table, and a test holds both, and the
Solidity enum, together.
"""

from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import NewType

Address = NewType("Address", str)
"""A checksummed account or contract address, `0x` and 40 hex digits."""

JobId = NewType("JobId", str)
"""A job's EIP-712 digest, `0x` and 64 lower-case hex digits."""

Wei = NewType("Wei", int)
"""An amount in the token's smallest unit. Never a float."""

Timestamp = NewType("Timestamp", int)
"""Chain seconds: the time of a block, since 1970 in UTC."""

ZERO_ADDRESS = Address("0x" + "00" * 20)
ZERO_DIGEST = bytes(32)
BASIS_POINTS = 10_000
MAX_BID_SECONDS = 120
"""The longest a bid may still live when it is awarded; the contract's constant of the same name."""


class JobState(IntEnum):
    """What the chain knows of a job; the Solidity enum of the same name, value by value."""

    UNKNOWN = 0  # -> OPEN (post), AWARDED (award), CLOSED (cancel)
    OPEN = 1  # -> AWARDED (award), CLOSED (cancel)
    AWARDED = 2  # -> DELIVERED (deliver), CLOSED (deliver without a window, reclaim)
    DELIVERED = 3  # -> CLOSED (approve, settle)
    DISPUTED = 4  # belongs to jobs with an arbiter, which the escrow does not serve yet
    CLOSED = 5


class Outcome(IntEnum):
    """How a closed job ended; the Solidity enum of the same name, value by value."""

    NONE = 0
    CANCELLED = 1
    PAID = 2
    REFUNDED = 3
    SPLIT = 4


class Action(StrEnum):
    """The contract's verbs that move a job from state to state."""

    POST = "post"
    CANCEL = "cancel"
    AWARD = "award"
    DELIVER = "deliver"
    APPROVE = "approve"
    SETTLE = "settle"
    RECLAIM = "reclaim"


TRANSITIONS: dict[tuple[JobState, Action], frozenset[JobState]] = {
    (JobState.UNKNOWN, Action.POST): frozenset({JobState.OPEN}),
    (JobState.UNKNOWN, Action.AWARD): frozenset({JobState.AWARDED}),
    (JobState.UNKNOWN, Action.CANCEL): frozenset({JobState.CLOSED}),
    (JobState.OPEN, Action.AWARD): frozenset({JobState.AWARDED}),
    (JobState.OPEN, Action.CANCEL): frozenset({JobState.CLOSED}),
    (JobState.AWARDED, Action.DELIVER): frozenset({JobState.DELIVERED, JobState.CLOSED}),
    (JobState.AWARDED, Action.RECLAIM): frozenset({JobState.CLOSED}),
    (JobState.DELIVERED, Action.APPROVE): frozenset({JobState.CLOSED}),
    (JobState.DELIVERED, Action.SETTLE): frozenset({JobState.CLOSED}),
}
"""Every arrow there is. A pair that is absent is forbidden."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a submitter signs; field by field the Solidity struct of the same name. Amounts in `Wei` of `token`."""

    submitter: Address
    token: Address
    price_start: Wei
    price_cap: Wei
    bond: Wei
    arbiter: Address = ZERO_ADDRESS
    arbiter_data: bytes = ZERO_DIGEST
    matcher: Address = ZERO_ADDRESS
    matcher_fee_bps: int = 0
    epoch: int = 0
    open_at: Timestamp
    award_by: Timestamp
    deliver_seconds: int
    challenge_seconds: int
    ruling_seconds: int = 0
    spec: bytes
    salt: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bid:
    """A provider's price for one job, the matcher's fee included."""

    job: JobId
    provider: Address
    price: Wei
    expires_at: Timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What an award fixed; field by field the Solidity struct of the same name.

    The contract keeps only a commitment to it, so whoever acts on the job hands it back.
    """

    submitter: Address
    provider: Address
    token: Address
    matcher: Address
    price: Wei
    bond: Wei
    fee: Wei
    arbiter: Address
    arbiter_data: bytes
    deliver_by: Timestamp
    challenge_seconds: int
    ruling_seconds: int
    window_end: Timestamp
    spec: bytes
    result: bytes

    def delivered(self, result: bytes, window_end: Timestamp) -> "Terms":
        """The terms as they stand after the delivery of `result`."""
        return replace(self, result=result, window_end=window_end)


@dataclass(frozen=True, slots=True)
class Payout:
    """Where a closing job's price and bond go. The four parts add up to price + bond."""

    to_submitter: Wei = Wei(0)
    to_provider: Wei = Wei(0)
    to_matcher: Wei = Wei(0)
    burned: Wei = Wei(0)


def ramp(job: Job, now: Timestamp) -> Wei:
    """The most an award may pay at `now`, in the token's smallest unit: from `price_start` at `open_at` to `price_cap` at `award_by`. Rounds down."""
    if now <= job.open_at:
        return job.price_start
    if now >= job.award_by:
        return job.price_cap
    return Wei(
        job.price_start
        + (job.price_cap - job.price_start) * (now - job.open_at) // (job.award_by - job.open_at)
    )


def fee(job: Job, price: Wei) -> Wei:
    """The matcher's part of `price`, due only to the matcher that sent the award. Rounds down."""
    return Wei(price * job.matcher_fee_bps // BASIS_POINTS)


def award_terms(job: Job, bid: Bid, now: Timestamp, sender: Address) -> Terms:
    """The terms that an award of `bid` for `job`, sent by `sender` at `now`, fixes."""
    by_matcher = sender == job.matcher
    return Terms(
        submitter=job.submitter,
        provider=bid.provider,
        token=job.token,
        matcher=job.matcher if by_matcher else ZERO_ADDRESS,
        price=bid.price,
        bond=job.bond,
        fee=fee(job, bid.price) if by_matcher else Wei(0),
        arbiter=job.arbiter,
        arbiter_data=job.arbiter_data,
        deliver_by=Timestamp(now + job.deliver_seconds),
        challenge_seconds=job.challenge_seconds,
        ruling_seconds=job.ruling_seconds,
        window_end=Timestamp(0),
        spec=job.spec,
        result=ZERO_DIGEST,
    )


def payout(terms: Terms, outcome: Outcome) -> Payout:
    """Who gets what of the price and the bond when a job with `terms` closes as `outcome`. What comes in goes out."""
    match outcome:
        case Outcome.PAID:
            return Payout(to_provider=Wei(terms.price - terms.fee + terms.bond), to_matcher=terms.fee)
        case Outcome.REFUNDED:
            return Payout(to_submitter=terms.price, burned=terms.bond)
        case _:
            raise ValueError(f"an awarded job does not close as {outcome.name}")


def may(action: Action, state: JobState, now: Timestamp, job: Job, terms: Terms | None = None) -> bool:
    """Whether the job's state and the clock allow `action` at `now`, for whoever is the right party. All ranges are half-open.

    `terms` are needed from the award on: they hold the deadlines that the award fixed.
    """
    if (state, action) not in TRANSITIONS:
        return False
    match action:
        case Action.POST | Action.AWARD:
            return now < job.award_by
        case Action.DELIVER:
            return terms is not None and now < terms.deliver_by
        case Action.RECLAIM:
            return terms is not None and now >= terms.deliver_by
        case Action.SETTLE:
            return terms is not None and now >= terms.window_end
        case Action.CANCEL | Action.APPROVE:
            return True
