"""The market that `deai up` keeps in a folder: one at a time, ended from any shell, and cleaned up after one that was killed."""

import fcntl
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from deai.anvil import AnvilNode
from deai.errors import ChainUnavailable, WrongRequest
from deai.localnet import Localnet, Say, kept_ports
from deai.program import this_process, write_down, written_down

_UP_SECONDS = 90.0
"""How long a running `deai up` may take to stop its parts."""
_LOCK_SECONDS = 5.0
_RUNS = Path("provider", "runs")
_OURS = ("chain.json", "deployment.json", "ports.json", "password", "running.json", "env.sh", "up.log",
         "home", "stores", "market", "provider", "logs")  # fmt: skip


def sourced(settings: Mapping[str, str]) -> str:
    """Lines for a shell to source: the settings, and `deai` on its path."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.items()]
    folder = shlex.quote(str(Path(sys.executable).parent))
    path = f'case ":$PATH:" in *:{folder}:*) ;; *) export PATH={folder}:"$PATH" ;; esac'
    return "\n".join([*lines, path, ""])


class LocalMarket:
    """What is written down about it, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment_file = folder / "env.sh"
        self._up_file, self._lock_file = folder / "up.json", folder / "lock"
        self._running_file = folder / "running.json"

    @contextmanager
    def held(self, seconds: float = 0.0) -> Iterator[None]:
        """Alone in the folder, within that time. Raises WrongRequest while a `deai up` is there."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = self._lock_file.open("a")
        except OSError as error:
            raise WrongRequest(f"DEAI_LOCAL: {self.folder}: {error.strerror}") from error
        deadline = time.monotonic() + seconds
        with file as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if time.monotonic() >= deadline:
                        raise WrongRequest(
                            f"a market is up already in {self.folder}: `. {self.folder}/env.sh` has its settings, `deai down` stops it"
                        ) from error
                time.sleep(0.05)
            yield

    @contextmanager
    def up(self, say: Say, *, fresh: bool = False) -> Iterator[None]:
        """Alone in the folder, written down as the one that is up, without what a killed one left."""
        with self.held():
            self._end_leftovers(say)
            if fresh:
                self._forget()
            write_down(self._up_file, [this_process("deai up")])
            try:
                yield
            finally:
                self._up_file.unlink(missing_ok=True)

    def down(self, say: Say) -> bool:
        """Stops the one that is up, and all that a killed one left. False if nothing was there."""
        if not self.folder.is_dir():
            return False
        stopped = False
        for each in written_down(self._up_file):
            stopped |= each.end(_UP_SECONDS)
        with self.held(_LOCK_SECONDS):
            stopped |= self._end_leftovers(say)
            self._up_file.unlink(missing_ok=True)
        return stopped

    def write_environment(self, net: Localnet) -> Path:
        """The file to source: settings that make `deai` this market's submitter. They name this folder too, for `deai down`."""
        settings = net.client_environment() | {"DEAI_LOCAL": str(self.folder)}
        self.environment_file.write_text(sourced(settings))
        return self.environment_file

    def _end_leftovers(self, say: Say) -> bool:
        """Ends the parts that outlived their `deai up`, last first; the chain is saved before its node ends."""
        ended = False
        for each in reversed(written_down(self._running_file)):
            if not each.alive:
                continue
            say(f"Ending {each.name}, which a killed `deai up` left")
            chain = self.folder / "chain.json"
            if each.name == "anvil" and chain.exists():
                self._save_chain(chain, say)
            ended |= each.end()
        self._running_file.unlink(missing_ok=True)
        return ended

    def _save_chain(self, path: Path, say: Say) -> None:
        ports = kept_ports(self.folder / "ports.json")
        try:
            AnvilNode(f"http://127.0.0.1:{ports[0]}").save(path)
        except (ChainUnavailable, IndexError, OSError) as error:
            say(f"The chain's last seconds are lost: {error}")

    def _forget(self) -> None:
        """Starts over: what a local market writes goes, whatever else lies there stays. What runs left stays until the agent, which knows
        how, has taken it away: disks may be mounted there."""
        if not (self.folder / "ports.json").exists():  # no market was ever here
            return
        verifiers = [path.name for path in self.folder.glob("verifier-*")]
        for each in [
            self.folder / name for name in (*_OURS, *verifiers) if os.path.lexists(self.folder / name)
        ]:
            if each.name == _RUNS.parts[0] and (self.folder / _RUNS).exists():
                for inner in each.iterdir():
                    if inner.name != _RUNS.name:
                        _remove(inner)
            else:
                _remove(each)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
