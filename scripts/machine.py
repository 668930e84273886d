"""The machine that a benchmark ran on, and how much of it was there."""

import os
import platform
from pathlib import Path
from typing import Any

_STAT = Path("/proc/stat")
_FIELDS = 8
"""So many fields of a line of proc(5)'s stat make up the whole, the last of them what a hypervisor gave to others; guests' are counted in them."""


class Machine:
    """Watched from its creation on."""

    def __init__(self) -> None:
        self._began, self._load = _ticks(), os.getloadavg()[0]

    def facts(self) -> dict[str, Any]:
        """What it is; `load_1m` when the watch began, and `stolen`, the share of the processors' time since then that other virtual machines
        had: None where the kernel does not say. With a tenth or more stolen, seconds say little, and ratios less than they seem to.
        """
        return {
            "cores": len(os.sched_getaffinity(0)),
            "arch": platform.machine(),
            "kernel": platform.release(),
            "python": platform.python_version(),
            "load_1m": round(self._load, 2),
            "stolen": self._stolen(),
        }

    def _stolen(self) -> float | None:
        if self._began is None or (now := _ticks()) is None:
            return None
        stolen, whole = (after - before for before, after in zip(self._began, now, strict=True))
        return round(stolen / whole, 3) if whole else 0.0


def _ticks() -> tuple[int, int] | None:
    """The ticks stolen and all ticks, of all processors, since the machine began."""
    try:
        line = _STAT.read_text().splitlines()[0].split()
    except OSError:
        return None
    ticks = [int(field) for field in line[1 : _FIELDS + 1]]
    return ticks[-1], sum(ticks)
