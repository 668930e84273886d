"""What the market hears of a job while it is staged."""

import time
from pathlib import Path

import pytest

from deai.job import JobId
from deai_provider import relay
from deai_provider.relay import Relay
from tests.unit.provider_world import PROVIDER, World

JOB = JobId("0x" + "ab" * 32)


def heard(world: World) -> list[str]:
    return world.market.seen.get(JOB, [])


def test_staging_is_said_again_as_long_as_it_takes_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "HOLD_SECONDS", 0.02)
    world = World(tmp_path)
    messages = Relay(world.market, PROVIDER, JOB, lambda _: b"")

    with messages.repeating("Staging", "a large image"):
        deadline = time.monotonic() + 5
        while len(heard(world)) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    messages.finish(5)
    said = len(heard(world))
    time.sleep(0.1)

    assert set(heard(world)) == {"Staging"}
    assert len(heard(world)) == said


def test_a_market_that_is_away_is_not_told_the_same_twice_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "HOLD_SECONDS", 0.01)
    world = World(tmp_path)
    world.market.down = True
    messages = Relay(world.market, PROVIDER, JOB, lambda _: b"")

    with messages.repeating("Staging"):
        time.sleep(0.2)
    world.market.down = False
    messages.finish(5)

    assert heard(world) == ["Staging"]
