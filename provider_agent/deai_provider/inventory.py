"""What is on this machine, held against what was promised: taken stock of at the start, and whenever the ask is renewed."""

import logging
import re
import shutil
import time
from collections.abc import Callable
from functools import partial

from deai.chain import JobAwarded
from deai.cid import Cid, Codec
from deai.errors import ContentMissing, Unavailable, WrongRequest
from deai.job import JobId, JobState, Timestamp
from deai.wire import LogChunk
from deai_provider import reconcile, staging
from deai_provider.ledger import UNDER_AWARD, Step
from deai_provider.workshop import REORG_BLOCKS, Workshop, award_facts, known, terms_after

_log = logging.getLogger(__name__)
_AWAY_POLLS, _REFUSED_POLLS, _REFUSED_GROWTH, _MAX_REFUSED_POLLS = 40, 80, 2, 14_400
"""How long a result waits that a market was not there for, and, ever longer, one that a market refused."""
_JOB_ID = re.compile(r"0x[0-9a-f]{64}")


class Inventory:
    """Acts on `reconcile.plan`. `work(id)` gives a job a thread."""

    def __init__(self, shop: Workshop, work: Callable[[JobId], None]) -> None:
        self._shop, self._work = shop, work
        self.taken = False
        """Nothing new is begun before."""
        self._offer_at: dict[JobId, float] = {}
        """When to offer a result that was not taken again, by the monotonic clock."""
        self._refused_polls: dict[JobId, int] = {}

    def take(self) -> None:
        """Once, at the start: what only the chain knows is carried on, and what belongs to nothing goes. Raises ChainUnavailable,
        EngineUnavailable, LedgerUnavailable: say it again.
        """
        if self.taken:
            return
        shop = self._shop
        steps = {entry.id: entry.step for entry in shop.ledger.entries()}
        awards = self._awards()
        found = reconcile.Findings(
            steps=steps,
            engine=frozenset(shop.executor.adopt()),
            folders=self._folders(),
            awards=awards,
            states={
                award.id: shop.chain.state(award.id)[0]
                for award in awards
                if steps.get(award.id) in (None, *reconcile.UNPROMISED)
            },
            now=shop.now(),
        )
        plan = reconcile.plan(found)
        for award in plan.restore:
            self._restore(award)
        for id_ in plan.clear:
            self._work(id_)
        for id_ in plan.remove:
            _log.warning("%s: a container or folder without a promise is removed", id_)
            shop.executor.remove(id_)
            shutil.rmtree(shop.folder(id_), ignore_errors=True)
        self.taken = True

    def remove_strays(self, working: Callable[[JobId], bool]) -> None:
        """Removes containers that no promise accounts for. Raises EngineUnavailable."""
        there = self._shop.executor.adopt()
        if not self.taken:
            # Before the chain was asked, a container may be one of a promise that the ledger lost.
            return
        entries = {id_: self._shop.ledger.entry(id_) for id_ in there}
        steps = {id_: entry.step for id_, entry in entries.items() if entry is not None}
        for id_ in reconcile.strays(steps, there):
            if not working(id_):
                _log.warning("%s: a container without a promise is removed", id_)
                self._shop.executor.remove(id_)

    def held_mib(self) -> int:
        """What the volumes of runs hold of the disk."""
        begun = UNDER_AWARD - {Step.AWARDED}
        entries = self._shop.ledger.entries(begun)
        return sum(
            entry.spec.resources.disk_mib for entry in entries if entry.spec is not None and entry.runs
        )

    def share(self) -> None:
        """Hands results and ends of logs to a market that did not have them. A result that it refuses keeps none of the others. Raises
        Unavailable, and WrongRequest for a log.
        """
        shop = self._shop
        shop.late_logs.send(partial(self._send_log))
        for entry in shop.ledger.unshared():
            if shop.stopping.is_set():
                return
            if entry.result is None or time.monotonic() < self._offer_at.get(entry.id, 0.0):
                continue
            try:
                done = shop.store.share(Cid.parse(entry.result), lambda: not shop.stopping.is_set())
            except ContentMissing as error:
                _log.warning("%s: its result cannot be handed to the market any more: %s", entry.id, error)
                done = True
            except WrongRequest as error:
                polls = self._refused_polls.get(entry.id, _REFUSED_POLLS)
                self._refused_polls[entry.id] = min(polls * _REFUSED_GROWTH, _MAX_REFUSED_POLLS)
                self._offer_at[entry.id] = time.monotonic() + polls * shop.poll_seconds
                _log.warning("%s: the market refuses its result: %s", entry.id, error)
                continue
            except Unavailable:
                # Others come first the next time: it may be this one that the market cannot take.
                self._offer_at[entry.id] = time.monotonic() + _AWAY_POLLS * shop.poll_seconds
                raise
            if done:
                shop.note(entry.id, shared=True)
                self._offer_at.pop(entry.id, None)
                self._refused_polls.pop(entry.id, None)

    def _send_log(self, id_: JobId, chunk: LogChunk) -> None:
        self._shop.market.send_logs(self._shop.account, id_, chunk)

    def _awards(self) -> tuple[JobAwarded, ...]:
        head = self._shop.chain.head().number
        events = self._shop.chain.events(max(0, head - self._shop.look_back_blocks), head)
        return reconcile.latest(
            (event for event in events if isinstance(event, JobAwarded)), self._shop.address
        )

    def _folders(self) -> frozenset[JobId]:
        jobs = self._shop.work / "jobs"
        names = [path.name for path in jobs.iterdir()] if jobs.is_dir() else []
        return frozenset(JobId(name) for name in names if _JOB_ID.fullmatch(name))

    def _restore(self, award: JobAwarded) -> None:
        """Writes the row that the ledger lacks, and has the job carried on."""
        shop, now = self._shop, Timestamp(int(self._shop.clock.wall()))
        facts: dict[str, object] = award_facts(award) | {
            "price": award.terms.price,
            "expires_at": award.terms.deliver_by,
            "bid_block": max(0, award.block - REORG_BLOCKS),
        }
        state = shop.chain.state(award.id)[0]
        step = Step.AWARDED
        if state in (JobState.DELIVERED, JobState.DISPUTED):
            terms = known(terms_after(shop.chain.events(award.block, shop.chain.head().number, award.id)))
            facts["terms"], facts["result"] = terms, str(Cid(Codec.DAG_PB, terms.result))
            step = Step.DISPUTED if state is JobState.DISPUTED else Step.DELIVERED
        job = reconcile.job_of(award)
        try:
            facts["spec"] = staging.read_spec(shop.store, job)
        except Unavailable as error:
            # Its thread asks for it again, until the deadline.
            _log.error("%s: its spec cannot be had now: %s", award.id, error)
        _log.error(
            "%s: the chain knows of this award to us, and the ledger did not: it is carried on", award.id
        )
        shop.ledger.restore(
            award.id, job, step, now, "found in the chain only: was the ledger lost?", **facts
        )
        if step is Step.AWARDED:
            self._work(award.id)
