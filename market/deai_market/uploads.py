"""Content handed in by accounts that have something at stake here: what they hold, for how long, and how much at most.

Blocks lie in a store of their own, apart from the market's: what expires here never takes anything else along. A hold is written before
its blocks and removed together with them, so no block lies here that nobody holds.
"""

import logging
import os
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from sqlmodel import Session

from deai import car
from deai.chain import Chain
from deai.cid import Cid, Codec
from deai.clock import ChainClock
from deai.deployment import Deployment
from deai.errors import BadContent
from deai.job import Address
from deai.local_store import LocalStore
from deai.store import Block, Store
from deai.wire import MAX_CIDS
from deai_market import queries
from deai_market.database import Database
from deai_market.errors import Forbidden, OverQuota, StoreFull
from deai_market.settings import Rules
from deai_market.tables import UploadRow

_log = logging.getLogger(__name__)

_PAGE_BYTES = 4_096
_SPARE_FILES = 10_000
_DAY_SECONDS = 86_400
_ROUND_SECONDS = 60.0
_ROUND_BLOCKS = 1_000
"""So many blocks are removed at a time, since nothing else is written meanwhile."""


class Uploads:
    """What accounts hold, in `folder`, which belongs to one process.

    What an account holds counts against its quota and the market's in pages of 4 KiB, as on a disk; what two accounts hold counts for both.
    """

    def __init__(
        self,
        database: Database,
        chain: Chain,
        deployment: Deployment,
        clock: ChainClock,
        *,
        folder: Path,
        served: Store,
        rules: Rules,
        arrived: Callable[[Collection[bytes]], None],
    ) -> None:
        """`served` is the market's own store: what is there need not be sent. `arrived` is told the digests of blocks that were taken.
        Raises StoreUnavailable."""
        self.store = LocalStore(folder)
        self._database, self._chain, self._deployment, self._clock = database, chain, deployment, clock
        self._folder, self._served, self._rules = folder, served, rules
        self._arrived = arrived
        self._counting = threading.Lock()
        with database.read() as session:
            self._held = Counter(queries.held_bytes(session))

    def check_known(self, account: Address) -> None:
        """Raises Forbidden for an account without a job under way here and without a balance in the escrow. An ask is not enough: it costs
        nothing, so a stranger could fill the disk with a thousand of them. Raises ChainUnavailable.
        """
        with self._database.read() as session:
            if queries.has_live_job(session, account, self._clock.now()):
                return
        if any(self._chain.balance(token.address, account) for token in self._deployment.tokens):
            return
        raise Forbidden(
            f"{account} has neither a balance in the escrow nor a job under way, so this market takes no content from it; deposit first"
        )

    def missing(self, account: Address, cids: Sequence[Cid]) -> list[Cid]:
        """Those of `cids` that have to be sent. What is here is the account's from now on, as if it had sent it again.

        Raises OverQuota, StoreFull, StoreUnavailable.
        """
        with self._database.read() as session:
            sizes = queries.upload_sizes(session, {cid.digest for cid in cids})
        # Held before the look at the disk: what is seen there cannot expire any more.
        self._hold(account, sizes)
        return [
            cid
            for cid in cids
            if not (cid.digest in sizes and self.store.has(cid)) and not self._served.has(cid)
        ]

    def take(self, account: Address, pieces: Iterable[bytes]) -> None:
        """Keeps the blocks of an archive, durably, and verified. The same again renews them.

        Raises BadContent for an archive that is none; then and at OverQuota and StoreFull nothing of it is kept. Raises StoreUnavailable.
        """
        blocks = dict[bytes, Block]()
        for block in car.read(pieces, self._rules.upload_bytes):
            blocks[block.cid.digest] = block
            if len(blocks) > MAX_CIDS:  # each costs a row: many tiny ones would hold up everybody
                raise BadContent(f"archive: has more than {MAX_CIDS} blocks; send several")
        self._hold(account, {digest: _charged(len(block.data)) for digest, block in blocks.items()})
        self.store.put(blocks.values())
        self._arrived(blocks.keys())

    def expire(self) -> int:
        """Removes what nobody holds any longer; how many holds ended. An account's blocks are kept while it has a job under way, and for
        the rules' days after the last upload of the block and after the last event of its jobs.
        """
        ended = 0
        with self._database.read() as session:
            accounts = list(queries.held_bytes(session))
        for account in accounts:
            while count := self._expire(Address(account)):
                ended += count
        return ended

    def run(self, stop: threading.Event) -> None:
        """Removes what has expired, from time to time, until told to stop."""
        while not stop.wait(_ROUND_SECONDS):
            try:
                if ended := self.expire():
                    _log.info("%d blocks have expired", ended)
            except Exception:  # noqa: BLE001 - a loop's top
                _log.exception("removing expired blocks failed; again in %d s", _ROUND_SECONDS)

    def _hold(self, account: Address, charged: dict[bytes, int]) -> None:
        """Writes down that the account holds these blocks from now on."""
        with self._counting:
            with self._database.write() as session:
                known = queries.renew_uploads(session, account, charged.keys(), self._clock.now())
                fresh = {digest: size for digest, size in charged.items() if digest not in known}
                asked = sum(fresh.values())
                if asked:
                    self._check_room(account, asked)
                self._add(session, account, fresh)
            self._held[account] += asked

    def _check_room(self, account: Address, asked: int) -> None:
        rules, held, total = self._rules, self._held[account], self._held.total()
        if held + asked > rules.upload_account_bytes:
            raise OverQuota(
                f"{account} holds {held} bytes here and asks for {asked} more; its quota is {rules.upload_account_bytes}"
            )
        free = min(
            rules.uploads_bytes - total, shutil.disk_usage(self._folder).free - rules.disk_reserve_bytes
        )
        disk = os.statvfs(self._folder)
        if disk.f_files and disk.f_favail < _SPARE_FILES:  # some file systems have no such number
            raise StoreFull("this market's disk has no room for more files")
        if asked > free:
            raise StoreFull(
                f"this market holds {total} bytes of {rules.uploads_bytes} for all accounts and has room for {max(free, 0)} more;"
                f" {account} asks for {asked}"
            )

    def _add(self, session: Session, account: Address, fresh: dict[bytes, int]) -> None:
        now = self._clock.now()
        session.add_all(
            UploadRow(account=account, digest=digest, bytes=size, at=now) for digest, size in fresh.items()
        )

    def _expire(self, account: Address) -> int:
        with self._counting:
            with self._database.write() as session:
                now = self._clock.now()
                before = now - self._rules.upload_days * _DAY_SECONDS
                if queries.has_live_job(session, account, now):
                    return 0
                if (queries.last_event(session, account) or 0) > before:
                    return 0
                rows = queries.drop_uploads(session, account, before, _ROUND_BLOCKS)
                digests = {row.digest for row in rows}
                # Before the commit: if this ends in between, the rows say more than is here, and `missing` looks at the disk.
                unheld = digests - queries.upload_sizes(session, digests).keys()
                self.store.remove(Cid(Codec.RAW, digest) for digest in unheld)
            freed = sum(row.bytes for row in rows)
            self._held[account] -= freed
            return len(rows)


def _charged(size: int) -> int:
    return max(1, -(-size // _PAGE_BYTES)) * _PAGE_BYTES
