"""Sends the awards of bids that were taken. A bid is on disk before its award is sent: a restart finds what is owed.

Awards that are due at the same time go as one batch, which skips those that are refused. A restart may group them in another way: what was
mined already is skipped then.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from eth_account.signers.local import LocalAccount
from sqlmodel import Session

from deai.chain import CallSkipped, Chain, Item, Receipt
from deai.clock import ChainClock
from deai.errors import BadField, DeaiError, Unavailable, WrongRequest
from deai.job import Address, Bid, Job, JobId, JobState, Wei
from deai.wire import SignedBid
from deai_market import queries
from deai_market.book import Book
from deai_market.database import Database
from deai_market.tables import MatchRow, MatchStep, OrderRow

_log = logging.getLogger(__name__)

MAX_BATCH = 64
"""The most awards of one transaction: nodes take transactions of 128 KiB at most."""
_RETRY_SECONDS = 0.5
_GAS_SECONDS = 60.0
"""How often the key's gas is looked at."""
_SWEEP_SECONDS = 1.0
_AWARDABLE = (JobState.UNKNOWN, JobState.OPEN)


@dataclass(slots=True)
class _Owed:
    """An award that is to be sent."""

    number: int
    id: JobId
    job: Job
    signature: bytes
    signed: SignedBid
    refused: str | None = None
    call: tuple[Job, bytes, Bid, bytes] = field(init=False)


class Awards:
    """A queue of matches whose award is due, and what sends it: `account`, which holds gas and nothing else."""

    def __init__(
        self,
        database: Database,
        book: Book,
        chain: Chain,
        clock: ChainClock,
        *,
        account: LocalAccount,
        low_gas: Wei,
        done: Callable[[bool], None],
    ) -> None:
        """`low_gas` is how much of the chain's coin the key should hold; `done` is called after each award: whether it was mined, or given up."""
        self._database, self._book, self._chain, self._clock = database, book, chain, clock
        self._account, self._low_gas, self._done = account, low_gas, done
        self._is_low, self._gas_due = False, 0.0
        # Not SimpleQueue: with several readers its timeouts may never come.
        self._due: queue.Queue[int] = queue.Queue()
        self._lock = threading.Lock()
        # Queued or being sent: no match is twice in the hands of the sending threads.
        self._owed: set[int] = set()

    def send(self, number: int) -> None:
        """Puts the match of that number in the queue, unless it is there or being sent."""
        with self._lock:
            if number in self._owed:
                return
            self._owed.add(number)
        self._due.put(number)

    def sweep(self) -> None:
        """Queues every award that is owed: never sent, or mined and undone by a reorg, indexed or not. Raises ChainUnavailable."""
        with self._database.read() as session:
            unsent, sent = list(queries.unsent(session)), queries.sent(session)
        for match in unsent:
            self.send(match.number)
        undone = [match.number for match in sent if self._chain.state(JobId(match.job))[0] in _AWARDABLE]
        if not undone:
            return
        with self._database.write() as session:
            again = [match for match in queries.sent(session) if match.number in undone]
            for match in again:
                match.step = MatchStep.BID
                session.add(match)
        for match in again:
            _log.warning("a reorg undid the award of %s to %s; sending it again", match.job, match.provider)
            self.send(match.number)

    def watch(self, stop: threading.Event, wake: threading.Event) -> None:
        """Sweeps until `stop`: every second, and when woken."""
        while not stop.is_set():
            wake.clear()
            try:
                self.sweep()
                self._look_at_gas()
            except Unavailable as error:
                _log.warning("awards that a reorg undid are not looked for now: %s", error)
            except Exception:  # noqa: BLE001 - a loop's top
                _log.exception("looking for awards that are owed failed, trying on")
            wake.wait(_SWEEP_SECONDS)

    def _look_at_gas(self) -> None:
        if time.monotonic() < self._gas_due:
            return
        self._gas_due = time.monotonic() + _GAS_SECONDS
        account = Address(self._account.address)
        there = self._chain.gas_balance(account)
        was_low, self._is_low = self._is_low, there < self._low_gas
        if self._is_low and not was_low:
            _log.warning(
                "%s holds %d wei for gas, less than %d; fill it up, or awards will have to wait",
                account,
                there,
                self._low_gas,
            )

    def run(self, stop: threading.Event) -> None:
        """Sends until `stop`: what is due at the same time as one batch. Several threads may."""
        while not stop.is_set():
            numbers = self._take()
            if not numbers:
                continue
            try:
                self._send(numbers, stop)
            except Exception:  # noqa: BLE001 - a loop's top
                _log.exception("awards of the matches %s failed", numbers)
            finally:
                with self._lock:
                    self._owed.difference_update(numbers)

    def _take(self) -> list[int]:
        """What is due: waits a little for the first, for no others."""
        numbers = list[int]()
        with suppress(queue.Empty):
            numbers.append(self._due.get(timeout=0.2))
            while len(numbers) < MAX_BATCH:
                numbers.append(self._due.get_nowait())
        return numbers

    def _send(self, numbers: Sequence[int], stop: threading.Event) -> None:
        with self._database.read() as session:
            due = [owed for number in numbers if (owed := self._owed_award(session, number)) is not None]
        while due and not stop.is_set():
            try:
                due = [each for each in due if self._is_due(each)]
                if not due:
                    return
                receipt = self._award(due)
            except (Unavailable, WrongRequest) as error:
                if _passes(error):
                    _log.warning("%d awards have to wait, that of %s first: %s", len(due), due[0].id, error)
                    stop.wait(_RETRY_SECONDS)
                elif len(due) > 1:
                    _log.warning("a batch of %d awards was refused, each is sent alone: %s", len(due), error)
                    for each in due:
                        self._send([each.number], stop)
                    return
                else:
                    due[0].refused = f"the award was refused: {error}"
                continue
            due = self._skipped(due, receipt)

    def _owed_award(self, session: Session, number: int) -> _Owed | None:
        match = session.get(MatchRow, number)
        order = session.get(OrderRow, match.job) if match is not None else None
        if match is None or order is None or match.bid is None or match.step != MatchStep.BID:
            return None
        signed = SignedBid.model_validate_json(match.bid)
        return _Owed(number, JobId(match.job), self._book.live(order).job, order.signature, signed)

    def _is_due(self, owed: _Owed) -> bool:
        """Whether the award is still to be sent. Concludes it otherwise."""
        # First of all: whatever was refused, an award that is mined is mined.
        state, _ = self._chain.state(owed.id)
        is_posted = state == JobState.OPEN
        if state not in _AWARDABLE:
            self._conclude(owed, None)
        elif owed.refused is not None:
            self._conclude(owed, owed.refused)
        elif self._clock.now() >= owed.signed.bid.expires_at:
            self._conclude(owed, "its bid expired before the award was mined")
        elif not is_posted and not owed.signature:
            self._conclude(owed, "the job is neither signed nor posted on chain any more")
        else:
            owed.call = (
                owed.job,
                # A job that was posted needs no signature.
                b"" if is_posted else owed.signature,
                owed.signed.bid.value(),
                owed.signed.signature,
            )
            return True
        return False

    def _award(self, due: Sequence[_Owed]) -> Receipt:
        if len(due) == 1:
            return self._chain.award(self._account, *due[0].call)
        return self._chain.batch(self._account, [Item("award", each.call) for each in due])

    def _skipped(self, due: Sequence[_Owed], receipt: Receipt) -> list[_Owed]:
        """Those that the batch did not award, each with the reason; the others are concluded."""
        reasons = {event.place: event.reason for event in receipt.events if isinstance(event, CallSkipped)}
        for place, each in enumerate(due):
            if place in reasons:
                each.refused = f"the award was refused: {reasons[place]}"
                continue
            _log.info("awarded %s to %s in %s", each.id, each.signed.bid.provider, receipt.tx)
            self._conclude(each, None)
        return [each for each in due if each.refused is not None]

    def _conclude(self, owed: _Owed, refusal: str | None) -> None:
        with self._database.write() as session:
            match = session.get(MatchRow, owed.number)
            if match is None or match.step != MatchStep.BID:
                return
            match.step = MatchStep.SENT
            if refusal is not None:
                match.step, match.reason, match.dropped_at = MatchStep.DROPPED, refusal, self._clock.now()
                _log.warning("dropped the match of %s with %s: %s", match.job, match.provider, refusal)
            session.add(match)
        self._done(refusal is None)


def _passes(error: DeaiError) -> bool:
    """Whether the same award may succeed later. A key without gas can be filled again."""
    return isinstance(error, Unavailable) or (isinstance(error, BadField) and error.field == "gas")
