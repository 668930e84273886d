"""The verifier's loop: follows disputes that the panel judges, moves their cases on, and votes where it has a seat."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from deai.chain import JobAwarded, JobDisputed
from deai.errors import DeaiError, WrongRequest
from deai.job import JobId, JobState
from deai.panel import Case, Phase, Seat, seal
from deai_provider.hearing import Bench, Dispute, Hearing
from deai_provider.workshop import REORG_BLOCKS, terms_after

_log = logging.getLogger(__name__)
_LOOK_POLLS, _PAUSE_POLLS, _COLLECT_POLLS = 2, 20, 40
_STAGGER_POLLS = 8
"""Anyone may move a case on; so that not all do at once, each waits for a part of this, another one in each case and round."""
_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _View:
    """What the chain said of a dispute when the block with the hash `head` was its newest."""

    head: str
    state: JobState
    case: Case | None
    seat: Seat | None
    """Ours."""


class Verifier:
    """One verifier on one machine. `run` returns after `stop`; a later one over the same folder goes on with its seats."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._free = threading.Semaphore(bench.slots)
        self._disputes: dict[JobId, Dispute] = {}
        self._seen = set[tuple[JobId, str]]()
        self._cursor: int | None = None
        self._head = ""
        """The hash of the block up to which all was taken in. Until there is another, no case changes."""
        self._views: dict[JobId, _View] = {}
        self._hearings: dict[JobId, threading.Thread] = {}
        self._due: dict[tuple[JobId, Phase, int], float] = {}
        """Since when, by the monotonic clock, anyone may move a case on."""
        self._over: dict[JobId, int] = {}
        """The block at which a case was first seen to be over, since then at every look."""
        self._collect_at = 0.0

    def run(self) -> None:
        """Works until `stop`."""
        while not self._bench.stopping.is_set():
            if not all([self._went_well(self._follow), *self._look(), self._went_well(self._collect)]):
                self._bench.stopping.wait(_PAUSE_POLLS * self._bench.poll_seconds)
            self._bench.stopping.wait(_LOOK_POLLS * self._bench.poll_seconds)
        deadline = time.monotonic() + _STOP_SECONDS
        for hearing in self._hearings.values():
            hearing.join(max(0.0, deadline - time.monotonic()))

    def stop(self) -> None:
        """The loops end soon. Safe in a signal handler."""
        self._bench.stopping.set()

    def _went_well(self, act: Callable[[], object]) -> bool:
        try:
            act()
        except DeaiError as error:
            _log.warning("%s", error)
        except Exception:  # noqa: BLE001 - a loop's top
            _log.exception("a bug")
        else:
            return True
        return False

    # The disputes.

    def _follow(self) -> None:
        """Takes in the disputes since the last look, and again those in blocks that a reorg may have changed."""
        bench = self._bench
        head = bench.chain.head()
        bench.clock.saw(head)
        if head.hash == self._head:
            return
        if self._cursor is None:
            self._resume(head.number)
            self._cursor = max(bench.first_block, head.number - bench.look_back_blocks)
        first = max(bench.first_block, self._cursor - REORG_BLOCKS)
        for event in bench.chain.events(first, head.number):
            if isinstance(event, JobDisputed) and (event.id, event.block_hash) not in self._seen:
                self._take(event)
                self._seen.add((event.id, event.block_hash))
        self._cursor, self._head = head.number, head.hash

    def _resume(self, head: int) -> None:
        """Takes in the disputes that we have a vote in, however old they are."""
        for id_ in self._bench.votes.cases():
            events = self._bench.chain.events(self._bench.first_block, head, id_)
            disputes = [event for event in events if isinstance(event, JobDisputed)]
            if disputes:
                self._take(disputes[-1])
                self._seen.add((id_, disputes[-1].block_hash))

    def _take(self, disputed: JobDisputed) -> None:
        events = self._bench.chain.events(self._bench.first_block, disputed.block, disputed.id)
        awards = [event for event in events if isinstance(event, JobAwarded)]
        terms = terms_after(events)
        if awards and terms is not None and terms.arbiter == self._bench.panel.contract:
            self._disputes[disputed.id] = Dispute(awards[-1], terms)
            _log.info("%s: disputed", disputed.id)

    # The cases.

    def _look(self) -> list[bool]:
        return [self._went_well(partial(self._push, dispute)) for dispute in list(self._disputes.values())]

    def _push(self, dispute: Dispute) -> None:
        id_, view = dispute.id, self._view(dispute.id)
        case, seat = view.case, view.seat
        if view.state is not JobState.DISPUTED or (case and case.phase is Phase.CLOSED):
            self._end(id_)
            return
        self._over.pop(id_, None)
        if case is None:
            self._when_due(dispute, None, partial(self._open, dispute))
        elif case.phase is Phase.DRAWING:
            self._draw(dispute, case)
        else:
            if case.phase is Phase.VOTING:
                if seat is not None and not seat.voted:
                    self._vote(dispute, case)
            elif seat is not None and seat.voted and not seat.revealed:
                self._reveal(id_, seat)
            # Seats that nobody took are drawn anew at the deadline, not before.
            all_did = case.open == 0 and (case.phase is Phase.REVEALING or case.empty == 0)
            if all_did or self._bench.clock.now() >= case.deadline:
                self._when_due(dispute, case, partial(self._advance, dispute))

    def _view(self, id_: JobId) -> _View:
        """The job and its case as of the block that was taken in last: a verifier that waits asks its node for no more than the newest block."""
        panel, view = self._bench.panel, self._views.get(id_)
        if view is None or view.head != self._head:
            case = panel.case(id_)
            seats = panel.seats(id_) if case and case.phase in (Phase.VOTING, Phase.REVEALING) else []
            seat = next((each for each in seats if each.account == self._bench.address), None)
            view = _View(self._head, self._bench.chain.state(id_)[0], case, seat)
            self._views[id_] = view
        return view

    def _open(self, dispute: Dispute) -> None:
        job = self._bench.panel.job(dispute.award)
        if job is None:
            _log.warning("%s: its award does not show the signed job; a party must open its case", dispute.id)
            return
        self._try("open", lambda: self._bench.panel.open(self._bench.account, job, dispute.terms))

    def _draw(self, dispute: Dispute, case: Case) -> None:
        bench = self._bench
        if bench.clock.now() >= case.deadline:
            self._when_due(dispute, case, partial(self._advance, dispute))
        elif (self._cursor or 0) > case.draw_block:
            number = case.resource_class
            self._when_due(
                dispute, case, lambda: self._try("draw", lambda: bench.panel.draw(bench.account, number))
            )

    def _advance(self, dispute: Dispute) -> None:
        bench = self._bench
        self._try("advance", lambda: bench.panel.advance(bench.account, dispute.id, dispute.terms))

    def _when_due(self, dispute: Dispute, case: Case | None, act: Callable[[], None]) -> None:
        """Does what anyone may do, unless somebody else does it in the moments before our turn."""
        moment = (dispute.id, case.phase if case else Phase.NONE, case.round if case else 0)
        since = self._due.setdefault(moment, time.monotonic())
        lot = sha256(repr((moment, self._bench.address)).encode()).digest()[0] / 256
        if time.monotonic() >= since + lot * _STAGGER_POLLS * self._bench.poll_seconds:
            act()

    def _try(self, what: str, act: Callable[[], object]) -> None:
        try:
            act()
        except WrongRequest as error:
            # Somebody was faster, or the chain's clock is a little behind: the next look tells.
            _log.info("no %s: %s", what, error)

    # Our seats.

    def _vote(self, dispute: Dispute, case: Case) -> None:
        bench, id_ = self._bench, dispute.id
        vote = bench.votes.find(id_)
        if vote is None:
            hearing = self._hearings.get(id_)
            if (hearing is None or not hearing.is_alive()) and bench.clock.now() < case.deadline:
                work = Hearing(bench, dispute, case, self._free)
                self._hearings[id_] = threading.Thread(target=work.carry, name=id_[:10], daemon=True)
                self._hearings[id_].start()
        elif case.vote_from <= bench.clock.now() < case.deadline:
            sealed = seal(bench.address, id_, vote.verdict, vote.digest, vote.salt)
            self._try("vote", lambda: bench.panel.commit(bench.account, id_, sealed))

    def _reveal(self, id_: JobId, seat: Seat) -> None:
        bench, vote = self._bench, self._bench.votes.find(id_)
        if vote is None or seal(bench.address, id_, vote.verdict, vote.digest, vote.salt) != seat.vote:
            _log.error("%s: the vote that was sealed is not written down here: was the folder lost?", id_)
            return
        self._try(
            "reveal",
            lambda: bench.panel.reveal(bench.account, id_, vote.verdict, vote.digest, vote.salt),
        )

    def _end(self, id_: JobId) -> None:
        """Forgets a case once it was over in so many blocks that no reorg, and no node that lags behind, can bring it back: whoever forgets
        a sealed vote cannot open it.
        """
        if self._cursor is None:
            return
        if id_ not in self._over:
            # Not the cursor: a look may take many blocks, while transactions are waited for.
            self._over[id_] = self._bench.chain.head().number
            self._collect_at = 0.0
        elif self._cursor > self._over[id_] + REORG_BLOCKS:
            self._forget(id_)

    def _forget(self, id_: JobId) -> None:
        """Leaves nothing of a case that is over."""
        hearing = self._hearings.get(id_)
        if hearing is not None and hearing.is_alive():
            # It finds out by itself that there is nothing to vote on any more.
            return
        self._bench.rerun(id_, lambda: None).clear()
        self._bench.votes.drop(id_)
        self._hearings.pop(id_, None)
        self._disputes.pop(id_, None)
        self._over.pop(id_, None)
        self._views.pop(id_, None)
        self._seen = {each for each in self._seen if each[0] != id_}
        self._due = {moment: since for moment, since in self._due.items() if moment[0] != id_}
        _log.info("%s: its case is over", id_)

    def _collect(self) -> None:
        """Takes what the panel owes us."""
        if time.monotonic() < self._collect_at:
            return
        self._collect_at = time.monotonic() + _COLLECT_POLLS * self._bench.poll_seconds
        amount = self._bench.panel.earned(self._bench.address)
        if amount:
            _log.info("collecting %d", amount)
            self._bench.panel.collect(self._bench.account)
