"""One SQLite file, written by one thread at a time, durable when a write returns."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DatabaseError
from sqlmodel import Session, SQLModel, create_engine

from deai.errors import BadField
from deai.signing import Domain
from deai_market import tables

_VERSION = "1"


class Database:
    """The market's tables in `folder`, which belongs to one market and one escrow."""

    def __init__(self, folder: Path, domain: Domain) -> None:
        """Raises BadField for a folder that cannot be used, is in use, or belongs to another escrow."""
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_file = (folder / "lock").open("wb")
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
        except DatabaseError as error:
            self.close()
            raise BadField("data", str(folder), f"holds no database of a market: {error.orig}") from error
        except BadField:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for queries."""
        with Session(self._engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that is committed, and on disk, when the block ends; rolled back when it raises. One at a time."""
        with self._write, Session(self._engine, expire_on_commit=False) as session, session.begin():
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


def _engine(path: Path) -> Engine:
    # Made first, so that nobody else can read orders and logs, whatever the umask.
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    engine = create_engine(f"sqlite:///{path}", pool_size=48, max_overflow=16)

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: object) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000"):
            connection.execute(f"PRAGMA {pragma}")

    return engine
