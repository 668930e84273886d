"""Content between parties that have nothing in common but a market; and sources that lie, fail, or know nothing."""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from socket import socket
from threading import Event, Thread
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount

from deai import unixfs
from deai.cid import Cid, Codec
from deai.content import Content, open_store, opened
from deai.errors import (
    BadContent,
    BadField,
    ContentMissing,
    MarketUnavailable,
    StoreUnavailable,
    WrongRequest,
)
from deai.gateway_store import GatewayStore
from deai.kubo_store import KuboStore
from deai.local_store import LocalStore
from deai.market_api import MarketApi
from deai.settings import ContentSettings
from deai.upload import Uploader
from tests.adapters.store_fixtures import CID, DATA, answer, gateway, raw
from tests.kubo import Kubo
from tests.market_world import RULES, World, account

MIB = 1 << 20


class Party:
    """Somebody with an account and a disk."""

    def __init__(self, folder: Path, api: MarketApi, account: LocalAccount) -> None:
        self.folder = folder
        self.own = LocalStore(folder / "store")
        self.content = Content(self.own, [GatewayStore(api.url)], Uploader(api, account))

    def add(self, files: dict[str, bytes]) -> Cid:
        source = self.folder / f"source-{len(list(self.folder.iterdir()))}"
        for name, data in files.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(data)
        root = unixfs.add(source, self.content)
        self.content.pin(root)
        return root

    def fetch(self, root: Cid) -> dict[str, bytes]:
        target = self.folder / f"fetched-{root}"
        unixfs.fetch(self.content, root, target)
        return {
            str(each.relative_to(target)): each.read_bytes() for each in target.rglob("*") if each.is_file()
        }


@pytest.fixture
def party(tmp_path: Path, world: World, api: MarketApi) -> Iterator[Callable[[LocalAccount], Party]]:
    made = list[Party]()

    def make(signer: LocalAccount) -> Party:
        made.append(Party(tmp_path / f"party{len(made)}", api, signer))
        return made[-1]

    yield make
    for each in made:
        each.content.close()


def counted(api: MarketApi) -> list[int]:
    """The sizes of the uploads from now on."""
    sizes, upload = list[int](), api.upload

    def count(account: LocalAccount, archive: bytes, seconds: float = math.inf) -> None:
        sizes.append(len(archive))
        upload(account, archive, seconds)

    api.upload = count  # type: ignore[method-assign]
    return sizes


def test_inputs_and_results_travel_by_the_market_alone(
    world: World, api: MarketApi, party: Callable[[LocalAccount], Party]
) -> None:
    submitter, provider = party(world.submitter), party(world.provider)
    inputs = {"main.py": b"print(1)", "data/large.bin": os.urandom(5 * MIB + 17), "data/empty": b""}
    root = submitter.add(inputs)
    with pytest.raises(ContentMissing):
        provider.fetch(root)
    assert submitter.content.share(root)
    assert provider.fetch(root) == inputs
    # It is on its way into a file, so it is not kept a second time.
    assert not provider.own.has(root)

    result = {"exit.json": b"{}", "weights/all.bin": os.urandom(3 * MIB)}
    delivered = provider.add(result)
    assert provider.content.share(delivered)
    assert submitter.fetch(delivered) == result


def test_what_is_there_is_not_sent_again_and_an_ended_upload_goes_on(
    world: World, api: MarketApi, party: Callable[[LocalAccount], Party]
) -> None:
    submitter, sizes = party(world.submitter), counted(api)
    root = submitter.add({"large.bin": os.urandom(10 * MIB), "small": b"small"})
    asked = iter([True, True, False])
    assert not submitter.content.share(root, lambda: next(asked))
    assert len(sizes) == 1
    assert 4 * MIB <= sizes[0] < 6 * MIB
    # The root goes last: who finds it there finds everything.
    assert api.missing(world.submitter, [root]) == [root]
    assert submitter.content.share(root)
    assert sum(sizes) < 10 * MIB + 4_096
    sent = len(sizes)
    assert submitter.content.share(root)
    assert len(sizes) == sent
    changed = submitter.add({"large.bin": submitter.fetch(root)["large.bin"], "small": b"other"})
    assert submitter.content.share(changed)
    assert sum(sizes[sent:]) < 4_096


def test_what_lies_at_a_gateway_only_is_brought_to_the_market(
    world: World, api: MarketApi, party: Callable[[LocalAccount], Party], tmp_path: Path
) -> None:
    elsewhere = LocalStore(tmp_path / "elsewhere")
    root = unixfs.add_bytes(os.urandom(MIB + 1), elsewhere)
    submitter = party(world.submitter)
    with closing(
        Content(submitter.own, [GatewayStore(api.url), elsewhere], Uploader(api, world.submitter))
    ) as content:
        assert content.share(root)
    assert unixfs.read(party(world.provider).content, root, 2 * MIB) == unixfs.read(elsewhere, root, 2 * MIB)


def test_a_refusal_of_the_market_is_said_and_the_content_stays(
    world: World, api: MarketApi, party: Callable[[LocalAccount], Party]
) -> None:
    stranger = party(account(99))
    root = stranger.add({"file": b"mine"})
    with pytest.raises(WrongRequest, match="deposit first"):
        stranger.content.share(root)
    assert stranger.fetch(root) == {"file": b"mine"}


def test_a_market_that_is_away_is_said_and_the_upload_works_once_it_is_back(
    world: World, tmp_path: Path
) -> None:
    own = LocalStore(tmp_path / "own")
    root = unixfs.add_bytes(b"result", own)
    with world.api("http://127.0.0.1:1") as away, pytest.raises(MarketUnavailable):
        Content(own, [], Uploader(away, world.provider)).share(root)
    with world.served() as api:
        assert Content(own, [], Uploader(api, world.provider)).share(root)
        assert api.missing(world.provider, [root]) == []


def test_who_shares_nothing_is_done_at_once(tmp_path: Path) -> None:
    assert Content(LocalStore(tmp_path)).share(Cid.of(b"absent", Codec.RAW))


def test_an_upload_of_the_whole_quota_leaves_orders_working(world: World, tmp_path: Path) -> None:
    own = LocalStore(tmp_path / "own")
    root = unixfs.add_bytes(os.urandom(3 * MIB), own)
    with world.served(replace(RULES, upload_account_bytes=MIB)) as api:
        with pytest.raises(WrongRequest, match="its quota is 1048576"):
            Content(own, [], Uploader(api, world.submitter)).share(root)
        assert api.submit(world.order()).state == "Signed"


# Sources.


def test_a_hostile_gateway_is_passed_over_and_not_asked_first_again(world: World, tmp_path: Path) -> None:
    first, second = raw(b"first"), raw(b"second")
    world.store.put([first, second])
    asked = list[bytes]()

    def lie(connection: socket, head: bytes) -> None:
        asked.append(head)
        connection.sendall(answer(body=b"other bytes"))

    with world.served() as api, gateway(lie) as liar:
        sources = [GatewayStore(liar), GatewayStore(api.url)]
        with closing(Content(LocalStore(tmp_path / "own"), sources)) as content:
            assert [content.get(each.cid) for each in (first, second)] == [b"first", b"second"]
    assert len(asked) == 1


def test_a_source_that_is_away_costs_one_try_not_one_for_each_block(world: World, tmp_path: Path) -> None:
    stored = [raw(bytes([number])) for number in range(20)]
    world.store.put(stored)
    asked = list[bytes]()

    def stall(_: socket, head: bytes) -> None:
        asked.append(head)
        time.sleep(2)

    with world.served() as api, gateway(stall) as staller:
        sources = [GatewayStore(staller, seconds=0.3), GatewayStore(api.url)]
        with closing(Content(LocalStore(tmp_path / "own"), sources)) as content:
            assert [content.get(each.cid) for each in stored] == [each.data for each in stored]
    assert len(asked) == 1


def test_when_all_sources_lie_the_block_is_missing_and_each_lie_is_told(tmp_path: Path) -> None:
    def lie(connection: socket, _: bytes) -> None:
        connection.sendall(answer(body=b"other bytes"))

    with gateway(lie) as one, gateway(lie) as two:
        sources = [GatewayStore(one), GatewayStore(two)]
        with closing(Content(LocalStore(tmp_path / "own"), sources)) as content:
            with pytest.raises(ContentMissing) as told:
                content.get(CID)
            assert str(told.value).count("sent other bytes") == 2
            with pytest.raises(ContentMissing):
                unixfs.fetch(content, CID, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_when_no_source_answers_that_is_said_and_trying_again_may_help(tmp_path: Path) -> None:
    dead = [GatewayStore("http://127.0.0.1:1"), GatewayStore("http://127.0.0.1:2")]
    with closing(Content(LocalStore(tmp_path / "own"), dead)) as content:
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1.*127\.0\.0\.1:2"):
            content.get(CID)
        with pytest.raises(StoreUnavailable):
            content.has(CID)


def test_one_source_that_has_nothing_is_enough_to_call_a_block_missing(world: World, tmp_path: Path) -> None:
    with world.served() as api:
        sources = [GatewayStore("http://127.0.0.1:1"), GatewayStore(api.url)]
        with closing(Content(LocalStore(tmp_path / "own"), sources)) as content:
            assert not content.has(CID)
            with pytest.raises(ContentMissing):
                content.get(CID)


def test_a_block_damaged_on_the_own_disk_is_read_elsewhere_and_named_when_nobody_has_it(
    world: World, tmp_path: Path
) -> None:
    own = LocalStore(tmp_path / "own")
    own.put([raw(DATA)])
    (file,) = (each for each in (tmp_path / "own" / "blocks").rglob("*") if each.is_file())
    file.write_bytes(b"spoilt")
    with world.served() as api, closing(Content(own, [GatewayStore(api.url)])) as content:
        with pytest.raises(BadContent, match="corrupt"):
            content.get(CID)
        world.store.put([raw(DATA)])
        assert content.get(CID) == DATA


# Settings.


def settings(**given: Any) -> ContentSettings:
    return ContentSettings(**{"gateways": (), "share": None, **given})


@pytest.mark.parametrize("text", ["", "ftp://127.0.0.1", "file:///srv/store"])
def test_a_store_that_is_neither_folder_nor_kubo_is_refused_by_the_settings_name(text: str) -> None:
    with pytest.raises(BadField, match=r"DEAI_STORE: .*neither a folder nor the address of a Kubo node"):
        open_store(text, "DEAI_STORE")


@pytest.mark.parametrize("text", ["http://", "/ip4/nonsense"])
def test_an_address_that_is_none_is_refused_by_the_settings_name(text: str) -> None:
    with pytest.raises(BadField, match="DEAI_PROVIDER_STORE"):
        open_store(text, "DEAI_PROVIDER_STORE")


def test_a_gateway_that_is_no_url_is_refused_by_the_settings_name(
    world: World, api: MarketApi, tmp_path: Path
) -> None:
    given = settings(store=str(tmp_path), gateways=("example.org",))
    with (
        pytest.raises(BadField, match=r"DEAI_GATEWAYS: 'example\.org'"),
        opened(given, api, world.submitter),
    ):
        pass


def test_a_folder_is_shared_unless_told_otherwise_and_a_kubo_node_only_when_told(
    world: World, api: MarketApi, tmp_path: Path
) -> None:
    def asks(**given: Any) -> bool:
        with opened(settings(**given), api, world.submitter) as content:
            return not content.share(CID, lambda: False)

    folder, kubo = str(tmp_path / "own"), "/ip4/127.0.0.1/tcp/1"
    assert asks(store=folder)
    assert not asks(store=folder, share="no")
    assert not asks(store=kubo)
    assert asks(store=kubo, share="market")


def test_a_kubo_of_ones_own_is_a_store_like_any_other_and_others_read_it_by_the_market(
    world: World, api: MarketApi, kubo: Kubo, tmp_path: Path
) -> None:
    given = settings(store=kubo.address, share="market")
    with opened(given, api, world.provider) as content:
        assert isinstance(content.own, KuboStore)
        data = os.urandom(2 * MIB)
        root = unixfs.add_bytes(data, content)
        content.pin(root)
        assert content.share(root)
    with opened(settings(store=str(tmp_path / "own")), api, world.submitter) as other:
        assert unixfs.read(other, root, 3 * MIB) == data


def test_a_market_that_never_answers_keeps_a_party_no_longer_than_it_says(
    world: World, tmp_path: Path
) -> None:
    own = LocalStore(tmp_path / "own")
    root = unixfs.add_bytes(b"a result", own)
    with gateway(lambda *_: time.sleep(1.5)) as url, world.api(url) as api:
        content = Content(own, [], Uploader(api, world.provider))
        began = time.monotonic()
        with pytest.raises(MarketUnavailable):
            content.share(root, seconds=0.3)
        assert not content.share(root, seconds=0)
        assert time.monotonic() - began < 1.2


def test_whoever_waits_for_another_upload_still_asks_whether_to_go_on(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = LocalStore(tmp_path / "own")
    root = unixfs.add_bytes(b"a result", own)
    over, sending = Event(), Event()

    def upload(*_: object) -> None:
        sending.set()
        over.wait(30)

    with world.served() as api:
        monkeypatch.setattr(api, "upload", upload)
        content = Content(own, [], Uploader(api, world.provider))
        first = Thread(target=content.share, args=(root,))
        first.start()
        assert sending.wait(5)
        asked = iter([True, True, False])
        assert not content.share(root, lambda: next(asked))
        assert not content.share(root, seconds=2)
        over.set()
        first.join()
