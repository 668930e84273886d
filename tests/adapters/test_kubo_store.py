"""Kubo as a store: what its own importer and gateway say, and what happens when it is away, slow, or not Kubo."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from socket import socket

import pytest

from deai import car, unixfs
from deai.cid import Cid, Codec
from deai.errors import BadContent, BadField, ContentMissing, StoreUnavailable
from deai.gateway_store import GatewayStore
from deai.kubo_store import KuboStore
from deai.local_store import LocalStore
from deai.store import Block
from tests.adapters.store_fixtures import CID, CONTENTS, DATA, WRITE, answer, fresh, gateway, python, same
from tests.kubo import Kubo, start_kubo


@pytest.fixture
def store(kubo: Kubo) -> Iterator[KuboStore]:
    opened = KuboStore(kubo.address, search_seconds=0)
    yield opened
    opened.close()


@pytest.mark.parametrize("name", CONTENTS)
def test_kubos_own_importer_computes_the_same_cids(name: str, kubo: Kubo, tmp_path: Path) -> None:
    WRITE[name](tmp_path / "source")
    assert kubo.ipfs("add", "-n", "-Q", "-r", "--hidden", str(tmp_path / "source")) == CONTENTS[name]


def test_kubo_reads_what_was_put_as_files_and_folders(kubo: Kubo, store: KuboStore, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "large").write_bytes(bytes(3 << 20))
    (tmp_path / "folder" / "übung").write_bytes(DATA)
    root = unixfs.add(tmp_path / "folder", store)
    assert kubo.ipfs("cat", f"{root}/übung") == DATA.decode()
    kubo.ipfs("get", "-o", str(tmp_path / "got"), str(root))
    assert same(tmp_path / "folder", tmp_path / "got")


def test_what_was_pinned_outlives_the_collection_of_garbage_and_the_rest_does_not(
    kubo: Kubo, store: KuboStore
) -> None:
    kept, lost = fresh(), fresh()
    store.put([kept, lost])
    store.pin(kept.cid)
    assert str(kept.cid) in kubo.ipfs("pin", "ls", "--type=recursive")
    kubo.ipfs("repo", "gc", "-q")
    assert store.has(kept.cid)
    assert not store.has(lost.cid)


@pytest.mark.parametrize("reader", ["kubo", "its gateway", "a folder"])
def test_a_tree_of_cidv0_that_kubo_made_is_read_through_every_store(
    reader: str, kubo: Kubo, store: KuboStore, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    WRITE["nested, with empty files and Unicode names"](source)
    words = (
        "--cid-version=0",
        "--raw-leaves=false",
        "--chunker=size-262144",
        "--max-file-links=174",
        "--hidden",
    )
    name = kubo.ipfs("add", "-Q", "-r", *words, str(source))
    assert name.startswith("Qm")
    root = Cid.parse(name)
    if reader == "kubo":
        unixfs.fetch(store, root, tmp_path / "target")
    elif reader == "its gateway":
        away = GatewayStore(kubo.gateway)
        unixfs.fetch(away, root, tmp_path / "target")
        away.close()
    else:
        archive = kubo.output("dag", "export", name)
        local = LocalStore(tmp_path / "store")
        local.put(car.read([archive], len(archive)))
        unixfs.fetch(local, root, tmp_path / "target")
    assert same(source, tmp_path / "target")


def test_kubos_gateway_says_what_it_has(kubo: Kubo, store: KuboStore) -> None:
    there, not_there = fresh(), fresh()
    store.put([there])
    away = GatewayStore(kubo.gateway)
    assert away.has(there.cid)
    assert away.get(there.cid) == there.data
    assert not away.has(not_there.cid)
    with pytest.raises(ContentMissing):
        away.get(not_there.cid)
    away.close()


def test_an_archive_of_ours_is_one_that_kubo_takes_and_pins_whole(kubo: Kubo, tmp_path: Path) -> None:
    local = LocalStore(tmp_path / "store")
    root = unixfs.add_bytes(fresh().data * 300_000, local)
    blocks = (Block(cid, local.get(cid)) for cid in unixfs.walk(local, root))
    archive = b"".join(car.write([root], blocks))
    said = json.loads(kubo.ipfs("dag", "import", "--enc=json", stdin=archive))
    assert said == {"Root": {"Cid": {"/": str(root)}, "PinErrorMsg": ""}}


def test_a_block_that_nobody_has_is_missing_after_the_time_for_searching(kubo: Kubo) -> None:
    store = KuboStore(kubo.address, search_seconds=0.5)
    began = time.monotonic()
    absent = fresh().cid
    with pytest.raises(ContentMissing, match=str(absent)):
        store.get(absent)
    assert 0.4 < time.monotonic() - began < 5
    store.close()


def test_a_block_of_dag_pb_that_is_none_is_refused(store: KuboStore) -> None:
    data = b"\xff" + fresh().data
    with pytest.raises(StoreUnavailable, match="import failed"):
        store.put([Block(Cid.of(data, Codec.DAG_PB), data)])


def test_a_daemon_that_was_killed_is_unavailable_until_it_is_back(tmp_path: Path) -> None:
    daemon = start_kubo(tmp_path / "repo")
    store = KuboStore(daemon.address, search_seconds=0)
    data = fresh().data * 300_000
    try:
        root = unixfs.add_bytes(data, store)
        store.pin(root)
    finally:
        daemon.stop()
    for call in (store.get, store.has, store.pin):
        with pytest.raises(StoreUnavailable, match=str(root)):
            call(root)
    with pytest.raises(StoreUnavailable, match="1 blocks"):
        store.put([fresh()])
    store.close()
    daemon = start_kubo(tmp_path / "repo")
    store = KuboStore(daemon.address, search_seconds=0)
    try:
        assert unixfs.read(store, root, len(data)) == data
    finally:
        store.close()
        daemon.stop()


def test_a_url_and_a_multiaddr_name_the_same_daemon(kubo: Kubo) -> None:
    block = fresh()
    host, port = kubo.address.split("/")[2::2]
    for address in (
        kubo.address,
        f"{kubo.address}/http",
        f"http://{host}:{port}",
        f"http://localhost:{port}/",
    ):
        store = KuboStore(address)
        store.put([block])
        assert store.get(block.cid) == block.data
        store.close()


@pytest.mark.parametrize(
    "address", ["", "kubo", "/ip4/127.0.0.1", "ftp://kubo", "http://kubo:port", "/ip4/1.2.3/tcp/1"]
)
def test_what_is_no_address_of_a_daemon_is_refused(address: str) -> None:
    with pytest.raises(BadField, match="kubo"):
        KuboStore(address)


@pytest.mark.parametrize(
    "reply",
    [
        answer("200 OK", b"{}", "Content-Type: application/json"),
        answer("200 OK", b"<html>hello", "Content-Type: text/html"),
        answer("200 OK", b'{"Stats":{"BlockCount":0,"BlockBytesCount":0},"Pins":[]}'),
        answer("200 OK", b"{", length=100),
        answer("404 Not Found", b"nothing here"),
        answer("500 Oops", b'{"Message":"no space left on device","Code":0,"Type":"error"}'),
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
        b"",
    ],
    ids=["empty", "web page", "kept nothing", "cut off", "404", "disk full", "no http", "hung up"],
)
def test_an_answer_that_confirms_nothing_is_no_success(reply: bytes) -> None:
    with gateway(lambda connection, _: connection.sendall(reply)) as url:
        store = KuboStore(url)
        with pytest.raises(StoreUnavailable, match="http"):
            store.put([fresh()])
        with pytest.raises(StoreUnavailable, match="http"):
            store.pin(CID)
        store.close()


@pytest.mark.parametrize(
    "lie", [DATA[:-1] + b"?", DATA[:-1], b"", bytes(3 << 20)], ids=["other", "short", "empty", "large"]
)
def test_a_daemon_that_lies_is_named(lie: bytes) -> None:
    with gateway(lambda connection, _: connection.sendall(answer(body=lie))) as url:
        store = KuboStore(url)
        with pytest.raises(BadContent, match=f"{CID}.*{url}|{url}.*{CID}"):
            store.get(CID)
        store.close()


def test_a_daemon_that_stalls_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def stall(connection: socket, head: bytes) -> None:
        time.sleep(3)

    monkeypatch.setattr("deai.kubo_store._ANSWER_SECONDS", 0.3)
    with gateway(stall) as url:
        store = KuboStore(url, search_seconds=0)
        with pytest.raises(StoreUnavailable, match=str(CID)):
            store.get(CID)
        store.close()


LARGE = """
import resource, sys
from pathlib import Path
from deai import unixfs
from deai.kubo_store import KuboStore
base = Path(sys.argv[1])
store = KuboStore(sys.argv[2], search_seconds=0)
unixfs.add_bytes(bytes(1), store)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cid = unixfs.add(base / "large", store)
store.pin(cid)
unixfs.fetch(store, cid, base / "target")
print(cid, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
store.close()
"""


def test_memory_stays_flat_however_large_the_file(kubo: Kubo, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        for i in range(160):
            file.write(i.to_bytes(4) * (1 << 18))
    result = python(LARGE, tmp_path, kubo.address)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.split()[1]) < 60
    assert same(tmp_path / "large", tmp_path / "target")
