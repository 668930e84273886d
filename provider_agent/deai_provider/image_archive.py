"""Image archives, as `docker save` writes them: reads one that somebody else made, and writes what an engine may safely load of it.

The engine never sees the archive itself: an archive could name other people's tags for its image, or hold paths that lead
elsewhere. It gets a new one with our names, the config and the layers, and nothing else. Pure but for the file.
"""

import gzip
import hashlib
import io
import json
import posixpath
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from deai.errors import BadContent

_CHUNK = 1 << 20
_MAX_JSON_BYTES = 8 << 20
_MAX_ARCHIVE_ENTRIES = 10_000
_MAX_LAYERS = 127
_MAX_PADDING = 1 << 20
"""What may follow a layer's last entry. The engine reads it into memory, and gzip makes it of next to nothing."""
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageLimits:
    """How large an image may be. Sizes in bytes."""

    archive: int = 32 << 30
    """As it travels, its layers compressed."""
    bytes: int = 64 << 30
    """Once it is unpacked."""
    entries: int = 2_000_000
    """Files and folders in all layers together."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer on its way into an archive."""

    name: str
    size: int
    pieces: Iterable[bytes]
    """Exactly `size` bytes, in any pieces."""


@dataclass(frozen=True, slots=True)
class ImageArchive:
    """A checked archive: what it holds, by whose digest the engine will know it, and where in the file its parts are."""

    path: Path
    config: bytes
    layers: tuple[str, ...]

    @property
    def id(self) -> str:
        """The image's id: `sha256:` and the digest of its config, which names every layer by digest."""
        return f"sha256:{hashlib.sha256(self.config).hexdigest()}"

    @property
    def architecture(self) -> str:
        """The processor that the image's programs are made for, in Go's words: `amd64`."""
        return str(json.loads(self.config).get("architecture"))

    @classmethod
    def read(cls, path: Path, limits: ImageLimits) -> Self:
        """Reads and checks the archive at `path`, layers' sizes included. Raises BadContent."""
        try:
            with _open(path) as archive:
                members = _members(archive)
                config_name, layers = _manifest(_json(_small(archive, _regular(members, "manifest.json"))))
                config = _small(archive, _regular(members, config_name))
                check_config(_json(config))
                room = [limits.bytes, limits.entries]
                for layer in dict.fromkeys(layers):
                    _check_layer(archive, _regular(members, layer), layers.count(layer), room)
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, ValueError, RecursionError) as error:
            raise BadContent(f"image archive: {error}") from error
        return cls(path, config, layers)

    def clean(self, tag: str) -> Iterator[bytes]:
        """The archive for the engine, piece by piece: the config, the layers, and `tag` as the only name of the image."""
        names = [f"{number}/layer.tar" for number in range(len(self.layers))]
        manifest = json.dumps([{"Config": "config.json", "RepoTags": [tag], "Layers": names}]).encode()
        with _open(self.path) as archive:
            members = _members(archive)
            yield from _entry("config.json", io.BytesIO(self.config), len(self.config))
            for name, layer in zip(names, self.layers, strict=True):
                member = _regular(members, layer)
                yield from _entry(name, _data(archive, member), member.size)
            yield from _entry("manifest.json", io.BytesIO(manifest), len(manifest))
        yield bytes(2 * tarfile.BLOCKSIZE)


def write(path: Path, config: bytes, layers: Sequence[Layer]) -> None:
    """Writes the archive of an image at `path`, piece by piece; a layer that is there twice is written once. Raises OSError."""
    names = [f"{layer.name}.tar" for layer in layers]
    manifest = json.dumps([{"Config": "config.json", "RepoTags": [], "Layers": names}]).encode()
    with path.open("xb") as file:
        file.writelines(_entry("config.json", io.BytesIO(config), len(config)))
        file.writelines(_entry("manifest.json", io.BytesIO(manifest), len(manifest)))
        for layer in {layer.name: layer for layer in layers}.values():
            info = tarfile.TarInfo(f"{layer.name}.tar")
            info.size = layer.size
            file.write(info.tobuf())
            file.writelines(layer.pieces)
            file.write(bytes(-layer.size % tarfile.BLOCKSIZE))
        file.write(bytes(2 * tarfile.BLOCKSIZE))


def check_config(config: object) -> None:
    """Raises BadContent for an image that no container of ours may have, whatever it holds. `config` is the image's config, parsed."""
    if not isinstance(config, dict):
        raise BadContent("image: its config is not an object")
    if config.get("os") != "linux":
        raise BadContent(f"image: is for {config.get('os')!r}, not for linux")
    inner = config.get("config") or {}
    volumes = inner.get("Volumes") if isinstance(inner, dict) else None
    if volumes:
        # The engine would make a writable volume without any limit on this machine's disk for each.
        raise BadContent(
            f"image: declares volumes ({', '.join(map(repr, list(volumes)[:3]))}), which have no size limit"
        )


class _Capped(io.RawIOBase):
    """A file that gives at most some MiB at once: tarfile reads each extended header in one piece, whatever its size."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_JSON_BYTES:
            raise ValueError("has a header that is too large")
        return self._file.read(size)

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()
        super().close()


def _open(path: Path) -> tarfile.TarFile:
    file = _Capped(path.open("rb"))
    try:
        return _Archive(fileobj=file, mode="r", errorlevel=2)
    except BaseException:
        file.close()
        raise


class _Archive(tarfile.TarFile):
    """Closes its file too, and keeps no list of its members unless asked for it."""

    def close(self) -> None:
        super().close()
        if self.fileobj is not None:
            self.fileobj.close()


def _members(archive: tarfile.TarFile) -> dict[str, tarfile.TarInfo]:
    """Files by name, and links to files of this archive as those files: `docker save` writes a repeated layer as a link."""
    files: dict[str, tarfile.TarInfo] = {}
    links: dict[str, str] = {}
    count = 0
    while (member := archive.next()) is not None:
        count += 1
        if count > _MAX_ARCHIVE_ENTRIES:
            raise BadContent(f"image archive: has more than {_MAX_ARCHIVE_ENTRIES} entries")
        name = posixpath.normpath(member.name)
        if name.startswith(("/", "..")):
            raise BadContent(f"image archive: {member.name!r} leads out of the archive")
        if member.issparse():
            raise BadContent(f"image archive: {member.name!r} is sparse")
        if member.isreg():
            if name in files:
                raise BadContent(f"image archive: {member.name!r} is there twice")
            files[name] = member
        elif member.issym():
            links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.linkname))
        elif not member.isdir():
            raise BadContent(f"image archive: {member.name!r} is neither a file nor a folder")
    for name, target in links.items():
        if target in files:
            files.setdefault(name, files[target])
    return files


def _regular(members: dict[str, tarfile.TarInfo], name: str) -> tarfile.TarInfo:
    member = members.get(posixpath.normpath(name))
    if member is None:
        raise BadContent(f"image archive: has no file {name!r}")
    return member


def _data(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    data = archive.extractfile(member)
    if data is None:
        raise BadContent(f"image archive: {member.name!r} is not a file")
    return data


def _small(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > _MAX_JSON_BYTES:
        raise BadContent(f"image archive: {member.name!r} has more than {_MAX_JSON_BYTES} bytes")
    return _data(archive, member).read()


def _json(data: bytes) -> object:
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadContent(f"image archive: {error}") from error
    return value


def _manifest(manifest: object) -> tuple[str, tuple[str, ...]]:
    if not isinstance(manifest, list) or not manifest:
        raise BadContent("image archive: manifest.json is not a list of images")
    if len(manifest) > 1:
        raise BadContent(f"image archive: holds {len(manifest)} images; save one")
    match manifest[0]:
        case {"Config": str(config), "Layers": [*layers]} if all(isinstance(layer, str) for layer in layers):
            if len(layers) > _MAX_LAYERS:
                raise BadContent(f"image archive: has more than {_MAX_LAYERS} layers")
            return config, tuple(layers)
    raise BadContent("image archive: manifest.json names no config and layers")


def _check_layer(archive: tarfile.TarFile, member: tarfile.TarInfo, times: int, room: list[int]) -> None:
    """Takes the layer's bytes and entries, as often as it is used, from `room`, before the engine unpacks them onto the disk."""
    data = _data(archive, member)
    start = data.read(2)
    data.seek(0)
    if start == _GZIP:
        data = gzip.GzipFile(fileobj=data)  # type: ignore[assignment]
    elif member.size == 0:
        raise BadContent(f"image archive: layer {member.name!r} is empty")
    with tarfile.TarFile(fileobj=_Capped(data), mode="r", errorlevel=2) as layer:
        while (entry := layer.next()) is not None:
            if entry.size < 0:
                raise BadContent(f"image archive: layer {member.name!r} has an entry of {entry.size} bytes")
            room[0] -= entry.size * times
            room[1] -= times
            if min(room) < 0:
                raise BadContent(f"image archive: is too large once unpacked, from layer {member.name!r} on")
            layer.members.clear()  # type: ignore[attr-defined]
        # tarfile takes a broken header for the end; the engine might read on.
        data.seek(layer.offset)
        if any(data.read(tarfile.BLOCKSIZE)):
            raise BadContent(f"image archive: layer {member.name!r} is not a tar archive to its end")
        if len(data.read(_MAX_PADDING + 1)) > _MAX_PADDING:
            raise BadContent(f"image archive: layer {member.name!r} goes on after its end")


def _entry(name: str, data: IO[bytes], size: int) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size = size
    yield info.tobuf()
    left = size
    while left:
        piece = data.read(min(_CHUNK, left))
        if not piece:
            raise BadContent(f"image archive: ends within {name}")
        left -= len(piece)
        yield piece
    yield bytes(-size % tarfile.BLOCKSIZE)
