"""`deai up` and `deai down`: a market in one command, that goes on where it stopped and leaves nothing behind."""

import json
import os
import pty
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import image as builder
from deai.program import written_down
from tests.journeys.users import ROOT

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


def wait_for_state(home: Path, environment: Path, state: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        seen = spoken(shell(home, "deai jobs --json", environment=environment))
        if seen["state"] == state:
            return
        assert time.monotonic() < deadline, seen
        time.sleep(1)


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

        assert "no jobs" in shell(tmp_path, "deai jobs", environment=environment).stdout
        spoken(shell(tmp_path, f"deai add {archive} --image py --json", environment=environment))
        job = spoken(
            shell(
                tmp_path,
                "deai submit job --name first --docker-image py --command \"python3 -c 'print(1); print(22)'\" "
                "--payment-token DAI --payment-amount 5 --memory 128MiB --disk 64MiB --timeout 60s --yes --json",
                environment=environment,
            )
        )["job"]
        wait_for_state(tmp_path, environment, "Delivered")

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
            listed = spoken(shell(tmp_path, "deai jobs --all --json", environment=environment))
            assert (listed["id"], listed["state"]) == (job, "Delivered")
            assert (
                spoken(shell(tmp_path, f"deai approve {job} --json", environment=environment))["state"]
                == "Paid"
            )
        finally:
            second.send_signal(signal.SIGINT)
            second.communicate(timeout=PATIENCE)
    assert second.returncode == INTERRUPTED
    assert left(tmp_path) == []


@pytest.mark.timeout(600)
def test_a_terminal_that_goes_away_takes_its_market_with_it(docker_engine: None, tmp_path: Path) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["DEAI_HOME"] = str(tmp_path)
        os.execv(DEAI, [str(DEAI), "up"])  # noqa: S606
    try:
        seen, deadline = b"", time.monotonic() + PATIENCE
        while b"of 2 slots at work" not in seen:
            assert time.monotonic() < deadline, seen
            if select.select([terminal], [], [], 1)[0]:
                seen += os.read(terminal, 1 << 16)
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert left(tmp_path) == []


@pytest.mark.timeout(900)
def test_with_verifiers_a_liars_dispute_is_judged_by_re_runs(docker_engine: None, tmp_path: Path) -> None:
    archive = builder.build(ROOT / ".cache" / "image").archive
    ready = spoken(shell(tmp_path, "deai up --detach --verifiers 3 --json"))
    environment = Path(str(ready["environment"]))
    (tmp_path / "hello.py").write_text("open('/outputs/said', 'w').write('hello')")

    def run(line: str) -> dict[str, object]:
        return spoken(shell(tmp_path, f"{line} --json", environment=environment))

    def becomes(job: object, state: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while run(f"deai status {job}")["state"] != state:
            assert time.monotonic() < deadline, shell(tmp_path, f"deai status {job}", environment=environment)
            time.sleep(1)

    try:
        image = run(f"deai add {archive} --image mine")["cid"]
        script = run(f"deai add {tmp_path}/hello.py")["cid"]
        resources = "--memory 64MiB --disk 64MiB --timeout 60s --payment-token DAI --payment-amount 1"
        job = run(
            f"deai submit job --name judged --docker-image {image} --input-script-cid {script} {resources}"
            " --verification optimistic --yes"
        )["job"]
        becomes(job, "Delivered")

        run(f"deai dispute {job} --yes")

        becomes(job, "Paid")
    finally:
        shell(tmp_path, "deai down", environment=environment)
    assert left(tmp_path / "local") == []
