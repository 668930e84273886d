"""What of two results is compared, and what a verifier says of them."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deai import comparison
from deai.cid import Cid, Codec
from deai.comparison import Facts, Opinion
from deai.panel import Verdict
from deai.result import EXIT_NAME, LOG_NAME, ExitRecord

RESULT = b"\7" * 32
RECORD = ExitRecord(exit_code=0, timed_out=False, oom_killed=False, seconds=10, image="sha256:1")
OUTPUTS, OTHERS = (Cid.of(data, Codec.DAG_PB) for data in (b"1", b"2"))
FACTS = Facts(0, OUTPUTS)
MAX_SECONDS = 100


def result(folder: Path, record: ExitRecord = RECORD, log: bytes = b"", **files: bytes) -> Path:
    """A result's folder with files under `out/`."""
    (folder / "out").mkdir(parents=True)
    (folder / EXIT_NAME).write_bytes(record.canonical())
    (folder / LOG_NAME).write_bytes(log)
    for name, data in files.items():
        (folder / "out" / name).write_bytes(data)
    return folder


def test_log_times_and_refusals_are_not_compared(tmp_path: Path) -> None:
    slow = RECORD.model_copy(update={"seconds": 99, "refused_count": 3, "oom_killed": True})
    first, _ = comparison.facts(result(tmp_path / "1", log=b"at 12:01", a=b"x"), "/out")
    again, record = comparison.facts(result(tmp_path / "2", slow, log=b"at 12:02", a=b"x"), "/out")
    assert first == again
    assert record == slow


@pytest.mark.parametrize("files", [{"a": b"y"}, {"b": b"x"}, {}, {"a": b"x", "b": b""}])
def test_every_byte_and_name_of_the_outputs_is_compared(tmp_path: Path, files: dict[str, bytes]) -> None:
    first, _ = comparison.facts(result(tmp_path / "1", a=b"x"), "/out")
    assert comparison.facts(result(tmp_path / "2", RECORD, b"", **files), "/out")[0] != first


def test_outputs_beside_the_exit_record_are_compared_without_it(tmp_path: Path) -> None:
    slow = RECORD.model_copy(update={"seconds": 99})
    first, _ = comparison.facts(result(tmp_path / "1", a=b"x"), "/")
    assert comparison.facts(result(tmp_path / "2", slow, log=b"other", a=b"x"), "/")[0] == first
    assert comparison.facts(result(tmp_path / "3", a=b"y"), "/")[0] != first


def test_a_result_without_an_exit_record_or_outputs_has_no_such_facts(tmp_path: Path) -> None:
    folder = result(tmp_path / "1")
    (folder / EXIT_NAME).write_text("{}")
    assert comparison.facts(folder, "/elsewhere") == (Facts(None, None), None)


def test_an_equal_rerun_votes_for_the_delivered_digest() -> None:
    rerun = RECORD.model_copy(update={"seconds": 55})
    assert comparison.opinion((FACTS, RECORD), RESULT, (FACTS, rerun), MAX_SECONDS) == Opinion(
        Verdict.GOOD, RESULT
    )


@pytest.mark.parametrize(
    "ours", [replace(FACTS, outputs=OTHERS), replace(FACTS, exit_code=1), Facts(0, None)]
)
def test_a_rerun_that_differs_votes_for_a_digest_that_all_who_found_the_same_share(ours: Facts) -> None:
    found = comparison.opinion((FACTS, RECORD), RESULT, (ours, RECORD), MAX_SECONDS)
    slower = RECORD.model_copy(update={"seconds": 70, "image": "sha256:2"})
    assert found == comparison.opinion((FACTS, RECORD), RESULT, (ours, slower), MAX_SECONDS)
    assert found is not None
    assert found.verdict is Verdict.BAD
    assert found.digest not in (RESULT, bytes(32), FACTS.digest)


def test_what_is_delivered_as_no_result_at_all_is_bad() -> None:
    found = comparison.opinion((Facts(None, None), None), RESULT, (FACTS, RECORD), MAX_SECONDS)
    assert found == Opinion(Verdict.BAD, FACTS.digest)


TIMED_OUT = RECORD.model_copy(update={"timed_out": True, "exit_code": 137, "seconds": MAX_SECONDS})


@pytest.mark.parametrize(
    ("theirs", "ours", "verdict"),
    [
        (TIMED_OUT, TIMED_OUT, Verdict.GOOD),
        (RECORD, TIMED_OUT, None),
        (TIMED_OUT, RECORD.model_copy(update={"seconds": 50}), Verdict.NOT_RERUNNABLE),
        (TIMED_OUT, RECORD.model_copy(update={"seconds": 49}), Verdict.BAD),
    ],
    ids=["both", "only ours", "a slow machine might", "made up"],
)
def test_a_run_that_timed_out_says_little_of_one_that_did_not(
    theirs: ExitRecord, ours: ExitRecord, verdict: Verdict | None
) -> None:
    facts = [Facts(record.exit_code, OUTPUTS) for record in (theirs, ours)]
    found = comparison.opinion((facts[0], theirs), RESULT, (facts[1], ours), MAX_SECONDS)
    assert (found and found.verdict) is verdict


KILLED = RECORD.model_copy(update={"exit_code": 137})


@pytest.mark.parametrize("killed", [KILLED, RECORD.model_copy(update={"oom_killed": True})])
def test_a_rerun_that_was_killed_says_nothing_of_one_that_left_something_else(killed: ExitRecord) -> None:
    ours = (Facts(killed.exit_code, OTHERS), killed)
    assert comparison.opinion((FACTS, RECORD), RESULT, ours, MAX_SECONDS) is None


def test_a_run_that_is_killed_each_time_is_good() -> None:
    facts = Facts(137, None)
    assert comparison.opinion((facts, KILLED), RESULT, (facts, KILLED), MAX_SECONDS) == Opinion(
        Verdict.GOOD, RESULT
    )


@given(st.one_of(st.none(), st.integers(0, 255)), st.one_of(st.none(), st.binary(max_size=4)))
def test_the_digest_tells_facts_apart(code: int | None, data: bytes | None) -> None:
    found = Facts(code, None if data is None else Cid.of(data, Codec.DAG_PB))
    assert (found.digest == FACTS.digest) == (found == FACTS)
