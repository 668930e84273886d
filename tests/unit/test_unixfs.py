import base64
import errno
import json
import os
import socket
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deai import dag_pb, unixfs
from deai.cid import Cid, Codec
from deai.dag_pb import Kind, Link, Node
from deai.errors import BadContent, BadField, ContentMissing, Unavailable
from deai.local_store import LocalStore
from deai.store import MAX_BLOCK_BYTES, Block, Store
from deai.unixfs import Entry, Fetched, Limits

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "unixfs.json").read_text())
FOLDERS = {each["name"]: each for each in VECTORS["folders"]}
LEGACY = {each["name"]: each for each in VECTORS["legacy"]}

ROWS = [bytes((167 * i + start) & 255 for i in range(256)) for start in range(256)]

Tree = Mapping[str, "bytes | Tree"]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


class Sink:
    """A store that forgets: for CIDs of content too large to keep."""

    def put(self, blocks: Iterable[Block]) -> None:
        for _ in blocks:
            pass

    def get(self, cid: Cid) -> bytes:
        raise ContentMissing(str(cid))

    def has(self, cid: Cid) -> bool:
        return False

    def pin(self, root: Cid) -> None:
        raise ContentMissing(str(root))


class Liar(Sink):
    """A store that breaks its promise, and answers each CID with the same bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def get(self, cid: Cid) -> bytes:
        return self.data

    def has(self, cid: Cid) -> bool:
        return True


def pattern(size: int) -> bytes:
    """The bytes that the vectors were made from."""
    rows = ((13 * row + 101 * (row >> 8)) & 255 for row in range(size // 256 + 1))
    return b"".join(ROWS[row] for row in rows)[:size]


def write(folder: Path, paths: Mapping[str, int | None]) -> Path:
    """A folder with a file of so many bytes at each path; None makes an empty folder."""
    folder.mkdir()
    for path, size in paths.items():
        at = folder / path
        (at if size is None else at.parent).mkdir(parents=True, exist_ok=True)
        if size is not None:
            at.write_bytes(pattern(size))
    return folder


def plant(folder: Path, tree: Tree) -> Path:
    folder.mkdir()
    for name, content in tree.items():
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            plant(folder / name, content)
    return folder


def harvest(folder: Path) -> Tree:
    return {each.name: harvest(each) if each.is_dir() else each.read_bytes() for each in folder.iterdir()}


def keep(store: Store, node: Node) -> Cid:
    """Puts a node as it is, however odd."""
    data = dag_pb.encode(node)
    cid = Cid.of(data, Codec.DAG_PB)
    store.put([Block(cid, data)])
    return cid


def folder_of(store: Store, *entries: tuple[str, Cid]) -> Cid:
    return keep(store, Node(Kind.FOLDER, tuple(Link(cid, name, 1) for name, cid in entries)))


def file_of(store: Store, *linked: tuple[Cid, int], data: bytes = b"") -> Cid:
    sizes = tuple(size for _, size in linked)
    links = tuple(Link(cid, "", size) for cid, size in linked)
    return keep(store, Node(Kind.FILE, links, data, len(data) + sum(sizes), sizes))


def assert_nothing_at(target: Path) -> None:
    assert not target.exists()
    assert not list(target.parent.glob(".fetch-*"))


# Against another implementation.


@pytest.mark.parametrize("vector", VECTORS["files"], ids=lambda each: str(each["size"]))
def test_files_have_the_cids_that_others_give_them(vector: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "file"
    if vector["bytes"] == "zeros":
        with path.open("wb") as file:
            file.truncate(vector["size"])
        assert str(unixfs.add(path, Sink())) == vector["cid"]
    else:
        data = pattern(vector["size"])
        path.write_bytes(data)
        assert str(unixfs.add(path, Sink())) == str(unixfs.add_bytes(data, Sink())) == vector["cid"]


def test_trees_of_any_shape_have_the_cids_that_others_give_them(monkeypatch: pytest.MonkeyPatch) -> None:
    layouts = VECTORS["layouts"]
    monkeypatch.setattr(unixfs, "CHUNK_BYTES", layouts["chunk_bytes"])
    monkeypatch.setattr(unixfs, "MAX_LINKS", layouts["max_links"])
    for size, cid in enumerate(layouts["cids_of_sizes_from_1"], start=1):
        assert str(unixfs.add_bytes(pattern(size), Sink())) == cid


@pytest.mark.parametrize("name", FOLDERS)
def test_folders_have_the_cids_that_others_give_them(name: str, tmp_path: Path) -> None:
    paths = FOLDERS[name].get("entries")
    if paths is None:
        assert FOLDERS[name]["generated"] == {"count": 5000, "path": "file-{i}.bin", "size": "i % 7"}
        paths = {f"file-{i}.bin": i % 7 for i in range(5000)}
    assert str(unixfs.add(write(tmp_path / "folder", paths), Sink())) == FOLDERS[name]["cid"]


@pytest.mark.parametrize("name", LEGACY)
def test_trees_of_cidv0_are_fetched(name: str, store: LocalStore, tmp_path: Path) -> None:
    vector = LEGACY[name]
    for cid_text, encoded in vector["blocks"].items():
        store.put([Block(Cid.parse(cid_text), base64.b64decode(encoded))])
    root, target = Cid.parse(vector["root"]), tmp_path / "target"
    store.pin(root)
    fetched = unixfs.fetch(store, root, target)
    if isinstance(vector["content"], int):
        assert fetched == Fetched(vector["content"], 1)
        assert target.read_bytes() == pattern(vector["content"]) == unixfs.read(store, root, 100)
    else:
        assert fetched == Fetched(sum(vector["content"].values()), len(vector["content"]))
        assert harvest(target) == harvest(write(tmp_path / "expected", vector["content"]))


@pytest.mark.parametrize("vector", VECTORS["refused"], ids=lambda each: str(each["kind"]))
def test_kinds_that_others_make_and_we_do_not_read_are_refused(
    vector: dict[str, Any], store: LocalStore, tmp_path: Path
) -> None:
    root = Cid.parse(vector["root"])
    store.put([Block(root, base64.b64decode(vector["block"]))])
    with pytest.raises(BadContent, match=vector["kind"]):
        unixfs.fetch(store, root, tmp_path / "target")


# There and back.

file_names = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="/"), min_size=1
)
contents = st.binary(max_size=200)
trees = st.recursive(
    st.dictionaries(
        file_names.filter(lambda name: name not in (".", "..") and len(name.encode()) < 256), contents
    ),
    lambda inner: st.dictionaries(
        st.sampled_from(["a", "ä", ".b", "c d"]), st.one_of(contents, inner), max_size=4
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(tree=trees)
def test_a_folder_comes_back_as_it_was_added(tree: Tree) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        store = LocalStore(base / "store")
        cid = unixfs.add(plant(base / "source", tree), store)
        store.pin(cid)
        unixfs.fetch(store, cid, base / "target")
        assert harvest(base / "target") == tree
        assert unixfs.add(base / "target", Sink()) == cid


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300))
def test_a_file_of_many_levels_comes_back_as_it_was_added(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as small, tempfile.TemporaryDirectory() as scratch:
        small.setattr(unixfs, "CHUNK_BYTES", 3)
        small.setattr(unixfs, "MAX_LINKS", 3)
        store = LocalStore(Path(scratch))
        cid = unixfs.add_bytes(data, store)
        assert unixfs.read(store, cid, len(data)) == data
        assert unixfs.fetch(store, cid, Path(scratch) / "target") == Fetched(len(data), 1)
        assert (Path(scratch) / "target").read_bytes() == data


def test_questions_about_a_folder_are_answered(store: LocalStore, tmp_path: Path) -> None:
    root = unixfs.add(
        write(tmp_path / "folder", {"a/b/c.bin": 9, "a/empty": 0, "z": 4, "hollow": None}), store
    )
    deep = unixfs.resolve(store, root, "a/b/c.bin")
    assert unixfs.read(store, deep, 9) == pattern(9)
    assert unixfs.resolve(store, root, "/a/b/c.bin/") == deep
    assert unixfs.resolve(store, root, "") == root == unixfs.resolve(store, root, "/")
    assert (unixfs.kind(store, root), unixfs.kind(store, deep)) == ("folder", "file")
    assert [entry.name for entry in unixfs.listing(store, root)] == ["a", "hollow", "z"]
    assert unixfs.listing(store, root)[2] == Entry("z", Cid.of(pattern(4), Codec.RAW), 4)
    walked = list(unixfs.walk(store, root))
    assert walked[0] == root
    assert len(walked) == len(set(walked)) == 7


def test_what_is_not_in_a_folder_is_a_bad_path(store: LocalStore) -> None:
    root = folder_of(store, ("file", unixfs.add_bytes(b"1", store)))
    for path in ("other", "..", "file ", "./file"):
        with pytest.raises(BadField, match="there is no"):
            unixfs.resolve(store, root, path)
    with pytest.raises(BadContent, match="is a file, not a folder"):
        unixfs.resolve(store, root, "file/below")
    with pytest.raises(BadContent, match="is a folder, not a file"):
        unixfs.read(store, root, 100)


# What cannot be added.


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    return write(tmp_path / "odd", {"good": 1})


def refused(path: Path, rule: str, store: Store | None = None) -> BadField:
    with pytest.raises(BadField, match=rule) as caught:
        unixfs.add(path, store or Sink())
    return caught.value


def test_symbolic_links_are_refused_wherever_they_point(odd: Path, tmp_path: Path) -> None:
    for place, target in (
        ("to-file", "good"),
        ("to-folder", "/etc"),
        ("to-nothing", "gone"),
        ("loop", "loop"),
    ):
        link = odd / place
        link.symlink_to(target)
        assert refused(odd, "symbolic link").value == str(link)
        link.unlink()
    (tmp_path / "root").symlink_to(odd)
    assert refused(tmp_path / "root", "symbolic link").value == str(tmp_path / "root")


def test_fifos_sockets_and_devices_are_refused_without_being_opened(odd: Path) -> None:
    os.mkfifo(odd / "fifo")
    assert refused(odd, "FIFO").value == str(odd / "fifo")
    (odd / "fifo").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(odd / "socket"))
        assert refused(odd, "socket").value == str(odd / "socket")
    refused(Path("/dev/zero"), "device")


@pytest.mark.parametrize("name", [b"a\nb", b"\x1b[31m", b"\xff\xfe", b"\x7f", "a\u2028b".encode()])
def test_names_that_a_terminal_or_a_log_would_choke_on_are_refused(name: bytes, odd: Path) -> None:
    (odd / os.fsdecode(name)).touch()
    error = refused(odd, "control characters")
    assert error.value == str(odd / os.fsdecode(name))
    assert str(error).isprintable()


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "gone", "No such file")


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ENOSPC])
def test_what_this_machine_cannot_read_for_now_is_no_fault_of_the_file(
    odd: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(_: int) -> Iterator[bytes]:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(unixfs, "_chunks", fail)
    with pytest.raises(Unavailable, match="good"):
        unixfs.add(odd / "good", Sink())


def test_a_folder_too_large_for_a_block_is_refused_before_its_files_are_read(
    odd: Path, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sub = write(odd / "sub", {f"{i}" * 5: 2 for i in range(4)})
    monkeypatch.setattr(unixfs, "MAX_BLOCK_BYTES", 195)
    assert refused(odd, "4 entries, too many", store).value == str(sub)
    assert not store.has(Cid.of(pattern(2), Codec.RAW))
    monkeypatch.setattr(unixfs, "MAX_BLOCK_BYTES", 199)
    assert refused(odd, "4 entries, too many", store).value == str(sub)
    monkeypatch.setattr(unixfs, "MAX_BLOCK_BYTES", 200)
    assert len(store.get(unixfs.add(sub, store))) == 200


def test_folders_too_deep_to_be_fetched_are_refused(store: LocalStore, tmp_path: Path) -> None:
    deepest = tmp_path / "deep" / "/".join("d" * (unixfs.MAX_DEPTH - 1))
    deepest.mkdir(parents=True)
    unixfs.fetch(store, unixfs.add(tmp_path / "deep", store), tmp_path / "target")
    (deepest / "d").mkdir()
    refused(tmp_path / "deep", "deeper than 64 folders")


# What cannot be fetched.


def test_a_target_that_is_there_is_never_touched(store: LocalStore, tmp_path: Path) -> None:
    cid = unixfs.add_bytes(b"new", store)
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("file", "folder", "link"):
        with pytest.raises(BadField, match="is there already"):
            unixfs.fetch(store, cid, tmp_path / name)
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_target_that_cannot_be_written_is_unavailable(store: LocalStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="cannot be written"):
        unixfs.fetch(store, unixfs.add_bytes(b"new", store), tmp_path / "file" / "below")


def test_a_missing_block_leaves_nothing_half_written(store: LocalStore, tmp_path: Path) -> None:
    gone = Cid.of(b"gone", Codec.RAW)
    root = folder_of(store, ("a", unixfs.add_bytes(b"here", store)), ("b", gone))
    with pytest.raises(ContentMissing, match=str(gone)):
        unixfs.fetch(store, root, tmp_path / "target")
    assert_nothing_at(tmp_path / "target")
    with pytest.raises(ContentMissing, match=str(gone)):
        list(unixfs.walk(store, root))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "a\0b", "a\nb", "\x1b[2J", "x" * 256])
def test_names_that_no_file_should_have_are_refused(name: str, store: LocalStore, tmp_path: Path) -> None:
    root = folder_of(store, (name, unixfs.add_bytes(b"evil", store)))
    with pytest.raises(BadContent) as caught:
        unixfs.fetch(store, root, tmp_path / "target")
    assert str(caught.value).isprintable()
    assert_nothing_at(tmp_path / "target")
    with pytest.raises(BadContent):
        unixfs.listing(store, root)


@pytest.mark.parametrize("kind", [Kind.METADATA, Kind.SYMLINK, Kind.HAMT_SHARD])
def test_unsupported_kinds_are_refused_by_name(kind: Kind, store: LocalStore, tmp_path: Path) -> None:
    cid = keep(store, Node(kind, data=b"/etc/shadow"))
    for ask in (
        unixfs.kind,
        unixfs.listing,
        lambda store, cid: unixfs.fetch(store, cid, tmp_path / "target"),
    ):
        with pytest.raises(BadContent, match=f"is a {kind.name.lower().replace('_', ' ')}"):
            ask(store, cid)
    assert_nothing_at(tmp_path / "target")


@pytest.mark.parametrize("claimed", [1, 3, 5, 1 << 40])
def test_a_part_that_is_not_as_long_as_its_parent_says_is_refused(
    claimed: int, store: LocalStore, tmp_path: Path
) -> None:
    leaf = unixfs.add_bytes(b"four", store)
    inner = file_of(store, (leaf, 4), (leaf, claimed))
    for root in (inner, file_of(store, (inner, 4 + claimed)), file_of(store, (inner, 8), (leaf, claimed))):
        with pytest.raises(BadContent, match="bytes where its parent says"):
            unixfs.fetch(store, root, tmp_path / "target", Limits(max_bytes=1 << 50))
        assert_nothing_at(tmp_path / "target")


def test_a_folder_within_a_file_is_refused(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(BadContent, match="is a folder where part of a file"):
        unixfs.fetch(store, file_of(store, (folder_of(store), 1)), tmp_path / "target")


def test_a_file_with_bytes_in_its_inner_nodes_is_read_in_order(store: LocalStore) -> None:
    leaf = unixfs.add_bytes(b"leaf", store)
    inner = file_of(store, (leaf, 4), data=b"inner ")
    root = file_of(store, (inner, 10), (leaf, 4), data=b"root ")
    assert unixfs.read(store, root, 19) == b"root inner leafleaf"


def test_limits_are_the_most_that_passes(store: LocalStore, tmp_path: Path) -> None:
    root = unixfs.add(write(tmp_path / "folder", {"a/b": 10, "c": 5}), store)
    just = {"max_bytes": 15, "max_entries": 3, "max_blocks": 4, "max_depth": 2}
    assert unixfs.fetch(store, root, tmp_path / "fits", Limits(**just)) == Fetched(15, 2)
    for name, most in just.items():
        with pytest.raises(BadContent, match=f"has more than {most - 1} "):
            unixfs.fetch(store, root, tmp_path / "target", Limits(**{**just, name: most - 1}))
        assert_nothing_at(tmp_path / "target")


def test_a_file_longer_than_asked_for_is_refused_before_its_parts_are_read(store: LocalStore) -> None:
    root = file_of(store, (Cid.of(b"nowhere", Codec.RAW), 1 << 40))
    with pytest.raises(BadContent, match="has more than 1000 bytes"):
        unixfs.read(store, root, 1000)


def test_a_path_too_long_for_the_disk_is_refused(store: LocalStore, tmp_path: Path) -> None:
    root = folder_of(store)
    for _ in range(30):
        root = folder_of(store, ("x" * 255, root))
    with pytest.raises(BadContent, match="holds a path that is too long"):
        unixfs.fetch(store, root, tmp_path / "target")
    assert_nothing_at(tmp_path / "target")


def bomb(store: Store, cid: Cid, size: int, levels: int, fan_out: int) -> Iterator[tuple[Cid, int]]:
    for _ in range(levels):
        cid, size = file_of(store, *[(cid, size)] * fan_out), size * fan_out
        yield cid, size


def test_a_file_that_unfolds_to_terabytes_is_refused(store: LocalStore, tmp_path: Path) -> None:
    *_, (root, size) = bomb(store, unixfs.add_bytes(bytes(1 << 20), store), 1 << 20, 3, 1000)
    assert size > 1 << 49
    with pytest.raises(BadContent, match="bytes"):
        unixfs.fetch(store, root, tmp_path / "target")
    assert_nothing_at(tmp_path / "target")


def test_a_file_that_unfolds_to_countless_blocks_is_refused(store: LocalStore, tmp_path: Path) -> None:
    *_, (root, size) = bomb(store, unixfs.add_bytes(b"1", store), 1, 3, 1000)
    assert size < unixfs.DEFAULT_LIMITS.max_bytes
    with pytest.raises(BadContent, match="has more than 5000 blocks"):
        unixfs.fetch(store, root, tmp_path / "target", Limits(max_blocks=5000))
    assert_nothing_at(tmp_path / "target")


def test_a_file_of_endless_levels_is_refused(store: LocalStore) -> None:
    *_, (root, _) = bomb(store, unixfs.add_bytes(b"1", store), 1, 100, 1)
    with pytest.raises(BadContent, match="levels in a file"):
        unixfs.read(store, root, 10)


def test_a_folder_that_unfolds_to_countless_entries_is_refused(store: LocalStore, tmp_path: Path) -> None:
    root = folder_of(store)
    for _ in range(30):
        root = folder_of(store, ("l", root), ("r", root))
    store.pin(root)
    with pytest.raises(BadContent, match="has more than 500 entries"):
        unixfs.fetch(store, root, tmp_path / "target", Limits(max_entries=500))
    assert_nothing_at(tmp_path / "target")


@pytest.mark.parametrize("kind", [Kind.FOLDER, Kind.FILE])
def test_even_a_cycle_from_a_lying_store_ends(kind: Kind, tmp_path: Path) -> None:
    link = Link(Cid.of(b"itself", Codec.DAG_PB), "again" if kind is Kind.FOLDER else "", 1)
    store = Liar(dag_pb.encode(Node(kind, (link,), block_sizes=() if kind is Kind.FOLDER else (1,))))
    with pytest.raises(BadContent, match=r"folders within each other|levels in a file"):
        unixfs.fetch(store, link.cid, tmp_path / "target")
    assert_nothing_at(tmp_path / "target")
    assert list(unixfs.walk(store, link.cid)) == [link.cid]


@pytest.mark.parametrize("codec", Codec)
def test_a_block_larger_than_any_may_be_is_refused(codec: Codec, tmp_path: Path) -> None:
    data = bytes(MAX_BLOCK_BYTES + 1)
    with pytest.raises(BadContent, match="is a block of 2097153 bytes"):
        unixfs.fetch(Liar(data), Cid.of(data, codec), tmp_path / "target")
