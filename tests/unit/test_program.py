"""Programs by name and process id."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deai.errors import BadField, Unavailable
from deai.program import (
    Program,
    Running,
    free_port,
    is_free,
    started_at,
    this_process,
    write_down,
    written_down,
)

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)",
]


def test_a_process_written_down_is_found_and_ended_later(tmp_path: Path) -> None:
    program = Program("sleeper", SLEEP, tmp_path / "log")
    write_down(tmp_path / "running.json", [program.running])

    (found,) = written_down(tmp_path / "running.json")
    assert found.alive
    assert found.end()

    assert not found.alive
    assert program.exit_code is not None


def test_an_id_that_was_given_to_another_process_is_left_alone(tmp_path: Path) -> None:
    program = Program("sleeper", SLEEP, tmp_path / "log")
    try:
        earlier = Running("sleeper", program.process.pid, "an earlier start")

        assert not earlier.alive
        assert not earlier.end()
        assert program.exit_code is None
    finally:
        program.kill()


def test_a_process_that_is_deaf_to_the_signal_is_killed_with_its_group(tmp_path: Path) -> None:
    program = Program("stubborn", STUBBORN, tmp_path / "log")
    program.wait_for(lambda: b"deaf" in (tmp_path / "log").read_bytes(), Unavailable)

    assert program.running.end(seconds=0.2)

    assert program.process.wait() < 0


def test_a_dead_process_is_no_process_even_before_anyone_asked_how_it_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert started_at(child.pid) is None
    child.wait()
    assert this_process("me").alive


def test_a_program_that_ends_early_tells_the_end_of_its_log(tmp_path: Path) -> None:
    program = Program("broken", [sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path / "log")
    with pytest.raises(Unavailable, match="broken ended with exit code 1: no such thing"):
        program.wait_for(lambda: False, Unavailable)


@pytest.mark.parametrize("text", ["{", "[{}]", "[1]", '{"a": 1}'])
def test_a_file_of_somebody_else_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "running.json").write_text(text)
    with pytest.raises(BadField, match=r"running\.json"):
        written_down(tmp_path / "running.json")


def test_nothing_written_down_is_nothing(tmp_path: Path) -> None:
    assert written_down(tmp_path / "running.json") == []


def test_a_free_port_is_free() -> None:
    assert is_free(free_port())
