"""The journal of transactions, and the choices of nonces and fees: what is written stays, what is held is let go by a death."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deai.errors import JournalUnavailable, WrongRequest
from deai.job import Address
from deai.journal import Attempt, Call, Fate, Journal
from deai.transactions import free_nonce, raised

CALL = Call(
    chain="1:0xaa", sender=Address("0x" + "1" * 40), to=Address("0x" + "2" * 40), data="0x1234", value=3
)


def attempt(number: int = 1) -> Attempt:
    return Attempt(
        hash=f"0x{number:064x}", raw=bytes([number]), max_fee=10**20 * number, tip=number, at=time.time()
    )


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal")
    yield journal
    journal.close()


def test_what_is_written_is_read_back_by_another_process(journal: Journal, tmp_path: Path) -> None:
    written = journal.write(CALL, 7, 21_000, attempt(1))
    journal.replace(written.id, attempt(2))
    program = f"""
from pathlib import Path
from deai.journal import Journal
entry = Journal(Path({str(tmp_path / "journal")!r})).entry({written.id})
print(entry.call.data, entry.call.value, entry.nonce, entry.gas, entry.fate, [each.max_fee for each in entry.attempts])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == f"0x1234 3 7 21000 sent {[10**20, 2 * 10**20]}"
    assert written.call == CALL


def test_only_its_owner_reads_a_journal(journal: Journal, tmp_path: Path) -> None:
    journal.write(CALL, 7, 21_000, attempt())

    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "journal").iterdir()} == {0o600}


def test_a_journal_that_is_not_used_leaves_no_trace(tmp_path: Path) -> None:
    Journal(tmp_path / "journal").close()

    assert not (tmp_path / "journal").exists()


def test_a_journal_of_another_version_is_refused(journal: Journal, tmp_path: Path) -> None:
    import sqlite3

    journal.newest()
    journal.close()
    with sqlite3.connect(tmp_path / "journal" / "transactions.sqlite3") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(WrongRequest, match="is of version 99"):
        Journal(tmp_path / "journal").newest()


def test_a_file_that_is_no_journal_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "transactions.sqlite3").write_bytes(b"not a database" * 100)

    with pytest.raises(JournalUnavailable, match="not a database"):
        Journal(tmp_path).newest()


def test_a_transaction_is_held_while_its_process_lives_and_nobodys_when_it_was_killed(
    journal: Journal, tmp_path: Path
) -> None:
    program = f"""
import sys, time
from pathlib import Path
from deai.job import Address
from deai.journal import Attempt, Call, Journal
call = Call(chain={CALL.chain!r}, sender={CALL.sender!r}, to={CALL.to!r}, data={CALL.data!r}, value=3)
Journal(Path({str(tmp_path / "journal")!r})).write(call, 7, 21000, Attempt(hash="0x1", raw=b"", max_fee=1, tip=1, at=time.time()))
print("written", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "written\n"
        (entry,) = journal.same(CALL)
        assert not journal.abandoned(entry)
        other.send_signal(signal.SIGKILL)
        other.wait()

    assert journal.abandoned(entry)


def test_what_is_let_go_or_closed_is_nobodys(tmp_path: Path) -> None:
    one, other = Journal(tmp_path), Journal(tmp_path)
    first, second = one.write(CALL, 1, 1, attempt(1)), one.write(CALL, 2, 1, attempt(2))
    assert [other.abandoned(each) for each in (first, second)] == [False, False]
    assert not one.abandoned(first)

    one.let_go(first.id)
    assert [other.abandoned(each) for each in other.same(CALL)] == [True, False]
    other.take(first.id)
    assert not one.abandoned(one.entry(first.id))
    one.close()
    assert other.abandoned(second)
    other.close()


def test_the_same_is_what_has_the_same_effect_for_the_same_key_on_the_same_chain(journal: Journal) -> None:
    journal.write(CALL, 1, 1, attempt())
    others = [
        replace(CALL, chain="1:0xbb"),
        replace(CALL, sender=CALL.to),
        replace(CALL, to=CALL.sender),
        replace(CALL, data="0x1235"),
        replace(CALL, value=4),
    ]

    assert len(journal.same(replace(CALL))) == 1
    assert [journal.same(other) for other in others] == [[]] * 5


def test_refused_and_superseded_ones_are_not_the_same_any_more(journal: Journal) -> None:
    for nonce, fate in enumerate(Fate):
        entry = journal.write(CALL, nonce, 1, attempt(nonce + 1))
        journal.mark(entry.id, fate, told=fate is Fate.MINED)

    assert [entry.fate for entry in journal.same(CALL)] == [Fate.SENT, Fate.MINED]
    assert [entry.nonce for entry in journal.unfinished(CALL)] == [0]
    assert journal.taken(CALL, journal.newest()) == {0}
    assert journal.taken(CALL, 0) == {0, 1, 2}


def test_one_thread_at_a_time_is_alone_with_a_key(journal: Journal) -> None:
    inside, most = [], []

    def work() -> None:
        for _ in range(20):
            with journal.key(CALL.sender):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert most == [1] * 80


def test_what_was_told_long_ago_is_forgotten_and_what_nobody_was_told_is_not(tmp_path: Path) -> None:
    long_ago = replace(attempt(), at=time.time() - 40 * 86_400)
    journal = Journal(tmp_path)
    kept, gone = journal.write(CALL, 1, 1, long_ago), journal.write(CALL, 2, 1, long_ago)
    journal.mark(gone.id, Fate.MINED, told=True)
    journal.close()

    assert [entry.id for entry in journal.same(CALL)] == [kept.id]
    journal.close()


def test_the_locks_of_the_dead_are_cleared_away(tmp_path: Path) -> None:
    program = f"from pathlib import Path; from deai.journal import Journal; Journal(Path({str(tmp_path)!r})).newest(); "
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-c", program + "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"],
            check=False,
        )
    with_mine = Journal(tmp_path)
    with_mine.newest()

    assert len(list(tmp_path.glob("owner-*.lock"))) == 1
    with_mine.close()
    assert list(tmp_path.glob("owner-*.lock")) == []


def test_a_throwaway_is_gone_afterwards() -> None:
    with Journal.throwaway() as journal:
        journal.write(CALL, 1, 1, attempt())
        folder = journal._folder
        assert folder.is_dir()

    assert not folder.exists()


@pytest.mark.parametrize(
    ("count", "taken", "free"),
    [(5, set(), 5), (5, {5, 6}, 7), (5, {6}, 5), (5, {3, 4}, 5), (0, {0, 2}, 1)],
)
def test_the_next_nonce_fills_gaps_first(count: int, taken: set[int], free: int) -> None:
    assert free_nonce(count, taken) == free


fees = st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)).map(lambda pair: (max(pair), min(pair)))


@given(last=fees, now=fees, times=st.integers(1, 100))
def test_a_replacement_pays_an_eighth_more_and_no_more_than_it_may(
    last: tuple[int, int], now: tuple[int, int], times: int
) -> None:
    most = last[0] * times
    found = raised(last, now, most)
    if found is None:
        assert -(-last[0] * 9 // 8) > most or last[0] == 0
        return
    for old, new in zip(last, found, strict=True):
        assert old * 9 <= new * 8
    assert found[1] <= found[0] <= most
    assert found[0] >= min(now[0], most)


@pytest.mark.parametrize("tip", [0, 1])
def test_fees_that_begin_with_no_tip_rise_until_the_whole_price_is_at_its_bound(tip: int) -> None:
    gwei = 10**9
    last, most = (2 * gwei, tip), 20 * gwei
    while (more := raised(last, (3 * gwei, gwei), most)) is not None:
        last = more

    assert last[0] * 9 > most * 8
    assert last[1] >= gwei
