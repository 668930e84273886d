"""Which jobs this provider takes, at what price, and when it acts on them. Pure; the clock is an argument."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from deai.arbitration import class_of
from deai.ask import Capacity, Prices, fits, quote
from deai.job import (
    BASIS_POINTS,
    MAX_BID_SECONDS,
    ZERO_ADDRESS,
    ZERO_DIGEST,
    Address,
    Job,
    Terms,
    Timestamp,
    Wei,
    ramp,
)
from deai.result import reserved
from deai.spec import Spec

BID_SECONDS = MAX_BID_SECONDS - 20
"""How long a bid of ours lives: less than bids may, so that clocks may differ a little."""

CLOCK_SECONDS = 5
"""What a market's clock may be ahead of ours: it matches a job once the ramp has reached the price by its own."""

PATIENCE_SECONDS = 10
"""How long a market has for the award, once anyone may send it, before the agent sends it."""

SEND_SECONDS = 5
"""An award sent less than this before the bid expires would come too late."""

GRACE_SECONDS = 15
"""A bid is given up this long after it expired: its award may be mined but not seen yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arbitration:
    """Which arbiters may judge this provider's work, and within what limits. Times in seconds."""

    arbiters: frozenset[Address] = frozenset()
    """Who may be a job's arbiter. A job without one is always served."""
    panel: Address | None = None
    """Which of them draws its judges from a class that the job names."""
    panel_classes: frozenset[int] = frozenset({0})
    """The classes whose verifiers may judge. Anyone may stake in any class: in one of its own, a submitter is the judge."""
    min_ruling_seconds: int = 3_600
    """An arbiter with less time than this falls silent, and then half the price is lost."""
    max_bond: Mapping[Address, Wei] = field(default_factory=dict)
    """The highest bond it puts under an arbiter; a token that is absent: no limit but the one for all bonds. A job that looks at the
    clock gives its re-runs another result than the first run, and burns an honest bond.
    """
    max_ruling_seconds: int = 14 * 86_400
    """The longest a bond waits for a ruling."""
    max_fee_bps: int = 9_000
    """The highest part of the bond, in 1/10,000, that a case may cost: what a lying arbiter could take. The rest would be burned, so
    it gains nothing by that.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What this provider agreed to when it was set up. Amounts in the token's smallest unit, times in
    seconds.
    """

    provider: Address
    prices: Mapping[Address, Prices]
    """The tokens it takes, and what it asks in each."""
    max_bond: Mapping[Address, Wei]
    """The highest bond it locks for one job; a token that is absent: none."""
    min_gas: Wei
    """It bids only while it holds this much of the chain's coin: who cannot pay for a delivery loses the
    bond.
    """
    deliver_margin: int
    """For staging checks, collecting and publishing, on top of a job's own `max_seconds`."""
    award_margin: int
    """A job whose `award_by` is nearer than this is not staged."""
    max_challenge_seconds: int
    """The longest it waits for its pay."""
    max_fee_bps: int
    """The highest part of the price for the matcher, in 1/10,000."""
    max_inputs: int
    arbitration: Arbitration = Arbitration()
    confirmations: int
    """The base of `confirmations`."""
    confirm_unit: Mapping[Address, Wei]
    """The unit of `confirmations`, per token."""
    withdraw_above: Mapping[Address, Wei]
    withdraw_to: Address
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What there is for one more job. Amounts in the token's smallest unit."""

    capacity: Capacity
    bond: Wei
    """The provider's balance in the escrow that no other bid of its own counts on."""
    funds: Wei
    """The submitter's balance in the escrow that no other job of its own, staged here, counts on."""
    gas: Wei
    """What the provider holds of the chain's coin."""
    epoch: int = 0
    """The one that the submitter's jobs in this token must have."""
    unfit: str = ""
    """Why the job's arbiter would take no case of it; empty if it would."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no bid."""

    reason: str


def bid(job: Job, spec: Spec, rules: Rules, room: Room, now: Timestamp) -> Wei | Refusal:
    """The price to bid for the whole job, in the token's smallest unit, or why not.

    The price is `ask.quote`, and never above what the job's ramp allows in CLOCK_SECONDS. An award before the ramp is there would be
    refused by the chain; we send none so early.
    """
    reason = (
        _unserved(job, rules)
        or _unjudged(job, spec, rules.arbitration, room)
        or _untimely(job, spec, rules, now)
        or _unfit(job, spec, rules, room)
    )
    if reason:
        return Refusal(reason)
    price = quote(rules.prices[job.token], spec.resources, spec.max_seconds)
    allowed = ramp(job, Timestamp(now + CLOCK_SECONDS))
    if price > job.price_cap:
        return Refusal(f"price: {price} asked, the job's cap is {job.price_cap}")
    if price > allowed:
        return Refusal(f"price: {price} asked, the job's ramp allows {allowed} now")
    if price > room.funds:
        return Refusal(f"submitter: has {room.funds} in the escrow for it, the price is {price}")
    return price


def _unserved(job: Job, rules: Rules) -> str | None:
    if job.token not in rules.prices:
        return f"token: {job.token} is not one this provider takes"
    if job.submitter == rules.provider:
        return "submitter: is this provider"
    if job.matcher_fee_bps > rules.max_fee_bps:
        return f"matcher_fee_bps: {job.matcher_fee_bps}, this provider gives at most {rules.max_fee_bps}"
    return None


def _unjudged(job: Job, spec: Spec, arbitration: Arbitration, room: Room) -> str | None:
    if job.epoch != room.epoch:
        return f"epoch: {job.epoch}, its submitter's jobs are of {room.epoch} now"
    if job.arbiter == ZERO_ADDRESS:
        unused = job.dispute_fee or job.ruling_seconds or job.arbiter_data != ZERO_DIGEST
        return "arbiter: is nobody, and yet the job says how it should judge" if unused else None
    if job.arbiter not in arbitration.arbiters:
        return f"arbiter: {job.arbiter} is not one this provider knows"
    if spec.verification == "none":
        return "verification: none, so the run is not made to be repeated, and yet an arbiter would judge it"
    limit = arbitration.max_bond.get(job.token)
    if limit is not None and job.bond > limit:
        return f"bond: {job.bond}, under an arbiter this provider locks at most {limit}"
    if job.arbiter == arbitration.panel:
        judges = class_of(job.arbiter_data)
        if judges is None:
            return f"arbiter_data: {job.arbiter_data.hex()} says nothing to the panel"
        if judges not in arbitration.panel_classes:
            return f"arbiter_data: judges of class {judges}, which this provider does not trust"
    if job.ruling_seconds < arbitration.min_ruling_seconds:
        return f"ruling_seconds: {job.ruling_seconds}, at least {arbitration.min_ruling_seconds} needed for a case"
    if job.ruling_seconds > arbitration.max_ruling_seconds:
        return f"ruling_seconds: {job.ruling_seconds}, at most {arbitration.max_ruling_seconds} served"
    if job.dispute_fee * BASIS_POINTS > job.bond * arbitration.max_fee_bps:
        return (
            f"dispute_fee: {job.dispute_fee} of a bond of {job.bond},"
            f" this provider gives at most {arbitration.max_fee_bps / 100:g} %"
        )
    if room.unfit:
        return f"arbiter: would take no case of this job: {room.unfit}"
    return None


def _untimely(job: Job, spec: Spec, rules: Rules, now: Timestamp) -> str | None:
    needed = spec.max_seconds + rules.deliver_margin
    if job.deliver_seconds < needed:
        return f"deliver_seconds: {job.deliver_seconds}, {needed} needed for {spec.max_seconds} s of work"
    if job.award_by - now < rules.award_margin:
        return f"award_by: {job.award_by - now} s away, this provider needs {rules.award_margin}"
    if job.challenge_seconds > rules.max_challenge_seconds:
        return f"challenge_seconds: {job.challenge_seconds}, at most {rules.max_challenge_seconds} served"
    return None


def _unfit(job: Job, spec: Spec, rules: Rules, room: Room) -> str | None:
    if spec.cid().digest != job.spec:
        return "spec: is not the one the job names"
    if spec.image.cid is None and spec.image.digest is None:
        return "image: has neither a cid nor a digest"
    if reserved(spec.output_path):
        return f"output_path: {spec.output_path} is where the exit record or the log goes"
    if len(spec.inputs) > rules.max_inputs:
        return f"inputs: {len(spec.inputs)}, this provider takes at most {rules.max_inputs}"
    lacks = fits(spec.resources, room.capacity)
    if lacks:
        return f"resources: {lacks}"
    limit = rules.max_bond.get(job.token, Wei(0))
    if job.bond > limit:
        return f"bond: {job.bond}, this provider locks at most {limit}"
    if job.bond > room.bond:
        return f"bond: {job.bond}, this provider has {room.bond} free in the escrow"
    if room.gas < rules.min_gas:
        return f"gas: {room.gas} of the chain's coin, {rules.min_gas} needed to deliver safely"
    return None


def bid_expiry(now: Timestamp) -> Timestamp:
    """When a bid signed now expires."""
    return Timestamp(now + BID_SECONDS)


def signed_at(expires_at: Timestamp) -> Timestamp:
    """When the bid that expires then was signed."""
    return Timestamp(expires_at - BID_SECONDS)


def unlike(terms: Terms, job: Job, price: Wei) -> str | None:
    """In which field an award differs from what was bid, or None. A contract that does that is not the one
    we know.
    """
    expected = {
        "submitter": job.submitter,
        "token": job.token,
        "price": price,
        "bond": job.bond,
        "arbiter": job.arbiter,
        "dispute_fee": job.dispute_fee,
        "challenge_seconds": job.challenge_seconds,
        "ruling_seconds": job.ruling_seconds,
    }
    for name, value in expected.items():
        if getattr(terms, name) != value:
            return f"{name} is {getattr(terms, name)}, not {value}"
    return None


def may_award(job: Job, signed_at: Timestamp, expires_at: Timestamp, now: Timestamp) -> bool:
    """Whether the agent itself should send the award of its bid: anyone may, the market had its time, and
    it still fits.
    """
    patient = now >= max(job.open_at, signed_at) + PATIENCE_SECONDS
    return patient and now < min(job.award_by, expires_at) - SEND_SECONDS


def hopeless(expires_at: Timestamp, now: Timestamp) -> bool:
    """Whether a bid that expires at `expires_at` is surely not awarded any more, as no award was seen until
    now.
    """
    return now >= expires_at + GRACE_SECONDS


def confirmations(base: int, value: Wei, unit: Wei) -> int:
    """How many blocks must stand on an event's block before the agent acts on it, when `value` is at stake.

    `base`, and once more for each doubling of the value from one `unit` on: who would undo an award worth
    twice as much spends more blocks on it. A base of zero says that the chain never undoes a block.
    """
    return base * (1 + (value // unit).bit_length())


def withdrawal(balance: Wei, above: Wei, kept: Wei) -> Wei:
    """How much to take out of the escrow: nothing until the balance exceeds `above`, then all but `kept`,
    which the next bonds need.
    """
    return Wei(max(0, balance - kept)) if balance > above else Wei(0)
