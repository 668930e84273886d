"""The escrow's history from the chain's events alone: what happened, in words, and the whole state rebuilt from it.

Asks no server but a node: the auditors' first tool. `rebuild` and `Ledger` are pure.
"""

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from deai import case_history
from deai.case_history import Facts
from deai.chain import (
    AllCancelled,
    BidPlaced,
    CallSkipped,
    Chain,
    Deposited,
    Event,
    JobAwarded,
    JobCancelled,
    JobClosed,
    JobDelivered,
    JobDisputed,
    JobPosted,
    Withdrawn,
)
from deai.cid import Cid, Codec
from deai.clock import utc
from deai.deployment import Deployment
from deai.errors import Bug, ChainUnavailable
from deai.job import Address, Bid, Job, JobId, JobState, Outcome, Payout, Terms, Timestamp, Wei
from deai.panel import EVENTS, Panel, Rules

BLOCKS_AT_ONCE = 5_000
"""How many blocks are asked for at a time, so that the first lines come soon."""


# The state, from the events alone.


@dataclass(slots=True)
class JobRecord:
    """What the events so far say of a job."""

    state: JobState = JobState.UNKNOWN
    outcome: Outcome = Outcome.NONE
    job: Job | None = None
    """Known of a job that was posted."""
    bids: list[Bid] = field(default_factory=list)
    """Those placed on chain."""
    terms: Terms | None = None
    """From the award on; the result included once it is delivered."""
    spec: bytes | None = None
    """The digest of its spec, of a job that was posted or awarded."""
    payout: Payout | None = None

    @property
    def token(self) -> Address | None:
        """What the job is paid in, as far as the events tell."""
        return self.terms.token if self.terms else self.job.token if self.job else None


@dataclass(slots=True)
class Ledger:
    """The escrow's whole state. Amounts in each token's smallest unit."""

    balances: defaultdict[tuple[Address, Address], int] = field(default_factory=lambda: defaultdict(int))
    """(token, account) to what the account can lock or withdraw."""
    epochs: defaultdict[tuple[Address, Address], int] = field(default_factory=lambda: defaultdict(int))
    """(token, account) to the epoch that the account's jobs must have."""
    burned: defaultdict[Address, int] = field(default_factory=lambda: defaultdict(int))
    jobs: defaultdict[JobId, JobRecord] = field(default_factory=lambda: defaultdict(JobRecord))

    def locked(self, token: Address) -> Wei:
        """The prices, bonds and prepaid fees of all jobs that were awarded and are not closed."""
        live = (record.terms for record in self.jobs.values() if record.terms and not record.payout)
        return Wei(sum(terms.price + terms.bond + terms.prepaid for terms in live if terms.token == token))

    def apply(self, event: Event) -> None:
        """Takes in the next event. Raises Bug for one that cannot follow what was before."""
        match event:
            case Deposited():
                self.balances[event.token, event.account] += event.amount
            case Withdrawn():
                self.balances[event.token, event.account] -= event.amount
            case JobPosted():
                self.jobs[event.id].state = JobState.OPEN
                self.jobs[event.id].job, self.jobs[event.id].spec = event.job, event.job.spec
            case BidPlaced():
                self.jobs[event.id].bids.append(event.bid)
            case JobCancelled():
                self.jobs[event.id].state = JobState.CLOSED
                self.jobs[event.id].outcome = Outcome.CANCELLED
            case AllCancelled():
                self.epochs[event.token, event.submitter] = event.epoch
            case JobAwarded(terms=terms):
                self.jobs[event.id].state = JobState.AWARDED
                self.jobs[event.id].terms, self.jobs[event.id].spec = terms, event.spec
                self.balances[terms.token, terms.submitter] -= terms.price
                self.balances[terms.token, terms.provider] -= terms.bond
            case JobDelivered():
                self.jobs[event.id].state = JobState.DELIVERED
                self.jobs[event.id].terms = self._terms(event.id).delivered(event.result, event.window_end)
            case JobDisputed():
                terms = self._terms(event.id).disputed(event.disputer, event.rule_by)
                self.jobs[event.id].state, self.jobs[event.id].terms = JobState.DISPUTED, terms
                self.balances[terms.token, terms.submitter] -= terms.prepaid
            case JobClosed():
                self._close(event, self._terms(event.id))
            case CallSkipped():
                pass  # it changed nothing
            case _:
                raise Bug(f"{type(event).__name__}: an event nobody knows")

    def _close(self, event: JobClosed, terms: Terms) -> None:
        record, paid = self.jobs[event.id], event.payout
        record.state, record.outcome, record.payout = JobState.CLOSED, event.outcome, paid
        self.balances[terms.token, terms.submitter] += paid.to_submitter
        self.balances[terms.token, terms.provider] += paid.to_provider
        self.balances[terms.token, terms.matcher] += paid.to_matcher
        self.balances[terms.token, terms.arbiter] += paid.to_arbiter
        self.burned[terms.token] += paid.burned

    def _terms(self, job: JobId) -> Terms:
        terms = self.jobs[job].terms
        if terms is None:
            raise Bug(f"job {job} was delivered or closed, but no award came before")
        return terms


def rebuild(events: Iterable[Event]) -> Ledger:
    """The escrow's state after `events`, which are all since its deployment, in chain order."""
    ledger = Ledger()
    for event in events:
        ledger.apply(event)
    return ledger


# The same, to be read.


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One event: when, where, and what it says."""

    time: Timestamp
    block: int
    tx: str
    event: str
    """The event's name in the contract."""
    job: JobId | None
    text: str
    facts: Facts

    def as_json(self) -> dict[str, object]:
        """One flat object."""
        place = {"time": self.time, "block": self.block, "tx": self.tx, "event": self.event}
        return {**place, "job": self.job, "text": self.text, **self.facts}

    def __str__(self) -> str:
        job = f"{self.job[:10]}…  " if self.job else ""
        return f"{utc(self.time)}  block {self.block}  {job}{self.event}: {self.text}  (tx {self.tx})"


def history(
    chain: Chain, deployment: Deployment, job: JobId | None = None, panel: Panel | None = None
) -> Iterator[Line]:
    """What happened on the escrow, and on its `panel`, since the deployment, or to one job, oldest first, up to the head of this moment.

    Raises ChainUnavailable, also where a reorg takes blocks away while they are read.
    """
    last = chain.head().number
    ledger, times = Ledger(), dict[int, Timestamp]()
    rules = panel.rules if panel else None
    for first in range(deployment.block, last + 1, BLOCKS_AT_ONCE):
        upto = min(first + BLOCKS_AT_ONCE - 1, last)
        cases = panel.events(first, upto, job) if panel else []
        for event in heapq.merge(chain.events(first, upto, job), cases, key=lambda e: (e.block, e.index)):
            if event.block not in times:
                times = {event.block: _time(chain, event)}
            if not isinstance(event, EVENTS):
                ledger.apply(event)
            yield _line(event, times[event.block], ledger, deployment, rules)


def _time(chain: Chain, event: Event) -> Timestamp:
    block = chain.block(event.block)
    if block is None or block.hash != event.block_hash:
        raise ChainUnavailable(f"block {event.block} was replaced while its history was read; ask again")
    return block.time


def _line(event: Event, time: Timestamp, ledger: Ledger, deployment: Deployment, rules: Rules | None) -> Line:
    job: JobId | None = getattr(event, "id", None)
    token = ledger.jobs[job].token if job else None
    text, facts = _tell(event, token, deployment, rules)
    return Line(
        time=time,
        block=event.block,
        tx=event.tx,
        event=type(event).__name__,
        job=job,
        text=text,
        facts=facts,
    )


def _tell(
    event: Event, token: Address | None, deployment: Deployment, rules: Rules | None
) -> tuple[str, Facts]:
    def show(amount: int, of: Address | None = token) -> str:
        known = next((each for each in deployment.tokens if each.address == of), None)
        return known.show(Wei(amount)) if known else f"{amount} of {of or 'a token not known yet'}"

    if rules is not None and isinstance(event, EVENTS):
        return case_history.tell(event, rules, show)
    match event:
        case Deposited():
            whose = "" if event.sender == event.account else f" for {event.account}"
            text = f"{event.sender} deposited {show(event.amount, event.token)}{whose}"
            return text, {"account": event.account, "from": event.sender, **_money(event)}
        case Withdrawn():
            text = f"{event.account} withdrew {show(event.amount, event.token)} to {event.to}"
            return text, {"account": event.account, "to": event.to, **_money(event)}
        case JobPosted(job=job):
            text = f"{job.submitter} posted it for at most {show(job.price_cap)}, bond {show(job.bond)}"
            return text, {
                "submitter": job.submitter,
                "token": job.token,
                "price_start": str(job.price_start),
                "price_cap": str(job.price_cap),
                "bond": str(job.bond),
                "spec_cid": str(Cid(Codec.RAW, job.spec)),
            }
        case BidPlaced(bid=bid):
            text = f"{bid.provider} bids {show(bid.price)} until {utc(bid.expires_at)}"
            return text, {"provider": bid.provider, "price": str(bid.price), "expires_at": bid.expires_at}
        case JobCancelled():
            return f"{event.submitter} cancelled it", {"submitter": event.submitter}
        case AllCancelled():
            text = (
                f"{event.submitter} cancelled all its jobs in {event.token} of an epoch below {event.epoch}"
            )
            return text, {"submitter": event.submitter, "token": event.token, "epoch": event.epoch}
        case JobAwarded():
            return _award(event, show)
        case JobDelivered():
            cid = str(Cid(Codec.DAG_PB, event.result))
            text = f"delivered {cid}; anyone may settle from {utc(event.window_end)} on"
            return text, {"result_cid": cid, "window_end": event.window_end}
        case JobDisputed():
            text = (
                f"{event.disputer} disputed the result, {show(event.fee)} prepaid;"
                f" the arbiter rules before {utc(event.rule_by)}"
            )
            return text, {"disputer": event.disputer, "fee": str(event.fee), "rule_by": event.rule_by}
        case CallSkipped():
            return f"call {event.place} of a batch failed: {event.reason}", {
                "place": event.place,
                "reason": str(event.reason),
            }
        case JobClosed(payout=paid):
            parts = {
                "to_provider": paid.to_provider,
                "to_submitter": paid.to_submitter,
                "to_matcher": paid.to_matcher,
                "to_arbiter": paid.to_arbiter,
                "burned": paid.burned,
            }
            moved = (f"{show(amount)} {name.replace('_', ' ')}" for name, amount in parts.items() if amount)
            text = ", ".join([event.outcome.name.capitalize(), *moved])
            amounts = {name: str(amount) for name, amount in parts.items()}
            return text, {"outcome": event.outcome.name.capitalize(), **amounts}
        case _:
            raise Bug(f"{type(event).__name__}: an event nobody knows")


def _award(event: JobAwarded, show: Callable[[int], str]) -> tuple[str, Facts]:
    terms, spec = event.terms, str(Cid(Codec.RAW, event.spec))
    text = (
        f"{terms.submitter}'s job went to {terms.provider} for {show(terms.price)}, bond {show(terms.bond)},"
        f" to be delivered before {utc(terms.deliver_by)}; spec {spec}"
    )
    return text, {
        "submitter": terms.submitter,
        "provider": terms.provider,
        "matcher": terms.matcher,
        "token": terms.token,
        "price": str(terms.price),
        "bond": str(terms.bond),
        "fee": str(terms.fee),
        "deliver_by": terms.deliver_by,
        "challenge_seconds": terms.challenge_seconds,
        "arbiter": terms.arbiter,
        "dispute_fee": str(terms.dispute_fee),
        "ruling_seconds": terms.ruling_seconds,
        "spec_cid": spec,
    }


def _money(event: Deposited | Withdrawn) -> dict[str, str]:
    return {"token": event.token, "amount": str(event.amount)}
