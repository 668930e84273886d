"""The market is killed with -9: at each of its own acts, and wherever the agent may be."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deai.errors import Unavailable
from deai.job import JobId
from tests.kill.world import HOLDING_UP, STEPS, Stand, Standing, World, wait_until

_AWAY_SECONDS = 1.0
_ITS_OWN = [
    "before the match is kept",
    "after the match was told",
    "before the bid is kept",
    "before the bid is answered",
    "before the award is sent",
    "award sent",
    "before the award is recorded",
]


@pytest.mark.parametrize("last", HOLDING_UP, ids=lambda last: ", ".join(each.point for each in last))
def test_a_market_killed_there_loses_no_job(world: World, last: list[Stand]) -> None:
    """The agent goes on while there is no market."""
    world.begin()
    standing = world.stand(STEPS[HOLDING_UP.index(last) :: len(HOLDING_UP)], last)
    world.net.kill("deai-market")
    world.lot.release()
    time.sleep(_AWAY_SECONDS)
    world.net.start_market()
    world.finish("market", standing)


@pytest.mark.parametrize("point", _ITS_OWN)
def test_a_market_killed_in_its_own_act_takes_it_up_again(world: World, point: str) -> None:
    world.begin()
    standing = world.stand([Stand(point)])
    world.net.kill("deai-market")
    world.net.start_market()
    world.finish("market, at its own acts", standing)


@pytest.mark.parametrize("point", ["before the order is kept", "before the order is answered"])
def test_an_order_whose_answer_was_lost_is_sent_again_and_runs_once(world: World, point: str) -> None:
    """What the market acknowledged it keeps; what it did not, its submitter still has."""
    job, submit = world.draft(Stand(point))
    lost: list[Unavailable] = []

    def send() -> None:
        try:
            submit()
        except Unavailable as error:
            lost.append(error)

    world.begin()
    world.lot.plan(job, point)
    sender = threading.Thread(target=send)
    sender.start()
    wait_until(lambda: world.lot.reached(job), lambda: f"the order at {point!r}")
    world.net.kill("deai-market")
    sender.join()
    assert lost, "the submitter was told that it went well"
    world.net.start_market()
    world.submitter.resubmit(job)
    world.submitter.resubmit(job)
    world.finish("market, taking an order", [Standing(job, Stand(point), frozenset())])


@pytest.mark.parametrize("point", ["before the order is kept", "before the order is answered"])
def test_a_submitter_killed_before_the_answer_has_one_job(world: World, point: str, tmp_path: Path) -> None:
    kept = world.net.folder / "home" / "orders"
    before = set(kept.glob("*"))
    world.begin()
    world.lot.plan_any(point)
    with subprocess.Popen(
        [sys.executable, "-m", "deai.cli", *world.words(), "--yes"],
        env={**os.environ, **world.net.client_environment()},
        stdin=subprocess.DEVNULL,
    ) as deai:
        try:
            wait_until(world.lot.reached, lambda: f"the order at {point!r}")
        finally:
            deai.kill()
    (order,) = set(kept.glob("*")) - before
    world.lot.release()
    job = JobId(order.stem)
    world.submitter.resubmit(job)
    world.finish("submitter", [Standing(job, Stand(point), frozenset())])
