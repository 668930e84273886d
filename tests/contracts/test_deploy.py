"""scripts/deploy.py on real nodes, and the artifacts it deploys."""

import io
import json
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from conftest import CHECKOUT, LOCAL_CHAIN_ID, anvil

import deploy
from deai import keys
from deai.anvil import AnvilNode
from deai.artifacts import artifact
from deai.codec import Codec
from deai.deployment import Deployment
from deai.errors import BadField
from deai.job import ZERO_ADDRESS, Address
from deai.localnet import free_port, local_account
from deai.web3_chain import Web3Chain
from deploy import CREATE2_DEPLOYER, PanelRules

MOST_BYTES = 24_576
"""EIP-170."""
_RULE_VIEWS = ("market", "stakeToken", "feeToken", "seatStake", "seatFee")


@dataclass(frozen=True, slots=True)
class Done:
    """What a deployment answered."""

    code: int
    output: str
    errors: str

    def summary(self) -> dict[str, Any]:
        assert self.code == 0, self.errors
        found: dict[str, Any] = json.loads(self.output.splitlines()[-1])
        return found

    def refusal(self) -> str:
        """The one line it said instead of doing anything."""
        assert (self.code, self.errors.count("\n")) == (2, 1), self.errors
        return self.errors


def _deploy(*arguments: object) -> Done:
    """The command's work in this process, as Brownie takes seconds to import."""
    output, errors = io.StringIO(), io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(output), redirect_stderr(errors):
        warnings.simplefilter("ignore")  # Brownie's own
        code = deploy.main([str(each) for each in arguments])
    return Done(code, output.getvalue(), errors.getvalue())


def _program(*arguments: object) -> Done:
    """The command itself."""
    command = [sys.executable, str(CHECKOUT / "scripts" / "deploy.py"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr)


def _receipts(node: AnvilNode) -> list[int]:
    """The gas of every transaction there is, in order."""
    blocks = (
        node.call("eth_getBlockByNumber", hex(number), False)
        for number in range(int(node.call("eth_blockNumber"), 16) + 1)
    )
    sent = (each for block in blocks for each in block["transactions"])
    return [int(node.call("eth_getTransactionReceipt", each)["gasUsed"], 16) for each in sent]


def _asked(node: AnvilNode, panel: Address, view: str) -> object:
    codec = Codec(artifact("Panel").abi)
    return codec.answer(view, node.call("eth_call", {"to": panel, "data": codec.call(view)}, "latest"))[0]


def test_a_deployment_to_the_local_chain_is_what_the_client_speaks_to(node: str, tmp_path: Path) -> None:
    out = tmp_path / "deployment.json"
    summary = _program("--rpc", node, "--out", out, "--test-token", "DAI").summary()
    deployment = Deployment.load(out)
    assert summary["deployment"] == deployment.model_dump(mode="json")
    assert set(summary["gas"]) == {"JobMarket", "TestToken"}
    chain = Web3Chain(node, deployment)
    assert chain.contract == deployment.contract
    assert chain.burned(deployment.token("DAI").address) == 0
    assert chain.events(deployment.block, chain.head().number) == []


RULES = {
    "stake_token": "DAI",
    "fee_token": "DAI",
    "seat_stake": 100 * 10**18,
    "seat_fee": 10**18,
    "pace": {
        "draw_blocks": 2,
        "open_seconds": 60,
        "draw_seconds": 600,
        "cure_seconds": 60,
        "vote_seconds": 600,
        "reveal_seconds": 300,
        "unstake_seconds": 864_000,
    },
}
PACE = cast("dict[str, int]", RULES["pace"])
LONGEST_CASE = 3 * (600 + 60 + 600 + 300)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """A file with a panel's rules."""
    path = tmp_path / "panel.json"
    path.write_text(json.dumps(RULES))
    return path


def test_a_dry_run_tells_addresses_and_cost_and_sends_nothing(tmp_path: Path, rules: Path) -> None:
    out = tmp_path / "deployment.json"
    arguments = ("--out", out, "--test-token", "DAI", "--panel", rules)
    with anvil(tmp_path, LOCAL_CHAIN_ID) as rpc:
        node = AnvilNode(rpc)
        dry = _deploy("--rpc", rpc, *arguments, "--dry-run").summary()
        assert (out.exists(), node.call("eth_blockNumber")) == (False, "0x0")
        assert dry["cost"] == sum(dry["gas"].values()) * dry["gas_price"] > 0
        done = _deploy("--rpc", rpc, *arguments).summary()
        receipts = _receipts(node)
        deployment = Deployment.load(out)
        assert deployment.panel is not None
        ruled = [_asked(node, deployment.panel, view) for view in _RULE_VIEWS]
    assert done["addresses"] == dry["addresses"]
    assert len(receipts) == len(dry["gas"]) == 4
    for estimate, used in zip(dry["gas"].values(), receipts, strict=True):
        assert used <= estimate < used + 200_000
    token = deployment.token("DAI").address
    assert deployment.contract == done["addresses"]["JobMarket"]
    assert (deployment.panel, deployment.panel_stake_token) == (done["addresses"]["Panel"], token)
    assert ruled == [deployment.contract, token, token, RULES["seat_stake"], RULES["seat_fee"]]


def test_addresses_follow_from_the_code_alone_and_what_stands_there_is_used(tmp_path: Path) -> None:
    out = tmp_path / "deployment.json"
    with anvil(tmp_path, LOCAL_CHAIN_ID) as rpc:
        first = _deploy("--rpc", rpc, "--out", out).summary()
        for _ in range(3):
            AnvilNode(rpc).call("evm_mine")
        again = _deploy("--rpc", rpc, "--out", out).summary()
    assert first["deterministic"]
    assert first["gas"]["JobMarket"] > again["gas"]["JobMarket"] == 0
    assert again["deployment"] == first["deployment"]
    with anvil(tmp_path, chain_id=7) as rpc:
        elsewhere = _deploy("--rpc", rpc, "--out", out, "--dry-run").summary()
    assert elsewhere["addresses"] == first["addresses"]


def test_without_the_deployer_contract_addresses_follow_from_the_sender(tmp_path: Path) -> None:
    out = tmp_path / "deployment.json"
    with anvil(tmp_path, LOCAL_CHAIN_ID) as rpc:
        AnvilNode(rpc).call("anvil_setCode", CREATE2_DEPLOYER, "0x")
        done = _deploy("--rpc", rpc, "--out", out, "--test-token", "DAI").summary()
        codes = [AnvilNode(rpc).call("eth_getCode", each, "latest") for each in done["addresses"].values()]
    assert not done["deterministic"]
    assert len(codes) == 2
    assert "0x" not in codes


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"seat_stake": 0}, "panel.seat_stake"),
        ({"seat_stake": 2**256}, "panel.seat_stake"),
        ({"seat_fee": 2**256}, "panel.seat_fee"),
        ({"pace": {"draw_blocks": 2}}, "panel.pace.open_seconds"),
        *(({"pace": PACE | {name: 0}}, f"panel.pace.{name}") for name in PACE),
        *(({"pace": PACE | {name: 2**32}}, f"panel.pace.{name}") for name in PACE),
        ({"pace": PACE | {"draw_blocks": -1}}, "panel.pace.draw_blocks"),
        ({"pace": PACE | {"draw_blocks": 64, "draw_seconds": 1_151}}, "panel.pace.draw_seconds"),
        ({"pace": PACE | {"unstake_seconds": LONGEST_CASE}}, "panel.pace.unstake_seconds"),
        ({"extra": 1}, "panel.extra"),
    ],
)
def test_a_wrong_rule_of_a_panel_is_named(rules: Path, change: dict[str, object], field: str) -> None:
    rules.write_text(json.dumps(RULES | change))
    with pytest.raises(BadField) as refused:
        PanelRules.load(rules)
    assert refused.value.field == field


def test_a_pace_at_the_border_of_what_can_be_judged_is_taken_by_the_panel(
    tmp_path: Path, rules: Path
) -> None:
    pace = PACE | {"draw_blocks": 33, "draw_seconds": 594, "unstake_seconds": LONGEST_CASE - 3 * 6 + 1}
    rules.write_text(json.dumps(RULES | {"pace": pace}))
    with anvil(tmp_path, LOCAL_CHAIN_ID) as rpc:
        options = ("--out", tmp_path / "deployment.json", "--test-token", "DAI", "--panel", rules)
        _deploy("--rpc", rpc, *options).summary()


NOBODY = "0x1111111111111111111111111111111111111111"


def test_a_panel_that_could_never_judge_is_refused_in_one_line_and_nothing_is_sent(
    tmp_path: Path, rules: Path
) -> None:
    out = tmp_path / "deployment.json"
    changes: dict[str, dict[str, object]] = {
        "panel.pace.unstake_seconds": {"pace": PACE | {"unstake_seconds": 1}},
        "panel.stake_token": {"stake_token": NOBODY},
        "panel.fee_token": {"fee_token": NOBODY},
    }
    with anvil(tmp_path, LOCAL_CHAIN_ID) as rpc:
        for field, change in changes.items():
            rules.write_text(json.dumps(RULES | change))
            done = _deploy("--rpc", rpc, "--out", out, "--test-token", "DAI", "--panel", rules)
            assert done.refusal().startswith(f"deploy: {field}: ")
            assert not out.exists()
        assert AnvilNode(rpc).call("eth_blockNumber") == "0x0"


def test_a_panel_may_be_paid_in_the_native_coin_but_stakes_a_token(tmp_path: Path, rules: Path) -> None:
    options = ("--out", tmp_path / "deployment.json", "--test-token", "DAI", "--panel", rules, "--dry-run")
    with anvil(tmp_path, LOCAL_CHAIN_ID) as rpc:
        rules.write_text(json.dumps(RULES | {"fee_token": ZERO_ADDRESS}))
        _deploy("--rpc", rpc, *options).summary()
        rules.write_text(json.dumps(RULES | {"stake_token": ZERO_ADDRESS}))
        refused = _deploy("--rpc", rpc, *options)
    assert refused.refusal().startswith("deploy: panel.stake_token: ")


def test_another_chain_asks_for_a_keystore_and_takes_it(tmp_path: Path) -> None:
    out, password = tmp_path / "deployment.json", tmp_path / "password"
    password.write_text("correct horse\n")
    key = keys.save(local_account(3), tmp_path / "keys", "deployer", "correct horse")
    with anvil(tmp_path, chain_id=7) as rpc:
        assert "keystore" in _deploy("--rpc", rpc, "--out", out).refusal()
        _deploy("--rpc", rpc, "--out", out, "--test-token", "DAI", "--keystore", key).refusal()
        assert not out.exists()
        _deploy("--rpc", rpc, "--out", out, "--keystore", key, "--password-file", password).summary()
    deployment = Deployment.load(out)
    assert (deployment.chain_id, deployment.tokens) == (7, ())


def test_a_dead_node_is_one_clear_line_and_nothing_is_written(tmp_path: Path) -> None:
    out = tmp_path / "deployment.json"
    rpc = f"http://127.0.0.1:{free_port()}"
    done = _program("--rpc", rpc, "--out", out)
    assert (done.code, done.output, out.exists()) == (3, "", False)
    assert done.errors.count("\n") == 1
    assert rpc in done.errors


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
    refused = _deploy("--rpc", "http://127.0.0.1:1", *placed).refusal()
    assert refused.startswith(f"deploy: {named}: ")


def test_a_key_without_coins_is_refused_in_one_line(tmp_path: Path) -> None:
    out, password = tmp_path / "deployment.json", tmp_path / "password"
    password.write_text("p")
    keys.new(tmp_path / "keys", "poor", "p")
    with anvil(tmp_path, chain_id=7) as rpc:
        options = ("--keystore", tmp_path / "keys" / "poor.json", "--password-file", password)
        _deploy("--rpc", rpc, "--out", out, *options).refusal()
    assert not out.exists()


def test_the_escrow_fits_on_every_chain() -> None:
    shipped = artifact("JobMarket")
    assert shipped.compiler["evmVersion"] == "cancun"
    assert len(bytes.fromhex(shipped.deployed_bytecode.removeprefix("0x"))) <= MOST_BYTES
