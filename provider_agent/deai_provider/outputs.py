"""Collects what a hostile container left behind: copies plain files and folders into a clean folder and says why it left the rest.

The source is read by folder handles and without following links, so nothing outside it is ever opened. It is only to be read
once the container that could write to it is gone. Modes, owners, times and extended attributes are dropped: a file that its
owner may not read is taken like any other.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_CHUNK = 1 << 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SPECIAL = (
    (stat.S_ISLNK, "a symbolic link"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISCHR, "a device"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a job may leave. Sizes in bytes."""

    bytes: int
    """Of all files together, holes of sparse files included: they are written out."""
    entries: int = 10_000
    """Files, folders and refused things, all together."""
    depth: int = 32
    """Of folders within folders."""
    name_bytes: int = 255
    path_bytes: int = 2_000
    """Of a path below the outputs, with its slashes. Made folder by folder, paths may be longer than the system opens in one piece: such
    a result could be laid out on one machine and not on the next, and be found wrong by a re-run.
    """
    refusals: int = 100
    """How many refusals are named; further ones only count."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that was left behind. `name` is its path, escaped so that printing it is safe."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What was copied, and what was not. `files` counts files only; `bytes` is their sum."""

    files: int
    bytes: int
    refused: tuple[Refusal, ...]
    refused_count: int
    """May be more than `refused` names."""

    @property
    def complete(self) -> bool:
        """Whether nothing was refused."""
        return self.refused_count == 0


class _FullError(Exception):
    """A limit on the whole was reached."""


@dataclass(slots=True)
class _Walk:
    limits: Limits
    files: int = 0
    taken_bytes: int = 0
    entries: int = 0
    refused: list[Refusal] = field(default_factory=list)
    refused_count: int = 0

    def refuse(self, path: tuple[bytes, ...], reason: str) -> None:
        self.refused_count += 1
        if len(self.refused) < self.limits.refusals:
            self.refused.append(Refusal(printable(b"/".join(path)), reason))

    def folder(self, source: int, target: int, path: tuple[bytes, ...]) -> None:
        for name in self._names(source):
            here = (*path, name)
            self.entries += 1
            if self.entries > self.limits.entries:
                raise _FullError(f"more than {self.limits.entries} entries")
            if (reason := _bad_name(name, self.limits.name_bytes)) is not None:
                self.refuse(here, reason)
                continue
            if sum(map(len, here)) + len(path) > self.limits.path_bytes:
                self.refuse(here, f"the path is longer than {self.limits.path_bytes} bytes")
                continue
            try:
                self._entry(source, target, name, here)
            except OSError as error:
                # ENOSPC and the like are ours, not the job's.
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM):
                    raise
                self.refuse(here, f"cannot be read: {os.strerror(error.errno or 0)}")

    def _names(self, source: int) -> list[bytes]:
        """The names in a folder, sorted; no more of them than could still be taken."""
        names = []
        with os.scandir(source) as entries:
            for entry in entries:
                names.append(os.fsencode(entry.name))
                if len(names) > self.limits.entries - self.entries:
                    break
        return sorted(names)

    def _entry(self, source: int, target: int, name: bytes, path: tuple[bytes, ...]) -> None:
        # Opening a device or a socket can have effects; so the kind is looked at first, and again once the file is open.
        seen = os.stat(name, dir_fd=source, follow_symlinks=False)
        for is_kind, kind in _SPECIAL:
            if is_kind(seen.st_mode):
                self.refuse(path, f"{kind}: only files and folders are taken")
                return
        if stat.S_ISDIR(seen.st_mode):
            if len(path) > self.limits.depth:
                self.refuse(path, f"deeper than {self.limits.depth} folders")
                return
            with _opened(name, _FOLDER, source) as inner:
                os.mkdir(name, 0o755, dir_fd=target)
                with _opened(name, _FOLDER, target) as copy:
                    self.folder(inner, copy, path)
            return
        with _opened(name, _FILE, source) as opened:
            self._file(opened, target, name, path)

    def _file(self, opened: int, target: int, name: bytes, path: tuple[bytes, ...]) -> None:
        found = os.fstat(opened)
        if not stat.S_ISREG(found.st_mode):
            self.refuse(path, "changed while it was read")
            return
        if found.st_nlink != 1:
            self.refuse(path, f"has {found.st_nlink} hard links: only files with one name are taken")
            return
        room = self.limits.bytes - self.taken_bytes
        if found.st_size > room:
            self.refuse(path, f"has {found.st_size} bytes: {room} of {self.limits.bytes} are left")
            return
        try:
            _copy(opened, target, name, found.st_size)
        except OSError:
            os.unlink(name, dir_fd=target)
            raise
        self.files += 1
        self.taken_bytes += found.st_size


def collect(source: Path, target: Path, limits: Limits) -> Collected:
    """Copies the plain files and folders below `source` into `target`, which is made and must not exist.

    What is left out is named with its reason in `refused`; a flood ends the walk with one more reason. Raises OSError when this machine
    fails: no room, no more file handles.
    """
    walk = _Walk(limits)
    target.mkdir(parents=True)
    with _opened(os.fsencode(source), _FOLDER) as reading, _opened(os.fsencode(target), _FOLDER) as writing:
        try:
            walk.folder(reading, writing, ())
        except _FullError as full:
            walk.refuse((b"*",), f"the rest was not looked at: {full}")
    return Collected(
        files=walk.files,
        bytes=walk.taken_bytes,
        refused=tuple(walk.refused),
        refused_count=walk.refused_count,
    )


def printable(name: bytes) -> str:
    """A name as text that is safe on a terminal: what is not printable UTF-8 becomes `\\x1b`."""
    text = name.decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown if len(shown) <= 200 else shown[:99] + "…" + shown[-100:]


def _bad_name(name: bytes, longest: int) -> str | None:
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return "the name is not UTF-8"
    if not text.isprintable():
        return "the name has control characters"
    if len(name) > longest:
        return f"the name is longer than {longest} bytes"
    return None


def _copy(source: int, target: int, name: bytes, size: int) -> None:
    writing = os.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=target
    )
    with open(writing, "wb") as copy:  # noqa: PTH123 - a handle, not a path
        while size:
            data = os.read(source, min(_CHUNK, size))
            if not data:
                raise OSError(errno.EIO, "the file became shorter while it was read")
            copy.write(data)
            size -= len(data)


@contextmanager
def _opened(name: bytes, flags: int, folder: int | None = None) -> Iterator[int]:
    handle = os.open(name, flags, dir_fd=folder)
    try:
        yield handle
    finally:
        os.close(handle)
