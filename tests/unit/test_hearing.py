"""When a verifier may say that content is missing."""

import pytest

from deai.panel import Verdict
from deai_provider.hearing import Misses

FIRST, LAST = 1_000, 5_000
OUTPUT, INPUTS = Verdict.OUTPUT_MISSING, Verdict.INPUTS_MISSING


def looks(misses: Misses, *moments: int, verdict: Verdict = OUTPUT) -> list[bool]:
    return [misses.enough(verdict, moment) for moment in moments]


def test_content_is_missing_only_when_a_reruns_time_is_all_that_is_left() -> None:
    assert looks(Misses(FIRST, LAST), 1_000, 2_000, 3_000, 4_999, 5_000) == [False] * 4 + [True]


def test_looks_before_votes_are_taken_count_for_nothing() -> None:
    assert looks(Misses(FIRST, LAST), 900, 950, 999, 5_000, 5_001) == [False] * 5


def test_a_verifier_that_came_late_says_nothing_after_a_few_looks() -> None:
    assert looks(Misses(FIRST, LAST), 4_990, 5_000, 5_001, 5_010) == [False] * 4
    assert looks(Misses(FIRST, LAST), 4_990, 5_000, 6_990) == [False, False, True]


def test_two_looks_are_too_few() -> None:
    assert looks(Misses(FIRST, LAST), 1_000, 5_000) == [False, False]


def test_what_was_missed_of_the_result_says_nothing_of_the_inputs() -> None:
    misses = Misses(FIRST, LAST)
    looks(misses, 1_000, 2_000, 3_000)
    assert looks(misses, 5_000, verdict=INPUTS) == [False]
    assert looks(misses, 5_001) == [True]


@pytest.mark.parametrize("now", [FIRST, LAST])
def test_where_there_is_no_time_to_wait_three_looks_are_enough(now: int) -> None:
    assert looks(Misses(FIRST, FIRST), now, now, now) == [False, False, True]
