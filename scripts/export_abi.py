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

import yaml

import brownie_project

ROOT = brownie_project.ROOT
SHIPPED = ROOT / "client" / "deai" / "abi"
CONTRACTS = {
    "JobMarket": "contracts/JobMarket.sol",
    "Panel": "contracts/Panel.sol",
    "BlockRandom": "contracts/BlockRandom.sol",
    "TestToken": "contracts/test/TestToken.sol",
}


def compiled() -> dict[str, str]:
    """What should be shipped: file name to text."""
    brownie_project.prepare()
    from brownie.project import compiler  # noqa: PLC0415
    from brownie.project.compiler.solidity import set_solc_version  # noqa: PLC0415

    settings = yaml.safe_load((ROOT / "brownie-config.yaml").read_text())["compiler"]
    solc = settings["solc"]
    set_solc_version(solc["version"])
    wanted = compiler.generate_input_json(
        {path: (ROOT / path).read_text() for path in CONTRACTS.values()},
        evm_version=settings["evm_version"],
        remappings=solc["remappings"],
        optimizer=solc["optimizer"],
        viaIR=solc["viaIR"],
    )
    # Less than Brownie asks for, which leaves the bytecode as it is and saves most of the time.
    wanted["settings"]["outputSelection"] = {
        path: {name: ["abi", "metadata", "evm.bytecode.object", "evm.deployedBytecode.object"]}
        for name, path in CONTRACTS.items()
    }
    output = compiler.compile_from_input_json(wanted, allow_paths=str(ROOT))
    return {
        f"{name}.json": json.dumps(_artifact(name, output["contracts"][path][name]), indent=1) + "\n"
        for name, path in CONTRACTS.items()
    }


def _artifact(name: str, output: dict[str, Any]) -> dict[str, Any]:
    metadata = json.loads(output["metadata"])
    settings = metadata["settings"]
    return {
        "name": name,
        "abi": output["abi"],
        "bytecode": "0x" + output["evm"]["bytecode"]["object"],
        "deployedBytecode": "0x" + output["evm"]["deployedBytecode"]["object"],
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
