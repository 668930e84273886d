"""All changes of the contracts in one compilation: each stands beside the original behind a switch, and a word of the bytecode chooses."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from defences import DEFENCES, Defence

ROOT = Path(__file__).resolve().parents[1]
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
SWAPS = {
    old: new
    for pair in ["< <=", "> >=", "== !=", "+ -", "% /", "* /", "<< >>", "| &", "+= -=", "++ --"]
    for old, new in (pair.split(), pair.split()[::-1])
}
STATEMENTS = ("ExpressionStatement", "EmitStatement", "RevertStatement", "Return", "Continue")
YUL_TRUTHS = ("gt", "lt", "eq", "iszero")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: `before` and `after` are put around the text from `start` to `end`; `@` in them is its number."""

    number: int
    file: str
    line: int
    start: int
    end: int
    before: str
    after: str
    function: str
    """Where it is."""
    told: str
    """The change in words, or in code."""

    @property
    def verb(self) -> str:
        """The function as the tests call it."""
        return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", self.function)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.told}"


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


def mutants(files: list[str]) -> list[Mutant]:
    """The changes of these files, those made by hand first, numbered from 1."""
    sources = prepared()
    trees = compiled(sources, {"*": {"": ["ast"]}})["sources"]
    enums = {
        node["name"]: [value["name"] for value in node["members"]]
        for tree in trees.values()
        for node in _nodes(tree["ast"])
        if node["nodeType"] == "EnumDefinition"
    }
    found = [
        _by_hand(each, sources[each.file]) for each in DEFENCES if each.file in files and each.new is not None
    ]
    for file in files:
        finder = Finder(file, sources[file], enums)
        found += finder.changes(trees[f"contracts/{file}"]["ast"])
    return [replace(mutant, number=number) for number, mutant in enumerate(found, 1)]


def removal(defence: Defence, changes: list[Mutant]) -> Mutant:
    """The change that takes the defence away."""
    told = f"{defence.old} -> {defence.new}" if defence.new is not None else defence.old
    source = prepared()[defence.file]
    start = _begin(defence, source)
    end = source.index("\n}", start)
    return next(
        each
        for each in changes
        if each.file == defence.file and each.told == told and start <= each.start < end
    )


def _begin(defence: Defence, source: str) -> int:
    function = f"function {defence.within}("
    return source.index(function if function in source else defence.within)


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


def _by_hand(defence: Defence, source: str) -> Mutant:
    start = source.index(defence.old, _begin(defence, source))
    end = start + len(defence.old)
    if defence.old.endswith((";", "}")):
        before, after = f"{{ if (mutant(@)) {{ {defence.new} }} else {{ ", " } }"
    elif source.rfind("assembly", 0, start) > source.rfind("\n        }\n", 0, start):
        before, after = f"xor(mul(eq(yulMutant, @), xor({defence.old}, {defence.new})), ", ")"
    else:
        before, after = f"(mutant(@) ? ({defence.new}) : (", "))"
    told = f"{defence.old} -> {defence.new}"
    return Mutant(0, defence.file, _line(source, start), start, end, before, after, defence.within, told)


def _line(source: str, position: int) -> int:
    return source.count("\n", 0, position) + 1


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if "nodeType" in tree and "src" in tree:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _span(node: dict[str, Any]) -> tuple[int, int]:
    start, length, _ = map(int, node["src"].split(":"))
    return start, start + length


class Finder:
    """Finds the changes of one file by its syntax tree."""

    def __init__(self, file: str, source: str, enums: dict[str, list[str]]) -> None:
        self._file, self._source, self._enums = file, source, enums
        self._found: list[Mutant] = []

    def changes(self, tree: dict[str, Any]) -> list[Mutant]:
        constants = [
            node for node in _nodes(tree) if node["nodeType"] == "VariableDeclaration" and node["constant"]
        ]
        hidden = {id(node) for constant in constants for node in _nodes(constant)}
        for loop in (node for node in _nodes(tree) if node["nodeType"] == "ForStatement"):
            hidden |= {id(loop.get("initializationExpression")), id(loop.get("loopExpression"))}
        for node in _nodes(tree):
            if id(node) not in hidden:
                self._look(node)
        return sorted(self._found, key=lambda mutant: (mutant.start, mutant.end))

    def _look(self, node: dict[str, Any]) -> None:
        kind = node["nodeType"]
        text = self._text(node)
        if kind in STATEMENTS:
            end = self._source.index(";", _span(node)[1] - 1) + 1
            self._add(node, "{ if (!mutant(@)) ", " }", "(nothing)", end=end)
        elif kind == "TryStatement":
            self._add(node, "{ if (!mutant(@)) { ", " } }", "(nothing)")
        elif kind == "BinaryOperation" and "int_const" not in node["typeDescriptions"]["typeString"]:
            left, right = self._text(node["leftExpression"]), self._text(node["rightExpression"])
            if node["operator"] in ("&&", "||"):
                self._instead(node, left)
                self._instead(node, right)
            else:
                self._instead(node, f"{left} {SWAPS[node['operator']]} {right}")
        elif kind == "UnaryOperation" and node["operator"] == "!":
            self._instead(node, self._text(node["subExpression"]))
        elif kind in ("UnaryOperation", "Assignment") and node["operator"] in SWAPS:
            self._instead(node, text.replace(node["operator"], SWAPS[node["operator"]]))
        elif kind == "Conditional":
            self._add(node["condition"], "(mutant(@) != (", "))", f"!({self._text(node['condition'])})")
        elif kind == "IfStatement" and not self._only_reverts(node["trueBody"]):
            self._instead(node["condition"], "true")
            self._instead(node["condition"], "false")
        elif kind == "Literal" and node["kind"] == "number" and text.isdigit():
            self._instead(node, str(int(text) + 1))
        elif kind == "Literal" and node["kind"] == "bool":
            self._instead(node, "false" if text == "true" else "true")
        elif kind == "Identifier" and self._is_number(node):
            self._instead(node, f"{text} + 1")
        elif kind == "MemberAccess" and "type(enum" in node["expression"]["typeDescriptions"]["typeString"]:
            enum, _, name = text.partition(".")
            if name in self._enums.get(enum, []):
                members = self._enums[enum]
                self._instead(node, f"{enum}.{members[(members.index(name) + 1) % len(members)]}")
        elif kind == "ModifierInvocation" and text == "nonReentrant":
            self._add(node, "nonReentrantBut(@) /* ", " */", "(nothing)")
        elif kind.startswith("Yul"):
            self._look_at_yul(kind, node, text)

    def _look_at_yul(self, kind: str, node: dict[str, Any], text: str) -> None:
        # The compiler wants a reference into the calldata to be set whatever happens.
        if kind in ("YulExpressionStatement", "YulAssignment") and "." not in text.split(":=", maxsplit=1)[0]:
            self._add(node, "if iszero(eq(yulMutant, @)) { ", " }", "(nothing)")
        elif kind == "YulIf":
            self._add(node["condition"], "or(eq(yulMutant, @), ", ")", "1")
        elif kind == "YulIdentifier" and text.isupper():
            self._add(node, "add(eq(yulMutant, @), ", ")", f"{text} + 1")
        elif kind == "YulFunctionCall" and node["functionName"]["name"] in YUL_TRUTHS:
            self._add(node, "xor(eq(yulMutant, @), ", ")", f"not {text}")
        elif kind == "YulFunctionCall" and node["functionName"]["name"] == "and":
            self._add(node, f"or(mul(eq(yulMutant, @), or{text[3:]}), ", ")", f"or{text[3:]}")

    def _only_reverts(self, body: dict[str, Any]) -> bool:
        statements = body["statements"] if body["nodeType"] == "Block" else [body]
        return len(statements) == 1 and statements[0]["nodeType"] == "RevertStatement"

    def _is_number(self, node: dict[str, Any]) -> bool:
        typed = node["typeDescriptions"].get("typeString") or ""
        return bool(re.fullmatch(r"[A-Z][A-Z_]+", node["name"]) and typed.startswith("uint"))

    def _instead(self, node: dict[str, Any], new: str) -> None:
        self._add(node, f"(mutant(@) ? ({new}) : (", "))", new)

    def _add(self, node: dict[str, Any], before: str, after: str, new: str, end: int = 0) -> None:
        start, stop = _span(node)
        stop = end or stop
        line = _line(self._source, start)
        told = " ".join(f"{self._source[start:stop]}  ->  {new}".split())
        function = ["", *re.findall(r"function (\w+)\(|constructor\(", self._source[:start])][-1]
        self._found.append(Mutant(0, self._file, line, start, stop, before, after, function, told))

    def _text(self, node: dict[str, Any]) -> str:
        start, end = _span(node)
        return self._source[start:end]


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
