"""A real chain for tests: one Anvil and one escrow per session, rolled back after each test; and the model beside it."""

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from eth_utils.crypto import keccak

from deai.chain import Chain
from deai.deployment import Deployment
from deai.errors import ChainUnavailable
from deai.job import Address, Timestamp, Wei
from deai.journal import Journal
from deai.localnet import Program, anvil_binary, free_port, local_account
from deai.testing import MemoryChain
from deai.web3_chain import Web3Chain
from tests.lives import CAST

CHECKOUT = Path(__file__).resolve().parents[2]
START = Timestamp(2_000_000_000)
"""The chain's time when a test begins: ahead of any wall clock, so that nothing depends on one."""

RICH = Wei(10**24)
"""What each account of the cast holds of DAI outside the escrow."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node's JSON-RPC, the part that only tests may use."""

    rpc: str

    def __call__(self, method: str, *params: object) -> Any:
        """The result. Raises ChainUnavailable with the node's complaint."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.rpc, body, {"Content-Type": "application/json"})  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                answer = json.load(response)
        except OSError as error:
            raise ChainUnavailable(str(error)) from error
        if "error" in answer:
            raise ChainUnavailable(f"{method}: {answer['error']}")
        return answer["result"]

    def send(self, sender: str, to: str, signature: str, *words: str | int) -> None:
        """A transaction by one of the node's own accounts, or by one it may impersonate; static arguments only."""
        parts = (
            bytes.fromhex(word[2:]).rjust(32, b"\0") if isinstance(word, str) else word.to_bytes(32)
            for word in words
        )
        data = "0x" + (keccak(text=signature)[:4] + b"".join(parts)).hex()
        self.mined({"from": sender, "to": to, "data": data})

    def mined(self, transaction: dict[str, str]) -> dict[str, Any]:
        """The receipt of a transaction by one of the node's own accounts."""
        tx = self("eth_sendTransaction", transaction)
        while (receipt := self("eth_getTransactionReceipt", tx)) is None:
            time.sleep(0.002)
        if receipt["status"] != "0x1":
            raise ChainUnavailable(f"{transaction}: reverted")
        found: dict[str, Any] = receipt
        return found


class Ground(Protocol):
    """A chain on which a test stands, with a hand on its clock."""

    chain: Chain
    deployment: Deployment

    def at(self, time: int) -> None:
        """The next transaction's block has this time."""

    def mine(self, blocks: int = 1) -> None:
        """Mines empty blocks."""

    def mint(self, account: Address, amount: Wei) -> None:
        """Gives DAI."""

    def reorg(self, depth: int) -> None:
        """Replaces the last `depth` blocks by empty ones."""


class MemoryGround:
    """The model, rich cast included."""

    def __init__(self, chain: MemoryChain | None = None) -> None:
        self.chain = chain or MemoryChain(now=START)
        self.deployment = self.chain.deployment()
        for account in CAST.all():
            self.mint(Address(account.address), RICH)

    def at(self, time: int) -> None:
        self.chain.now = Timestamp(time)

    def mine(self, blocks: int = 1) -> None:
        self.chain.mine(blocks)

    def mint(self, account: Address, amount: Wei) -> None:
        self.chain.mint(self.deployment.token("DAI").address, account, amount)

    def reorg(self, depth: int) -> None:
        self.chain.reorg(depth)


class AnvilGround:
    """The contract on Anvil."""

    def __init__(self, node: Node, deployment: Deployment, journal: Journal) -> None:
        self.node, self.deployment, self.journal = node, deployment, journal
        self.chain = Web3Chain(node.rpc, deployment, journal=journal)

    def at(self, time: int) -> None:
        self.node("evm_setNextBlockTimestamp", time)

    def mine(self, blocks: int = 1) -> None:
        self.node("anvil_mine", hex(blocks))

    def mint(self, account: Address, amount: Wei) -> None:
        minter = local_account(0).address
        self.node.send(minter, self.deployment.token("DAI").address, "mint(address,uint256)", account, amount)

    def reorg(self, depth: int) -> None:
        self.node("anvil_reorg", depth, [])


@contextmanager
def started(folder: Path, *options: str) -> Iterator[Node]:
    """A node. Fails, saying what to run, where Anvil is not installed."""
    port = free_port()
    command = [
        str(anvil_binary(CHECKOUT)),
        "--port",
        str(port),
        "--hardfork",
        "cancun",
        "--chain-id",
        "31337",
        *options,
    ]
    program = Program("anvil", command, folder / "anvil.log")
    node = Node(f"http://127.0.0.1:{port}")
    try:
        program.wait_for(lambda: _answers(node), ChainUnavailable)
        yield node
    finally:
        program.stop()


def deployed(anvil: Node, folder: Path) -> Deployment:
    """The escrow and DAI, deployed as users deploy them, and the cast."""
    out = folder / "deployment.json"
    script = [sys.executable, str(CHECKOUT / "scripts" / "deploy.py")]
    arguments = ["--rpc", anvil.rpc, "--out", str(out), "--test-token", "DAI"]
    done = subprocess.run([*script, *arguments], capture_output=True, text=True, check=False, cwd=CHECKOUT)
    assert done.returncode == 0, f"scripts/deploy.py: {done.stdout}{done.stderr}"
    return peopled(anvil, Deployment.load(out))


def peopled(anvil: Node, deployment: Deployment) -> Deployment:
    """The cast is rich now, and trusts the escrow with its DAI."""
    token = deployment.token("DAI").address
    for account in CAST.all():
        anvil.send(account.address, token, "mint(address,uint256)", account.address, RICH)
        anvil.send(account.address, token, "approve(address,uint256)", deployment.contract, (1 << 256) - 1)
    anvil("evm_setNextBlockTimestamp", START)
    anvil("evm_mine")
    return deployment


@pytest.fixture(scope="session")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node of this session's own."""
    with started(tmp_path_factory.mktemp("anvil")) as node:
        yield node


@pytest.fixture(scope="session")
def deployment(anvil: Node, tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """The escrow on it."""
    return deployed(anvil, tmp_path_factory.mktemp("deployment"))


@pytest.fixture
def anvil_ground(anvil: Node, deployment: Deployment) -> Iterator[AnvilGround]:
    """The contract on Anvil, as it was deployed; rolled back after the test."""
    snapshot = anvil("evm_snapshot")
    with Journal.throwaway() as journal:
        yield AnvilGround(anvil, deployment, journal)
    assert anvil("evm_revert", snapshot)


@pytest.fixture
def memory_ground() -> MemoryGround:
    """The model."""
    return MemoryGround()


@pytest.fixture(params=["memory", "anvil"])
def ground(request: pytest.FixtureRequest) -> Ground:
    """The model and the contract, one after the other: a test of both."""
    found: Ground = request.getfixturevalue(f"{request.param}_ground")
    return found


def _answers(node: Node) -> bool:
    try:
        return bool(node("eth_chainId"))
    except ChainUnavailable:
        return False
