"""Whole lives of jobs, on a real chain and in real containers."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deai import callback
from deai.job import Address, JobState, Outcome
from deai.localnet import Localnet
from deai.submitter import Submitter
from tests.journeys.users import IMAGE, Cli, Jobs, advance
from tests.receivers import Receiver

PATIENCE = 60.0


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def wait_until(what: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.1)


def test_the_documents_command_is_paid_by_approval(
    net: Localnet, cli: Cli, quick: Cli, image: str, tmp_path: Path, receiver: Receiver
) -> None:
    """The users' command, word for word, in a process of its own; their profile table says that this machine will do."""
    script = tmp_path / "train"
    script.mkdir()
    (script / "main.py").write_text(
        "import pathlib\n"
        "words = pathlib.Path('/inputs/data').read_text().split()\n"
        "print('words', len(words), flush=True)\n"
        "pathlib.Path('/outputs/weights').mkdir()\n"
        "pathlib.Path('/outputs/weights/count.txt').write_text(str(len(words)))\n"
    )
    data = tmp_path / "data.txt"
    data.write_text("to be or not to be")
    (net.folder / "home" / "profiles.toml").write_text(
        '[gpu-a100-80gb-high]\ncpus = 1\nmemory = "128MiB"\ndisk = "64MiB"\n'
    )
    try:
        submitted = cli.json(
            "submit", "job", "--name", "LLM_Pretraining_Phase1", "--compute-profile", "gpu-a100-80gb-high",
            "--input-script-cid", quick.json("add", script)["cid"], "--input-data-cid", quick.json("add", data)["cid"],
            "--output-storage", "ipfs", "--output-path", "/my_llm_results/phase1_weights/",
            "--payment-token", "DAI", "--payment-amount", "250", "--callback-url", receiver.url,
            "--docker-image", IMAGE, "--yes",
        )  # fmt: skip
    finally:
        (net.folder / "home" / "profiles.toml").unlink()
    job = submitted["job"]
    before = quick.json("balance")

    followed = cli.run("logs", job, "--follow")
    assert "words 6" in followed.stdout
    wait_until(lambda: quick.json("status", job)["state"] == "Delivered")
    result = quick.json("results", job, "-o", tmp_path / "out")
    assert (
        tmp_path / "out" / "my_llm_results" / "phase1_weights" / "weights" / "count.txt"
    ).read_text() == "6"
    assert json.loads((tmp_path / "out" / "exit.json").read_text())["exit_code"] == 0
    assert quick.json("approve", job)["state"] == "Paid"

    status = quick.json("status", job)
    assert (status["state"], status["result_cid"]) == ("Paid", result["result_cid"])
    told = quick.run("history", job, "--rpc", net.rpc).stdout
    assert result["result_cid"] in told
    assert "Paid" in told
    after = quick.json("balance")
    assert int(before["escrow"]) - int(after["escrow"]) in (0, int(status["price"])), (
        "only the awarded price left the balance"
    )
    wait_until(lambda: quick.json("callback", job)["step"] == "delivered")
    (heard,), secret = receiver.heard, quick.json("callback", job)["secret"]
    called = callback.verify(heard.headers, heard.body, secret, time.time())["data"]
    assert (called["job"], called["outcome"], called["result_cid"]) == (job, "Paid", result["result_cid"])
    assert "callback delivered after 1 attempt" in quick.run("status", job).stdout
    again = quick.run("approve", job)
    assert again.returncode == 2
    assert "WrongState" in again.stderr


def test_a_silent_submitter_pays_when_the_window_is_over(
    net: Localnet, submitter: Submitter, jobs: Jobs
) -> None:
    token = submitter.deployment.token("DAI").address
    provider = Address(net.accounts["provider"].address)
    before = submitter.chain.balance(token, provider)

    job = jobs.submit("print('done')", window="1h", bond="2")
    delivered = submitter.wait(job, JobState.DELIVERED, timeout=PATIENCE)
    assert delivered.terms is not None
    advance(net, submitter, delivered.terms.window_end - submitter.chain.head().time)
    wait_until(lambda: submitter.chain.state(job) == (JobState.CLOSED, Outcome.PAID))

    assert submitter.chain.balance(token, provider) - before == delivered.terms.price
    assert delivered.terms.bond == 2 * 10**18


def test_a_job_nobody_can_run_stays_open_says_why_and_is_cancelled(
    quick: Cli, submitter: Submitter, jobs: Jobs
) -> None:
    job = jobs.submit("print('never')", gpus=1, gpu="A100", vram="79GiB")
    wait_until(lambda: "a100" in quick.json("status", job)["note"].lower())
    assert quick.json("status", job)["state"] == "Signed"

    assert quick.json("cancel", job)["state"] == "Cancelled"

    wait_until(lambda: submitter.view(job).state == "Cancelled")
    assert quick.run("cancel", job).returncode == 2


def test_a_provider_that_vanishes_loses_its_bond_and_the_submitter_is_refunded(
    net: Localnet, quick: Cli, submitter: Submitter, jobs: Jobs
) -> None:
    token = submitter.deployment.token("DAI").address
    before, burned = submitter.chain.balance(token, submitter.address), submitter.chain.burned(token)
    job = jobs.submit("import time; print('working', flush=True); time.sleep(600)", bond="3", timeout="900s")
    awarded = submitter.wait(job, JobState.AWARDED, timeout=PATIENCE)
    assert awarded.terms is not None
    assert submitter.chain.balance(token, submitter.address) == before - awarded.terms.price

    wait_until(lambda: bool(leftovers(job)))

    net.programs["deai-provider"].kill()
    early = quick.run("reclaim", job)
    assert early.returncode == 2
    assert "DeliverByAhead" in early.stderr
    net.advance(awarded.terms.deliver_by - submitter.chain.head().time)
    assert quick.json("reclaim", job)["state"] == "Refunded"

    assert submitter.chain.balance(token, submitter.address) == before
    assert submitter.chain.burned(token) == burned + 3 * 10**18

    net.start_provider()
    wait_until(lambda: not leftovers(job))


def leftovers(job: str) -> list[str]:
    """Containers and volumes of the job, as the engine and the kernel see them."""
    import docker

    client = docker.from_env()
    try:
        containers = client.containers.list(all=True, filters={"label": f"deai.job={job}"})
        names = [str(container.name) for container in containers]
    finally:
        client.close()
    mounts = [
        line for line in Path("/proc/mounts").read_text().splitlines() if job in line or job[2:34] in line
    ]
    return names + mounts


@pytest.mark.parametrize(
    ("script", "fields", "expected"),
    [
        ("import sys; print('it broke'); sys.exit(3)", {}, {"exit_code": 3, "timed_out": False}),
        (
            "import time; print('it broke', flush=True); time.sleep(60)",
            {"timeout": "2s"},
            {"timed_out": True},
        ),
        ("print('it broke', flush=True); x = bytearray(1 << 30)", {}, {"oom_killed": True}),
    ],
    ids=["fails", "too slow", "too big"],
)
def test_a_script_that_fails_is_delivered_as_such(
    submitter: Submitter,
    jobs: Jobs,
    tmp_path: Path,
    script: str,
    fields: dict[str, str],
    expected: dict[str, object],
) -> None:
    job = jobs.submit(script, **fields)
    submitter.wait(job, JobState.DELIVERED, timeout=PATIENCE)

    result = submitter.results(job, tmp_path / "out")
    assert result.exit_record is not None
    record = result.exit_record.model_dump()

    assert {key: record[key] for key in expected} == expected
    assert b"it broke" in (tmp_path / "out" / "log.txt").read_bytes()
    submitter.approve(job)
    assert submitter.progress(job).name == "Paid"
    wait_until(lambda: not leftovers(job))


def test_the_market_need_not_live_once_a_job_is_awarded(
    net: Localnet, submitter: Submitter, jobs: Jobs
) -> None:
    job = jobs.submit("import time; time.sleep(2); print('alone')")
    submitter.wait(job, JobState.AWARDED, timeout=PATIENCE)
    net.programs["deai-market"].kill()
    try:
        assert submitter.wait(job, JobState.DELIVERED, timeout=PATIENCE).state is JobState.DELIVERED
    finally:
        net.start_market()
    wait_until(lambda: submitter.view(job).state == "Delivered")
