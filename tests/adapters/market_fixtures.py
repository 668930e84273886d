"""A served market on loopback over the reference model of the chain, and what tests do with it."""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from eth_account.signers.local import LocalAccount

from deai.authorities import authorities
from deai.job import Address, Timestamp
from deai.market_api import MarketApi
from deai.signing import Request, sign_request
from deai.wire import Authorization, JobView, Order
from tests.market_world import World

T = TypeVar("T")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def api(world: World) -> Iterator[MarketApi]:
    with world.served() as api:
        yield api


@pytest.fixture
def http(api: MarketApi) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api.url, timeout=10, trust_env=False, verify=authorities()) as client:
        yield client


def eventually(look: Callable[[], T], done: Callable[[T], bool]) -> T:
    for _ in range(1_000):
        found = look()
        if done(found):
            return found
        time.sleep(0.01)
    raise AssertionError(f"it stayed {found}")


def until(look: Callable[[], JobView], state: str) -> JobView:
    return eventually(look, lambda view: view.state == state)


def awarded(world: World, api: MarketApi, **fields: Any) -> Order:
    """An order that went the whole way to its award."""
    order = world.order(**fields)
    api.submit(order)
    api.ask(world.ask(issued_at=world.chain.now - world.salts))
    assert [match.id for match in api.matches(Address(world.provider.address), 0, 10).matches] == [
        world.id(order)
    ]
    api.bid(world.bid(world.id(order)))
    until(lambda: api.job(world.id(order)), "Awarded")
    return order


def authorization(
    world: World, market: str, signer: LocalAccount, method: str, path: str, body: bytes, ahead: int = 60
) -> str:
    account, expires_at = Address(signer.address), Timestamp(world.chain.now + ahead)
    digest = hashlib.sha256(body).digest()
    request = Request(
        account=account, market=market, method=method, path=path, body=digest, expires_at=expires_at
    )
    return str(Authorization(account, expires_at, sign_request(signer, request, world.domain)))
