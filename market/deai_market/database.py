"""One SQLite file, written by one thread at a time, durable when a write returns."""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlmodel import Session, SQLModel, create_engine

from deai.errors import BadField, Unavailable
from deai.signing import Domain
from deai_market import tables
from deai_market.errors import DatabaseUnavailable, DiskFull

_VERSION = "2"
_PASSING = (
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_NOMEM,
)


class Database:
    """The market's tables in `folder`, which belongs to one market and one escrow."""

    def __init__(self, folder: Path, domain: Domain) -> None:
        """Raises BadField for a folder that cannot be used, is in use, or belongs to another escrow; DiskFull, DatabaseUnavailable."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_file = os.fdopen(os.open(folder / "lock", os.O_CREAT | os.O_WRONLY, 0o600), "wb")
        except OSError as error:
            raise BadField("data", str(folder), f"cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock_file.close()
            raise BadField("data", str(folder), "is in use by another market") from error
        self._write = threading.Lock()
        self._engine = _engine(folder / "market.sqlite")
        try:
            SQLModel.metadata.create_all(self._engine)
            self._claim(folder, domain)
        except OperationalError as error:
            self.close()
            raise _unavailable(error) from error
        except DatabaseError as error:
            self.close()
            raise BadField("data", str(folder), f"holds no database of a market: {error.orig}") from error
        except (BadField, Unavailable):
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for queries. Raises DatabaseUnavailable."""
        with _typed(), Session(self._engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that is committed, and on disk, when the block ends; rolled back when it raises. One at a time.

        Raises DiskFull, DatabaseUnavailable: then nothing of it was kept.
        """
        with _typed(), self._write, Session(self._engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Closes all connections and gives the folder back."""
        self._engine.dispose()
        self._lock_file.close()

    def _claim(self, folder: Path, domain: Domain) -> None:
        mine = f"{_VERSION} {domain.chain_id} {domain.contract}"
        with self.write() as session:
            row = session.get(tables.MetaRow, "domain")
            if row is None:
                session.add(tables.MetaRow(name="domain", value=mine))
            elif row.value != mine:
                raise BadField(
                    "data", str(folder), f"belongs to another escrow ({row.value}); use another folder"
                )


@contextmanager
def _typed() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise _unavailable(error) from error


def _unavailable(error: OperationalError) -> Exception:
    """What an error of SQLite means to those who asked; itself, if it is a mistake of ours."""
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # its low byte is the kind
    if code == sqlite3.SQLITE_FULL:
        return DiskFull("the market has no room on its disk; nothing was kept, try again later")
    if code in _PASSING:
        return DatabaseUnavailable(f"the market's database cannot be used now ({error.orig}); try again")
    return error


def _engine(path: Path) -> Engine:
    # Made first, so that nobody else can read orders and logs, whatever the umask.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = create_engine(f"sqlite:///{path}", pool_size=48, max_overflow=16)

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: object) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
