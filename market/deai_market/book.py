"""The order book: what the market was told, on disk before it is acknowledged."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlmodel import Session

from deai.ask import Ask
from deai.chain import Chain
from deai.cid import Cid, Codec
from deai.clock import ChainClock
from deai.deployment import Deployment
from deai.errors import BadField, BadSignature, InsufficientBalance, WrongEpoch, WrongState
from deai.job import MAX_BID_SECONDS, Address, Job, JobId, JobState, Wei, ramp
from deai.signing import check_bid
from deai.spec import Resources, Spec
from deai.store import Block, Store
from deai.wire import JobJson, Order, SignedAsk, SignedBid
from deai_market import events, queries
from deai_market.database import Database
from deai_market.errors import Conflict, Forbidden, NotFound, NotSigned, TooMany
from deai_market.matching import OpenJob, Taken
from deai_market.orders import check_order, check_signed_ask, check_terms
from deai_market.settings import Rules
from deai_market.tables import AskRow, CallbackRow, ChainJobRow, MatchRow, MatchStep, OrderRow

_SLOT_ONLY = Resources(cpu_millis=100, memory_mib=16, disk_mib=16)
"""What a job is taken to use whose spec this market does not know."""


@dataclass(frozen=True, slots=True)
class Live:
    """An order as the book reads it."""

    job: Job
    resources: Resources
    max_seconds: int


@dataclass(slots=True)
class Purse:
    """What an account has in the escrow of one token, and what its open orders take of it."""

    epoch: int
    balance: Wei
    reserved: Wei
    """The caps of its open orders in the token."""
    orders: int
    """How many open orders it has, in all tokens."""
    most: int
    """How many it may have."""

    def check(self, job_id: JobId, job: Job) -> None:
        """Raises WrongEpoch, TooMany, InsufficientBalance if there is no room for the job."""
        if job.epoch != self.epoch:
            raise WrongEpoch(job_id, job.epoch, self.epoch)
        if self.orders >= self.most:
            raise TooMany(f"{job.submitter} has {self.orders} open orders already, which is the limit")
        needed = Wei(self.reserved + job.price_cap)
        if self.balance < needed:
            raise InsufficientBalance(job.token, job.submitter, self.balance, needed)

    def add(self, job: Job) -> None:
        """The job is one of the open orders now."""
        self.reserved, self.orders = Wei(self.reserved + job.price_cap), self.orders + 1


class Book:
    """Takes orders, asks and bids, and says what is live."""

    def __init__(
        self,
        database: Database,
        chain: Chain,
        deployment: Deployment,
        store: Store,
        clock: ChainClock,
        *,
        rules: Rules,
        changed: Callable[[], None],
    ) -> None:
        """`changed` is called after each order or ask that is new."""
        self._database, self._chain, self._deployment = database, chain, deployment
        self._store, self._clock, self._rules, self._changed = store, clock, rules, changed
        self._read: dict[str, Live] = {}
        self.notes: dict[JobId, str] = {}
        """Why an open order waits, by job id."""

    def submit(self, order: Order, sender: Address | None = None) -> JobId:
        """Keeps an order, durably. The same order again changes nothing, but for a callback or a signature that it did not have: the job may
        be posted on chain instead of signed. `sender` is the account that signed the request: anybody may bring a signed job, only its
        submitter a callback with it.

        Raises BadField, BadSignature, NotSigned, Forbidden, InsufficientBalance, WrongEpoch, WrongState, Conflict, TooMany, and Unavailable
        of chain and store.
        """
        now = self._clock.now()
        job_id, job, spec = check_order(order, self._deployment, now, private=self._rules.callback_private)
        _check_sender(order, job.submitter, sender)
        with self._database.read() as session:
            known = session.get(OrderRow, job_id)
        if known is not None:
            if known.signature and not order.signature:
                raise BadSignature("job: it was signed, and this order is not")
            self._complete(job_id, order)
            return job_id
        self._keep(job_id, job, spec, order)
        return job_id

    def adopt(self, job_id: JobId, job: Job, data: bytes) -> None:
        """Keeps the order of a job that was posted on chain; `data` is its spec. Raises as `submit`."""
        self._keep(job_id, job, check_terms(job, data, self._deployment, self._clock.now()))

    def purse(self, token: Address, account: Address) -> Purse:
        """What the account may still order in the token. Raises ChainUnavailable."""
        epoch, balance = self._chain.epoch(token, account), self._chain.balance(token, account)
        with self._database.read() as session:
            return self._purse(session, token, account, epoch, balance)

    def _purse(self, session: Session, token: Address, account: Address, epoch: int, balance: Wei) -> Purse:
        mine = queries.open_orders_of(session, account, self._clock.now())
        reserved = sum(int(row.price_cap) for row in mine if row.token == token)
        return Purse(epoch, balance, Wei(reserved), len(mine), self._rules.open_jobs)

    def _keep(self, job_id: JobId, job: Job, spec: Spec, order: Order | None = None) -> None:
        signature = order.signature if order else b""
        state, _ = self._chain.state(job_id)
        if state not in (JobState.UNKNOWN, JobState.OPEN):
            raise WrongState(job_id, state)
        if not signature and state != JobState.OPEN:
            raise BadSignature("job: it is neither signed nor posted on chain")
        epoch = self._chain.epoch(job.token, job.submitter)
        balance = self._chain.balance(job.token, job.submitter)
        self._store.put([Block(Cid(Codec.RAW, job.spec), spec.canonical())])

        with self._database.write() as session:
            if session.get(OrderRow, job_id) is not None:
                _keep_callback(session, job_id, order)
                return
            self._purse(session, job.token, job.submitter, epoch, balance).check(job_id, job)
            session.add(
                OrderRow(
                    id=job_id,
                    submitter=job.submitter,
                    token=job.token,
                    price_cap=str(job.price_cap),
                    epoch=job.epoch,
                    award_by=job.award_by,
                    received=queries.next_received(session, int(time.time() * 1_000)),
                    name=spec.name,
                    job=JobJson.of(job).model_dump_json(),
                    signature=signature,
                    resources=spec.resources.model_dump_json(),
                    max_seconds=spec.max_seconds,
                )
            )
            _keep_callback(session, job_id, order)
        self._changed()

    def offer(self, signed: SignedAsk) -> Ask:
        """Keeps a provider's newest ask, durably. Raises BadField, BadSignature, Conflict for one that is not newer."""
        ask = check_signed_ask(signed, self._deployment, self._clock.now())
        with self._database.write() as session:
            row = session.get(AskRow, ask.provider)
            if row is not None and row.ask == signed.ask:
                return ask
            if row is not None and row.issued_at >= ask.issued_at:
                raise Conflict(
                    f"ask.issued_at: {ask.issued_at}: {ask.provider} has an ask issued at {row.issued_at}"
                )
            session.merge(
                AskRow(
                    provider=ask.provider,
                    issued_at=ask.issued_at,
                    expires_at=ask.expires_at,
                    ask=signed.ask,
                    signature=signed.signature,
                )
            )
        self._changed()
        return ask

    def asks(self) -> list[SignedAsk]:
        """The asks that have not expired, as they were signed."""
        with self._database.read() as session:
            rows = queries.asks(session, self._clock.now())
        return [SignedAsk(ask=row.ask, signature=row.signature) for row in rows]

    def bid(self, signed: SignedBid) -> int | None:
        """Takes the bid of a provider for its match, durably: the award is to be sent. The match's number; None if the bid was here. A bid
        without a signature is one that was placed on chain.

        Raises BadSignature, NotFound, Conflict, BadField, InsufficientBalance, ChainUnavailable.
        """
        bid, now = signed.bid.value(), self._clock.now()
        if signed.signature:
            check_bid(bid, signed.signature, self._deployment.domain)
        with self._database.read() as session:
            if not signed.signature and bid not in events.bids(queries.events_of(session, bid.job)):
                raise BadSignature("bid: it is neither signed nor placed on chain")
            row = session.get(OrderRow, bid.job)
        if row is None:
            raise NotFound(f"no order with the id {bid.job}")
        job = self.live(row).job
        if not now < bid.expires_at <= now + MAX_BID_SECONDS:
            rule = f"must be ahead, by at most {MAX_BID_SECONDS} s; it is {now}"
            raise BadField("bid.expires_at", bid.expires_at, rule)
        if bid.price > ramp(job, now):
            raise BadField(
                "bid.price", bid.price, f"is above the job's ramp, which stands at {ramp(job, now)}"
            )
        balance = self._chain.balance(job.token, bid.provider)
        text = signed.model_dump_json()

        with self._database.write() as session:
            match = queries.live_match(session, bid.job)
            if match is not None and match.bid == text:
                return None
            if match is None or match.provider != bid.provider or match.step != MatchStep.WAITING:
                raise Conflict(f"{bid.provider} has no match for {bid.job} that waits for its bid")
            if bid.price > int(match.price):
                raise BadField("bid.price", bid.price, f"is above the {match.price} that its ask quotes")
            needed = job.bond + self._promised(session, bid.provider, job.token)
            if balance < needed:
                raise InsufficientBalance(job.token, bid.provider, balance, needed)
            match.step, match.bid, match.until = MatchStep.BID, text, bid.expires_at
            session.add(match)
            return match.number

    def live(self, row: OrderRow) -> Live:
        """The order of a row, read once."""
        found = self._read.get(row.id)
        if found is None:
            job = JobJson.model_validate_json(row.job).value()
            found = Live(job, Resources.model_validate_json(row.resources), row.max_seconds)
            self._read[row.id] = found
        return found

    def open_jobs(self, rows: Sequence[OrderRow]) -> list[OpenJob]:
        """What matching needs of the orders."""
        return [
            OpenJob(
                id=JobId(row.id),
                job=self.live(row).job,
                resources=self.live(row).resources,
                max_seconds=row.max_seconds,
                received=row.received,
            )
            for row in rows
        ]

    def taken(
        self, session: Session, matches: Sequence[MatchRow], running: Sequence[ChainJobRow]
    ) -> list[Taken]:
        """What live matches and running jobs take of their providers' capacity."""
        found = {(match.job, match.provider) for match in matches}
        found |= {(job.id, job.provider or "") for job in running}
        ended = queries.uploading(session, running)
        return [
            Taken(Address(provider), self._resources(session, job), (job, provider) in ended)
            for job, provider in sorted(found)
        ]

    def forget_all_but(self, ids: set[str]) -> None:
        """Drops what was read of orders that are not open any more."""
        self._read = {job: live for job, live in self._read.items() if job in ids}
        self.notes = {job: note for job, note in self.notes.items() if job in ids}

    def _complete(self, job_id: JobId, order: Order) -> None:
        """Adds what the order that is here did not have."""
        with self._database.read() as session:
            row = session.get(OrderRow, job_id)
            is_unsigned = row is not None and not row.signature and bool(order.signature)
        if order.callback_url is None and not is_unsigned:
            return
        with self._database.write() as session:
            _keep_callback(session, job_id, order)
            row = session.get(OrderRow, job_id)
            if row is not None and not row.signature:
                row.signature = order.signature
                session.add(row)

    def _promised(self, session: Session, provider: Address, token: Address) -> Wei:
        """The bonds that awards on their way will lock of the provider."""
        rows = (
            session.get(OrderRow, match.job)
            for match in queries.unsent(session)
            if match.provider == provider
        )
        jobs = (self.live(row).job for row in rows if row is not None)
        return Wei(sum(job.bond for job in jobs if job.token == token))

    def _resources(self, session: Session, job: str) -> Resources:
        row = session.get(OrderRow, job)
        return self.live(row).resources if row is not None else _SLOT_ONLY


def _check_sender(order: Order, submitter: Address, sender: Address | None) -> None:
    """A job's signature does not cover its callback, and is seen by others: providers, and everybody once it is on chain."""
    if order.callback_url is None or sender == submitter:
        return
    if sender is None:
        raise NotSigned("an order with a callback_url comes in a request that its submitter signed")
    raise Forbidden(f"a callback_url comes from the job's submitter, not from {sender}")


def _keep_callback(session: Session, job_id: JobId, order: Order | None) -> None:
    if order is None or order.callback_url is None or order.callback_secret is None:
        return
    row = session.get(CallbackRow, job_id)
    if row is None:
        session.add(
            CallbackRow(
                job=job_id,
                submitter=order.job.submitter,
                url=order.callback_url,
                secret=order.callback_secret,
            )
        )
    elif (row.url, row.secret) != (order.callback_url, order.callback_secret):
        raise Conflict(f"{job_id} was submitted before, with another callback")
