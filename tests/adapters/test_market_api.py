"""MarketApi and a real server on loopback: markets that are not there, are another's, or stop."""

import threading
import time
from pathlib import Path

import pytest

from deai.errors import BadField, MarketUnavailable
from deai.job import Address
from deai.market_api import MarketApi
from deai.signing import Domain
from deai.wire import Matches
from deai_market.app import serving
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
