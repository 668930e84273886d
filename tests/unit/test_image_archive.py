"""Image archives made to deceive: refused before an engine sees them."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from deai.errors import BadContent
from deai_provider.image_archive import ImageArchive, ImageLimits

LIMITS = ImageLimits(bytes=1 << 20, entries=100)


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def file(name: str, content: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    return tarfile.TarInfo(name), content


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


LAYER = tar(file("hello"))


def config(layer: bytes = LAYER, **inner: Any) -> bytes:
    digests = [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    value = {
        "os": "linux",
        "architecture": "amd64",
        "config": inner,
        "rootfs": {"type": "layers", "diff_ids": digests},
    }
    return json.dumps(value).encode()


def manifest(**replaced: Any) -> bytes:
    image = {"Config": "c.json", "RepoTags": ["postgres:latest"], "Layers": ["l.tar"], **replaced}
    return json.dumps([image]).encode()


def write(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    path.write_bytes(tar(*members))
    return path


def good(path: Path, *more: tuple[tarfile.TarInfo, bytes], layer: bytes = LAYER, **inner: Any) -> Path:
    return write(
        path,
        file("c.json", config(layer, **inner)),
        file("l.tar", layer),
        *more,
        file("manifest.json", manifest()),
    )


def test_a_good_archive_is_known_by_the_digest_of_its_config(tmp_path: Path) -> None:
    archive = ImageArchive.read(good(tmp_path / "a.tar"), LIMITS)

    assert archive.id == f"sha256:{hashlib.sha256(config()).hexdigest()}"


def test_the_engine_gets_our_names_and_none_of_the_archives(tmp_path: Path) -> None:
    archive = ImageArchive.read(good(tmp_path / "a.tar", file("repositories", b"{}"), file("extra")), LIMITS)

    clean = b"".join(archive.clean("deai.local/image:1"))

    with tarfile.open(fileobj=io.BytesIO(clean)) as again:
        assert again.getnames() == ["config.json", "0/layer.tar", "manifest.json"]
        read = {name: again.extractfile(name) for name in again.getnames()}
        contents = {name: data.read() for name, data in read.items() if data}
    assert contents["0/layer.tar"] == LAYER
    assert contents["config.json"] == config()
    assert json.loads(contents["manifest.json"]) == [
        {"Config": "config.json", "RepoTags": ["deai.local/image:1"], "Layers": ["0/layer.tar"]}
    ]


def test_a_repeated_layer_may_be_a_link_within_the_archive(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tar",
        file("c.json", config()),
        file("1/l.tar", LAYER),
        link("2/l.tar", "../1/l.tar"),
        file("manifest.json", manifest(Layers=["1/l.tar", "2/l.tar"])),
    )

    archive = ImageArchive.read(path, LIMITS)

    assert b"".join(archive.clean("t")).count(LAYER) == 2


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (file("../c.json"), "leads out"),
        (file("/etc/passwd"), "leads out"),
        (file("a/../../b"), "leads out"),
        (file("c.json"), "twice"),
        (link("pipe", "", tarfile.FIFOTYPE), "neither a file nor a folder"),
        (link("hard", "c.json", tarfile.LNKTYPE), "neither a file nor a folder"),
    ],
)
def test_members_that_are_not_plain_are_refused(
    tmp_path: Path, member: tuple[tarfile.TarInfo, bytes], said: str
) -> None:
    with pytest.raises(BadContent, match=said):
        ImageArchive.read(good(tmp_path / "a.tar", member), LIMITS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[]", "not a list of images"),
        (b"{}", "not a list of images"),
        (b"nonsense", "image archive"),
        (b"[" * 100_000, "image archive"),
        (json.dumps([{}, {}]).encode(), "holds 2 images"),
        (manifest(Config="none.json"), "no file 'none.json'"),
        (manifest(Config=7), "names no config"),
        (manifest(Layers=["../../etc/shadow"]), "no file"),
        (manifest(Layers=["link"]), "no file 'link'"),
        (manifest(Layers=["l.tar"] * 200), "more than 127 layers"),
    ],
)
def test_a_manifest_that_misleads_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    members = (file("c.json", config()), file("l.tar", LAYER), link("link", "/etc/shadow"))
    with pytest.raises(BadContent, match=said):
        ImageArchive.read(write(tmp_path / "a.tar", *members, file("manifest.json", content)), LIMITS)


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    for number, content in enumerate((b"", b"x" * 5_000, gzip.compress(LAYER))):
        path = tmp_path / str(number)
        path.write_bytes(content)
        with pytest.raises(BadContent):
            ImageArchive.read(path, LIMITS)


def test_an_archive_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.tar",
        file("manifest.json", manifest()),
        file("c.json", config()),
        file("l.tar", tar(file("big", b"x" * 50_000))),
    )
    path.write_bytes(path.read_bytes()[:20_000])

    with pytest.raises(BadContent):
        ImageArchive.read(path, LIMITS)


def test_an_image_that_declares_volumes_or_another_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadContent, match=r"volumes \('/data'\)"):
        ImageArchive.read(good(tmp_path / "a.tar", Volumes={"/data": {}}), LIMITS)

    windows = file("c.json", config().replace(b"linux", b"windows"))
    path = write(tmp_path / "b.tar", windows, file("l.tar", LAYER), file("manifest.json", manifest()))
    with pytest.raises(BadContent, match="'windows', not for linux"):
        ImageArchive.read(path, LIMITS)


def test_a_layer_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    bomb = gzip.compress(tar(file("zeros", bytes(2 << 20))))
    crowd = tar(*(file(str(number), b"") for number in range(101)))
    for number, layer in enumerate((bomb, crowd)):
        with pytest.raises(BadContent, match="too large once unpacked"):
            ImageArchive.read(good(tmp_path / f"{number}.tar", layer=layer), LIMITS)


def test_a_header_of_a_gigabyte_is_refused_without_being_read(tmp_path: Path) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 1 << 30
    path = tmp_path / "a.tar"
    path.write_bytes(header.tobuf())
    with path.open("r+b") as sparse:
        sparse.truncate(1 << 31)

    with pytest.raises(BadContent, match="header that is too large"):
        ImageArchive.read(path, LIMITS)


def test_a_layer_that_another_reader_would_read_further_is_refused(tmp_path: Path) -> None:
    first, broken, hidden = tar(file("a"))[:1_024], b"\1" * 512, tar(file("b", bytes(3 << 20)))

    with pytest.raises(BadContent, match="not a tar archive to its end"):
        ImageArchive.read(good(tmp_path / "a.tar", layer=first + broken + hidden), LIMITS)
