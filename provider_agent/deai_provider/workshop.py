"""What the agent works with: its parts, its rules, and how much of the machine is still free."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from eth_account.signers.local import LocalAccount

from deai.ask import Capacity, without
from deai.chain import Chain, JobAwarded
from deai.clock import ChainClock
from deai.job import Address, Job, JobId, JobState, Timestamp, Wei
from deai.signing import Domain
from deai.store import Store
from deai.wire import LogChunk, Matches, Observation, SignedAsk, SignedBid
from deai_provider.executor import Executor
from deai_provider.ledger import BEFORE_AWARD, BUSY, Entry, Ledger, Step, resources
from deai_provider.policy import Room, Rules, confirmations

REORG_BLOCKS = 64
"""An award is looked for from this many blocks before its bid was signed: a reorg may shorten the chain."""


class Market(Protocol):
    """Port: a market as a provider needs it. Each call raises MarketUnavailable, or WrongRequest when
    refused.
    """

    def matches(self, provider: Address, after: int, wait: float) -> Matches: ...

    def ask(self, signed: SignedAsk) -> None: ...

    def bid(self, signed: SignedBid) -> None: ...

    def send_logs(self, account: LocalAccount, id_: JobId, chunk: LogChunk) -> None: ...

    def observe(self, account: LocalAccount, id_: JobId, observation: Observation) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """The parts of one agent, shared by its threads."""

    account: LocalAccount
    chain: Chain
    market: Market
    store: Store
    executor: Executor
    ledger: Ledger
    rules: Rules
    capacity: Capacity
    """All that the machine gives to jobs."""
    work: Path
    max_input_bytes: int
    """Of all inputs of one job together."""
    max_image_bytes: int
    """Of one image archive."""
    image_cache_bytes: int
    """Archives are kept for the next job, up to this much."""
    clock: ChainClock
    poll_seconds: float
    stopping: threading.Event = field(default_factory=threading.Event)
    admission: threading.Lock = field(default_factory=threading.Lock)
    """Held from the look at what is free until the ledger says that it is taken."""
    images: threading.Lock = field(default_factory=threading.Lock)
    """Held by the one thread that fetches or removes image archives."""

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
        free = self.capacity
        for each in resources(others):
            free = without(free, each)
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
        )

    def award(self, entry: Entry) -> JobAwarded | None:
        """The job's award in the chain as it is now, whoever won it. Raises ChainUnavailable."""
        if self.chain.state(entry.id)[0] in (JobState.UNKNOWN, JobState.OPEN):
            return None
        first = max(0, (entry.bid_block or 0) - REORG_BLOCKS)
        events = self.chain.events(first, self.chain.head().number, entry.id)
        awards = [event for event in events if isinstance(event, JobAwarded)]
        return awards[-1] if awards else None

    def confirmed(self, block: int, job: Job, value: Wei) -> bool:
        """Whether enough blocks stand on `block` for `value` of the job's token. Raises ChainUnavailable."""
        # A token that is no longer served has no unit: then all that an old job is worth counts as one.
        unit = self.rules.confirm_unit.get(job.token) or Wei(max(value, 1))
        needed = confirmations(self.rules.confirmations, value, unit)
        return self.chain.head().number - block >= needed

    def move(self, id_: JobId, step: Step, reason: str = "", **facts: object) -> Entry:
        """Writes the step into the ledger."""
        return self.ledger.move(id_, step, Timestamp(int(self.clock.wall())), reason, **facts)

    def note(self, id_: JobId, **facts: object) -> Entry:
        """Writes facts into the ledger."""
        return self.ledger.note(id_, Timestamp(int(self.clock.wall())), **facts)
