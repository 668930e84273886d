"""A Docker engine: whether it can hold a container to its limits, and its failures as ours."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
from docker.errors import APIError, DockerException

from deai.errors import EngineUnavailable


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
