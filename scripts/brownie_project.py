"""The contracts as Brownie compiles them, independent of the user's own Brownie settings."""

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "build" / "brownie"
_CACHE = ROOT / "build" / "contracts.json"
_SETTINGS = ROOT / "brownie-config.yaml"
_DOUBLES = "contracts/test/"
_SHIPPED_TOKEN = _DOUBLES + "TestToken.sol"


@dataclass(frozen=True, slots=True)
class Contract:
    """What the compiler made of one contract."""

    path: str
    """Its source, from the root."""
    abi: list[dict[str, Any]]
    bytecode: str
    """What creates it, with 0x; the constructor's arguments follow it."""
    deployed_bytecode: str
    metadata: str
    """JSON: https://docs.soliditylang.org/en/latest/metadata.html"""


def prepare() -> None:
    """To be called before Brownie's first import: gives it a home folder inside build/ and our compiler.

    Brownie keeps accounts, networks and remapped packages under the home folder; a user's own would
    change what we compile.
    """
    if "brownie" in sys.modules and os.environ.get("HOME") != str(HOME):
        raise RuntimeError("Brownie was imported before its home was set")
    HOME.mkdir(parents=True, exist_ok=True)
    os.environ["HOME"] = str(HOME)
    os.environ["SOLCX_BINARY_PATH"] = str(ROOT / ".venv" / "solcx")
    os.chdir(ROOT)  # solc looks for the remapped `node_modules` from here


def contracts() -> dict[str, Contract]:
    """Every contract in contracts/ by its name, compiled anew only where something that goes into it changed."""
    made_of = _fingerprint()
    if _CACHE.is_file():
        cached = json.loads(_CACHE.read_text())
        if cached["made_of"] == made_of:
            return {name: Contract(**each) for name, each in cached["contracts"].items()}
    made = _compiled()
    draft = _CACHE.with_name(f"{_CACHE.name}.{os.getpid()}")
    text = json.dumps({"made_of": made_of, "contracts": {name: asdict(each) for name, each in made.items()}})
    draft.write_text(text)
    draft.replace(_CACHE)
    return made


def _sources() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "contracts").rglob("*.sol"))


def _fingerprint() -> str:
    """A hash over the sources, the settings, the compiler and the libraries."""
    made_of = hashlib.sha256()
    for name in (
        *_sources(),
        "brownie-config.yaml",
        "package-lock.json",
        "scripts/solc.js",
        "scripts/brownie_project.py",
    ):
        made_of.update(f"{name} {hashlib.sha256((ROOT / name).read_bytes()).hexdigest()}\n".encode())
    return made_of.hexdigest()


def _compiled() -> dict[str, Contract]:
    prepare()
    sources = _sources()
    real = [path for path in sources if not path.startswith(_DOUBLES) or path == _SHIPPED_TOKEN]
    doubles = [path for path in sources if path not in real]
    # The tests' doubles do with the older code generator, which takes a fraction of the time.
    return _compile(doubles, via_ir=False) | _compile(real, via_ir=True)


def _compile(paths: Iterable[str], *, via_ir: bool) -> dict[str, Contract]:
    from brownie.project import compiler  # noqa: PLC0415
    from brownie.project.compiler.solidity import set_solc_version  # noqa: PLC0415

    settings = yaml.safe_load(_SETTINGS.read_text())["compiler"]
    solc = settings["solc"]
    set_solc_version(solc["version"])
    wanted = compiler.generate_input_json(
        {path: (ROOT / path).read_text() for path in paths},
        evm_version=settings["evm_version"],
        remappings=solc["remappings"],
        optimizer=solc["optimizer"],
        viaIR=via_ir and solc["viaIR"],
    )
    # Less than Brownie asks for, which leaves the bytecode as it is and saves most of the time.
    kinds = ["abi", "metadata", "evm.bytecode.object", "evm.deployedBytecode.object"]
    wanted["settings"]["outputSelection"] = {path: {"*": kinds} for path in paths}
    output = compiler.compile_from_input_json(wanted, allow_paths=str(ROOT))
    return {
        name: Contract(
            path=path,
            abi=each["abi"],
            bytecode="0x" + each["evm"]["bytecode"]["object"],
            deployed_bytecode="0x" + each["evm"]["deployedBytecode"]["object"],
            metadata=each["metadata"],
        )
        for path in paths
        for name, each in output["contracts"].get(path, {}).items()
    }
