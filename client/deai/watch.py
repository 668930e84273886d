"""`deai up` at work: starts a market, shows it until it is told to stop, or leaves it in the background."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.live import Live

from deai.local_market import LocalMarket
from deai.localnet import Localnet
from deai.screen import Eye, drawn
from deai.terminal import emit, safe_line, say

_LOOK_SECONDS = 1.0
_POLL_SECONDS = 0.05
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Told(BaseException):
    """A signal said to stop."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


class TerminalGone(Exception):
    """Nobody can see what is shown any more."""


def watched(market: LocalMarket, *, fresh: bool, verifiers: int, as_json: bool) -> None:
    """Starts the market and shows it until a signal ends it, and all that was started with it. Exit code 130 after Ctrl-C."""
    number = 0

    def step(text: str) -> None:
        # A terminal that is gone must not keep the parts from being stopped.
        with suppress(OSError):
            emit({"step": text}) if as_json else say(text)

    with market.up(step, fresh=fresh):
        net = Localnet(market.folder, step, verifiers=verifiers)
        with _told() as deaf:
            try:
                net.start()
                environment = market.write_environment(net)
                with suppress(OSError):
                    emit(_ready(net, environment)) if as_json else say(
                        f"It is up. In another shell: . {environment}"
                    )
                _show(net, f". {environment}    deai down, or Ctrl-C, stops it", as_json)
            except Told as told:
                number = told.number
            except TerminalGone:
                number = signal.SIGHUP
            finally:
                deaf()
                step("Stopping")
                net.stop()
    if number == signal.SIGINT:
        sys.exit(128 + number)


def detached(market: LocalMarket, *, fresh: bool, verifiers: int, as_json: bool) -> None:
    """Starts `deai up` in the background and returns when it is ready; ends as that one does when it is not."""
    market.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    log = market.folder / "up.log"
    command = [sys.executable, "-m", "deai.cli", "up", "--json", "--verifiers", str(verifiers)]
    command += ["--fresh"] if fresh else []
    with log.open("wb") as out:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL, start_new_session=True
        )
    try:
        for line in _lines(log, child):
            if "step" in line and not as_json:
                say(line["step"])
            if "error" in line:
                emit(line) if as_json else None
                sys.stderr.write(f"error: {safe_line(line['detail'])}\n")
            if "ready" in line:
                emit(line) if as_json else say(
                    f"It is up; `deai down` stops it. In this shell: . {line['environment']}"
                )
                return
    except BaseException:
        child.terminate()
        raise
    sys.exit(child.wait() or 1)


def _ready(net: Localnet, environment: Path) -> dict[str, Any]:
    return {
        "ready": True,
        "rpc": net.rpc,
        "market": net.market_url,
        "environment": str(environment),
        "folder": str(net.folder),
    }


def _lines(log: Path, child: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any]]:
    """What the program prints, until it ends."""
    with log.open() as file:
        partial = ""
        while True:
            ended = child.poll() is not None
            while part := file.readline():
                partial += part
                if partial.endswith("\n"):
                    yield json.loads(partial)
                    partial = ""
            if ended:
                return
            time.sleep(_POLL_SECONDS)


@contextmanager
def _told() -> Iterator[Callable[[], None]]:
    """The first signal to stop raises Told; what is yielded makes all later ones unheard, so that nothing is left half stopped."""

    def deaf() -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)

    def tell(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        deaf()
        raise Told(number)

    before = {each: signal.getsignal(each) for each in _SIGNALS}
    for each in _SIGNALS:
        if each != signal.SIGHUP or before[each] != signal.SIG_IGN:  # as `nohup` asks for
            signal.signal(each, tell)
    try:
        yield deaf
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _show(net: Localnet, notice: str, as_json: bool) -> None:
    """Until a signal ends it. Raises TerminalGone."""
    console = Console()
    try:
        with Eye(net) as eye:
            if as_json or not console.is_terminal:
                _tell(eye, as_json)
            with Live(console=console, auto_refresh=False, transient=True) as live:
                while True:
                    live.update(drawn(eye.look(), notice), refresh=True)
                    time.sleep(_LOOK_SECONDS)
    except OSError as error:
        raise TerminalGone from error


def _tell(eye: Eye, as_json: bool) -> None:
    """A line for each change, forever."""
    told: dict[str, object] = {}
    while True:
        seen = eye.look()
        for part in seen.parts:
            if told.get(part.name, True) != part.well:
                told[part.name] = part.well
                emit(asdict(part)) if as_json else say(f"{part.name}: {safe_line(part.text)}")
        for job in reversed(seen.jobs):
            if told.get(job.id) != job.state:
                told[job.id] = job.state
                line = {"job": job.id, "name": job.name, "state": job.state, "note": job.note}
                emit(line) if as_json else say(
                    f"Job {job.id[:12]}  {safe_line(job.name)}  {safe_line(job.state)}"
                )
        time.sleep(_LOOK_SECONDS)
