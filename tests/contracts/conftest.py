"""The contracts compiled by Brownie, on an Anvil of our own with the hardfork we compile for."""

import socket
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(CHECKOUT / "scripts"), str(Path(__file__).parent)]

from court import Court  # noqa: E402
from node import Node  # noqa: E402
from world import World  # noqa: E402

import brownie_project  # noqa: E402
from deai.anvil import anvil_binary  # noqa: E402
from deai.errors import ChainUnavailable  # noqa: E402
from deai.program import Program, free_port  # noqa: E402

HARDFORK = "cancun"
LOCAL_CHAIN_ID = 31337


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # The first test waits for the compiler: a minute from nothing, several on a busy machine.
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a fresh local chain."""
    with anvil(tmp_path_factory.mktemp("anvil"), LOCAL_CHAIN_ID) as url:
        yield url


@pytest.fixture(scope="session")
def escrow(node: str) -> World:
    """The world that all tests start from."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Brownie's own, at import
        project = brownie_project.contracts()
    return World(Node(node), project)


@pytest.fixture
def world(escrow: World) -> Iterator[World]:
    """The world, left afterwards as it was."""
    escrow.salt = 0
    with escrow.undone():
        yield escrow


@pytest.fixture(scope="session")
def courthouse(escrow: World) -> Court:
    """The panel that its tests start from."""
    return Court(escrow)


@pytest.fixture
def court(courthouse: Court, world: World) -> Court:
    """A panel without tickets."""
    assert courthouse.world is world
    return courthouse.fresh()


@pytest.fixture
def forked(world: World, tmp_path: Path) -> Iterator[World]:
    """The world on a chain that split off from it and took another chain id."""
    state = world.rpc("anvil_dumpState")
    with anvil(tmp_path, 777) as url:
        twin = world.on_fork(Node(url))
        twin.rpc("anvil_loadState", state)
        yield twin


@contextmanager
def anvil(folder: Path, chain_id: int) -> Iterator[str]:
    """An Anvil on a free port, for as long as the block lasts; its URL."""
    port = free_port()
    command = [str(anvil_binary(CHECKOUT)), "--port", str(port), "--hardfork", HARDFORK, "--silent"]
    command += ["--chain-id", str(chain_id), "--block-base-fee-per-gas", "0"]
    program = Program("anvil", command, folder / "anvil.log")
    try:
        program.wait_for(lambda: _listens(port), ChainUnavailable)
        yield f"http://127.0.0.1:{port}"
    finally:
        program.stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
