"""Output on its way to a person, in pieces of any size."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deai.errors import BadField
from deai.log_lines import MAX_LINE_BYTES, Lines, matcher

OUTPUT = b"one\ntwo\r\n\x1b[31mthree \xff\xfe\nfour"


def shown(output: bytes, text: str | None, size: int) -> list[tuple[int, bytes]]:
    lines = Lines(matcher(text))
    found = [piece for at in range(0, len(output), size) for piece in lines.feed(output[at : at + size])]
    return [*found, *lines.rest()]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("o", [(0, b"one\n"), (4, b"two\r\n"), (23, b"four")]),
        ("/^t/", [(4, b"two\r\n")]),
        ("/o$/", [(4, b"two\r\n")]),
        ("/[3]/", [(9, b"\x1b[31mthree \xff\xfe\n")]),
        ("//", []),
        ("nothing", []),
    ],
)
def test_lines_that_match_come_whole_with_their_place(
    text: str, expected: list[tuple[int, bytes]], size: int
) -> None:
    assert shown(OUTPUT, text, size) == expected


@given(st.binary(), st.integers(1, 50))
def test_without_a_filter_every_byte_comes(output: bytes, size: int) -> None:
    assert b"".join(data for _, data in shown(output, None, size)) == output


@given(st.binary(), st.integers(1, 50))
def test_a_filter_that_matches_all_loses_nothing(output: bytes, size: int) -> None:
    assert b"".join(data for _, data in shown(output, "/.*/", size)) == output


def test_a_line_without_an_end_is_not_held_without_bound() -> None:
    lines = Lines(matcher("x"))
    pieces = list(lines.feed(b"x" * (3 * MAX_LINE_BYTES + 5)))
    assert [len(data) for _, data in pieces] == [MAX_LINE_BYTES] * 3


def test_a_broken_expression_is_a_bad_field() -> None:
    with pytest.raises(BadField, match="filter"):
        matcher("/(/")
