"""Disk space with a hard limit: for each job one ext4 file system inside a file, mounted where its container writes.

    <work>/<job>/outputs.img    the file system, its whole size set aside at once
    <work>/<job>/outputs/       where it is mounted: nosuid, nodev, noexec

Everything here is idempotent. Only root can mount.
"""

import os
import re
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from deai.errors import EngineUnavailable
from deai.job import JobId

MIB = 1 << 20
LOG_NAME = "log"
"""What the run printed lies beside its volume."""
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
_JOB_ID = re.compile(r"0x[0-9a-f]{64}")
_BUSY_TRIES = 20
_BUSY_PAUSE_S = 0.1


def check() -> None:
    """Raises EngineUnavailable if this process cannot make volumes, with what to do about it."""
    if os.geteuid() != 0:
        raise EngineUnavailable("volumes with a size limit are mounted file systems: run the agent as root")
    for program, package in (("mkfs.ext4", "e2fsprogs"), ("mount", "mount"), ("umount", "mount")):
        if shutil.which(program, path=_PATH) is None:
            raise EngineUnavailable(f"{program} is missing: install the package {package}")


def make(work: Path, job: JobId, size_mib: int, owner: int) -> Path:
    """The mounted volume of `job`, made unless it is there, writable for the user id `owner`.

    Raises EngineUnavailable when the disk has no room for it or it cannot be mounted.
    """
    folder = work / job
    folder.mkdir(parents=True, exist_ok=True)
    image = _image(work, job)
    if not image.exists():
        unfinished = image.with_suffix(".new")
        _format(unfinished, size_mib, owner)
        unfinished.replace(image)
    return attach(work, job)


def attach(work: Path, job: JobId) -> Path:
    """The folder where the volume of `job` is mounted, mounting it if this machine was restarted. Raises EngineUnavailable if there is none."""
    image, mount = _image(work, job), _mount_point(work, job)
    if not image.exists():
        raise EngineUnavailable(f"job {job} has no volume here")
    mount.mkdir(exist_ok=True)
    if not mount.is_mount():
        _run("mount", "-t", "ext4", "-o", "loop,nosuid,nodev,noexec,noatime", str(image), str(mount))
        # For an engine that maps user ids: nobody reaches this folder but through the container.
        mount.chmod(0o777)
        # mkfs makes this folder for lost inodes; to a job it would only be litter in its result.
        with suppress(FileNotFoundError):
            (mount / "lost+found").rmdir()
    return mount


def delete(work: Path, job: JobId) -> None:
    """Unmounts and deletes the volume of `job`. Harmless if there is none. Other files in the job's folder stay."""
    mount = _mount_point(work, job)
    for tries_left in reversed(range(_BUSY_TRIES)):
        if not mount.is_mount():
            break
        try:
            _run("umount", str(mount))
        except EngineUnavailable:
            # The engine lets go of a removed container's mounts a moment after it says so.
            if tries_left == 0:
                raise
            time.sleep(_BUSY_PAUSE_S)
    for image in (_image(work, job), _image(work, job).with_suffix(".new")):
        image.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        mount.rmdir()
    with suppress(OSError):
        (work / job).rmdir()


def existing(work: Path) -> list[JobId]:
    """The jobs that left something in `work`: a volume, the beginning of one, or a log."""
    found = {path.parent.name for pattern in ("outputs*", LOG_NAME) for path in work.glob(f"0x*/{pattern}")}
    return [JobId(name) for name in sorted(found) if _JOB_ID.fullmatch(name)]


def _image(work: Path, job: JobId) -> Path:
    return work / job / "outputs.img"


def _mount_point(work: Path, job: JobId) -> Path:
    return work / job / "outputs"


def _format(image: Path, size_mib: int, owner: int) -> None:
    image.unlink(missing_ok=True)
    try:
        with image.open("xb") as file:
            # Set aside now: a sparse file would break its promise when the disk fills up under a running job.
            os.posix_fallocate(file.fileno(), 0, size_mib * MIB)
    except OSError as error:
        image.unlink(missing_ok=True)
        raise EngineUnavailable(
            f"no room for a volume of {size_mib} MiB in {image.parent}: {error.strerror}"
        ) from error
    options = f"root_owner={owner}:{owner},nodiscard,lazy_itable_init=1"
    # No journal: a run whose machine went down starts again from nothing. -m 0: no blocks kept back for root.
    _run("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-E", options, str(image))


def _run(*command: str) -> None:
    environment = {"PATH": _PATH, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineUnavailable(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise EngineUnavailable(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
