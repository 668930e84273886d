"""The job spec: one spelling, no unknown fields, nothing that widens the box."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deai.cid import Cid, Codec
from deai.errors import BadField
from deai.spec import MAX_SPEC_BYTES, Spec

CID = str(Cid.of(b"x", Codec.RAW))
FIELDS: dict[str, Any] = {"name": "n", "image": {"cid": CID}, "command": ["python3", "/inputs/script"]}


def build(**fields: object) -> Spec:
    return Spec.build(**{**FIELDS, **fields})


@given(
    name=st.text(min_size=1, max_size=40).filter(str.isprintable),
    command=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), min_size=1, max_size=5
    ),
    env=st.dictionaries(
        st.from_regex(r"[A-Z_]{1,8}", fullmatch=True),
        st.text(st.characters(codec="utf-8", exclude_characters="\0")),
    ),
    max_seconds=st.integers(1, 30 * 86_400),
)
def test_the_canonical_spelling_reads_back_as_itself(
    name: str, command: list[str], env: dict[str, str], max_seconds: int
) -> None:
    spec = build(name=name, command=command, env=env, max_seconds=max_seconds)
    data = spec.canonical()
    assert Spec.parse(data) == spec
    assert spec.cid() == Cid.of(data, Codec.RAW)


def test_any_other_spelling_of_the_same_spec_is_refused() -> None:
    value = json.loads(build().canonical())
    for other in (
        json.dumps(value),
        json.dumps(value, separators=(",", ":")),
        json.dumps({**value, "env": {}}, indent=1),
    ):
        if other.encode() != build().canonical():
            with pytest.raises(BadField, match="canonical"):
                Spec.parse(other.encode())


@pytest.mark.parametrize(
    "field",
    [
        "privileged",
        "network",
        "pid",
        "volumes",
        "devices",
        "user",
        "cap_add",
        "security_opt",
        "userns",
        "runtime",
    ],
)
def test_nothing_that_widens_the_box_has_a_field(field: str) -> None:
    value = json.loads(build().canonical()) | {field: True}
    with pytest.raises(BadField, match=field):
        Spec.parse(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\x1b[31m"}, "name"),
        ({"command": []}, "command"),
        ({"command": ["a\0b"]}, "NUL"),
        ({"env": {"1A": "x"}}, "1A"),
        ({"env": {"A=B": "x"}}, "A=B"),
        ({"inputs": {"../x": CID}}, "input name"),
        ({"inputs": {"data": "QmNo"}}, "cid"),
        ({"image": {}}, "image"),
        ({"image": {"cid": CID, "digest": "a@sha256:" + "0" * 64}}, "image"),
        ({"image": {"digest": "ubuntu:latest"}}, "digest"),
        ({"output_path": "relative"}, "output_path"),
        ({"output_path": "/a/../b"}, "output_path"),
        ({"output_path": "/" + "\U0001f680" * 100}, "output_path"),
        ({"output_path": "/a\nb"}, "output_path"),
        ({"output_path": "/a" * 20}, "output_path"),
        ({"command": ["\U0001f680" * 20_000]}, "command"),
        ({"env": {"A": "\U0001f680" * 20_000}}, "env"),
        ({"max_seconds": 0}, "max_seconds"),
        ({"max_seconds": True}, "max_seconds"),
        ({"max_seconds": "60"}, "max_seconds"),
        ({"resources": {"memory_mib": 1.5}}, "memory_mib"),
        ({"resources": {"gpus": -1}}, "gpus"),
        ({"verification": "zk"}, "verification"),
        ({"version": 2}, "version"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, object], named: str) -> None:
    with pytest.raises(BadField) as raised:
        build(**fields)
    assert named in str(raised.value)


@given(st.binary(max_size=200))
def test_random_bytes_are_refused_by_a_typed_error(data: bytes) -> None:
    with pytest.raises(BadField):
        Spec.parse(data)


def test_a_spec_beyond_one_block_is_refused_before_it_is_read() -> None:
    with pytest.raises(BadField, match="at most"):
        Spec.parse(b" " * (MAX_SPEC_BYTES + 1))


def test_the_output_path_has_one_spelling() -> None:
    assert (
        build(output_path="/my_llm_results/phase1_weights/").output_path == "/my_llm_results/phase1_weights"
    )
    assert build(output_path="/").output_path == "/"


def test_a_cidv0_input_is_spelled_as_the_cidv1_it_stands_for() -> None:
    cid = Cid.of(b"folder", Codec.DAG_PB)
    assert build(inputs={"data": cid.v0()}).inputs == {"data": str(cid)}
