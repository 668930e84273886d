"""The command line's verbs for posts, disputes, many jobs and the native coin, on a real chain and with real runs."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deai.job import Address, JobId, JobState
from deai.localnet import Localnet, local_account
from deai.submitter import Submitter
from tests.journeys.users import Cli, Jobs, advance

PATIENCE = 60.0
WRONG = 2
VERIFIER = local_account(7)
SEATS = 3


@pytest.fixture(scope="module")
def panel(net: Localnet) -> Iterator[None]:
    """Somebody has staked for as many seats as a case has; nobody votes. Everybody goes again afterwards."""
    panel = net.panel()
    net.mint(Address(VERIFIER.address), net.deployment.token("DAI").amount("100"))
    panel.stake(VERIFIER, 0, SEATS)
    yield
    panel.leave(VERIFIER, 0, list(panel.tickets(0, Address(VERIFIER.address))))


@pytest.fixture
def flags(quick: Cli, image: str, tmp_path: Path) -> list[str]:
    (tmp_path / "script.py").write_text("import sys; print('it broke'); sys.exit(3)")
    script = quick.json("add", tmp_path / "script.py")["cid"]
    return [
        "--name", "verbs", "--docker-image", image, "--input-script-cid", script, "--payment-token", "DAI",
        "--payment-amount", "2", "--memory", "128MiB", "--disk", "64MiB", "--timeout", "60s",
    ]  # fmt: skip


def has_state(quick: Cli, job: str, *states: str) -> str:
    deadline = time.monotonic() + PATIENCE
    while (state := quick.json("status", job)["state"]) not in states:
        assert time.monotonic() < deadline, quick.run("status", job).stdout
        time.sleep(0.2)
    return str(state)


def test_a_posted_job_is_found_on_the_chain_run_and_shown_with_its_exit_code(
    quick: Cli, submitter: Submitter, flags: list[str]
) -> None:
    job = quick.json("post", *flags, "--yes")["job"]
    assert has_state(quick, job, "Open", "Awarded", "Delivered")

    has_state(quick, job, "Delivered")

    assert submitter.home.order(job).signature == b""
    assert quick.json("status", job)["end"] == "exit 3"
    assert "exit 3" in quick.run("status", job).stdout
    listed = next(line for line in quick.run("jobs").stdout.splitlines() if line.startswith(job[:12]))
    assert "exit 3" in listed
    quick.json("approve", job)
    again = quick.run("approve", job)
    assert again.returncode == WRONG
    assert "it is Paid already" in again.stderr


def test_a_dispute_shows_what_it_costs_asks_and_lapses_when_nobody_rules(
    net: Localnet, quick: Cli, submitter: Submitter, panel: None, flags: list[str]
) -> None:
    token = submitter.deployment.token("DAI").address
    shown = quick.run("submit", "job", *flags, "--verification", "optimistic", stdin="n\n").stdout
    for word in ("optimistic: you may dispute", "dispute fee", "delay", "a cheater", "or more on average"):
        assert word in shown
    submitted = quick.json("submit", "job", *flags, "--verification", "optimistic", "--yes")
    job, fee = submitted["job"], int(submitted["dispute_fee"])
    has_state(quick, job, "Delivered")
    before = submitter.chain.balance(token, submitter.address)

    asked = quick.run("dispute", job, stdin="n\n")
    assert asked.returncode == WRONG
    assert "prepaid now" in asked.stdout
    assert submitter.chain.state(job)[0] is JobState.DELIVERED

    assert quick.json("dispute", job, "--yes")["state"] == "Disputed"
    assert net.panel().case(JobId(job)) is not None
    again = quick.run("dispute", job)
    assert again.returncode == WRONG
    assert "prepaid now" not in again.stdout
    assert submitter.chain.balance(token, submitter.address) == before - fee
    standing = quick.run("status", job).stdout
    assert "the panel rules before" in standing
    assert "case drawing, round 1" in standing or "case voting, round 1" in standing
    early = quick.run("lapse", job)
    assert early.returncode == WRONG
    assert "its arbiter may rule until 20" in early.stderr

    terms = submitter.terms(job)
    advance(net, submitter, terms.rule_by - submitter.chain.head().time)
    has_state(quick, job, "Disputed", "Split")
    if submitter.chain.state(job)[0] is JobState.DISPUTED:  # the provider may have been quicker
        quick.run("lapse", job)
    assert has_state(quick, job, "Split")
    assert submitter.chain.balance(token, submitter.address) == before - fee + terms.price - terms.price // 2
    assert "Split" in quick.run("history", job).stdout


def test_without_an_arbiter_the_table_says_that_any_digest_is_paid_and_there_is_no_dispute(
    quick: Cli, submitter: Submitter, flags: list[str]
) -> None:
    shown = quick.run("submit", "job", *flags, stdin="y\n").stdout
    assert "none: any digest that is delivered in time gets paid" in shown
    job = submitter.home.find(shown.splitlines()[-2].split()[-1])
    has_state(quick, job, "Delivered")

    done = quick.run("dispute", job)

    assert done.returncode == WRONG
    assert "has no arbiter" in done.stderr
    early = quick.run("settle", job)
    assert "its result may be disputed until 20" in early.stderr
    quick.json("approve", job)


def test_several_job_files_are_signed_at_once_and_cancel_all_ends_what_was_not_awarded(
    quick: Cli, submitter: Submitter, flags: list[str], tmp_path: Path
) -> None:
    for name, gpus in (("runs", 0), ("waits", 7), ("waits too", 7)):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\ngpus: {gpus}\n")
    files = [word for name in ("runs", "waits", "waits too") for word in ("-f", tmp_path / f"{name}.yaml")]
    own = flags[2:]  # the files name the jobs

    done = quick.run("submit", "job", *own, *files, "--yes", "--json")

    assert done.returncode == 0, done.stderr
    runs, *waiting = (json.loads(line)["job"] for line in done.stdout.splitlines())
    orders = [submitter.home.order(job) for job in (runs, *waiting)]
    assert len({order.signature[:64] for order in orders}) == 1
    has_state(quick, runs, "Delivered")
    none = quick.run("results", waiting[0], "-o", tmp_path / "none")
    assert none.returncode == WRONG
    assert f"no result was delivered; `deai status {waiting[0]}` tells where the job stands" in none.stderr
    token = submitter.deployment.token("DAI").address
    assert quick.json("cancel", "--all", "DAI")["token"] == "DAI"
    assert submitter.chain.epoch(token, submitter.address) == orders[0].job.epoch + 1
    assert [submitter.chain.state(job)[0] for job in waiting] == [JobState.UNKNOWN] * 2
    quick.json("approve", runs)


def test_a_job_is_paid_in_the_native_coin(
    quick: Cli, net: Localnet, submitter: Submitter, jobs: Jobs
) -> None:
    quick.json("deposit", "ETH", "3")

    job = jobs.submit("print('coin')", payment_token="ETH", payment_amount="2")
    has_state(quick, job, "Delivered")
    quick.json("approve", job)

    terms = submitter.terms(job)
    provider = Address(net.accounts["provider"].address)
    assert submitter.chain.balance(terms.token, provider) >= terms.price > 0
    left = submitter.chain.balance(terms.token, submitter.address)
    assert quick.json("withdraw", "ETH", "0.5")["escrow"] == str(left - 5 * 10**17)
    too_much = quick.run("withdraw", "ETH", "100")
    assert too_much.returncode == WRONG
    assert "amount: '100 ETH': is more than the " in too_much.stderr
    assert "ETH you have in the escrow" in too_much.stderr
