"""LocalStore: content on this machine's disk, a file for each block."""

import errno
import hashlib
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from deai.cid import Cid
from deai.errors import BadContent, ContentMissing, StoreUnavailable
from deai.store import MAX_BLOCK_BYTES, Block, verify
from deai.unixfs import sync_folder, walk

_WRITERS = 4  # hashing and fsync release the interpreter, and one journal commit serves several
_IN_FLIGHT = 8
_ABANDONED_SECONDS = 3_600  # a block is written in far less, so an older temporary file has lost its writer


class LocalStore:
    """A store in a folder, created if need be. Many processes and threads may use one folder at once.

    `blocks/` holds each block under its digest, `pins/` an empty file for each pinned root, `writing/` what
    is being written. A block appears by a rename, after its bytes are on disk: whole or not at all.
    """

    def __init__(self, folder: Path) -> None:
        """Opens or creates the store. Raises StoreUnavailable."""
        self._folder = folder
        self._blocks, self._pins, self._writing = folder / "blocks", folder / "pins", folder / "writing"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for each in (self._blocks, self._pins, self._writing):
                each.mkdir(exist_ok=True)
            sync_folder(folder)
            sync_folder(folder.parent)
            self._sweep()
        except OSError as error:
            raise self._unavailable(error) from error

    def put(self, blocks: Iterable[Block]) -> None:
        """Keeps the blocks, durably, before it returns. A block that is there and right is not written again.

        Raises BadContent for a block that is not its CID's or too large, StoreUnavailable.
        """
        shards: set[Path] = set()
        pending: deque[Future[Path]] = deque()
        with ThreadPoolExecutor(_WRITERS, thread_name_prefix="local-store") as writers:
            for block in blocks:
                if len(pending) == _IN_FLIGHT:
                    shards.add(pending.popleft().result())
                pending.append(writers.submit(self._keep, block))
            shards.update(each.result() for each in pending)
            try:
                list(writers.map(sync_folder, shards))
                sync_folder(self._blocks)
            except OSError as error:
                raise self._unavailable(error) from error

    def get(self, cid: Cid) -> bytes:
        """The bytes of one block, verified. Raises ContentMissing, BadContent, StoreUnavailable."""
        path = self._path(cid)
        data = self._read(path)
        if data is None:
            raise ContentMissing(f"{cid}: is not in {self._folder}")
        if hashlib.sha256(data).digest() != cid.digest:
            raise BadContent(f"{cid}: the block at {path} is corrupt; add its content again to repair it")
        return data

    def has(self, cid: Cid) -> bool:
        """Whether the block is here; its bytes are not looked at. Raises StoreUnavailable."""
        try:
            self._path(cid).stat()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise self._unavailable(error) from error
        return True

    def pin(self, root: Cid) -> None:
        """Records `root` as wanted, durably, once all below it is here.

        Raises ContentMissing, BadContent, StoreUnavailable.
        """
        for _ in walk(self, root):
            pass
        try:
            self._write(self._pins / str(root), b"")
            sync_folder(self._pins)
        except OSError as error:
            raise self._unavailable(error) from error

    def remove(self, cids: Iterable[Cid]) -> None:
        """Removes blocks, pinned or not; one that is not here is no error. Raises StoreUnavailable.

        A put at the same time may find the block here, and lose it: it is for the caller to see that nobody puts what it removes.
        """
        try:
            for cid in cids:
                self._path(cid).unlink(missing_ok=True)
        except OSError as error:
            raise self._unavailable(error) from error

    def pins(self) -> frozenset[Cid]:
        """The roots that were pinned. Raises StoreUnavailable."""
        try:
            return frozenset(Cid.parse(pin.name) for pin in self._pins.iterdir())
        except OSError as error:
            raise self._unavailable(error) from error

    def _path(self, cid: Cid) -> Path:
        name = cid.digest.hex()
        return self._blocks / name[:2] / name

    def _keep(self, block: Block) -> Path:
        verify(block)
        path = self._path(block.cid)
        # Compared, not believed: so adding content again repairs what the disk has spoilt.
        if self._read(path) != block.data:
            try:
                path.parent.mkdir(exist_ok=True)
                self._write(path, block.data)
            except OSError as error:
                raise self._unavailable(error) from error
        return path.parent

    def _read(self, path: Path) -> bytes | None:
        try:
            file = os.open(path, os.O_RDONLY)
            try:
                return os.read(file, min(os.fstat(file).st_size, MAX_BLOCK_BYTES))
            finally:
                os.close(file)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unavailable(error) from error

    def _write(self, path: Path, data: bytes) -> None:
        file, name = tempfile.mkstemp(dir=self._writing)
        written = Path(name)
        try:
            with os.fdopen(file, "wb") as block:
                block.write(data)
                block.flush()
                os.fsync(file)
            written.replace(path)
        except OSError:
            written.unlink(missing_ok=True)
            raise

    def _sweep(self) -> None:
        now = time.time()
        for left in self._writing.iterdir():
            try:
                if now - left.stat().st_mtime > _ABANDONED_SECONDS:
                    left.unlink()
            except FileNotFoundError:
                continue  # its writer, or another process opening the store, was faster

    def _unavailable(self, error: OSError) -> StoreUnavailable:
        reason = os.strerror(error.errno) if error.errno else str(error)
        hint = "; free some space and try again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return StoreUnavailable(f"{self._folder}: {reason}{hint}")
