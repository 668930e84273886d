"""What keeps the agent's promises, on a disk that is really full."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from deai.job import Address, Job, JobId, Timestamp, Wei
from deai_provider import room
from deai_provider.ledger import Ledger, LedgerUnavailable, Step

ID = JobId("0x" + "a" * 64)
AT = Timestamp(1_000)
JOB = Job(
    submitter=Address("0x" + "1" * 40),
    token=Address("0x" + "4" * 40),
    price_start=Wei(1),
    price_cap=Wei(2),
    bond=Wei(5),
    open_at=Timestamp(2_000),
    award_by=Timestamp(3_000),
    deliver_seconds=600,
    challenge_seconds=60,
    spec=bytes(32),
    salt=bytes(32),
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", mount], check=True)
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room there is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            with suppress(OSError):
                while file.write(bytes(size)):
                    pass
    assert os.statvfs(disk).f_bavail == 0
    return filler


def write_on(promises: Ledger) -> None:
    """Until the pages that its log has already are used up."""
    for _ in range(1_000):
        promises.note(ID, AT, image="sha256:1")


def test_a_ledger_on_a_full_disk_says_so_keeps_what_it_has_and_goes_on_once_there_is_room(disk: Path) -> None:
    path = disk / "ledger.sqlite"
    with Ledger(path) as promises:
        promises.match(ID, JOB, b"signature", AT)
        filler = fill(disk)
        with pytest.raises(LedgerUnavailable) as raised:
            write_on(promises)
        assert room.is_short(raised.value)
        with pytest.raises(LedgerUnavailable):
            promises.move(ID, Step.STAGING, AT)
        before = promises.entry(ID)
        assert before is not None
        assert before.step is Step.MATCHED
        filler.unlink()
        assert promises.move(ID, Step.STAGING, AT).step is Step.STAGING
    with Ledger(path) as promises:
        assert [taken.step for taken in promises.steps(ID)] == [Step.MATCHED, Step.STAGING]
    database = sqlite3.connect(path)
    assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    database.close()
