"""Tells receivers that a job closed: once the chain will not undo it, signed with the order's own secret, until the receiver takes it.

Each row is written before and after every attempt, so that a market that was killed goes on where it was. An attempt whose end was not
written down is made again: a receiver may hear the same twice, and tells it by the `webhook-id`.
"""

import json
import logging
import random
import threading
from collections import Counter
from collections.abc import Callable

from deai import callback
from deai.cid import Cid, Codec
from deai.clock import iso
from deai.deployment import Deployment
from deai.errors import Unavailable
from deai.job import JobId, Outcome, Timestamp
from deai.wire import CallbackView
from deai_market import queries
from deai_market.courier import ATTEMPT_SECONDS, Courier, NotTaken
from deai_market.database import Database
from deai_market.errors import NotFound
from deai_market.tables import CallbackRow, CallbackStep, ChainJobRow, EventRow

_log = logging.getLogger(__name__)

MAX_ATTEMPTS = 12
MAX_SECONDS = 86_400
"""A callback is given up after so many attempts, or when the next would come later than this after the first."""
_FIRST_SECONDS, _FACTOR, _LONGEST_SECONDS = 5.0, 4.0, 14_400.0
_JITTER = 0.2
_GONE = 410

_AT_ONCE = 8
"""Attempts at a time."""
_AT_ONCE_EACH = 2
"""Of one submitter: its slow receivers delay nobody else."""
_ROUND_SECONDS = 1.0


def delay(attempts: int, roll: float) -> float:
    """The seconds between the start of attempt number `attempts` and the next: 5, 20, 80, … up to four hours, a fifth more or less by
    `roll`, which is at least 0 and below 1."""
    plain = min(_LONGEST_SECONDS, _FIRST_SECONDS * _FACTOR ** (attempts - 1))
    return plain * (1 - _JITTER + 2 * _JITTER * roll)


def body(deployment: Deployment, job: ChainJobRow, closing: EventRow) -> str:
    """What a receiver is sent: canonical JSON about a job that `closing` closed. Only what the chain says."""
    told = {
        "type": "job.closed",
        "timestamp": iso(Timestamp(closing.time)),
        "data": {
            "job": job.id,
            "chain_id": deployment.chain_id,
            "contract": deployment.contract,
            "submitter": job.submitter,
            "provider": job.provider,
            "state": "Closed",
            "outcome": Outcome(job.outcome).name.capitalize(),
            "token": job.token,
            "price": job.price,
            "result_cid": str(Cid(Codec.DAG_PB, job.result)) if job.result else None,
            "closed_at": closing.time,
            "block": closing.block,
            "tx": closing.tx,
        },
    }
    return json.dumps(told, sort_keys=True, separators=(",", ":"))


class Callbacks:
    """The callbacks of one market. `wall` gives seconds since 1970 on this machine."""

    def __init__(
        self,
        database: Database,
        deployment: Deployment,
        courier: Courier,
        wall: Callable[[], float],
        *,
        confirmations: int,
    ) -> None:
        self._database, self._deployment, self._courier = database, deployment, courier
        self._wall, self._confirmations = wall, confirmations
        self._lock = threading.Lock()
        # Jobs whose callback is being made, and their submitters.
        self._busy: dict[str, str] = {}

    def view(self, job: JobId) -> CallbackView:
        """What became of the job's callback. Raises NotFound."""
        with self._database.read() as session:
            row = session.get(CallbackRow, job)
        if row is None:
            raise NotFound(f"the order of {job} asked for no callback")
        next_at = int(row.next_at) if row.step == CallbackStep.DUE and row.next_at is not None else None
        return CallbackView(step=row.step, attempts=row.attempts, next_at=next_at, error=row.error)

    def run(self, stop: threading.Event, wake: threading.Event) -> None:
        """Calls what is due until `stop`: every second, and when woken."""
        while not stop.is_set():
            wake.clear()
            try:
                self.sweep()
                for row in self._take():
                    threading.Thread(target=self._call, args=(row, wake), daemon=True).start()
            except Unavailable as error:
                _log.warning("no callbacks for now: %s", error)
            except Exception:  # noqa: BLE001 - a loop's top
                _log.exception("a round of callbacks failed, trying on")
            wake.wait(_ROUND_SECONDS)

    def sweep(self) -> None:
        """Makes due the callbacks of jobs whose end is too deep in the chain to be undone."""
        with self._database.read() as session:
            if not queries.closed_callbacks(session, self._confirmations):
                return
        with self._database.write() as session:
            for row, job, closing in queries.closed_callbacks(session, self._confirmations):
                row.step, row.body = CallbackStep.DUE, body(self._deployment, job, closing)
                row.next_at = self._wall()
                session.add(row)

    def _take(self) -> list[CallbackRow]:
        """The rows to call now, each counted as tried: a market that dies in the middle comes back to it later, not at once."""
        now = self._wall()
        with self._lock:
            room, each = _AT_ONCE - len(self._busy), Counter(self._busy.values())
            full = [submitter for submitter, count in each.items() if count >= _AT_ONCE_EACH]
            busy = list(self._busy)
        taken: list[CallbackRow] = []
        while len(taken) < room:
            with self._database.read() as session:
                row = queries.due_callback(session, now, busy, full)
            if row is None:
                break
            with self._database.write() as session:
                row.attempts += 1
                row.first_at = now if row.first_at is None else row.first_at
                row.next_at = now + max(
                    delay(row.attempts, random.random()),  # noqa: S311 - spreads load, hides nothing
                    2 * ATTEMPT_SECONDS,
                )
                session.add(row)
            taken.append(row)
            busy.append(row.job)
            each[row.submitter] += 1
            if each[row.submitter] >= _AT_ONCE_EACH:
                full.append(row.submitter)
        with self._lock:
            self._busy.update({row.job: row.submitter for row in taken})
        return taken

    def _call(self, row: CallbackRow, wake: threading.Event) -> None:
        try:
            self._conclude(row, self._attempt(row))
        except Unavailable as error:
            _log.warning("the callback of %s was made, and is made again: %s", row.job, error)
        except Exception:  # noqa: BLE001 - a thread's top
            _log.exception("the callback of %s failed, trying on", row.job)
        finally:
            with self._lock:
                del self._busy[row.job]
            wake.set()

    def _attempt(self, row: CallbackRow) -> int | str:
        """The status of the receiver's answer, or why there was none."""
        data = (row.body or "").encode()
        headers = callback.sign(row.secret, callback.message_id(JobId(row.job)), int(self._wall()), data)
        try:
            return self._courier.post(row.url, headers, data)
        except NotTaken as error:
            return str(error)

    def _conclude(self, row: CallbackRow, answer: int | str) -> None:
        now, is_taken = self._wall(), isinstance(answer, int) and 200 <= answer < 300
        row.error = None if is_taken else _reason(answer)
        row.next_at = now + delay(row.attempts, random.random())  # noqa: S311 - as above
        first = row.first_at if row.first_at is not None else now
        if is_taken:
            row.step = CallbackStep.DELIVERED
        elif answer == _GONE or row.attempts >= MAX_ATTEMPTS or row.next_at > first + MAX_SECONDS:
            row.step = CallbackStep.GIVEN_UP
        with self._database.write() as session:
            session.add(row)
        if is_taken:
            _log.info("the callback of %s was taken, attempt %d", row.job, row.attempts)
        else:
            said = "given up" if row.step == CallbackStep.GIVEN_UP else "to be tried again"
            _log.info("the callback of %s is %s after attempt %d: %s", row.job, said, row.attempts, row.error)


def _reason(answer: int | str) -> str:
    if isinstance(answer, str):
        return answer
    if 300 <= answer < 400:
        return f"the receiver answered {answer}, and redirects are not followed"
    return f"the receiver answered {answer}"
