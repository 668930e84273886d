"""Fixtures of this folder's tests."""

from tests.adapters.chain_fixtures import anvil, anvil_ground, deployment, ground, memory_ground

__all__ = ["anvil", "anvil_ground", "deployment", "ground", "memory_ground"]
