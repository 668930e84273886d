"""Port: runs one job's container on this machine. Every verb is idempotent, so that an agent that died may simply say it again."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from deai.job import JobId
from deai.spec import Image, Resources


class RunState(StrEnum):
    """What the engine knows of a run.

    ABSENT -> CREATED (start) -> RUNNING -> EXITED; remove leads back to ABSENT.
    """

    ABSENT = "absent"
    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Everything the engine needs to run a job. Folders are on this machine's disk."""

    job: JobId
    image: str
    """What `stage` returned: a pinned id, never a tag."""
    command: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    inputs: Path
    """Mounted read-only as /inputs."""
    resources: Resources
    max_seconds: int
    """The run's own time. The agent stops it then; the engine does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStatus:
    """A run as the engine sees it now. Times are this machine's clock, in seconds since 1970."""

    state: RunState
    exit_code: int | None = None
    oom_killed: bool = False
    """The kernel killed some process of the container for memory. The exit code alone says whether the job failed."""
    started_at: float | None = None
    finished_at: float | None = None
    ran_seconds: float | None = None
    """How long it has been running, by a clock that never jumps; None unless it is."""


@dataclass(frozen=True, slots=True)
class EngineLife:
    """One life of the engine, from its start to its end. A run that outlives one was cut short."""

    id: str
    """Another one after each restart of the engine or of the machine."""
    since: float
    """When it began, by this machine's clock, in seconds since 1970."""


def always_wanted() -> None:
    """Never ends a staging."""


class Executor(Protocol):
    """A container engine that runs hostile code."""

    def stage(self, image: Image, archive: Path | None, check: Callable[[], None] = always_wanted) -> str:
        """Makes the image available and returns its pinned id. `archive` is the verified image archive when `image` names a CID.
        `check()` is called while the image is on its way; what it raises ends that.

        Raises BadContent for an image that is not what the spec says, ContentMissing for one that cannot be had, EngineUnavailable.
        """

    def has(self, image: str) -> bool:
        """Whether the engine has the image that `stage` returned this pinned id for. Raises EngineUnavailable."""

    def life(self) -> EngineLife:
        """The engine's present life. Raises EngineUnavailable."""

    def start(self, run: Run) -> None:
        """Creates and starts the run's container, unless it exists. Raises BadField for what this machine cannot give, EngineUnavailable."""

    def poll(self, job: JobId) -> RunStatus:
        """What became of the run. Raises EngineUnavailable."""

    def wait(self, job: JobId, seconds: float) -> RunStatus:
        """`poll`, but returns only once the run has exited or `seconds` are over; at once when nothing runs."""

    def logs(self, job: JobId, offset: int) -> bytes:
        """The run's output from byte `offset` on, stdout and stderr as they came, capped in total."""

    def stop(self, job: JobId) -> None:
        """Ends the run: asks, waits shortly, kills. Harmless if it is over."""

    def outputs(self, job: JobId) -> Path:
        """The folder, on this machine, that the run saw as /outputs. Only to be read once the run has exited, and only by `outputs.collect`."""

    def remove(self, job: JobId) -> None:
        """Removes the container and its volume. Harmless if there is none."""

    def spare(self) -> None:
        """Makes room on the disk: images that nobody uses or needs go. Raises EngineUnavailable."""

    def adopt(self) -> list[JobId]:
        """The jobs that have a container or a volume on this machine, whoever started them before us."""
