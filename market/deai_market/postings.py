"""Jobs that were posted on chain, on their way into the book: each needs its spec, which the chain knows only by its digest."""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from deai.chain import JobPosted
from deai.cid import Cid, Codec
from deai.clock import ChainClock
from deai.errors import BadContent, BadField, ContentMissing, Unavailable, WrongRequest
from deai.job import Address, Job, JobId
from deai.store import Store
from deai_market import events, queries
from deai_market.book import Book, Purse
from deai_market.database import Database

_log = logging.getLogger(__name__)

_ROUND_SECONDS = 1.0
_FIRST_SECONDS, _LONGEST_SECONDS = 1.0, 60.0
"""A job is looked at again after a second, then after twice as long each time."""
_PURSES = 64
"""Of so many accounts and tokens the chain is asked in a round: a post locks nothing, so that anybody has many."""


@dataclass(slots=True)
class _Posting:
    """A posted job that is not in the book, and why."""

    job: Job
    tries: int = 0
    next_at: float = field(default_factory=time.monotonic)
    """When it is looked at again, by this machine's monotonic clock."""
    note: str = ""

    @property
    def spec(self) -> Cid:
        return Cid(Codec.RAW, self.job.spec)


class Postings:
    """Brings into `book` what was posted on chain. `content` is where specs are looked for; `most` of one submitter are looked at."""

    def __init__(self, database: Database, book: Book, content: Store, clock: ChainClock, most: int) -> None:
        self._database, self._book, self._content, self._clock = database, book, content, clock
        self._most = most
        self._postings: dict[JobId, _Posting] = {}
        self._beyond: frozenset[JobId] = frozenset()
        self._looking = threading.Lock()
        self._wake = threading.Event()

    def note(self, job: JobId) -> str | None:
        """Why the job waits outside the book; None if it does not, or nobody has looked yet."""
        if job in self._beyond:
            return f"its submitter has {self._most} older jobs that were posted and wait, which is the limit"
        posting = self._postings.get(job)
        return posting.note or None if posting is not None else None

    def arrived(self, digests: Collection[bytes]) -> None:
        """Looks again, at once, at the jobs that wait for these blocks. Any thread may."""
        now = time.monotonic()
        for posting in list(self._postings.values()):
            if posting.job.spec in digests:
                posting.next_at = now
                self._wake.set()

    def wake(self) -> None:
        """There may be jobs that were posted just now. Any thread may."""
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Rounds until `stop`: every second, and when woken."""
        while not stop.is_set():
            self._wake.clear()
            try:
                self.round()
            except Unavailable as error:
                _log.warning("posted jobs have to wait: %s", error)
            except Exception:  # noqa: BLE001 - a loop's top
                _log.exception("a round of posted jobs failed, trying on")
            self._wake.wait(_ROUND_SECONDS)

    def round(self) -> None:
        """Looks once at each posted job that is due. Raises Unavailable."""
        with self._looking:
            self._find()
            now, purses = time.monotonic(), dict[tuple[Address, Address], Purse]()
            due = [(id_, each) for id_, each in self._postings.items() if each.next_at <= now]
            for job_id, posting in sorted(due, key=lambda each: each[1].next_at):
                token, submitter = key = posting.job.token, posting.job.submitter
                if key not in purses and len(purses) >= _PURSES:
                    continue
                if key not in purses:
                    purses[key] = self._book.purse(token, submitter)
                if self._try(job_id, posting, purses[key], now):
                    del self._postings[job_id]

    def _find(self) -> None:
        with self._database.read() as session:
            there, beyond, counts = set[JobId](), set[JobId](), Counter[str]()
            for job_id, submitter in queries.unbooked(session, self._clock.now()):
                counts[submitter] += 1
                (there if counts[submitter] <= self._most else beyond).add(JobId(job_id))
            for job_id in there - self._postings.keys():
                posted = next(
                    event
                    for event in map(events.load, queries.events_of(session, job_id))
                    if isinstance(event, JobPosted)
                )
                self._postings[job_id] = _Posting(posted.job)
        self._beyond = frozenset(beyond)
        for gone in self._postings.keys() - there:
            del self._postings[gone]

    def _try(self, job_id: JobId, posting: _Posting, purse: Purse, now: float) -> bool:
        """Whether the job came into the book."""
        posting.tries += 1
        posting.next_at = now + min(_LONGEST_SECONDS, _FIRST_SECONDS * 2 ** min(posting.tries - 1, 16))
        try:
            purse.check(job_id, posting.job)
            self._book.adopt(job_id, posting.job, self._content.get(posting.spec))
        except ContentMissing:
            posting.note = (
                f"posted on chain, but this market does not have its spec {posting.spec}; hand it in"
            )
        except (BadField, BadContent) as error:
            # The job and its spec stay what they are.
            posting.note, posting.next_at = f"this market does not take it: {error}", math.inf
        except WrongRequest as error:
            posting.note = f"this market does not take it now: {error}"
        else:
            purse.add(posting.job)
            _log.info("%s was posted on chain and is in the book", job_id)
            return True
        return False
