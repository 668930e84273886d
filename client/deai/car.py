"""Blocks as one stream of bytes: content-addressable archives, version 1. Pure.

Source: the CARv1 specification of IPLD. Its header is DAG-CBOR of one fixed shape, so no CBOR library is needed to write it;
to read one, it is enough to skip it: whoever reads knows which root was wanted, and trusts no other.
"""

from collections.abc import Iterable, Iterator, Sequence

from deai.cid import Cid
from deai.errors import BadContent, BadField
from deai.store import MAX_BLOCK_BYTES, Block, verify

MEDIA_TYPE = "application/vnd.ipld.car"

_MAX_HEADER_BYTES = 64 << 10
_MAX_ROOTS = 23  # so many fit the one byte that counts them
_MAX_CID_BYTES = 64
_VERSION_1 = b"\x67version\x01"


def header(roots: Sequence[Cid]) -> bytes:
    """The beginning of an archive of these roots: at most 23."""
    if len(roots) > _MAX_ROOTS:
        raise BadField("roots", len(roots), f"are at most {_MAX_ROOTS}")
    # {"roots": [tag 42 (0x00 and the CID), …], "version": 1}
    links = b"".join(b"\xd8\x2a\x58" + bytes((len(bytes(cid)) + 1, 0)) + bytes(cid) for cid in roots)
    body = b"\xa2\x65roots" + bytes((0x80 + len(roots),)) + links + _VERSION_1
    return _varint(len(body)) + body


def section(block: Block) -> bytes:
    """One block as it stands in an archive."""
    name = bytes(block.cid)
    return _varint(len(name) + len(block.data)) + name + block.data


def write(roots: Sequence[Cid], blocks: Iterable[Block]) -> Iterator[bytes]:
    """An archive, piece by piece; memory stays at one block."""
    yield header(roots)
    for block in blocks:
        yield section(block)


def read(pieces: Iterable[bytes], max_bytes: int) -> Iterator[Block]:
    """The blocks of an archive that comes in pieces of any size, each verified; memory stays at one block and one piece.

    Raises BadContent for what is no CARv1, ends early, has more than `max_bytes` in all, a block larger than
    `MAX_BLOCK_BYTES`, a CID other than sha2-256 of raw or dag-pb, or bytes that do not hash to their CID.
    """
    stream = _Stream(pieces, max_bytes)
    length = stream.varint()
    if length is None or not 0 < length <= _MAX_HEADER_BYTES:
        raise BadContent("archive: has no header of a CARv1")
    if _VERSION_1 not in stream.take(length):
        raise BadContent("archive: is not a CAR of version 1")
    while (length := stream.varint()) is not None:
        if length > MAX_BLOCK_BYTES + _MAX_CID_BYTES:
            raise BadContent(f"archive: has a block of {length} bytes, more than {MAX_BLOCK_BYTES}")
        yield _block(stream.take(length))


def _block(data: bytes) -> Block:
    """Splits a section into CID and block, and verifies it."""
    # A CIDv0 is a bare multihash of 34 bytes; a CIDv1 of sha2-256 has 36.
    size = 34 if data.startswith(b"\x12\x20") else 36
    try:
        cid = Cid.from_bytes(data[:size])
    except BadField as error:
        raise BadContent(f"archive: {error}") from error
    block = Block(cid, data[size:])
    verify(block)
    return block


class _Stream:
    """Exact numbers of bytes out of pieces of any size."""

    def __init__(self, pieces: Iterable[bytes], max_bytes: int) -> None:
        self._pieces, self._most = iter(pieces), max_bytes
        self._left, self._seen = bytearray(), 0

    def take(self, count: int) -> bytes:
        if not self._fill(count):
            raise BadContent("archive: ends within a block")
        taken = bytes(self._left[:count])
        del self._left[:count]
        return taken

    def varint(self) -> int | None:
        """An unsigned LEB128 of at most nine bytes; None at the end of the stream."""
        if not self._fill(1):
            return None
        number = 0
        for position in range(9):
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:
                if byte == 0 and position:
                    break  # the specification wants the shortest form
                return number
        raise BadContent("archive: has a length that is none")

    def _fill(self, count: int) -> bool:
        while len(self._left) < count:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self._seen += len(piece)
            if self._seen > self._most:
                raise BadContent(f"archive: has more than {self._most} bytes")
            self._left += piece
        return True


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
