"""How many jobs the agent takes at the same time, and what one whose result is on its way still holds."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deai_provider.ledger import Step
from deai_provider.testing import Script
from tests.unit.provider_world import POLL, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_no_more_jobs_than_slots_are_taken(world: World) -> None:
    world.script = lambda _: Script(seconds=None, log=b"working\n")
    with world.agent():
        first, second = world.submit(), world.submit()
        for id_ in (first, second):
            world.reach(id_, Step.RUNNING)
        third = world.submit()
        time.sleep(20 * POLL)
        assert world.entry(third) is None


@pytest.fixture
def slow_uplink(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No result is handed over before this is set."""
    sent = threading.Event()

    def share(*_: object) -> bool:
        return sent.wait(30)

    monkeypatch.setattr(world.store, "share", share)
    yield sent
    sent.set()


def test_the_next_job_runs_while_a_result_is_on_its_way(world: World, slow_uplink: threading.Event) -> None:
    world.rules = replace(world.rules, slots=1)
    with world.agent():
        first, second = world.submit(), world.submit()
        world.reach(first, Step.PUBLISHED)
        world.reach(second, Step.PUBLISHED)
        world.reach(first, Step.PUBLISHED)
        # One result on its way for each slot, or they would pile up.
        third = world.submit()
        time.sleep(20 * POLL)
        assert world.entry(third) is None
        slow_uplink.set()
        for id_ in (first, second, third):
            world.reach(id_, Step.DELIVERED)
            assert world.starts(id_) == 1


def test_a_result_on_its_way_holds_disk(world: World, slow_uplink: threading.Event) -> None:
    half = {"disk_mib": world.capacity.disk_mib // 2 + 1}
    with world.agent():
        first = world.submit(world.spec(resources=half))
        world.reach(first, Step.PUBLISHED)
        second = world.submit(world.spec(resources=half))
        assert "disk_mib" in world.reach(second, Step.DECLINED).reason
        slow_uplink.set()
        world.reach(first, Step.DELIVERED)
