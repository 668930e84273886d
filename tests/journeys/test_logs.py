"""`deai logs` as its submitter uses it."""

import json
from pathlib import Path

import pytest

from deai.job import JobId, JobState
from deai.submitter import Submitter
from tests.journeys.users import Cli, Jobs

# UTF-8: the engine's own log replaces other bytes.
OUTPUT = b"epoch 1 loss 0.5\nsaved\n\x1b[2Jodd \xc3\xa9\nepoch 2 loss 0.4\nend"
SCRIPT = f"import sys; sys.stdout.buffer.write({OUTPUT!r})"
WRONG = 2


@pytest.fixture
def job(jobs: Jobs, submitter: Submitter, quick: Cli) -> JobId:
    job = jobs.submit(SCRIPT)
    submitter.wait(job, JobState.DELIVERED, timeout=120)
    assert quick.run("logs", job, "--follow").returncode == 0
    return job


def test_logs_are_filtered_and_exported_byte_by_byte(quick: Cli, job: JobId, tmp_path: Path) -> None:
    shown = quick.run("logs", job).stdout
    assert "epoch 1 loss 0.5\n" in shown
    assert "\\x1b[2Jodd" in shown, "what would clear the screen is shown instead"

    assert quick.run("logs", job, "--filter", "loss").stdout == "epoch 1 loss 0.5\nepoch 2 loss 0.4\n"
    assert quick.run("logs", job, "--filter", "/^s.*d$/").stdout == "saved\n"
    assert quick.run("logs", job, "--filter", "/(/").returncode == WRONG

    file = tmp_path / "log"
    assert quick.json("logs", job, "--export", file) == {"job": job, "file": str(file), "bytes": len(OUTPUT)}
    assert file.read_bytes() == OUTPUT
    refused = quick.run("logs", job, "--export", file, "--filter", "loss")
    assert (refused.returncode, file.read_bytes()) == (WRONG, OUTPUT)
    assert "--force" in refused.stderr
    assert quick.run("logs", job, "--export", file, "--filter", "loss", "--force").returncode == 0
    assert file.read_bytes() == b"epoch 1 loss 0.5\nepoch 2 loss 0.4\n"
    assert list(tmp_path.iterdir()) == [file]

    lines = [
        json.loads(line) for line in quick.run("logs", job, "--filter", "odd", "--json").stdout.splitlines()
    ]
    assert (lines[0]["offset"], bytes.fromhex(lines[0]["data"][2:])) == (23, b"\x1b[2Jodd \xc3\xa9\n")


def test_of_a_job_without_output_the_result_is_said_to_be_the_place(
    quick: Cli, jobs: Jobs, submitter: Submitter
) -> None:
    job = jobs.submit("pass")
    submitter.wait(job, JobState.DELIVERED, timeout=120)

    done = quick.run("logs", job)

    assert done.stdout == ""
    assert f"deai results {job[:12]} -o DIR" in done.stderr
    assert "log.txt" in done.stderr
