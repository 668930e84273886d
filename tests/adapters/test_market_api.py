"""MarketApi and a real server on loopback: markets that are not there, are another's, or stop."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from socket import socket

import pytest

from deai import market_api
from deai.errors import BadField, MarketUnavailable
from deai.job import Address
from deai.market_api import MarketApi
from deai.signing import Domain
from deai.wire import Matches
from deai_market.app import serving
from tests.adapters.store_fixtures import answer, gateway
from tests.market_world import World


def test_a_market_that_is_not_there_is_named(world: World) -> None:
    with (
        world.api("http://127.0.0.1:1") as api,
        pytest.raises(MarketUnavailable, match=r"http://127\.0\.0\.1:1"),
    ):
        api.info()


def test_a_market_of_another_escrow_is_refused(world: World, api: MarketApi) -> None:
    with (
        MarketApi(api.url, Domain(1, world.domain.contract)) as other,
        pytest.raises(BadField, match="on chain 31337"),
    ):
        other.info()


def test_an_address_in_use_is_said(world: World, api: MarketApi, tmp_path: Path) -> None:
    port = int(api.url.rpartition(":")[2])
    other = World(tmp_path / "other")
    market = other.market()
    with pytest.raises(BadField, match="cannot be listened on"), serving(market, "127.0.0.1", port):
        pass
    market.close()


def test_stopping_ends_long_polls_at_once(world: World) -> None:
    market, heard = world.market(), list[Matches]()
    with serving(market, "127.0.0.1", 0) as url:
        api = world.api(url)
        thread = threading.Thread(
            target=lambda: heard.append(api.matches(Address(world.provider.address), 7, 20))
        )
        thread.start()
        time.sleep(0.3)
        begun = time.monotonic()
    thread.join()
    api.close()
    assert time.monotonic() - begun < 5
    assert heard == [Matches(cursor=7, matches=())]


def dripping(*pieces: bytes) -> Callable[[socket, bytes], None]:
    """A market that answers a piece each twentieth of a second."""

    def drip(connection: socket, _: bytes) -> None:
        with suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.05)

    return drip


@pytest.mark.parametrize(
    "pieces",
    [
        [b"HTTP/1.1 200 OK\r\n", *[b"X: y\r\n"] * 60],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", *[b"x"] * 60],
        [b"HTTP/1.1 503 Busy\r\nContent-Length: 1000\r\n\r\n", *[b"x"] * 60],
    ],
    ids=["headers", "body", "refusal"],
)
def test_a_market_that_drips_its_answer_is_given_up_in_the_time_of_the_whole_call(
    pieces: list[bytes], world: World
) -> None:
    with (
        gateway(dripping(*pieces)) as url,
        MarketApi(url, world.domain, timeout_seconds=0.3) as api,
    ):
        begun = time.monotonic()
        with pytest.raises(MarketUnavailable, match="does not answer"):
            api.bid(world.bid(world.id(world.order())))
        assert 0.2 < time.monotonic() - begun < 1.5


def test_an_upload_that_the_market_sips_takes_no_longer_than_it_may(world: World) -> None:
    def sip(connection: socket, _: bytes) -> None:
        with suppress(OSError):
            for _turn in range(60):
                connection.recv(1 << 16)
                time.sleep(0.05)

    with gateway(sip) as url, world.api(url) as api:
        begun = time.monotonic()
        with pytest.raises(MarketUnavailable, match="does not answer"):
            api.upload(world.provider, bytes(32 << 20), seconds=0.5)
        assert 0.4 < time.monotonic() - begun < 1.5


def test_an_answer_is_read_no_further_than_its_bound(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_api, "_MOST_BYTES", 1 << 20)
    with (
        gateway(lambda connection, _: connection.sendall(answer(body=bytes(2 << 20)))) as url,
        world.api(url) as api,
        pytest.raises(MarketUnavailable, match="more than 1048576 bytes"),
    ):
        api.asks()


def test_an_encoded_answer_is_not_decoded(world: World) -> None:
    said = answer("200 OK", b"[]", "Content-Encoding: gzip")
    with (
        gateway(lambda connection, _: connection.sendall(said)) as url,
        world.api(url) as api,
        pytest.raises(MarketUnavailable, match="encoded as 'gzip'"),
    ):
        api.asks()
