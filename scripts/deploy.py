"""Deploys the escrow that the client ships, by Brownie, to any node, and writes a deployment file.

    scripts/deploy.py --rpc URL --out FILE [--test-token SYMBOL] [--keystore FILE --password-file FILE]

Without a keystore the node's own first account sends, and only on the local chain (31337), where `--test-token` adds
an ERC-20 that anyone may mint. Prints addresses and gas; the last line is one JSON object. Exit code 2 for a wrong
request, 3 when the node is out of reach.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from requests.exceptions import RequestException

import brownie_project
from deai import keys
from deai.artifacts import artifact
from deai.deployment import Deployment, Token
from deai.errors import BadField, ChainUnavailable, DeaiError, WrongRequest
from deai.job import Address

LOCAL_CHAIN_ID = 31337
TEST_TOKEN_DECIMALS = 18


def deploy(options: argparse.Namespace) -> dict[str, Any]:
    """Deploys, writes the deployment file, and returns the summary. Raises DeaiError; nothing is written then."""
    started = time.monotonic()
    if not options.out.parent.is_dir():
        raise BadField("out", str(options.out), "lies in a folder that does not exist")
    sender_key = _sender_key(options)
    web3 = _connect(options.rpc)
    chain_id = int(web3.chain_id)
    if chain_id != LOCAL_CHAIN_ID:
        if options.test_token:
            raise BadField("test-token", options.test_token, f"is for the local chain only, not {chain_id}")
        if sender_key is None:
            raise BadField("keystore", None, f"is needed on chain {chain_id}")
    sender = _sender(sender_key)

    escrow = _create(sender, "JobMarket", b"")
    tokens: tuple[Token, ...] = ()
    gas = {"JobMarket": int(escrow.gas_used)}
    if options.test_token:
        symbol = options.test_token
        token = _create(sender, "TestToken", encode(["string", "string"], [f"Test {symbol}", symbol]))
        gas["TestToken"] = int(token.gas_used)
        address = Address(str(token.contract_address))
        tokens = (Token(symbol=symbol, address=address, decimals=TEST_TOKEN_DECIMALS),)

    deployment = Deployment(
        chain_id=chain_id,
        contract=Address(str(escrow.contract_address)),
        block=int(escrow.block_number),
        tokens=tokens,
    )
    draft = options.out.with_name(options.out.name + ".new")
    draft.write_text(deployment.model_dump_json(indent=2) + "\n")
    draft.replace(options.out)
    return {
        "deployment": deployment.model_dump(mode="json"),
        "out": str(options.out),
        "gas": gas,
        "seconds": round(time.monotonic() - started, 1),
    }


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


def _connect(rpc: str) -> Any:
    brownie_project.prepare()
    import brownie  # noqa: PLC0415
    from brownie._config import CONFIG  # noqa: PLC0415
    from brownie.network.main import connect, is_connected  # noqa: PLC0415

    CONFIG.networks["target"] = {"id": "target", "name": "target", "host": rpc}
    try:
        connect("target")
        reached = is_connected()
    except (ConnectionError, RequestException, ValueError) as error:
        raise ChainUnavailable(f"rpc: {rpc!r}: {error}") from error
    if not reached:
        raise ChainUnavailable(f"rpc: {rpc!r}: no node answers there; start one, or name another")
    return brownie.web3.eth


def _sender(key: str | None) -> Any:
    import brownie  # noqa: PLC0415

    if key is not None:
        return brownie.accounts.add(key)
    if len(brownie.accounts) == 0:
        raise BadField("keystore", None, "is needed: the node has no account of its own")
    return brownie.accounts[0]


def _create(sender: Any, name: Any, arguments: bytes) -> Any:
    """The receipt of the transaction that created the shipped contract `name`."""
    from brownie.exceptions import VirtualMachineError  # noqa: PLC0415

    try:
        receipt = sender.transfer(data=artifact(name).bytecode + arguments.hex(), silent=True)
    except (ConnectionError, RequestException) as error:
        raise ChainUnavailable(f"the node went away: {error}") from error
    except (ValueError, VirtualMachineError) as error:
        raise WrongRequest(f"{name} was not deployed: {error}") from error
    print(f"{name} at {receipt.contract_address}, {receipt.gas_used:,} gas", flush=True)
    return receipt


def main() -> int:
    parser = argparse.ArgumentParser(description="Deploy the escrow and write a deployment file.")
    parser.add_argument("--rpc", required=True, help="URL of the chain's node")
    parser.add_argument("--out", required=True, type=Path, help="the deployment file to write")
    parser.add_argument("--test-token", metavar="SYMBOL", help="also deploy a test token (local chain only)")
    parser.add_argument("--keystore", type=Path, help="the sender's encrypted key")
    parser.add_argument("--password-file", type=Path, help="a file with the keystore's password")
    options = parser.parse_args()
    for name in ("out", "keystore", "password_file"):
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
