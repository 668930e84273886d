"""Whether a run of a job gave what another one gave: what of a result is compared, and how. Pure but for reading folders.

Compared are the outputs, byte by byte, and how the run ended. Not compared are the log, the times, and what was refused: two honest runs
differ in those.
"""

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from deai import unixfs
from deai.cid import Cid
from deai.errors import BadField, ContentMissing
from deai.panel import Verdict
from deai.result import EXIT_NAME, MAX_EXIT_BYTES, RESERVED_NAMES, ExitRecord, output_folder
from deai.store import Block

_SURELY = 2
"""A run that needed less than this part of its time did not time out for want of a faster machine."""
_KILLED = 137
"""The exit code of what SIGKILL ended."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What of a result is compared."""

    exit_code: int | None
    outputs: Cid | None
    """The CID of the outputs' folder; None where a result has none."""

    @property
    def digest(self) -> bytes:
        """Names these facts: equal for all who found the same."""
        told = {"exit_code": self.exit_code, "outputs": str(self.outputs)}
        return sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).digest()


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a verifier found, and the digest that it votes with."""

    verdict: Verdict
    digest: bytes = bytes(32)


def facts(folder: Path, output_path: str) -> tuple[Facts, ExitRecord | None]:
    """What of the result in `folder` is compared; its exit record, or None where there is none that can be read. What is not compared is
    removed from the folder.
    """
    record = _record(folder / EXIT_NAME)
    for name in RESERVED_NAMES:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
    outputs = folder / output_folder(output_path)
    found = unixfs.add(outputs, _Nowhere()) if outputs.is_dir() else None
    return Facts(None if record is None else record.exit_code, found), record


def opinion(
    delivered: tuple[Facts, ExitRecord | None],
    result: bytes,
    rerun: tuple[Facts, ExitRecord],
    max_seconds: int,
) -> Opinion | None:
    """What to say of the delivered `result` (its digest) after a re-run, by its bytes; None where only the machine of the re-run may be to
    blame: it alone ran out of time, or its run was killed, as for memory, and left something else.

    Of two runs of which the first had no time left, nothing can be said, unless the other needed less than half of it: then no honest run
    of the job times out.
    """
    theirs, their_record = delivered
    ours, our_record = rerun
    if our_record.timed_out:
        both = their_record is not None and their_record.timed_out
        return Opinion(Verdict.GOOD, result) if both else None
    if their_record is not None and their_record.timed_out:
        honest = our_record.seconds * _SURELY >= max_seconds
        return Opinion(Verdict.NOT_RERUNNABLE) if honest else Opinion(Verdict.BAD, ours.digest)
    if their_record is not None and theirs == ours:
        return Opinion(Verdict.GOOD, result)
    if our_record.oom_killed or our_record.exit_code == _KILLED:
        return None
    return Opinion(Verdict.BAD, ours.digest)


def _record(path: Path) -> ExitRecord | None:
    """A stranger wrote it, and a few delivered blocks may unfold to more than the memory holds."""
    try:
        return None if path.stat().st_size > MAX_EXIT_BYTES else ExitRecord.parse(path.read_bytes())
    except (OSError, BadField):
        return None


class _Nowhere:
    """A store that keeps nothing: for the CID alone."""

    def put(self, blocks: Iterable[Block]) -> None:
        for _ in blocks:
            pass

    def get(self, cid: Cid) -> bytes:
        raise ContentMissing(f"{cid}: was not kept")

    def has(self, cid: Cid) -> bool:
        raise ContentMissing(f"{cid}: was not kept")

    def pin(self, root: Cid) -> None:
        pass
