"""Breaks the contracts on purpose, one small change at a time on a copy, and says which changes the fuzz tests do not notice.

scripts/mutate.py [--file JobMarket.sol] [--lines 180-280] [--histories 40] [--list]
A change to the settlement is shown to its own tests first, every other one, and what those let pass, to random histories.
docs/audit.md answers the survivors. A change takes half a minute to two, most of it the compiler.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILES = ("Settlement.sol", "Packed.sol", "JobMarket.sol", "Signatures.sol")
SWAPS = (
    *((" < ", " <= "), (" <= ", " < "), (" > ", " >= "), (" >= ", " > "), (" == ", " != "), (" != ", " == ")),
    *((" && ", " || "), (" || ", " && "), (" + ", " - "), (" - ", " + "), (" * ", " / "), (" / ", " * ")),
    *((" << ", " >> "), (" >> ", " << "), (" += ", " -= "), (" -= ", " += "), (" ? 0 : ", " ? 1 : ")),
    *(
        ("Outcome.Paid", "Outcome.Split"),
        ("Outcome.Split", "Outcome.Refunded"),
        ("Outcome.Refunded", "Outcome.Paid"),
    ),
    *(("JobState.Open", "JobState.Awarded"), ("JobState.Awarded", "JobState.Delivered")),
    *(("JobState.Delivered", "JobState.Disputed"), ("JobState.Disputed", "JobState.Closed")),
    *(("byArbiter ?", "!byArbiter ?"), ("BASIS_POINTS / 2", "BASIS_POINTS"), (" nonReentrant", "")),
)
STATEMENT = re.compile(r"(if \(.*\) revert .*|_\w+\(.*|\w+(\.\w+|\[.*\])* [-+]?= .*|emit .*|return;);$")
DECLARES = re.compile(r"(uint\d*|address|bool|bytes\d*|Job\w*|Locked|Terms|Payout|Account|mapping)\b.* = ")


@dataclass(frozen=True, slots=True)
class Mutant:
    """One changed line of one contract."""

    file: str
    line: int
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.old.strip()}  ->  {self.new.strip() or '(nothing)'}"


def mutants(file: str, source: str) -> Iterator[Mutant]:
    """Every change of `source`, in the order of its lines."""
    for number, line in enumerate(source.splitlines(), 1):
        code = line.strip()
        if (
            code.startswith(("//", "/*", "*", "import", "pragma", '"', "using", "error", "event"))
            or "constant" in code
        ):
            continue
        code_end = line.index("//") if "//" in line else len(line)
        for old, new in SWAPS:
            start = line.find(old, 0, code_end)
            while start >= 0:
                yield Mutant(file, number, line, line[:start] + new + line[start + len(old) :])
                start = line.find(old, start + len(old), code_end)
        if STATEMENT.fullmatch(code) and not DECLARES.match(code):
            yield Mutant(file, number, line, "")


def forge() -> str:
    found = sorted((ROOT / "node_modules" / "@foundry-rs").glob("forge-*/bin/forge"))
    if not found:
        sys.exit("mutate: no forge; run scripts/setup")
    return str(found[0])


def fate(mutant: Mutant, copy: Path, histories: int) -> str:
    """`killed`, `survived`, or `stillborn` if it does not compile."""
    path = copy / "contracts" / mutant.file
    source = path.read_text()
    lines = source.splitlines()
    lines[mutant.line - 1] = mutant.new
    path.write_text("\n".join(lines) + "\n")
    try:
        if mutant.file == "Settlement.sol" and not passes(copy, histories, "Settlement"):
            return "killed"
        if subprocess.run([forge(), "build"], cwd=copy, capture_output=True, check=False).returncode != 0:
            return "stillborn"
        return "survived" if passes(copy, histories, "Laws") else "killed"
    finally:
        path.write_text(source)


def passes(copy: Path, histories: int, tests: str) -> bool:
    limits = {
        "FOUNDRY_INVARIANT_RUNS": str(histories),
        "FOUNDRY_INVARIANT_SHRINK_RUN_LIMIT": "0",
        "FOUNDRY_FUZZ_RUNS": "1000",
    }
    command = [
        "env",
        *(f"{name}={value}" for name, value in limits.items()),
        forge(),
        "test",
        "--match-contract",
        tests,
    ]
    return subprocess.run(command, cwd=copy, capture_output=True, check=False).returncode == 0


def project(folder: Path) -> Path:
    """A copy of what forge needs, in `folder`."""
    copy = folder / "copy"
    for name in ("contracts", "tests/fuzz", "build/forge", "build/forge-cache"):
        if (ROOT / name).exists():
            shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / "foundry.toml", copy)
    for name in ("node_modules", ".venv"):
        (copy / name).symlink_to(ROOT / name)
    return copy


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--file", choices=FILES, action="append", help="only this contract; may be given again"
    )
    parser.add_argument("--lines", default="1-100000", help="only these lines of it, as 180-280")
    parser.add_argument(
        "--histories", type=int, default=40, help="random histories that a change must survive"
    )
    parser.add_argument("--list", action="store_true", help="print the changes and try none")
    options = parser.parse_args()
    first, last = map(int, options.lines.split("-"))
    chosen = [
        mutant
        for file in options.file or FILES
        for mutant in mutants(file, (ROOT / "contracts" / file).read_text())
        if first <= mutant.line <= last
    ]
    if options.list:
        print("\n".join(map(str, chosen)))
        return
    fates: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="deai-mutate-") as folder:
        copy = project(Path(folder))
        if not passes(copy, 1, "Settlement"):
            sys.exit("mutate: the tests do not pass on the contracts as they are")
        for mutant in chosen:
            end = fate(mutant, copy, options.histories)
            fates[end] = fates.get(end, 0) + 1
            print(f"{end:9} {mutant}", flush=True)
    print(", ".join(f"{count} {end}" for end, count in sorted(fates.items())))


if __name__ == "__main__":
    main()
