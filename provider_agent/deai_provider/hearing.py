"""One seat's work: from the draw to a vote that is written down, or to giving the seat back."""

import logging
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from eth_account.signers.local import LocalAccount

from deai.ask import Capacity, fits
from deai.chain import Chain, JobAwarded
from deai.clock import ChainClock
from deai.errors import ContentMissing, DeaiError, WrongRequest
from deai.job import Address, JobId, Terms, Timestamp
from deai.panel import Case, Panel, Verdict
from deai.spec import Spec
from deai_provider.rerun import GaveUp, Rerun, judge, run_id
from deai_provider.staging import Depot
from deai_provider.votes import Votes

_log = logging.getLogger(__name__)
_SEND_SECONDS = 15
"""A vote, or a seat given back, that is sent later than this before the deadline may come too late."""
_LEAST_LOOKS = 3
"""What is missing this often, from early in the time to vote until only a re-run's time is left of it, is missing."""
_MAX_PAUSE_POLLS = 40


@dataclass(slots=True, kw_only=True)
class Bench:
    """The parts of one verifier, shared by its threads."""

    account: LocalAccount
    chain: Chain
    panel: Panel
    depot: Depot
    votes: Votes
    measure: Callable[[], Capacity]
    """What the machine gives to re-runs, as it is now."""
    work: Path
    slots: int
    """How many re-runs at the same time."""
    first_block: int
    """Cases of jobs that were awarded earlier are not known."""
    look_back_blocks: int
    """How far back a verifier that starts looks for disputes."""
    clock: ChainClock
    poll_seconds: float
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def address(self) -> Address:
        """The account that stakes and votes."""
        return Address(self.account.address)

    def now(self) -> Timestamp:
        """Chain seconds. Raises ChainUnavailable."""
        self.clock.saw(self.chain.head())
        return self.clock.now()

    def rerun(self, id_: JobId, check: Callable[[], None]) -> Rerun:
        """This verifier's run of a job."""
        own = run_id(id_, self.address)
        return Rerun(self.depot, own, self.work / "jobs" / own, check)


@dataclass(frozen=True, slots=True)
class Dispute:
    """A disputed job whose arbiter is the panel."""

    award: JobAwarded
    terms: Terms
    """As they stand since the dispute."""

    @property
    def id(self) -> JobId:
        """The job's, and its case's."""
        return self.award.id


class Misses:
    """How long content was missing at every look, from the moment on from which votes are taken."""

    def __init__(self, first: int, last: int) -> None:
        """Chain seconds: from when looks count, and at which moment there is just enough time left to re-run what turned up."""
        self._first, self._last = first, last
        self._looks: dict[Verdict, list[int]] = {}

    def enough(self, verdict: Verdict, now: int) -> bool:
        """Counts a look at which content was missing; whether that was so in enough looks, through at least half of the time. A verifier that
        came late may say less than one that looked from the beginning.
        """
        if now < self._first:
            return False
        looks = self._looks.setdefault(verdict, [])
        looks.append(now)
        long = 2 * (now - looks[0]) >= self._last - self._first
        return now >= self._last and len(looks) >= _LEAST_LOOKS and long


class Hearing:
    """Finds out what to say of a result. Runs in a thread of its own."""

    def __init__(self, bench: Bench, dispute: Dispute, case: Case, free: threading.Semaphore) -> None:
        """`free` is held while the machine is in use."""
        self._bench, self._dispute, self._case, self._free = bench, dispute, case, free
        deadline = case.deadline - _SEND_SECONDS
        self._until = max(deadline, (case.vote_from + case.deadline) // 2)
        # A look that falls due just then may come a pause later.
        last = self._until - case.deliver_seconds - math.ceil(_MAX_PAUSE_POLLS * bench.poll_seconds)
        self._misses = Misses(case.vote_from, max(case.vote_from, last))

    def carry(self) -> None:
        """Works until the vote is written down, the seat is given back, or the verifier stops."""
        id_, pause = self._dispute.id, self._bench.poll_seconds
        longest = _MAX_PAUSE_POLLS * self._bench.poll_seconds
        while not self._bench.stopping.is_set():
            try:
                if self._bench.votes.find(id_) is None:
                    self._judge()
                return
            except GaveUp as error:
                _log.warning("%s: the seat is given back: %s", id_, error)
                self._decline()
                return
            except (DeaiError, OSError) as error:
                _log.info("%s: %s; again in %.1f s", id_, error, pause)
            except Exception:  # noqa: BLE001 - a loop's top
                pause = longest
                _log.exception("%s: a bug; again in %.1f s", id_, pause)
            self._bench.stopping.wait(pause)
            pause = min(pause * 2, longest)

    def _judge(self) -> None:
        bench, id_ = self._bench, self._dispute.id
        while not self._free.acquire(timeout=1.0):
            self._check()
        try:
            rerun = bench.rerun(id_, self._check)
            found = judge(
                rerun,
                self._case.result,
                self._dispute.award.spec,
                self._lacks,
                lambda verdict: self._misses.enough(verdict, bench.clock.now()),
            )
            vote = bench.votes.keep(id_, found)
            _log.info("%s: the vote will be %s", id_, vote.verdict.name)
            rerun.clear()
        except ContentMissing:
            self._check()
            raise
        finally:
            self._free.release()

    def _lacks(self, spec: Spec) -> str | None:
        lacks = fits(spec.resources, self._bench.measure())
        if lacks:
            return f"resources: {lacks}"
        left = self._until - self._bench.now()
        if left < spec.max_seconds:
            return f"max_seconds: {spec.max_seconds}, and {max(left, 0)} s are left to vote"
        return None

    def _check(self) -> None:
        """Raises GaveUp once a vote would come too late."""
        if self._bench.stopping.is_set():
            raise DeaiError("the verifier stops")
        if self._bench.clock.now() >= self._until:
            raise GaveUp("there is no time left to re-run it")

    def _decline(self) -> None:
        bench, id_ = self._bench, self._dispute.id
        try:
            bench.rerun(id_, self._check).clear()
        except DeaiError as error:
            _log.warning("%s: what is left of its re-run stays for now: %s", id_, error)
        try:
            bench.panel.decline(bench.account, id_)
        except WrongRequest as error:
            _log.warning("%s: the seat was not given back: %s", id_, error)
        except DeaiError as error:
            # The next look at the case finds the seat still ours, and starts over.
            _log.warning("%s: the seat is not given back yet: %s", id_, error)
