"""Sends the awards of bids that were taken. A bid is on disk before its award is sent: a restart finds what is owed."""

import logging
import queue
import threading
from collections.abc import Callable

from eth_account.signers.local import LocalAccount

from deai.chain import Chain
from deai.clock import ChainClock
from deai.errors import BadField, DeaiError, Unavailable, WrongRequest
from deai.job import JobId, JobState
from deai.wire import SignedBid
from deai_market import queries
from deai_market.book import Book
from deai_market.database import Database
from deai_market.tables import MatchRow, MatchStep, OrderRow

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5
_SWEEP_SECONDS = 1.0
_AWARDABLE = (JobState.UNKNOWN, JobState.OPEN)


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
        done: Callable[[], None],
    ) -> None:
        """`done` is called after each award that was mined or given up."""
        self._database, self._book, self._chain, self._clock = database, book, chain, clock
        self._account, self._done = account, done
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
            except Unavailable as error:
                _log.warning("awards that a reorg undid are not looked for now: %s", error)
            except Exception:  # noqa: BLE001 - a loop's top
                _log.exception("looking for awards that are owed failed, trying on")
            wake.wait(_SWEEP_SECONDS)

    def run(self, stop: threading.Event) -> None:
        """Sends until `stop`. Several threads may."""
        while not stop.is_set():
            try:
                number = self._due.get(timeout=0.2)
            except queue.Empty:
                continue
            try:
                self._send(number, stop)
            except Exception:  # noqa: BLE001 - a loop's top
                _log.exception("award of match %d failed", number)
            finally:
                with self._lock:
                    self._owed.discard(number)

    def _send(self, number: int, stop: threading.Event) -> None:
        with self._database.read() as session:
            match = session.get(MatchRow, number)
            order = session.get(OrderRow, match.job) if match is not None else None
        if match is None or order is None or match.bid is None or match.step != MatchStep.BID:
            return None
        live, signed = self._book.live(order), SignedBid.model_validate_json(match.bid)
        bid, refused = signed.bid.value(), None
        while not stop.is_set():
            try:
                # First of all: whatever was refused, an award that is mined is mined.
                state, _ = self._chain.state(JobId(match.job))
                if state not in _AWARDABLE:
                    return self._conclude(number, None)
                if refused is not None:
                    return self._conclude(number, refused)
                if self._clock.now() >= bid.expires_at:
                    return self._conclude(number, "its bid expired before the award was mined")
                # A job that was posted needs no signature.
                signature = live.signature if state == JobState.UNKNOWN else b""
                receipt = self._chain.award(self._account, live.job, signature, bid, signed.signature)
            except (Unavailable, WrongRequest) as error:
                if _passes(error):
                    _log.warning("the award of %s has to wait: %s", match.job, error)
                    stop.wait(_RETRY_SECONDS)
                else:
                    refused = f"the award was refused: {error}"
                continue
            _log.info("awarded %s to %s in %s", match.job, match.provider, receipt.tx)
            return self._conclude(number, None)
        return None

    def _conclude(self, number: int, refusal: str | None) -> None:
        with self._database.write() as session:
            match = session.get(MatchRow, number)
            if match is None or match.step != MatchStep.BID:
                return
            match.step = MatchStep.SENT
            if refusal is not None:
                match.step, match.reason, match.dropped_at = MatchStep.DROPPED, refusal, self._clock.now()
                _log.warning("dropped the match of %s with %s: %s", match.job, match.provider, refusal)
            session.add(match)
        self._done()


def _passes(error: DeaiError) -> bool:
    """Whether the same award may succeed later. A key without gas can be filled again."""
    return isinstance(error, Unavailable) or (isinstance(error, BadField) and error.field == "gas")
