"""The agent's loop: offers the machine, takes matches, and gives each job a thread that carries it to its
delivery.
"""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from deai.ask import Ask
from deai.errors import BadSignature, DeaiError, WrongRequest
from deai.job import JobId, JobState, Timestamp
from deai.signing import check_job, job_id, sign_ask
from deai.wire import Match, SignedAsk
from deai_provider import policy
from deai_provider.assignment import Assignment
from deai_provider.inventory import Inventory
from deai_provider.ledger import BUSY, UNPAID, Entry, Step
from deai_provider.purse import Purse
from deai_provider.workshop import Workshop

_log = logging.getLogger(__name__)
_WAIT_SECONDS = 15.0
"""How long a market is asked to hold the question for matches."""
_LATE_SECONDS = 600
"""A lost bid is looked after this long: its award may have been mined in time and seen late."""
_RETRY_SECONDS = 30
"""A job that was declined, lost or failed is not looked at again before."""
_LOOK_POLLS, _PAUSE_POLLS, _LATE_LOOK_POLLS = 4, 20, 20
"""How often the ledger is gone through, how long a failure is waited out, and how often lost bids are
looked after.
"""
_WAITING_SECONDS = 20.0
"""A match that found no free slot is worth a try for this long; then the market may have let it go."""
_SHARE_POLLS = 20
_STOP_SECONDS = 5.0
_GOODBYE_SECONDS = 2.0


class Agent:
    """One provider on one machine. `run` returns after `stop`; jobs that run then keep their containers, and a
    later agent over the same ledger carries them on.
    """

    def __init__(self, shop: Workshop, ask_seconds: int = 120) -> None:
        """`ask_seconds`: how long each ask stands; it is renewed at half of that."""
        self._shop, self._ask_seconds = shop, ask_seconds
        self._pause = _PAUSE_POLLS * shop.poll_seconds
        self._purse = Purse(shop)
        self._inventory = Inventory(shop, self._work)
        self._waiting: dict[JobId, tuple[float, Match]] = {}
        """Matches that came while all slots were taken, and until when they are worth a try."""
        self._taking = threading.Lock()
        self._workers: dict[JobId, threading.Thread] = {}
        self._hiring = threading.Lock()
        self._issued = self._renew_at = 0
        self._looked_late = float("-inf")
        self._withdrawal_due = True
        self._share_at = float("-inf")
        self._sharing: threading.Thread | None = None
        self._cursor = 0
        """Up to here the market's matches were taken, or left on purpose."""

    def run(self) -> None:
        """Works until `stop`."""
        matches = threading.Thread(target=self._take_matches, name="matches", daemon=True)
        matches.start()
        # What protects the bonds and the pay comes before the ask, which waits for the market and the engine.
        acts = (
            self._shop.now,
            self._resume,
            self._inventory.take,
            self._revive,
            self._collect,
            self._offer,
            self._share,
        )
        while not self._shop.stopping.is_set():
            went_well = [self._went_well(act) for act in acts]
            if not all(went_well):
                self._shop.stopping.wait(self._pause)
            self._shop.stopping.wait(_LOOK_POLLS * self._shop.poll_seconds)
        self._leave()

    def stop(self) -> None:
        """No new bids; the loops end soon. Safe in a signal handler."""
        self._shop.stopping.set()

    def _leave(self) -> None:
        _log.info("stopping; running jobs keep their containers")
        goodbye = threading.Thread(target=self._say_goodbye, daemon=True)
        goodbye.start()
        goodbye.join(_GOODBYE_SECONDS)
        deadline = time.monotonic() + _STOP_SECONDS
        for worker in self._workers.values():
            worker.join(max(0.0, deadline - time.monotonic()))

    def _say_goodbye(self) -> None:
        try:
            self._ask(1)
        except DeaiError as error:
            _log.info("the ask stands until it expires: %s", error)

    def _went_well(self, act: Callable[[], object]) -> bool:
        """Whether the act did not fail; a failure is logged, and keeps nothing else from being done."""
        try:
            act()
        except DeaiError as error:
            _log.warning("%s; again in %.1f s", error, self._pause)
        except Exception:  # noqa: BLE001 - a loop's top
            _log.exception("a bug; again in %.1f s", self._pause)
        else:
            return True
        return False

    # The offer.

    def _offer(self) -> None:
        """Renews the ask in time, as long as the engine answers: what the machine has is measured again."""
        shop = self._shop
        if shop.clock.now() < self._renew_at:
            return
        self._inventory.remove_strays(self._working)
        shop.capacity = shop.measure(self._inventory.held_mib())
        self._ask(self._ask_seconds)
        self._renew_at = self._issued + self._ask_seconds // 2

    def _ask(self, seconds: int) -> None:
        shop = self._shop
        now = shop.clock.now()
        self._issued = max(now, self._issued + 1)
        ask = Ask(
            provider=shop.address,
            chain_id=shop.chain.chain_id,
            contract=shop.chain.contract,
            capacity=shop.capacity,
            prices=dict(shop.rules.prices.items()),
            max_bond=dict(shop.rules.max_bond.items()),
            issued_at=self._issued,
            expires_at=self._issued + seconds,
        )
        shop.market.ask(SignedAsk(ask=ask.canonical().decode(), signature=sign_ask(shop.account, ask)))
        _log.info("ask: %d slots, for %d s", ask.capacity.slots, seconds)

    # The matches.

    def _take_matches(self) -> None:
        while not self._shop.stopping.is_set():
            # A job that the ledger lost may be matched again while its award to us stands: that is found first.
            if not self._inventory.taken:
                self._shop.stopping.wait(self._shop.poll_seconds)
            elif not self._went_well(self._take_news):
                self._shop.stopping.wait(self._pause)

    def _take_news(self) -> None:
        news = self._shop.market.matches(self._shop.address, self._cursor, _WAIT_SECONDS)
        went_well = [self._went_well(partial(self._take, match)) for match in news.matches]
        if all(went_well):
            self._cursor = news.cursor
        else:
            # All of them again: the ledger knows those that were taken.
            self._shop.stopping.wait(self._pause)

    def _take(self, match: Match) -> None:
        with self._taking:
            self._take_one(match)

    def _take_waiting(self) -> None:
        """A slot may have become free."""
        for id_, (until, match) in list(self._waiting.items()):
            if time.monotonic() < until:
                self._went_well(partial(self._take, match))
            else:
                self._waiting.pop(id_, None)

    def _take_one(self, match: Match) -> None:
        shop = self._shop
        entry = shop.ledger.entry(match.id)
        if entry is not None and not self._may_start_over(entry):
            return
        if shop.stopping.is_set():
            return
        if shop.is_full:
            # The market may know of a delivery before we wrote it down.
            self._waiting.setdefault(match.id, (time.monotonic() + _WAITING_SECONDS, match))
            return
        self._waiting.pop(match.id, None)
        try:
            job = match.job.value()
            if job_id(job, shop.domain) != match.id:
                raise WrongRequest("the market sent a job that has another id")
            if match.signature:
                check_job(job, match.signature, shop.domain)
            elif shop.chain.state(match.id)[0] is not JobState.OPEN:
                raise BadSignature("job: is neither signed nor posted")
        except WrongRequest as error:
            _log.warning("%s: %s", match.id, error)
            return
        shop.ledger.match(match.id, job, match.signature, Timestamp(int(shop.clock.wall())))
        _log.info("%s: matched", match.id)
        self._work(match.id)

    def _may_start_over(self, entry: Entry) -> bool:
        if entry.step not in (Step.DECLINED, Step.LOST, Step.FAILED) or self._working(entry.id):
            return False
        if self._shop.clock.wall() - entry.updated_at < _RETRY_SECONDS:
            return False
        # The row of a bid that may still be awarded is what finds that award, so it is not written over.
        return entry.expires_at is None or (
            policy.hopeless(entry.expires_at, self._shop.now())
            and self._shop.chain.state(entry.id)[0] in (JobState.UNKNOWN, JobState.OPEN)
        )

    # The work.

    def _resume(self) -> None:
        """Gives each job under way a thread, if it has none: after a restart, that is all of them."""
        for entry in self._shop.ledger.entries(BUSY):
            self._work(entry.id)

    def _revive(self) -> None:
        """Takes up a job whose award came after its bid was given up."""
        if time.monotonic() - self._looked_late < _LATE_LOOK_POLLS * self._shop.poll_seconds:
            return
        self._looked_late = time.monotonic()
        now = self._shop.clock.now()
        for entry in self._shop.ledger.entries(frozenset({Step.LOST})):
            if entry.expires_at is None or now >= entry.expires_at + _LATE_SECONDS or self._working(entry.id):
                continue
            self._went_well(partial(self._revive_one, entry))

    def _revive_one(self, entry: Entry) -> None:
        award = self._shop.award(entry)
        if award is not None and award.terms.provider == self._shop.address:
            _log.warning("%s: its award came late", entry.id)
            self._shop.move(
                entry.id,
                Step.AWARDED,
                "the award came late",
                terms=award.terms,
                award_block=award.block,
                award_hash=award.block_hash,
            )
            self._work(entry.id)

    def _collect(self) -> None:
        delivered = self._shop.ledger.entries(UNPAID)
        self._purse.forget_all_but({entry.id for entry in delivered})
        for entry in delivered:
            if self._purse.is_due(entry):
                self._went_well(partial(self._collect_one, entry))
        if self._withdrawal_due:
            self._purse.withdraw()
            self._withdrawal_due = False

    def _collect_one(self, entry: Entry) -> None:
        if self._purse.collect(entry):
            self._withdrawal_due = True

    # What the market did not take in time.

    def _share(self) -> None:
        """Offers results and ends of logs to a market that did not take them while their jobs were under way."""
        if time.monotonic() < self._share_at or (self._sharing is not None and self._sharing.is_alive()):
            return
        self._share_at = time.monotonic() + _SHARE_POLLS * self._shop.poll_seconds
        # A thread of its own: what is large, or a market that is slow, must not keep us from bonds and pay.
        self._sharing = threading.Thread(
            target=partial(self._went_well, self._inventory.share), name="share", daemon=True
        )
        self._sharing.start()

    def _working(self, id_: JobId) -> bool:
        worker = self._workers.get(id_)
        return worker is not None and worker.is_alive()

    def _work(self, id_: JobId) -> None:
        with self._hiring:
            if self._working(id_) or self._shop.stopping.is_set():
                return
            worker = threading.Thread(
                target=Assignment(self._shop, id_, self._take_waiting).carry, name=id_[:10], daemon=True
            )
            alive = {each: thread for each, thread in self._workers.items() if thread.is_alive()}
            self._workers = alive | {id_: worker}
            worker.start()
