"""Content handed to a market: who may, how much, for how long, and what becomes of hostile uploads."""

import base64
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from eth_account.signers.local import LocalAccount

from deai import car
from deai.authorities import authorities
from deai.chain import JobAwarded
from deai.cid import Cid, Codec
from deai.errors import MarketUnavailable, WrongRequest
from deai.job import Address, Timestamp, Wei
from deai.market_api import MarketApi
from deai.store import Block
from deai_market.app import serving
from deai_market.market import Market
from tests.adapters.market_fixtures import authorization, awarded, eventually, until
from tests.market_world import COIN, DAI, NOW, RULES, World, account

DAY = 86_400
PAGE = 4_096


def blocks(count: int, size: int = PAGE) -> list[Block]:
    """Blocks that nobody has had before."""
    datas = (os.urandom(size) for _ in range(count))
    return [Block(Cid.of(data, Codec.RAW), data) for data in datas]


def archive(*given: Block) -> bytes:
    return b"".join(car.write([], given))


def post(world: World, api: MarketApi, signer: LocalAccount, body: bytes, **headers: str) -> httpx.Response:
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    fields = {
        "Content-Digest": f"sha-256=:{digest}:",
        "Authorization": authorization(world, api.url, signer, "POST", "/ipfs", body),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return httpx.post(
        f"{api.url}/ipfs", content=body, headers=fields, trust_env=False, verify=authorities(), timeout=30
    )


def serves(api: MarketApi, block: Block) -> bool:
    answer = httpx.get(f"{api.url}/ipfs/{block.cid}?format=raw", trust_env=False, verify=authorities())
    assert answer.status_code in (200, 404), answer.text
    return answer.status_code == 200 and answer.content == block.data


def kept(world: World) -> int:
    """How many blocks of uploads lie on the market's disk."""
    return sum(each.is_file() for each in (world.folder / "data" / "uploads" / "blocks").rglob("*"))


@pytest.fixture
def running(world: World, request: pytest.FixtureRequest) -> Iterator[tuple[Market, MarketApi]]:
    """A market within reach, and its client; with other rules where a test gives some."""
    market = world.market(replace(RULES, **getattr(request, "param", {})))
    with serving(market, "127.0.0.1", 0) as url, world.api(url) as api:
        yield market, api


def test_what_was_handed_in_is_served_and_need_not_be_sent_twice(world: World, api: MarketApi) -> None:
    one, two = blocks(2)
    assert api.missing(world.submitter, [one.cid, two.cid]) == [one.cid, two.cid]
    api.upload(world.submitter, archive(one, two))
    assert serves(api, one)
    assert serves(api, two)
    assert api.missing(world.submitter, [one.cid, two.cid]) == []
    assert api.missing(world.provider, [two.cid]) == []
    assert kept(world) == 2


def test_an_archive_of_very_many_blocks_is_refused_whole(world: World, api: MarketApi) -> None:
    many = [
        Block(Cid.of(data, Codec.RAW), data) for data in (f"{number}".encode() for number in range(1_025))
    ]
    answer = post(world, api, world.submitter, archive(*many))
    assert (answer.status_code, "more than 1024 blocks" in answer.text) == (400, True)
    assert kept(world) == 0
    api.upload(world.submitter, archive(*many[:-1]))
    assert kept(world) == 1_024


def test_what_the_market_has_itself_need_not_be_sent_and_counts_for_nobody(world: World) -> None:
    (block,) = blocks(1)
    world.store.put([block])
    with world.served(replace(RULES, upload_account_bytes=0)) as api:
        assert api.missing(world.submitter, [block.cid]) == []


def test_a_stranger_is_refused_and_told_the_rule_until_it_has_something_at_stake(
    world: World, api: MarketApi
) -> None:
    stranger, (block,) = account(77), blocks(1)
    # An ask costs nothing, so it opens no door.
    api.ask(world.ask(stranger))
    with pytest.raises(WrongRequest, match="neither a balance in the escrow nor a job under way"):
        api.missing(stranger, [block.cid])
    assert post(world, api, stranger, archive(block)).status_code == 403
    assert kept(world) == 0
    world.chain.mint(DAI.address, Address(stranger.address), COIN)
    world.chain.deposit(stranger, DAI.address, Wei(1))
    api.upload(stranger, archive(block))
    assert serves(api, block)


def test_a_party_of_a_job_under_way_is_known_whatever_its_balance(world: World, api: MarketApi) -> None:
    awarded(world, api)
    for each in (world.submitter, world.provider):
        rest = world.chain.balance(DAI.address, Address(each.address))
        world.chain.withdraw(each, DAI.address, Address(each.address), rest)
        api.upload(each, archive(*blocks(1)))
    assert kept(world) == 2


@pytest.mark.parametrize("running", [{"upload_account_bytes": 4 * PAGE}], indirect=True)
def test_a_quota_names_what_is_held_and_asked_and_takes_no_part_of_what_exceeds_it(
    world: World, running: tuple[Market, MarketApi]
) -> None:
    _, api = running
    first = blocks(3)
    api.upload(world.submitter, archive(*first))
    with pytest.raises(
        WrongRequest, match=r"holds 12288 bytes here and asks for 8192 more; its quota is 16384"
    ):
        api.upload(world.submitter, archive(*blocks(2)))
    assert post(world, api, world.submitter, archive(*blocks(2))).status_code == 413
    assert kept(world) == 3
    # What it holds already costs nothing; a block of one byte costs a page, as on a disk.
    tiny = blocks(1, size=1)
    api.upload(world.submitter, archive(*first, *tiny))
    with pytest.raises(WrongRequest, match="asks for 4096 more"):
        api.upload(world.submitter, archive(*blocks(1, size=1)))


@pytest.mark.parametrize("running", [{"upload_account_bytes": 4 * PAGE}], indirect=True)
def test_another_accounts_block_counts_for_both(world: World, running: tuple[Market, MarketApi]) -> None:
    _, api = running
    shared = blocks(4)
    api.upload(world.submitter, archive(*shared))
    assert api.missing(world.provider, [block.cid for block in shared]) == []
    with pytest.raises(WrongRequest, match="holds 16384 bytes here and asks for 4096 more"):
        api.upload(world.provider, archive(*blocks(1)))
    assert kept(world) == 4


@pytest.mark.parametrize("running", [{"uploads_bytes": 2 * PAGE}], indirect=True)
def test_a_full_market_says_so_and_asks_to_try_again(world: World, running: tuple[Market, MarketApi]) -> None:
    _, api = running
    api.upload(world.submitter, archive(*blocks(1)))
    answer = post(world, api, world.provider, archive(*blocks(2)))
    assert (answer.status_code, answer.json()["error"]) == (507, "StoreFull")
    assert "holds 4096 bytes of 8192 for all accounts and has room for 4096 more" in answer.json()["detail"]
    with pytest.raises(MarketUnavailable, match="has room for"):
        api.upload(world.provider, archive(*blocks(2)))


@pytest.mark.parametrize("running", [{"disk_reserve_bytes": 1 << 60}], indirect=True)
def test_the_disk_is_left_room_for_the_markets_own_database(
    world: World, running: tuple[Market, MarketApi]
) -> None:
    _, api = running
    assert post(world, api, world.submitter, archive(*blocks(1))).status_code == 507
    assert api.submit(world.order()).state == "Signed"


def test_a_disk_that_refuses_is_said_and_the_same_upload_works_later(world: World, api: MarketApi) -> None:
    (block,) = blocks(1)
    shard = world.folder / "data" / "uploads" / "blocks" / block.cid.digest.hex()[:2]
    shard.write_bytes(b"in the way of the folder")
    answer = post(world, api, world.submitter, archive(block))
    assert (answer.status_code, answer.json()["error"]) == (503, "StoreUnavailable")
    shard.unlink()
    # It is held, and not here: so it has to be sent.
    assert api.missing(world.submitter, [block.cid]) == [block.cid]
    api.upload(world.submitter, archive(block))
    assert serves(api, block)


# Hostile bodies.


def tampered(block: Block) -> bytes:
    return archive(block)[:-1] + bytes([block.data[-1] ^ 1])


@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (tampered, 400),
        (lambda block: archive(block)[:-7], 400),
        (lambda _: b"", 400),
        (lambda _: b"\xff" * 100, 400),
        (lambda block: archive(block) + b"\xff\xff\xff\xff\x7f", 400),
        (lambda block: car.header([]) + car.section(Block(block.cid, bytes((2 << 20) + 1))), 400),
        (lambda _: archive(*blocks(9, 1 << 20)), 413),
    ],
    ids=[
        "tampered",
        "truncated",
        "empty",
        "nonsense",
        "a block of gigabytes",
        "a block too large",
        "too large",
    ],
)
def test_a_hostile_archive_is_refused_whole(world: World, api: MarketApi, spoil: Any, status: int) -> None:
    good, bad = blocks(2)
    answer = post(world, api, world.submitter, spoil(bad))
    assert (answer.status_code, set(answer.json())) == (status, {"error", "detail", "facts"})
    if status == 400 and spoil(bad):
        # A good block before it does not help.
        mixed = archive(good) + spoil(bad)[len(car.header([])) :]
        assert post(world, api, world.submitter, mixed).status_code == 400
    assert kept(world) == 0


def test_only_the_signed_body_is_taken(world: World, api: MarketApi) -> None:
    one, two = (archive(block) for block in blocks(2))
    signed = authorization(world, api.url, world.submitter, "POST", "/ipfs", one)
    swapped = post(world, api, world.submitter, two, Authorization=signed)
    assert (swapped.status_code, swapped.json()["error"]) == (401, "BadSignature")
    promised = base64.b64encode(hashlib.sha256(one).digest()).decode()
    lied = post(
        world, api, world.submitter, two, Authorization=signed, Content_Digest=f"sha-256=:{promised}:"
    )
    assert (lied.status_code, lied.json()["detail"]) == (
        401,
        "request: the body is not the one that was signed",
    )
    for digest in ("", "sha-256=", "sha-256=:AAAA:", "md5=:AAAA:", "sha-256=:!!:"):
        assert post(world, api, world.submitter, one, Content_Digest=digest).status_code == 400
    unsigned = httpx.post(f"{api.url}/ipfs", content=one, headers={"Content-Digest": f"sha-256=:{promised}:"})
    assert unsigned.status_code == 401
    assert kept(world) == 0


def test_a_replayed_upload_changes_nothing(world: World, api: MarketApi) -> None:
    body = archive(*blocks(2))
    assert [post(world, api, world.submitter, body).status_code for _ in range(2)] == [204, 204]
    assert kept(world) == 2


def test_a_block_that_was_promised_and_not_sent_stays_missing(world: World, api: MarketApi) -> None:
    sent, promised = blocks(2)
    assert api.missing(world.submitter, [sent.cid, promised.cid]) == [sent.cid, promised.cid]
    api.upload(world.submitter, archive(sent))
    assert api.missing(world.submitter, [sent.cid, promised.cid]) == [promised.cid]
    assert not serves(api, promised)


@pytest.mark.parametrize("running", [{"upload_seconds": 0.3, "upload_places": 1}], indirect=True)
def test_a_slow_upload_ends_and_leaves_its_place(world: World, running: tuple[Market, MarketApi]) -> None:
    _, api = running
    body = archive(*blocks(1))

    def dribble() -> Iterator[bytes]:
        yield body[:10]
        time.sleep(1.5)
        yield body[10:]

    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    headers = {
        "Content-Digest": f"sha-256=:{digest}:",
        "Authorization": authorization(world, api.url, world.submitter, "POST", "/ipfs", body),
    }
    slow = httpx.post(
        f"{api.url}/ipfs",
        content=dribble(),
        headers=headers,
        timeout=20,
        trust_env=False,
        verify=authorities(),
    )
    assert (slow.status_code, slow.json()["error"]) == (408, "TooSlow")
    api.upload(world.provider, archive(*blocks(1)))
    assert kept(world) == 1


@pytest.mark.parametrize(
    "running", [{"upload_seconds": 5, "upload_places": 1, "upload_wait_seconds": 0.2}], indirect=True
)
def test_an_upload_that_finds_no_place_is_told_to_come_again(
    world: World, running: tuple[Market, MarketApi]
) -> None:
    _, api = running
    body, go, holding = archive(*blocks(1)), threading.Event(), threading.Event()

    def dribble() -> Iterator[bytes]:
        yield body[:10]
        holding.set()
        go.wait(5)
        yield body[10:]

    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    headers = {
        "Content-Digest": f"sha-256=:{digest}:",
        "Authorization": authorization(world, api.url, world.submitter, "POST", "/ipfs", body),
    }
    answers = list[int]()
    thread = threading.Thread(
        target=lambda: answers.append(
            httpx.post(f"{api.url}/ipfs", content=dribble(), headers=headers, timeout=20).status_code
        )
    )
    thread.start()
    holding.wait(5)
    refused = eventually(
        lambda: post(world, api, world.provider, archive(*blocks(1))),
        lambda answer: answer.status_code == 503,
    )
    assert "no place got free" in refused.json()["detail"]
    go.set()
    thread.join()
    assert answers == [204]


def test_many_upload_the_same_block_at_once(world: World, api: MarketApi) -> None:
    body, codes = archive(*blocks(3)), list[int]()
    signers = [world.submitter, world.provider, world.other] * 4
    threads = [
        threading.Thread(target=lambda each=each: codes.append(post(world, api, each, body).status_code))
        for each in signers
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert codes == [204] * len(signers)
    assert kept(world) == 3


# Expiry.


def later(world: World, days: float) -> None:
    world.chain.advance(int(days * DAY))


def test_content_expires_its_days_after_its_last_upload(
    world: World, running: tuple[Market, MarketApi]
) -> None:
    market, api = running
    old, renewed, shared = blocks(3)
    api.upload(world.submitter, archive(old, renewed, shared))
    later(world, 10)
    api.missing(world.submitter, [renewed.cid])
    api.upload(world.provider, archive(shared))
    assert market.uploads.expire() == 0
    later(world, 4)
    assert market.uploads.expire() == 2
    # What somebody else holds stays; what nobody holds is off the disk.
    assert [serves(api, each) for each in (old, renewed, shared)] == [False, True, True]
    assert kept(world) == 2
    later(world, 10)
    assert market.uploads.expire() == 2
    assert kept(world) == 0


@pytest.mark.parametrize("running", [{"upload_account_bytes": PAGE}], indirect=True)
def test_what_expired_makes_room(world: World, running: tuple[Market, MarketApi]) -> None:
    market, api = running
    api.upload(world.submitter, archive(*blocks(1)))
    later(world, 14)
    assert market.uploads.expire() == 1
    api.upload(world.submitter, archive(*blocks(1)))


def test_nothing_of_a_party_expires_before_its_job_is_closed_and_the_days_after(
    world: World, running: tuple[Market, MarketApi]
) -> None:
    market, api = running
    id_ = world.id(awarded(world, api, challenge_seconds=20 * DAY))
    result, other = blocks(2)
    api.upload(world.provider, archive(result))
    api.upload(world.other, archive(other))
    (terms,) = [each.terms for each in world.chain.events(0, 1 << 30, id_) if isinstance(each, JobAwarded)]
    world.chain.deliver(world.provider, id_, terms, result.cid.digest)
    until(lambda: api.job(id_), "Delivered")
    later(world, 20)
    assert market.uploads.expire() == 1
    assert [serves(api, each) for each in (result, other)] == [True, False]
    world.chain.settle(world.other, id_, terms.delivered(result.cid.digest, Timestamp(NOW + 20 * DAY)))
    until(lambda: api.job(id_), "Paid")
    later(world, 13)
    assert market.uploads.expire() == 0
    later(world, 2)
    assert market.uploads.expire() == 1
    assert kept(world) == 0


def test_a_restarted_market_counts_what_it_holds(world: World) -> None:
    rules = replace(RULES, upload_account_bytes=2 * PAGE)
    with world.served(rules) as api:
        api.upload(world.submitter, archive(*blocks(2)))
    with world.served(rules) as api, pytest.raises(WrongRequest, match="holds 8192 bytes"):
        api.upload(world.submitter, archive(*blocks(1)))
