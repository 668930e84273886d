"""Archives of blocks: what we write is read back, in pieces of any size; what others make up is refused."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deai import car
from deai.cid import Cid, Codec
from deai.errors import BadContent, BadField
from deai.store import MAX_BLOCK_BYTES, Block

LEAF = Block(Cid.of(b"some bytes", Codec.RAW), b"some bytes")
NODE = Block(Cid.of(b"\x0a\x02\x08\x01", Codec.DAG_PB), b"\x0a\x02\x08\x01")
ARCHIVE = b"".join(car.write([NODE.cid], [LEAF, NODE]))

blocks = st.builds(
    lambda data, codec: Block(Cid.of(data, codec), data), st.binary(max_size=400), st.sampled_from(Codec)
)


def read(archive: bytes, max_bytes: int = 64 << 20) -> list[Block]:
    return list(car.read([archive], max_bytes))


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def section(cid: bytes, data: bytes) -> bytes:
    length = len(cid) + len(data)
    assert length < 128
    return bytes([length]) + cid + data


def test_the_bytes_are_those_of_the_specification() -> None:
    # 0x3a bytes of DAG-CBOR: {"roots": [tag 42 of 0x00 and the CID], "version": 1}
    head = b"\x3a\xa2\x65roots\x81\xd8\x2a\x58\x25\x00" + bytes(NODE.cid) + b"\x67version\x01"
    assert head + b"\x2e" + bytes(LEAF.cid) + b"some bytes" + b"\x28" + bytes(NODE.cid) + NODE.data == ARCHIVE


@given(
    st.lists(blocks, max_size=8),
    st.integers(min_value=1, max_value=500),
    st.integers(min_value=0, max_value=8),
)
def test_what_is_written_is_read_back_whatever_the_pieces(kept: list[Block], size: int, roots: int) -> None:
    archive = b"".join(car.write([block.cid for block in kept[:roots]], kept))
    assert list(car.read(pieces(archive, size), len(archive))) == kept


def test_a_large_block_is_read_back_with_others_after_it() -> None:
    large = Block(Cid.of(bytes(MAX_BLOCK_BYTES), Codec.RAW), bytes(MAX_BLOCK_BYTES))
    assert read(b"".join(car.write([], [large, LEAF]))) == [large, LEAF]


def test_blocks_are_given_as_they_come() -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        yield car.header([])
        while True:
            taken += 1
            yield car.section(LEAF)

    stream = car.read(endless(), 1 << 20)
    assert [next(stream) for _ in range(3)] == [LEAF] * 3
    assert taken <= 4


def test_an_archive_of_more_roots_than_fit_is_not_written() -> None:
    assert read(b"".join(car.write([LEAF.cid] * 23, [LEAF]))) == [LEAF]
    with pytest.raises(BadField, match="at most 23"):
        car.header([LEAF.cid] * 24)


@given(st.integers(min_value=0, max_value=len(ARCHIVE) - 1))
def test_an_archive_that_ends_early_gives_no_block_that_is_not_whole(length: int) -> None:
    whole: list[Block] = []
    try:
        whole += car.read([ARCHIVE[:length]], 1 << 20)
    except BadContent:
        pass
    else:
        assert length in (len(car.header([NODE.cid])), len(ARCHIVE) - len(car.section(NODE)))
    assert whole == [LEAF, NODE][: len(whole)]


@given(st.integers(min_value=0, max_value=len(ARCHIVE) - 1), st.integers(min_value=1, max_value=255))
def test_a_flipped_byte_never_gives_bytes_that_are_not_their_cids(at: int, flip: int) -> None:
    spoilt = ARCHIVE[:at] + bytes([ARCHIVE[at] ^ flip]) + ARCHIVE[at + 1 :]
    given_out: list[Block] = []
    with suppress(BadContent):
        given_out += car.read([spoilt], 1 << 20)
    assert all(Cid.of(block.data, block.cid.codec) == block.cid for block in given_out)


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(BadContent, match="archive"):
        read(noise)


@pytest.mark.parametrize(
    ("archive", "rule"),
    [
        (b"", "no header"),
        (b"\x00", "no header"),
        (b"\xff" * 20, "a length that is none"),
        (b"\xff\xff\xff\x7f" + bytes(100), "no header"),
        (b"\x0a\xa1\x67version\x02", "version 1"),
        (b"\x80\x00", "a length that is none"),
        (car.header([]) + b"\x81\x00", "a length that is none"),
        (car.header([]) + b"\xff\xff\xff\xff\x0f", "more than 2097152"),
        (car.header([]) + b"\x01", "ends within a block"),
        (car.header([]) + b"\x00", "not a CIDv1"),
        (car.header([]) + section(b"\x01\x71\x12\x20" + bytes(32), b""), "codec other than raw"),
        (car.header([]) + section(b"\x01\x55\x1b\x20" + bytes(32), b""), "not a sha2-256"),
        (car.header([]) + section(b"\x01\x55\x00\x05", b"hello"), "not a sha2-256"),
        (car.header([]) + section(bytes(LEAF.cid), b"other bytes"), f"{LEAF.cid}: the bytes do not hash"),
    ],
)
def test_a_malformed_archive_is_refused(archive: bytes, rule: str) -> None:
    with pytest.raises(BadContent, match=rule):
        read(archive)


def test_a_block_larger_than_any_may_be_is_refused_before_it_has_come() -> None:
    def head_of_a_large_block() -> Iterator[bytes]:
        yield car.header([])
        yield car.section(Block(LEAF.cid, bytes(MAX_BLOCK_BYTES + 100)))[:10]
        raise AssertionError("read on")

    with pytest.raises(BadContent, match="more than 2097152"):
        list(car.read(head_of_a_large_block(), 64 << 20))


def test_an_archive_longer_than_allowed_is_refused_though_its_blocks_are_small() -> None:
    assert read(ARCHIVE, len(ARCHIVE)) == [LEAF, NODE]
    with pytest.raises(BadContent, match=f"more than {len(ARCHIVE) - 1} bytes"):
        read(ARCHIVE, len(ARCHIVE) - 1)


def test_a_section_named_by_a_cidv0_is_read() -> None:
    assert read(car.header([]) + section(bytes(NODE.cid)[2:], NODE.data)) == [NODE]
