"""Files and folders to blocks and back, verified.

Written by the import profile `unixfs-v1-2025`: CIDv1, sha2-256, chunks of 1 MiB as raw leaves, balanced trees
of at most 1,024 links, no mode, no mtime; links sorted by the bytes of their names. Unlike the profile we
never shard: a folder is one block, and one too large for that is refused. Trees of other profiles, those of
CIDv0 included, are read.

A store's `get` verifies each block against its CID, so following links of verified blocks verifies the tree.
"""

import errno
import os
import stat
import tempfile
import unicodedata
from collections.abc import Container, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deai import dag_pb
from deai.cid import Cid, Codec
from deai.dag_pb import Kind, Link, Node
from deai.errors import BadContent, BadField, ContentMissing, Unavailable
from deai.store import MAX_BLOCK_BYTES, Block, Store

CHUNK_BYTES = 1 << 20
MAX_LINKS = 1_024
"""The most links of a file's node, as we build them."""
MAX_DEPTH = 64
"""The most folders within each other, as we build them."""
MAX_NAME_BYTES = 255

_MAX_FILE_DEPTH = 16
_MIN_ENTRY_BYTES = 44  # of a folder's entry without its name
# What this machine lacks, and may have again: no fault of the files.
_PASSING = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EIO,
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EAGAIN,
        errno.ESTALE,
    }
)
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Caps on what a fetch may bring, whoever made the content."""

    max_bytes: int = 64 << 30
    """Content of all files together."""
    max_entries: int = 100_000
    """Files and folders, each time one is linked."""
    max_blocks: int = 1_000_000
    """Blocks read, each time one is linked."""
    max_depth: int = MAX_DEPTH
    """Folders within each other."""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a fetch wrote: content bytes, and regular files."""

    bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder's entry. `size` is the folder's claim, unchecked: all bytes below, those of nodes included."""

    name: str
    cid: Cid
    size: int


@dataclass(frozen=True, slots=True)
class _Built:
    cid: Cid
    size: int
    tsize: int


class _Import:
    """Runs a builder as the stream of its blocks, and keeps what it built."""

    def __init__(self, builder: Generator[Block, None, _Built]) -> None:
        self._builder = builder
        self.root: Cid

    def __iter__(self) -> Iterator[Block]:
        self.root = (yield from self._builder).cid


def add(path: Path, store: Store) -> Cid:
    """Puts a file, or a folder with all below it, into the store; memory stays flat. Nothing is pinned.

    Raises BadField that names the path for symlinks, devices, sockets, FIFOs, names that `fetch` refuses,
    folders too large or too deep, and what cannot be read; Unavailable where this machine errs; StoreUnavailable.
    """
    blocks = _Import(_entry(path, os.fspath(path), None, 0))
    store.put(blocks)
    return blocks.root


def add_bytes(data: bytes, store: Store) -> Cid:
    """Puts a file with this content into the store. Raises StoreUnavailable."""
    chunks = (data[at : at + CHUNK_BYTES] for at in range(0, len(data) or 1, CHUNK_BYTES))
    blocks = _Import(_file(chunks))
    store.put(blocks)
    return blocks.root


def fetch(store: Store, cid: Cid, target: Path, limits: Limits = DEFAULT_LIMITS) -> Fetched:
    """Writes the file or folder to `target`, durably, all or nothing. Makes the folders above it.

    Raises BadContent for what is beyond `limits`, is not what it says, or has names that no file should have;
    BadField for a target that is there; ContentMissing; StoreUnavailable; Unavailable where the disk refuses.
    """
    if os.path.lexists(target):
        raise BadField("target", str(target), "is there already")
    reader = _Reader(store, cid, limits)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as folder:
            content = Path(folder) / "content"
            _write(reader, cid, content, 0)
            content.rename(target)
            sync_folder(target.parent)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise BadContent(f"{cid}: holds a path that is too long to be written below {target}") from error
        raise Unavailable(f"{target}: cannot be written: {error.strerror or error}") from error
    return Fetched(reader.bytes, reader.files)


def read(store: Store, cid: Cid, max_bytes: int) -> bytes:
    """The content of a file of at most `max_bytes`.

    Raises BadContent, for a folder too; ContentMissing; StoreUnavailable.
    """
    reader = _Reader(store, cid, Limits(max_bytes=max_bytes))
    node = reader.node(cid)
    if node.kind is Kind.FOLDER:
        raise BadContent(f"{cid}: is a folder, not a file")
    return b"".join(reader.content(node))


def kind(store: Store, cid: Cid) -> Literal["file", "folder"]:
    """Which of the two the content is. A raw block is a file, and is not asked for.

    Raises BadContent for other kinds, ContentMissing, StoreUnavailable.
    """
    return "folder" if cid.codec is Codec.DAG_PB and _load(store, cid).kind is Kind.FOLDER else "file"


def listing(store: Store, cid: Cid) -> list[Entry]:
    """A folder's entries, by the bytes of their names.

    Raises BadContent, for a file too; ContentMissing; StoreUnavailable.
    """
    node = _load(store, cid)
    if node.kind is not Kind.FOLDER:
        raise BadContent(f"{cid}: is a file, not a folder")
    return [Entry(link.name, link.cid, link.tsize) for link in node.links]


def resolve(store: Store, root: Cid, path: str) -> Cid:
    """What lies at `path`, names joined by `/`, below `root`.

    Raises BadField where nothing lies there, and what `listing` raises.
    """
    cid = root
    for name in path.strip("/").split("/") if path.strip("/") else ():
        found = next((entry.cid for entry in listing(store, cid) if entry.name == name), None)
        if found is None:
            raise BadField("path", path, f"there is no {name!r} in {cid}")
        cid = found
    return cid


def walk(store: Store, root: Cid, known: Container[str] = ()) -> Iterator[Cid]:
    """Each block of the tree once, `root` first. What holds no links is not asked for where it is `known` to be there, by its CID.

    Raises ContentMissing, BadContent, StoreUnavailable.
    """
    seen, waiting = {root}, [root]
    while waiting:
        cid = waiting.pop()
        if cid.codec is Codec.DAG_PB:
            links = dict.fromkeys(link.cid for link in _load(store, cid).links)
            fresh = [link for link in links if link not in seen]
            seen.update(fresh)
            waiting.extend(reversed(fresh))
        elif str(cid) not in known and not store.has(cid):
            raise ContentMissing(f"{cid}: is not in the store")
        yield cid


def sync_folder(path: Path) -> None:
    """Makes what was created, renamed or removed in a folder durable. Raises OSError."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _name_fault(name: str) -> str | None:
    if name in ("", ".", "..") or "/" in name:
        return "is not a name of a file"
    if len(name.encode(errors="surrogatepass")) > MAX_NAME_BYTES:
        return f"has a name of more than {MAX_NAME_BYTES} bytes"
    if any(unicodedata.category(character) in _CONTROLS for character in name):
        return "has control characters or bytes that are not UTF-8 in its name"
    return None


# To blocks.


def _entry(shown: Path, name: str, parent: int | None, depth: int) -> Generator[Block, None, _Built]:
    try:
        # Looked at before it is opened, as opening a device can act on it; and after, as it may be swapped.
        _refuse_odd(shown, os.stat(name, dir_fd=parent, follow_symlinks=False))
        entry = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=parent)
        try:
            status = os.fstat(entry)
            _refuse_odd(shown, status)
            if stat.S_ISDIR(status.st_mode):
                return (yield from _folder(shown, entry, depth))
            return (yield from _file(_chunks(entry)))
        finally:
            os.close(entry)
    except OSError as error:
        if error.errno in _PASSING:
            raise Unavailable(f"{shown}: cannot be read now: {error.strerror}") from error
        raise BadField("path", str(shown), f"cannot be read: {error.strerror}") from error


def _refuse_odd(shown: Path, status: os.stat_result) -> None:
    if stat.S_ISLNK(status.st_mode):
        raise BadField("path", str(shown), "is a symbolic link; only files and folders can be added")
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise BadField(
            "path", str(shown), "is a device, a socket or a FIFO; only files and folders can be added"
        )


def _folder(shown: Path, folder: int, depth: int) -> Generator[Block, None, _Built]:
    if depth >= MAX_DEPTH:
        raise BadField("path", str(shown), f"lies deeper than {MAX_DEPTH} folders")
    names = sorted(os.listdir(folder))
    for name in names:
        if fault := _name_fault(name):
            raise BadField("path", str(shown / name), fault)
    if sum(_MIN_ENTRY_BYTES + len(name.encode()) for name in names) > MAX_BLOCK_BYTES:
        raise _too_many(shown, len(names))
    links = []
    for name in names:
        built = yield from _entry(shown / name, name, folder, depth + 1)
        links.append(Link(built.cid, name, built.tsize))
    data = dag_pb.encode(Node(Kind.FOLDER, tuple(links)))
    if len(data) > MAX_BLOCK_BYTES:
        raise _too_many(shown, len(names))
    cid = Cid.of(data, Codec.DAG_PB)
    yield Block(cid, data)
    return _Built(cid, 0, len(data) + sum(link.tsize for link in links))


def _too_many(shown: Path, count: int) -> BadField:
    return BadField(
        "path",
        str(shown),
        f"has {count} entries, too many for a block of {MAX_BLOCK_BYTES} bytes; use subfolders",
    )


def _chunks(file: int) -> Iterator[bytes]:
    with open(file, "rb", closefd=False) as content:
        chunk = content.read(CHUNK_BYTES)
        yield chunk
        while chunk and (chunk := content.read(CHUNK_BYTES)):
            yield chunk


def _file(chunks: Iterable[bytes]) -> Generator[Block, None, _Built]:
    levels: list[list[_Built]] = [[]]
    for chunk in chunks:
        cid = Cid.of(chunk, Codec.RAW)
        yield Block(cid, chunk)
        levels[0].append(_Built(cid, len(chunk), len(chunk)))
        level = 0
        while len(levels[level]) == MAX_LINKS:
            yield from _raise_level(levels, level)
            level += 1
    level = 0
    while level < len(levels) - 1 or len(levels[level]) > 1:
        if levels[level]:
            yield from _raise_level(levels, level)
        level += 1
    return levels[level][0]


def _raise_level(levels: list[list[_Built]], level: int) -> Generator[Block, None, None]:
    """Joins the subtrees of a level to one of the next."""
    parts = levels[level]
    links = tuple(Link(part.cid, "", part.tsize) for part in parts)
    sizes = tuple(part.size for part in parts)
    data = dag_pb.encode(Node(Kind.FILE, links, file_size=sum(sizes), block_sizes=sizes))
    cid = Cid.of(data, Codec.DAG_PB)
    yield Block(cid, data)
    levels[level] = []
    if level + 1 == len(levels):
        levels.append([])
    levels[level + 1].append(_Built(cid, sum(sizes), len(data) + sum(part.tsize for part in parts)))


# And back.


def _load(store: Store, cid: Cid) -> Node:
    data = store.get(cid)
    if len(data) > MAX_BLOCK_BYTES:
        raise BadContent(f"{cid}: is a block of {len(data)} bytes, more than {MAX_BLOCK_BYTES}")
    if cid.codec is Codec.RAW:
        return Node(Kind.RAW, data=data)
    node = dag_pb.decode(cid, data)
    if node.kind not in (Kind.RAW, Kind.FILE, Kind.FOLDER):
        kind_name = node.kind.name.lower().replace("_", " ")
        raise BadContent(f"{cid}: is a {kind_name}; only files and unsharded folders are read")
    if node.kind is Kind.FOLDER:
        for link in node.links:
            if fault := _name_fault(link.name):
                raise BadContent(f"{cid}: {link.name!r} {fault}")
    return node


class _Reader:
    """Reads one tree and counts what it brings. One block may be linked 2**n times, so each link counts."""

    def __init__(self, store: Store, root: Cid, limits: Limits) -> None:
        self._store, self._root, self._limits = store, root, limits
        self._blocks = self._entries = 0
        self.bytes = self.files = 0

    def node(self, cid: Cid) -> Node:
        self._blocks += 1
        self._cap("blocks", self._blocks, self._limits.max_blocks)
        return _load(self._store, cid)

    def entries(self, folder: Node, depth: int) -> tuple[Link, ...]:
        self._cap("folders within each other", depth + 1, self._limits.max_depth)
        self._entries += len(folder.links)
        self._cap("entries", self._entries, self._limits.max_entries)
        return folder.links

    def content(self, file: Node) -> Iterator[bytes]:
        """The file's bytes in order, each part as long as its parent says."""
        # Each part must have the size its parent says, so this caps the bytes before they come.
        self.bytes += file.size
        self._cap("bytes", self.bytes, self._limits.max_bytes)
        self.files += 1
        yield file.data
        waiting = [zip(file.links, file.block_sizes, strict=True)]
        while waiting:
            link, size = next(waiting[-1], (None, 0))
            if link is None:
                waiting.pop()
                continue
            self._cap("levels in a file", len(waiting), _MAX_FILE_DEPTH)
            part = self.node(link.cid)
            if part.kind is Kind.FOLDER:
                raise BadContent(f"{link.cid}: is a folder where part of a file should be")
            if part.size != size:
                raise BadContent(f"{link.cid}: has {part.size} bytes where its parent says {size}")
            yield part.data
            waiting.append(zip(part.links, part.block_sizes, strict=True))

    def _cap(self, what: str, count: int, most: int) -> None:
        if count > most:
            raise BadContent(f"{self._root}: has more than {most} {what}")


def _write(reader: _Reader, cid: Cid, path: Path, depth: int) -> None:
    node = reader.node(cid)
    if node.kind is Kind.FOLDER:
        path.mkdir()
        for link in reader.entries(node, depth):
            _write(reader, link.cid, path / link.name, depth + 1)
        sync_folder(path)
        return
    with path.open("xb") as file:
        for data in reader.content(node):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
