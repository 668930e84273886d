"""Lays out a job's result on this machine's disk, as `deai.result` says it looks."""

import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from deai.result import (
    EXIT_NAME,
    LOG_NAME,
    MAX_REFUSED,
    RESERVED_NAMES,
    ExitRecord,
    RefusedOutput,
    output_folder,
)
from deai.spec import Spec
from deai.unixfs import sync_folder
from deai_provider import outputs
from deai_provider.executor import RunStatus

_MIB = 1 << 20


def make(
    target: Path,
    spec: Spec,
    image: str,
    status: RunStatus,
    timed_out: bool,
    source: Path,
    read_log: Callable[[int], bytes],
) -> ExitRecord:
    """Writes the result of the run to `target`, durably, all or nothing; what a half-made try left is replaced.

    `source` is what the run left in /outputs; `read_log(offset)` gives its output from that byte on.
    """
    partial = target.with_suffix(".partial")
    for left in (partial, target):
        shutil.rmtree(left, ignore_errors=True)
    limits = outputs.Limits(bytes=spec.resources.disk_mib * _MIB)
    collected = outputs.collect(source, partial / output_folder(spec.output_path), limits)
    refused = [RefusedOutput(name=each.name, reason=each.reason) for each in collected.refused]
    for name in sorted(RESERVED_NAMES):
        if _remove(partial / name):
            refused.insert(0, RefusedOutput(name=name, reason="the name is taken by the result's own file"))
    with (partial / LOG_NAME).open("wb") as log:
        while data := read_log(log.tell()):
            log.write(data)
    record = ExitRecord(
        exit_code=status.exit_code,
        timed_out=timed_out,
        oom_killed=status.oom_killed,
        seconds=_seconds(status),
        image=image,
        refused=tuple(refused[:MAX_REFUSED]),
        refused_count=collected.refused_count + len(refused) - len(collected.refused),
    )
    (partial / EXIT_NAME).write_bytes(record.canonical())
    _sync(partial)
    partial.rename(target)
    sync_folder(target.parent)
    return record


def without_outputs(target: Path, record: ExitRecord, reason: str) -> ExitRecord:
    """Takes the outputs out of a result that cannot be published with them, and says so in its exit record."""
    for each in target.iterdir():
        if each.name not in RESERVED_NAMES:
            _remove(each)
    less = record.model_copy(
        update={
            "refused": (RefusedOutput(name="*", reason=reason), *record.refused)[:MAX_REFUSED],
            "refused_count": record.refused_count + 1,
        }
    )
    (target / EXIT_NAME).write_bytes(less.canonical())
    _sync(target)
    return less


def _sync(folder: Path) -> None:
    """Waits until the disk has everything in `folder`: the ledger is about to say that the run need not be said again."""
    for here, _, names in os.walk(folder):
        for name in names:
            file = os.open(Path(here) / name, os.O_RDONLY)
            try:
                os.fsync(file)
            finally:
                os.close(file)
        sync_folder(Path(here))


def _remove(path: Path) -> bool:
    """Removes a file or folder; whether there was one."""
    if path.is_dir():
        shutil.rmtree(path)
        return True
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def _seconds(status: RunStatus) -> int:
    if status.started_at is None or status.finished_at is None:
        return 0
    return max(0, math.ceil(status.finished_at - status.started_at))
