"""The rows. Never the HTTP schema.

Chain rows (blocks, events, cancellations, chain_jobs) have one writer, the indexer, and can be dropped: the chain rebuilds them. The others
are what the market was told and what it suggested. Amounts are decimal text: they do not fit a database's integers.
"""

from enum import StrEnum

from sqlalchemy import BigInteger, Index
from sqlmodel import Field, SQLModel


class MatchStep(StrEnum):
    """How far a match came."""

    WAITING = "waiting"  # -> BID (the provider bids), DROPPED (it does not, in time)
    BID = "bid"  # -> SENT (the award is mined), DROPPED (the escrow refused it, or the bid expired)
    SENT = "sent"  # -> BID (a reorg undid the award)
    DROPPED = "dropped"


LIVE = (MatchStep.WAITING, MatchStep.BID, MatchStep.SENT)


class MetaRow(SQLModel, table=True):
    """What this database belongs to."""

    __tablename__ = "meta"
    name: str = Field(primary_key=True)
    value: str


class BlockRow(SQLModel, table=True):
    """A block up to which, and including which, events are indexed."""

    __tablename__ = "blocks"
    number: int = Field(primary_key=True, sa_type=BigInteger)
    hash: str
    parent: str
    time: int = Field(sa_type=BigInteger)


class EventRow(SQLModel, table=True):
    """An event of the escrow about a job."""

    __tablename__ = "events"
    __table_args__ = (Index("events_by_kind", "kind", "time"),)
    block: int = Field(primary_key=True, sa_type=BigInteger)
    index: int = Field(primary_key=True)
    block_hash: str
    time: int = Field(sa_type=BigInteger)
    tx: str
    job: str = Field(index=True)
    kind: str
    body: str


class CancellationRow(SQLModel, table=True):
    """An account's end of all its jobs in one token that were not awarded: those of earlier epochs than `epoch`."""

    __tablename__ = "cancellations"
    __table_args__ = (Index("cancellations_by_account", "account", "token"),)
    block: int = Field(primary_key=True, sa_type=BigInteger)
    index: int = Field(primary_key=True)
    time: int = Field(sa_type=BigInteger)
    tx: str
    token: str
    account: str
    epoch: int = Field(sa_type=BigInteger)


class ChainJobRow(SQLModel, table=True):
    """A job as its events leave it: `indexer.fold` of them, kept for queries."""

    __tablename__ = "chain_jobs"
    id: str = Field(primary_key=True)
    submitter: str = Field(index=True)
    token: str | None = None
    provider: str | None = None
    price: str | None = None
    arbiter: str | None = None
    state: int = Field(index=True)
    outcome: int
    award_by: int | None = Field(default=None, sa_type=BigInteger)
    """Of a job that was posted; of others only their orders tell."""
    deliver_by: int | None = Field(default=None, sa_type=BigInteger)
    window_end: int | None = Field(default=None, sa_type=BigInteger)
    rule_by: int | None = Field(default=None, sa_type=BigInteger)
    result: bytes | None = None
    since: int = Field(sa_type=BigInteger)
    """The time of its first event."""


class OrderRow(SQLModel, table=True):
    """A job as its submitter signed and sent it, or posted it on chain. Its spec is a block in the store."""

    __tablename__ = "orders"
    id: str = Field(primary_key=True)
    submitter: str = Field(index=True)
    token: str
    price_cap: str
    epoch: int = Field(sa_type=BigInteger)
    award_by: int = Field(index=True, sa_type=BigInteger)
    received: int = Field(sa_type=BigInteger)
    """Milliseconds since 1970, never twice the same."""
    name: str
    job: str
    signature: bytes
    """Empty: it is authorised only as long as the chain has it posted."""
    resources: str
    max_seconds: int


class CallbackStep(StrEnum):
    """How far a callback came."""

    WAITING = "waiting"  # -> DUE (its job closed, too deep in the chain to be undone)
    DUE = "due"  # -> DELIVERED (the receiver took it), GIVEN_UP (it did not, too often or for too long)
    DELIVERED = "delivered"
    GIVEN_UP = "given up"


class CallbackRow(SQLModel, table=True):
    """Whom to tell that a job closed, and what became of it. Shown to nobody but the job's submitter; the secret not even there."""

    __tablename__ = "callbacks"
    job: str = Field(primary_key=True)
    submitter: str = Field(index=True)
    url: str
    secret: str
    step: CallbackStep = Field(default=CallbackStep.WAITING, index=True)
    body: str | None = None
    """What is sent, the same in every attempt; from DUE on."""
    attempts: int = 0
    """Counted before each is made: one that was cut short is counted, and made again."""
    first_at: float | None = None
    next_at: float | None = Field(default=None, index=True)
    """Seconds since 1970, by the market's own clock; of the first attempt, and of the next."""
    error: str | None = None
    """Why the last attempt failed."""


class AskRow(SQLModel, table=True):
    """A provider's newest ask."""

    __tablename__ = "asks"
    provider: str = Field(primary_key=True)
    issued_at: int = Field(sa_type=BigInteger)
    expires_at: int = Field(index=True, sa_type=BigInteger)
    ask: str
    signature: bytes


class MatchRow(SQLModel, table=True):
    """A job suggested to a provider, its bid, and what became of it."""

    __tablename__ = "matches"
    number: int = Field(primary_key=True, sa_type=BigInteger)
    """Milliseconds since 1970, never twice the same: cursors stay ahead even of a database that was lost."""
    job: str = Field(index=True)
    provider: str = Field(index=True)
    price: str
    step: MatchStep = Field(index=True)
    made_at: int = Field(sa_type=BigInteger)
    until: int = Field(sa_type=BigInteger)
    """When it is dropped if nothing came of it."""
    bid: str | None = None
    reason: str | None = None
    dropped_at: int | None = Field(default=None, sa_type=BigInteger)


class ObservationRow(SQLModel, table=True):
    """What a provider says of a run, or the market of a match."""

    __tablename__ = "observations"
    number: int | None = Field(default=None, primary_key=True)
    job: str = Field(index=True)
    provider: str
    at: int = Field(sa_type=BigInteger)
    event: str
    text: str


class LogRow(SQLModel, table=True):
    """Bytes `first` to `last` (excluded) of a run's output."""

    __tablename__ = "logs"
    job: str = Field(primary_key=True)
    provider: str = Field(primary_key=True)
    first: int = Field(primary_key=True, sa_type=BigInteger)
    last: int = Field(sa_type=BigInteger)
    data: bytes
    end: bool = False


class UploadRow(SQLModel, table=True):
    """A block that an account holds here."""

    __tablename__ = "uploads"
    account: str = Field(primary_key=True)
    digest: bytes = Field(primary_key=True, index=True)
    bytes: int = Field(sa_type=BigInteger)
    """What it counts for: its size in full pages."""
    at: int = Field(sa_type=BigInteger)
    """When the account last sent it."""
