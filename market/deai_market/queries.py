"""All queries. Each takes a session; what they return are rows, never bodies."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, update
from sqlmodel import Session, and_, col, delete, func, or_, select

from deai.job import MAX_BID_SECONDS, Address, JobId, JobState, Outcome, Timestamp
from deai_market.tables import (
    LIVE,
    AskRow,
    BlockRow,
    CallbackRow,
    CallbackStep,
    CancellationRow,
    ChainJobRow,
    EventRow,
    LogRow,
    MatchRow,
    MatchStep,
    ObservationRow,
    OrderRow,
    UploadRow,
)

_ON_CHAIN = col(OrderRow.id) == col(ChainJobRow.id)
_CURRENT = (
    select(func.coalesce(func.max(CancellationRow.epoch), 0))
    .where(
        col(CancellationRow.account) == col(OrderRow.submitter),
        col(CancellationRow.token) == col(OrderRow.token),
    )
    .correlate(OrderRow)
    .scalar_subquery()
)
_OPEN = and_(
    or_(
        and_(col(ChainJobRow.state).is_(None), col(OrderRow.signature) != b""),
        col(ChainJobRow.state) == JobState.OPEN,
    ),
    col(OrderRow.epoch) == _CURRENT,
)
"""Neither awarded nor closed, authorised by its signature or its post, and of its submitter's present epoch: of an order joined with its
chain row, as far as the chain is indexed."""
_UNDER_WAY = (JobState.AWARDED, JobState.DELIVERED, JobState.DISPUTED)
_AWARD_SECONDS = 60
"""An award that was sent before its bid expired is heard of in this time."""


# Orders and asks.


def open_orders(session: Session, now: Timestamp) -> Sequence[OrderRow]:
    """The orders that may still be awarded, as far as the chain is indexed."""
    query = select(OrderRow).join(ChainJobRow, _ON_CHAIN, isouter=True).where(OrderRow.award_by > now, _OPEN)
    return session.exec(query.order_by(col(OrderRow.received))).all()


def open_orders_of(session: Session, submitter: Address, now: Timestamp) -> list[OrderRow]:
    """The same, of one submitter."""
    query = select(OrderRow).join(ChainJobRow, _ON_CHAIN, isouter=True)
    return list(
        session.exec(query.where(OrderRow.submitter == submitter, OrderRow.award_by > now, _OPEN)).all()
    )


def unbooked(session: Session, now: Timestamp) -> Sequence[tuple[str, str]]:
    """The jobs that are posted on chain and may be awarded, and are not in the book, with their submitters; oldest first."""
    query = (
        select(ChainJobRow.id, ChainJobRow.submitter)
        .join(OrderRow, _ON_CHAIN, isouter=True)
        .where(
            ChainJobRow.state == JobState.OPEN, col(ChainJobRow.award_by) > now, col(OrderRow.id).is_(None)
        )
    )
    return session.exec(query.order_by(col(ChainJobRow.since), col(ChainJobRow.id))).all()


def epoch(session: Session, token: str, account: str) -> int:
    """The epoch that the account's jobs in the token must have, as far as the chain is indexed."""
    query = select(func.max(CancellationRow.epoch)).where(
        CancellationRow.account == account, CancellationRow.token == token
    )
    return session.exec(query).one() or 0


def epochs(session: Session) -> dict[tuple[str, str], int]:
    """The same of all accounts that ever ended all their jobs in a token, by (account, token)."""
    query = select(CancellationRow.account, CancellationRow.token, func.max(CancellationRow.epoch))
    found = session.exec(query.group_by(CancellationRow.account, CancellationRow.token)).all()
    return {(account, token): epoch for account, token, epoch in found}


def next_received(session: Session, milliseconds: int) -> int:
    """`milliseconds`, or just above the newest order's."""
    return max(milliseconds, (session.exec(select(func.max(OrderRow.received))).one() or 0) + 1)


def asks(session: Session, now: Timestamp) -> Sequence[AskRow]:
    """The asks that have not expired."""
    return session.exec(select(AskRow).where(AskRow.expires_at > now).order_by(AskRow.provider)).all()


# Matches.


def next_number(session: Session, milliseconds: int) -> int:
    """A match's number: `milliseconds`, or just above the newest match's."""
    return max(milliseconds, (session.exec(select(func.max(MatchRow.number))).one() or 0) + 1)


def live_matches(session: Session) -> Sequence[MatchRow]:
    """The matches that something may still come of: not dropped, and their job not past its award."""
    query = (
        select(MatchRow)
        .join(OrderRow, col(MatchRow.job) == col(OrderRow.id))
        .join(ChainJobRow, _ON_CHAIN, isouter=True)
        .where(col(MatchRow.step).in_(LIVE), _OPEN)
    )
    return session.exec(query).all()


def live_match(session: Session, job: JobId) -> MatchRow | None:
    """The job's live match. There is at most one."""
    query = select(MatchRow).where(MatchRow.job == job, col(MatchRow.step).in_(LIVE))
    return session.exec(query.order_by(col(MatchRow.number).desc())).first()


def waiting_matches(session: Session, provider: Address, after: int) -> list[tuple[MatchRow, OrderRow]]:
    """The provider's matches above `after` that wait for its bid, with their orders, oldest first."""
    query = (
        select(MatchRow, OrderRow)
        .join(OrderRow, col(MatchRow.job) == col(OrderRow.id))
        .join(ChainJobRow, _ON_CHAIN, isouter=True)
        .where(
            MatchRow.provider == provider, MatchRow.step == MatchStep.WAITING, MatchRow.number > after, _OPEN
        )
        .order_by(col(MatchRow.number))
        .limit(256)
    )
    return list(session.exec(query).all())


def unsent(session: Session) -> Sequence[MatchRow]:
    """The matches whose bid was taken and whose award is not known to be mined, oldest first."""
    query = select(MatchRow).where(MatchRow.step == MatchStep.BID)
    return session.exec(query.order_by(col(MatchRow.number))).all()


def sent(session: Session) -> Sequence[MatchRow]:
    """The matches whose award was mined, and is not on chain as far as it is indexed."""
    return [row for row in live_matches(session) if row.step == MatchStep.SENT]


def overdue(session: Session, now: Timestamp) -> Sequence[MatchRow]:
    """The matches whose provider had its time to bid, and those whose bid expired long ago without an award."""
    silent = and_(col(MatchRow.step) == MatchStep.WAITING, col(MatchRow.until) <= now)
    stuck = and_(col(MatchRow.step) == MatchStep.BID, col(MatchRow.until) <= now - _AWARD_SECONDS)
    return session.exec(select(MatchRow).where(or_(silent, stuck))).all()


def recently_dropped(session: Session, since: int) -> Sequence[tuple[str, str]]:
    """Job and provider of matches dropped after `since`."""
    query = select(MatchRow.job, MatchRow.provider).where(
        MatchRow.step == MatchStep.DROPPED, col(MatchRow.dropped_at) > since
    )
    return session.exec(query).all()


def running(session: Session, providers: Sequence[str], now: Timestamp) -> Sequence[ChainJobRow]:
    """What these providers were awarded and still can deliver."""
    query = select(ChainJobRow).where(
        ChainJobRow.state == JobState.AWARDED,
        col(ChainJobRow.provider).in_(providers),
        col(ChainJobRow.deliver_by) > now,
    )
    return session.exec(query).all()


def uploading(session: Session, jobs: Sequence[ChainJobRow]) -> Collection[tuple[str, str]]:
    """Which of the jobs which provider says it has run to the end."""
    query = select(ObservationRow.job, ObservationRow.provider).where(
        ObservationRow.event == "Uploading", col(ObservationRow.job).in_([job.id for job in jobs])
    )
    return set(session.exec(query).all())


# The chain.


def tip(session: Session) -> BlockRow | None:
    """The newest block that is indexed."""
    return session.exec(select(BlockRow).order_by(col(BlockRow.number).desc())).first()


def block_numbers(session: Session) -> Sequence[int]:
    """The heights of all blocks kept, ascending."""
    return session.exec(select(BlockRow.number).order_by(col(BlockRow.number))).all()


def jobs_after(session: Session, block: int) -> set[str]:
    """The jobs that an event above `block` is about, those in the book that one ended together with others included."""
    query = select(CancellationRow).where(CancellationRow.block > block)
    ended = {job for row in session.exec(query) for job in orders_of(session, row.token, row.account)}
    return set(session.exec(select(EventRow.job).where(EventRow.block > block)).all()) | ended


def orders_of(session: Session, token: str, account: str) -> Sequence[str]:
    """The jobs of the account in the token that are in the book."""
    return session.exec(
        select(OrderRow.id).where(OrderRow.submitter == account, OrderRow.token == token)
    ).all()


def cancellation(session: Session, order: OrderRow) -> CancellationRow | None:
    """What ended the order together with its submitter's others."""
    query = select(CancellationRow).where(
        CancellationRow.account == order.submitter,
        CancellationRow.token == order.token,
        CancellationRow.epoch == order.epoch + 1,
    )
    return session.exec(query).first()


def drop_after(session: Session, block: int) -> None:
    """Forgets all blocks and events above `block`."""
    session.exec(delete(EventRow).where(col(EventRow.block) > block))
    session.exec(delete(CancellationRow).where(col(CancellationRow.block) > block))
    session.exec(delete(BlockRow).where(col(BlockRow.number) > block))


def events_of(session: Session, job: str) -> Sequence[EventRow]:
    """The job's events in chain order."""
    query = select(EventRow).where(EventRow.job == job)
    return session.exec(query.order_by(col(EventRow.block), col(EventRow.index))).all()


def placed_bids(session: Session, now: Timestamp) -> Sequence[EventRow]:
    """The events of bids placed on chain so recently that they may live, in chain order."""
    query = select(EventRow).where(EventRow.kind == "BidPlaced", EventRow.time > now - MAX_BID_SECONDS)
    return session.exec(query.order_by(col(EventRow.block), col(EventRow.index))).all()


# Callbacks.


def closed_callbacks(session: Session, confirmations: int) -> list[tuple[CallbackRow, ChainJobRow, EventRow]]:
    """The callbacks that wait for a job which has closed, `confirmations` blocks deep or more; the job, and the event that closed it."""
    head = tip(session)
    if head is None:
        return []
    query = (
        select(CallbackRow, ChainJobRow, EventRow)
        .join(ChainJobRow, col(CallbackRow.job) == col(ChainJobRow.id))
        .join(EventRow, col(CallbackRow.job) == col(EventRow.job))
        .where(
            CallbackRow.step == CallbackStep.WAITING,
            ChainJobRow.state == JobState.CLOSED,
            col(EventRow.kind).in_(("JobClosed", "JobCancelled")),
            EventRow.block <= head.number - confirmations,
        )
    )
    return list(session.exec(query).all())


def due_callback(
    session: Session, now: float, busy: Sequence[str], full: Sequence[str]
) -> CallbackRow | None:
    """The callback that is due longest, of none of the jobs `busy` and none of the submitters `full`."""
    query = select(CallbackRow).where(
        CallbackRow.step == CallbackStep.DUE,
        col(CallbackRow.next_at) <= now,
        col(CallbackRow.job).not_in(busy),
        col(CallbackRow.submitter).not_in(full),
    )
    return session.exec(query.order_by(col(CallbackRow.next_at))).first()


# What is shown.


class Known(NamedTuple):
    """A job as it was ordered here, and as the chain has it; at least one of the two is there."""

    id: JobId
    submitter: Address
    order: OrderRow | None
    chain_job: ChainJobRow | None


def known(session: Session, job: JobId) -> Known | None:
    """The job, if anything is known of it."""
    return _known(session.get(OrderRow, job), session.get(ChainJobRow, job))


def jobs(
    session: Session, submitter: Address | None, state: tuple[JobState, Outcome] | None, limit: int
) -> list[Known]:
    """The newest `limit` jobs, of that submitter and in that state where given. `JobState.UNKNOWN`: ordered here, not on chain."""
    ordered = (
        select(OrderRow)
        .join(ChainJobRow, _ON_CHAIN, isouter=True)
        .where(col(ChainJobRow.id).is_(None), col(OrderRow.signature) != b"")
    )
    on_chain = select(ChainJobRow, OrderRow).join(OrderRow, _ON_CHAIN, isouter=True)
    if submitter is not None:
        ordered = ordered.where(OrderRow.submitter == submitter)
        on_chain = on_chain.where(ChainJobRow.submitter == submitter)
    if state is not None:
        on_chain = on_chain.where(ChainJobRow.state == state[0], ChainJobRow.outcome == state[1])
    found: list[tuple[OrderRow | None, ChainJobRow | None]] = []
    if state is None or state[0] == JobState.UNKNOWN:
        found += [
            (row, None) for row in session.exec(ordered.order_by(col(OrderRow.received).desc()).limit(limit))
        ]
    for chain_job, order in session.exec(on_chain.order_by(col(ChainJobRow.since).desc()).limit(limit)):
        found.append((order, chain_job))
    found.sort(key=lambda each: _since(*each), reverse=True)
    return [each for each in (_known(*pair) for pair in found[:limit]) if each is not None]


def _known(order: OrderRow | None, chain_job: ChainJobRow | None) -> Known | None:
    if chain_job is None and order is not None and not order.signature:
        return None  # the chain no longer has the post that it came from
    either = order or chain_job
    return (
        Known(JobId(either.id), Address(either.submitter), order, chain_job) if either is not None else None
    )


def _since(order: OrderRow | None, chain_job: ChainJobRow | None) -> int:
    """When it was first heard of, in milliseconds."""
    is_signed = order is not None and bool(order.signature)
    return order.received if order and is_signed else chain_job.since * 1_000 if chain_job else 0


def observations(session: Session, job: JobId, provider: Address | None = None) -> Sequence[ObservationRow]:
    """What was observed of the job; by that provider where given."""
    query = select(ObservationRow).where(ObservationRow.job == job)
    if provider is not None:
        query = query.where(ObservationRow.provider == provider)
    return session.exec(query.order_by(col(ObservationRow.number))).all()


# Logs.


def log_end(session: Session, job: JobId, provider: str) -> LogRow | None:
    """The last piece of a run's output."""
    query = select(LogRow).where(LogRow.job == job, LogRow.provider == provider)
    return session.exec(query.order_by(col(LogRow.first).desc())).first()


def log_from(session: Session, job: JobId, provider: str, offset: int, pieces: int) -> Sequence[LogRow]:
    """The pieces of a run's output that reach beyond `offset`, or end it there; at most `pieces`."""
    query = select(LogRow).where(
        LogRow.job == job, LogRow.provider == provider, or_(col(LogRow.last) > offset, col(LogRow.end))
    )
    return session.exec(query.order_by(col(LogRow.first)).limit(pieces)).all()


# Uploads.


def held_bytes(session: Session) -> dict[str, int]:
    """What each account's blocks count for, by account."""
    query = select(UploadRow.account, func.sum(UploadRow.bytes)).group_by(UploadRow.account)
    return dict(session.exec(query).all())


def upload_sizes(session: Session, digests: Collection[bytes]) -> dict[bytes, int]:
    """Those of `digests` that somebody holds, and what they count for."""
    query = select(UploadRow.digest, UploadRow.bytes).where(col(UploadRow.digest).in_(digests))
    return dict(session.exec(query).all())


def renew_uploads(
    session: Session, account: Address, digests: Collection[bytes], now: Timestamp
) -> set[bytes]:
    """Those of `digests` that the account holds, which it has sent just now."""
    mine = col(UploadRow.account) == account, col(UploadRow.digest).in_(digests)
    session.exec(update(UploadRow).where(*mine).values(at=now))
    return set(session.exec(select(UploadRow.digest).where(*mine)).all())


def drop_uploads(session: Session, account: Address, before: int, limit: int) -> Sequence[UploadRow]:
    """Removes up to `limit` blocks that the account last sent at `before` or earlier; which they were."""
    query = select(UploadRow).where(UploadRow.account == account, UploadRow.at <= before).limit(limit)
    rows = session.exec(query).all()
    for row in rows:
        session.delete(row)
    session.flush()
    return rows


def has_live_job(session: Session, account: Address, now: Timestamp) -> bool:
    """Whether the account has an open order, or is a party of a job that is awarded and not closed."""
    if open_orders_of(session, account, now):
        return True
    query = select(ChainJobRow.id).where(_party(account), col(ChainJobRow.state).in_(_UNDER_WAY))
    return session.exec(query.limit(1)).first() is not None


def last_event(session: Session, account: Address) -> int | None:
    """The chain's time at the last event of the account's jobs."""
    query = select(func.max(EventRow.time)).join(ChainJobRow, col(EventRow.job) == col(ChainJobRow.id))
    return session.exec(query.where(_party(account))).one()


def _party(account: Address) -> ColumnElement[bool]:
    return or_(col(ChainJobRow.submitter) == account, col(ChainJobRow.provider) == account)
