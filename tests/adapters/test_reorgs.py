"""Reorgs of a real node under a market and an agent at work: whatever is undone is done again, and one payment is made."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from deai.anvil import AnvilNode
from deai.ask import Capacity, Prices
from deai.chain import Event, JobAwarded, JobClosed, JobDelivered, JobEvent
from deai.clock import ChainClock
from deai.content import Content
from deai.errors import ChainUnavailable
from deai.job import (
    ZERO_ADDRESS,
    ZERO_DIGEST,
    Action,
    Address,
    JobId,
    JobState,
    Outcome,
    Terms,
    Timestamp,
    Wei,
)
from deai.journal import Journal
from deai.local_store import LocalStore
from deai.market_api import MarketApi
from deai.signing import job_id, sign_job
from deai.transactions import Pace
from deai.web3_chain import Web3Chain
from deai.wire import JobJson, JobView, Order
from deai_market import events, queries
from deai_market.app import serving
from deai_market.database import Database
from deai_market.indexer import Indexer
from deai_market.market import Market
from deai_market.settings import Rules as MarketRules
from deai_provider.agent import Agent
from deai_provider.ledger import Ledger, Step
from deai_provider.policy import Rules
from deai_provider.testing import Script, ScriptedExecutor
from deai_provider.workshop import Workshop
from tests.adapters.chain_fixtures import AnvilGround, peopled, started
from tests.digits import digits
from tests.lives import BOND, CAST, Life, job_of_cast
from tests.loops import running

POLL = 0.02
PRICE, DEPOSIT = Wei(200), Wei(10_000)
CAPACITY = Capacity(cpu_millis=4_000, memory_mib=4_096, disk_mib=8_192, slots=2)
UNJUDGED = {
    "arbiter": ZERO_ADDRESS,
    "dispute_fee": Wei(0),
    "arbiter_data": ZERO_DIGEST,
    "ruling_seconds": 0,
}
PACE = Pace(look_seconds=0.2)


class World:
    """A market and an agent on Anvil, each with its own key and journal, and a submitter."""

    def __init__(self, ground: AnvilGround, folder: Path) -> None:
        self.ground, self.folder, self.deployment = ground, folder, ground.deployment
        self.parts = ExitStack()
        self.token = self.deployment.token("DAI").address
        self.ahead = ground.chain.head().time - time.time()
        for account in (CAST.submitter, CAST.provider):
            ground.chain.deposit(account, self.token, DEPOSIT)
        ground.mine(8)  # what was done so far is deeper than any reorg here
        self.store = Content(LocalStore(folder / "store"))
        self.executor = ScriptedExecutor(folder / "runs", self._play)
        self.market = Market(
            self.chain("market"),
            self.deployment,
            self.store,
            CAST.matcher,
            folder / "market",
            rules=MarketRules(poll_seconds=POLL, match_seconds=10, retry_seconds=1, confirmations=2),
            wall=self.wall,
        )
        self.url = self.parts.enter_context(serving(self.market, "127.0.0.1", 0))
        self.parts.enter_context(self._agent())

    def wall(self) -> float:
        return time.time() + self.ahead

    def chain(self, name: str) -> Web3Chain:
        journal = Journal(self.folder / name / "journal")
        self.parts.callback(journal.close)
        return Web3Chain(self.ground.node.rpc, self.deployment, journal=journal, pace=PACE)

    def api(self) -> MarketApi:
        return MarketApi(self.url, self.deployment.domain, now=self.wall)

    def _play(self, _: object) -> Script:
        return Script(log=b"hello\n", outputs={"out.txt": b"42"}, seconds=0.5)

    @contextmanager
    def _agent(self) -> Iterator[Agent]:
        provider = Address(CAST.provider.address)
        rules = Rules(
            provider=provider,
            prices={self.token: Prices(job=PRICE)},
            max_bond={self.token: BOND},
            min_gas=Wei(1),
            deliver_margin=60,
            award_margin=30,
            max_challenge_seconds=3_600,
            max_fee_bps=500,
            max_inputs=4,
            confirmations=2,
            confirm_unit={self.token: Wei(1_000)},
            withdraw_above={},
            withdraw_to=provider,
            slots=2,
        )
        with Ledger(self.folder / "ledger.sqlite") as self.ledger, self.api() as market:
            shop = Workshop(
                account=CAST.provider,
                chain=self.chain("agent"),
                market=market,
                store=self.store,
                executor=self.executor,
                ledger=self.ledger,
                rules=rules,
                measure=lambda _: CAPACITY,
                capacity=CAPACITY,
                work=self.folder / "agent" / "work",
                max_input_bytes=1 << 20,
                max_image_bytes=1 << 20,
                image_cache_bytes=1 << 20,
                look_back_blocks=1_000,
                clock=ChainClock(self.wall),
                poll_seconds=POLL,
            )
            agent = Agent(shop)
            with running(agent):
                yield agent

    def submit(self) -> JobId:
        """A job that the market may award for as long as this test lasts."""
        spec = digits(self.store)
        now = Timestamp(int(self.wall()))
        fields = {"open_at": Timestamp(now + 600), "award_by": Timestamp(now + 1_200), "deliver_seconds": 600}
        job = job_of_cast(
            self.deployment,
            now,
            price_start=PRICE,
            price_cap=PRICE,
            spec=spec.cid().digest,
            **UNJUDGED,
            **fields,
        )
        signature = sign_job(CAST.submitter, job, self.deployment.domain)
        with self.api() as market:
            market.submit(Order(job=JobJson.of(job), signature=signature, spec=spec.canonical().decode()))
        return job_id(job, self.deployment.domain)

    # What is so.

    def state(self, job: JobId) -> JobState | None:
        """None while the node, amid a reorg, knows no contract."""
        try:
            return self.ground.chain.state(job)[0]
        except ChainUnavailable:
            return None

    def step(self, job: JobId) -> Step | None:
        entry = self.ledger.entry(job)
        return entry.step if entry else None

    def view(self, job: JobId) -> JobView:
        with self.api() as market:
            return market.job(job)

    def happened(self, job: JobId, kind: type[Event]) -> int:
        events = self.ground.chain.events(0, self.ground.chain.head().number, job)
        return sum(isinstance(event, kind) for event in events)

    def terms(self, job: JobId) -> Terms:
        """The job's terms in the chain as it is now."""
        found: Terms | None = None
        for event in self.ground.chain.events(0, self.ground.chain.head().number, job):
            match event:
                case JobAwarded():
                    found = event.terms
                case JobDelivered() if found is not None:
                    found = found.delivered(event.result, event.window_end)
        assert found is not None
        return found

    def approve(self, job: JobId) -> None:
        self.ground.chain.approve(CAST.submitter, job, self.terms(job))

    # What is done.

    def reach(self, true: Callable[[], bool], seconds: float = 30) -> None:
        """Mines a block now and then, as chains do, until something holds."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "waited in vain"
            self.ground.mine()
            time.sleep(5 * POLL)

    def wait(self, true: Callable[[], bool], seconds: float = 30) -> None:
        """Waits without a block of ours."""
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(POLL / 2)

    def undo(self, job: JobId, state: JobState) -> None:
        """A reorg just deep enough that the job is back in `state`."""
        chain = self.ground.chain
        found = [event for event in chain.events(0, chain.head().number, job) if isinstance(event, JobEvent)]
        order = (JobState.UNKNOWN, JobState.AWARDED, JobState.DELIVERED)
        first = found[order.index(state)]
        self.ground.reorg(chain.head().number - first.block + 1)
        block = chain.block(first.block)
        assert block is not None
        assert block.hash != first.block_hash

    def is_paid_once(self, job: JobId) -> None:
        """The end: everybody agrees on one award, one delivery, one payment, and one run."""
        self.reach(lambda: self.step(job) is Step.DONE)
        self.reach(lambda: self.view(job).state == "Paid")
        assert self.ground.chain.state(job) == (JobState.CLOSED, Outcome.PAID)
        counts = [self.happened(job, kind) for kind in (JobAwarded, JobDelivered, JobClosed)]
        assert counts == [1, 1, 1]
        balances = [
            self.ground.chain.balance(self.token, Address(account.address))
            for account in (CAST.submitter, CAST.provider)
        ]
        assert balances == [DEPOSIT - PRICE, DEPOSIT + PRICE]
        assert self.executor.calls.count(("start", job)) == 1


@pytest.fixture
def young_ground(tmp_path: Path) -> Iterator[AnvilGround]:
    """The contract on a node of this test's own: Anvil writes the states of its older blocks to disk, and a reorg back to such a block loses
    the contracts for good.
    """
    folder = tmp_path / "anvil"
    folder.mkdir()
    with started(folder) as node, Journal.throwaway() as journal:
        yield AnvilGround(node, peopled(node, AnvilNode(node.rpc).deploy("DAI")), journal)


@pytest.fixture
def world(young_ground: AnvilGround, tmp_path: Path) -> Iterator[World]:
    world = World(young_ground, tmp_path)
    try:
        yield world
    finally:
        world.parts.close()


def test_without_a_reorg_one_payment_is_made(world: World) -> None:
    job = world.submit()
    world.reach(lambda: world.state(job) is JobState.DELIVERED)

    world.approve(job)

    world.is_paid_once(job)


def test_an_award_undone_while_the_job_runs_is_sent_again_and_the_run_goes_on(world: World) -> None:
    job = world.submit()
    world.reach(lambda: world.step(job) is Step.RUNNING)

    world.undo(job, JobState.UNKNOWN)

    world.reach(lambda: world.state(job) is JobState.DELIVERED)
    world.approve(job)
    world.is_paid_once(job)


def test_an_award_undone_at_once_is_sent_again(world: World) -> None:
    job = world.submit()
    world.wait(lambda: world.state(job) is JobState.AWARDED)

    world.undo(job, JobState.UNKNOWN)

    world.reach(lambda: world.state(job) is JobState.DELIVERED)
    world.approve(job)
    world.is_paid_once(job)


def test_a_delivery_undone_is_sent_again(world: World) -> None:
    job = world.submit()
    world.reach(lambda: world.step(job) is Step.DELIVERED)

    world.undo(job, JobState.AWARDED)

    world.reach(lambda: world.state(job) is JobState.DELIVERED)
    world.approve(job)
    world.is_paid_once(job)


def test_award_and_delivery_undone_together_come_back_without_a_second_run(world: World) -> None:
    job = world.submit()
    world.reach(lambda: world.step(job) is Step.DELIVERED)

    world.undo(job, JobState.UNKNOWN)

    world.reach(lambda: world.state(job) is JobState.DELIVERED)
    world.approve(job)
    world.is_paid_once(job)


def test_an_approval_undone_and_not_repeated_is_settled_by_the_agent(world: World) -> None:
    job = world.submit()
    world.reach(lambda: world.step(job) is Step.DELIVERED)
    world.approve(job)
    world.wait(lambda: world.view(job).state == "Paid")

    world.undo(job, JobState.DELIVERED)

    world.wait(lambda: world.view(job).state == "Delivered")
    world.ahead += 300
    world.ground.at(int(world.wall()))
    world.is_paid_once(job)


def test_a_settlement_undone_is_sent_again(world: World) -> None:
    job = world.submit()
    world.reach(lambda: world.step(job) is Step.DELIVERED)
    world.ahead += 300
    world.ground.at(int(world.wall()))
    world.ground.mine()
    world.wait(lambda: world.state(job) is JobState.CLOSED)

    world.undo(job, JobState.DELIVERED)

    world.is_paid_once(job)


def test_everything_undone_after_the_approval_is_done_again_and_paid_once(world: World) -> None:
    job = world.submit()
    world.reach(lambda: world.step(job) is Step.DELIVERED)
    world.approve(job)

    world.undo(job, JobState.UNKNOWN)

    world.reach(lambda: world.state(job) is JobState.DELIVERED)
    world.approve(job)
    world.is_paid_once(job)


@pytest.mark.parametrize("depth", [1, 5, 40])
def test_the_indexers_history_is_the_canonical_chains_after_a_reorg(
    young_ground: AnvilGround, tmp_path: Path, depth: int
) -> None:
    chain, token = young_ground.chain, young_ground.deployment.token("DAI").address
    for account in (CAST.submitter, CAST.provider):
        chain.deposit(account, token, DEPOSIT)
    database = Database(tmp_path, young_ground.deployment.domain)
    follower = Indexer(database, chain, young_ground.deployment.block, ChainClock(), lambda _: None)
    young_ground.mine(10)
    paths = [(Action.AWARD, Action.DELIVER, Action.APPROVE), (Action.POST, Action.CANCEL), (Action.AWARD,)]
    lives = []
    for path in paths:
        lives.append(Life(chain, young_ground.deployment, young_ground.at).reach(path))
        young_ground.mine(10)
        follower.catch_up()
    lives.append(Life(chain, young_ground.deployment, young_ground.at).reach(paths[0]))
    follower.catch_up()
    before = [chain.state(life.id) for life in lives]

    young_ground.reorg(depth)

    assert [chain.state(life.id) for life in lives] != before
    follower.catch_up()
    head = chain.head().number
    on_chain = [
        event for life in lives for event in chain.events(0, head, life.id) if isinstance(event, JobEvent)
    ]
    with database.read() as session:
        indexed = [events.load(row) for life in lives for row in queries.events_of(session, life.id)]
        rows = [queries.known(session, life.id) for life in lives]
    database.close()
    assert indexed == on_chain
    states = [row.chain_job.state if row and row.chain_job else JobState.UNKNOWN for row in rows]
    assert states == [chain.state(life.id)[0] for life in lives]
    assert follower.head == head
