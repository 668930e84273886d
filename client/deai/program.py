"""Programs that are started by name and ended by process id, also by a later process: an id is trusted only with its start time."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from deai.errors import BadField, Unavailable

_START_SECONDS = 120.0
_STOP_SECONDS = 15.0
_POLL_SECONDS, _MAX_POLL_SECONDS = 0.02, 0.25
_POLL_PART = 20
"""A program is asked whether it is ready after another such part of the time that it took so far: the question costs it time as well."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int) -> bool:
    """Whether a program could listen on that TCP port of loopback now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def find_program(name: str) -> Path | None:
    """The program of that name: beside this Python, else on the path; None if it is nowhere."""
    beside = Path(sys.executable).with_name(name)
    if beside.exists():
        return beside
    found = shutil.which(name)
    return Path(found) if found else None


def started_at(pid: int) -> str | None:
    """When the living process of that id was started, in the kernel's words; None if there is none. An id that is used again differs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _started_by_ps(pid)
    return None if fields[0] in ("Z", "X") else f"{boot} {fields[19]}"


def _started_by_ps(pid: int) -> str | None:
    told = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = told.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()


@dataclass(frozen=True, slots=True)
class Running:
    """A process as one can write it down: its id, and when it was started."""

    name: str
    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether it is this very process that runs under its id."""
        return started_at(self.pid) == self.started

    def end(self, seconds: float = _STOP_SECONDS) -> bool:
        """Asks it to end, waits, and kills its group if it does not. False if it did not run any more."""
        if not self.alive:
            return False
        deadline = time.monotonic() + seconds
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            return True
        while self.alive:
            if time.monotonic() > deadline:
                _kill(self.pid)
            time.sleep(_POLL_SECONDS)
        return True


def this_process(name: str) -> Running:
    """The one that asks."""
    return Running(name, os.getpid(), started_at(os.getpid()) or "")


def write_down(path: Path, running: Iterable[Running]) -> None:
    """So that a later process can end what this one could not. The file appears whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps([asdict(each) for each in running]))
    partial.replace(path)


def written_down(path: Path) -> list[Running]:
    """What was written down there; nothing if there is no such file. Raises BadField for a file of somebody else."""
    try:
        return [Running(**each) for each in json.loads(path.read_text())]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise BadField("running", str(path), "is not a list of processes; remove it") from error


class Program:
    """A child process with a log file of its own, in a group of its own."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.log = name, log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self.running = Running(name, self.process.pid, started_at(self.process.pid) or "ended at once")

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.process.poll()

    def wait_for(self, ready: Callable[[], bool], error: type[Unavailable]) -> None:
        """Waits until `ready()`. Raises `error` with the end of the log when the program ends first, or takes too long."""
        started = time.monotonic()
        while not ready():
            code, waited = self.exit_code, time.monotonic() - started
            if code is not None or waited > _START_SECONDS:
                tail = " | ".join(self.log.read_text(errors="replace").splitlines()[-5:])
                self.stop()
                raise error(
                    f"{self.name} "
                    + (f"ended with exit code {code}" if code is not None else "did not get ready")
                    + f": {tail}"
                )
            time.sleep(min(max(_POLL_SECONDS, waited / _POLL_PART), _MAX_POLL_SECONDS))

    def kill(self) -> None:
        """Ends it, and what it started in its group, as a power cut would."""
        if self.exit_code is None:
            _kill(self.process.pid)
        self.process.wait()

    def stop(self) -> None:
        """Asks it to end, waits, and kills it if it does not."""
        if self.exit_code is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()


def _kill(pid: int) -> None:
    """The process, and its group where it leads one."""
    try:
        os.killpg(pid, signal.SIGKILL) if os.getpgid(pid) == pid else os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
