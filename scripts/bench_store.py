#!/usr/bin/env python3
"""How fast and how lean the store on this disk is, against plain code that handles the same bytes.

`put_ratio`: the speed of `unixfs.add`, against hashing each chunk of the same file, writing it to a file of its own and syncing that.
`get_ratio`: the speed of getting each block of the tree, against reading and hashing the same files.
Both are medians over rounds in which the two take turns, on a file of random bytes. `peak_mib` is the most memory that a process
had which puts, gets and fetches the file.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deai import unixfs
from deai.cid import Cid
from deai.errors import DeaiError
from deai.local_store import LocalStore
from ending import end_in_order
from machine import Machine

CHECKOUT = Path(__file__).resolve().parent.parent
GOAL_RATIO, GOAL_PEAK_MIB = 0.8, 160

_PEAK = """
import resource, sys
from pathlib import Path
from deai import unixfs
from deai.local_store import LocalStore
folder = Path(sys.argv[1])
store = LocalStore(folder / "store")
root = unixfs.add(folder / "source", store)
store.pin(root)
for cid in unixfs.walk(store, root):
    store.get(cid)
unixfs.fetch(store, root, folder / "target")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of each of the four, one after the other."""

    plain_put: float
    put: float
    plain_get: float
    get: float


def plain_put(source: Path, target: Path) -> None:
    """Hashes each chunk, writes it to a file of its own, and syncs that."""
    target.mkdir()
    with source.open("rb", buffering=0) as content:
        while chunk := content.read(unixfs.CHUNK_BYTES):
            with (target / hashlib.sha256(chunk).hexdigest()).open("wb", buffering=0) as block:
                block.write(chunk)
                os.fsync(block.fileno())


def plain_get(files: list[Path]) -> None:
    """Reads and hashes each file."""
    for file in files:
        hashlib.sha256(file.read_bytes()).digest()


def get(store: LocalStore, root: Cid) -> None:
    """Gets each block of the tree, verified, in order."""
    for cid in unixfs.walk(store, root):
        store.get(cid)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def one_round(folder: Path, source: Path) -> Round:
    """Plain code and ours, on the same file, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        here = Path(name)
        plainly = seconds(lambda: plain_put(source, here / "plain"))
        store = LocalStore(here / "store")
        roots: list[Cid] = []
        ours = seconds(lambda: roots.append(unixfs.add(source, store)))
        files = sorted(path for path in (here / "store" / "blocks").rglob("*") if path.is_file())
        return Round(plainly, ours, seconds(lambda: plain_get(files)), seconds(lambda: get(store, roots[0])))


def bench(mebibytes: int, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measures, in a folder of the checkout that is gone afterwards; what it found."""
    machine = Machine()
    (CHECKOUT / ".cache").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-store-", dir=CHECKOUT / ".cache") as name:
        folder = Path(name)
        with (folder / "source").open("wb") as source:
            for _ in range(mebibytes):
                source.write(os.urandom(1 << 20))
        one_round(folder, folder / "source")  # the first one warms caches for the others
        found = []
        for number in range(rounds):
            found.append(now := one_round(folder, folder / "source"))
            say(
                f"round {number + 1}: put {mebibytes / now.put:.0f} MiB/s of {mebibytes / now.plain_put:.0f}, "
                f"get {mebibytes / now.get:.0f} MiB/s of {mebibytes / now.plain_get:.0f}"
            )
        child = subprocess.run(
            [sys.executable, "-c", _PEAK, str(folder)], check=True, capture_output=True, text=True
        )
    return {
        "bench": "store",
        "mebibytes": mebibytes,
        "rounds": rounds,
        "put_ratio": round(statistics.median(each.plain_put / each.put for each in found), 3),
        "get_ratio": round(statistics.median(each.plain_get / each.get for each in found), 3),
        "put_mib_per_s": round(mebibytes / statistics.median(each.put for each in found)),
        "get_mib_per_s": round(mebibytes / statistics.median(each.get for each in found)),
        "peak_mib": int(child.stdout),
        "machine": machine.facts(),
    }


def main() -> int:
    """Measures, and prints what it found; exit code 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object")
    parser.add_argument("--mebibytes", type=int, default=256, help="size of the file (default: 256)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default: 5)")
    given = parser.parse_args()
    end_in_order()
    needed = 5 * given.mebibytes << 20
    if (free := shutil.disk_usage(CHECKOUT).free) < needed:
        print(f"bench: needs {needed >> 20} MiB of disk, and there are {free >> 20}", file=sys.stderr)
        return 3
    try:
        found = bench(given.mebibytes, given.rounds, lambda text: print(text, flush=True))
    except DeaiError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 3
    print(f"put {found['put_ratio']} of plain code's speed (goal: at least {GOAL_RATIO})")
    print(f"get {found['get_ratio']} of plain code's speed (goal: at least {GOAL_RATIO})")
    print(f"peak {found['peak_mib']} MiB (goal: at most {GOAL_PEAK_MIB})")
    if given.json:
        print(json.dumps(found))
    slow = min(found["put_ratio"], found["get_ratio"]) < GOAL_RATIO or found["peak_mib"] > GOAL_PEAK_MIB
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
