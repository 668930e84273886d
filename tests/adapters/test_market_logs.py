"""Logs and observations: who writes them, who reads them, and how much is kept."""

import threading
import time

import pytest

from deai.errors import WrongRequest
from deai.job import Address, JobId
from deai.market_api import MarketApi
from deai.wire import LogChunk, Observation
from deai_market.settings import Rules
from tests.adapters.market_fixtures import awarded, until
from tests.market_world import World


def test_the_submitter_follows_the_providers_log(world: World, api: MarketApi) -> None:
    job = world.id(awarded(world, api))
    assert api.logs(world.submitter, job) == LogChunk(offset=0, data=b"")
    heard: list[LogChunk] = []
    thread = threading.Thread(target=lambda: heard.append(api.logs(world.submitter, job, 0, 15)))
    thread.start()
    time.sleep(0.2)
    api.send_logs(world.provider, job, LogChunk(offset=0, data=b"one\n"))
    thread.join()
    assert heard == [LogChunk(offset=0, data=b"one\n")]
    api.send_logs(world.provider, job, LogChunk(offset=0, data=b"one\n"))
    api.send_logs(world.provider, job, LogChunk(offset=2, data=b"e\ntwo\n"))
    api.send_logs(world.provider, job, LogChunk(offset=8, data=b"", end=True))
    assert api.logs(world.submitter, job) == LogChunk(offset=0, data=b"one\ntwo\n", end=True)
    assert api.logs(world.submitter, job, 8, 10) == LogChunk(offset=8, data=b"", end=True)
    with pytest.raises(WrongRequest, match="8 bytes are here"):
        api.send_logs(world.provider, job, LogChunk(offset=9, data=b"x"))
    with pytest.raises(WrongRequest, match="ended"):
        api.send_logs(world.provider, job, LogChunk(offset=8, data=b"x"))


def test_logs_are_capped(world: World) -> None:
    with world.served(Rules(poll_seconds=0.02, log_bytes=10)) as api:
        job = world.id(awarded(world, api))
        api.send_logs(world.provider, job, LogChunk(offset=0, data=b"0123456789"))
        with pytest.raises(WrongRequest, match="at most 10 are kept"):
            api.send_logs(world.provider, job, LogChunk(offset=10, data=b"x"))


def test_a_long_log_comes_in_pieces(world: World, api: MarketApi) -> None:
    job, sent = world.id(awarded(world, api)), b""
    for number in range(5):
        data = bytes([number]) * 700_000
        api.send_logs(world.provider, job, LogChunk(offset=len(sent), data=data, end=number == 4))
        sent += data
    read, end = b"", False
    while not end:
        chunk = api.logs(world.submitter, job, len(read))
        read, end = read + chunk.data, chunk.end
        assert len(chunk.data) <= 1 << 20
    assert read == sent


def test_the_log_of_a_closed_job_ends_though_its_provider_never_said_so(world: World, api: MarketApi) -> None:
    order = awarded(world, api)
    api.send_logs(world.provider, world.id(order), LogChunk(offset=0, data=b"x"))
    world.pay(order)
    until(lambda: api.job(world.id(order)), "Paid")
    assert api.logs(world.submitter, world.id(order), 0) == LogChunk(offset=0, data=b"x", end=True)


def test_logs_and_observations_belong_to_the_parties(world: World, api: MarketApi) -> None:
    job = world.id(awarded(world, api))
    chunk, running = LogChunk(offset=0, data=b"x"), Observation(event="Running")
    for act in (
        lambda: api.logs(world.provider, job),
        lambda: api.logs(world.other, job),
        lambda: api.send_logs(world.other, job, chunk),
        lambda: api.send_logs(world.submitter, job, chunk),
        lambda: api.observe(world.other, job, running),
        lambda: api.observe(world.other, job, Observation(event="Staging")),
    ):
        with pytest.raises(WrongRequest, match="not"):
            act()
    api.observe(world.provider, job, running)
    api.observe(world.provider, job, running)
    assert [line.event for line in api.job(job).history] == ["Signed", "JobAwarded", "Running"]
    with pytest.raises(WrongRequest, match="no job"):
        api.logs(world.submitter, JobId("0x" + "00" * 32))


def test_observations_are_capped(world: World) -> None:
    with world.served(Rules(poll_seconds=0.02, observations=2)) as api:
        job = world.id(awarded(world, api))
        for text in ("a", "b"):
            api.observe(world.provider, job, Observation(event="Running", text=text))
        with pytest.raises(WrongRequest, match="which is the limit"):
            api.observe(world.provider, job, Observation(event="Running", text="c"))


def test_a_provider_that_fills_its_share_of_observations_takes_nothing_from_the_next(world: World) -> None:
    rules = Rules(poll_seconds=0.02, match_seconds=30, observations=2)
    with world.served(rules) as api:
        api.ask(world.ask())
        api.submit(world.order())
        (match,) = api.matches(Address(world.provider.address), 0, 10).matches
        for text in ("a", "b"):
            api.observe(world.provider, match.id, Observation(event="Staging", text=text))
        world.chain.advance(20)
        # What it says is not kept any more, what it does counts.
        with pytest.raises(WrongRequest, match="which is the limit"):
            api.observe(world.provider, match.id, Observation(event="Staging", text="c"))
        world.chain.advance(20)
        time.sleep(1.2)
        assert api.matches(Address(world.provider.address)).matches
        api.ask(world.ask(world.other))
        with pytest.raises(WrongRequest, match="which is the limit"):
            api.observe(world.provider, match.id, Observation(event="Declined", text="no"))

        assert api.matches(Address(world.other.address), 0, 10).matches
        for text in ("a", "b"):
            api.observe(world.other, match.id, Observation(event="Staging", text=text))
        assert [line.event for line in api.job(match.id).history] == ["Signed"] + ["Staging"] * 4
