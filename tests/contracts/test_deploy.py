"""scripts/deploy.py on real nodes, and the artifacts it deploys."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CHECKOUT, anvil

from deai import keys
from deai.artifacts import artifact
from deai.deployment import Deployment
from deai.localnet import free_port, local_account
from deai.web3_chain import Web3Chain

MOST_BYTES = 24_576
"""EIP-170."""


def _deploy(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHECKOUT / "scripts" / "deploy.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_deployment_to_the_local_chain_is_what_the_client_speaks_to(node: str, tmp_path: Path) -> None:
    out = tmp_path / "deployment.json"
    done = _deploy("--rpc", node, "--out", out, "--test-token", "DAI")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout.splitlines()[-1])
    deployment = Deployment.load(out)
    assert summary["deployment"] == deployment.model_dump(mode="json")
    assert set(summary["gas"]) == {"JobMarket", "TestToken"}
    chain = Web3Chain(node, deployment)
    assert chain.contract == deployment.contract
    assert chain.burned(deployment.token("DAI").address) == 0
    assert chain.events(deployment.block, chain.head().number) == []


def test_another_chain_asks_for_a_keystore_and_takes_it(tmp_path: Path) -> None:
    out, password = tmp_path / "deployment.json", tmp_path / "password"
    password.write_text("correct horse\n")
    key = keys.save(local_account(3), tmp_path / "keys", "deployer", "correct horse")
    with anvil(tmp_path, chain_id=7) as rpc:
        refused = _deploy("--rpc", rpc, "--out", out)
        assert (refused.returncode, out.exists()) == (2, False)
        assert "keystore" in refused.stderr
        refused = _deploy("--rpc", rpc, "--out", out, "--test-token", "DAI", "--keystore", key)
        assert (refused.returncode, out.exists()) == (2, False)
        done = _deploy("--rpc", rpc, "--out", out, "--keystore", key, "--password-file", password)
        assert done.returncode == 0, done.stderr
    deployment = Deployment.load(out)
    assert (deployment.chain_id, deployment.tokens) == (7, ())


def test_a_dead_node_is_one_clear_line_and_nothing_is_written(tmp_path: Path) -> None:
    out = tmp_path / "deployment.json"
    rpc = f"http://127.0.0.1:{free_port()}"
    done = _deploy("--rpc", rpc, "--out", out)
    assert (done.returncode, done.stdout, out.exists()) == (3, "", False)
    assert done.stderr.count("\n") == 1
    assert rpc in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--out", "missing/deployment.json"), "out"),
        (("--out", "deployment.json", "--keystore", "none.json"), "password-file"),
        (("--out", "deployment.json", "--keystore", "none.json", "--password-file", "none"), "password-file"),
    ],
)
def test_a_wrong_argument_is_named(tmp_path: Path, arguments: tuple[str, ...], named: str) -> None:
    placed = [each if each.startswith("--") else tmp_path / each for each in arguments]
    done = _deploy("--rpc", "http://127.0.0.1:1", *placed)
    assert done.returncode == 2
    assert done.stderr.startswith(f"deploy: {named}: ")


def test_a_key_without_coins_is_refused_in_one_line(tmp_path: Path) -> None:
    out, password = tmp_path / "deployment.json", tmp_path / "password"
    password.write_text("p")
    keys.new(tmp_path / "keys", "poor", "p")
    with anvil(tmp_path, chain_id=7) as rpc:
        options = ("--keystore", tmp_path / "keys" / "poor.json", "--password-file", password)
        done = _deploy("--rpc", rpc, "--out", out, *options)
    assert (done.returncode, out.exists()) == (2, False)
    assert done.stderr.count("\n") == 1


def test_the_shipped_artifacts_match_their_sources() -> None:
    command = [sys.executable, str(CHECKOUT / "scripts" / "export_abi.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_escrow_fits_on_every_chain() -> None:
    shipped = artifact("JobMarket")
    assert shipped.compiler["evmVersion"] == "cancun"
    assert len(bytes.fromhex(shipped.deployed_bytecode.removeprefix("0x"))) <= MOST_BYTES
