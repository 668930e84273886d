from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deai import dag_pb
from deai.cid import Cid, Codec
from deai.dag_pb import Kind, Link, Node
from deai.errors import BadContent

NUMBERS = st.integers(0, (1 << 64) - 1)
cids = st.builds(Cid, st.sampled_from(Codec), st.binary(min_size=32, max_size=32))
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
parts = st.lists(st.tuples(cids, NUMBERS, st.integers(1, (1 << 64) - 1)), max_size=8)
SOME = Cid.of(b"some", Codec.RAW)


def decode(data: bytes) -> Node:
    return dag_pb.decode(Cid.of(data, Codec.DAG_PB), data)


@st.composite
def nodes(draw: st.DrawFn) -> Node:
    if draw(st.booleans()):
        entries = draw(st.dictionaries(names, st.tuples(cids, NUMBERS), max_size=8))
        ordered = sorted(entries.items(), key=lambda entry: entry[0].encode())
        return Node(Kind.FOLDER, tuple(Link(cid, name, tsize) for name, (cid, tsize) in ordered))
    linked, data = draw(parts), draw(st.binary(max_size=50))
    sizes = tuple(size for _, _, size in linked)
    return Node(
        draw(st.sampled_from([Kind.FILE, Kind.RAW])),
        tuple(Link(cid, "", tsize) for cid, tsize, _ in linked),
        data,
        draw(st.sampled_from([None, len(data) + sum(sizes)])) if len(data) + sum(sizes) < 1 << 64 else None,
        sizes,
    )


@settings(deadline=None)
@given(nodes())
def test_a_node_survives_its_bytes(node: Node) -> None:
    assert decode(dag_pb.encode(node)) == node


@settings(max_examples=30, deadline=None)
@given(nodes())
def test_no_proper_beginning_of_a_node_is_a_node(node: Node) -> None:
    data = dag_pb.encode(node)
    for length in range(len(data)):
        with pytest.raises(BadContent):
            decode(data[:length])


@settings(deadline=None)
@given(nodes(), st.binary(min_size=1, max_size=8))
def test_bytes_after_a_node_are_refused(node: Node, tail: bytes) -> None:
    with pytest.raises(BadContent):
        decode(dag_pb.encode(node) + tail)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_a_node_or_bad_content(data: bytes) -> None:
    with suppress(BadContent):
        decode(data)


@settings(deadline=None)
@given(nodes(), st.data())
def test_a_changed_byte_leaves_a_node_or_bad_content(node: Node, data: st.DataObject) -> None:
    block = bytearray(dag_pb.encode(node))
    block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    with suppress(BadContent):
        decode(bytes(block))


def test_links_are_written_in_order_of_their_names_bytes() -> None:
    unordered = Node(Kind.FOLDER, tuple(Link(SOME, name, 1) for name in ("b", "é", "a", "\uffee", "🚀", "Z")))
    assert [link.name for link in decode(dag_pb.encode(unordered)).links] == [
        "Z",
        "a",
        "b",
        "é",
        "\uffee",
        "🚀",
    ]


def field(number: int, value: bytes | int) -> bytes:
    """A protobuf field of less than 128 bytes, or of a number below 128."""
    if isinstance(value, int):
        return bytes((number << 3, value))
    return bytes((number << 3 | 2, len(value))) + value


FOLDER = field(1, field(1, Kind.FOLDER))
CID = field(1, bytes(SOME))


def entry(name: str) -> bytes:
    return field(2, CID + field(2, name.encode()) + field(3, 1))


def file(*message: bytes, links: int = 0) -> bytes:
    return field(2, CID + field(2, b"") + field(3, 1)) * links + field(
        1, field(1, Kind.FILE) + b"".join(message)
    )


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "no data"),
        (entry("a"), "no data"),
        (field(1, b""), "no type"),
        (FOLDER + FOLDER, "cannot have there"),
        (FOLDER + entry("a"), "cannot have there"),
        (field(3, b"") + FOLDER, "cannot have there"),
        (field(2, 1) + FOLDER, "cannot have there"),
        (entry("b") + entry("a") + FOLDER, "out of order"),
        (entry("a") + entry("a") + FOLDER, "repeated"),
        (field(2, field(2, b"a")) + FOLDER, "link to nothing"),
        (field(2, field(2, b"a") + CID) + FOLDER, "out of order"),
        (field(2, CID + CID) + FOLDER, "repeated"),
        (field(2, CID + field(4, 1)) + FOLDER, "links do not have"),
        (field(2, CID + field(3, b"")) + FOLDER, "links do not have"),
        (field(2, CID + field(2, b"\xff")) + FOLDER, "decode"),
        (field(2, field(1, bytes(SOME)[:-1])) + FOLDER, "sha2-256"),
        (field(2, field(1, b"\x01\x71" + bytes(SOME)[2:])) + FOLDER, "codec"),
        (field(1, field(1, 6)), "6 is not a valid Kind"),
        (field(1, field(1, Kind.FOLDER) + field(9, 1)), "UnixFS does not have"),
        (field(1, field(1, Kind.FOLDER) * 2), "repeated"),
        (file(field(3, 0), field(2, b"x")), "out of order"),
        (file(field(4, b"\x01\x01"), links=2), "UnixFS does not have"),
        (field(1, field(1, Kind.FOLDER) + field(2, b"x")), "content of a file"),
        (file(field(4, 1)), "0 links and 1 sizes"),
        (file(links=1), "1 links and 0 sizes"),
        (file(field(2, b"abc"), field(3, 4)), "says that it has 4 bytes"),
        (file(field(3, 3), field(4, 1), field(4, 1), links=2), "its parts have 2"),
        (file(field(4, 0), links=1), "empty parts"),
        (entry("a") + file(field(4, 1)), "named"),
        (b"\x0a\x03\x08\x81\x00", "canonically"),
        (b"\x0a\x0b\x08" + b"\xff" * 9 + b"\x02", "canonically"),
        (b"\x0a\x0c\x08" + b"\xff" * 11, "without an end"),
        (b"\x09" + bytes(8), "wire type 1"),
        (b"\x0a\x05\x08\x01", "ends early"),
    ],
)
def test_a_malformed_node_is_refused_with_the_reason(data: bytes, rule: str) -> None:
    with pytest.raises(BadContent, match=rule) as caught:
        decode(data)
    assert str(Cid.of(data, Codec.DAG_PB)) in str(caught.value)


def test_names_and_sizes_may_be_left_out_of_links() -> None:
    assert decode(field(2, CID) + FOLDER).links == (Link(SOME, "", 0),)
