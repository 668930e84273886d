"""A Docker engine: whether it can hold a container to its limits, since when it lives, and its failures as ours."""

import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound

from deai.errors import EngineUnavailable
from deai_provider.executor import EngineLife

_KILL_TRIES = 4
_UNSEEN = "did not receive an exit event"


def check(info: Mapping[str, Any], runtime: str) -> None:
    """Raises EngineUnavailable for an engine, as it tells of itself, that cannot keep jobs in their box."""
    options = info.get("SecurityOptions") or []
    missing = [name for name in ("MemoryLimit", "CpuCfsQuota", "PidsLimit") if not info.get(name)]
    if missing:
        raise EngineUnavailable(
            f"the Docker engine cannot enforce {', '.join(missing)}: enable these cgroup controllers"
        )
    if not any(option.startswith("name=seccomp") for option in options):
        raise EngineUnavailable("the Docker engine has no seccomp: jobs could call every part of the kernel")
    if "name=rootless" in options:
        raise EngineUnavailable(
            "a rootless Docker engine does not see this process' volumes; use the system's engine"
        )
    if any("containerd.snapshotter" in str(value) for _, value in info.get("DriverStatus") or []):
        raise EngineUnavailable(
            'image ids of the containerd image store are no config digests: set "containerd-snapshotter": false'
        )
    if runtime not in info.get("Runtimes", {}):
        raise EngineUnavailable(
            f"the Docker engine has no runtime {runtime!r}; it has {', '.join(info.get('Runtimes', {}))}"
        )


def life(api: docker.APIClient) -> EngineLife:
    """The engine's present life: it makes its bridge anew whenever it starts, and its process is another one. Where an engine has no bridge
    and a service manager holds its socket, only the machine's own restart is seen. Raises EngineUnavailable.
    """
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with asked_to("look at the engine's bridge"):
        try:
            found = api.inspect_network("bridge")
            bridge, since = str(found["Id"]), datetime.fromisoformat(found["Created"]).timestamp()
        except NotFound:
            bridge, since = "", 0.0
    pid = _listener(api)
    started = _started(pid) if pid else None
    if started is None:
        return EngineLife(f"{boot} {bridge}", since)
    ago = time.clock_gettime(time.CLOCK_BOOTTIME) - started
    return EngineLife(f"{boot} {bridge} {pid} {started}", max(since, time.time() - ago))


def process_seconds(pid: int) -> float | None:
    """How long a process of this machine has lived, by the clock that counts from the machine's start; None once it is gone."""
    started = _started(pid)
    return None if started is None else max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started)


def _started(pid: int) -> float | None:
    """When a process began, in seconds since the machine's start; None once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Of the fields after the name, the 20th is when it started, in ticks.
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _listener(api: docker.APIClient) -> int | None:
    """The process that listens at the engine's socket; None where that is no socket of this machine."""
    adapter = api.get_adapter(api.base_url)
    path = getattr(adapter, "socket_path", None)
    if path is None:
        return None
    with socket.socket(socket.AF_UNIX) as peer:
        try:
            peer.connect(path)
            credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError as error:
            raise EngineUnavailable(
                f"the Docker engine does not answer at {path}: {error.strerror}"
            ) from error
    pid: int = struct.unpack("3i", credentials)[0]
    return pid if pid > 1 else None


def insist(kill: Callable[[], object]) -> None:
    """Ends a container, again where the engine has not seen it end within its ten seconds: a machine under load, or a bomb."""
    for tries_left in reversed(range(_KILL_TRIES)):
        try:
            kill()
            return
        except APIError as error:
            if tries_left == 0 or _UNSEEN not in str(error.explanation):
                raise


@contextmanager
def asked_to(what: str) -> Iterator[None]:
    """Within it, what the engine or its absence throws becomes EngineUnavailable, which names `what`."""
    try:
        yield
    except APIError as error:
        raise EngineUnavailable(f"cannot {what}: {error.explanation or error}") from error
    except (DockerException, requests.exceptions.RequestException) as error:
        host = os.environ.get("DOCKER_HOST", "the default socket")
        raise EngineUnavailable(
            f"cannot {what}: {error}; is dockerd running, and may we use its socket? (DOCKER_HOST: {host})"
        ) from error
