"""Requests that are signed, and requests that are hostile."""

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from deai.authorities import authorities
from deai.errors import BadField, MarketUnavailable
from deai.job import JobId
from deai.market_api import MarketApi
from deai.wire import origin
from deai_market.app import serving
from deai_market.settings import Rules
from tests.adapters.market_fixtures import authorization, awarded
from tests.market_world import World


def test_an_authorization_is_good_for_its_request_alone_and_not_for_long(
    world: World, api: MarketApi, http: httpx.Client
) -> None:
    path = f"/jobs/{world.id(awarded(world, api))}/logs?offset=0"

    def status(target: str, **signed: Any) -> int:
        values = {
            "market": api.url,
            "signer": world.submitter,
            "method": "GET",
            "path": path,
            "body": b"",
            "ahead": 60,
            **signed,
        }
        return http.get(target, headers={"Authorization": authorization(world, **values)}).status_code

    assert status(path) == 200
    assert status(path, signer=world.other) == 403
    assert status(path, market=api.url.replace("127.0.0.1", "localhost")) == 200
    for wrong in (
        {"market": "http://another.example:80"},
        {"market": api.url.replace("http", "https")},
        {"market": "http://127.0.0.1:80"},
        {"market": ""},
        {"method": "POST"},
        {"path": path + "1"},
        {"body": b"x"},
        {"ahead": 0},
        {"ahead": 121},
    ):
        assert status(path, **wrong) == 401, wrong
    good = authorization(world, api.url, world.submitter, "GET", path, b"")
    stolen = good.replace(world.submitter.address, world.other.address)
    for header in (stolen, good[:-2], "deai", "Bearer x", good + "0"):
        answer = http.get(path, headers={"Authorization": header})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "deai")
    assert http.get(path).status_code == 401
    world.chain.advance(61)
    time.sleep(0.2)
    assert http.get(path, headers={"Authorization": good}).status_code == 401


def test_what_was_signed_for_another_market_is_refused_whatever_host_the_request_claims(
    world: World, api: MarketApi, http: httpx.Client
) -> None:
    path = f"/jobs/{world.id(awarded(world, api))}/logs"
    caught = list[httpx.Request]()

    def catch(request: httpx.Request) -> httpx.Response:
        caught.append(request)
        raise httpx.ConnectError("the network broke here")

    with world.api("http://another.example:81") as elsewhere:
        elsewhere._client = httpx.Client(base_url=elsewhere.url, transport=httpx.MockTransport(catch))
        with pytest.raises(MarketUnavailable):
            elsewhere.logs(world.submitter, world.id(world.order()))
        with pytest.raises(MarketUnavailable):
            elsewhere.logs(world.submitter, JobId(path.split("/")[2]))
    relayed = caught[-1]
    answer = http.get(
        relayed.url.raw_path.decode(),
        headers={"Authorization": relayed.headers["Authorization"], "Host": "another.example:81"},
    )
    assert answer.status_code == 401
    assert "not for this market" in answer.json()["detail"]


def test_a_market_that_has_names_answers_to_those_alone(world: World) -> None:
    market = world.market()
    with (
        serving(market, "127.0.0.1", 0, ["HTTPS://Market.example/", "http://10.0.0.1:8420"]) as url,
        httpx.Client(base_url=url, trust_env=False, verify=authorities()) as http,
    ):
        order = world.order()
        job = market.book.submit(order)
        path = f"/jobs/{job}/logs"
        for name, status in (
            ("https://market.example:443", 200),
            ("http://10.0.0.1:8420", 200),
            ("http://market.example:443", 401),
            (url, 401),
        ):
            header = authorization(world, name, world.submitter, "GET", path, b"")
            assert http.get(path, headers={"Authorization": header}).status_code == status, name


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://Market.Example", "http://market.example:80"),
        ("HTTPS://market.example/", "https://market.example:443"),
        ("http://127.0.0.1:8420/prefix?x", "http://127.0.0.1:8420"),
        ("http://user:word@host:1/", "http://host:1"),
        ("http://[::1]:8420", "http://[::1]:8420"),
    ],
)
def test_a_markets_origin_is_its_url_without_what_does_not_matter(url: str, named: str) -> None:
    assert origin(url) == named


@pytest.mark.parametrize("url", ["", "market", "ftp://host", "http://", "http://host:99999", "http://[::1"])
def test_an_origin_that_is_no_url_is_refused(world: World, url: str) -> None:
    market = world.market()
    with pytest.raises(BadField, match="market"), serving(market, "127.0.0.1", 0, [url]):
        pass
    market.close()


HOSTILE = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"\xff\xfe",
    b'{"job": NaN}',
    b"[" * 100_000,
    b'{"job":{"price_cap":' + b"9" * 5_000 + b"}}",
    b'{"spec":"\\ud800","job":{},"signature":"0x"}',
    b'{"ask":"\\ud800","signature":"0x"}',
    b'{"ask":"{}","signature":"0xzz"}',
    b'{"offset":1e400,"data":"0x"}',
    b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
]


def test_hostile_bodies_are_refused_and_never_break_a_route(
    world: World, api: MarketApi, http: httpx.Client
) -> None:
    job, kind = world.id(awarded(world, api)), {"Content-Type": "application/json"}
    own = [
        b'{"offset":-1,"data":"0x"}',
        b'{"offset":9007199254740992,"data":"0x"}',
        b'{"offset":0,"data":"0xzz"}',
        b'{"offset":0,"data":"0x0"}',
        b'{"offset":0,"data":"\\ud800"}',
        b'{"offset":0,"data":"0x","end":"maybe"}',
        b'{"event":"Paid"}',
        b'{"event":"Running\\n"}',
        b'{"event":"Running","text":"' + b"x" * 257 + b'"}',
        b'{"event":"Running","text":"\\ud800"}',
        b'{"event":["Running"]}',
    ]
    for body, path in itertools.product(
        HOSTILE + own, ("/jobs", "/asks", "/bids", f"/jobs/{job}/logs", f"/jobs/{job}/observations")
    ):
        # As the awarded provider, so that nothing but the body can be what is refused.
        header = authorization(world, api.url, world.provider, "POST", path, body)
        answer = http.post(path, content=body, headers={**kind, "Authorization": header})
        assert 400 <= answer.status_code < 500, (path, body[:40], answer.text)
        assert answer.status_code not in (401, 403), (path, body[:40], answer.text)
        assert set(answer.json()) == {"error", "detail", "facts"}
    assert api.logs(world.submitter, job).data == b""
    assert [line.event for line in api.job(job).history] == ["Signed", "JobAwarded"]


def test_mutated_orders_never_break_the_market(world: World, api: MarketApi, http: httpx.Client) -> None:
    whole = world.order().model_dump(mode="json")
    kind = {"Content-Type": "application/json"}
    evil: list[Any] = [
        None,
        -1,
        1 << 300,
        "9" * 400,
        "",
        "\x00",
        "\ud800",
        [],
        {},
        True,
        1.5,
        "0x",
        "0x" + "ff" * 100,
    ]
    for name in whole["job"]:
        for value in evil:
            body = {**whole, "job": {**whole["job"], name: value}}
            answer = http.post("/jobs", content=json.dumps(body), headers=kind)
            assert 400 <= answer.status_code < 500, (name, value, answer.text)
    for name in ("signature", "spec", "callback_url"):
        for value in evil:
            if name == "callback_url" and value is None:
                continue
            answer = http.post("/jobs", content=json.dumps({**whole, name: value}), headers=kind)
            assert 400 <= answer.status_code < 500, (name, value, answer.text)
    assert api.jobs() == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/jobs/0x00", 422),
        ("/jobs/0x" + "00" * 32, 404),
        ("/jobs?state=Nonsense", 400),
        ("/jobs?submitter=0x12", 422),
        ("/jobs?limit=501", 422),
        ("/nothing", 404),
        ("/providers/nobody/matches", 422),
        ("/providers/0x0000000000000000000000000000000000000001/matches?wait=21", 422),
        ("/providers/0x0000000000000000000000000000000000000001/matches?after=" + "9" * 30, 422),
    ],
)
def test_wrong_paths_and_queries_are_refused(
    api: MarketApi, http: httpx.Client, path: str, status: int
) -> None:
    answer = http.get(path)
    assert (answer.status_code, set(answer.json())) == (status, {"error", "detail", "facts"})


def test_bodies_beyond_the_limit_are_refused_unread(world: World) -> None:
    with (
        world.served(Rules(body_bytes=1_000)) as api,
        httpx.Client(base_url=api.url, verify=authorities()) as http,
    ):
        assert http.post("/jobs", content=b"x" * 1_001).status_code == 413

        def endless() -> Iterator[bytes]:
            while True:
                yield b"x" * 500

        # Without a Content-Length it is counted as it comes; the market hangs up in the middle.
        try:
            assert http.post("/jobs", content=endless()).status_code == 413
        except httpx.WriteError:
            assert http.get("/health").status_code == 200
