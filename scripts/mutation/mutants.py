"""The small changes that break a contract: one for nearly every node of its syntax tree, and those made by hand that take a defence away."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mutation.defences import Defence

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


def by_hand(defence: Defence, source: str) -> Mutant:
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


def removal(defence: Defence, changes: list[Mutant], source: str) -> Mutant:
    """The change that takes the defence away."""
    told = f"{defence.old} -> {defence.new}" if defence.new is not None else defence.old
    start = _begin(defence, source)
    end = source.index("\n    }\n" if "\n    function" in source else "\n}\n", start)
    return next(
        each
        for each in changes
        if each.file == defence.file and each.told == told and start <= each.start < end
    )


def _begin(defence: Defence, source: str) -> int:
    function = f"function {defence.within}("
    return source.index(function if function in source else defence.within)


def _line(source: str, position: int) -> int:
    return source.count("\n", 0, position) + 1


def nodes(tree: object) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if "nodeType" in tree and "src" in tree:
            yield tree
        for value in tree.values():
            yield from nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from nodes(value)


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
            node for node in nodes(tree) if node["nodeType"] == "VariableDeclaration" and node["constant"]
        ]
        hidden = {id(node) for constant in constants for node in nodes(constant)}
        for loop in (node for node in nodes(tree) if node["nodeType"] == "ForStatement"):
            hidden |= {id(loop.get("initializationExpression")), id(loop.get("loopExpression"))}
        for node in nodes(tree):
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
