"""Whose is what: every route, asked by everybody; and where private parts must never turn up."""

import base64
import hashlib
import itertools
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from eth_account.signers.local import LocalAccount
from fastapi.routing import APIRoute

from deai import callback
from deai.cid import Cid, Codec
from deai.job import Address, Wei
from deai.market_api import MarketApi
from deai.store import Block
from deai.wire import LogChunk, Observation, Order
from deai_market.routes import router
from tests.adapters.market_fixtures import authorization, awarded
from tests.market_world import DAI, World, account

URL, SECRET = "https://receiver.example/hidden-path?token=hidden", callback.new_secret()
EVERYBODY = ("nobody", "stranger", "another submitter", "another provider", "provider", "submitter")
SIGNED = EVERYBODY[1:]

# A route, and to whom it answers. What is signed by itself (orders, asks, bids) comes from anybody.
MATRIX: dict[tuple[str, str], tuple[str, ...]] = {
    ("GET", "/health"): EVERYBODY,
    ("GET", "/market"): EVERYBODY,
    ("GET", "/jobs"): EVERYBODY,
    ("GET", "/jobs/{job}"): EVERYBODY,
    ("GET", "/asks"): EVERYBODY,
    ("GET", "/providers/{provider}/matches"): EVERYBODY,
    ("GET", "/ipfs/{cid}"): EVERYBODY,
    ("HEAD", "/ipfs/{cid}"): EVERYBODY,
    ("POST", "/asks"): EVERYBODY,
    ("POST", "/bids"): EVERYBODY,
    ("POST", "/jobs"): ("submitter",),  # this one has a callback
    ("GET", "/jobs/{job}/logs"): ("submitter",),
    ("GET", "/jobs/{job}/callback"): ("submitter",),
    ("POST", "/jobs/{job}/logs"): ("provider",),
    ("POST", "/jobs/{job}/observations"): ("provider",),
    # Content is taken from all who have a balance in the escrow; `stranger` has none.
    ("POST", "/ipfs/missing"): ("another submitter", "another provider", "provider", "submitter"),
    ("POST", "/ipfs"): ("another submitter", "another provider", "provider", "submitter"),
}


@pytest.fixture
def order(world: World, api: MarketApi) -> Order:
    """An awarded order with a callback and a log, beside another submitter's."""
    plain = awarded(world, api)
    api.submit(world.order(signer=world.other, submitter=world.other.address))
    order = plain.model_copy(update={"callback_url": URL, "callback_secret": SECRET})
    api.submit(order, world.submitter)
    api.send_logs(world.provider, world.id(order), LogChunk(offset=0, data=b"a hidden line"))
    api.observe(world.provider, world.id(order), Observation(event="Running"))
    return order


@pytest.fixture
def parties(world: World) -> dict[str, LocalAccount | None]:
    late = account(8)
    world.chain.mint(DAI.address, Address(late.address), 10)
    world.chain.deposit(late, DAI.address, Wei(10))
    return {
        "nobody": None,
        "stranger": account(9),
        "another submitter": world.other,
        "another provider": late,
        "provider": world.provider,
        "submitter": world.submitter,
    }


def body(world: World, method: str, path: str, order: Order) -> bytes:
    job = world.id(order)
    bodies: dict[str, Any] = {
        "/jobs": order,
        "/asks": world.ask(issued_at=world.chain.now),
        "/bids": world.bid(job),
        "/jobs/{job}/logs": LogChunk(offset=13, data=b""),
        "/jobs/{job}/observations": Observation(event="Running"),
    }
    if method != "POST":
        return b""
    if path == "/ipfs/missing":
        return b'{"cids":[]}'
    return bodies[path].model_dump_json().encode() if path in bodies else b"no archive"


def ask(
    world: World, http: httpx.Client, order: Order, party: LocalAccount | None, method: str, path: str
) -> httpx.Response:
    """One request to a route, signed by the party."""
    cid = Cid.of(b"some bytes", Codec.RAW)
    target = path.format(job=world.id(order), provider=world.provider.address, cid=cid)
    target += "?format=raw" if "{cid}" in path else ""
    content = body(world, method, path, order)
    headers = {"Content-Type": "application/json"}
    if path == "/ipfs":
        headers |= digest_header(content)
    if party is not None:
        base = str(http.base_url).rstrip("/")
        headers["Authorization"] = authorization(world, base, party, method, target, content)
    return http.request(method, target, content=content or None, headers=headers)


def digest_header(content: bytes) -> dict[str, str]:
    return {"Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"}


def test_every_route_has_a_row() -> None:
    routes = {
        (method, route.path)
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert routes == MATRIX.keys()


def test_a_route_answers_those_it_belongs_to_and_nobody_else(
    world: World, http: httpx.Client, order: Order, parties: dict[str, LocalAccount | None]
) -> None:
    world.store.put([Block(Cid.of(b"some bytes", Codec.RAW), b"some bytes")])
    for ((method, path), owners), name in itertools.product(MATRIX.items(), EVERYBODY):
        answer = ask(world, http, order, parties[name], method, path)
        if name in owners:
            # Refused for something else at most: the bid was taken before, and the archive is none.
            assert answer.status_code not in (401, 403, 404, 422), (path, name, answer.text)
            assert answer.status_code < 300 or path in ("/bids", "/ipfs"), (path, name, answer.text)
        else:
            assert answer.status_code == (401 if name == "nobody" else 403), (path, name, answer.text)
            assert b"hidden" not in answer.content


def test_what_is_private_is_in_no_answer_and_no_line_of_the_log(
    world: World,
    http: httpx.Client,
    order: Order,
    parties: dict[str, LocalAccount | None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    private = (SECRET, SECRET[6:], "receiver.example", "hidden-path", "token=hidden")
    bent = [
        order.model_copy(update={"callback_url": URL + " "}),
        order.model_copy(update={"callback_url": URL.replace("https", "ftp")}),
        order.model_copy(update={"callback_url": URL + "/else"}),
        order.model_copy(update={"callback_secret": SECRET + "!"}),
        order.model_copy(update={"callback_secret": SECRET * 4}),
        order.model_copy(update={"callback_url": URL * 99}),
        order.model_copy(update={"signature": b""}),
    ]
    answers = [
        ask(world, http, each, party, method, path)
        for (method, path), party, each in itertools.product(MATRIX, parties.values(), [order])
    ]
    answers += [ask(world, http, each, world.submitter, "POST", "/jobs") for each in bent]
    assert [answer.status_code for answer in answers[-len(bent) :]] == [400, 400, 409, 400, 422, 422, 401]
    for word in private:
        assert not any(word in answer.text for answer in answers), word
        assert not any(word in line for line in caplog.text.splitlines() if "httpcore" not in line), word


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def test_nobody_else_reads_the_markets_files_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        world = World(tmp_path)
        (tmp_path / "data").mkdir(mode=0o755)
        with world.served() as api:
            api.submit(world.order())
            found = {path.name: path.stat().st_mode & 0o077 for path in files(tmp_path / "data")}
            assert found.keys() >= {"market.sqlite", "market.sqlite-wal", "lock"}
            assert not any(found.values()), found
    finally:
        os.umask(before)


def test_orders_hide_their_private_parts_when_printed(order: Order) -> None:
    assert not re.search(r"hidden|whsec", f"{order!r} {order}")
