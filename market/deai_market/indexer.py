"""Follows the chain: what it says of jobs into rows, and back out when a reorg undid it. The only writer of chain rows.

A block is indexed when its events are; the newest indexed block is the tip. As long as the tip's hash is canonical, so is everything
below it. When it is not, everything above the newest block that still is canonical is forgotten. One transaction a step.
"""

import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable

from sqlmodel import Session

from deai.chain import AllCancelled, Block, Chain, JobEvent
from deai.clock import ChainClock
from deai.errors import Unavailable
from deai_market import events, queries
from deai_market.database import Database
from deai_market.tables import BlockRow, CancellationRow, ChainJobRow

_log = logging.getLogger(__name__)

_STEP_BLOCKS = 2_000
_DENSE_BLOCKS = 32
"""Up to so many new blocks each one is kept; of longer stretches, those with events and the last."""

Changed = Callable[[set[str]], None]


class Indexer:
    """Keeps the chain rows of `database` equal to `chain`, from block `start` on."""

    def __init__(
        self, database: Database, chain: Chain, start: int, clock: ChainClock, changed: Changed
    ) -> None:
        """`changed` is told the ids of jobs whose events came or went, after they are committed."""
        self._database, self._chain, self._start, self._clock = database, chain, start, clock
        self._changed = changed
        self._stepping = threading.Lock()
        self._answered = time.monotonic()
        self._head: str | None = None
        with database.read() as session:
            self._tip = queries.tip(session)

    @property
    def head(self) -> int:
        """The newest indexed block; one below the first before there is any."""
        return self._tip.number if self._tip else self._start - 1

    @property
    def tip(self) -> str:
        """The hash of the newest indexed block; empty before there is any."""
        tip = self._tip
        return tip.hash if tip else ""

    @property
    def silent_seconds(self) -> float:
        """How long ago the node last answered."""
        return time.monotonic() - self._answered

    def catch_up(self) -> None:
        """Steps until the chain's head is indexed. Any thread may. Raises ChainUnavailable."""
        while self.step():
            pass

    def step(self) -> bool:
        """Takes in new blocks, or forgets orphaned ones; whether there is more to do. Raises ChainUnavailable."""
        with self._stepping:
            head = self._chain.head()
            self._answered = time.monotonic()
            if head.hash != self._head:
                self._head = head.hash
                self._clock.saw(head)
            tip = self._tip
            if tip is not None and tip.hash == head.hash:
                return False
            if tip is not None and head.parent != tip.hash and not self._canonical(tip):
                jobs = self._rewind()
            else:
                first = tip.number + 1 if tip else self._start
                if head.number < first:
                    return False
                indexed = self._advance(first, min(head.number, first + _STEP_BLOCKS - 1))
                if indexed is None:
                    return False
                jobs = indexed
            more = self.head < head.number
        if jobs:
            self._changed(jobs)
        return more

    def run(self, stop: threading.Event, wake: threading.Event, poll_seconds: float) -> None:
        """Steps until `stop`, every `poll_seconds` or when woken."""
        silent = False
        while not stop.is_set():
            try:
                self.catch_up()
                silent = False
            except Unavailable as error:
                if not silent:
                    _log.warning("the chain is not followed for now, trying on: %s", error)
                silent = True
            except Exception:  # noqa: BLE001 - a loop's top
                _log.exception("indexing failed, trying on")
            wake.wait(poll_seconds if not silent else max(1.0, poll_seconds))
            wake.clear()

    def _advance(self, first: int, last: int) -> set[str] | None:
        before = self._chain.block(last)
        found = [
            event for event in self._chain.events(first, last) if isinstance(event, JobEvent | AllCancelled)
        ]
        blocks = self._blocks(first, last, found)
        # The chain may have moved between these calls: what does not hang together is read again, later.
        if blocks is None or blocks[-1] != before or not self._linked(blocks):
            return None
        times = {block.number: block.time for block in blocks}
        cancelled = [event for event in found if isinstance(event, AllCancelled)]
        changed = [event for event in found if isinstance(event, JobEvent)]
        jobs: set[str] = {event.id for event in changed}
        with self._database.write() as session:
            session.add_all(
                BlockRow(number=block.number, hash=block.hash, parent=block.parent, time=block.time)
                for block in blocks
            )
            session.add_all(events.dump(event, times[event.block]) for event in changed)
            session.add_all(_cancellation(event, times[event.block]) for event in cancelled)
            session.flush()
            self._fold(session, jobs)
            for event in cancelled:
                jobs.update(queries.orders_of(session, event.token, event.submitter))
        tip = blocks[-1]
        self._tip = BlockRow(number=tip.number, hash=tip.hash, parent=tip.parent, time=tip.time)
        return jobs

    def _blocks(self, first: int, last: int, found: Iterable[JobEvent | AllCancelled]) -> list[Block] | None:
        """The blocks to keep of `first` to `last`, ascending; None if one is gone or an event is of another block at its height."""
        hashes = {event.block: event.block_hash for event in found}
        dense = last - first < _DENSE_BLOCKS
        blocks = []
        for number in range(first, last + 1) if dense else sorted({*hashes, last}):
            block = self._chain.block(number)
            if block is None or hashes.get(number, block.hash) != block.hash:
                return None
            blocks.append(block)
        return blocks

    def _linked(self, blocks: list[Block]) -> bool:
        """Whether the blocks stand on the tip and, where they are neighbours, on each other."""
        if (
            self._tip is not None
            and blocks[0].number > self._tip.number + 1
            and not self._canonical(self._tip)
        ):
            return False
        below = self._tip
        for block in blocks:
            if below is not None and block.number == below.number + 1 and block.parent != below.hash:
                return False
            below = BlockRow(number=block.number, hash=block.hash, parent=block.parent, time=block.time)
        return True

    def _canonical(self, row: BlockRow) -> bool:
        block = self._chain.block(row.number)
        return block is not None and block.hash == row.hash

    def _rewind(self) -> set[str]:
        """Back to the newest block kept that is canonical; the jobs this touched."""
        with self._database.read() as session:
            numbers = queries.block_numbers(session)

            def orphaned(number: int) -> bool:
                row = session.get(BlockRow, number)
                return row is None or not self._canonical(row)

            # Below an orphan there may be canonical blocks; above one there is none.
            orphans = bisect_left(numbers, True, key=orphaned)
        ancestor = numbers[orphans - 1] if orphans else self._start - 1
        with self._database.write() as session:
            jobs = queries.jobs_after(session, ancestor)
            queries.drop_after(session, ancestor)
            self._fold(session, jobs)
            tip = queries.tip(session)
        _log.warning("the chain was reorganised: history above block %d is read again", ancestor)
        self._tip = tip
        return jobs

    def _fold(self, session: Session, jobs: Iterable[str]) -> None:
        for job in jobs:
            old, new = session.get(ChainJobRow, job), events.fold(queries.events_of(session, job))
            if new is not None:
                session.merge(new)
            elif old is not None:
                session.delete(old)


def _cancellation(event: AllCancelled, time: int) -> CancellationRow:
    return CancellationRow(
        block=event.block,
        index=event.index,
        time=time,
        tx=event.tx,
        token=event.token,
        account=event.submitter,
        epoch=event.epoch,
    )
