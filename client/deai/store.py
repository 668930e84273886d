"""Port: content by CID. Blocks are keyed by multihash: one block answers to its CIDv0 and its CIDv1."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from deai.cid import Cid


class Block(NamedTuple):
    """Some bytes and the CID they hash to. At most `unixfs.MAX_BLOCK_BYTES` long."""

    cid: Cid
    data: bytes


class Store(Protocol):
    """Blocks in and out. `get` verifies what it reads: it never returns bytes that do not hash to the CID."""

    def put(self, blocks: Iterable[Block]) -> None:
        """Keeps the blocks, durably, before it returns. Putting a block twice is harmless.

        Raises BadContent for a block that is not its CID's, StoreUnavailable.
        """

    def get(self, cid: Cid) -> bytes:
        """The bytes of one block, verified. Raises ContentMissing, BadContent, StoreUnavailable."""

    def has(self, cid: Cid) -> bool:
        """Whether the block is here, without reading it all. Raises StoreUnavailable."""

    def pin(self, root: Cid) -> None:
        """Keeps everything below `root` from being collected. Raises ContentMissing, StoreUnavailable."""
