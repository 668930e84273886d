"""`deai up` and `deai down`: a market in one command, that goes on where it stopped and leaves nothing behind."""

import json
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import image as builder
from deai.program import written_down
from tests.journeys.users import ROOT, Cli, CliInProcess

DEAI = Path(sys.executable).with_name("deai")
PATIENCE = 240
WRONG, INTERRUPTED = 2, 130


def shell(home: Path, line: str, *, environment: Path | None = None) -> subprocess.CompletedProcess[str]:
    """As a person types it, after sourcing the file if there is one."""
    start = (
        f". {shlex.quote(str(environment))}; "
        if environment
        else f"export DEAI_HOME={shlex.quote(str(home))}; "
    )
    outside = {name: value for name, value in os.environ.items() if not name.startswith("DEAI_")}
    path = f"{DEAI.parent}:{outside['PATH']}"
    return subprocess.run(
        ["bash", "-c", start + line],
        env={**outside, "PATH": path},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def spoken(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def left(folder: Path) -> list[str]:
    """Processes, mounts and containers that belong to the market in `folder`."""
    import docker

    found = [line for line in Path("/proc/mounts").read_text().splitlines() if str(folder) in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(folder) in words and int(process.name) != os.getpid():
            found.append(words[:80].decode(errors="replace"))
    client = docker.from_env()
    try:
        found += [
            str(each.name)
            for each in client.containers.list(all=True)
            if any(str(folder) in str(mount) for mount in each.attrs["Mounts"])
        ]
    finally:
        client.close()
    return found


def quick(environment: Path) -> Cli:
    """The command after sourcing the file, without a shell and a process for each."""
    told = subprocess.run(
        ["bash", "-c", f". {shlex.quote(str(environment))}; env -0"],
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    return CliInProcess(dict(each.split("=", 1) for each in told if each.startswith("DEAI_")))


def becomes(cli: Cli, job: object, state: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while cli.json("status", job)["state"] != state:
        assert time.monotonic() < deadline, cli.run("status", job).stdout
        time.sleep(0.5)


@contextmanager
def terminal(home: Path, *words: str, until: bytes) -> Iterator[None]:
    """`deai` at a terminal that shows `until`, and that goes away in the end: then the command has ended well."""
    pid, screen = pty.fork()
    if pid == 0:
        os.environ["DEAI_HOME"] = str(home)
        os.execv(DEAI, [str(DEAI), *words])  # noqa: S606
    seen, closing = bytearray(), threading.Event()

    def watch() -> None:
        while not closing.is_set():
            if select.select([screen], [], [], 0.1)[0]:
                seen.extend(os.read(screen, 1 << 16))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        deadline = time.monotonic() + PATIENCE
        while until not in seen:
            assert time.monotonic() < deadline, bytes(seen)
            time.sleep(0.05)
        yield
    finally:
        closing.set()
        watching.join()
        os.close(screen)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.timeout(900)
def test_a_market_goes_on_after_down_and_leaves_nothing_even_when_it_was_killed(
    docker_engine: None, tmp_path: Path
) -> None:
    archive = builder.build(ROOT / ".cache" / "image").archive
    ready = spoken(shell(tmp_path, "deai up --detach --json"))
    environment, folder = Path(str(ready["environment"])), tmp_path / "local"
    try:
        again = shell(tmp_path, "deai up", environment=environment)
        assert again.returncode == WRONG
        assert "up already" in again.stderr

        cli = quick(environment)
        assert "no jobs" in cli.run("jobs").stdout
        cli.json("add", archive, "--image", "py")
        job = spoken(
            shell(
                tmp_path,
                "deai submit job --name first --docker-image py --command \"python3 -c 'print(1); print(22)'\" "
                "--payment-token DAI --payment-amount 5 --memory 128MiB --disk 64MiB --timeout 60s --yes --json",
                environment=environment,
            )
        )["job"]
        becomes(cli, job, "Delivered")

        (up,) = written_down(folder / "up.json")
        os.kill(up.pid, signal.SIGKILL)
        assert len([each for each in written_down(folder / "running.json") if each.alive]) >= 3
    finally:
        stopped = shell(tmp_path, "deai down --json", environment=environment)
    assert spoken(stopped)["stopped"] is True
    assert left(tmp_path) == []
    assert spoken(shell(tmp_path, "deai down --json"))["stopped"] is False

    outside = {name: value for name, value in os.environ.items() if not name.startswith("DEAI_")}
    with subprocess.Popen(
        [str(DEAI), "up", "--json"],
        env={**outside, "DEAI_HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    ) as second:
        try:
            assert second.stdout is not None
            for line in second.stdout:
                if "ready" in json.loads(line):
                    break
            listed = cli.json("jobs", "--all")
            assert (listed["id"], listed["state"]) == (job, "Delivered")
            assert cli.json("approve", job)["state"] == "Paid"
        finally:
            second.send_signal(signal.SIGINT)
            second.communicate(timeout=PATIENCE)
    assert second.returncode == INTERRUPTED
    assert left(tmp_path) == []


@pytest.mark.timeout(600)
def test_with_verifiers_a_liars_dispute_is_judged_by_re_runs_until_the_terminal_goes_away(
    docker_engine: None, tmp_path: Path
) -> None:
    archive = builder.build(ROOT / ".cache" / "image").archive
    (tmp_path / "hello.py").write_text("open('/outputs/said', 'w').write('hello')")

    with terminal(tmp_path, "up", "--verifiers", "3", until=b"jobs under way: 0, slots: 2"):
        cli = quick(tmp_path / "local" / "env.sh")
        image = cli.json("add", archive, "--image", "mine")["cid"]
        script = cli.json("add", tmp_path / "hello.py")["cid"]
        job = cli.json(
            *("submit", "job", "--name", "judged", "--docker-image", image, "--input-script-cid", script),
            *("--memory", "64MiB", "--disk", "64MiB", "--timeout", "60s", "--payment-token", "DAI"),
            *("--payment-amount", "1", "--verification", "optimistic", "--yes"),
        )["job"]
        becomes(cli, job, "Delivered")

        assert f"`deai status {job}` shows how its case stands" in cli.run("dispute", job, "--yes").stdout

        becomes(cli, job, "Paid")
        case = cli.json("status", job)["case"]
        assert (case["verdict"], case["seats"], case["votes"], case["share_bps"]) == ("good", 3, 3, 10_000)
        assert "case good: the provider gets 100 %" in cli.run("status", job).stdout
        told = cli.run("history", job).stdout
        assert told.count(": 0x") >= 9
        for part in ("was drawn for seat 2", "sealed its vote", "voted good", "earned", "CaseClosed: good"):
            assert part in told
    assert left(tmp_path) == []
