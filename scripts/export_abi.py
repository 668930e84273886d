"""Compiles the contracts and writes what the client package ships of them, client/deai/abi/*.json.

scripts/export_abi.py            write
scripts/export_abi.py --check    recompile and compare; exit 1 on any difference
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import brownie_project

ROOT = brownie_project.ROOT
SHIPPED = ROOT / "client" / "deai" / "abi"
CONTRACTS = ("JobMarket", "Panel", "BlockRandom", "TestToken")


def compiled() -> dict[str, str]:
    """What should be shipped: file name to text."""
    made = brownie_project.contracts()
    return {f"{name}.json": json.dumps(_artifact(name, made[name]), indent=1) + "\n" for name in CONTRACTS}


def _artifact(name: str, contract: brownie_project.Contract) -> dict[str, Any]:
    metadata = json.loads(contract.metadata)
    settings = metadata["settings"]
    return {
        "name": name,
        "abi": contract.abi,
        "bytecode": contract.bytecode,
        "deployedBytecode": contract.deployed_bytecode,
        "compiler": {
            "version": metadata["compiler"]["version"],
            "evmVersion": settings["evmVersion"],
            "optimizer": settings["optimizer"],
            "viaIR": settings["viaIR"],
            "remappings": settings["remappings"],
        },
        "sourceHash": _source_hash(metadata["sources"]),
    }


def _source_hash(sources: dict[str, dict[str, str]]) -> str:
    """The sha2-256 of the lines `<keccak of a file> <path>`, sorted by path, of all the compiler read."""
    lines = "".join(f"{sources[path]['keccak256']} {path}\n" for path in sorted(sources))
    return hashlib.sha256(lines.encode()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Write, or check, the compiled contracts that the client ships."
    )
    parser.add_argument("--check", action="store_true", help="recompile and compare only")
    check = parser.parse_args().check
    wanted = compiled()
    if not check:
        SHIPPED.mkdir(exist_ok=True)
        for name, text in wanted.items():
            (SHIPPED / name).write_text(text)
        return 0
    stale = [name for name, text in wanted.items() if not _equals(SHIPPED / name, text)]
    for name in stale:
        print(
            f"{SHIPPED / name}: is not what the sources compile to; run scripts/export_abi.py",
            file=sys.stderr,
        )
    return 1 if stale else 0


def _equals(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main())
