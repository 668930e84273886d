"""What the market hears of a job while it is staged."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_account.signers.local import LocalAccount

from deai.errors import WrongRequest
from deai.job import JobId
from deai.wire import LogChunk
from deai_provider import relay
from deai_provider.relay import Relay
from tests.unit.provider_world import PROVIDER, World

JOB = JobId("0x" + "ab" * 32)


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """Threads take turns at nearly every instruction."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


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
    time.sleep(0.1)
    said = len(heard(world))
    time.sleep(0.2)
    assert len(heard(world)) == said
    messages.finish(5)
    assert set(heard(world)) == {"Staging"}


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


@pytest.mark.usefixtures("restless_threads")
def test_what_is_observed_while_the_market_is_told_is_neither_lost_nor_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    told: list[str] = []
    monkeypatch.setattr(world.market, "observe", lambda _account, _id, seen: told.append(seen.text))
    messages = Relay(world.market, PROVIDER, JOB, lambda _: b"")
    said = [str(number) for number in range(10_000)]

    for text in said:
        messages.observe("Staging", text)
    messages.finish(30)

    assert told == said


def test_a_log_that_the_market_refuses_is_offered_ever_more_rarely_and_sent_once_it_takes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_LOOK_SECONDS", 0.01)
    world = World(tmp_path)
    take, offers, forbidden = world.market.send_logs, 0, True

    def send_logs(account: LocalAccount, id_: JobId, chunk: LogChunk) -> None:
        nonlocal offers
        offers += 1
        if forbidden:
            raise WrongRequest("the award is not indexed yet")
        take(account, id_, chunk)

    monkeypatch.setattr(world.market, "send_logs", send_logs)
    messages = Relay(world.market, PROVIDER, JOB, lambda offset: b"working\n"[offset:])
    messages.follow()
    time.sleep(1)
    assert 3 <= offers <= 10
    messages.observe("Running")
    world.until(lambda: heard(world) == ["Running"])
    forbidden = False
    messages.finish(5)

    assert world.market.logs[JOB] == b"working\n"
    assert JOB in world.market.ended
