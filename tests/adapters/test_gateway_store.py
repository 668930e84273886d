"""A gateway that lies, stalls, truncates, bombs or redirects wastes a block of memory and the time it was given, and no more."""

import gzip
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from socket import socket

import pytest

from deai import dag_pb, unixfs
from deai.cid import Cid, Codec
from deai.dag_pb import Kind, Link, Node
from deai.errors import BadContent, BadField, ContentMissing, StoreUnavailable, WrongRequest
from deai.gateway_store import GatewayStore
from deai.local_store import LocalStore
from deai.store import MAX_BLOCK_BYTES, Block
from tests.adapters.store_fixtures import CID, DATA, answer, gateway, raw


class Away:
    """Opens stores on gateways that answer as told, and closes both."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.requests: list[bytes] = []

    def says(self, *pieces: bytes, every: float = 0.0, seconds: float = 10.0) -> GatewayStore:
        """A store whose gateway sends these pieces, with a pause after each."""

        def tell(connection: socket, head: bytes) -> None:
            self.requests.append(head)
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(every)

        store = GatewayStore(self._stack.enter_context(gateway(tell)), seconds=seconds)
        self._stack.callback(store.close)
        return store

    def has(self, blocks: dict[Cid, bytes]) -> GatewayStore:
        """A store whose gateway gives these bytes for these CIDs."""

        def look(connection: socket, head: bytes) -> None:
            self.requests.append(head)
            name = head.split(b"/ipfs/")[1].split(b"?")[0].decode()
            body = blocks.get(Cid.parse(name))
            connection.sendall(answer("404 Not Found") if body is None else answer(body=body))

        store = GatewayStore(self._stack.enter_context(gateway(look)))
        self._stack.callback(store.close)
        return store


@pytest.fixture
def away() -> Iterator[Away]:
    with ExitStack() as stack:
        yield Away(stack)


def test_a_block_is_asked_for_raw_and_unencoded_and_comes_back(away: Away) -> None:
    store = away.says(answer(body=DATA))
    assert store.get(CID) == DATA
    (head,) = away.requests
    assert head.startswith(f"GET /ipfs/{CID}?format=raw HTTP/1.1\r\n".encode())
    assert b"Accept: application/vnd.ipld.raw\r\n" in head
    assert b"Accept-Encoding: identity\r\n" in head


def test_the_largest_block_and_the_empty_one_come_back(away: Away) -> None:
    blocks = dict([raw(bytes(MAX_BLOCK_BYTES)), raw(b"")])
    store = away.has(blocks)
    for cid, data in blocks.items():
        assert store.get(cid) == data


def test_a_block_may_come_in_chunks_of_unknown_length(away: Away) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert away.says(head, b"4\r\nsome\r\n6\r\n bytes\r\n0\r\n\r\n").get(CID) == DATA


def test_whether_a_gateway_has_a_block_is_asked_by_its_head(away: Away) -> None:
    there, gone = away.says(answer(length=len(DATA))), away.says(answer("404 Not Found"))
    assert there.has(CID)
    assert not gone.has(CID)
    assert [head[:5] for head in away.requests] == [b"HEAD ", b"HEAD "]


def test_a_gateway_is_read_only(away: Away) -> None:
    store = away.says()
    with pytest.raises(WrongRequest, match="is read-only"):
        store.put([raw(DATA)])
    with pytest.raises(WrongRequest, match="is read-only"):
        store.pin(CID)
    assert not away.requests


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone", "451 Unavailable For Legal Reasons"])
def test_a_block_that_a_gateway_does_not_have_is_missing(status: str, away: Away) -> None:
    with pytest.raises(ContentMissing, match=f"{CID}: is not at http"):
        away.says(answer(status)).get(CID)


@pytest.mark.parametrize(
    "status", ["429 Too Many Requests", "500 Oops", "504 Gateway Timeout", "403 Forbidden"]
)
def test_a_gateway_that_fails_is_unavailable(status: str, away: Away) -> None:
    for ask in (GatewayStore.get, GatewayStore.has):
        with pytest.raises(StoreUnavailable, match=f"answers {status[:3]} for {CID}"):
            ask(away.says(answer(status)), CID)


def test_a_gateway_that_is_not_there_is_unavailable() -> None:
    with gateway(lambda *_: None) as url:
        pass
    with pytest.raises(StoreUnavailable, match=url):
        GatewayStore(url).get(CID)


@pytest.mark.parametrize(
    "lie", [DATA[:-1] + b"?", DATA[:-1], DATA + b"\0", b""], ids=["other", "short", "long", "empty"]
)
def test_a_gateway_that_lies_is_named(lie: bytes, away: Away) -> None:
    with pytest.raises(BadContent, match=rf"http://127.0.0.1:\d+: sent other bytes: {CID}"):
        away.says(answer(body=lie)).get(CID)


def test_a_body_that_ends_before_its_length_is_not_taken(away: Away) -> None:
    with pytest.raises(StoreUnavailable, match="http"):
        away.says(answer(body=DATA, length=len(DATA) + 1)).get(CID)


def test_a_body_of_unknown_length_that_ends_early_is_not_taken(away: Away) -> None:
    with pytest.raises(BadContent, match="do not hash"):
        away.says(b"HTTP/1.1 200 OK\r\n\r\n", DATA[:4]).get(CID)
    with pytest.raises(StoreUnavailable, match="http"):
        away.says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nsome\r\n").get(CID)


def test_a_body_without_end_is_read_no_further_than_a_block(away: Away) -> None:
    store = away.says(b"HTTP/1.1 200 OK\r\n\r\n", *[bytes(1 << 20)] * 64)
    tracemalloc.start()
    try:
        with pytest.raises(BadContent, match=f"sends more than {MAX_BLOCK_BYTES} bytes"):
            store.get(CID)
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_BLOCK_BYTES
    finally:
        tracemalloc.stop()


def test_an_encoded_body_is_not_even_decoded(away: Away) -> None:
    bomb = gzip.compress(bytes(8 << 20))
    with pytest.raises(StoreUnavailable, match="encoded as 'gzip', unasked"):
        away.says(answer("200 OK", bomb, "Content-Encoding: gzip")).get(CID)


def test_a_redirect_is_not_followed(away: Away) -> None:
    elsewhere = away.says(answer(body=DATA))
    store = away.says(answer("302 Found", b"", "Location: http://169.254.169.254/latest"))
    with pytest.raises(StoreUnavailable, match=r"redirects to 'http://169\.254\.169\.254/latest'"):
        store.get(CID)
    with pytest.raises(StoreUnavailable, match="redirects"):
        store.has(CID)
    assert elsewhere.get(CID) == DATA
    assert len(away.requests) == 3


@pytest.mark.parametrize(
    "pieces",
    [
        [b""],
        [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 100],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *[b"x"] * 100],
        [b"HTTP/1.1 100 Continue\r\n\r\n"] * 100,
    ],
    ids=["silent", "headers", "body", "informational"],
)
def test_a_gateway_that_stalls_is_given_up_in_the_time_of_the_whole_call(
    pieces: list[bytes], away: Away
) -> None:
    store = away.says(*pieces, every=0.1 if len(pieces) > 1 else 5.0, seconds=0.5)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"took more than 0.5 s"):
        store.get(CID)
    assert 0.4 < time.monotonic() - began < 2.0


def test_something_that_speaks_no_http_is_unavailable(away: Away) -> None:
    with pytest.raises(StoreUnavailable, match="http"):
        away.says(b"SSH-2.0-OpenSSH_9.2p1\r\n").get(CID)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "gateway",
        "ftp://gateway",
        "file:///tmp",
        "http://",
        "http://me:secret@gateway",
        "http://gateway/?x=1",
    ],
)
def test_what_is_no_url_of_a_gateway_is_refused(url: str) -> None:
    with pytest.raises(BadField, match="gateway"):
        GatewayStore(url)


def test_a_tree_comes_through_a_gateway_and_a_spoilt_leaf_of_it_does_not(away: Away, tmp_path: Path) -> None:
    kept = LocalStore(tmp_path / "store")
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "übung.txt").write_bytes(DATA)
    (tmp_path / "tree" / "empty").touch()
    root = unixfs.add(tmp_path / "tree", kept)
    blocks = {cid: kept.get(cid) for cid in unixfs.walk(kept, root)}
    unixfs.fetch(away.has(blocks), root, tmp_path / "target")
    assert (tmp_path / "target" / "sub" / "übung.txt").read_bytes() == DATA
    with pytest.raises(BadContent, match=str(CID)):
        unixfs.fetch(away.has({**blocks, CID: b"same bytes"}), root, tmp_path / "spoilt")
    assert not (tmp_path / "spoilt").exists()


def test_a_tree_that_a_gateway_bends_into_a_circle_is_refused(away: Away, tmp_path: Path) -> None:
    def folder(child: Cid) -> Block:
        data = dag_pb.encode(Node(Kind.FOLDER, (Link(child, "again", 1),)))
        return Block(Cid.of(data, Codec.DAG_PB), data)

    inner = folder(CID)
    outer = folder(inner.cid)
    circle = {outer.cid: outer.data, inner.cid: folder(outer.cid).data}
    with pytest.raises(BadContent, match=str(inner.cid)):
        unixfs.fetch(away.has(circle), outer.cid, tmp_path / "target")
    assert not (tmp_path / "target").exists()
