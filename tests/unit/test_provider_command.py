"""`deai-provider` and its settings: one clear line, the right exit code, nothing made on the way."""

import gc
import json
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from deai import keys
from deai.deployment import Deployment
from deai.errors import BadField, WrongRequest
from deai.job import Wei
from deai.settings import described, load
from deai.testing import DAI, MemoryChain
from deai_market.settings import Settings as MarketSettings
from deai_provider.__main__ import main
from deai_provider.ledger import Ledger, Step
from deai_provider.settings import Settings
from tests.unit.provider_world import PROVIDER, World

REQUIRED = ("RPC", "DEPLOYMENT", "MARKET", "STORE", "WORK", "KEY", "PASSWORD_FILE", "NAME", "PRICES")
ONE = 10**DAI.decimals


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    deployment = MemoryChain().deployment()
    (tmp_path / "deployment.json").write_text(deployment.model_dump_json())
    (tmp_path / "password").write_text("secret\n")
    key = keys.save(PROVIDER, tmp_path / "keys", "provider", "secret", light=True)
    values = {
        "RPC": "http://127.0.0.1:1",
        "DEPLOYMENT": tmp_path / "deployment.json",
        "MARKET": "http://127.0.0.1:2",
        "STORE": tmp_path / "store",
        "WORK": tmp_path / "work",
        "KEY": key,
        "PASSWORD_FILE": tmp_path / "password",
        "NAME": "test",
        "PRICES": '{"DAI": {"job": "0.5", "core_second": "0.001"}}',
        "MAX_BOND": '{"DAI": "50"}',
    }
    for name, value in values.items():
        monkeypatch.setenv(f"DEAI_PROVIDER_{name}", str(value))
    return monkeypatch


def deployed(tmp_path: Path) -> Deployment:
    return Deployment.load(tmp_path / "deployment.json")


def command(monkeypatch: pytest.MonkeyPatch, *args: str) -> int:
    monkeypatch.setattr("sys.argv", ["deai-provider", *args])
    with pytest.raises(SystemExit) as ended:
        main()
    # The command hides what is imported from the collector, as its process ends; this one goes on, and imports what looks for its referrers.
    gc.unfreeze()
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_prices_that_are_no_json_are_named(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DEAI_PROVIDER_PRICES", "{DAI}")
    with pytest.raises(WrongRequest, match="settings: DEAI_PROVIDER_PRICES: must be JSON"):
        load(Settings)


def test_all_that_is_missing_is_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REQUIRED:
        monkeypatch.delenv(f"DEAI_PROVIDER_{name}", raising=False)
    with pytest.raises(WrongRequest) as error:
        load(Settings)
    assert all(f"DEAI_PROVIDER_{name} is not set" in str(error.value) for name in REQUIRED)


@pytest.mark.usefixtures("environment")
def test_prices_in_tokens_become_amounts_of_the_smallest_unit(tmp_path: Path) -> None:
    rules = load(Settings).rules(deployed(tmp_path), DAI.address)
    assert rules.prices[DAI.address].job == ONE // 2
    assert rules.prices[DAI.address].core_second == ONE // 1_000
    assert rules.max_bond == {DAI.address: 50 * ONE}
    assert rules.confirm_unit == {DAI.address: ONE}
    assert rules.arbitration.max_bond == {}
    assert rules.withdraw_above == {}
    assert rules.withdraw_to == rules.provider


@pytest.mark.parametrize(
    ("name", "value", "field"),
    [
        ("PRICES", '{"XYZ": {"job": "1"}}', "XYZ"),
        ("PRICES", '{"DAI": {"job": "-1"}}', "prices.DAI.job"),
        ("MAX_BOND", '{"DAI": "1e3"}', "max_bond.DAI"),
        ("MAX_DISPUTED_BOND", '{"DAI": "-1"}', "max_disputed_bond.DAI"),
        ("WITHDRAW_ABOVE", '{"DAI": "much"}', "withdraw_above.DAI"),
        ("CONFIRM_UNIT", '{"DAI": "0"}', "confirm_unit"),
    ],
)
def test_an_amount_or_token_that_is_none_is_named(
    environment: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, field: str
) -> None:
    environment.setenv(f"DEAI_PROVIDER_{name}", value)
    with pytest.raises(BadField, match=field):
        load(Settings).rules(deployed(tmp_path), DAI.address)


def test_judges_come_from_the_deployments_panel_and_its_class_0_unless_others_are_named(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    panel = DAI.address
    deployment = deployed(tmp_path).model_copy(update={"panel": panel})
    given = load(Settings).rules(deployment, DAI.address).arbitration
    assert (given.arbiters, given.panel, given.panel_classes) == (frozenset({panel}), panel, frozenset({0}))
    environment.setenv("DEAI_PROVIDER_PANEL_CLASSES", "[1, 65535]")
    assert load(Settings).rules(deployment, DAI.address).arbitration.panel_classes == {1, 65_535}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLOTS", "0"),
        ("NAME", "../up"),
        ("PRICES", "{}"),
        ("PRICES", '{"DAI": {"hour": "1"}}'),
        ("WITHDRAW_TO", "0x12"),
        ("PANEL_CLASSES", "[-1]"),
        ("PANEL_CLASSES", "[65536]"),
    ],
)
def test_a_setting_out_of_range_is_named_with_its_value(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(f"DEAI_PROVIDER_{name}", value)
    with pytest.raises(WrongRequest, match=f"DEAI_PROVIDER_{name}"):
        load(Settings)


@pytest.mark.parametrize("settings", [Settings, MarketSettings])
def test_the_help_names_every_setting_its_default_and_what_it_is_for(settings: type[BaseSettings]) -> None:
    lines = described(settings).splitlines()

    names = [line.partition(" ")[0] for line in lines if not line.startswith(" ")]
    prefix = settings.model_config.get("env_prefix", "")
    assert names == [f"{prefix}{name}".upper() for name in settings.model_fields]
    assert f"{prefix}RPC [needed]" in lines
    assert f"{prefix}POLL_SECONDS [0.25]" in lines
    assert any(line.startswith("    The URL of a chain's node") for line in lines)


def test_run_helps_with_the_settings(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(environment, "run", "--help") == 0
    assert "DEAI_PROVIDER_PANEL_CLASSES [[0]]" in capsys.readouterr().out


def test_a_dead_node_ends_run_with_one_line_and_exit_code_3(
    environment: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(environment, "run") == 3
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("deai-provider:")]
    assert "http://127.0.0.1:1" in line
    assert not (tmp_path / "work").exists()


def test_a_wrong_password_ends_run_with_exit_code_2(
    environment: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "password").write_text("wrong")
    assert command(environment, "run") == 2
    assert "does not open" in capsys.readouterr().err


def test_status_before_the_first_run_says_that_there_is_no_ledger(
    environment: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(environment, "status") == 2
    assert "ledger" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


def test_status_shows_jobs_steps_and_earnings(
    environment: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "work").mkdir()
    world = World(tmp_path / "world")
    id_, job, signature = world.job()
    with Ledger(tmp_path / "work" / "ledger.sqlite") as ledger:
        ledger.match(id_, job, signature, world.chain.now)
        ledger.move(id_, Step.STAGING, world.chain.now, spec=world.spec(), price=Wei(ONE // 4))
        ledger.move(id_, Step.FAILED, world.chain.now, "disk full", earned=Wei(-ONE * 2))
    for name in set(REQUIRED) - {"WORK", "DEPLOYMENT"}:
        environment.delenv(f"DEAI_PROVIDER_{name}")
    assert command(environment, "status") == 0
    shown = capsys.readouterr().out
    assert "failed" in shown
    assert "0.25 DAI" in shown
    assert "disk full" in shown
    assert "earned -2 DAI" in shown
    assert command(environment, "status", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert value["earned"] == {DAI.address: str(-2 * ONE)}
    assert [(each["id"], each["step"], each["price"]) for each in value["jobs"]] == [
        (id_, "failed", str(ONE // 4))
    ]
