import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deai.cid import Cid, Codec
from deai.errors import BadField

EMPTY_FILE = "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
EMPTY_FOLDER_V0 = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn"
EMPTY_FOLDER_V1 = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354"

cids = st.builds(Cid, st.sampled_from(Codec), st.binary(min_size=32, max_size=32))


def spelled(data: bytes) -> str:
    return "b" + base64.b32encode(data).decode().rstrip("=").lower()


def test_well_known_cids_are_what_everybody_says_they_are() -> None:
    assert str(Cid.of(b"", Codec.RAW)) == EMPTY_FILE
    assert str(Cid.of(b"\x0a\x02\x08\x01", Codec.DAG_PB)) == EMPTY_FOLDER_V1
    assert Cid.of(b"\x0a\x02\x08\x01", Codec.DAG_PB).v0() == EMPTY_FOLDER_V0


@settings(deadline=None)
@given(cids)
def test_a_cid_survives_text_and_bytes(cid: Cid) -> None:
    assert Cid.parse(str(cid)) == cid
    assert Cid.from_bytes(bytes(cid)) == cid


@settings(deadline=None)
@given(st.binary(min_size=32, max_size=32))
def test_cidv0_reads_as_the_cidv1_it_stands_for(digest: bytes) -> None:
    cid = Cid(Codec.DAG_PB, digest)
    assert Cid.parse(cid.v0()) == cid
    assert Cid.from_bytes(b"\x12\x20" + digest) == cid


def test_a_raw_cid_has_no_cidv0() -> None:
    with pytest.raises(BadField, match="no CIDv0"):
        Cid.parse(EMPTY_FILE).v0()


def test_a_digest_of_another_length_is_refused() -> None:
    with pytest.raises(BadField, match="32 bytes"):
        Cid(Codec.RAW, bytes(31))


DIGEST = hashlib.sha256(b"").digest()


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "neither"),
        ("b", "not a CIDv1"),
        ("Qm", "neither"),
        (EMPTY_FOLDER_V0[:-1], "neither"),
        (EMPTY_FOLDER_V0[:-1] + "0", "base58"),
        (EMPTY_FOLDER_V0[:-1] + "é", "base58"),
        ("Qm" + "z" * 44, "not a sha2-256"),
        (EMPTY_FILE.upper(), "neither"),
        ("b" + EMPTY_FILE[1:].upper(), "upper-case"),
        (EMPTY_FILE[:-1] + "1", "not base32"),
        (EMPTY_FILE[:-1] + "v", "canonically"),
        (EMPTY_FILE + "=", "base32|canonically"),
        (" " + EMPTY_FILE, "neither"),
        (EMPTY_FILE + "\n", "base32"),
        (EMPTY_FILE[:-3], "base32|sha2-256"),
        ("z" + EMPTY_FILE[1:], "neither"),
        ("b" * 200, "too long"),
        (spelled(b"\x02\x55\x12\x20" + DIGEST), "not a CIDv1"),
        (spelled(b"\x01\x71\x12\x20" + DIGEST), "codec"),
        (spelled(b"\x01\x55\x13\x40" + bytes(64)), "sha2-256"),
        (spelled(b"\x01\x55\x12\x20" + DIGEST[:-1]), "sha2-256"),
        (spelled(b"\x01\x55\x12\x20" + DIGEST + b"\0"), "sha2-256"),
        (spelled(b"\x01\x55\x00\x00"), "sha2-256"),
    ],
)
def test_what_is_not_a_canonical_sha2_256_cid_is_refused(text: str, rule: str) -> None:
    with pytest.raises(BadField, match=rule) as caught:
        Cid.parse(text)
    assert caught.value.field == "cid"


@settings(deadline=None)
@given(st.text(max_size=140))
def test_any_text_is_a_cid_or_a_bad_field(text: str) -> None:
    try:
        cid = Cid.parse(text)
    except BadField:
        return
    assert text in (str(cid), cid.v0())


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_cid_or_a_bad_field(data: bytes) -> None:
    try:
        cid = Cid.from_bytes(data)
    except BadField:
        return
    assert data in (bytes(cid), bytes(cid)[2:])
