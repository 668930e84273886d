"""Fixtures of this folder's tests."""

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
