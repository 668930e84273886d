"""The contracts compiled by Brownie, on an Anvil of our own with the hardfork we compile for."""

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "scripts"), str(Path(__file__).parent)]

from world import World  # noqa: E402

import brownie_project  # noqa: E402
from deai.errors import ChainUnavailable  # noqa: E402
from deai.localnet import Program, anvil_binary, free_port  # noqa: E402

HARDFORK = "cancun"


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a fresh local chain."""
    port = free_port()
    log = tmp_path_factory.mktemp("anvil") / "anvil.log"
    command = [str(anvil_binary(CHECKOUT)), "--port", str(port), "--hardfork", HARDFORK, "--silent"]
    anvil = Program("anvil", [*command, "--block-base-fee-per-gas", "0"], log)
    try:
        anvil.wait_for(lambda: _listens(port), ChainUnavailable)
        yield f"http://127.0.0.1:{port}"
    finally:
        anvil.stop()


@pytest.fixture(scope="session")
def escrow(node: str) -> Iterator[World]:
    """The world that all tests start from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Brownie's own, at import
        brownie, project = _brownie(node)
    yield World(brownie, project)
    brownie.network.disconnect(kill_rpc=False)


@pytest.fixture
def world(escrow: World) -> Iterator[World]:
    """The world, left afterwards as it was."""
    with escrow.undone():
        yield escrow


def _brownie(node: str) -> tuple[Any, Any]:
    project = brownie_project.load()
    import brownie
    from brownie._config import CONFIG

    CONFIG.networks["tests"] = {"id": "tests", "cmd": "anvil", "host": node, "cmd_settings": {}}
    brownie.network.connect("tests", launch_rpc=False)
    return brownie, project


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
