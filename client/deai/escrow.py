"""The escrow contract in plain Python: the reference model that JobMarket.sol is held to. Pure.

The same checks in the same order, the same errors, the same events. `testing.MemoryChain` puts blocks around.
"""

from dataclasses import dataclass
from typing import TypedDict

from deai import errors, signing
from deai.chain import (
    BidPlaced,
    Deposited,
    Event,
    JobAwarded,
    JobCancelled,
    JobClosed,
    JobDelivered,
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
    Terms,
    Timestamp,
    Wei,
    award_terms,
    payout,
    ramp,
)
from deai.signing import Domain

_BALANCE_LIMIT = 1 << 128


@dataclass(frozen=True, slots=True)
class Call:
    """Who calls, and the time of the block: Solidity's `msg.sender` and `block.timestamp`."""

    sender: Address
    now: Timestamp


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

    def __init__(self, domain: Domain) -> None:
        self.domain = domain
        self.held: dict[Address, dict[Address, int]] = {}
        """Token to holder to amount, the escrow itself included: the tokens' own books."""
        self.balances: dict[tuple[Address, Address], int] = {}
        """(token, account) to what the account can lock or withdraw."""
        self.burned: dict[Address, int] = {}
        self.jobs: dict[JobId, Record] = {}
        self.placed: frozenset[bytes] = frozenset()

    def __copy__(self) -> "Escrow":
        twin = Escrow(self.domain)
        twin.held = {token: dict(holders) for token, holders in self.held.items()}
        twin.balances, twin.burned, twin.jobs = dict(self.balances), dict(self.burned), dict(self.jobs)
        twin.placed = self.placed
        return twin

    def locked(self, token: Address) -> int:
        """The prices and bonds of all live jobs in `token`."""
        live = (record.terms for record in self.jobs.values() if record.state is not JobState.CLOSED)
        return sum(terms.price + terms.bond for terms in live if terms is not None and terms.token == token)

    # Money.

    def mint(self, token: Address, account: Address, amount: int) -> list[Event]:
        """Makes tokens out of nothing, as the test token does."""
        holders = self.held.setdefault(token, {})
        holders[account] = holders.get(account, 0) + amount
        return []

    def deposit(self, call: Call, token: Address, account: Address, amount: int) -> list[Event]:
        if token == ZERO_ADDRESS:
            raise errors.Unsupported("token")
        if token not in self.held:
            raise errors.NoToken(token)
        if account == ZERO_ADDRESS:
            raise errors.Malformed("account")
        if amount == 0:
            raise errors.Malformed("amount")
        self._move(token, call.sender, self.domain.contract, amount)
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
        holders = self.held[token]
        there = holders.get(source, 0)
        if there < amount:
            raise errors.BadField(
                "amount", amount, f"{source} holds {there} of token {token}, {amount} needed"
            )
        holders[source] = there - amount
        holders[target] = holders.get(target, 0) + amount

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

    def award(
        self, call: Call, job: Job, job_signature: bytes, bid: Bid, bid_signature: bytes
    ) -> list[Event]:
        job_id = signing.job_id(job, self.domain)
        state = self._allowed(job_id, Action.AWARD)
        if state is JobState.UNKNOWN:
            self._signed_job(job_id, job, job_signature)
        _well_formed(job)
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
        return [JobAwarded(id=job_id, terms=terms, **_NOWHERE)]

    def _signed_job(self, job_id: JobId, job: Job, signature: bytes) -> None:
        try:
            signing.check_job(job, signature, self.domain)
        except errors.BadSignature as error:
            raise errors.WrongSignature(job.submitter, bytes.fromhex(job_id[2:])) from error

    def _fair_bid(self, job_id: JobId, job: Job, bid: Bid, signature: bytes, now: Timestamp) -> None:
        if bid.job != job_id:
            raise errors.WrongJob(job_id, bid.job)
        if bid.provider in (ZERO_ADDRESS, job.submitter):
            raise errors.Malformed("provider")
        digest = signing.bid_digest(bid, self.domain)
        if not signature:
            if digest not in self.placed:
                raise errors.NoBid(job_id, bid.provider)
        else:
            try:
                signing.check_bid(bid, signature, self.domain)
            except errors.BadSignature as error:
                raise errors.WrongSignature(bid.provider, digest) from error
        _short_lived(bid, now)

    # After the award.

    def deliver(self, call: Call, job: JobId, terms: Terms, result: bytes) -> list[Event]:
        self._committed(job, Action.DELIVER, terms)
        _only(call.sender, terms.provider)
        if call.now >= terms.deliver_by:
            raise errors.DeliverByMissed(job, terms.deliver_by)
        if result == ZERO_DIGEST:
            raise errors.Malformed("result")
        window_end = Timestamp(call.now + terms.challenge_seconds)
        delivered = terms.delivered(result, window_end)
        self.jobs[job] = Record(JobState.DELIVERED, terms=delivered)
        event = JobDelivered(
            id=job, provider=terms.provider, result=result, window_end=window_end, **_NOWHERE
        )
        if terms.challenge_seconds:
            return [event]
        return [event, *self._close(job, delivered, Outcome.PAID)]

    def approve(self, call: Call, job: JobId, terms: Terms) -> list[Event]:
        self._committed(job, Action.APPROVE, terms)
        _only(call.sender, terms.submitter)
        return self._close(job, terms, Outcome.PAID)

    def settle(self, call: Call, job: JobId, terms: Terms) -> list[Event]:
        self._committed(job, Action.SETTLE, terms)
        if call.now < terms.window_end:
            raise errors.WindowOpen(job, terms.window_end)
        return self._close(job, terms, Outcome.PAID)

    def reclaim(self, call: Call, job: JobId, terms: Terms) -> list[Event]:
        self._committed(job, Action.RECLAIM, terms)
        if call.now < terms.deliver_by:
            raise errors.DeliverByAhead(job, terms.deliver_by)
        return self._close(job, terms, Outcome.REFUNDED)

    def _close(self, job: JobId, terms: Terms, outcome: Outcome) -> list[Event]:
        self.jobs[job] = Record(JobState.CLOSED, outcome)
        paid = payout(terms, outcome)
        self._credit(terms.token, terms.submitter, paid.to_submitter)
        self._credit(terms.token, terms.provider, paid.to_provider)
        self._credit(terms.token, terms.matcher, paid.to_matcher)
        self.burned[terms.token] = self.burned.get(terms.token, 0) + paid.burned
        return [JobClosed(id=job, outcome=outcome, payout=paid, **_NOWHERE)]

    def _allowed(self, job: JobId, action: Action) -> JobState:
        state = self.jobs.get(job, UNKNOWN).state
        if (state, action) not in TRANSITIONS:
            raise errors.WrongState(job, state)
        return state

    def _committed(self, job: JobId, action: Action, terms: Terms) -> None:
        self._allowed(job, action)
        if self.jobs[job].terms != terms:
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
    for field, unserved in (
        ("token", job.token == ZERO_ADDRESS),
        ("arbiter", job.arbiter != ZERO_ADDRESS),
        ("arbiterData", job.arbiter_data != ZERO_DIGEST),
        ("rulingSeconds", job.ruling_seconds != 0),
        ("epoch", job.epoch != 0),
    ):
        if unserved:
            raise errors.Unsupported(field)
