"""A verifier's votes on disk."""

from pathlib import Path

import pytest

from deai.comparison import Opinion
from deai.errors import Bug
from deai.job import JobId
from deai.panel import Verdict
from deai_provider.votes import Votes

CASE, OTHER = (JobId("0x" + digit * 64) for digit in "ab")
BAD = Opinion(Verdict.BAD, b"\2" * 32)


def test_a_vote_is_found_again_with_its_salt(tmp_path: Path) -> None:
    kept = Votes(tmp_path / "votes").keep(CASE, BAD)
    assert Votes(tmp_path / "votes").find(CASE) == kept
    assert (kept.verdict, kept.digest, len(kept.salt)) == (Verdict.BAD, BAD.digest, 32)
    assert Votes(tmp_path / "votes").find(OTHER) is None


def test_the_first_vote_stays_so_that_what_was_sealed_can_be_opened(tmp_path: Path) -> None:
    votes = Votes(tmp_path)
    assert votes.keep(CASE, BAD) == votes.keep(CASE, Opinion(Verdict.GOOD, b"\1" * 32))


def test_two_votes_have_two_salts_and_nobody_else_may_read_them(tmp_path: Path) -> None:
    votes = Votes(tmp_path)
    assert votes.keep(CASE, BAD).salt != votes.keep(OTHER, BAD).salt
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_half_written_vote_of_a_process_that_died_is_none(tmp_path: Path) -> None:
    (tmp_path / f"{CASE}.partial").write_text('{"verdict": 2')
    assert Votes(tmp_path).find(CASE) is None
    assert Votes(tmp_path).keep(CASE, BAD).verdict is Verdict.BAD


def test_a_vote_that_somebody_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / f"{CASE}.json").write_text("no vote")
    with pytest.raises(Bug, match="is not a vote"):
        Votes(tmp_path).find(CASE)


def test_a_dropped_vote_is_gone(tmp_path: Path) -> None:
    votes = Votes(tmp_path)
    votes.keep(CASE, BAD)
    votes.drop(CASE)
    votes.drop(OTHER)
    assert votes.find(CASE) is None
