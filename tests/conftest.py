"""Real parts that several suites share. A part that is missing fails the test that needs it; nothing is skipped."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deai.localnet import start_engine
from tests.kubo import Kubo, start_kubo

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Docker engine: the one that answers, or one started here and stopped at the end."""
    engine = start_engine(tmp_path_factory.mktemp("dockerd") / "dockerd.log", print)
    yield
    if engine is not None:
        engine.stop()


@pytest.fixture(scope="session")
def kubo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubo]:
    """A Kubo daemon that reaches nobody. Its content is shared by all tests that use it."""
    daemon = start_kubo(tmp_path_factory.mktemp("kubo"))
    yield daemon
    daemon.stop()
