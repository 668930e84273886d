"""What `deai up` shows of a market on this machine: its parts, its jobs, the agent's slots, and what the programs said last."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deai.ask import Ask
from deai.errors import DeaiError
from deai.job import Address, JobState
from deai.localnet import Localnet
from deai.market_api import MarketApi
from deai.terminal import safe_line
from deai.wire import JobView

JOBS, LINES = 10, 6
_TAIL_BYTES, _READ_BYTES = 1_000, 1 << 16
_ASKED_BLOCKS = 8
_SAVE_SECONDS, _SAVE_EMPTY_SECONDS = 2.0, 60.0
"""How often the chain is saved while transactions come, and while its blocks are empty: what is written grows with each block."""
_QUIET = "anvil"
"""Writes a line for each call."""
_STYLES = {
    "Paid": "green",
    "Refunded": "yellow",
    "Cancelled": "yellow",
    "Awarded": "cyan",
    "Delivered": "blue",
}


@dataclass(frozen=True, slots=True)
class Part:
    """A program, and how it is."""

    name: str
    well: bool
    text: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at a market."""

    parts: tuple[Part, ...]
    jobs: tuple[JobView, ...]
    """The newest first."""
    lines: tuple[str, ...]


class Eye:
    """Looks at a market that runs, and keeps its chain on disk. A context manager: its connections close with it."""

    def __init__(self, net: Localnet) -> None:
        self._net = net
        self._market = MarketApi(net.market_url, net.deployment.domain, timeout_seconds=2.0)
        self._provider = Address(net.accounts["provider"].address)
        self._lines: deque[str] = deque(maxlen=LINES)
        self._read = {
            name: max(0, program.log.stat().st_size - _TAIL_BYTES)
            for name, program in net.programs.items()
            if name != _QUIET
        }
        self._saved, self._saved_at = -1, float("-inf")
        self._seen, self._unsaved = -1, False

    def __enter__(self) -> "Eye":
        return self

    def __exit__(self, *_: object) -> None:
        self._market.close()

    def look(self) -> Seen:
        """How it is now. A part that does not answer is shown so."""
        jobs: list[JobView] = []
        parts = []
        for name, program in self._net.programs.items():
            code = program.exit_code
            if code is not None:
                parts.append(Part(name, False, f"ended with exit code {code}; see {program.log}"))
                continue
            try:
                match name:
                    case "anvil":
                        text = self._chain()
                    case "deai-market":
                        jobs = self._market.jobs(limit=JOBS)
                        text = self._net.market_url
                    case "deai-provider":
                        text = self._slots()
                    case _:
                        text = "runs"
                parts.append(Part(name, True, text))
            except (DeaiError, OSError) as error:  # a full disk, say
                parts.append(Part(name, False, " ".join(str(error).split())))
        for name, program in self._net.programs.items():
            self._lines.extend(self._news(name, program.log))
        return Seen(tuple(parts), tuple(jobs), tuple(self._lines))

    def _chain(self) -> str:
        block = int(self._net.node("eth_blockNumber"), 16)
        if block != self._seen:
            self._unsaved = self._unsaved or self._used(block)
            self._seen = block
        pause = _SAVE_SECONDS if self._unsaved else _SAVE_EMPTY_SECONDS
        if block != self._saved and time.monotonic() - self._saved_at > pause:
            self._net.save_chain()
            self._saved, self._saved_at, self._unsaved = block, time.monotonic(), False
        return f"{self._net.rpc}, block {block}"

    def _used(self, block: int) -> bool:
        """Whether the blocks since the last look, up to this one, hold a transaction. Of many, that is not asked."""
        new = range(self._seen + 1, block + 1)
        if not 0 < len(new) <= _ASKED_BLOCKS:
            return True
        counts = (self._net.node("eth_getBlockTransactionCountByNumber", hex(number)) for number in new)
        return any(int(count, 16) for count in counts)

    def _slots(self) -> str:
        asks = [Ask.parse(signed.ask.encode()) for signed in self._market.asks()]
        slots = sum(ask.capacity.slots for ask in asks if ask.provider == self._provider)
        awarded = self._market.jobs(state=JobState.AWARDED.name.capitalize())
        busy = sum(job.provider == self._provider for job in awarded)
        return f"jobs under way: {busy}, slots: {slots}" if slots else "offers nothing at present"

    def _news(self, name: str, log: Path) -> Iterator[str]:
        if name not in self._read:
            return
        try:
            with log.open("rb") as file:
                file.seek(self._read[name])
                text = file.read(_READ_BYTES)
        except OSError:  # somebody tidied up
            return
        whole = text[: text.rfind(b"\n") + 1]
        self._read[name] += len(whole)
        for line in whole.decode(errors="replace").splitlines():
            if line.strip():
                yield f"{name}: {safe_line(line)}"


def drawn(seen: Seen, notice: str) -> RenderableType:
    """The screen. Text of strangers is text: it cannot mark anything up."""
    parts = Table.grid(padding=(0, 2))
    for part in seen.parts:
        style = "green" if part.well else "bold red"
        parts.add_row(Text("●", style), Text(part.name, "bold"), Text(safe_line(part.text)))
    jobs = Table(box=box.SIMPLE, title_justify="left", expand=False)
    for column in ("job", "name", "state", "note"):
        jobs.add_column(column, no_wrap=column != "note", max_width=24 if column == "name" else None)
    for job in seen.jobs:
        jobs.add_row(
            Text(job.id[:12]),
            Text(safe_line(job.name)),
            Text(safe_line(job.state), _STYLES.get(job.state, "")),
            Text(safe_line(job.note), "dim"),
        )
    none = Text("  no jobs yet", "dim")
    lines = Text("\n".join(seen.lines), "dim", no_wrap=True, overflow="ellipsis")
    return Group(parts, jobs if seen.jobs else none, lines, Text(f"\n{notice}"))
