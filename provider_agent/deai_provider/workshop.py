"""What the agent works with: its parts, its rules, and how much of the machine is still free."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from eth_account.signers.local import LocalAccount

from deai.arbitration import class_of, seats_of
from deai.ask import Capacity, remaining
from deai.chain import Chain, Event, JobAwarded, JobDelivered, JobDisputed
from deai.clock import ChainClock
from deai.content import Content
from deai.errors import Bug, Unavailable
from deai.job import Address, Job, JobId, JobState, Terms, Timestamp, Wei
from deai.panel import Panel
from deai.signing import Domain
from deai.wire import LogChunk, Matches, Observation, SignedAsk, SignedBid
from deai_provider import policy
from deai_provider.archives import Archives
from deai_provider.executor import Executor
from deai_provider.late_logs import LateLogs
from deai_provider.ledger import BEFORE_AWARD, BUSY, UPLOADING, Entry, Ledger, Step, resources
from deai_provider.policy import Room, Rules, confirmations

_log = logging.getLogger(__name__)

T = TypeVar("T")

REORG_BLOCKS = 64
"""An award is looked for from this many blocks before its bid was signed: a reorg may shorten the chain."""

_HEAD = 1 << 62
"""Beyond every chain's head: events are asked for up to it."""


class Market(Protocol):
    """Port: a market as a provider needs it. Each call raises MarketUnavailable, or WrongRequest when
    refused.
    """

    def matches(self, provider: Address, after: int, wait: float) -> Matches: ...

    def ask(self, signed: SignedAsk) -> None: ...

    def bid(self, signed: SignedBid) -> None: ...

    def send_logs(self, account: LocalAccount, id_: JobId, chunk: LogChunk) -> None: ...

    def observe(self, account: LocalAccount, id_: JobId, observation: Observation) -> None: ...


@dataclass(slots=True, kw_only=True)
class Workshop:
    """The parts of one agent, shared by its threads."""

    account: LocalAccount
    chain: Chain
    market: Market
    store: Content
    executor: Executor
    ledger: Ledger
    rules: Rules
    measure: Callable[[int], Capacity]
    """All that the machine gives to jobs, as it is now; it is told how many MiB of the disk they hold already."""
    capacity: Capacity
    """What was measured last."""
    work: Path
    max_input_bytes: int
    """Of all inputs of one job together."""
    max_image_bytes: int
    """Of one image archive."""
    image_cache_bytes: int
    """Archives are kept for the next job, up to this much."""
    look_back_blocks: int
    """How far back an agent that starts looks for awards that its ledger does not know."""
    clock: ChainClock
    poll_seconds: float
    panel: Panel | None = None
    """The deployment's panel, which judges disputed work; None where there is none."""
    stopping: threading.Event = field(default_factory=threading.Event)
    admission: threading.Lock = field(default_factory=threading.Lock)
    """Held from the look at what is free until the ledger says that it is taken."""
    late_logs: LateLogs = field(init=False)
    images: Archives = field(init=False)

    def __post_init__(self) -> None:
        self.late_logs = LateLogs(self.work / "late-logs")
        self.images = Archives(self.work / "images")

    @property
    def address(self) -> Address:
        """The account that is paid, and locks bonds."""
        return Address(self.account.address)

    @property
    def domain(self) -> Domain:
        """The EIP-712 domain of the escrow."""
        return Domain(self.chain.chain_id, self.chain.contract)

    def folder(self, id_: JobId) -> Path:
        """Where a job's inputs and result are while it is here."""
        return self.work / "jobs" / id_

    def now(self) -> Timestamp:
        """Chain seconds. Raises ChainUnavailable."""
        self.clock.saw(self.chain.head())
        return self.clock.now()

    def room(self, id_: JobId, job: Job) -> Room:
        """What there is for this job beside all others here. Raises ChainUnavailable."""
        others = [entry for entry in self.ledger.entries(BUSY) if entry.id != id_]
        ended = [entry for entry in others if entry.step in UPLOADING]
        working = [entry for entry in others if entry.step not in UPLOADING]
        free = remaining(self.capacity, resources(working), resources(ended))
        pending = [
            entry
            for entry in others
            if entry.job.token == job.token and entry.step in BEFORE_AWARD and entry.spec
        ]
        bonds = sum(entry.job.bond for entry in pending)
        wanted = sum(entry.price or 0 for entry in pending if entry.job.submitter == job.submitter)
        return Room(
            capacity=free,
            bond=Wei(self.chain.balance(job.token, self.address) - bonds),
            funds=Wei(self.chain.balance(job.token, job.submitter) - wanted),
            gas=self.chain.gas_balance(self.address),
            epoch=self.chain.epoch(job.token, job.submitter),
            unfit=self._unfit(job),
        )

    @property
    def is_full(self) -> bool:
        """Whether all slots are taken, by jobs whose spec is not read yet too."""
        ended, slots = len(self.ledger.entries(UPLOADING)), self.capacity.slots
        return len(self.ledger.entries(BUSY)) - min(ended, slots) >= slots

    def _unfit(self, job: Job) -> str:
        if self.panel is None or job.arbiter != self.panel.contract:
            return ""
        field, judges = self.panel.unfit(job), class_of(job.arbiter_data)
        if field or judges is None:
            return field
        free, seats = self.panel.resource_class(judges).free, seats_of(job.arbiter_data)
        # A case that finds no judges lapses, and half the price with it.
        return f"{free} free tickets in class {judges} for {seats} seats" if free < seats else ""

    def award(self, entry: Entry) -> JobAwarded | None:
        """The job's award in the chain as it is now, whoever won it. Raises ChainUnavailable."""
        if self.chain.state(entry.id)[0] in (JobState.UNKNOWN, JobState.OPEN):
            return None
        return self.award_event(entry)

    def award_event(self, entry: Entry) -> JobAwarded | None:
        """The same, of a job that was awarded: one question less. Raises ChainUnavailable."""
        first = max(0, (entry.bid_block or 0) - REORG_BLOCKS)
        awards = [
            event for event in self.chain.events(first, _HEAD, entry.id) if isinstance(event, JobAwarded)
        ]
        return awards[-1] if awards else None

    def confirmed(self, block: int, job: Job, value: Wei) -> bool:
        """Whether enough blocks stand on `block` for `value` of the job's token. Raises ChainUnavailable."""
        # A token that is no longer served has no unit: then all that an old job is worth counts as one.
        unit = self.rules.confirm_unit.get(job.token) or Wei(max(value, 1))
        needed = confirmations(self.rules.confirmations, value, unit)
        return needed == 0 or self.chain.head().number - block >= needed

    def hopeless(self, expires_at: Timestamp, since: float) -> bool:
        """Whether a bid is surely not awarded any more. `since` is when its award was first looked for in vain, by the monotonic clock: this
        machine's own clock may have jumped, so a block must say that the bid is over, or as much time have passed as any bid lives.

        Raises ChainUnavailable.
        """
        if not policy.hopeless(expires_at, self.clock.now()):
            return False
        watched = time.monotonic() - since
        return watched >= policy.BID_SECONDS + policy.GRACE_SECONDS or policy.hopeless(
            expires_at, self.chain.head().time
        )

    def passed_by(self, id_: JobId, expires_at: Timestamp) -> bool:
        """Whether the chain went past the end of a bid without its award. Raises ChainUnavailable."""
        if not policy.hopeless(expires_at, self.chain.head().time):
            return False
        # Asked after the head: a node that catches up between two questions must not end a promise.
        return self.chain.state(id_)[0] in (JobState.UNKNOWN, JobState.OPEN)

    def deadline_passed(self, terms: Terms) -> bool:
        """Whether no delivery can be mined any more. This machine's clock may be wrong, so a block must say it."""
        if self.clock.now() < terms.deliver_by:
            return False
        try:
            return self.chain.head().time >= terms.deliver_by
        except Unavailable as error:
            _log.info("whether deliver_by has come is not known: %s", error)
            return False

    def move(self, id_: JobId, step: Step, reason: str = "", **facts: object) -> Entry:
        """Writes the step into the ledger. Raises LedgerUnavailable."""
        entry = self.ledger.move(id_, step, Timestamp(int(self.clock.wall())), reason, **facts)
        _log.info("%s: %s%s", id_, step, f": {reason}" if reason else "")
        return entry

    def note(self, id_: JobId, **facts: object) -> Entry:
        """Writes facts into the ledger. Raises LedgerUnavailable."""
        return self.ledger.note(id_, Timestamp(int(self.clock.wall())), **facts)


def award_facts(award: JobAwarded) -> dict[str, Any]:
    """What the ledger keeps of an award."""
    return {"terms": award.terms, "award_block": award.block, "award_hash": award.block_hash}


def terms_after(events: Iterable[Event]) -> Terms | None:
    """The terms of a job as they stand after its events; None before its award. Pure."""
    terms = None
    for event in events:
        match event:
            case JobAwarded():
                terms = event.terms
            case JobDelivered() if terms is not None:
                terms = terms.delivered(event.result, event.window_end)
            case JobDisputed() if terms is not None:
                terms = terms.disputed(event.disputer, event.rule_by)
    return terms


def known(value: T | None) -> T:
    """A fact that the job's step promises to be there."""
    if value is None:
        raise Bug("ledger: a fact is missing that an earlier step wrote")
    return value
