"""The indexer against the reference chain: rows equal the chain's events, through reorgs, gaps and dead nodes."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deai.chain import Event, JobAwarded, JobEvent
from deai.clock import ChainClock
from deai.errors import BadField, ChainUnavailable
from deai.job import JobId, JobState, Outcome, Timestamp
from deai.signing import Domain
from deai.testing import MemoryChain
from deai_market import events, indexer, queries
from deai_market.database import Database
from deai_market.indexer import Indexer
from tests.market_world import NOW, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def database(world: World) -> Iterator[Database]:
    database = Database(world.folder / "data", world.domain)
    yield database
    database.close()


def follow(world: World, database: Database, changed: list[set[str]] | None = None) -> Indexer:
    heard = changed if changed is not None else []
    clock = ChainClock(lambda: world.chain.now)
    return Indexer(database, world.chain, world.deployment.block, clock, heard.append)


def indexed(database: Database, jobs: list[JobId]) -> list[Event]:
    with database.read() as session:
        return [events.load(row) for job in jobs for row in queries.events_of(session, job)]


def on_chain(world: World, jobs: list[JobId]) -> list[Event]:
    head = world.chain.head().number
    return [
        event for job in jobs for event in world.chain.events(0, head, job) if isinstance(event, JobEvent)
    ]


def state(database: Database, job: JobId) -> tuple[JobState, Outcome]:
    with database.read() as session:
        known = queries.known(session, job)
    row = known.chain_job if known else None
    return (JobState(row.state), Outcome(row.outcome)) if row else (JobState.UNKNOWN, Outcome.NONE)


def live(world: World) -> list[JobId]:
    """One job in every state that the chain has, with every outcome, and two paid."""
    orders = [world.order() for _ in range(6)] + [world.order(**world.judged()) for _ in range(2)]
    world.chain.post(world.submitter, orders[0].job.value())
    world.chain.bid(world.provider, world.bid(world.id(orders[0])).bid.value())
    world.chain.cancel(world.submitter, orders[1].job.value())
    for order in orders[2:5]:
        world.award(order)
    for order in orders[3:5]:
        world.pay(order)
    for order in orders[6:]:
        world.award(order)
    world.dispute(orders[6])
    world.chain.rule(world.arbiter, world.id(orders[7]), world.dispute(orders[7]), 5_000)
    return [world.id(order) for order in orders]


def test_every_event_is_indexed_and_every_state_is_the_chains(world: World, database: Database) -> None:
    changed: list[set[str]] = []
    jobs = live(world)
    follow(world, database, changed).catch_up()
    assert indexed(database, jobs) == on_chain(world, jobs) != []
    assert [state(database, job) for job in jobs] == [world.chain.state(job) for job in jobs]
    assert set.union(*changed) == {*jobs[:5], *jobs[6:]}


def test_block_by_block_gives_the_same_as_all_at_once(
    world: World, database: Database, tmp_path: Path
) -> None:
    follower = follow(world, database)
    follower.catch_up()
    jobs = []
    for _ in range(3):
        jobs += live(world)
        follower.catch_up()
    other = Database(tmp_path / "other", world.domain)
    follow(world, other).catch_up()
    assert indexed(database, jobs) == indexed(other, jobs)
    other.close()


@pytest.mark.parametrize("depth", [1, 5, 40])
def test_after_a_reorg_history_is_as_the_canonical_chain_has_it(
    world: World, database: Database, depth: int
) -> None:
    follower = follow(world, database)
    early = live(world)
    world.chain.mine(40)
    follower.catch_up()
    late = live(world)
    world.chain.mine(max(0, depth - 10))
    follower.catch_up()
    world.chain.reorg(depth)
    lost = [job for job in early + late if state(database, job) != world.chain.state(job)]
    assert lost
    follower.catch_up()
    jobs = early + late
    assert [state(database, job) for job in jobs] == [world.chain.state(job) for job in jobs]
    assert indexed(database, jobs) == on_chain(world, jobs)
    assert follower.head == world.chain.head().number


def test_a_reorg_while_the_market_was_down_is_found_at_the_next_start(
    world: World, database: Database
) -> None:
    jobs = live(world)
    follow(world, database).catch_up()
    world.chain.reorg(3)
    jobs += live(world)
    follow(world, database).catch_up()
    assert indexed(database, jobs) == on_chain(world, jobs)


def test_a_chain_that_is_wholly_another_is_read_from_its_start(
    world: World, database: Database, tmp_path: Path
) -> None:
    jobs = live(world)
    follow(world, database).catch_up()
    fresh = World(tmp_path / "fresh", chain=MemoryChain(now=Timestamp(NOW + 7)))
    follow(fresh, database).catch_up()
    assert [state(database, job) for job in jobs] == [(JobState.UNKNOWN, Outcome.NONE)] * len(jobs)


def test_long_stretches_are_read_in_steps(
    world: World, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "_STEP_BLOCKS", 50)
    jobs = live(world)
    world.chain.mine(180)
    jobs += live(world)
    follower = follow(world, database)
    assert follower.step()
    follower.catch_up()
    assert indexed(database, jobs) == on_chain(world, jobs)


class Moving(MemoryChain):
    """Reorganises once, right after its events were read."""

    def __init__(self) -> None:
        super().__init__(now=NOW)
        self.depth = 0

    def events(self, first: int, last: int, job: JobId | None = None) -> list[Event]:
        found = super().events(first, last, job)
        depth, self.depth = self.depth, 0
        if depth:
            self.reorg(depth)
        return found


@pytest.mark.parametrize("depth", [1, 4, 12])
def test_a_chain_that_moves_during_a_step_leaves_nothing_orphaned(tmp_path: Path, depth: int) -> None:
    chain = Moving()
    world = World(tmp_path, chain=chain)
    database = Database(world.folder / "data", world.domain)
    follower = follow(world, database)
    follower.catch_up()
    jobs = live(world)
    chain.depth = depth
    follower.catch_up()
    follower.catch_up()
    assert indexed(database, jobs) == on_chain(world, jobs)
    assert [state(database, job) for job in jobs] == [world.chain.state(job) for job in jobs]
    database.close()


class Switching:
    """A node that changes from one fork to the other right after the n-th call of a method."""

    def __init__(self, first: MemoryChain, then: MemoryChain, method: str, calls: int) -> None:
        self._node, self._then, self._method, self._calls = first, then, method, calls

    def __getattr__(self, name: str) -> Any:
        reached = getattr(self._node, name)
        if name != self._method:
            return reached

        def call(*args: Any) -> Any:
            found = reached(*args)
            self._calls -= 1
            if self._calls == 0:
                self._node = self._then
            return found

        return call


@pytest.mark.parametrize(
    ("method", "calls"), [("head", 1), ("block", 1), ("block", 2), ("block", 4), ("events", 1)]
)
@pytest.mark.parametrize("deep", [False, True])
def test_a_node_that_changes_forks_between_two_calls_hides_no_event(
    tmp_path: Path, method: str, calls: int, deep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if deep:
        monkeypatch.setattr(indexer, "_DENSE_BLOCKS", 0)
    quiet, busy = World(tmp_path / "quiet"), World(tmp_path / "busy")
    assert quiet.chain.head() == busy.chain.head()
    database = Database(tmp_path / "data", quiet.domain)
    tip = quiet.chain.head().number
    follow(quiet, database).catch_up()
    # The forks part above or below the tip, and are of one length.
    if deep:
        quiet.chain.mine(1)
        follow(quiet, database).catch_up()
    jobs = live(busy)
    quiet.chain.mine(busy.chain.head().number - quiet.chain.head().number)
    assert busy.chain.head().number == quiet.chain.head().number > tip
    node: Any = Switching(quiet.chain, busy.chain, method, calls)
    follower = Indexer(database, node, 0, ChainClock(lambda: NOW), lambda _: None)
    for _ in range(3):
        follower.catch_up()
    assert indexed(database, jobs) == on_chain(busy, jobs)
    assert follower.head == busy.chain.head().number
    database.close()


def test_a_dead_node_stops_nothing_for_good(world: World, database: Database) -> None:
    follower, stop, wake = follow(world, database), threading.Event(), threading.Event()
    jobs = live(world)
    world.chain.fail_next(ChainUnavailable("the network broke here"))
    thread = threading.Thread(target=follower.run, args=(stop, wake, 0.01))
    thread.start()
    for _ in range(500):
        if follower.head == world.chain.head().number:
            break
        stop.wait(0.01)
    stop.set()
    wake.set()
    thread.join()
    assert indexed(database, jobs) == on_chain(world, jobs)


def test_a_database_of_another_escrow_is_refused(world: World, database: Database) -> None:
    database.close()
    with pytest.raises(BadField, match="belongs to another escrow"):
        Database(world.folder / "data", Domain(1, world.domain.contract))


def test_a_folder_in_use_is_refused(world: World, database: Database) -> None:
    with pytest.raises(BadField, match="in use by another market"):
        Database(world.folder / "data", world.domain)


def test_a_file_that_is_no_database_is_refused(world: World, tmp_path: Path) -> None:
    (tmp_path / "spoilt").mkdir()
    (tmp_path / "spoilt" / "market.sqlite").write_bytes(b"not a database, by far" * 100)
    with pytest.raises(BadField, match="holds no database"):
        Database(tmp_path / "spoilt", world.domain)


def test_every_event_survives_its_row(world: World) -> None:
    jobs = live(world)
    found = on_chain(world, jobs)
    assert {type(event).__name__ for event in found} == set(events.KINDS)
    for event in found:
        assert isinstance(event, JobEvent)
        assert events.load(events.dump(event, 1)) == event
        said = events.text(event, world.deployment.tokens[0].address, lambda _, amount: f"{amount} wei")
        assert said
        if isinstance(event, JobAwarded):
            assert f"{event.terms.price} wei" in said
