"""One suite for the executors: Docker's and the scripted fake behave alike."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deai.cid import Cid, Codec
from deai.errors import EngineUnavailable
from deai.job import JobId
from deai.spec import Image, Resources
from deai_provider.docker_executor import DockerExecutor
from deai_provider.executor import Executor, Run, RunState
from deai_provider.testing import Script, ScriptedExecutor
from tests.adapters.docker_fixtures import Built, built_image

__all__ = ["built_image"]

_PLAYER = """
import json, pathlib, signal, sys, time
script = json.loads(pathlib.Path("/inputs/script.json").read_text())
if script["stubborn"]:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
for name, content in script["outputs"].items():
    path = pathlib.Path("/outputs", name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
sys.stdout.write(script["log"])
sys.stdout.flush()
time.sleep(1_000 if script["seconds"] is None else script["seconds"])
sys.exit(script["exit_code"])
"""
"""Plays a `Script` in a real container."""


@dataclass
class Stage:
    """An executor, and how to put on a script in it."""

    executor: Executor
    image: str
    again: Callable[[], Executor]
    """Another agent process on the same engine and folders."""
    folder: Path
    scripts: dict[JobId, Script]

    def start(self, script: Script) -> JobId:
        job = JobId("0x" + uuid.uuid4().hex * 2)
        self.scripts[job] = script
        self.executor.start(self.run(job))
        return job

    def run(self, job: JobId) -> Run:
        script, inputs = self.scripts[job], self.folder / job
        inputs.mkdir(parents=True, exist_ok=True)
        (inputs / "player.py").write_text(_PLAYER)
        played = {
            "exit_code": script.exit_code,
            "log": script.log.decode(),
            "outputs": {name: content.decode() for name, content in script.outputs.items()},
            "seconds": script.seconds,
            "stubborn": script.stubborn,
        }
        (inputs / "script.json").write_text(json.dumps(played))
        return Run(
            job=job,
            image=self.image,
            command=("python3", "/inputs/player.py"),
            env=(),
            inputs=inputs,
            resources=Resources(memory_mib=64, disk_mib=16),
            max_seconds=60,
        )


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.engine), "scripted"])
def stage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    scripts: dict[JobId, Script] = {}
    work, folder = tmp_path / "work", tmp_path / "inputs"
    if request.param == "scripted":
        scripted = ScriptedExecutor(work, lambda run: scripts[run.job])
        image = scripted.stage(Image(digest="python@sha256:" + "0" * 64), None)
        yield Stage(scripted, image, lambda: scripted, folder, scripts)
        return
    built: Built = request.getfixturevalue("built_image")
    agent = f"test-{uuid.uuid4().hex[:12]}"
    docker = DockerExecutor(work, agent=agent)
    image = docker.stage(built.spec, built.archive)
    yield Stage(docker, image, lambda: DockerExecutor(work, agent=agent), folder, scripts)
    for job in docker.adopt():
        docker.remove(job)


def test_a_run_that_exits_is_reported_with_code_times_log_and_outputs(stage: Stage) -> None:
    job = stage.start(Script(exit_code=3, log=b"hello\nworld\n", outputs={"a/b.txt": b"content"}))

    status = stage.executor.wait(job, 30)

    assert (status.state, status.exit_code, status.oom_killed) == (RunState.EXITED, 3, False)
    assert status.started_at is not None
    assert status.finished_at is not None
    assert status.started_at <= status.finished_at
    assert stage.executor.logs(job, 0) == b"hello\nworld\n"
    assert stage.executor.logs(job, 6) == b"world\n"
    assert stage.executor.logs(job, 12) == b""
    assert (stage.executor.outputs(job) / "a" / "b.txt").read_bytes() == b"content"


def test_a_wait_that_is_over_returns_a_run_that_still_runs(stage: Stage) -> None:
    job = stage.start(Script(seconds=None))

    status = stage.executor.wait(job, 0.2)

    assert (status.state, status.exit_code, status.finished_at) == (RunState.RUNNING, None, None)


def test_how_long_a_run_has_been_running_is_told_until_it_is_over(stage: Stage) -> None:
    job = stage.start(Script(seconds=2))

    first = stage.executor.wait(job, 0.3).ran_seconds
    second = stage.executor.wait(job, 0.3).ran_seconds
    over = stage.executor.wait(job, 30)

    assert first is not None
    assert second is not None
    assert 0.2 < second - first < 1.5
    assert (over.state, over.ran_seconds) == (RunState.EXITED, None)


def test_an_engine_that_goes_on_has_one_life(stage: Stage) -> None:
    life = stage.executor.life()

    stage.start(Script())

    assert stage.executor.life().id == stage.again().life().id == life.id
    assert 0 < life.since < time.time()


def test_an_image_that_was_staged_is_there_and_no_other(stage: Stage) -> None:
    assert stage.executor.has(stage.image)
    assert not stage.executor.has("sha256:" + "1" * 64)


def test_making_room_leaves_what_runs(stage: Stage) -> None:
    job = stage.start(Script(seconds=None))

    stage.executor.spare()

    assert stage.executor.poll(job).state is RunState.RUNNING


def test_starting_twice_is_starting_once(stage: Stage) -> None:
    job = stage.start(Script(exit_code=4))
    first = stage.executor.wait(job, 30)

    stage.executor.start(stage.run(job))

    assert stage.executor.poll(job) == first
    assert stage.executor.adopt() == [job]


def test_another_process_finds_the_run_its_log_and_its_outputs(stage: Stage) -> None:
    job = stage.start(Script(log=b"before\n", outputs={"x": b"1"}))
    stage.executor.wait(job, 30)
    stage.executor.logs(job, 0)

    second = stage.again()

    assert second.adopt() == [job]
    assert second.poll(job).exit_code == 0
    assert second.logs(job, 0) == b"before\n"
    assert (second.outputs(job) / "x").read_bytes() == b"1"
    second.remove(job)
    assert second.adopt() == []


def test_a_stopped_run_ends_and_stopping_again_does_no_harm(stage: Stage) -> None:
    job = stage.start(Script(seconds=None))

    stage.executor.stop(job)
    stage.executor.stop(job)

    status = stage.executor.poll(job)
    assert (status.state, status.exit_code) == (RunState.EXITED, 143)


def test_a_run_that_ignores_the_request_to_stop_is_killed(stage: Stage) -> None:
    job = stage.start(Script(seconds=None, stubborn=True, log=b"ready\n"))
    while stage.executor.logs(job, 0) != b"ready\n":
        stage.executor.wait(job, 0.05)

    stage.executor.stop(job)

    status = stage.executor.poll(job)
    assert (status.state, status.exit_code) == (RunState.EXITED, 137)


def test_removal_leaves_nothing_and_may_be_said_again(stage: Stage) -> None:
    job = stage.start(Script(seconds=None, outputs={"x": b"1"}))

    stage.executor.remove(job)
    stage.executor.remove(job)

    assert stage.executor.poll(job).state is RunState.ABSENT
    assert stage.executor.wait(job, 5).state is RunState.ABSENT
    assert stage.executor.logs(job, 0) == b""
    assert stage.executor.adopt() == []
    assert not list(stage.folder.parent.glob("work/0x*"))
    with pytest.raises(EngineUnavailable, match="no volume"):
        stage.executor.outputs(job)


def test_what_was_never_started_is_absent(stage: Stage) -> None:
    job = JobId("0x" + "77" * 32)

    stage.executor.stop(job)
    stage.executor.remove(job)

    assert stage.executor.poll(job).state is RunState.ABSENT


def test_the_scripted_executor_breaks_loses_and_finishes_on_cue(tmp_path: Path) -> None:
    executor = ScriptedExecutor(tmp_path, lambda _: Script(seconds=None))
    stage = Stage(executor, "scripted", lambda: executor, tmp_path / "inputs", {})
    first, second = stage.start(Script()), stage.start(Script())

    executor.finish(first, 9, oom_killed=True)
    assert (executor.poll(first).exit_code, executor.poll(first).oom_killed) == (9, True)
    executor.lose(second)
    assert executor.poll(second).state is RunState.ABSENT
    executor.break_down()
    with pytest.raises(EngineUnavailable):
        executor.poll(first)
    executor.broken = None
    executor.images["gone@sha256:" + "0" * 64] = EngineUnavailable("no room")
    with pytest.raises(EngineUnavailable, match="no room"):
        executor.stage(Image(digest="gone@sha256:" + "0" * 64), None)
    assert executor.stage(Image(digest="here@sha256:" + "0" * 64), None) == "sha256:" + "0" * 64
    archive = tmp_path / "image.tar"
    archive.write_bytes(b"")
    assert executor.stage(Image(cid=str(Cid.of(b"x", Codec.RAW))), archive).startswith("scripted:")
