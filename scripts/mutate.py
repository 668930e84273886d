"""Breaks the contracts on purpose, one small change at a time on a copy, and says which changes no test notices.

scripts/mutate.py [--file JobMarket.sol] [--lines 180-280,300] [--histories 40] [--list]
scripts/mutate.py --defences

All changes are compiled at once (mutation/schemata.py) and shown to the contracts' tests (mutation/suite.py), most of them for a second or less; what
those do not notice in the escrow, to random histories. With --defences only those changes that take away the defence against an attack
(mutation/defences.py), each shown to the test of that attack. docs/audit.md answers the survivors.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mutation.defences import DEFENCES
from mutation.mutants import Mutant, removal
from mutation.schemata import CONTRACTS, MARK, found_in, prepared, schemata

ROOT = Path(__file__).resolve().parents[1]
COPIED = (
    "contracts",
    "tests",
    "scripts",
    "client",
    "build/contracts.json",
    "build/forge",
    "build/forge-cache",
)
SETTINGS = ("foundry.toml", "pyproject.toml", "brownie-config.yaml", "package-lock.json")
ELSEWHERE = ("panel", "policies", "deploy", "gas", "random")
"""Tests that say nothing of the escrow, or weigh the code itself."""
ROOMY = {
    "tests/contracts/conftest.py": (
        '"--silent"]',
        '"--silent", "--disable-code-size-limit", "--gas-limit", "1000000000"]',
    ),
    "tests/contracts/world.py": ("hex(8_000_000)", "hex(100_000_000)"),
    "tests/contracts/court.py": ("MOST_GAS = 8_000_000", "MOST_GAS = 100_000_000"),
}
"""What the tests must allow a contract that holds all changes at once."""


def project(copy: Path) -> None:
    """Makes a copy of what the tests need."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif (ROOT / name).exists():
            (copy / name).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    for name in SETTINGS:
        shutil.copy(ROOT / name, copy)
    for name in ("node_modules", ".venv"):
        (copy / name).symlink_to(ROOT / name)
    for name, (old, new) in ROOMY.items():
        text = (copy / name).read_text()
        if old not in text:
            raise ValueError(f"{name} has no {old}")
        (copy / name).write_text(text.replace(old, new))


def suite(
    copy: Path, contract: str, code: str, shown: list[tuple[int, str, str]]
) -> Iterator[tuple[int, list[str]]]:
    """Of each change, with its verb and a part of the names of the tests that it is shown, the test that noticed it, if any did."""
    folder = copy / "tests" / "contracts"
    files = {
        "JobMarket": [
            each
            for each in folder.glob("test_*.py")
            if not each.stem.startswith(tuple(f"test_{name}" for name in ELSEWHERE))
        ],
        "Panel": list(folder.glob("test_panel_*.py")),
        "BlockRandom": [folder / "test_random.py"],
    }[contract]
    plan = copy / "plan.json"
    plan.write_text(json.dumps({"contract": contract, "bytecode": code, "shown": shown}))
    incoming, outgoing = os.pipe()
    environment = {
        "MUTATION_PLAN": str(plan),
        "MUTATION_FATES": str(outgoing),
        "PYTHONPATH": str(copy / "scripts"),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "mutation.suite", "-p", "no:cacheprovider"]
    command += ["--basetemp", str(copy / "tmp"), *map(str, sorted(files))]
    with (copy / "pytest.log").open("w") as log:
        program = subprocess.Popen(
            command, cwd=copy, env=os.environ | environment, pass_fds=[outgoing], stdout=log, stderr=log
        )
    os.close(outgoing)
    with os.fdopen(incoming) as fates:
        print(f"{contract}: fails unchanged: {json.loads(fates.readline() or '[]')}", flush=True)
        for line in fates:
            number, failed = json.loads(line)
            yield number, failed
    if program.wait() != 0:
        sys.exit(f"mutate: the tests did not run:\n{(copy / 'pytest.log').read_text()}")


def histories_pass(copy: Path, code: str, histories: int) -> bool:
    """Whether random histories of the escrow `code` keep its laws."""
    artifact = copy / "client" / "deai" / "abi" / "JobMarket.json"
    artifact.write_text(json.dumps(json.loads(artifact.read_text()) | {"bytecode": f"0x{code}"}))
    limits = {"FOUNDRY_INVARIANT_RUNS": str(histories), "FOUNDRY_INVARIANT_SHRINK_RUN_LIMIT": "0"}
    (forge,) = (ROOT / "node_modules" / "@foundry-rs").glob("forge-*/bin/forge")
    command = [str(forge), "test", "--match-contract", "LawsTest"]
    try:
        run = subprocess.run(
            command, cwd=copy, env=os.environ | limits, capture_output=True, check=False, timeout=300
        )
    except subprocess.TimeoutExpired:
        return False  # it has no end
    return run.returncode == 0


def try_all(changes: list[Mutant], codes: dict[str, str], histories: int) -> None:
    """Prints what became of each change, and their numbers at the end."""
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory(prefix="deai-mutate-") as folder:
        copy = Path(folder)
        project(copy)
        if not histories_pass(copy, codes["JobMarket"], 1):
            sys.exit("mutate: the laws do not hold with no change")
        for contract, files in CONTRACTS.items():
            mine = {each.number: each for each in changes if each.file in files}
            if not mine:
                continue
            shown = [(each.number, each.verb, "") for each in mine.values()]
            for number, failed in suite(copy, contract, codes[contract], shown):
                code = codes[contract].replace(MARK, f"{number:064x}")
                noticed = failed
                if not failed and contract == "JobMarket" and not histories_pass(copy, code, histories):
                    noticed = ["random histories"]
                fate = "killed" if noticed else "survived"
                counts[mine[number].file, fate] += 1
                print(f"{fate:9} {mine[number]}  {' '.join(noticed)}", flush=True)
    print(", ".join(f"{file}: {count} {fate}" for (file, fate), count in sorted(counts.items())))


def try_defences(changes: list[Mutant], codes: dict[str, str]) -> None:
    """Prints of each defence whether the test of its attack fails without it. Fails if one does not."""
    unnoticed = 0
    sources = prepared()
    with tempfile.TemporaryDirectory(prefix="deai-mutate-") as folder:
        copy = Path(folder)
        project(copy)
        for contract, files in CONTRACTS.items():
            mine = [
                (removal(each, changes, sources[each.file]), each) for each in DEFENCES if each.file in files
            ]
            if not mine:
                continue
            shown = [(change.number, change.verb, defence.test) for change, defence in mine]
            fates = suite(copy, contract, codes[contract], shown)
            for (change, defence), (_, failed) in zip(mine, fates, strict=True):
                unnoticed += not failed
                fate, test = ("noticed", failed[0]) if failed else ("UNNOTICED", defence.test)
                print(f"{fate:9} {defence.rows}: {change}  {test}", flush=True)
    if unnoticed:
        sys.exit(f"mutate: {unnoticed} defences are not tested")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    everything = [file for files in CONTRACTS.values() for file in files]
    parser.add_argument(
        "--file", choices=everything, action="append", help="only this one; may be given again"
    )
    parser.add_argument("--lines", default="1-100000", help="only these lines of it, as 180-280,300")
    parser.add_argument(
        "--histories", type=int, default=40, help="random histories for what the tests let pass"
    )
    parser.add_argument("--list", action="store_true", help="print the changes and try none")
    parser.add_argument("--defences", action="store_true", help="only the defences against attacks")
    options = parser.parse_args()
    found = found_in(everything)
    changes, codes = schemata(found)
    if options.defences:
        try_defences(changes, codes)
        return
    ranges = [
        (int(first), int(last or first))
        for first, _, last in (part.partition("-") for part in options.lines.split(","))
    ]
    files = options.file or everything
    chosen = [
        each
        for each in changes
        if each.file in files and any(first <= each.line <= last for first, last in ranges)
    ]
    if options.list:
        print("\n".join(map(str, chosen)))
        return
    print(f"{len(found) - len(changes)} changes of {len(found)} do not compile")
    try_all(chosen, codes, options.histories)


if __name__ == "__main__":
    main()
