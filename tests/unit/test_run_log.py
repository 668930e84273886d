"""A run's log on disk: capped, stable, and taken apart from the engine's frames wherever they are cut."""

import struct
from pathlib import Path

import pytest

from deai_provider import run_log


def frame(payload: bytes, kind: int = 1) -> bytes:
    return struct.pack(">BxxxL", kind, len(payload)) + payload


@pytest.mark.parametrize("size", [1, 3, 8, 9, 100])
def test_frames_are_taken_apart_wherever_they_are_cut(size: int) -> None:
    stream = frame(b"out\n") + frame(b"err\n", 2) + frame(b"") + frame(b"x" * 300)
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]

    assert b"".join(run_log.demultiplex(pieces)) == b"out\nerr\n" + b"x" * 300


def test_a_log_read_again_from_its_beginning_is_not_doubled(tmp_path: Path) -> None:
    path = tmp_path / "log"

    run_log.append(path, [b"one ", b"two "], 100)
    run_log.append(path, [b"one t", b"wo three"], 100)

    assert path.read_bytes() == b"one two three"
    assert run_log.read(path, 4) == b"two three"
    assert run_log.read(path, 99) == b""


def test_a_log_ends_at_its_cap_and_says_so_once(tmp_path: Path) -> None:
    path = tmp_path / "log"

    run_log.append(path, [b"x" * 7, b"x" * 7], 10)
    first = path.read_bytes()
    run_log.append(path, [b"x" * 30], 10)

    assert first.startswith(b"x" * 10 + b"\n[deai: the log was cut")
    assert path.read_bytes() == first


def test_a_log_that_does_not_exist_is_empty(tmp_path: Path) -> None:
    assert run_log.read(tmp_path / "none", 0) == b""
