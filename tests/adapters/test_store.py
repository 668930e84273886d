"""What every store does: one suite over the folder on this disk and a real Kubo."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deai import dag_pb, unixfs
from deai.cid import Cid, Codec
from deai.dag_pb import Kind, Link, Node
from deai.errors import BadContent, BadField, ContentMissing
from deai.kubo_store import KuboStore
from deai.local_store import LocalStore
from deai.store import MAX_BLOCK_BYTES, Block, Store
from tests.adapters.store_fixtures import CONTENTS, WRITE, fresh, raw, same
from tests.kubo import Kubo

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "unixfs.json").read_text())
FOLDERS = [each for each in VECTORS["folders"] if "entries" in each]


@pytest.fixture(params=["local", "kubo"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "local":
        yield LocalStore(tmp_path / "store")
        return
    kubo: Kubo = request.getfixturevalue("kubo")
    opened = KuboStore(kubo.address, search_seconds=0)
    yield opened
    opened.close()


@pytest.mark.parametrize("name", CONTENTS)
def test_content_has_the_same_cid_in_every_store_and_comes_back(
    name: str, store: Store, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    WRITE[name](source)
    root = unixfs.add(source, store)
    assert str(root) == CONTENTS[name]
    store.pin(root)
    unixfs.fetch(store, root, tmp_path / "target")
    assert same(source, tmp_path / "target")


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, MAX_BLOCK_BYTES])
def test_a_block_comes_back_as_it_was_put(size: int, store: Store) -> None:
    block = raw(os.urandom(size))
    store.put([block])
    assert store.has(block.cid)
    assert store.get(block.cid) == block.data


def test_a_block_answers_to_its_cidv0_and_to_its_cidv1(store: Store) -> None:
    data = dag_pb.encode(Node(Kind.FOLDER, (Link(fresh().cid, "a", 1),)))
    v1 = Cid.of(data, Codec.DAG_PB)
    store.put([Block(v1, data)])
    assert store.get(Cid.parse(v1.v0())) == data


def test_a_block_nobody_put_is_missing(store: Store) -> None:
    block = fresh()
    assert not store.has(block.cid)
    with pytest.raises(ContentMissing, match=str(block.cid)):
        store.get(block.cid)


def test_putting_again_is_harmless(store: Store) -> None:
    block = fresh()
    store.put([block, block])
    store.put([block])
    store.put([])
    assert store.get(block.cid) == block.data


def test_a_block_that_is_not_its_cids_is_refused(store: Store) -> None:
    block = fresh()
    with pytest.raises(BadContent, match=str(block.cid)):
        store.put([Block(block.cid, block.data[:-1] + b"?")])
    with pytest.raises(BadContent, match=str(block.cid)):
        store.put([Block(block.cid, block.data[:-1])])
    assert not store.has(block.cid)


def test_a_block_larger_than_any_may_be_is_refused(store: Store) -> None:
    block = raw(bytes(MAX_BLOCK_BYTES + 1))
    with pytest.raises(BadContent, match="more than 2097152"):
        store.put([block])
    assert not store.has(block.cid)


def test_blocks_are_taken_as_they_come(store: Store) -> None:
    most_ahead = 16
    kept: list[Cid] = []

    def blocks() -> Iterator[Block]:
        for i in range(40):
            if i >= most_ahead:
                assert store.has(kept[i - most_ahead])
            block = raw(os.urandom(1 << 20))
            kept.append(block.cid)
            yield block

    store.put(blocks())
    assert all(store.has(cid) for cid in kept)


def test_a_stream_of_blocks_that_breaks_off_passes_its_error_on(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_bytes(fresh().data)
    (folder / "b").symlink_to("a")
    with pytest.raises(BadField, match="symbolic link"):
        unixfs.add(folder, store)
    (folder / "b").unlink()
    store.pin(unixfs.add(folder, store))


def test_a_tree_is_pinned_once_all_of_it_is_here(store: Store) -> None:
    leaf = fresh()
    inner = dag_pb.encode(Node(Kind.FILE, (Link(leaf.cid, "", 10),), block_sizes=(10,)))
    inner_cid = Cid.of(inner, Codec.DAG_PB)
    root = dag_pb.encode(Node(Kind.FOLDER, (Link(inner_cid, "file", 99),)))
    root_cid = Cid.of(root, Codec.DAG_PB)
    for missing, block in (
        (root_cid, Block(root_cid, root)),
        (inner_cid, Block(inner_cid, inner)),
        (leaf.cid, leaf),
    ):
        with pytest.raises(ContentMissing, match=str(missing)):
            store.pin(root_cid)
        store.put([block])
    store.pin(root_cid)
    store.pin(root_cid)


@pytest.mark.parametrize("vector", FOLDERS, ids=lambda each: str(each["name"]))
def test_folders_have_the_cids_of_another_implementation(
    vector: dict[str, Any], store: Store, tmp_path: Path
) -> None:
    for path, size in {
        "root/": None,
        **{f"root/{path}": size for path, size in vector["entries"].items()},
    }.items():
        at = tmp_path / path
        (at if size is None else at.parent).mkdir(parents=True, exist_ok=True)
        if size is not None:
            at.write_bytes(bytes((167 * i + 13 * (i >> 8) + 101 * (i >> 16)) & 255 for i in range(size)))
    root = unixfs.add(tmp_path / "root", store)
    assert str(root) == vector["cid"]
    store.pin(root)
    unixfs.fetch(store, root, tmp_path / "target")
    assert unixfs.add(tmp_path / "target", store) == root
