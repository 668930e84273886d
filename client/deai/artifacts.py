"""The compiled contracts, as this package ships them.

scripts/export_abi.py writes them, and checks that they match the sources.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

ContractName = Literal["BlockRandom", "JobMarket", "Panel", "TestToken"]
"""What is shipped. `TestToken` is an ERC-20 that anyone may mint: for local chains only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One compiled contract."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: str
    """What deploys it, 0x-hex; constructor arguments are appended."""
    deployed_bytecode: str
    """What stands on chain, 0x-hex, with zeros where immutables go."""
    compiler: dict[str, Any]
    """The compiler's version and the settings that shape the bytecode."""
    source_hash: str
    """One sha2-256 over all sources it was compiled from, hex."""


@cache
def artifact(name: ContractName) -> Artifact:
    """The artifact of that name."""
    shipped = json.loads(resources.files("deai").joinpath("abi", f"{name}.json").read_text())
    return Artifact(
        name=shipped["name"],
        abi=shipped["abi"],
        bytecode=shipped["bytecode"],
        deployed_bytecode=shipped["deployedBytecode"],
        compiler=shipped["compiler"],
        source_hash=shipped["sourceHash"],
    )
