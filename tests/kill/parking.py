"""How a test makes a program stand still at a named point of a job's life: a folder that both of them see.

The test writes down where a job is to stop; the program, whose acts are wrapped (see `agent_program`), says that it has come
there and waits to be let go. Each job stops once: a program that was killed there passes when it comes again.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

_LOOK_SECONDS = 0.01
_ANY = "0x"


class Lot:
    """The folder. A job is known by its id, or by as much of it as a thread's name tells."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._here = threading.local()

    # The test's side.

    def plan(self, job: str, point: str) -> None:
        """The job is to stop at `point`."""
        draft = self.folder / f"{job}.draft"
        draft.write_text(point)
        draft.rename(self.folder / f"{job}.plan")

    def plan_any(self, point: str) -> None:
        """The next job that comes to `point`, whichever it is, is to stop there."""
        self.plan(_ANY, point)

    def reached(self, job: str = _ANY) -> bool:
        """Whether it has come there."""
        return (self.folder / f"{job}.reached").exists()

    def release(self) -> None:
        """Lets go all that stand still."""
        for plan in self.folder.glob("*.plan"):
            plan.with_suffix(".go").touch()

    def clear(self) -> None:
        """Forgets all plans, and lets go whoever is still held by them."""
        self.release()
        time.sleep(5 * _LOOK_SECONDS)
        for each in self.folder.iterdir():
            each.unlink()

    def runs(self, job: str) -> int:
        """How many containers of the job were started."""
        path = self.folder / f"{job}.runs"
        return len(set(path.read_text().splitlines())) if path.exists() else 0

    # The program's side.

    def stop(self, job: str, point: str) -> None:
        """Waits here if the job is to stop at `point`, and has not before."""
        for plan in self.folder.glob("*.plan"):
            planned = plan.stem
            if not (planned.startswith(job) or job.startswith(planned)) or plan.read_text() != point:
                continue
            try:
                plan.with_suffix(".reached").touch(exist_ok=False)
            except FileExistsError:
                return
            while plan.exists() and not plan.with_suffix(".go").exists():
                time.sleep(_LOOK_SECONDS)
            return

    def ran(self, job: str, run: str) -> None:
        """Notes that a container of the job was started, and which."""
        with (self.folder / f"{job}.runs").open("a") as runs:
            runs.write(f"{run}\n")

    @contextmanager
    def about(self, job: str) -> Iterator[None]:
        """What this thread does meanwhile is for that job."""
        before = getattr(self._here, "job", None)
        self._here.job = job
        try:
            yield
        finally:
            self._here.job = before

    @property
    def job(self) -> str | None:
        """The job that this thread works for: as said by `about`, or by the name that the agent gave the thread."""
        job: str | None = getattr(self._here, "job", None)
        name = threading.current_thread().name
        return job or (name if name.startswith("0x") else None)


def wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Puts `around(act, *args, **kwargs)` into the place of `owner.name`, which has to be there."""
    act = getattr(owner, name)

    @wraps(act)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return around(act, *args, **kwargs)

    setattr(owner, name, wrapped)


class SlowStore:
    """A store that stops in the middle of its work; all else is the real one's."""

    def __init__(self, store: Any, stop: Callable[[], None], after: int) -> None:
        """`stop` is called once `after` blocks were read, or written."""
        self._store, self._stop, self._after, self._count = store, stop, after, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get(self, cid: Any) -> bytes:
        data: bytes = self._store.get(cid)
        self._step()
        return data

    def put(self, blocks: Any) -> None:
        def counted() -> Iterator[Any]:
            for block in blocks:
                yield block
                self._step()

        self._store.put(counted())

    def _step(self) -> None:
        self._count += 1
        if self._count == self._after:
            self._stop()
