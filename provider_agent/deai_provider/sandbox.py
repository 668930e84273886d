"""The box a run is put in, as the `HostConfig` of the Docker Engine's API. Pure.

What is not said here is what every job gets: no network, no capability, no new privileges, only the system calls in
seccomp.json, a read-only root file system, and a limit on everything that one can take from the machine.
"""

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from deai.spec import Resources

NOBODY = 65_534
"""The user and the group that every run is."""
SCRATCH = "/tmp"  # noqa: S108 - the container's
MIN_PIDS, MAX_PIDS = 64, 4_096
"""Processes and threads of a run with the least and with much memory."""
PIDS_PER_MIB = 2
"""Processes and threads between, for each MiB of memory. A process costs the kernel some 170 KiB: with more of them, a bomb of forks runs into the
memory's limit instead, where hundreds look for memory at once and take a minute to die.
"""
MAX_FILES = 8_192
"""Open files of each process. Low enough for an engine that was started with few itself."""

_MIB = 1 << 20
_INODES_PER_MIB = 64


def host_config(
    limits: Resources, inputs: Path, outputs: Path, gpus: Sequence[str], runtime: str
) -> dict[str, Any]:
    """The limits and mounts of a container. `inputs` is mounted read-only, `outputs` for writing; `gpus` are UUIDs."""
    # /tmp and /dev/shm are memory, and count as the run's: neither may take more than half of it.
    half_mib = max(1, limits.memory_mib // 2)
    scratch_mib = min(half_mib, limits.disk_mib)
    memory = limits.memory_mib * _MIB
    return {
        "NetworkMode": "none",
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Runtime": runtime,
        "Init": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true", f"seccomp={seccomp()}"],
        "ReadonlyRootfs": True,
        "Mounts": [_bind(inputs, "/inputs", read_only=True), _bind(outputs, "/outputs", read_only=False)],
        # Not noexec: compilers that work at run time load what they wrote, and the image may hold any program.
        "Tmpfs": {
            SCRATCH: f"rw,nosuid,nodev,exec,mode=1777,size={scratch_mib}m,nr_inodes={scratch_mib * _INODES_PER_MIB}"
        },
        "ShmSize": half_mib * _MIB,
        "PidsLimit": max_pids(limits),
        "Memory": memory,
        "MemorySwap": memory,
        "NanoCpus": limits.cpu_millis * 1_000_000,
        # When the machine itself runs out of memory, a job goes first.
        "OomScoreAdj": 1_000,
        "Ulimits": [_ulimit("core", 0), _ulimit("nofile", MAX_FILES)],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "32m", "max-file": "2"}},
        "DeviceRequests": [{"DeviceIDs": list(gpus), "Capabilities": [["gpu"]]}] if gpus else [],
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,
    }


def max_pids(limits: Resources) -> int:
    """How many processes and threads a run may have at once."""
    return min(MAX_PIDS, max(MIN_PIDS, limits.memory_mib * PIDS_PER_MIB))


def environment(given: Sequence[tuple[str, str]], gpus: Sequence[str]) -> list[str]:
    """The variables of a run: the spec's, and what the box itself says."""
    variables = {"HOME": SCRATCH, **dict(given)}
    # Where NVIDIA's runtime is installed, this variable alone hands out GPUs, and images set it to `all`.
    variables["NVIDIA_VISIBLE_DEVICES"] = ",".join(gpus) or "void"
    return [f"{name}={value}" for name, value in variables.items()]


def seccomp() -> str:
    """The system calls a run may make, in Docker's format; all others end in EPERM."""
    profile = resources.files("deai_provider").joinpath("seccomp.json").read_text()
    return json.dumps(json.loads(profile), separators=(",", ":"))


def _bind(source: Path, target: str, *, read_only: bool) -> dict[str, Any]:
    return {
        "Type": "bind",
        "Source": str(source),
        "Target": target,
        "ReadOnly": read_only,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _ulimit(name: str, value: int) -> dict[str, Any]:
    return {"Name": name, "Soft": value, "Hard": value}
