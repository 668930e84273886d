"""The Docker engine as programs need it that only want to know whether it answers, or to start it."""

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import httpx

from deai.authorities import authorities
from deai.errors import EngineUnavailable
from deai.program import Program

_SOCKET = "unix:///var/run/docker.sock"
_ENGINE_SECONDS = 5.0


def engine_answers(host: str | None = None) -> bool:
    """Whether a Docker engine answers at `host`: DOCKER_HOST without it, or the default socket."""
    host = host or os.environ.get("DOCKER_HOST") or _SOCKET
    try:
        if not host.startswith("unix://"):
            url = host.replace("tcp://", "http://") + "/_ping"
            return (
                httpx.get(url, timeout=_ENGINE_SECONDS, trust_env=False, verify=authorities()).status_code
                == httpx.codes.OK
            )
        with socket.socket(socket.AF_UNIX) as engine:
            engine.settimeout(_ENGINE_SECONDS)
            engine.connect(host.removeprefix("unix://"))
            engine.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            return engine.recv(64).startswith((b"HTTP/1.0 200", b"HTTP/1.1 200"))
    except (OSError, httpx.HTTPError):
        return False


def lacking_engine() -> str | None:
    """How to get a Docker engine, if none answers and none can be started here."""
    if engine_answers() or (shutil.which("dockerd") is not None and os.geteuid() == 0):
        return None
    return "docker: no engine answers; start Docker, or run as root with dockerd installed (apt-get install docker.io iptables)"


def start_engine(log: Path, say: Callable[[str], None]) -> Program | None:
    """Finds the Docker engine, or starts dockerd, and says so; returns the program if it was started here. Raises EngineUnavailable."""
    if engine_answers():
        return None
    lacking = lacking_engine()
    if lacking is not None:
        raise EngineUnavailable(lacking)
    say(f"No Docker engine answers; starting dockerd (log: {log}), stopped again at the end")
    program = Program("dockerd", ["dockerd"], log)
    program.wait_for(engine_answers, EngineUnavailable)
    return program
