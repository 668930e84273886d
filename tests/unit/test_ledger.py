"""The ledger: durable before the act, and no arrow that is not drawn."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from deai.errors import Bug, WrongRequest
from deai.job import Address, Bid, Job, JobId, Timestamp, Wei, award_terms
from deai.result import ExitRecord, RefusedOutput
from deai.spec import Spec
from deai_provider import ledger
from deai_provider.ledger import ARROWS, BUSY, Entry, Ledger, Step

ID, OTHER_ID = JobId("0x" + "a" * 64), JobId("0x" + "b" * 64)
TOKEN = Address("0x" + "4" * 40)
AT = Timestamp(1_000)
SPEC = Spec.build(name="digits", image={"digest": "python@sha256:" + "0" * 64}, command=["true"])
JOB = Job(
    submitter=Address("0x" + "1" * 40),
    token=TOKEN,
    price_start=Wei(1 << 90),
    price_cap=Wei(1 << 95),
    bond=Wei(5),
    open_at=Timestamp(2_000),
    award_by=Timestamp(3_000),
    deliver_seconds=600,
    challenge_seconds=60,
    spec=SPEC.cid().digest,
    salt=bytes(32),
)
BID = Bid(job=ID, provider=Address("0x" + "2" * 40), price=Wei(1 << 94), expires_at=Timestamp(1_100))
EXIT = ExitRecord(
    exit_code=1,
    timed_out=False,
    oom_killed=True,
    seconds=7,
    image="sha256:" + "0" * 64,
    refused=(RefusedOutput(name="link", reason="a symbolic link"),),
    refused_count=1,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def place(path: Path, step: Step) -> None:
    """Puts the job at `step` past the rules, as no method of the ledger can."""
    with Ledger(path) as promises:
        if promises.entry(ID) is None:
            promises.match(ID, JOB, b"signature", AT)
    database = sqlite3.connect(path)
    with database:
        database.execute("UPDATE jobs SET step = ?", (step,))
    database.close()


@pytest.mark.parametrize("start", list(Step))
@pytest.mark.parametrize("end", list(Step))
def test_exactly_the_drawn_arrows_are_walked(path: Path, start: Step, end: Step) -> None:
    place(path, start)
    with Ledger(path) as promises:
        if end in ARROWS[start]:
            assert promises.move(ID, end, AT).step is end
        else:
            with pytest.raises(Bug, match=f"from {start} to {end}"):
                promises.move(ID, end, AT)
            assert promises.entries()[0].step is start


def test_every_fact_survives_a_restart(path: Path) -> None:
    terms = award_terms(JOB, BID, AT, BID.provider)
    with Ledger(path) as promises:
        promises.match(ID, JOB, b"signature", AT)
        promises.move(ID, Step.STAGING, AT, spec=SPEC, price=BID.price)
        promises.move(ID, Step.STAGED, AT, image="sha256:1")
        promises.move(ID, Step.BIDDING, AT, expires_at=BID.expires_at, bid_signature=b"bid", bid_block=3)
        promises.note(ID, AT, posted=True)
        promises.move(ID, Step.AWARDED, AT, terms=terms, award_block=4, award_hash="0xaa")
        promises.move(ID, Step.RUNNING, AT)
        promises.note(ID, AT, runs=2, engine="a boot")
        promises.note(ID, AT, timed_out=True)
        promises.move(ID, Step.COLLECTED, AT, "exit code 1", exit=EXIT)
        promises.move(ID, Step.PUBLISHED, AT, result="bafy")
        promises.move(ID, Step.DELIVERING, AT, shared=True)
        promises.move(ID, Step.DELIVERED, AT)
        promises.move(ID, Step.DONE, Timestamp(AT + 1), "paid", earned=Wei(-5))
    with Ledger(path) as promises:
        assert promises.entry(ID) == Entry(
            id=ID,
            step=Step.DONE,
            reason="paid",
            matched_at=AT,
            updated_at=Timestamp(AT + 1),
            job=JOB,
            signature=b"signature",
            spec=SPEC,
            image="sha256:1",
            price=BID.price,
            expires_at=BID.expires_at,
            bid_signature=b"bid",
            bid_block=3,
            posted=True,
            terms=terms,
            award_block=4,
            award_hash="0xaa",
            timed_out=True,
            exit=EXIT,
            result="bafy",
            runs=2,
            engine="a boot",
            shared=True,
            earned=Wei(-5),
        )
        assert [taken.step for taken in promises.steps(ID)] == [
            Step.MATCHED, Step.STAGING, Step.STAGED, Step.BIDDING, Step.AWARDED, Step.RUNNING,
            Step.COLLECTED, Step.PUBLISHED, Step.DELIVERING, Step.DELIVERED, Step.DONE,
        ]  # fmt: skip


def test_a_step_and_its_facts_are_written_together_or_not_at_all(path: Path) -> None:
    with Ledger(path) as promises:
        promises.match(ID, JOB, b"signature", AT)
        with pytest.raises(Bug, match="no such facts: colour"):
            promises.move(ID, Step.STAGING, AT, price=Wei(1), colour="red")
        with pytest.raises(sqlite3.Error):
            promises.move(ID, Step.STAGING, AT, price=Wei(1), image=object())
        entry = promises.entry(ID)
        assert entry is not None
        assert (entry.step, entry.price) == (Step.MATCHED, None)
        assert [taken.step for taken in promises.steps(ID)] == [Step.MATCHED]


def test_a_job_that_was_lost_starts_over_without_old_facts(path: Path) -> None:
    with Ledger(path) as promises:
        first = promises.match(ID, JOB, b"old", AT)
        promises.move(ID, Step.STAGING, AT, spec=SPEC, price=Wei(1))
        promises.move(ID, Step.STAGED, AT, image="sha256:1")
        promises.move(ID, Step.BIDDING, AT, expires_at=AT, bid_signature=b"bid", bid_block=3)
        promises.note(ID, AT, posted=True)
        promises.move(ID, Step.LOST, AT, "the bid expired")
        later = Timestamp(AT + 100)
        again = promises.match(ID, JOB, b"old", later)
        assert again == replace(first, matched_at=later, updated_at=later)


def test_a_job_under_way_is_not_matched_again(path: Path) -> None:
    for step in BUSY | {Step.DELIVERED, Step.DONE}:
        place(path, step)
        with Ledger(path) as promises, pytest.raises(Bug):
            promises.match(ID, JOB, b"signature", AT)


def test_another_programs_ledger_is_refused(path: Path) -> None:
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(WrongRequest, match="version 99"):
        Ledger(path)


def test_a_file_that_is_no_ledger_is_refused(path: Path) -> None:
    path.write_text("hello" * 1_000)
    with pytest.raises(WrongRequest, match="ledger"):
        Ledger(path)


def test_reading_a_ledger_that_is_not_there_makes_none(path: Path) -> None:
    with pytest.raises(WrongRequest):
        Ledger(path, read_only=True)
    assert not path.exists()


def test_a_reader_sees_what_a_running_agent_wrote(path: Path) -> None:
    with Ledger(path) as promises:
        promises.match(ID, JOB, b"signature", AT)
        with Ledger(path, read_only=True) as reader:
            assert [entry.id for entry in reader.entries()] == [ID]
            with pytest.raises(sqlite3.OperationalError):
                reader.move(ID, Step.STAGING, AT)


def test_threads_write_at_once_without_losing_a_row(path: Path) -> None:
    ids = [JobId(f"0x{number:064x}") for number in range(40)]
    with Ledger(path) as promises:

        def write(part: list[JobId]) -> None:
            for each in part:
                promises.match(each, JOB, b"", AT)
                promises.move(each, Step.STAGING, AT, spec=SPEC)

        threads = [Thread(target=write, args=(ids[start::4],)) for start in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {entry.id for entry in promises.entries(frozenset({Step.STAGING}))} == set(ids)


def test_earnings_add_up_per_token_and_lost_bonds_count(path: Path) -> None:
    for id_, earned in ((ID, Wei(7)), (OTHER_ID, Wei(-5))):
        with Ledger(path) as promises:
            promises.match(id_, JOB, b"", AT)
            promises.note(id_, AT, earned=earned)
    with Ledger(path) as promises:
        assert ledger.earnings(promises.entries()) == {TOKEN: 2}
