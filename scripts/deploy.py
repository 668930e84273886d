"""Deploys the contracts that the client ships, by Brownie, to any node, and writes a deployment file.

    scripts/deploy.py --rpc URL --out FILE [--panel FILE] [--test-token SYMBOL] [--dry-run] [--keystore FILE --password-file FILE]

Addresses are the same on every chain that has the CREATE2 deployer at 0x4e59…956C: they follow from the bytecode and the constructor's
arguments alone, and what stands there already is used as it is. On another chain they follow from the sender.

`--panel` names a JSON file of the panel's rules: `stake_token` and `fee_token` (an address, or the test token's symbol), `seat_stake` and
`seat_fee` in the smallest unit, and `pace` with the seconds of its phases as in IPanel.sol. Without it there is no panel, and no dispute.
Rules by which no case could ever be judged are refused before anything is sent.

Prints what it would do and what that costs first; with `--dry-run` no more than that. Without a keystore the node's own first account
sends, and only on the local chain (31337), where `--test-token` adds an ERC-20 that anyone may mint. The last line is one JSON object.
Exit code 2 for a wrong request, 3 when the node is out of reach.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from eth_utils.address import is_checksum_address, to_checksum_address
from eth_utils.crypto import keccak
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from requests.exceptions import RequestException
from web3.exceptions import ContractLogicError, Web3Exception

import brownie_project
from deai import keys
from deai.artifacts import ContractName, artifact
from deai.deployment import Deployment, Token
from deai.errors import BadField, ChainUnavailable, DeaiError, WrongRequest
from deai.job import ZERO_ADDRESS, Address
from deai.panel import CasePace
from deai.spec import bad_field

LOCAL_CHAIN_ID = 31337
TEST_TOKEN_DECIMALS = 18
CREATE2_DEPLOYER = Address("0x4e59b44847b379578588920cA78FbF26c0B4956C")
"""A contract that stands at the same address on most chains: it creates what it is sent, at an address that follows from the code."""
SALT = bytes(32)
_CREATION_GAS = 53_000
_CONSTRUCTOR_GAS = 150_000
_PACE = "(uint32,uint32,uint32,uint32,uint32,uint32,uint32)"
_ROUNDS = 3
"""Of a case in Panel.sol."""
_BLOCK_SECONDS = 12
"""The longest a block is taken to take."""


class PanelRules(BaseModel):
    """What a panel is deployed with, for good."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stake_token: str
    fee_token: str
    seat_stake: int = Field(gt=0, lt=1 << 256)
    seat_fee: int = Field(gt=0, lt=1 << 256)
    pace: CasePace

    @classmethod
    def load(cls, path: Path) -> "PanelRules":
        """Raises BadField that names the file or the field."""
        try:
            rules = cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise BadField("panel", str(path), f"cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise bad_field("panel", error) from error
        _check_pace(rules.pace)
        return rules


def _check_pace(pace: CasePace) -> None:
    """Raises BadField for a pace that the panel's constructor refuses, or in which no draw would come in time."""
    for name, value in asdict(pace).items():
        if not 0 < value < 1 << 32:
            raise BadField(f"panel.pace.{name}", value, "must be from 1 to 2^32 - 1")
    drawn = pace.draw_blocks * _BLOCK_SECONDS * 3 // 2
    if pace.draw_seconds < drawn:
        rule = f"every draw would be missed: {pace.draw_blocks} blocks may take {drawn} s"
        raise BadField("panel.pace.draw_seconds", pace.draw_seconds, rule)
    case = _ROUNDS * (pace.draw_seconds + pace.cure_seconds + pace.vote_seconds + pace.reveal_seconds)
    if pace.unstake_seconds <= case:
        rule = f"must be more than {case}, so that no stake leaves during a case"
        raise BadField("panel.pace.unstake_seconds", pace.unstake_seconds, rule)


@dataclass(frozen=True, slots=True)
class Step:
    """One contract to create, and where it will stand."""

    contract: ContractName
    code: bytes
    address: Address
    there: bool
    """It stands there already: the same code with the same arguments."""
    gas: int


class Deployer:
    """A node, and who sends to it."""

    def __init__(self, web3: Any, sender: Address) -> None:
        self.eth, self.sender = web3.eth, sender
        self.deterministic = self.stands(CREATE2_DEPLOYER)
        self.nonce = int(_asked(lambda: self.eth.get_transaction_count(sender)))

    def plan(self, options: argparse.Namespace, rules: PanelRules | None) -> dict[ContractName, Step]:
        """Each contract in the order of creation."""
        steps: dict[ContractName, Step] = {}

        def add(name: ContractName, arguments: bytes = b"") -> Step:
            code = bytes.fromhex(artifact(name).bytecode.removeprefix("0x")) + arguments
            created = sum(not step.there for step in steps.values())
            address = (
                create2_address(code)
                if self.deterministic
                else create_address(self.sender, self.nonce + created)
            )
            there = self.deterministic and self.stands(address)
            steps[name] = Step(name, code, address, there, 0 if there else self._gas(name, code, steps))
            return steps[name]

        escrow = add("JobMarket")
        known: dict[str, Address] = {}
        if symbol := options.test_token:
            known[symbol] = add("TestToken", encode(["string", "string"], [f"Test {symbol}", symbol])).address
        if rules is not None:
            stake = _token("panel.stake_token", rules.stake_token, known)
            fee = _token("panel.fee_token", rules.fee_token, known)
            self._check_token("panel.stake_token", stake, known)
            if fee != ZERO_ADDRESS:
                self._check_token("panel.fee_token", fee, known)
            places = [escrow.address, add("BlockRandom").address, stake, fee]
            kinds = ["address"] * 4 + ["uint256"] * 2 + [_PACE]
            values = [*places, rules.seat_stake, rules.seat_fee, astuple(rules.pace)]
            add("Panel", encode(kinds, values))
        return steps

    def block_of(self, address: Address) -> int:
        """The first block with code at `address`. Raises WrongRequest where the node does not keep old states."""
        low, high = 0, int(self.eth.block_number)
        while low < high:
            middle = (low + high) // 2
            try:
                there = self.stands(address, middle)
            except WrongRequest as error:
                raise WrongRequest(
                    f"{address}: stands there already, and this node has no state of block {middle} to tell since when; "
                    "name an archive node"
                ) from error
            low, high = (low, middle) if there else (middle + 1, high)
        return low

    def stands(self, address: Address, block: int | str = "latest") -> bool:
        return len(_asked(lambda: self.eth.get_code(address, block))) > 0

    def _check_token(self, field: str, token: Address, planned: dict[str, Address]) -> None:
        if token not in planned.values() and not self.stands(token):
            raise BadField(field, token, "is no contract on this chain")

    def _gas(self, name: ContractName, code: bytes, before: dict[ContractName, Step]) -> int:
        """What the node estimates as if those planned before stood there already; if it cannot, a bound from the bytecode."""
        planned = {step.address: artifact(step.contract).deployed_bytecode for step in before.values()}
        overrides = {address: {"code": code} for address, code in planned.items()}
        call = transaction(code, self.deterministic) | {"from": self.sender}
        try:
            return int(self.eth.estimate_gas(call, "latest", overrides))
        except (ConnectionError, RequestException) as error:
            raise ChainUnavailable(f"the node went away: {error}") from error
        except ContractLogicError as error:
            # A local chain's first block alone carries no randomness, for which BlockRandom asks.
            if self.eth.block_number > 0:
                raise WrongRequest(f"{name} cannot be deployed here: {error}") from error
        except (ValueError, Web3Exception):
            pass  # not every node estimates upon code that is not there yet
        words, zeros = (len(code) + 31) // 32, code.count(0)
        return _CREATION_GAS + _CONSTRUCTOR_GAS + 216 * len(code) - 12 * zeros + 2 * words


def transaction(code: bytes, deterministic: bool) -> dict[str, Any]:
    """What is sent to create a contract."""
    return {"to": CREATE2_DEPLOYER, "data": SALT + code} if deterministic else {"data": code}


def create2_address(code: bytes) -> Address:
    """Source: EIP-1014."""
    place = b"\xff" + bytes.fromhex(CREATE2_DEPLOYER[2:]) + SALT + keccak(code)
    return Address(to_checksum_address(keccak(place)[12:]))


def create_address(sender: Address, nonce: int) -> Address:
    """Source: the Yellow Paper, section 7: the RLP of sender and nonce, hashed."""
    number = nonce.to_bytes((nonce.bit_length() + 7) // 8)
    item = number if len(number) == 1 and nonce < 128 else bytes([128 + len(number)]) + number
    body = b"\x94" + bytes.fromhex(sender[2:]) + item
    return Address(to_checksum_address(keccak(bytes([192 + len(body)]) + body)[12:]))


def deploy(options: argparse.Namespace) -> dict[str, Any]:
    """Deploys, writes the deployment file, and returns the summary. Raises DeaiError; nothing is written then."""
    started = time.monotonic()
    if not options.out.parent.is_dir():
        raise BadField("out", str(options.out), "lies in a folder that does not exist")
    rules = None if options.panel is None else PanelRules.load(options.panel)
    sender_key = _sender_key(options)
    with _connected(options.rpc) as web3:
        return _deploy(web3, options, rules, sender_key, started)


def _deploy(
    web3: Any, options: argparse.Namespace, rules: PanelRules | None, sender_key: str | None, started: float
) -> dict[str, Any]:
    chain_id = int(web3.eth.chain_id)
    _check_chain(chain_id, options, sender_key)
    local = chain_id == LOCAL_CHAIN_ID
    sender = _sender(sender_key) if sender_key or local else None
    deployer = Deployer(web3, Address(str(sender)) if sender else ZERO_ADDRESS)
    if sender is None and not deployer.deterministic:
        raise BadField(
            "keystore", None, "is needed: with no CREATE2 deployer, addresses follow from the sender"
        )
    steps = deployer.plan(options, rules)
    plan = dict(_told(deployer, steps, chain_id))
    if options.dry_run:
        return {"dry_run": True, "chain_id": chain_id, **plan}

    blocks = {name: _create(sender, step, deployer) for name, step in steps.items()}
    deployment = _deployment(chain_id, steps, blocks, options, rules)
    draft = options.out.with_name(options.out.name + ".new")
    draft.write_text(deployment.model_dump_json(indent=2) + "\n")
    draft.replace(options.out)
    return {
        "deployment": deployment.model_dump(mode="json"),
        "out": str(options.out),
        **plan,
        "seconds": round(time.monotonic() - started, 1),
    }


def _told(deployer: Deployer, steps: dict[ContractName, Step], chain_id: int) -> Iterator[tuple[str, Any]]:
    """Prints what will be done and what it costs; yields it for the summary."""
    how = (
        "by CREATE2" if deployer.deterministic else "by the sender's nonce: the chain has no CREATE2 deployer"
    )
    print(f"chain {chain_id}, addresses {how}")
    for step in steps.values():
        print(f"{step.contract:12} {step.address}  {'there already' if step.there else f'{step.gas:,} gas'}")
    price = int(_asked(lambda: deployer.eth.gas_price))
    gas = {step.contract: step.gas for step in steps.values()}
    cost = sum(gas.values()) * price
    print(
        f"about {sum(gas.values()):,} gas at {price / 10**9:.4g} gwei: {cost / 10**18:.6g} coins", flush=True
    )
    yield "gas", gas
    yield "addresses", {step.contract: step.address for step in steps.values()}
    yield "deterministic", deployer.deterministic
    yield "gas_price", price
    yield "cost", cost


def _check_chain(chain_id: int, options: argparse.Namespace, sender_key: str | None) -> None:
    if chain_id == LOCAL_CHAIN_ID:
        return
    if options.test_token:
        raise BadField("test-token", options.test_token, f"is for the local chain only, not {chain_id}")
    if sender_key is None and not options.dry_run:
        raise BadField("keystore", None, f"is needed on chain {chain_id}")


def _token(field: str, text: str, known: dict[str, Address]) -> Address:
    if text in known:
        return known[text]
    if not is_checksum_address(text):
        raise BadField(field, text, "is neither a checksummed address nor the test token's symbol")
    return Address(text)


def _deployment(
    chain_id: int,
    steps: dict[ContractName, Step],
    blocks: dict[ContractName, int],
    options: argparse.Namespace,
    rules: PanelRules | None,
) -> Deployment:
    tokens: tuple[Token, ...] = ()
    known: dict[str, Address] = {}
    if symbol := options.test_token:
        known[symbol] = steps["TestToken"].address
        tokens = (Token(symbol=symbol, address=known[symbol], decimals=TEST_TOKEN_DECIMALS),)
    return Deployment(
        chain_id=chain_id,
        contract=steps["JobMarket"].address,
        block=blocks["JobMarket"],
        tokens=tokens,
        panel=steps["Panel"].address if rules else None,
        panel_stake_token=_token("panel.stake_token", rules.stake_token, known) if rules else None,
    )


def _sender_key(options: argparse.Namespace) -> str | None:
    if options.keystore is None:
        return None
    if options.password_file is None:
        raise BadField("password-file", None, "is needed to open the keystore")
    try:
        password = options.password_file.read_text().rstrip("\n")
    except OSError as error:
        raise BadField("password-file", str(options.password_file), f"{error.strerror}") from error
    return str(keys.unlock(options.keystore, password).key.hex())


@contextmanager
def _connected(rpc: str) -> Iterator[Any]:
    """Brownie's web3 on this node, for as long as the block lasts."""
    brownie_project.prepare()
    import brownie  # noqa: PLC0415
    from brownie._config import CONFIG  # noqa: PLC0415
    from brownie.network.main import connect, disconnect, is_connected  # noqa: PLC0415

    CONFIG.networks["target"] = {"id": "target", "name": "target", "host": rpc}
    try:
        connect("target")
        reached = is_connected()
    except (ConnectionError, RequestException, ValueError) as error:
        raise ChainUnavailable(f"rpc: {rpc!r}: {error}") from error
    if not reached:
        raise ChainUnavailable(f"rpc: {rpc!r}: no node answers there; start one, or name another")
    try:
        yield brownie.web3
    finally:
        with suppress(ConnectionError):
            disconnect()


def _sender(key: str | None) -> Any:
    import brownie  # noqa: PLC0415

    if key is not None:
        return brownie.accounts.add(key)
    if len(brownie.accounts) == 0:
        raise BadField("keystore", None, "is needed: the node has no account of its own")
    return brownie.accounts[0]


def _asked(question: Callable[[], Any]) -> Any:
    """The node's answer. Raises ChainUnavailable, or WrongRequest with what the node says."""
    try:
        return question()
    except (ConnectionError, RequestException) as error:
        raise ChainUnavailable(f"the node went away: {error}") from error
    except (ValueError, Web3Exception) as error:
        raise WrongRequest(f"the node refused: {error}") from error


def _create(sender: Any, step: Step, deployer: Deployer) -> int:
    """The block since when the contract stands at its address, created now unless it does already."""
    from brownie.exceptions import VirtualMachineError  # noqa: PLC0415

    if step.there:
        return deployer.block_of(step.address)
    sent = transaction(step.code, deployer.deterministic)
    try:
        receipt = sender.transfer(to=sent.get("to"), data="0x" + sent["data"].hex(), silent=True)
    except (ConnectionError, RequestException) as error:
        raise ChainUnavailable(f"the node went away: {error}") from error
    except (ValueError, VirtualMachineError, Web3Exception) as error:
        raise WrongRequest(f"{step.contract} was not deployed: {error}") from error
    if not deployer.stands(step.address):
        raise WrongRequest(f"{step.contract} was not deployed: {receipt.txid} left nothing at {step.address}")
    print(f"{step.contract} at {step.address}, {receipt.gas_used:,} gas", flush=True)
    return int(receipt.block_number)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Deploy the escrow, and a panel, and write a deployment file."
    )
    parser.add_argument("--rpc", required=True, help="URL of the chain's node")
    parser.add_argument("--out", required=True, type=Path, help="the deployment file to write")
    parser.add_argument("--panel", type=Path, help="a JSON file with the rules of a panel to deploy")
    parser.add_argument("--test-token", metavar="SYMBOL", help="also deploy a test token (local chain only)")
    parser.add_argument("--dry-run", action="store_true", help="print the plan and its cost; send nothing")
    parser.add_argument("--keystore", type=Path, help="the sender's encrypted key")
    parser.add_argument("--password-file", type=Path, help="a file with the keystore's password")
    options = parser.parse_args(arguments)
    for name in ("out", "panel", "keystore", "password_file"):
        path = getattr(options, name)
        if path is not None:
            setattr(options, name, path.resolve())
    try:
        summary = deploy(options)
    except DeaiError as error:
        print(f"deploy: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(summary))
    return 0


if __name__ == "__main__":
    sys.exit(main())
