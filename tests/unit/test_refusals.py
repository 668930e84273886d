"""What the escrow refused, in words: each error whose arguments hold a time or an amount tells it as people read it."""

import pytest

from deai import errors
from deai.job import Address, JobId
from deai.refusals import told
from deai.testing import DAI

JOB = JobId("0x" + "ab" * 32)
ALICE = Address("0x5FbDB2315678afecb367f032d93F642f64180aa3")
WHEN, TIME = 2_000_000_000, "2033-05-18 03:33:20 UTC"


@pytest.mark.parametrize(
    "error",
    [
        errors.NotOpen(JOB, WHEN),
        errors.JobExpired(JOB, WHEN),
        errors.BidExpired(JOB, WHEN),
        errors.BidTooLong(JOB, WHEN),
        errors.DeliverByMissed(JOB, WHEN),
        errors.DeliverByAhead(JOB, WHEN),
        errors.WindowOpen(JOB, WHEN),
        errors.WindowOver(JOB, WHEN),
        errors.RuleByAhead(JOB, WHEN),
        errors.RuleByMissed(JOB, WHEN),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_deadline_is_told_as_a_time_of_day(error: errors.ContractError) -> None:
    text = told(error)
    assert text.startswith(f"{type(error).__name__}: job {JOB}: ")
    assert TIME in text


def test_a_balance_that_is_too_small_says_what_to_deposit() -> None:
    text = told(errors.InsufficientBalance(DAI.address, ALICE, 5 * 10**17, 2 * 10**18), [DAI])
    assert "has 0.5 DAI in the escrow, and this needs 2 DAI" in text
    assert "deai deposit DAI 1.5" in text


def test_of_a_token_nobody_named_the_smallest_units_are_told() -> None:
    text = told(errors.InsufficientBalance(ALICE, ALICE, 1, 2), [DAI])
    assert f"has 1 of token {ALICE} in the escrow, and this needs 2" in text


def test_a_cancelled_epoch_says_what_to_do() -> None:
    assert "cancelled all before epoch 3; sign a new one" in told(errors.WrongEpoch(JOB, 2, 3))


@pytest.mark.parametrize(
    "error",
    [
        errors.InsufficientBalance("not enough"),
        errors.WindowOpen("0x", "soon"),
        errors.WindowOpen(1, 2, 3),
        errors.WindowOpen(JOB, -1),
        errors.WrongTerms(JOB),
    ],
)
def test_arguments_that_are_not_the_errors_own_are_told_as_they_are(error: errors.ContractError) -> None:
    assert told(error, [DAI]) == str(error)
