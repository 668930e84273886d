"""KuboStore: content in a Kubo daemon (IPFS), over its RPC. The only file that imports ipfshttpclient."""

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import ipfshttpclient
import ipfshttpclient.exceptions as kubo_errors

from deai import car
from deai.cid import Cid
from deai.errors import BadContent, BadField, ContentMissing, StoreUnavailable
from deai.store import MAX_BLOCK_BYTES, Block, verify
from deai.unixfs import walk

_BATCH_BYTES = 8 << 20
_BATCH_BLOCKS = 512
_ANSWER_SECONDS = 60
_PIN_SECONDS = 900  # Kubo reads all below the root before it answers

# ipfshttpclient passes on what urllib3 no longer wants; nobody who sees it can do anything about it.
warnings.filterwarnings("ignore", "The 'strict' parameter is no longer needed", FutureWarning)


class KuboStore:
    """A store in the Kubo daemon whose RPC is at `address`. Thread-safe.

    The CIDs are ours, whatever the daemon's settings: it gets finished blocks as CAR, and what it gives back is hashed. Blocks are as durable
    as its datastore (its default syncs), and those not pinned are gone after its next collection of garbage.
    """

    def __init__(self, address: str, *, search_seconds: float = 30.0) -> None:
        """`address` is a multiaddr (`/ip4/127.0.0.1/tcp/5001`) or an http URL. Nothing is asked of the daemon yet.

        `search_seconds`: how long `get` lets the daemon look for a block in the network when it is not here; with 0 it does not look.
        Raises BadField.
        """
        self._address, self._search_seconds = address, search_seconds
        try:
            self._client: Any = ipfshttpclient.Client(
                _multiaddr(address), session=True, chunk_size=1 << 20, timeout=_ANSWER_SECONDS
            )
            self._here = KuboStore(address, search_seconds=0) if search_seconds else self
        except (kubo_errors.AddressError, ValueError) as error:
            raise BadField(
                "kubo", address, "is no multiaddr (`/ip4/127.0.0.1/tcp/5001`) and no http URL"
            ) from error

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()
        if self._here is not self:
            self._here.close()

    def put(self, blocks: Iterable[Block]) -> None:
        """Keeps the blocks, as durably as the daemon's datastore does, before it returns. Memory stays at a few batches of 8 MiB.

        Raises BadContent for a block that is not its CID's or too large, StoreUnavailable.
        """
        for batch in _batches(blocks):
            # Roots are for pinning, and a tree's root comes last: `pin` names it.
            archive = io.BytesIO(b"".join(car.write((), batch)))
            options = {"pin-roots": "false", "stats": "true"}
            with self._asking(f"{len(batch)} blocks"):
                (answer,) = self._client.dag.imprt(archive, opts=options, stream=True)
                kept = (answer["Stats"]["BlockCount"], answer["Stats"]["BlockBytesCount"])
            if kept != (len(batch), sum(len(block.data) for block in batch)):
                raise StoreUnavailable(f"{self._address}: of {len(batch)} blocks Kubo kept {kept[0]}")

    def get(self, cid: Cid) -> bytes:
        """The bytes of one block, verified. Raises ContentMissing, BadContent, StoreUnavailable."""
        data = bytearray()
        with (
            self._asking(str(cid)),
            self._client.block.get(str(cid), stream=True, **self._search()) as pieces,
        ):
            for piece in pieces:
                data += piece
                if len(data) > MAX_BLOCK_BYTES:
                    raise BadContent(
                        f"{cid}: is a block of more than {MAX_BLOCK_BYTES} bytes at {self._address}"
                    )
        block = Block(cid, bytes(data))
        try:
            verify(block)
        except BadContent as error:
            raise BadContent(f"{self._address}: gave other bytes: {error}") from error
        return block.data

    def has(self, cid: Cid) -> bool:
        """Whether the daemon has the block on its disk. Raises StoreUnavailable."""
        try:
            with self._asking(str(cid)):
                self._client.block.stat(str(cid), offline=True)
        except ContentMissing:
            return False
        return True

    def pin(self, root: Cid) -> None:
        """Pins `root` and all below it, all of which must be here. Raises ContentMissing, BadContent, StoreUnavailable."""
        # Kubo, told to pin what is not all here, searches the network without end, even when told to stay offline.
        for _ in walk(self._here, root, self._listed(root)):
            pass
        with self._asking(str(root)):
            pinned = self._client.pin.add(str(root), offline=True, timeout=_PIN_SECONDS)["Pins"]
        if pinned != [str(root)]:
            raise StoreUnavailable(f"{self._address}: was asked to pin {root} and pinned {pinned}")

    def _listed(self, root: Cid) -> set[str]:
        """The CIDs below `root` that the daemon has on its disk; not all of them where one is missing. One question, however many they are."""
        options = {"recursive": "true", "unique": "true", "offline": "true"}
        try:
            with (
                self._asking(str(root)),
                self._client.unstable.refs(
                    str(root), opts=options, stream=True, timeout=_PIN_SECONDS
                ) as refs,
            ):
                return {str(each["Ref"]) for each in refs if not each["Err"]}
        except ContentMissing:
            return set()

    def _search(self) -> dict[str, object]:
        if not self._search_seconds:
            return {"offline": True}
        # The daemon's own limit ends first, so that a block nobody has differs from a daemon that hangs.
        limit = f"{round(self._search_seconds * 1000)}ms"
        return {"opts": {"timeout": limit}, "timeout": self._search_seconds + 10}

    @contextmanager
    def _asking(self, about: str) -> Iterator[None]:
        try:
            yield
        except kubo_errors.ErrorResponse as error:
            message = f"{self._address}: {about}: {error}"
            if "could not find" in message or "context deadline exceeded" in message:
                raise ContentMissing(message) from error
            raise StoreUnavailable(message) from error
        except (kubo_errors.Error, OSError, LookupError, TypeError, ValueError) as error:
            # The library lets through errors of those below it, and stumbles over answers that are not Kubo's.
            raise StoreUnavailable(f"{self._address}: {about}: {error}") from error


def _batches(blocks: Iterable[Block]) -> Iterator[list[Block]]:
    batch: list[Block] = []
    size = 0
    for block in blocks:
        verify(block)
        batch.append(block)
        size += len(block.data)
        if size >= _BATCH_BYTES or len(batch) == _BATCH_BLOCKS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _multiaddr(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return address
    host = parts.hostname
    kind = "ip6" if ":" in host else "ip4" if host.replace(".", "").isdigit() else "dns"
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"/{kind}/{host}/tcp/{port}/{parts.scheme}"
