"""A job, a bid, and what an award fixed: their values, their states and their times. Pure.

The drawing of a job's life is in README.md; `TRANSITIONS` is the same drawing as a table, and a test holds both, and the
Solidity enum, together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum, StrEnum
from typing import Any, NewType

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
    AWARDED = 2  # -> DELIVERED (deliver), CLOSED (deliver without a window, deliverAndClose, reclaim)
    DELIVERED = 3  # -> DISPUTED (dispute), CLOSED (approve, settle, rule)
    DISPUTED = 4  # -> CLOSED (rule, lapse)
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
    DELIVER_AND_CLOSE = "deliverAndClose"
    APPROVE = "approve"
    SETTLE = "settle"
    DISPUTE = "dispute"
    RULE = "rule"
    LAPSE = "lapse"
    RECLAIM = "reclaim"


TRANSITIONS: dict[tuple[JobState, Action], frozenset[JobState]] = {
    (JobState.UNKNOWN, Action.POST): frozenset({JobState.OPEN}),
    (JobState.UNKNOWN, Action.AWARD): frozenset({JobState.AWARDED}),
    (JobState.UNKNOWN, Action.CANCEL): frozenset({JobState.CLOSED}),
    (JobState.OPEN, Action.AWARD): frozenset({JobState.AWARDED}),
    (JobState.OPEN, Action.CANCEL): frozenset({JobState.CLOSED}),
    (JobState.AWARDED, Action.DELIVER): frozenset({JobState.DELIVERED, JobState.CLOSED}),
    (JobState.AWARDED, Action.DELIVER_AND_CLOSE): frozenset({JobState.CLOSED}),
    (JobState.AWARDED, Action.RECLAIM): frozenset({JobState.CLOSED}),
    (JobState.DELIVERED, Action.APPROVE): frozenset({JobState.CLOSED}),
    (JobState.DELIVERED, Action.SETTLE): frozenset({JobState.CLOSED}),
    (JobState.DELIVERED, Action.DISPUTE): frozenset({JobState.DISPUTED}),
    (JobState.DELIVERED, Action.RULE): frozenset({JobState.CLOSED}),
    (JobState.DISPUTED, Action.RULE): frozenset({JobState.CLOSED}),
    (JobState.DISPUTED, Action.LAPSE): frozenset({JobState.CLOSED}),
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
    dispute_fee: Wei = Wei(0)
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
    """What an award fixed, and what the delivery and a dispute added. Times are zero until they are set.

    The contract keeps only a commitment to it, so whoever acts on the job hands it back, in the seven words of `packed`.
    """

    submitter: Address
    provider: Address
    token: Address
    matcher: Address
    price: Wei
    bond: Wei
    fee: Wei
    arbiter: Address
    dispute_fee: Wei
    deliver_by: Timestamp
    challenge_seconds: int
    ruling_seconds: int
    window_end: Timestamp = Timestamp(0)
    result: bytes = ZERO_DIGEST
    rule_by: Timestamp = Timestamp(0)
    by_arbiter: bool = False
    """Whether it was the arbiter that opened the case."""

    @property
    def deadline(self) -> Timestamp:
        """What ends the job's present state: `rule_by`, `window_end` or `deliver_by`."""
        return self.rule_by or self.window_end or self.deliver_by

    def delivered(self, result: bytes, window_end: Timestamp) -> "Terms":
        """The terms as they stand after the delivery of `result`."""
        return replace(self, result=result, window_end=window_end)

    def disputed(self, disputer: Address, rule_by: Timestamp) -> "Terms":
        """The terms as they stand after `disputer` opened a case."""
        return replace(self, rule_by=rule_by, by_arbiter=disputer == self.arbiter)

    @property
    def prepaid(self) -> Wei:
        """What the submitter prepaid for the case that is open."""
        return self.dispute_fee if self.rule_by and not self.by_arbiter else Wei(0)

    @classmethod
    def unpacked(cls, words: Sequence[Any]) -> "Terms":
        """The terms that an award fixed, of the words that its event carries."""
        stakes = [(_checksummed(word[:20]), Wei(int.from_bytes(word[20:]))) for word in words[:4]]
        (submitter, price), (provider, bond), (matcher, fee), (arbiter, dispute_fee) = stakes
        times = words[5]
        return cls(
            submitter=submitter,
            provider=provider,
            token=_checksummed(words[4]),
            matcher=matcher,
            price=price,
            bond=bond,
            fee=fee,
            arbiter=arbiter,
            dispute_fee=dispute_fee,
            deliver_by=Timestamp(int.from_bytes(times[:5])),
            challenge_seconds=int.from_bytes(times[5:8]),
            ruling_seconds=int.from_bytes(times[8:11]),
        )

    def packed(self) -> tuple[bytes, bytes, bytes, bytes, Address, bytes, bytes]:
        """The Solidity struct of the same name: accounts with amounts, the token, the times, the result."""
        stakes = (
            (self.submitter, self.price),
            (self.provider, self.bond),
            (self.matcher, self.fee),
            (self.arbiter, self.dispute_fee),
        )
        submitter, provider, matcher, arbiter = (
            bytes.fromhex(account[2:]) + amount.to_bytes(12) for account, amount in stakes
        )
        times = (
            self.deadline.to_bytes(5)
            + self.challenge_seconds.to_bytes(3)
            + self.ruling_seconds.to_bytes(3)
            + self.by_arbiter.to_bytes(1)
        )
        return submitter, provider, matcher, arbiter, self.token, times.ljust(32, b"\0"), self.result


@dataclass(frozen=True, slots=True)
class Payout:
    """Where a closing job's price, bond and prepaid fee go. The parts add up to them."""

    to_submitter: Wei = Wei(0)
    to_provider: Wei = Wei(0)
    to_matcher: Wei = Wei(0)
    to_arbiter: Wei = Wei(0)
    burned: Wei = Wei(0)


def _checksummed(account: str | bytes) -> Address:
    from eth_utils.address import to_checksum_address  # noqa: PLC0415 - `deai --help` does without

    return Address(to_checksum_address(account))


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
        dispute_fee=job.dispute_fee,
        deliver_by=Timestamp(now + job.deliver_seconds),
        challenge_seconds=job.challenge_seconds,
        ruling_seconds=job.ruling_seconds,
    )


def ruled(terms: Terms, share_bps: int) -> Payout:
    """What a ruling pays that gives the provider `share_bps` (1/10,000) of price and bond; Settlement.sol's `split`. What comes in goes out.

    The case's cost goes to the arbiter, out of what was prepaid and out of the bond, in the losers' shares; the rest of the slashed
    bond is burned. Rounds against provider, matcher and arbiter.
    """
    return _split(terms, share_bps, Wei(terms.dispute_fee), terms.prepaid)


def paid(terms: Terms) -> Payout:
    """What a delivery pays that nobody disputed."""
    return _split(terms, BASIS_POINTS, Wei(0), Wei(0))


def refunded(terms: Terms) -> Payout:
    """Where the money goes when the provider did not deliver."""
    return _split(terms, 0, Wei(0), Wei(0))


def lapsed(terms: Terms) -> Payout:
    """What is paid when the arbiter was silent: half the price if the submitter had disputed, the whole if the arbiter had opened the case.
    The bond goes home, what was prepaid is burned."""
    share = BASIS_POINTS if terms.by_arbiter else BASIS_POINTS // 2
    split = _split(replace(terms, bond=Wei(0)), share, Wei(0), Wei(0))
    return replace(split, to_provider=Wei(split.to_provider + terms.bond), burned=terms.prepaid)


def _split(terms: Terms, share_bps: int, cost: Wei, prepaid: Wei) -> Payout:
    def part(amount: int, bps: int) -> int:
        return amount * bps // BASIS_POINTS

    gross, kept, fee = (part(amount, share_bps) for amount in (terms.price, terms.bond, terms.fee))
    lost_fee, lost_bond = part(prepaid, share_bps), part(cost, BASIS_POINTS - share_bps)
    return Payout(
        to_submitter=Wei(terms.price - gross + prepaid - lost_fee),
        to_provider=Wei(gross - fee + kept),
        to_matcher=Wei(fee),
        to_arbiter=Wei(lost_fee + lost_bond),
        burned=Wei(terms.bond - kept - lost_bond),
    )


def may(action: Action, state: JobState, now: Timestamp, job: Job, terms: Terms | None = None) -> bool:
    """Whether the job's state and the clock allow `action` at `now`, for whoever is the right party. All ranges are half-open.

    `terms` are needed from the award on: they hold the deadlines that the award fixed.
    """
    if (state, action) not in TRANSITIONS:
        return False
    match action:
        case Action.POST | Action.AWARD:
            return now < job.award_by
        case Action.DELIVER | Action.DELIVER_AND_CLOSE:
            return terms is not None and now < terms.deliver_by
        case Action.RECLAIM:
            return terms is not None and now >= terms.deliver_by
        case Action.SETTLE:
            return terms is not None and now >= terms.window_end
        case Action.DISPUTE:
            return terms is not None and terms.arbiter != ZERO_ADDRESS and now < terms.window_end
        case Action.RULE:
            return terms is not None and now < terms.deadline
        case Action.LAPSE:
            return terms is not None and now >= terms.rule_by
        case Action.CANCEL | Action.APPROVE:
            return True
