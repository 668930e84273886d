"""The escrow contract in plain Python: the reference model that JobMarket.sol is held to. Pure.

The same checks in the same order, the same errors, the same events. `testing.MemoryChain` puts blocks around.
"""

import re
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import TypedDict

from deai import errors, signing
from deai.chain import (
    AllCancelled,
    BidPlaced,
    CallSkipped,
    Deposited,
    Event,
    Item,
    JobAwarded,
    JobCancelled,
    JobClosed,
    JobDelivered,
    JobDisputed,
    JobPosted,
    Withdrawn,
)
from deai.job import (
    BASIS_POINTS,
    MAX_BID_SECONDS,
    TRANSITIONS,
    ZERO_ADDRESS,
    ZERO_DIGEST,
    Action,
    Address,
    Bid,
    Job,
    JobId,
    JobState,
    Outcome,
    Payout,
    Terms,
    Timestamp,
    Wei,
    award_terms,
    lapsed,
    paid,
    ramp,
    refunded,
    ruled,
)
from deai.signing import Domain

_VERBS = {
    "deposit", "withdraw", "post", "bid", "cancel", "cancel_all", "award", "deliver", "deliver_and_close", "approve", "settle", "dispute",
    "rule", "lapse", "reclaim",
}  # fmt: skip
_BALANCE_LIMIT = 1 << 128
Judge = Callable[[bytes, bytes], bool]
"""What a contract answers for a digest and a signature (ERC-1271)."""


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls, the time of the block, and what is sent along of the native coin: Solidity's `msg.sender`, `block.timestamp`, `msg.value`."""

    sender: Address
    now: Timestamp
    value: int = 0


class _Place(TypedDict):
    block: int
    block_hash: str
    tx: str
    index: int


_NOWHERE = _Place(block=0, block_hash="", tx="", index=0)


@dataclass(frozen=True, slots=True)
class Record:
    """What is stored for a job. The contract commits to the terms by a hash; the model keeps them."""

    state: JobState
    outcome: Outcome = Outcome.NONE
    terms: Terms | None = None


UNKNOWN = Record(JobState.UNKNOWN)


class Escrow:
    """The contract's storage and verbs, and the books of the tokens it holds.

    A verb returns its events (their place in the chain is not known yet) and raises the ContractError of the
    Solidity error's name. One that raises may leave half of its changes behind: let it work on a copy.
    """

    def __init__(self, domain: Domain, native: int = 0) -> None:
        """`native` is what every account holds of the native coin, unless told otherwise."""
        self.domain, self.native = domain, native
        self.held: dict[Address, dict[Address, int]] = {}
        """Token to holder to amount, the escrow itself included: the tokens' own books. The native coin is the token zero."""
        self.balances: dict[tuple[Address, Address], int] = {}
        """(token, account) to what the account can lock or withdraw."""
        self.epochs: dict[tuple[Address, Address], int] = {}
        """(token, account) to the epoch that the account's jobs must have."""
        self.burned: dict[Address, int] = {}
        self.judges: dict[Address, Judge] = {}
        """The accounts that are contracts and judge signatures."""
        self.jobs: dict[JobId, Record] = {}
        self.placed: frozenset[bytes] = frozenset()

    def __copy__(self) -> "Escrow":
        twin = Escrow(self.domain, self.native)
        twin.held = {token: dict(holders) for token, holders in self.held.items()}
        twin.balances, twin.burned, twin.jobs = dict(self.balances), dict(self.burned), dict(self.jobs)
        twin.placed, twin.epochs, twin.judges = self.placed, dict(self.epochs), self.judges
        return twin

    def locked(self, token: Address) -> int:
        """The prices, bonds and prepaid fees of all live jobs in `token`."""
        live = (record.terms for record in self.jobs.values() if record.state is not JobState.CLOSED)
        locked = (terms for terms in live if terms is not None and terms.token == token)
        return sum(terms.price + terms.bond + terms.prepaid for terms in locked)

    # Money.

    def mint(self, token: Address, account: Address, amount: int) -> list[Event]:
        """Makes tokens out of nothing, as the test token does."""
        holders = self.held.setdefault(token, {})
        holders[account] = holders.get(account, 0) + amount
        return []

    def deposit(self, call: Call, token: Address, account: Address, amount: int) -> list[Event]:
        if call.value != (amount if token == ZERO_ADDRESS else 0):
            raise errors.Malformed("value")
        if account == ZERO_ADDRESS:
            raise errors.Malformed("account")
        if token != ZERO_ADDRESS and token not in self.held:
            raise errors.NoToken(token)
        if token != ZERO_ADDRESS or amount:
            self._move(token, call.sender, self.domain.contract, amount)
        if amount == 0:
            raise errors.Malformed("amount")
        self._credit(token, account, amount)
        return [Deposited(token=token, account=account, sender=call.sender, amount=Wei(amount), **_NOWHERE)]

    def withdraw(self, call: Call, token: Address, to: Address, amount: int) -> list[Event]:
        if to in (ZERO_ADDRESS, self.domain.contract):
            raise errors.Malformed("to")
        if amount == 0:
            raise errors.Malformed("amount")
        self._debit(token, call.sender, amount)
        self._move(token, self.domain.contract, to, amount)
        return [Withdrawn(token=token, account=call.sender, to=to, amount=Wei(amount), **_NOWHERE)]

    def _move(self, token: Address, source: Address, target: Address, amount: int) -> None:
        there = self.holding(token, source)
        if there < amount:
            raise errors.BadField(
                "amount", amount, f"{source} holds {there} of token {token}, {amount} needed"
            )
        holders = self.held.setdefault(token, {})
        holders[source] = there - amount
        holders[target] = self.holding(token, target) + amount

    def holding(self, token: Address, account: Address) -> int:
        """What `account` holds of `token` outside the escrow; of the native coin for the token zero."""
        at_first = self.native if token == ZERO_ADDRESS and account != self.domain.contract else 0
        return self.held.get(token, {}).get(account, at_first)

    def _credit(self, token: Address, account: Address, amount: int) -> None:
        balance = self.balances.get((token, account), 0) + amount
        if balance >= _BALANCE_LIMIT:
            raise errors.BalanceOverflow(token, account)
        self.balances[token, account] = balance

    def _debit(self, token: Address, account: Address, amount: int) -> None:
        balance = self.balances.get((token, account), 0)
        if balance < amount:
            raise errors.InsufficientBalance(token, account, balance, amount)
        self.balances[token, account] = balance - amount

    # Before the award.

    def post(self, call: Call, job: Job) -> list[Event]:
        job_id = signing.job_id(job, self.domain)
        _only(call.sender, job.submitter)
        self._allowed(job_id, Action.POST)
        _well_formed(job)
        self._current(job_id, job)
        if call.now >= job.award_by:
            raise errors.JobExpired(job_id, job.award_by)
        self.jobs[job_id] = Record(JobState.OPEN)
        return [JobPosted(id=job_id, job=job, **_NOWHERE)]

    def bid(self, call: Call, bid: Bid) -> list[Event]:
        _only(call.sender, bid.provider)
        self._allowed(bid.job, Action.AWARD)
        _short_lived(bid, call.now)
        self.placed |= {signing.bid_digest(bid, self.domain)}
        return [BidPlaced(id=bid.job, bid=bid, **_NOWHERE)]

    def cancel(self, call: Call, job: Job) -> list[Event]:
        job_id = signing.job_id(job, self.domain)
        _only(call.sender, job.submitter)
        self._allowed(job_id, Action.CANCEL)
        self.jobs[job_id] = Record(JobState.CLOSED, Outcome.CANCELLED)
        return [JobCancelled(id=job_id, submitter=call.sender, **_NOWHERE)]

    def cancel_all(self, call: Call, token: Address) -> list[Event]:
        epoch = self.epochs.get((token, call.sender), 0) + 1
        self.epochs[token, call.sender] = epoch
        return [AllCancelled(token=token, submitter=call.sender, epoch=epoch, **_NOWHERE)]

    def award(
        self, call: Call, job: Job, job_signature: bytes, bid: Bid, bid_signature: bytes
    ) -> list[Event]:
        job_id = signing.job_id(job, self.domain)
        state = self._allowed(job_id, Action.AWARD)
        if state is JobState.UNKNOWN:
            self._signed_job(job_id, job, job_signature)
        _well_formed(job)
        self._current(job_id, job)
        if call.now >= job.award_by:
            raise errors.JobExpired(job_id, job.award_by)
        if call.now < job.open_at and call.sender != job.matcher:
            raise errors.NotOpen(job_id, job.open_at)
        self._fair_bid(job_id, job, bid, bid_signature, call.now)
        most = ramp(job, call.now)
        if bid.price > most:
            raise errors.PriceAboveRamp(job_id, bid.price, most)
        terms = award_terms(job, bid, call.now, call.sender)
        self._debit(job.token, job.submitter, bid.price)
        self._debit(job.token, bid.provider, job.bond)
        self.jobs[job_id] = Record(JobState.AWARDED, terms=terms)
        awarded = JobAwarded(id=job_id, terms=terms, spec=job.spec, arbiter_data=job.arbiter_data, **_NOWHERE)
        return [awarded]

    def _current(self, job_id: JobId, job: Job) -> None:
        epoch = self.epochs.get((job.token, job.submitter), 0)
        if job.epoch != epoch:
            raise errors.WrongEpoch(job_id, job.epoch, epoch)

    def _signed_job(self, job_id: JobId, job: Job, signature: bytes) -> None:
        digest = bytes.fromhex(job_id[2:])
        self._signed(job.submitter, digest, signature, lambda: signing.check_job(job, signature, self.domain))

    def _signed(self, signer: Address, digest: bytes, signature: bytes, check: Callable[[], None]) -> None:
        try:
            check()
        except errors.BadSignature as error:
            if signer not in self.judges or not self.judges[signer](digest, signature):
                raise errors.WrongSignature(signer, digest) from error

    def _fair_bid(self, job_id: JobId, job: Job, bid: Bid, signature: bytes, now: Timestamp) -> None:
        if bid.job != job_id:
            raise errors.WrongJob(job_id, bid.job)
        if bid.provider in (ZERO_ADDRESS, job.submitter, job.arbiter):
            raise errors.Malformed("provider")
        digest = signing.bid_digest(bid, self.domain)
        if not signature:
            if digest not in self.placed:
                raise errors.NoBid(job_id, bid.provider)
        else:
            self._signed(
                bid.provider, digest, signature, lambda: signing.check_bid(bid, signature, self.domain)
            )
        _short_lived(bid, now)

    # After the award.

    def deliver(self, call: Call, job: JobId, terms: Terms, result: bytes) -> list[Event]:
        self._deliverable(call, job, Action.DELIVER, terms, result)
        window_end = Timestamp(call.now + terms.challenge_seconds)
        delivered = terms.delivered(result, window_end)
        self.jobs[job] = Record(JobState.DELIVERED, terms=delivered)
        event = JobDelivered(id=job, result=result, window_end=window_end, **_NOWHERE)
        if terms.challenge_seconds:
            return [event]
        return [event, *self._close(job, delivered, Outcome.PAID, paid(delivered))]

    def deliver_and_close(
        self, call: Call, job: JobId, terms: Terms, result: bytes, approval: bytes
    ) -> list[Event]:
        self._deliverable(call, job, Action.DELIVER_AND_CLOSE, terms, result)
        self._signed(
            terms.submitter,
            signing.approval_digest(job, call.sender, result, self.domain),
            approval,
            lambda: signing.check_approval(terms.submitter, job, call.sender, result, approval, self.domain),
        )
        event = JobDelivered(id=job, result=result, window_end=call.now, **_NOWHERE)
        return [event, *self._close(job, terms, Outcome.PAID, paid(terms))]

    def _deliverable(self, call: Call, job: JobId, action: Action, terms: Terms, result: bytes) -> None:
        self._committed(job, action, terms)
        _only(call.sender, terms.provider)
        if call.now >= terms.deliver_by:
            raise errors.DeliverByMissed(job, terms.deliver_by)
        if result == ZERO_DIGEST:
            raise errors.Malformed("result")

    def approve(self, call: Call, job: JobId, terms: Terms) -> list[Event]:
        self._committed(job, Action.APPROVE, terms)
        _only(call.sender, terms.submitter)
        return self._close(job, terms, Outcome.PAID, paid(terms))

    def settle(self, call: Call, job: JobId, terms: Terms) -> list[Event]:
        self._committed(job, Action.SETTLE, terms)
        if call.now < terms.window_end:
            raise errors.WindowOpen(job, terms.window_end)
        return self._close(job, terms, Outcome.PAID, paid(terms))

    def dispute(self, call: Call, job: JobId, terms: Terms) -> list[Event]:
        self._committed(job, Action.DISPUTE, terms)
        if terms.arbiter == ZERO_ADDRESS:
            raise errors.WrongCaller(call.sender, ZERO_ADDRESS)
        if call.sender != terms.arbiter:
            _only(call.sender, terms.submitter)
        if call.now >= terms.window_end:
            raise errors.WindowOver(job, terms.window_end)
        rule_by = Timestamp(call.now + terms.ruling_seconds)
        disputed = terms.disputed(call.sender, rule_by)
        self._debit(terms.token, terms.submitter, disputed.prepaid)
        self.jobs[job] = Record(JobState.DISPUTED, terms=disputed)
        event = JobDisputed(id=job, disputer=call.sender, fee=disputed.prepaid, rule_by=rule_by, **_NOWHERE)
        return [event]

    def rule(self, call: Call, job: JobId, terms: Terms, share_bps: int) -> list[Event]:
        self._committed(job, Action.RULE, terms)
        _only(call.sender, terms.arbiter)
        if call.now >= terms.deadline:
            if self.jobs[job].state is JobState.DISPUTED:
                raise errors.RuleByMissed(job, terms.deadline)
            raise errors.WindowOver(job, terms.deadline)
        if share_bps > BASIS_POINTS:
            raise errors.Malformed("shareBps")
        outcome = {BASIS_POINTS: Outcome.PAID, 0: Outcome.REFUNDED}.get(share_bps, Outcome.SPLIT)
        return self._close(job, terms, outcome, ruled(terms, share_bps))

    def lapse(self, call: Call, job: JobId, terms: Terms) -> list[Event]:
        self._committed(job, Action.LAPSE, terms)
        if call.now < terms.rule_by:
            raise errors.RuleByAhead(job, terms.rule_by)
        outcome = Outcome.PAID if terms.by_arbiter else Outcome.SPLIT
        return self._close(job, terms, outcome, lapsed(terms))

    def reclaim(self, call: Call, job: JobId, terms: Terms) -> list[Event]:
        self._committed(job, Action.RECLAIM, terms)
        if call.now < terms.deliver_by:
            raise errors.DeliverByAhead(job, terms.deliver_by)
        return self._close(job, terms, Outcome.REFUNDED, refunded(terms))

    def _close(self, job: JobId, terms: Terms, outcome: Outcome, payout: Payout) -> list[Event]:
        self.jobs[job] = Record(JobState.CLOSED, outcome)
        self._credit(terms.token, terms.submitter, payout.to_submitter)
        self._credit(terms.token, terms.provider, payout.to_provider)
        self._credit(terms.token, terms.matcher, payout.to_matcher)
        self._credit(terms.token, terms.arbiter, payout.to_arbiter)
        self.burned[terms.token] = self.burned.get(terms.token, 0) + payout.burned
        return [JobClosed(id=job, outcome=outcome, payout=payout, **_NOWHERE)]

    # Many at once.

    def batch(self, call: Call, items: Sequence[Item], all_or_nothing: bool) -> list[Event]:
        """Each item works on a copy, which counts only if it succeeds."""
        events: list[Event] = []
        for place, item in enumerate(items):
            trial = copy(self)
            try:
                done = trial.verb(call, item)
            except errors.ContractError as error:
                if all_or_nothing:
                    raise
                done = [CallSkipped(place=place, reason=error, **_NOWHERE)]
            else:
                self.__dict__.update(trial.__dict__)
            events += done
        return events

    def verb(self, call: Call, item: Item) -> list[Event]:
        """One call of the contract, by its name there. Raises NoReason for a name it does not have."""
        name = re.sub(r"([A-Z])", r"_\1", item.verb).lower()
        if name not in _VERBS:
            raise errors.NoReason(0)
        done: list[Event] = getattr(self, name)(call, *item.values)
        return done

    def _allowed(self, job: JobId, action: Action) -> JobState:
        state = self.jobs.get(job, UNKNOWN).state
        if (state, action) not in TRANSITIONS:
            raise errors.WrongState(job, state)
        return state

    def _committed(self, job: JobId, action: Action, terms: Terms) -> None:
        self._allowed(job, action)
        there = self.jobs[job].terms
        if there is None or there.packed() != terms.packed():
            raise errors.WrongTerms(job)


def _only(sender: Address, expected: Address) -> None:
    if sender != expected:
        raise errors.WrongCaller(sender, expected)


def _short_lived(bid: Bid, now: Timestamp) -> None:
    if now >= bid.expires_at:
        raise errors.BidExpired(bid.job, bid.expires_at)
    if bid.expires_at > now + MAX_BID_SECONDS:
        raise errors.BidTooLong(bid.job, bid.expires_at)


def _well_formed(job: Job) -> None:
    for field, wrong in (
        ("priceStart", job.price_start > job.price_cap),
        ("openAt", job.open_at >= job.award_by),
        ("deliverSeconds", job.deliver_seconds == 0),
        ("spec", job.spec == ZERO_DIGEST),
        ("matcherFeeBps", job.matcher_fee_bps > BASIS_POINTS),
    ):
        if wrong:
            raise errors.Malformed(field)
    none = job.arbiter == ZERO_ADDRESS
    for field, wrong in (
        ("disputeFee", none and job.dispute_fee != 0),
        ("arbiterData", none and job.arbiter_data != ZERO_DIGEST),
        ("rulingSeconds", none and job.ruling_seconds != 0),
        ("arbiter", not none and job.arbiter == job.submitter),
        ("disputeFee", not none and job.dispute_fee > job.bond),
        ("challengeSeconds", not none and job.challenge_seconds == 0),
        ("rulingSeconds", not none and job.ruling_seconds == 0),
    ):
        if wrong:
            raise errors.Malformed(field)
