"""What benchmarks say of the machine they ran on."""

from pathlib import Path

import pytest

import machine


def stat(path: Path, *ticks: int) -> None:
    path.write_text(f"cpu  {' '.join(map(str, ticks))} 7 7\ncpu0 1 1 1 1 1 1 1 1 7 7\n")


def test_what_others_had_of_the_processors_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_STAT", tmp_path / "stat")
    stat(tmp_path / "stat", 100, 0, 50, 800, 10, 0, 5, 900)
    watched = machine.Machine()
    stat(tmp_path / "stat", 150, 0, 70, 820, 10, 0, 5, 910)
    assert watched.facts()["stolen"] == 0.1


def test_a_kernel_that_does_not_say_steals_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_STAT", tmp_path / "stat")
    assert machine.Machine().facts()["stolen"] is None


def test_this_machine_says_how_many_cores_there_are() -> None:
    facts = machine.Machine().facts()
    assert facts["cores"] >= 1
    assert facts["stolen"] is None or 0 <= facts["stolen"] <= 1
