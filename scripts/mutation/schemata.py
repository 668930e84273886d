"""All changes of the contracts in one compilation: each stands beside the original behind a switch, and a word of the bytecode chooses."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from mutation.defences import DEFENCES
from mutation.mutants import Finder, Mutant, by_hand, nodes

ROOT = Path(__file__).resolve().parents[2]
SOLC = ROOT / ".venv" / "solcx" / "solc-v0.8.30"
CONTRACTS = {
    "JobMarket": ("Settlement.sol", "Packed.sol", "JobMarket.sol", "Signatures.sol"),
    "Panel": ("Panel.sol", "Tickets.sol", "Tally.sol"),
    "BlockRandom": ("BlockRandom.sol",),
}
"""What is tried, and the files that it is made of."""
MARK = "5eed" * 16
"""The word that stands for the number of the active change. The optimiser would reckon with it, so most of it is off."""
SWITCH = f"""// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

function active() pure returns (uint256 chosen) {{
    assembly ("memory-safe") {{
        chosen := 0x{MARK}
    }}
}}

function mutant(uint256 number) pure returns (bool) {{
    return active() == number;
}}

abstract contract ReentrancyGuardTransient {{
    error ReentrancyGuardReentrantCall();

    bool private transient _entered;

    modifier nonReentrantBut(uint256 number) {{
        if (mutant(number)) {{
            _;
        }} else {{
            if (_entered) revert ReentrancyGuardReentrantCall();
            _entered = true;
            _;
            _entered = false;
        }}
    }}

    modifier nonReentrant() {{
        if (_entered) revert ReentrancyGuardReentrantCall();
        _entered = true;
        _;
        _entered = false;
    }}
}}
"""
GUARD = "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol"
OPTIMIZER = {
    "enabled": False,
    "details": {
        **dict.fromkeys(("peephole", "jumpdestRemover", "deduplicate"), True),
        **dict.fromkeys(("inliner", "orderLiterals", "cse", "constantOptimizer", "yul"), False),
    },
}


def compiled(sources: dict[str, str], wanted: dict[str, Any]) -> dict[str, Any]:
    """What the compiler says of contracts by their file names."""
    settings = {
        "evmVersion": "cancun",
        "optimizer": OPTIMIZER,
        "remappings": ["@openzeppelin=node_modules/@openzeppelin"],
        "outputSelection": wanted,
    }
    files = {f"contracts/{name}": {"content": text} for name, text in sources.items()}
    asked = json.dumps({"language": "Solidity", "sources": files, "settings": settings})
    run = subprocess.run(
        [str(SOLC), "--standard-json"], input=asked, capture_output=True, text=True, check=True, cwd=ROOT
    )
    answer: dict[str, Any] = json.loads(run.stdout[run.stdout.index("{") :])
    return answer


def prepared() -> dict[str, str]:
    """The contracts, not yet changed, with the switch at hand in Solidity and in assembly."""
    assembly = 'assembly ("memory-safe")'
    ready = {
        path.name: path.read_text()
        .replace(assembly, f"uint256 yulMutant = active(); {assembly}")
        .replace(GUARD, "./Switch.sol")
        + '\nimport {active, mutant} from "./Switch.sol";\n'
        for path in sorted((ROOT / "contracts").glob("*.sol"))
    }
    return {**ready, "Switch.sol": SWITCH}


def found_in(files: list[str]) -> list[Mutant]:
    """The changes of these files, those made by hand first, numbered from 1."""
    sources = prepared()
    trees = compiled(sources, {"*": {"": ["ast"]}})["sources"]
    enums = {
        node["name"]: [value["name"] for value in node["members"]]
        for tree in trees.values()
        for node in nodes(tree["ast"])
        if node["nodeType"] == "EnumDefinition"
    }
    found = [
        by_hand(each, sources[each.file]) for each in DEFENCES if each.file in files and each.new is not None
    ]
    for file in files:
        finder = Finder(file, sources[file], enums)
        found += finder.changes(trees[f"contracts/{file}"]["ast"])
    return [replace(mutant, number=number) for number, mutant in enumerate(found, 1)]


def schemata(changes: list[Mutant]) -> tuple[list[Mutant], dict[str, str]]:
    """Those of the changes that compile, and the bytecode of the contracts with all of them, by the contracts' names."""
    sources = prepared()
    wanted = {f"contracts/{name}.sol": {name: ["evm.bytecode.object"]} for name in CONTRACTS}
    while True:
        texts, places = dict(sources), {}
        for file in {each.file for each in changes}:
            mine = [each for each in changes if each.file == file]
            texts[file], places[f"contracts/{file}"] = woven(sources[file], mine)
        answer = compiled(texts, wanted)
        errors = [error for error in answer.get("errors", []) if error["severity"] == "error"]
        if not errors:
            made = answer["contracts"]
            return changes, {
                name: made[f"contracts/{name}.sol"][name]["evm"]["bytecode"]["object"] for name in CONTRACTS
            }
        refused = {_culprit(error, places) for error in errors}
        changes = [each for each in changes if each.number not in refused]


def _culprit(error: dict[str, Any], places: dict[str, dict[int, tuple[int, int]]]) -> int:
    """The smallest change within what the compiler complains of, or else around it."""
    where = error.get("sourceLocation") or {"file": "", "start": 0, "end": 0}
    near = [
        (start < where["start"] or end > where["end"], end - start, number)
        for number, (start, end) in places.get(where["file"], {}).items()
        if start < where["end"] and where["start"] < end
    ]
    if not near:
        raise ValueError(error["formattedMessage"])
    return min(near)[2]


def woven(source: str, changes: list[Mutant]) -> tuple[str, dict[int, tuple[int, int]]]:
    """The source with all changes behind their switches, and where each change then lies."""
    puts = [
        *((each.start, 1, -each.end, place, each, each.before) for place, each in enumerate(changes)),
        *((each.end, 0, -each.start, -place, each, each.after) for place, each in enumerate(changes)),
    ]
    out, at, size, begun = [], 0, 0, {}
    ends: dict[int, tuple[int, int]] = {}
    for position, opens, _, _, each, text in sorted(puts, key=lambda put: put[:4]):
        put = text.replace("@", str(each.number))
        out += [source[at:position], put]
        size += position - at
        if opens:
            begun[each.number] = size
        size += len(put)
        if not opens:
            ends[each.number] = begun[each.number], size
        at = position
    return "".join([*out, source[at:]]), ends
