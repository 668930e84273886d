"""A local chain: Anvil, found on this machine, with the escrow and a test token put on it by the node's own unlocked account.

The keys are those of Anvil's well-known mnemonic: worth nothing, and used on the local chain only.
"""

import gzip
import os
import platform
import shutil
import sys
import time
from dataclasses import astuple
from pathlib import Path
from typing import Any

import httpx
from eth_abi.abi import encode
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from deai.artifacts import ContractName, artifact
from deai.authorities import authorities
from deai.codec import Codec
from deai.deployment import Deployment, Token
from deai.errors import ChainUnavailable, WrongRequest
from deai.job import ZERO_ADDRESS, Address, Wei
from deai.panel import CasePace

LOCAL_CHAIN_ID = 31337
MNEMONIC = "test test test test test test test test test test test junk"
_CHECKOUT = Path(__file__).resolve().parents[2]
_TEST_TOKEN_DECIMALS = 18
COIN = Token(symbol="ETH", address=ZERO_ADDRESS, decimals=18)
"""The chain's native coin."""
LOCAL_PACE = CasePace(
    draw_blocks=1,
    open_seconds=600,
    draw_seconds=600,
    cure_seconds=10,
    vote_seconds=600,
    reveal_seconds=300,
    unstake_seconds=120 * 86_400,
)
"""For people who try it out: short phases, as everybody is on this machine."""
_SEAT_STAKE, _SEAT_FEE = "10", "0.1"
_PANEL_TYPES = ["address"] * 4 + ["uint256"] * 2 + ["uint32"] * 7
_CALL_SECONDS = 30.0
_MINED_POLL_SECONDS = 0.005


def local_account(index: int) -> LocalAccount:
    """The account of that index of Anvil's well-known mnemonic. Only for a local chain."""
    Account.enable_unaudited_hdwallet_features()
    account: LocalAccount = Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}")
    return account


def anvil_binary(checkout: Path = _CHECKOUT) -> Path:
    """Anvil: what DEAI_ANVIL names, else the npm package's in `checkout`, else the one on the path. Raises ChainUnavailable that says how
    to get it.
    """
    named = os.environ.get("DEAI_ANVIL")
    if named:
        if shutil.which(named) is None:
            raise ChainUnavailable(f"anvil: DEAI_ANVIL={named!r} is not a program that can be run")
        return Path(named)
    machine = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}.get(
        platform.machine().lower(), ""
    )
    package = f"anvil-{sys.platform}-{machine}"
    binary = checkout / "node_modules" / "@foundry-rs" / package / "bin" / "anvil"
    if binary.exists():
        return binary
    found = shutil.which("anvil")
    if found is None:
        raise ChainUnavailable(
            f"anvil: not found; run scripts/setup in a checkout, or `npm install @foundry-rs/{package}` and name its bin/anvil in DEAI_ANVIL"
        )
    return Path(found)


class AnvilNode:
    """The node at `rpc`, with the powers that only a local chain's node gives. Each method raises ChainUnavailable."""

    def __init__(self, rpc: str) -> None:
        self.rpc = rpc

    def call(self, method: str, *params: object) -> Any:
        """One JSON-RPC call."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        try:
            answer = httpx.post(
                self.rpc, json=body, timeout=_CALL_SECONDS, trust_env=False, verify=authorities()
            ).json()
        except (httpx.HTTPError, ValueError) as error:
            raise ChainUnavailable(f"{self.rpc}: {error}") from error
        if "error" in answer:
            raise ChainUnavailable(f"{method}: {answer['error']}")
        return answer["result"]

    @property
    def answers(self) -> bool:
        """Whether a local chain answers there."""
        try:
            return bool(self.call("eth_chainId") == hex(LOCAL_CHAIN_ID))
        except ChainUnavailable:
            return False

    def deploy(self, symbol: str, pace: CasePace = LOCAL_PACE) -> Deployment:
        """Puts the escrow, a test token of that symbol (an ERC-20 that anyone may mint), and a panel whose cases have that pace on the chain; the
        token is what the panel's verifiers stake and are paid in. Only on a local chain, whose node sends without a key.
        """
        chain_id = int(self.call("eth_chainId"), 16)
        if chain_id != LOCAL_CHAIN_ID:
            raise WrongRequest(f"{self.rpc}: is chain {chain_id}; a test token is for the local chain only")
        sender = self.call("eth_accounts")[0]
        escrow, block = self._create(sender, "JobMarket")
        address, _ = self._create(
            sender, "TestToken", encode(["string", "string"], [f"Test {symbol}", symbol])
        )
        token = Token(symbol=symbol, address=address, decimals=_TEST_TOKEN_DECIMALS)
        random, _ = self._create(sender, "BlockRandom")
        amounts = (token.amount(_SEAT_STAKE), token.amount(_SEAT_FEE))
        values = (escrow, random, address, address, *amounts, *astuple(pace))
        panel, _ = self._create(sender, "Panel", encode(_PANEL_TYPES, values))
        return Deployment(
            chain_id=chain_id,
            contract=escrow,
            block=block,
            tokens=(COIN, token),
            panel=panel,
            panel_stake_token=address,
        )

    def _create(self, sender: str, name: ContractName, arguments: bytes = b"") -> tuple[Address, int]:
        code = artifact(name).bytecode + arguments.hex()
        receipt = self._mined({"from": sender, "data": code})
        if int(receipt["status"], 16) != 1:
            raise ChainUnavailable(f"{name}: the local chain did not take it")
        return Address(to_checksum_address(receipt["contractAddress"])), int(receipt["blockNumber"], 16)

    def mint(self, token: Address, account: Address, amount: Wei) -> None:
        """Gives `account` that much of a test token, out of nothing."""
        self.send(account, token, "TestToken", "mint", account, amount)

    def deposit(self, escrow: Address, token: Address, account: Address, amount: Wei) -> None:
        """Moves that much of a token into the balance in the escrow of `account`, one of the node's own."""
        self.send(account, token, "TestToken", "approve", escrow, amount)
        self.send(account, escrow, "JobMarket", "deposit", token, account, amount)

    def send(self, sender: Address, to: Address, contract: ContractName, verb: str, *values: object) -> None:
        """A transaction of one of the node's own accounts."""
        data = Codec(artifact(contract).abi).call(verb, *values)
        receipt = self._mined({"from": sender, "to": to, "data": data})
        if int(receipt["status"], 16) != 1:
            raise ChainUnavailable(f"{verb}: the local chain undid {receipt['transactionHash']}")

    def _mined(self, transaction: dict[str, str]) -> dict[str, Any]:
        """The receipt of a transaction of one of the node's own accounts. The node takes it first, and mines it a moment later."""
        sent = self.call("eth_sendTransaction", transaction)
        deadline = time.monotonic() + _CALL_SECONDS
        while (receipt := self.call("eth_getTransactionReceipt", sent)) is None:
            if time.monotonic() > deadline:
                raise ChainUnavailable(f"{self.rpc}: {sent} was not mined within {_CALL_SECONDS:g} s")
            time.sleep(_MINED_POLL_SECONDS)
        found: dict[str, Any] = receipt
        return found

    def advance(self, seconds: int) -> None:
        """Moves the chain's clock, and mines a block. The machine's clock stays."""
        self.call("evm_increaseTime", seconds)
        self.call("evm_mine")

    def save(self, path: Path) -> None:
        """Writes the chain, all its blocks and events, to a file that `--load-state` reads. The file appears whole or not at all."""
        state = gzip.decompress(bytes.fromhex(self.call("anvil_dumpState").removeprefix("0x")))
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(state)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)

    def catch_up(self) -> None:
        """After a start from a saved chain: moves the clock on to where it was. The node takes the machine's, and blocks would run back."""
        head = int(self.call("eth_getBlockByNumber", "latest", False)["timestamp"], 16)
        ahead = head - int(time.time())
        if ahead > 0:
            self.call("evm_increaseTime", ahead)
