"""Fixtures of this folder's tests, and the mark `engine` of those that need the machine's Docker engine."""

import pytest

from tests.adapters.chain_fixtures import anvil, anvil_ground, deployment, ground, memory_ground
from tests.adapters.market_fixtures import api, http, world
from tests.adapters.panel_fixtures import panel_court, panel_world

__all__ = [
    "anvil",
    "anvil_ground",
    "api",
    "deployment",
    "ground",
    "http",
    "memory_ground",
    "panel_court",
    "panel_world",
    "world",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "docker_engine" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.engine)
