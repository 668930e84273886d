"""What this machine has promised: one row a job, its step written down before each act. SQLite, durable at
each write; on a full disk a write is refused whole, and may be said again.
"""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

from deai.errors import Bug, Unavailable, WrongRequest
from deai.job import Job, JobId, Terms, Timestamp, Wei
from deai.result import ExitRecord
from deai.spec import Resources, Spec
from deai.wire import JobJson, TermsJson

_VERSION = 3
"""Earlier ones are of an escrow whose jobs and terms were others: nothing in them can be carried on."""
_SCHEMA = """
CREATE TABLE jobs (
    id TEXT PRIMARY KEY, step TEXT NOT NULL, reason TEXT NOT NULL,
    matched_at INTEGER NOT NULL, updated_at INTEGER NOT NULL,
    job TEXT NOT NULL, signature BLOB NOT NULL, spec TEXT, image TEXT,
    price TEXT, expires_at INTEGER, bid_signature BLOB, bid_block INTEGER, posted INTEGER NOT NULL DEFAULT 0,
    terms TEXT, award_block INTEGER, award_hash TEXT,
    timed_out INTEGER NOT NULL DEFAULT 0, exit TEXT, result TEXT, earned TEXT,
    runs INTEGER NOT NULL DEFAULT 0, engine TEXT, shared INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE steps (
    job TEXT NOT NULL REFERENCES jobs (id), at INTEGER NOT NULL, step TEXT NOT NULL, reason TEXT NOT NULL
) STRICT;
"""

# What the machine does to us, and may stop doing: a full disk, a disk that errs, another process that reads for long.
_PASSING = frozenset(
    {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN}
)


class LedgerUnavailable(Unavailable):
    """The ledger could not be written or read for now: nothing was changed. Say it again."""


class Step(StrEnum):
    """How far a job is on this machine. The step is written before the act that its name announces, or
    after the one it reports.
    """

    MATCHED = "matched"  # -> STAGING, DECLINED, FAILED
    STAGING = "staging"  # -> STAGED, DECLINED, FAILED
    STAGED = "staged"  # -> BIDDING, DECLINED, FAILED
    BIDDING = "bidding"  # -> AWARDED, LOST
    AWARDED = "awarded"  # -> RUNNING, LOST, FAILED
    RUNNING = "running"  # -> COLLECTED, LOST, FAILED
    COLLECTED = "collected"  # -> PUBLISHED, LOST, FAILED
    PUBLISHED = "published"  # -> DELIVERING, LOST, FAILED
    DELIVERING = "delivering"  # -> DELIVERED, LOST, FAILED
    DELIVERED = (
        "delivered"  # -> DONE, DISPUTED, DELIVERING (a reorg undid the delivery), LOST (it undid the award)
    )
    DISPUTED = "disputed"  # -> DONE, DELIVERED (a reorg undid the dispute), DELIVERING, LOST
    DONE = "done"  # closed, and what was due is in the escrow's balance
    DECLINED = "declined"  # would not: -> MATCHED
    LOST = "lost"  # somebody else's, or nobody's: -> MATCHED, AWARDED (the award came late)
    FAILED = "failed"  # could not; after an award the bond is lost: -> MATCHED


ARROWS: dict[Step, frozenset[Step]] = {
    Step.MATCHED: frozenset({Step.STAGING, Step.DECLINED, Step.FAILED}),
    Step.STAGING: frozenset({Step.STAGED, Step.DECLINED, Step.FAILED}),
    Step.STAGED: frozenset({Step.BIDDING, Step.DECLINED, Step.FAILED}),
    Step.BIDDING: frozenset({Step.AWARDED, Step.LOST}),
    Step.AWARDED: frozenset({Step.RUNNING, Step.LOST, Step.FAILED}),
    Step.RUNNING: frozenset({Step.COLLECTED, Step.LOST, Step.FAILED}),
    Step.COLLECTED: frozenset({Step.PUBLISHED, Step.LOST, Step.FAILED}),
    Step.PUBLISHED: frozenset({Step.DELIVERING, Step.LOST, Step.FAILED}),
    Step.DELIVERING: frozenset({Step.DELIVERED, Step.LOST, Step.FAILED}),
    Step.DELIVERED: frozenset({Step.DONE, Step.DISPUTED, Step.DELIVERING, Step.LOST}),
    Step.DISPUTED: frozenset({Step.DONE, Step.DELIVERED, Step.DELIVERING, Step.LOST}),
    Step.DONE: frozenset(),
    Step.DECLINED: frozenset({Step.MATCHED}),
    Step.LOST: frozenset({Step.MATCHED, Step.AWARDED}),
    Step.FAILED: frozenset({Step.MATCHED}),
}
"""Every arrow there is. A pair that is absent is forbidden."""

BEFORE_AWARD = frozenset({Step.MATCHED, Step.STAGING, Step.STAGED, Step.BIDDING})
"""Nothing is locked yet, but the machine is being kept free."""

UNDER_AWARD = frozenset({Step.AWARDED, Step.RUNNING, Step.COLLECTED, Step.PUBLISHED, Step.DELIVERING})
"""The bond is locked, and lost unless a delivery comes in time."""

UPLOADING = frozenset({Step.COLLECTED, Step.PUBLISHED, Step.DELIVERING})
"""The run is over, and the result on its way: of this machine it holds disk."""

BUSY = BEFORE_AWARD | UNDER_AWARD
"""Steps that hold something of this machine: what they asked for, or disk alone."""

UNPAID = frozenset({Step.DELIVERED, Step.DISPUTED})
"""The work is done, and its pay is not decided yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One job's row. What is None is not known yet."""

    id: JobId
    step: Step
    reason: str
    """Why it is where it is, in a sentence, where that needs one."""
    matched_at: Timestamp
    updated_at: Timestamp
    job: Job
    signature: bytes
    """The submitter's, which lets this provider send the award."""
    spec: Spec | None
    image: str | None
    """The pinned id that `Executor.stage` returned."""
    price: Wei | None
    expires_at: Timestamp | None
    """When the bid expires."""
    bid_signature: bytes | None
    bid_block: int | None
    """The head when the bid was signed: its award comes in a later block."""
    posted: bool
    """The market took the bid."""
    terms: Terms | None
    award_block: int | None
    award_hash: str | None
    timed_out: bool
    """The run has had its time; the agent stops it, or did."""
    exit: ExitRecord | None
    result: str | None
    """The result's CID."""
    runs: int
    """Which of its runs this is: one more after each that its engine cut short, 0 before the first was begun."""
    engine: str | None
    """Which life of which engine it was begun in."""
    shared: bool
    """The market has all of the result."""
    earned: Wei | None
    """What came in when the job closed, the bond not counted; negative when the bond was lost."""


@dataclass(frozen=True, slots=True)
class StepTaken:
    """One line of a job's way through this machine."""

    at: Timestamp
    step: Step
    reason: str


_WRITE: dict[str, Callable[[Any], object]] = {
    "job": lambda job: JobJson.of(job).model_dump_json(),
    "terms": lambda terms: TermsJson.of(terms).model_dump_json(),
    "spec": lambda spec: spec.canonical().decode(),
    "exit": lambda record: record.canonical().decode(),
    "price": str,
    "earned": str,
}
# Rows are read far more often than written, and these values never change once they are read.
_once = lru_cache(maxsize=1_024)
_READ: dict[str, Callable[[Any], object]] = {
    "step": Step,
    "job": _once(lambda text: JobJson.model_validate_json(text).value()),
    "terms": _once(lambda text: TermsJson.model_validate_json(text).value()),
    "spec": _once(lambda text: Spec.parse(text.encode())),
    "exit": _once(lambda text: ExitRecord.parse(text.encode())),
    "price": int,
    "earned": int,
    "posted": bool,
    "timed_out": bool,
    "shared": bool,
}
_FACTS = frozenset(field.name for field in fields(Entry)) - {
    "id",
    "step",
    "reason",
    "matched_at",
    "updated_at",
}
_BLANK: dict[str, object] = dict.fromkeys(_FACTS - {"job", "signature"}) | {
    "reason": "",
    "posted": False,
    "timed_out": False,
    "runs": 0,
    "shared": False,
}


class Ledger:
    """The rows of one machine. Safe for several threads; meant for one process, others read."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        """Opens the ledger, or makes it. Raises WrongRequest for a file that is missing (when only to be
        read) or is another version's.
        """
        self._lock = threading.Lock()
        mode = "ro" if read_only else "rwc"
        try:
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                check_same_thread=False,
                isolation_level=None,
            )
            self._db.row_factory = sqlite3.Row
            if not read_only:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA synchronous = FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and not read_only:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
                version = _VERSION
        except sqlite3.Error as error:
            raise WrongRequest(f"ledger {path}: {error}") from error
        if version != _VERSION:
            raise WrongRequest(
                f"ledger {path}: is of version {version}, this program reads version {_VERSION}"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction. Raises LedgerUnavailable; then nothing of it is there."""
        with self._asking():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # A disk that is full may have ended the transaction already.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _asking(self) -> Iterator[None]:
        with self._lock:
            try:
                yield
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF in _PASSING:
                    raise LedgerUnavailable(f"ledger: {error}") from error
                raise

    def match(self, id_: JobId, job: Job, signature: bytes, at: Timestamp) -> Entry:
        """A new row at MATCHED; or a row of an earlier try, which starts over. Raises Bug for a job that is
        under way, or done.
        """
        with self._writing():
            old = self._find(id_)
            if old is None:
                self._db.execute(
                    "INSERT INTO jobs (id, step, reason, matched_at, updated_at, job, signature)"
                    " VALUES (?, ?, '', ?, ?, ?, ?)",
                    (id_, Step.MATCHED, at, at, _WRITE["job"](job), signature),
                )
            else:
                _check(old, Step.MATCHED)
                self._write(id_, _BLANK | {"step": Step.MATCHED, "matched_at": at, "updated_at": at})
            self._log(id_, at, Step.MATCHED, "")
            return self._entry(id_)

    def restore(self, id_: JobId, job: Job, step: Step, at: Timestamp, reason: str, **facts: object) -> Entry:
        """A row for a promise that the chain knows and this ledger does not, or not as one that stands. Raises Bug for a job under way."""
        with self._writing():
            old = self._find(id_)
            if old is not None and old.step in BUSY | UNPAID | {Step.DONE}:
                raise Bug(f"ledger: job {id_} is here, at {old.step}")
            if old is None:
                self._db.execute(
                    "INSERT INTO jobs (id, step, reason, matched_at, updated_at, job, signature)"
                    " VALUES (?, ?, ?, ?, ?, ?, x'')",
                    (id_, step, reason, at, at, _WRITE["job"](job)),
                )
            self._write(id_, {"step": step, "reason": reason, "updated_at": at} | _columns(facts))
            self._log(id_, at, step, reason)
            return self._entry(id_)

    def move(self, id_: JobId, step: Step, at: Timestamp, reason: str = "", **facts: object) -> Entry:
        """Takes the job to `step` and writes the facts, at once. Raises Bug for an arrow there is not."""
        with self._writing():
            _check(self._entry(id_), step)
            self._write(id_, {"step": step, "reason": reason, "updated_at": at} | _columns(facts))
            self._log(id_, at, step, reason)
            return self._entry(id_)

    def note(self, id_: JobId, at: Timestamp, **facts: object) -> Entry:
        """Writes facts without a step."""
        with self._writing():
            self._write(id_, {"updated_at": at} | _columns(facts))
            return self._entry(id_)

    def entry(self, id_: JobId) -> Entry | None:
        """The job's row."""
        with self._asking():
            return self._find(id_)

    def entries(self, steps: frozenset[Step] | None = None) -> list[Entry]:
        """The rows at one of `steps`, or all, the oldest match first."""
        wanted = sorted(steps if steps is not None else Step)
        marks = ", ".join("?" * len(wanted))
        with self._asking():
            rows = self._db.execute(
                f"SELECT * FROM jobs WHERE step IN ({marks}) ORDER BY matched_at, rowid",  # noqa: S608 - only marks
                wanted,
            ).fetchall()
        return [_read(row) for row in rows]

    def unshared(self) -> list[Entry]:
        """The delivered jobs whose result the market does not have yet, the oldest match first."""
        with self._asking():
            rows = self._db.execute(
                "SELECT * FROM jobs WHERE step IN (?, ?, ?) AND shared = 0 AND result IS NOT NULL ORDER BY matched_at, rowid",
                (Step.DELIVERED, Step.DISPUTED, Step.DONE),
            ).fetchall()
        return [_read(row) for row in rows]

    def steps(self, id_: JobId) -> list[StepTaken]:
        """The job's way so far, in order."""
        with self._asking():
            rows = self._db.execute(
                "SELECT at, step, reason FROM steps WHERE job = ? ORDER BY rowid", (id_,)
            ).fetchall()
        return [StepTaken(Timestamp(row["at"]), Step(row["step"]), row["reason"]) for row in rows]

    def _find(self, id_: JobId) -> Entry | None:
        row = self._db.execute("SELECT * FROM jobs WHERE id = ?", (id_,)).fetchone()
        return _read(row) if row is not None else None

    def _entry(self, id_: JobId) -> Entry:
        entry = self._find(id_)
        if entry is None:
            raise Bug(f"ledger: no row for job {id_}")
        return entry

    def _write(self, id_: JobId, columns: dict[str, object]) -> None:
        settings = ", ".join(f"{name} = ?" for name in columns)
        self._db.execute(f"UPDATE jobs SET {settings} WHERE id = ?", (*columns.values(), id_))  # noqa: S608 - our own column names

    def _log(self, id_: JobId, at: Timestamp, step: Step, reason: str) -> None:
        self._db.execute(
            "INSERT INTO steps (job, at, step, reason) VALUES (?, ?, ?, ?)", (id_, at, step, reason)
        )


def resources(entries: list[Entry]) -> list[Resources]:
    """What these jobs hold of the machine, as far as their specs are known."""
    return [entry.spec.resources for entry in entries if entry.spec is not None]


def earnings(entries: list[Entry]) -> dict[str, Wei]:
    """What closed jobs brought in so far, per token address, in its smallest unit."""
    total: dict[str, Wei] = {}
    for entry in entries:
        if entry.earned is not None:
            total[entry.job.token] = Wei(total.get(entry.job.token, Wei(0)) + entry.earned)
    return total


def show(entry: Entry) -> dict[str, object]:
    """A row as JSON for people and programs: amounts as decimal strings in the token's smallest unit."""
    return {
        "id": entry.id,
        "step": entry.step.value,
        "reason": entry.reason,
        "name": entry.spec.name if entry.spec else None,
        "token": entry.job.token,
        "price": None if entry.price is None else str(entry.price),
        "earned": None if entry.earned is None else str(entry.earned),
        "result": entry.result,
        "exit": None if entry.exit is None else json.loads(entry.exit.canonical()),
        "matched_at": entry.matched_at,
        "updated_at": entry.updated_at,
    }


def _check(entry: Entry, step: Step) -> None:
    if step not in ARROWS[entry.step]:
        raise Bug(f"ledger: job {entry.id} cannot go from {entry.step} to {step}")


def _columns(facts: dict[str, object]) -> dict[str, object]:
    unknown = facts.keys() - _FACTS
    if unknown:
        raise Bug(f"ledger: no such facts: {', '.join(sorted(unknown))}")
    return {
        name: _WRITE[name](value) if value is not None and name in _WRITE else value
        for name, value in facts.items()
    }


def _read(row: sqlite3.Row) -> Entry:
    values: dict[str, Any] = {
        name: _READ[name](row[name]) if row[name] is not None and name in _READ else row[name]
        for name in row.keys()  # noqa: SIM118 - a sqlite3.Row iterates over its values
    }
    return Entry(**values)
