"""A Docker engine of the suite's own, to be killed: it shares nothing with the machine's other one but the kernel."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import docker

from tests.kill.mounts import mounts_below

_START_SECONDS, _STOP_SECONDS, _LOOK_SECONDS = 60.0, 20.0, 0.02


class Engine:
    """`dockerd` with folders of its own, without a bridge and without rules for packets: the suite's jobs have no network."""

    def __init__(self, log: Path) -> None:
        # Not below pytest's folder: the path of a Unix socket has 107 bytes at most.
        self.folder = Path(tempfile.mkdtemp(prefix="deai-kill-"))
        self.host = f"unix://{self.folder / 's'}"
        self._log = log
        self._dockerd: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        # As after a power cut, when /run is empty: a process that is dead and not yet reaped would pass for a living one.
        for stale in (self.folder / "pid", self.folder / "exec" / "containerd" / "containerd.pid"):
            stale.unlink(missing_ok=True)
        command = [
            "dockerd", "--host", self.host, "--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec"),
            "--pidfile", str(self.folder / "pid"), "--bridge=none", "--iptables=false", "--ip-masq=false", "--ip-forward=false",
        ]  # fmt: skip
        with self._log.open("ab") as log:
            self._dockerd = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            assert self._dockerd.poll() is None, f"dockerd ended: {self._log.read_text()[-2_000:]}"
            assert time.monotonic() < until, f"dockerd does not answer: {self._log.read_text()[-2_000:]}"
            time.sleep(_LOOK_SECONDS)

    @property
    def lives(self) -> bool:
        """Whether it was started, and not killed since."""
        return self._dockerd is not None and self._dockerd.poll() is None

    def kill(self) -> None:
        """Ends dockerd and its containerd as a power cut would; what ran in containers goes on, as the kernel has it."""
        assert self._dockerd is not None
        self._dockerd.kill()
        self._dockerd.wait()
        self._dockerd = None
        containerd = self._containerd()
        if containerd is not None:
            os.kill(containerd, signal.SIGKILL)
            self._gone(containerd)

    def close(self) -> None:
        """Ends it in order, and leaves nothing of it."""
        if self._dockerd is not None:
            for each in self.containers():
                with suppress(docker.errors.APIError):
                    self.api().remove_container(each, force=True)
            self._dockerd.terminate()
            try:
                self._dockerd.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        # It mounts its folder upon itself.
        for mount in mounts_below(self.folder):
            subprocess.run(["umount", mount], check=True)
        shutil.rmtree(self.folder)

    def api(self) -> docker.APIClient:
        """How to speak to it."""
        return docker.APIClient(base_url=self.host, version="auto", timeout=30)

    def containers(self) -> list[str]:
        """The names of all jobs' containers, running or not."""
        found = self.api().containers(all=True, filters={"label": "deai.job"})
        return [str(each["Names"][0]) for each in found]

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as engine:
            try:
                engine.connect(str(self.folder / "s"))
                engine.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
                return b" 200 " in engine.recv(64)
            except OSError:
                return False

    def _containerd(self) -> int | None:
        """Its containerd, if that lives: a number that another process has by now is none."""
        try:
            pid = int((self.folder / "exec" / "containerd" / "containerd.pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if str(self.folder).encode() in command else None

    def _gone(self, pid: int) -> None:
        until = time.monotonic() + _STOP_SECONDS
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
            assert time.monotonic() < until, f"containerd {pid} does not end"
            time.sleep(_LOOK_SECONDS)
