"""Brownie for this repository, independent of the user's own Brownie settings."""

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / "build" / "brownie"


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


def load() -> Any:
    """The project, compiled where sources changed; its contracts are attributes."""
    prepare()
    _forget_stale_builds()
    from brownie.project import main  # noqa: PLC0415

    return main.load(ROOT, "Deai", raise_if_loaded=False)


def _forget_stale_builds() -> None:
    """Brownie's cache notices changed sources, but neither changed settings nor another OpenZeppelin."""
    made_with = hashlib.sha256()
    for name in ("brownie-config.yaml", "package-lock.json"):
        made_with.update((ROOT / name).read_bytes())
    stamp = ROOT / "build" / "made-with"
    if not stamp.is_file() or stamp.read_text() != made_with.hexdigest():
        shutil.rmtree(ROOT / "build" / "contracts", ignore_errors=True)
        stamp.write_text(made_with.hexdigest())
