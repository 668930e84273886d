"""`deai-market` as its operator runs it, on a real node."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from eth_account import Account

from deai import keys
from deai.deployment import Deployment
from deai.market_api import MarketApi
from tests.adapters.chain_fixtures import Node

PASSWORD = "a password of this test"


@pytest.fixture
def environment(anvil: Node, deployment: Deployment, tmp_path: Path) -> dict[str, str]:
    """All settings, right."""
    key = keys.save(Account.create(), tmp_path / "keys", "market", PASSWORD, light=True)
    (tmp_path / "password").write_text(PASSWORD + "\n")
    (tmp_path / "deployment.json").write_text(deployment.model_dump_json())
    settings = {
        "RPC": anvil.rpc,
        "DEPLOYMENT": tmp_path / "deployment.json",
        "STORE": tmp_path / "store",
        "DATA": tmp_path / "data",
        "KEY": key,
        "PASSWORD_FILE": tmp_path / "password",
        "PORT": 0,
        "LOW_GAS": 0,  # its key is new, and has none
    }
    plain = {name: value for name, value in os.environ.items() if not name.startswith("DEAI_")}
    return {**plain, **{f"DEAI_MARKET_{name}": str(value) for name, value in settings.items()}}


def start(environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [str(Path(sys.executable).with_name("deai-market"))]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)


def fail(environment: dict[str, str]) -> tuple[int, list[str]]:
    """The exit code, and the lines it said, of a market that cannot start."""
    with start(environment) as program:
        _, said = program.communicate(timeout=60)
    return program.returncode, said.strip().splitlines()


@pytest.mark.parametrize("ends", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_serves_and_stops_when_told(
    environment: dict[str, str], deployment: Deployment, ends: signal.Signals
) -> None:
    with start(environment) as program:
        assert program.stderr is not None
        line = program.stderr.readline()
        found = re.search(r"listening on (http://127\.0\.0\.1:\d+)$", line.strip())
        assert found, line
        with MarketApi(found[1], deployment.domain) as api:
            assert api.info().contract == deployment.contract
            for _ in range(500):
                if api.health().head >= deployment.block:
                    break
                time.sleep(0.01)
            assert api.health().head >= deployment.block
        program.send_signal(ends)
        assert program.wait(20) == 0
        assert [each.split(" ", 3)[-1] for each in program.stderr.read().splitlines()] == ["stopped"]


def test_everything_that_is_missing_is_named_in_one_line(environment: dict[str, str]) -> None:
    for name in ("RPC", "KEY", "DATA"):
        del environment[f"DEAI_MARKET_{name}"]
    code, said = fail(environment)
    assert (code, len(said)) == (2, 1)
    assert all(f"DEAI_MARKET_{name} is not set" in said[0] for name in ("RPC", "KEY", "DATA"))


@pytest.mark.parametrize(
    ("name", "value", "code", "word"),
    [
        ("RPC", "http://127.0.0.1:1", 3, "http://127.0.0.1:1"),
        ("DEPLOYMENT", "/nowhere/deployment.json", 2, "/nowhere/deployment.json"),
        ("PASSWORD_FILE", "/nowhere/password", 2, "/nowhere/password"),
        ("KEY", "/nowhere/key.json", 2, "/nowhere/key.json"),
        ("HOST", "203.0.113.7", 2, "203.0.113.7"),
        ("PORT", "70000", 2, "DEAI_MARKET_PORT"),
    ],
)
def test_a_wrong_setting_ends_in_one_line_and_the_right_code(
    environment: dict[str, str], name: str, value: str, code: int, word: str
) -> None:
    ended, said = fail({**environment, f"DEAI_MARKET_{name}": value})
    assert (ended, len(said)) == (code, 1), said
    assert word in said[0]


def test_a_wrong_password_ends_in_one_line(environment: dict[str, str]) -> None:
    Path(environment["DEAI_MARKET_PASSWORD_FILE"]).write_text("another")
    code, said = fail(environment)
    assert (code, len(said)) == (2, 1)
    assert "does not open" in said[0]
