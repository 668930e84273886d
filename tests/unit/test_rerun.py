"""A second run of a job, and what is said of the delivered result: real content, scripted containers."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from deai import dag_pb, unixfs
from deai.cid import Cid, Codec
from deai.comparison import Facts, Opinion
from deai.content import Content
from deai.dag_pb import Kind, Link, Node
from deai.errors import (
    ContentMissing,
    ContentOutOfReach,
    EngineUnavailable,
    StoreUnavailable,
    Unavailable,
)
from deai.job import Address, JobId
from deai.local_store import LocalStore
from deai.panel import Verdict
from deai.result import EXIT_NAME
from deai.spec import Spec
from deai.store import Block, Store
from deai_provider import reproducible
from deai_provider.archives import Archives
from deai_provider.executor import Run
from deai_provider.rerun import GaveUp, Rerun, judge, run_id
from deai_provider.staging import Depot
from deai_provider.testing import Script, ScriptedExecutor
from tests.digits import delivered, digits

JOB, VERIFIER = JobId("0x" + "a" * 64), Address("0x" + "1" * 40)
RUN = run_id(JOB, VERIFIER)


class World:
    """A store, an engine, and a job whose result is delivered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store: Store = LocalStore(folder / "store")
        self.script = Script(outputs={"answer": b"42"}, log=b"ours")
        self.runs: list[Run] = []
        self.executor = ScriptedExecutor(folder / "runs", self._play)
        self.check: Callable[[], None] = lambda: None
        self.last_try = True
        """Whether what is missing may be said to be."""
        self.lacks: str | None = None
        self.spec = digits(self.store, verification="optimistic", env={"TZ": "CET"})

    def _play(self, run: Run) -> Script:
        self.runs.append(run)
        return self.script

    def deliver(self, answer: bytes, exit_code: int = 0, store: LocalStore | None = None) -> bytes:
        """Puts a result into the store; its digest."""
        return delivered(self.folder, store or self.store, answer, exit_code)

    def judge(self, result: bytes, spec: bytes | None = None) -> Opinion:
        return judge(
            self.rerun(),
            result,
            self.spec.cid().digest if spec is None else spec,
            lambda _: self.lacks,
            lambda _: self.last_try,
        )

    def rerun(self) -> Rerun:
        depot = Depot(
            store=self.store,
            executor=self.executor,
            images=Archives(self.folder / "images"),
            max_input_bytes=1 << 20,
            max_image_bytes=1 << 20,
            image_cache_bytes=1 << 20,
        )
        return Rerun(depot, RUN, self.folder / "jobs" / RUN, self.check)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_result_that_the_rerun_gives_as_well_is_good(world: World) -> None:
    result = world.deliver(b"42")
    assert world.judge(result) == Opinion(Verdict.GOOD, result)


def test_a_result_that_the_rerun_does_not_give_is_bad_and_all_who_see_it_agree(world: World) -> None:
    made_up, other = world.judge(world.deliver(b"43")), world.judge(world.deliver(b"44"))
    assert made_up.verdict is Verdict.BAD
    assert made_up == other


def test_another_exit_code_is_another_result(world: World) -> None:
    assert world.judge(world.deliver(b"42", exit_code=1)).verdict is Verdict.BAD


def test_the_rerun_has_the_pinned_environment_and_the_specs_own_words_first(world: World) -> None:
    world.judge(world.deliver(b"42"))
    (run,) = world.runs
    assert dict(run.env) == reproducible.ENVIRONMENT | {"TZ": "CET"}
    assert run.job == RUN != JOB


def test_two_verifiers_on_one_engine_have_runs_of_their_own() -> None:
    assert run_id(JOB, VERIFIER) != run_id(JOB, Address("0x" + "2" * 40))


def test_a_result_that_nobody_has_is_missing_only_at_the_last_try(world: World, tmp_path: Path) -> None:
    result = world.deliver(b"42", store=LocalStore(tmp_path / "elsewhere"))
    world.last_try = False
    with pytest.raises(ContentMissing):
        world.judge(result)
    world.last_try = True
    assert world.judge(result) == Opinion(Verdict.OUTPUT_MISSING)
    assert not world.runs


def test_a_missing_input_or_spec_is_the_submitters_fault(world: World) -> None:
    result = world.deliver(b"42")
    assert world.judge(result, bytes(32)) == Opinion(Verdict.INPUTS_MISSING)
    missing = str(unixfs.add_bytes(b"never kept", LocalStore(world.folder / "elsewhere")))
    spec = Spec.build(
        **(world.spec.model_dump(mode="json", exclude_none=True) | {"inputs": {"data": missing}})
    )
    world.store.put([Block(spec.cid(), spec.canonical())])
    assert world.judge(result, spec.cid().digest) == Opinion(Verdict.INPUTS_MISSING)


def test_content_that_is_no_result_is_bad(world: World) -> None:
    file = unixfs.add_bytes(b"x" * (2 << 20), world.store)
    assert world.judge(file.digest).verdict is Verdict.BAD


def test_a_store_that_is_away_decides_nothing(world: World) -> None:
    result = world.deliver(b"42")
    world.store = Away(world.folder / "store")
    with pytest.raises(StoreUnavailable):
        world.judge(result)


class Away(LocalStore):
    """A source that does not answer."""

    def get(self, cid: Cid) -> bytes:
        raise StoreUnavailable(f"{cid}: the store is away")


def test_a_source_that_is_away_beside_one_that_lacks_the_result_decides_nothing(
    world: World, tmp_path: Path
) -> None:
    result = world.deliver(b"42", store=LocalStore(tmp_path / "market"))
    world.store = Content(world.store, [Away(tmp_path / "market"), LocalStore(tmp_path / "gateway")])
    with pytest.raises(ContentOutOfReach):
        world.judge(result)


def test_a_block_that_is_damaged_here_says_nothing_of_who_delivered_it(world: World, tmp_path: Path) -> None:
    result = world.deliver(b"42")
    (block,) = (tmp_path / "store").rglob(result.hex())
    block.chmod(0o600)
    block.write_bytes(b"damaged")
    with pytest.raises(StoreUnavailable, match="damaged"):
        world.judge(result)


def test_a_registry_that_is_away_decides_nothing(world: World, tmp_path: Path) -> None:
    world.executor.images["python@sha256:" + "0" * 64] = ContentOutOfReach("the registry is away")
    with pytest.raises(ContentOutOfReach):
        world.judge(world.deliver(b"made up"))


def test_an_exit_record_without_end_is_none_and_fills_no_memory(world: World) -> None:
    chunk = bytes(1 << 20)
    leaf = Cid.of(chunk, Codec.RAW)
    sizes = (len(chunk),) * 96
    links = tuple(Link(leaf, "", size) for size in sizes)
    file = dag_pb.encode(Node(Kind.FILE, links, file_size=sum(sizes), block_sizes=sizes))
    file_cid = Cid.of(file, Codec.DAG_PB)
    folder = dag_pb.encode(Node(Kind.FOLDER, (Link(file_cid, EXIT_NAME, sum(sizes)),)))
    root = Cid.of(folder, Codec.DAG_PB)
    world.store.put([Block(leaf, chunk), Block(file_cid, file), Block(root, folder)])
    tracemalloc.start()
    try:
        assert world.rerun().fetch(root.digest, world.spec) == (Facts(None, None), None)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


def test_fetching_what_was_delivered_ends_when_a_vote_would_come_too_late(world: World) -> None:
    result = world.deliver(b"42")

    def check() -> None:
        raise GaveUp("no time")

    world.check = check
    with pytest.raises(GaveUp):
        world.rerun().fetch(result, world.spec)
    assert not (world.folder / "jobs" / RUN / "delivered").exists()


def test_a_machine_that_is_too_slow_for_the_job_says_nothing(world: World) -> None:
    world.script = Script(seconds=None)
    world.spec = world.spec.model_copy(update={"max_seconds": 1})
    world.store.put([Block(world.spec.cid(), world.spec.canonical())])
    with pytest.raises(GaveUp, match="cut short here"):
        world.judge(world.deliver(b"42"))


def test_a_run_that_was_killed_here_for_memory_says_nothing(world: World) -> None:
    world.script = Script(exit_code=137, oom_killed=True)
    with pytest.raises(GaveUp, match="cut short here"):
        world.judge(world.deliver(b"42"))


def test_what_this_machine_cannot_run_is_given_up(world: World) -> None:
    world.lacks = "resources: 8 GPUs"
    with pytest.raises(GaveUp, match="8 GPUs"):
        world.judge(world.deliver(b"42"))
    assert not world.executor.calls


def test_a_rerun_ends_when_a_vote_would_come_too_late(world: World) -> None:
    world.script = Script(seconds=None)
    looks = iter(range(100))

    def check() -> None:
        if world.runs and next(looks) > 0:
            raise GaveUp("no time")

    world.check = check
    with pytest.raises(GaveUp):
        world.judge(world.deliver(b"42"))


def test_a_run_that_an_earlier_process_left_counts_for_nothing(world: World) -> None:
    world.script = Script(seconds=None, outputs={"answer": b"half"})
    looks = iter(range(100))

    def check() -> None:
        if world.runs and next(looks) > 0:
            raise GaveUp("killed here")

    world.check = check
    result = world.deliver(b"42")
    with pytest.raises(GaveUp):
        world.judge(result)
    world.check, world.script = lambda: None, Script(outputs={"answer": b"42"})
    assert world.judge(result).verdict is Verdict.GOOD


def test_a_run_during_which_the_engine_was_started_anew_counts_for_nothing(world: World) -> None:
    world.script = Script(seconds=None)
    looks = iter(range(100))

    def check() -> None:
        if world.runs and next(looks) == 1:
            world.executor.restart()

    world.check = check
    with pytest.raises(Unavailable, match="started anew"):
        world.judge(world.deliver(b"42"))


def test_an_engine_that_is_away_decides_nothing(world: World) -> None:
    world.executor.break_down()
    with pytest.raises(EngineUnavailable):
        world.judge(world.deliver(b"42"))


def test_nothing_of_a_rerun_stays(world: World) -> None:
    world.judge(world.deliver(b"42"))
    world.rerun().clear()
    assert world.executor.adopt() == []
    assert not (world.folder / "jobs" / RUN).exists()
