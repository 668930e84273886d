"""The shipped fake of the executor: runs that exit, hang, fail and die on cue. One suite holds it to the real one."""

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from deai.errors import BadContent, Bug, DeaiError, EngineUnavailable
from deai.job import JobId
from deai.spec import Image
from deai_provider.executor import EngineLife, Run, RunState, RunStatus, always_wanted

_CUE_SECONDS = 10.0
_SIGTERM, _SIGKILL = 128 + 15, 128 + 9


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What a run does: prints `log`, leaves `outputs` (path to content), and after `seconds` exits with `exit_code`."""

    exit_code: int = 0
    log: bytes = b""
    outputs: Mapping[str, bytes] = field(default_factory=dict)
    seconds: float | None = 0
    """None: until it is stopped."""
    stubborn: bool = False
    """Ignores the polite request to stop, and is killed."""
    oom_killed: bool = False


@dataclass(slots=True)
class _Container:
    run: Run
    script: Script
    outputs: Path
    status: RunStatus
    began: float
    """By the monotonic clock."""


class ScriptedExecutor:
    """An executor that plays scripts. What it holds outlives the agent that uses it, as an engine's containers do.

    `script` says what each run does. `broken`, once set to an error, is what every call raises until it is None again.
    `images` maps an image to what staging it raises; all others can be had. `calls` lists what was asked, in order.
    """

    def __init__(
        self, work: Path, script: Callable[[Run], Script] = lambda run: Script(log=run.job.encode())
    ) -> None:
        self._work = work
        self._script = script
        self._containers: dict[JobId, _Container] = {}
        self._changed = threading.Condition()
        self._life = EngineLife("1", time.time())
        self.broken: DeaiError | None = None
        self.images: dict[str, DeaiError] = {}
        self.calls: list[tuple[str, str]] = []
        self._staged: set[str] = set()

    def break_down(self) -> None:
        """From now on the engine does not answer."""
        self.broken = EngineUnavailable("cannot connect to the engine")

    def finish(self, job: JobId, exit_code: int = 0, *, oom_killed: bool = False) -> None:
        """The cue for a running job to exit now, or as soon as it was started."""
        with self._changed:
            self._changed.wait_for(lambda: job in self._containers, _CUE_SECONDS)
            self._exit(self._containers[job], exit_code, oom_killed)

    def restart(self, exit_code: int = 137) -> None:
        """The cue for the engine to be killed and started again: what ran is over, with `exit_code`."""
        with self._changed:
            self._life = EngineLife(str(int(self._life.id) + 1), time.time())
            for job, container in self._containers.items():
                if self._now(job).state is RunState.RUNNING:
                    self._exit(container, exit_code, oom_killed=False)

    def lose(self, job: JobId) -> None:
        """The cue for a job's container to vanish, as if somebody had removed it behind the agent's back."""
        with self._changed:
            del self._containers[job]
            self._changed.notify_all()

    def life(self) -> EngineLife:
        """See `executor.Executor`."""
        self._called("life", "")
        return self._life

    def spare(self) -> None:
        """See `executor.Executor`."""
        self._called("spare", "")

    def has(self, image: str) -> bool:
        """See `executor.Executor`."""
        self._called("has", image)
        return image in self._staged

    def stage(self, image: Image, archive: Path | None, check: Callable[[], None] = always_wanted) -> str:
        """See `executor.Executor`."""
        self._called("stage", str(image))
        check()
        if (refusal := self.images.get(str(image))) is not None:
            raise refusal
        pinned = self._pin(image, archive)
        self._staged.add(pinned)
        return pinned

    def _pin(self, image: Image, archive: Path | None) -> str:
        if image.digest is not None:
            return "sha256:" + image.digest.partition("@sha256:")[2]
        if archive is None:
            raise Bug("an image by CID is staged from its archive")
        if not archive.is_file():
            raise BadContent(f"image archive: there is no file {archive}")
        return f"scripted:{image}"

    def start(self, run: Run) -> None:
        """See `executor.Executor`."""
        self._called("start", run.job)
        with self._changed:
            if run.job in self._containers:
                return
            script, outputs = self._script(run), self._work / run.job / "outputs"
            for name, content in script.outputs.items():
                path = outputs / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            outputs.mkdir(parents=True, exist_ok=True)
            status = RunStatus(state=RunState.RUNNING, started_at=time.time())
            container = self._containers[run.job] = _Container(run, script, outputs, status, time.monotonic())
            self._changed.notify_all()
            if script.seconds == 0:
                self._exit(container, script.exit_code, script.oom_killed)

    def poll(self, job: JobId) -> RunStatus:
        """See `executor.Executor`."""
        self._called("poll", job)
        with self._changed:
            return self._now(job)

    def wait(self, job: JobId, seconds: float) -> RunStatus:
        """See `executor.Executor`."""
        self._called("wait", job)
        end = time.monotonic() + seconds
        with self._changed:
            while (status := self._now(job)).state is RunState.RUNNING:
                left = min(end - time.monotonic(), self._seconds_left(job))
                if time.monotonic() >= end:
                    break
                self._changed.wait(max(left, 0.001))
        return status

    def logs(self, job: JobId, offset: int) -> bytes:
        """See `executor.Executor`."""
        self._called("logs", job)
        with self._changed:
            container = self._containers.get(job)
        return container.script.log[offset:] if container else b""

    def stop(self, job: JobId) -> None:
        """See `executor.Executor`."""
        self._called("stop", job)
        with self._changed:
            container = self._containers.get(job)
            if container and self._now(job).state is RunState.RUNNING:
                self._exit(container, _SIGKILL if container.script.stubborn else _SIGTERM, oom_killed=False)

    def outputs(self, job: JobId) -> Path:
        """See `executor.Executor`."""
        self._called("outputs", job)
        outputs = self._work / job / "outputs"
        if not outputs.is_dir():
            raise EngineUnavailable(f"job {job} has no volume here")
        return outputs

    def remove(self, job: JobId) -> None:
        """See `executor.Executor`."""
        self._called("remove", job)
        with self._changed:
            self._containers.pop(job, None)
            self._changed.notify_all()
        shutil.rmtree(self._work / job, ignore_errors=True)

    def adopt(self) -> list[JobId]:
        """See `executor.Executor`."""
        self._called("adopt", "")
        volumes = (JobId(path.parent.name) for path in self._work.glob("0x*/outputs"))
        with self._changed:
            return sorted({*self._containers, *volumes})

    def _called(self, verb: str, subject: str) -> None:
        self.calls.append((verb, subject))
        if self.broken is not None:
            raise self.broken

    def _now(self, job: JobId) -> RunStatus:
        container = self._containers.get(job)
        if container is None:
            return RunStatus(state=RunState.ABSENT)
        if container.status.state is RunState.RUNNING and self._seconds_left(job) <= 0:
            self._exit(container, container.script.exit_code, container.script.oom_killed)
        if container.status.state is RunState.RUNNING:
            return replace(container.status, ran_seconds=time.monotonic() - container.began)
        return container.status

    def _seconds_left(self, job: JobId) -> float:
        container = self._containers[job]
        if container.script.seconds is None:
            return float("inf")
        return container.began + container.script.seconds - time.monotonic()

    def _exit(self, container: _Container, exit_code: int, oom_killed: bool) -> None:
        container.status = RunStatus(
            state=RunState.EXITED,
            exit_code=exit_code,
            oom_killed=oom_killed,
            started_at=container.status.started_at,
            finished_at=time.time(),
        )
        self._changed.notify_all()
