"""Compute profiles: names for resources, in tables that users can read and extend; and sizes as people write them."""

import re
import tomllib
from decimal import Decimal
from importlib import resources
from pathlib import Path
from typing import Any

from deai.errors import BadField
from deai.words import nearest

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(MiB|GiB|TiB|MB|GB|TB|M|G|T)?", re.IGNORECASE)
_MIB = {"m": 1, "g": 1 << 10, "t": 1 << 20}
_KEYS = {"cpus", "memory", "disk", "gpus", "gpu", "vram"}


def mebibytes(text: str, field: str) -> int:
    """`"80GiB"`, `"512MiB"`, `"1.5TiB"` in MiB, rounded down; a bare number is GiB, and GB means GiB as everywhere with GPUs. Raises BadField."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise BadField(field, text, "must be a size such as 512MiB or 80GiB")
    return int(Decimal(match[1]) * _MIB[(match[2] or "g")[0].lower()])


def millis(text: str, field: str) -> int:
    """`"2"` or `"0.5"` cores in thousandths of a core. Raises BadField."""
    if not re.fullmatch(r"\d+(\.\d{1,3})?", text.strip()):
        raise BadField(field, text, "must be a number of cores such as 2 or 0.5")
    return int(Decimal(text) * 1_000)


def table(home: Path | None = None) -> dict[str, dict[str, Any]]:
    """The profiles that ship with deai, with those of `home/profiles.toml` on top. Raises BadField for a table that does not parse."""
    profiles = tomllib.loads(resources.files("deai").joinpath("profiles.toml").read_text())
    own = home / "profiles.toml" if home else None
    if own is not None and own.exists():
        try:
            profiles |= tomllib.loads(own.read_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadField("profiles", str(own), f"is not TOML: {error}") from error
    return profiles


def fields(profile: dict[str, Any], where: str) -> dict[str, Any]:
    """The fields of `spec.Resources` that a profile, or flags of the same names, sets. Raises BadField."""
    unknown = sorted(set(profile) - _KEYS)
    if unknown:
        raise BadField(
            f"{where}.{unknown[0]}",
            profile[unknown[0]],
            f"is no field of a profile; {nearest(unknown[0], list(_KEYS))}",
        )
    readers: dict[str, tuple[str, Any]] = {
        "cpus": ("cpu_millis", lambda value: millis(str(value), f"{where}.cpus")),
        "memory": ("memory_mib", lambda value: mebibytes(str(value), f"{where}.memory")),
        "disk": ("disk_mib", lambda value: mebibytes(str(value), f"{where}.disk")),
        "vram": ("vram_mib", lambda value: mebibytes(str(value), f"{where}.vram")),
        "gpus": ("gpus", int),
        "gpu": ("gpu_model", str),
    }
    return {readers[key][0]: readers[key][1](value) for key, value in profile.items() if value is not None}


def find(name: str, home: Path | None = None) -> dict[str, Any]:
    """The fields of `spec.Resources` of the profile called `name`. Raises BadField that suggests the nearest name."""
    profiles = table(home)
    if name not in profiles:
        raise BadField("compute_profile", name, f"is no profile; {nearest(name, list(profiles))}")
    return fields(profiles[name], f"profiles.{name}")


def resources_of(name: str | None, overrides: dict[str, Any], home: Path | None = None) -> dict[str, Any]:
    """The fields of `spec.Resources` of a profile (or none, without a name) with `overrides`, in the profile's own words, on top."""
    wanted = (find(name, home) if name else {}) | fields(overrides, "resources")
    if wanted.get("vram_mib") and not wanted.get("gpus"):
        wanted["gpus"] = 1
    return wanted
