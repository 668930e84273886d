"""A provider's surroundings without a network: the model chain, scripted containers, and a market of a few lines."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from eth_account import Account
from eth_account.signers.local import LocalAccount

from deai import unixfs
from deai.ask import Ask, Capacity, Prices
from deai.chain import Event, JobDelivered
from deai.cid import Cid, Codec
from deai.clock import ChainClock
from deai.content import Content
from deai.errors import DeaiError, MarketUnavailable
from deai.job import Address, Job, JobId, Timestamp, Wei
from deai.local_store import LocalStore
from deai.panel import Panel
from deai.result import EXIT_NAME, ExitRecord
from deai.signing import check_ask, check_bid, job_id, sign_job
from deai.spec import Spec
from deai.testing import DAI, MemoryChain
from deai.wire import JobJson, LogChunk, Match, Matches, Observation, SignedAsk, SignedBid
from deai_provider.agent import Agent
from deai_provider.executor import Run
from deai_provider.ledger import Entry, Ledger, Step
from deai_provider.policy import Rules
from deai_provider.testing import Script, ScriptedExecutor
from deai_provider.workshop import Workshop
from tests.digits import digits
from tests.loops import running

E = TypeVar("E", bound=Event)
POLL = 0.02
BOND, DEPOSIT = Wei(50), Wei(10_000)
SUBMITTER, PROVIDER, MATCHER, RIVAL = (Account.from_key(bytes([number]) * 32) for number in (1, 2, 3, 4))


class FakeMarket:
    """Keeps matches for one provider, and awards every bid at once unless told otherwise."""

    def __init__(self, chain: MemoryChain) -> None:
        self._chain = chain
        self._news = threading.Condition()
        self._matches: list[Match] = []
        self.awards = True
        self.down = False
        self.deaf = 0
        """So many log chunks are not taken."""
        self.asks: list[Ask] = []
        self.bids: list[SignedBid] = []
        self.seen: dict[JobId, list[str]] = {}
        self.logs: dict[JobId, bytes] = {}
        self.ended: set[JobId] = set()

    def offer(self, match: Match) -> None:
        with self._news:
            self._matches.append(match)
            self._news.notify_all()

    def matches(self, provider: Address, after: int, wait: float) -> Matches:
        self._answer()
        with self._news:
            self._news.wait_for(lambda: len(self._matches) > after, min(wait, 10 * POLL))
            return Matches(cursor=len(self._matches), matches=tuple(self._matches[after:]))

    def ask(self, signed: SignedAsk) -> None:
        self._answer()
        ask = Ask.parse(signed.ask.encode())
        check_ask(ask, signed.signature)
        self.asks.append(ask)

    def bid(self, signed: SignedBid) -> None:
        self._answer()
        bid = signed.bid.value()
        match = next(each for each in self._matches if each.id == bid.job)
        check_bid(bid, signed.signature, self._chain.deployment().domain)
        self.bids.append(signed)
        if self.awards:
            self._chain.award(MATCHER, match.job.value(), match.signature, bid, signed.signature)

    def send_logs(self, account: LocalAccount, id_: JobId, chunk: LogChunk) -> None:
        self._answer()
        if self.deaf:
            self.deaf -= 1
            raise MarketUnavailable("the market does not answer")
        known = self.logs.get(id_, b"")
        assert chunk.offset <= len(known)
        self.logs[id_] = known[: chunk.offset] + chunk.data
        if chunk.end:
            self.ended.add(id_)

    def observe(self, account: LocalAccount, id_: JobId, observation: Observation) -> None:
        self._answer()
        self.seen.setdefault(id_, []).append(observation.event)

    def _answer(self) -> None:
        if self.down:
            raise MarketUnavailable("the market does not answer")


class World:
    """Everything around one provider; `agent()` runs it, more than once over the same ledger if need be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chain = MemoryChain()
        self.store = Content(LocalStore(folder / "store"))
        self.market = FakeMarket(self.chain)
        self.script: Callable[[Run], Script] = lambda _: Script(log=b"hello\n", outputs={"out.txt": b"42"})
        self.executor = ScriptedExecutor(folder / "runs", self._play)
        self.panel: Panel | None = None
        provider = Address(PROVIDER.address)
        self.rules = Rules(
            provider=provider,
            prices={DAI.address: Prices(job=100)},
            max_bond={DAI.address: BOND},
            min_gas=Wei(1),
            deliver_margin=60,
            award_margin=30,
            max_challenge_seconds=3_600,
            max_fee_bps=500,
            max_inputs=4,
            confirmations=0,
            confirm_unit={DAI.address: Wei(1_000)},
            withdraw_above={},
            withdraw_to=provider,
            slots=2,
        )
        for account in (SUBMITTER, PROVIDER, RIVAL):
            self.chain.mint(DAI.address, Address(account.address), 2 * DEPOSIT)
            self.chain.deposit(account, DAI.address, DEPOSIT)

    def _play(self, run: Run) -> Script:
        return self.script(run)

    def spec(self, **fields: object) -> Spec:
        """A small job's spec, kept in the store."""
        return digits(self.store, **({"output_path": "/weights"} | fields))

    def job(self, spec: Spec | None = None, **fields: object) -> tuple[JobId, Job, bytes]:
        """A signed job that the provider takes unless `fields` say otherwise."""
        now = self.chain.now
        job = Job(
            submitter=Address(SUBMITTER.address),
            token=DAI.address,
            price_start=Wei(100),
            price_cap=Wei(200),
            bond=BOND,
            matcher=Address(MATCHER.address),
            open_at=Timestamp(now + 60),
            award_by=Timestamp(now + 600),
            deliver_seconds=600,
            challenge_seconds=60,
            spec=(spec or self.spec()).cid().digest,
            salt=time.monotonic_ns().to_bytes(32),
        )
        job = replace(job, **fields)  # type: ignore[arg-type]
        domain = self.chain.deployment().domain
        return job_id(job, domain), job, sign_job(SUBMITTER, job, domain)

    def submit(self, spec: Spec | None = None, **fields: object) -> JobId:
        """Signs a job and has the market offer it to the provider."""
        id_, job, signature = self.job(spec, **fields)
        self.market.offer(Match(id=id_, job=JobJson.of(job), signature=signature))
        return id_

    @property
    def capacity(self) -> Capacity:
        """What the machine gives to jobs."""
        return Capacity(cpu_millis=4_000, memory_mib=4_096, disk_mib=8_192, slots=self.rules.slots)

    @contextmanager
    def agent(self) -> Iterator[Agent]:
        """A running agent; stopped, as by SIGTERM, at the end."""
        with Ledger(self.folder / "ledger.sqlite") as ledger:
            shop = Workshop(
                account=PROVIDER,
                chain=self.chain,
                market=self.market,
                store=self.store,
                executor=self.executor,
                ledger=ledger,
                rules=self.rules,
                measure=lambda _: self.capacity,
                capacity=self.capacity,
                work=self.folder / "work",
                max_input_bytes=1 << 20,
                max_image_bytes=1 << 20,
                image_cache_bytes=1 << 20,
                look_back_blocks=1_000,
                clock=ChainClock(),
                poll_seconds=POLL,
                panel=self.panel,
            )
            agent = Agent(shop)
            with running(agent):
                yield agent

    def entry(self, id_: JobId) -> Entry | None:
        """The job's row in the ledger."""
        try:
            with Ledger(self.folder / "ledger.sqlite", read_only=True) as ledger:
                return ledger.entry(id_)
        except DeaiError:
            return None

    def steps(self, id_: JobId) -> list[Step]:
        """The job's way so far."""
        with Ledger(self.folder / "ledger.sqlite", read_only=True) as ledger:
            return [taken.step for taken in ledger.steps(id_)]

    def steps_with_reasons(self, id_: JobId) -> list[tuple[Step, str]]:
        """The job's way so far, and why."""
        with Ledger(self.folder / "ledger.sqlite", read_only=True) as ledger:
            return [(taken.step, taken.reason) for taken in ledger.steps(id_)]

    def reach(self, id_: JobId, *steps: Step, seconds: float = 15) -> Entry:
        """Waits until the job is at one of `steps`."""
        end = time.monotonic() + seconds
        while True:
            entry = self.entry(id_)
            if entry is not None and entry.step in steps:
                return entry
            assert time.monotonic() < end, f"waited for {steps}, is {entry and (entry.step, entry.reason)}"
            time.sleep(POLL / 2)

    def until(self, true: Callable[[], bool], seconds: float = 15) -> None:
        """Waits until something holds."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(POLL / 2)

    def result(self, id_: JobId) -> tuple[ExitRecord, Path]:
        """The delivered result, fetched by the CID on chain as a submitter would."""
        digest = self.events(id_, JobDelivered)[-1].result
        target = self.folder / f"fetched-{time.monotonic_ns()}"
        unixfs.fetch(self.store, Cid(Codec.DAG_PB, digest), target)
        return ExitRecord.parse((target / EXIT_NAME).read_bytes()), target

    def starts(self, id_: JobId) -> int:
        """How many times the engine was asked to start the job."""
        return self.executor.calls.count(("start", id_))

    def clean(self, id_: JobId) -> bool:
        """Whether nothing of the job is left on the machine."""
        return id_ not in self.executor.adopt() and not (self.folder / "work" / "jobs" / id_).exists()

    def events(self, id_: JobId, kind: type[E]) -> list[E]:
        """The job's events of one kind, in the chain as it is now."""
        return [event for event in self.chain.events(0, 1 << 40, id_) if isinstance(event, kind)]
