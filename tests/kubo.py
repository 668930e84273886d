"""A Kubo daemon of the tests' own: reaches nobody, keeps its things in one folder, ends by its process id."""

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_SETTINGS: dict[str, object] = {
    "Routing.Type": "none",
    "Gateway.NoFetch": True,
    "Import.UnixFSHAMTDirectorySizeThreshold": "2MiB",  # we never shard, so the oracle does not either
}
_PROFILES = "test,unixfs-v1-2025"  # loopback, free ports, no bootstrap, no AutoConf · the import profile that we build by
_START_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Kubo:
    """A running daemon: its RPC and its gateway as multiaddr and URL, its folder, its process."""

    address: str
    gateway: str
    folder: Path
    process: subprocess.Popen[bytes]

    def ipfs(self, *words: str, stdin: bytes | None = None) -> str:
        """What `ipfs …`, asking this daemon, prints."""
        return self.output(*words, stdin=stdin).decode().strip()

    def output(self, *words: str, stdin: bytes | None = None) -> bytes:
        """The same, as bytes."""
        environment = _environment(self.folder)
        result = subprocess.run(
            [program(), *words], env=environment, input=stdin, capture_output=True, check=False
        )
        assert result.returncode == 0, result.stderr.decode()
        return result.stdout

    def stop(self) -> None:
        """Ends the daemon, as a crash would: it has no say."""
        self.process.kill()
        self.process.wait()


def program() -> str:
    """The `ipfs` program: the one on the path, else the one that `scripts/setup --tests` built."""
    built = ROOT / ".cache" / "kubo" / "ipfs"
    found = shutil.which("ipfs") or (str(built) if built.exists() else None)
    assert found, "no `ipfs` program: scripts/setup --tests builds it"
    return found


def start_kubo(folder: Path) -> Kubo:
    """Starts a daemon on `folder`, made if need be; started again on the same folder it has the same content."""
    environment = _environment(folder)
    if not (folder / "config").exists():
        _run(environment, "init", "--empty-repo", f"--profile={_PROFILES}")
        for name, value in _SETTINGS.items():
            _run(environment, "config", "--json", name, json.dumps(value))
    with (folder / "daemon.log").open("wb") as log:
        process = subprocess.Popen([program(), "daemon"], env=environment, stdout=log, stderr=log)
    try:
        until = time.monotonic() + _START_SECONDS
        while b"Daemon is ready" not in (said := (folder / "daemon.log").read_bytes()):
            assert process.poll() is None, said.decode()
            assert time.monotonic() < until, f"Kubo is not ready after {_START_SECONDS} s: {said.decode()}"
            time.sleep(0.05)
        address, gateway = ((folder / name).read_text().strip() for name in ("api", "gateway"))
    except BaseException:
        process.kill()
        process.wait()
        raise
    return Kubo(address, gateway, folder, process)


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "IPFS_PATH": str(folder), "IPFS_TELEMETRY": "off"}


def _run(environment: dict[str, str], *words: str) -> None:
    result = subprocess.run([program(), *words], env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
