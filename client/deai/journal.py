"""The transactions of this machine's keys, each on disk before its first byte is sent: a crash at any moment loses none, doubles none.

A folder with one SQLite file, for any number of threads and processes. Who is at work on a transaction holds it: a lock that the
kernel lets go when its process dies, however it dies.
"""

import fcntl
import hashlib
import os
import secrets
import sqlite3
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from deai.errors import JournalUnavailable, WrongRequest
from deai.job import Address

_VERSION = 1
_KEPT_SECONDS = 30 * 86_400
_BUSY_SECONDS = 60.0
_SCHEMA = """
CREATE TABLE transactions (
    id INTEGER PRIMARY KEY, chain TEXT NOT NULL, sender TEXT NOT NULL, recipient TEXT NOT NULL, data BLOB NOT NULL,
    value TEXT NOT NULL, digest BLOB NOT NULL, nonce INTEGER NOT NULL, gas INTEGER NOT NULL,
    fate TEXT NOT NULL, told INTEGER NOT NULL DEFAULT 0, owner TEXT, written_at REAL NOT NULL
) STRICT;
CREATE TABLE attempts (
    hash TEXT NOT NULL, entry INTEGER NOT NULL REFERENCES transactions (id),
    raw BLOB NOT NULL, max_fee TEXT NOT NULL, tip TEXT NOT NULL, at REAL NOT NULL
) STRICT;
CREATE INDEX transactions_of_key ON transactions (chain, sender, fate, nonce);
CREATE INDEX transactions_of_call ON transactions (digest, told);
CREATE INDEX attempts_of_entry ON attempts (entry);
"""


class Fate(StrEnum):
    """What became of a transaction."""

    SENT = "sent"  # written, so perhaps sent: -> MINED, SUPERSEDED, REFUSED
    MINED = "mined"  # -> SENT (a reorg undid it, and the node has it again)
    SUPERSEDED = "superseded"  # another transaction has its nonce
    REFUSED = "refused"  # no node took it; its nonce is free


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a transaction is to do, whatever its nonce and its fees."""

    chain: str
    """The chain's id and the hash of its first block: a local chain started anew is another chain."""
    sender: Address
    to: Address
    data: str
    """0x-hex."""
    value: int = 0

    @property
    def digest(self) -> bytes:
        """Equal for equal calls."""
        return hashlib.sha256(
            repr((self.chain, self.sender, self.to, self.data, self.value)).encode()
        ).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One signed form of a transaction; all forms have one nonce, so one at most is mined. Fees in wei a gas."""

    hash: str
    raw: bytes
    max_fee: int
    tip: int
    at: float
    """Seconds since 1970, by this machine's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A transaction, and every form in which it was sent, the latest last."""

    id: int
    call: Call
    nonce: int
    gas: int
    fate: Fate
    told: bool
    """Whether its outcome reached whoever asked for it."""
    owner: str | None
    written_at: float
    attempts: tuple[Attempt, ...]

    @property
    def latest(self) -> Attempt:
        """The form that was sent last."""
        return self.attempts[-1]


class Journal:
    """A journal in a folder, which is made at its first use, readable by this account only.

    Every method raises JournalUnavailable where the disk does not do its part, and WrongRequest for the journal of another version.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._opened: sqlite3.Connection | None = None
        self._name, self._hold = "", -1
        # Of this process. The disk may fail when one is let go, and a row names its owner for as long as the process lives.
        self._at_work = set[int]()

    @classmethod
    @contextmanager
    def throwaway(cls) -> Iterator[Self]:
        """A journal that is gone afterwards, for chains that are gone as well."""
        with tempfile.TemporaryDirectory(prefix="deai-journal-") as folder:
            journal = cls(Path(folder))
            try:
                yield journal
            finally:
                journal.close()

    def close(self) -> None:
        """Lets go of everything; the next use opens it again."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._owner_file(self._name).unlink(missing_ok=True)
                os.close(self._hold)
                self._opened = None
                self._at_work.clear()

    @contextmanager
    def key(self, sender: Address) -> Iterator[None]:
        """Alone with that key, of all threads and processes: from the choice of a nonce until the node has the transaction."""
        self._connection()
        with _locked(self._folder / f"{sender}.lock"):
            yield

    def write(self, call: Call, nonce: int, gas: int, attempt: Attempt) -> Entry:
        """A new transaction, held by this process, on disk when this returns."""
        with self._db() as db:
            row = db.execute(
                "INSERT INTO transactions (chain, sender, recipient, data, value, digest, nonce, gas, fate, owner, written_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
                (
                    call.chain,
                    call.sender,
                    call.to,
                    bytes.fromhex(call.data[2:]),
                    str(call.value),
                    call.digest,
                    nonce,
                    gas,
                    Fate.SENT,
                    self._name,
                    attempt.at,
                ),
            ).fetchone()
            _add(db, row["id"], attempt)
            self._at_work.add(row["id"])
            return _one(db, row["id"])

    def replace(self, id_: int, attempt: Attempt) -> Entry:
        """The transaction with one more form, on disk when this returns."""
        with self._db() as db:
            _add(db, id_, attempt)
            return _one(db, id_)

    def mark(self, id_: int, fate: Fate, *, told: bool) -> None:
        """Writes what became of a transaction, and whether whoever asked for it learns it now. This process is done with it, even if the
        disk fails."""
        with self._db(done=id_) as db:
            db.execute("UPDATE transactions SET fate = ?, told = told OR ? WHERE id = ?", (fate, told, id_))

    def let_go(self, id_: int) -> None:
        """Nobody waits for it any more, even if the disk fails; whoever asks for the same adopts it."""
        with self._db(done=id_) as db:
            db.execute("UPDATE transactions SET owner = NULL WHERE id = ? AND owner = ?", (id_, self._name))

    def take(self, id_: int) -> Entry:
        """The transaction, sent and not told, held by this process. Only while alone with its key."""
        with self._db() as db:
            db.execute(
                "UPDATE transactions SET owner = ?, told = 0, fate = ? WHERE id = ?",
                (self._name, Fate.SENT, id_),
            )
            taken = _one(db, id_)
            self._at_work.add(id_)
            return taken

    def entry(self, id_: int) -> Entry:
        """The transaction as it is now."""
        with self._db() as db:
            return _one(db, id_)

    def newest(self) -> int:
        """The highest id there is."""
        with self._db() as db:
            found: int = db.execute("SELECT coalesce(max(id), 0) AS id FROM transactions").fetchone()["id"]
            return found

    def taken(self, call: Call, after: int) -> set[int]:
        """The nonces of the call's key that unfinished transactions have, or any that was written after the id `after`."""
        with self._db() as db:
            rows = db.execute(
                "SELECT nonce FROM transactions WHERE chain = ? AND sender = ? AND (fate = ? OR (id > ? AND fate != ?))",
                (call.chain, call.sender, Fate.SENT, after, Fate.REFUSED),
            )
            return {row["nonce"] for row in rows}

    def unfinished(self, call: Call) -> list[Entry]:
        """What the call's key has sent and nobody saw mined, by nonce."""
        with self._db() as db:
            return _entries(
                db,
                "chain = ? AND sender = ? AND fate = ? ORDER BY nonce, id",
                (call.chain, call.sender, Fate.SENT),
            )

    def same(self, call: Call) -> list[Entry]:
        """The transactions that did, or may do, just this: those whose outcome nobody was told, and the last one of the others."""
        with self._db() as db:
            digest, fates = call.digest, (Fate.SENT, Fate.MINED)
            untold = _entries(db, "digest = ? AND told = 0 AND fate IN (?, ?) ORDER BY id", (digest, *fates))
            told = _entries(
                db, "digest = ? AND told = 1 AND fate IN (?, ?) ORDER BY id DESC LIMIT 1", (digest, *fates)
            )
            return untold + told

    def mined_at(self, call: Call, nonce: int) -> Entry | None:
        """The key's transaction of that nonce that was mined at some time."""
        with self._db() as db:
            found = _entries(
                db,
                "chain = ? AND sender = ? AND fate = ? AND nonce = ? ORDER BY id DESC LIMIT 1",
                (call.chain, call.sender, Fate.MINED, nonce),
            )
            return found[0] if found else None

    def abandoned(self, entry: Entry) -> bool:
        """Whether nobody is at work on it: it was let go, even if the disk failed then, or its process is dead."""
        if entry.owner is None:
            return True
        if entry.owner == self._name:
            with self._db() as db:
                # Whoever was at work on it may have seen it through since `entry` was read.
                now = _one(db, entry.id)
                return entry.id not in self._at_work and (now.fate, now.told) == (entry.fate, entry.told)
        try:
            with self._owner_file(entry.owner).open() as file:
                # Shared: two that look at once must not take each other for the owner.
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return True
        except BlockingIOError:
            return False
        except OSError as error:
            raise JournalUnavailable(f"journal {self._folder}: {error}") from error
        return True

    @contextmanager
    def _db(self, done: int | None = None) -> Iterator[sqlite3.Connection]:
        """The database in a transaction of its own. However it ends, this process is then at work on `done` no more."""
        db = self._connection()
        try:
            with self._lock:
                try:
                    with db:
                        db.execute("BEGIN IMMEDIATE")
                        yield db
                finally:
                    if done is not None:
                        self._at_work.discard(done)
        except sqlite3.Error as error:
            raise JournalUnavailable(f"journal {self._folder}: {error}") from error

    def _connection(self) -> sqlite3.Connection:
        try:
            with self._lock:
                self._opened = self._opened or self._open()
                return self._opened
        except (sqlite3.Error, OSError) as error:
            raise JournalUnavailable(f"journal {self._folder}: {error}") from error

    def _open(self) -> sqlite3.Connection:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._folder / "transactions.sqlite3"
        # One at a time: SQLite does not wait for a lock while it changes to WAL.
        with _locked(self._folder / "opening.lock"):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            db = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False, isolation_level=None)
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;")
                _sync(self._folder)
            elif version != _VERSION:
                db.close()
                raise WrongRequest(
                    f"journal {path}: is of version {version}, this program reads version {_VERSION}"
                )
            _prune(db, time.time() - _KEPT_SECONDS)
            self._sweep()
            self._name = secrets.token_hex(8)
            self._hold = os.open(self._owner_file(self._name), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._hold, fcntl.LOCK_EX)
        return db

    def _sweep(self) -> None:
        """Removes the locks that dead processes left."""
        for path in self._folder.glob("owner-*.lock"):
            with path.open() as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                path.unlink(missing_ok=True)

    def _owner_file(self, name: str) -> Path:
        return self._folder / f"owner-{name}.lock"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            os.close(file)
            raise
    except OSError as error:
        raise JournalUnavailable(f"journal {path}: {error}") from error
    try:
        yield
    finally:
        os.close(file)


def _sync(folder: Path) -> None:
    for each in (folder, folder.parent):
        file = os.open(each, os.O_RDONLY)
        try:
            os.fsync(file)
        finally:
            os.close(file)


def _prune(db: sqlite3.Connection, before: float) -> None:
    with db:
        db.execute("BEGIN IMMEDIATE")
        old = "SELECT id FROM transactions WHERE fate != ? AND written_at < ?"
        db.execute(f"DELETE FROM attempts WHERE entry IN ({old})", (Fate.SENT, before))  # noqa: S608
        db.execute(f"DELETE FROM transactions WHERE id IN ({old})", (Fate.SENT, before))  # noqa: S608


def _add(db: sqlite3.Connection, id_: int, attempt: Attempt) -> None:
    db.execute(
        "INSERT INTO attempts (hash, entry, raw, max_fee, tip, at) VALUES (?, ?, ?, ?, ?, ?)",
        (attempt.hash, id_, attempt.raw, str(attempt.max_fee), str(attempt.tip), attempt.at),
    )


def _one(db: sqlite3.Connection, id_: int) -> Entry:
    return _entries(db, "id = ?", (id_,))[0]


def _entries(db: sqlite3.Connection, where: str, values: tuple[Any, ...]) -> list[Entry]:
    rows = db.execute(f"SELECT * FROM transactions WHERE {where}", values).fetchall()  # noqa: S608 - ours
    return [_entry(row, _attempts(db, row["id"])) for row in rows]


def _attempts(db: sqlite3.Connection, id_: int) -> tuple[Attempt, ...]:
    rows = db.execute("SELECT * FROM attempts WHERE entry = ? ORDER BY rowid", (id_,))
    return tuple(
        Attempt(
            hash=row["hash"], raw=row["raw"], max_fee=int(row["max_fee"]), tip=int(row["tip"]), at=row["at"]
        )
        for row in rows
    )


def _entry(row: sqlite3.Row, attempts: tuple[Attempt, ...]) -> Entry:
    return Entry(
        id=row["id"],
        call=Call(
            chain=row["chain"],
            sender=Address(row["sender"]),
            to=Address(row["recipient"]),
            data="0x" + row["data"].hex(),
            value=int(row["value"]),
        ),
        nonce=row["nonce"],
        gas=row["gas"],
        fate=Fate(row["fate"]),
        told=bool(row["told"]),
        owner=row["owner"],
        written_at=row["written_at"],
        attempts=attempts,
    )
