"""dag-pb blocks and the UnixFS message inside each: encoded canonically, decoded strictly. Pure.

Source: the dag-pb specification of IPLD, the UnixFS specification of IPFS, the wire format of protobuf.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

from deai.cid import Cid
from deai.errors import BadContent, BadField

_VARINT, _BYTES = 0, 2  # protobuf's wire types
_MAX_VARINT_BYTES = 10


class Kind(IntEnum):
    """What a node is; UnixFS' numbers."""

    RAW = 0
    FOLDER = 1
    FILE = 2
    METADATA = 3
    SYMLINK = 4
    HAMT_SHARD = 5


@dataclass(frozen=True, slots=True)
class Link:
    """A node's pointer to another. `tsize`: all bytes below, nodes included, as the linking node claims."""

    cid: Cid
    name: str
    tsize: int


@dataclass(frozen=True, slots=True)
class Node:
    """A UnixFS node. A file's `data` comes before what its links hold."""

    kind: Kind
    links: tuple[Link, ...] = ()
    data: bytes = b""
    file_size: int | None = None
    block_sizes: tuple[int, ...] = ()
    """The content bytes below each link of a file."""

    @property
    def size(self) -> int:
        """The content bytes in and below this node, as it says itself."""
        return len(self.data) + sum(self.block_sizes)


def encode(node: Node) -> bytes:
    """The canonical bytes: links in order of their names' bytes, then the data."""
    links = sorted(node.links, key=lambda link: link.name.encode())
    return b"".join(_bytes(2, _link(link)) for link in links) + _bytes(1, _message(node))


def decode(cid: Cid, data: bytes) -> Node:
    """Reads the block of a dag-pb CID. Raises BadContent for all but canonical UnixFS whose sizes add up."""
    try:
        return _checked(_node(data))
    except (ValueError, BadField) as error:
        raise BadContent(f"{cid}: {error}") from error


def _link(link: Link) -> bytes:
    return _bytes(1, bytes(link.cid)) + _bytes(2, link.name.encode()) + _number(3, link.tsize)


def _message(node: Node) -> bytes:
    parts = [_number(1, node.kind)]
    if node.data:
        parts.append(_bytes(2, node.data))
    if node.file_size is not None:
        parts.append(_number(3, node.file_size))
    parts += [_number(4, size) for size in node.block_sizes]
    return b"".join(parts)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(value)) + value


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    spelled = bytearray()
    while value > 0x7F:
        spelled.append(value & 0x7F | 0x80)
        value >>= 7
    spelled.append(value)
    return bytes(spelled)


def _node(block: bytes) -> Node:
    links: list[Link] = []
    message: bytes | None = None
    for field in _fields(block):
        match field:
            case (2, bytes() as link) if message is None:
                links.append(_read_link(link))
            case (1, bytes() as message_bytes) if message is None:
                message = message_bytes
            case _:
                raise ValueError("has a field that a dag-pb node cannot have there")
    if message is None:
        raise ValueError("is not UnixFS: the node has no data")
    return _read_message(message, tuple(links))


def _read_link(data: bytes) -> Link:
    cid: Cid | None = None
    name, tsize, last = "", 0, 0
    for number, value in _fields(data):
        if number <= last:
            raise ValueError("has a link with fields repeated or out of order")
        last = number
        match number, value:
            case (1, bytes() as cid_bytes):
                cid = Cid.from_bytes(cid_bytes)
            case (2, bytes() as name_bytes):
                name = name_bytes.decode()
            case (3, int() as tsize_number):
                tsize = tsize_number
            case _:
                raise ValueError("has a link with a field that links do not have")
    if cid is None:
        raise ValueError("has a link to nothing")
    return Link(cid, name, tsize)


def _read_message(message: bytes, links: tuple[Link, ...]) -> Node:
    kind: Kind | None = None
    data, file_size = b"", None
    sizes: list[int] = []
    last = 0
    for number, value in _fields(message):
        if number < last or number == last != 4:
            raise ValueError("has UnixFS fields repeated or out of order")
        last = number
        match number, value:
            case (1, int() as kind_number):
                kind = Kind(kind_number)
            case (2, bytes() as content):
                data = content
            case (3, int() as size):
                file_size = size
            case (4, int() as size):
                sizes.append(size)
            case (5 | 6 | 7, int()) | (8, bytes()):
                pass  # hash type and fan-out of shards; mode and time, which we neither write nor restore
            case _:
                raise ValueError("has a field that UnixFS does not have")
    if kind is None:
        raise ValueError("is not UnixFS: the message has no type")
    return Node(kind, links, data, file_size, tuple(sizes))


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        value, at = _read_varint(message, at)
        match key & 7:
            case 0:  # _VARINT
                yield key >> 3, value
            case 2:  # _BYTES
                if value > len(message) - at:
                    raise ValueError("ends early")
                yield key >> 3, message[at : at + value]
                at += value
            case wire_type:
                raise ValueError(f"has protobuf's wire type {wire_type}")


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(data[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            if value >> 64 or (place and not byte):
                raise ValueError("has a number that is not spelled canonically")
            return value, at + place + 1
    raise ValueError("has a number without an end")


def _checked(node: Node) -> Node:
    if node.kind is Kind.FOLDER:
        if node.data or node.block_sizes or node.file_size:
            raise ValueError("is a folder with content of a file")
        for before, after in pairwise(node.links):
            if before.name.encode() >= after.name.encode():
                raise ValueError(f"has names repeated or out of order: {before.name!r}, {after.name!r}")
    elif node.kind in (Kind.FILE, Kind.RAW):
        if len(node.links) != len(node.block_sizes):
            raise ValueError(f"has {len(node.links)} links and {len(node.block_sizes)} sizes")
        if node.file_size not in (None, node.size):
            raise ValueError(f"says that it has {node.file_size} bytes, but its parts have {node.size}")
        if any(link.name for link in node.links) or not all(node.block_sizes):
            raise ValueError("is a file with named or empty parts")
    return node
