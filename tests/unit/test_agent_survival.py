"""An agent, its engine, its disk and its ledger may go down at any moment: one run's result is delivered once, and nothing is left."""

import errno
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deai import unixfs
from deai.chain import JobDelivered
from deai.cid import Cid
from deai.errors import EngineUnavailable, MarketUnavailable, StoreUnavailable, WrongRequest
from deai.job import JobId, JobState, Outcome
from deai_provider import reconcile, result_folder, staging
from deai_provider.executor import EngineLife, Run, RunState, RunStatus
from deai_provider.ledger import Ledger, LedgerUnavailable, Step
from deai_provider.testing import Script
from tests.unit.provider_world import POLL, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def hang(_: Run) -> Script:
    return Script(seconds=None, log=b"working\n")


def counting(world: World, script: Callable[[int], Script]) -> list[JobId]:
    """The runs that were begun; `script` is told which one it is."""
    begun: list[JobId] = []

    def play(run: Run) -> Script:
        begun.append(run.job)
        return script(len(begun))

    world.script = play
    return begun


def lose_ledger(world: World) -> None:
    for each in world.folder.glob("ledger.sqlite*"):
        each.unlink()


def full(*_: object, **__: object) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device")


def failing(act: Callable[..., Any], error: Exception, times: int) -> Callable[..., Any]:
    """`act`, which fails so many times first."""
    left = [times]

    def tried(*args: Any, **facts: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        return act(*args, **facts)

    return tried


# The engine.


@pytest.mark.parametrize("exit_code", [137, 143, 255])
def test_a_run_that_the_engine_took_down_with_it_begins_anew_from_a_clean_volume(
    world: World, exit_code: int
) -> None:
    begun = counting(
        world,
        lambda number: hang(None) if number == 1 else Script(outputs={"out.txt": b"42"}, log=b"whole\n"),  # type: ignore[arg-type]
    )
    with world.agent():
        id_ = world.submit()
        world.until(lambda: len(begun) == 1)
        world.until((world.folder / "runs" / id_ / "outputs").is_dir)
        (world.folder / "runs" / id_ / "outputs" / "half.txt").write_bytes(b"4")
        world.executor.restart(exit_code)
        world.reach(id_, Step.DELIVERED)
    record, result = world.result(id_)
    assert record.succeeded
    assert [path.name for path in (result / "weights").iterdir()] == ["out.txt"]
    assert len(begun) == 2
    assert world.entry(id_).runs == 2  # type: ignore[union-attr]


def test_a_run_that_the_engine_took_down_while_the_agent_was_away_begins_anew(world: World) -> None:
    begun = counting(world, lambda number: hang(None) if number == 1 else Script())  # type: ignore[arg-type]
    with world.agent():
        id_ = world.submit()
        world.until(lambda: len(begun) == 1)
    world.executor.restart()
    with world.agent():
        world.reach(id_, Step.DELIVERED)
    assert world.result(id_)[0].succeeded


def test_a_job_that_kills_itself_is_delivered_as_it_ended(world: World) -> None:
    world.script = lambda _: Script(exit_code=137)
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.DELIVERED)
    assert world.result(id_)[0].exit_code == 137
    assert world.starts(id_) == 1


def test_an_engine_that_goes_down_in_every_run_does_not_keep_the_job_for_ever(world: World) -> None:
    begun = counting(world, lambda _: hang(None))  # type: ignore[arg-type]
    with world.agent():
        id_ = world.submit()
        for number in range(1, reconcile.MAX_RUNS + 1):
            world.until(lambda number=number: len(begun) == number)  # type: ignore[misc]
            time.sleep(2 * POLL)
            world.executor.restart()
        world.reach(id_, Step.DELIVERED)
    assert world.result(id_)[0].exit_code == 137
    assert len(begun) == reconcile.MAX_RUNS


@pytest.mark.parametrize("exit_code", [0, 1, 137])
def test_a_run_that_outlived_its_engine_is_delivered_as_it_ended_an_hour_later(
    world: World, exit_code: int
) -> None:
    begun = counting(world, lambda _: hang(None))  # type: ignore[arg-type]
    with world.agent():
        id_ = world.submit()
        world.until(lambda: len(begun) == 1)
        world.executor._life = EngineLife("2", time.time() - 3_600)
        world.executor.finish(id_, exit_code)
        world.reach(id_, Step.DELIVERED)
    assert world.result(id_)[0].exit_code == exit_code
    assert len(begun) == 1


def test_starts_that_failed_leave_a_run_that_the_engine_cut_short_its_next_try(world: World) -> None:
    begun = counting(world, lambda number: hang(None) if number == 1 else Script())  # type: ignore[arg-type]
    no_room = EngineUnavailable("no room for a volume")
    world.executor.start = failing(world.executor.start, no_room, reconcile.MAX_RUNS)  # type: ignore[method-assign]
    with world.agent():
        id_ = world.submit()
        world.until(lambda: len(begun) == 1)
        world.executor.restart()
        world.reach(id_, Step.DELIVERED)
    assert world.result(id_)[0].succeeded
    assert world.entry(id_).runs == 2  # type: ignore[union-attr]


def test_a_run_that_was_created_before_the_engine_restarted_and_started_after_it_is_kept(
    world: World,
) -> None:
    begun = counting(world, lambda _: Script(outputs={"out.txt": b"42"}))
    start, poll = world.executor.start, world.executor.poll
    created: list[JobId] = []

    def first_start(run: Run) -> None:
        if created:
            start(run)
            return
        created.append(run.job)
        world.executor._life = EngineLife("2", time.time())
        raise EngineUnavailable("cannot start: connection reset")

    def first_poll(job: JobId) -> RunStatus:
        return RunStatus(state=RunState.CREATED) if created and not begun else poll(job)

    world.executor.start, world.executor.poll = first_start, first_poll  # type: ignore[method-assign]
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.DELIVERED)
    assert (world.result(id_)[1] / "weights" / "out.txt").read_bytes() == b"42"
    assert len(begun) == 1


# The agent.


def test_a_result_that_was_kept_is_delivered_without_a_second_run(world: World) -> None:
    begun = counting(world, lambda _: Script(outputs={"out.txt": b"42"}))
    pin = world.store.pin
    world.store.pin = failing(pin, StoreUnavailable("away"), 1_000)  # type: ignore[method-assign]
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.COLLECTED)
    world.executor.lose(id_)
    world.store.pin = pin  # type: ignore[method-assign]
    with world.agent():
        world.reach(id_, Step.DELIVERED)
    assert len(begun) == 1
    assert (world.result(id_)[1] / "weights" / "out.txt").read_bytes() == b"42"


def test_what_a_killed_agent_left_of_a_delivered_job_is_cleared_and_the_market_gets_its_log(
    world: World,
) -> None:
    send, world.market.deaf = world.market.send_logs, 1_000
    remove = world.executor.remove
    world.executor.remove = failing(remove, EngineUnavailable("away"), 1_000)  # type: ignore[method-assign]
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.DELIVERED)
    shutil.rmtree(world.folder / "work" / "late-logs", ignore_errors=True)
    assert not world.clean(id_)
    world.executor.remove, world.market.deaf = remove, 0  # type: ignore[method-assign]
    assert send == world.market.send_logs
    with world.agent():
        world.until(lambda: world.clean(id_))
        world.until(lambda: id_ in world.market.ended)
    assert world.market.logs[id_] == b"hello\n"


def test_a_folder_that_no_row_accounts_for_is_removed(world: World) -> None:
    stray = world.folder / "work" / "jobs" / world.job()[0]
    (stray / "inputs").mkdir(parents=True)
    with world.agent():
        world.until(lambda: not stray.exists())


# The ledger.


def test_a_run_whose_ledger_is_lost_is_found_by_its_award_and_carried_on(world: World) -> None:
    begun = counting(world, lambda _: Script(seconds=None, outputs={"out.txt": b"42"}))
    with world.agent():
        id_ = world.submit()
        world.until(lambda: len(begun) == 1)
    lose_ledger(world)
    world.executor.finish(id_)
    with world.agent():
        entry = world.reach(id_, Step.DELIVERED)
        world.until(lambda: world.clean(id_))
    assert "ledger" in world.steps_with_reasons(id_)[0][1]
    assert len(begun) == 1
    assert len(world.events(id_, JobDelivered)) == 1
    assert entry.job.bond == 50


def test_a_delivered_job_whose_ledger_is_lost_is_settled(world: World) -> None:
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.DELIVERED)
    lose_ledger(world)
    world.chain.advance(61)
    with world.agent():
        assert world.reach(id_, Step.DONE).earned == 100
    assert world.chain.state(id_) == (JobState.CLOSED, Outcome.PAID)


def test_a_ledger_from_a_backup_does_not_deliver_twice(world: World) -> None:
    world.script = hang
    with world.agent():
        id_ = world.submit()
        world.until(lambda: world.starts(id_) == 1)
    shutil.copy(world.folder / "ledger.sqlite", world.folder / "backup.sqlite")
    world.executor.finish(id_)
    with world.agent():
        world.reach(id_, Step.DELIVERED)
        world.until(lambda: world.clean(id_))
    lose_ledger(world)
    shutil.copy(world.folder / "backup.sqlite", world.folder / "ledger.sqlite")
    world.script = lambda _: Script()
    with world.agent():
        world.reach(id_, Step.DELIVERED)
    assert len(world.events(id_, JobDelivered)) == 1


# The disk.


def test_a_disk_that_is_full_while_staging_declines_the_job_and_makes_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "stage", full)
    with world.agent():
        id_ = world.submit()
        entry = world.reach(id_, Step.FAILED)
        world.until(lambda: "Declined" in world.market.seen.get(id_, []))
    assert "room" in entry.reason
    assert world.market.bids == []
    assert ("spare", "") in world.executor.calls


def test_a_disk_that_is_full_under_the_award_is_waited_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = counting(world, lambda _: Script())
    real = result_folder.make
    monkeypatch.setattr(result_folder, "make", failing(real, OSError(errno.ENOSPC, "No space left"), 3))
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.DELIVERED)
    assert world.result(id_)[0].succeeded
    assert len(begun) == 1
    assert ("spare", "") in world.executor.calls


def test_a_machine_that_lacks_a_file_handle_for_a_moment_costs_the_job_no_output(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[str] = []

    class Short:
        """`os`, whose first opening of an output fails."""

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def open(self, path: str, *args: Any, **facts: Any) -> int:
            if path == "out.txt" and not failed:
                failed.append(path)
                raise OSError(errno.EMFILE, "Too many open files")
            return os.open(path, *args, **facts)

    monkeypatch.setattr(unixfs, "os", Short())
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.DELIVERED)
    record, result = world.result(id_)
    assert failed
    assert record.refused == ()
    assert (result / "weights" / "out.txt").read_bytes() == b"42"


@pytest.mark.parametrize("step", [Step.STAGING, Step.BIDDING, Step.AWARDED, Step.COLLECTED, Step.DELIVERED])
def test_a_ledger_that_cannot_be_written_for_a_while_ends_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, step: Step
) -> None:
    move, refused = Ledger.move, [0]

    def refuse(self: Ledger, id_: JobId, to: Step, *args: Any, **facts: Any) -> Any:
        if to is step and refused[0] < 3:
            refused[0] += 1
            raise LedgerUnavailable("ledger: database or disk is full")
        return move(self, id_, to, *args, **facts)

    monkeypatch.setattr(Ledger, "move", refuse)
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.DELIVERED)
    assert refused == [3]
    assert world.starts(id_) == 1
    assert len(world.events(id_, JobDelivered)) == 1


# The market.


def test_logs_that_the_market_did_not_take_before_the_job_was_over_reach_it_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deai_provider.assignment._LOG_SECONDS", 0.1)
    world.market.deaf = 10_000
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.DELIVERED)
        world.until(lambda: world.clean(id_))
        assert id_ not in world.market.ended
    world.market.deaf = 0
    with world.agent():
        world.until(lambda: id_ in world.market.ended)
    assert world.market.logs[id_] == b"hello\n"
    assert not list((world.folder / "work" / "late-logs").iterdir())


def test_a_result_that_the_market_did_not_take_is_delivered_and_offered_to_it_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared: list[str] = []
    take = failing(lambda root, *_: shared.append(str(root)) or True, MarketUnavailable("away"), 2)  # type: ignore[func-returns-value]
    monkeypatch.setattr(world.store, "share", take)
    with world.agent():
        id_ = world.submit()
        entry = world.reach(id_, Step.DELIVERED)
        world.until(lambda: world.entry(id_).shared)  # type: ignore[union-attr]
    assert shared == [entry.result]


def test_a_market_gets_no_more_time_for_a_result_than_the_delivery_can_spare(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[float] = []

    def take(_root: Cid, _go_on: object, seconds: float = math.inf) -> bool:
        given.append(seconds)
        raise MarketUnavailable("does not answer")

    monkeypatch.setattr(world.store, "share", take)
    with world.agent():
        entry = world.reach(world.submit(), Step.DELIVERED)
    assert 0 < given[0] <= entry.job.deliver_seconds - 60


def test_a_result_that_the_market_refuses_keeps_no_other_from_it_and_is_offered_ever_more_rarely(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deai_provider.agent._SHARE_POLLS", 1)
    offered: list[str] = []
    away = True

    def take(root: Cid, *_: object) -> bool:
        offered.append(str(root))
        if away or str(root) == offered[0]:
            raise WrongRequest("too large for this market")
        return True

    monkeypatch.setattr(world.store, "share", take)
    counting(world, lambda number: Script(outputs={"out.txt": b"%d" % number}))
    with world.agent():
        refused = world.submit()
        world.reach(refused, Step.DELIVERED)
        good = world.submit()
        world.reach(good, Step.DELIVERED)
        away = False
        world.until(lambda: world.entry(good).shared)  # type: ignore[union-attr]
    assert not world.entry(refused).shared  # type: ignore[union-attr]
    # Once as it was delivered, and at most every 80 polls after that.
    assert offered.count(offered[0]) <= 4


def test_a_match_that_finds_no_free_slot_is_taken_once_there_is_one(world: World) -> None:
    world.script = hang
    world.rules = replace(world.rules, slots=1)
    with world.agent():
        first = world.submit()
        world.until(lambda: world.starts(first) == 1)
        second = world.submit()
        time.sleep(20 * POLL)
        assert world.entry(second) is None
        world.executor.finish(first)
        world.reach(first, Step.DELIVERED)
        world.until(lambda: world.starts(second) == 1)
