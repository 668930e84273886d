"""What lies on a submitter's disk: keys, orders, names of images, settings."""

import json
from pathlib import Path

import pytest
from eth_account import Account

from deai import keys
from deai.cid import Cid, Codec
from deai.deployment import Deployment
from deai.errors import BadField, KeyUnusable, WrongRequest
from deai.home import Home
from deai.job import JobId
from deai.settings import Settings, load


def test_a_key_opens_with_its_password_only_and_is_nowhere_in_the_clear(tmp_path: Path) -> None:
    account = Account.create()
    path = keys.save(account, tmp_path, "mine", "secret", light=True)

    assert keys.unlock(path, "secret").key == account.key
    assert account.key.hex() not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(KeyUnusable, match=r"mine\.json"):
        keys.unlock(path, "guess")


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = keys.save(Account.create(), tmp_path, "mine", "secret", light=True)
    before = path.read_bytes()
    with pytest.raises(BadField, match="mine"):
        keys.save(Account.create(), tmp_path, "mine", "secret", light=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["", "../mine", "a/b", "a b", "."])
def test_a_key_name_that_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadField):
        keys.save(Account.create(), tmp_path, name, "secret", light=True)


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"address": 5}', "{"])
def test_a_file_that_is_no_keystore_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "odd.json").write_text(text)
    with pytest.raises(KeyUnusable, match=r"odd\.json"):
        keys.unlock(tmp_path / "odd.json", "secret")
    with pytest.raises(KeyUnusable, match=r"odd\.json"):
        keys.listing(tmp_path)


@pytest.mark.parametrize(
    "data", [b"\xff\xfe\x00", b'{"version": 9, "crypto": {}}', b'{"version": 1, "crypto": {}}']
)
def test_a_keystore_of_an_odd_kind_does_not_open(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "odd.json").write_bytes(data)
    with pytest.raises(KeyUnusable, match=r"odd\.json"):
        keys.unlock(tmp_path / "odd.json", "secret")


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="deai keys new"):
        keys.unlock(tmp_path / "none.json", "secret")


def test_listing_needs_no_password(tmp_path: Path) -> None:
    account = Account.create()
    keys.save(account, tmp_path, "mine", "secret", light=True)
    assert keys.listing(tmp_path) == [("mine", account.address)]


def test_names_of_images_are_remembered(tmp_path: Path) -> None:
    home, cid = Home(tmp_path / "home"), Cid.of(b"image", Codec.RAW)
    assert home.images() == {}
    home.name_image("a:1", cid)
    home.name_image("b:2", cid)
    assert Home(tmp_path / "home").images() == {"a:1": str(cid), "b:2": str(cid)}


def test_an_order_is_found_by_the_start_of_its_id_if_that_is_one_order_only(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (tmp_path / "orders").mkdir()
    ids = [JobId("0x" + "ab" * 32), JobId("0x" + "ab" * 31 + "cd"), JobId("0x" + "ef" * 32)]
    for each in ids:
        (tmp_path / "orders" / f"{each}.json").write_text("{}")
    assert home.find("0xefefef") == ids[2]
    assert home.find("0x" + "12" * 32) == "0x" + "12" * 32
    for prefix in ("0xababab", "0xef", "0x000000", "", "0x" + "zz" * 32):
        with pytest.raises(BadField):
            home.find(prefix)
    with pytest.raises(BadField, match="not a copy of an order"):
        home.order(ids[0])


def test_all_missing_settings_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"DEAI_{name.upper()}", raising=False)
    with pytest.raises(WrongRequest) as raised:
        load(Settings)
    for name in ("RPC", "DEPLOYMENT", "MARKET", "STORE"):
        assert f"DEAI_{name} is not set" in str(raised.value)


def test_a_deployment_file_that_is_wrong_is_named(tmp_path: Path) -> None:
    path = tmp_path / "deployment.json"
    with pytest.raises(BadField, match=r"deployment\.json"):
        Deployment.load(path)
    path.write_text(json.dumps({"chain_id": 1, "contract": "0x1234", "block": 0}))
    with pytest.raises(BadField, match="contract"):
        Deployment.load(path)
