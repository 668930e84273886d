"""Port: content by CID. Blocks are keyed by multihash: one block answers to its CIDv0 and its CIDv1."""

import hashlib
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from deai.cid import Cid
from deai.errors import BadContent

MAX_BLOCK_BYTES = 2 << 20
"""The largest block that is kept or read; other implementations of IPFS pass on no larger ones."""


class Block(NamedTuple):
    """Some bytes and the CID they hash to. At most `MAX_BLOCK_BYTES` long."""

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


def verify(block: Block) -> None:
    """Raises BadContent for a block that is larger than blocks may be, or whose bytes do not hash to its CID."""
    if len(block.data) > MAX_BLOCK_BYTES:
        raise BadContent(f"{block.cid}: is a block of {len(block.data)} bytes, more than {MAX_BLOCK_BYTES}")
    if hashlib.sha256(block.data).digest() != block.cid.digest:
        raise BadContent(f"{block.cid}: the bytes do not hash to it")
