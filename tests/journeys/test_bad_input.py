"""What a person gets for a wrong request, or for a part that is down: one line, an exit code, and nothing half done."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deai.job import JobState
from deai.localnet import Localnet, free_port
from deai.submitter import Submitter
from tests.journeys.users import Cli, CliInProcess, Jobs

GOOD_CID = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
WRONG, UNAVAILABLE = 2, 3


@pytest.fixture
def flags(quick: Cli, image: str, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "script.py").write_text("print(1)")
    return {
        "--name": "bad input",
        "--docker-image": image,
        "--input-script-cid": quick.json("add", tmp_path / "script.py")["cid"],
        "--payment-token": "DAI",
        "--payment-amount": "5",
        "--memory": "64MiB",
    }


def submit(quick: Cli, flags: dict[str, str], *more: object) -> tuple[int, str]:
    words = [word for pair in flags.items() for word in pair]
    done = quick.run("submit", "job", *words, "--yes", *more)
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return done.returncode, lines[0]


@pytest.mark.parametrize(
    ("flag", "value", "code", "words"),
    [
        ("--input-script-cid", "QmNotACid", WRONG, ["input_script_cid", "QmNotACid"]),
        (
            "--input-data-cid",
            "bafybeihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvykuX",
            WRONG,
            ["input_data_cid"],
        ),
        ("--input-data-cid", GOOD_CID, UNAVAILABLE, ["input_data_cid", GOOD_CID, "deai add"]),
        ("--payment-token", "DOGE", WRONG, ["payment_token", "DOGE", "DAI"]),
        ("--payment-amount", "1000000", WRONG, ["payment_amount", "1000000 DAI", "deai deposit"]),
        ("--payment-amount", "0", WRONG, ["payment_amount"]),
        ("--payment-amount", "-1", WRONG, ["payment_amount", "-1"]),
        ("--payment-amount", "1e3", WRONG, ["payment_amount", "1e3"]),
        ("--docker-image", "Ubuntu:latest", WRONG, ["docker_image", "Ubuntu:latest"]),
        ("--docker-image", f"{GOOD_CID[:-1]}0", WRONG, ["docker_image", GOOD_CID[:-1]]),
        ("--docker-image", "127.0.0.1:9/ubuntu:latest", UNAVAILABLE, ["registry", "127.0.0.1:9"]),
        ("--platform", "linux/arm64", WRONG, ["platform", "linux/arm64", "registry"]),
        ("--docker-image", GOOD_CID, UNAVAILABLE, ["docker_image", GOOD_CID]),
        ("--compute-profile", "gpu-a100-80gb-hihg", WRONG, ["compute_profile", "gpu-a100-80gb-high"]),
        ("--output-storage", "s3", WRONG, ["output_storage", "s3"]),
        ("--output-path", "../etc", WRONG, ["output_path", "../etc"]),
        ("--output-path", "/exit.json", WRONG, ["output_path", "/exit.json"]),
        ("--callback-url", "ftp://example.org", WRONG, ["callback_url", "ftp://example.org"]),
        ("--timeout", "soon", WRONG, ["timeout", "soon"]),
        ("--memory", "lots", WRONG, ["memory", "lots"]),
        ("--env", "NOVALUE", WRONG, ["env", "NOVALUE"]),
    ],
)
def test_a_wrong_flag_is_named_and_nothing_is_signed(
    quick: Cli,
    submitter: Submitter,
    flags: dict[str, str],
    flag: str,
    value: str,
    code: int,
    words: list[str],
) -> None:
    before = submitter.home.orders()

    got, line = submit(quick, flags | {flag: value})

    assert got == code, line
    assert all(word in line for word in words), line
    assert submitter.home.orders() == before


def test_a_job_file_with_an_unknown_field_names_the_nearest(
    quick: Cli, flags: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "job.yaml").write_text("payment_amout: 5\n")

    code, line = submit(quick, flags, "-f", tmp_path / "job.yaml")

    assert code == WRONG
    assert "payment_amout" in line
    assert "payment_amount" in line


def test_flags_override_the_job_file(quick: Cli, flags: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text("payment_amount: 1000000\ncompute_profile: gpu-a100-80gb-high\n")
    words = [word for pair in flags.items() for word in pair]

    submitted = quick.json("submit", "job", *words, "-f", tmp_path / "job.yaml", "--yes")

    assert int(submitted["price_cap"]) == 5 * 10**18
    quick.json("cancel", submitted["job"])


@pytest.mark.parametrize("answer", ["n\n", ""], ids=["no", "end of input"])
def test_no_at_the_question_signs_nothing(
    quick: Cli, submitter: Submitter, flags: dict[str, str], answer: str
) -> None:
    before = submitter.home.orders()

    done = quick.run("submit", "job", *[word for pair in flags.items() for word in pair], stdin=answer)

    assert done.returncode == WRONG
    assert "Proceed? [Y/n]" in done.stdout
    assert "5 DAI" in done.stdout
    assert submitter.home.orders() == before


def test_a_key_that_does_not_open(quick: Cli, flags: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "password").write_text("wrong")

    code, line = submit(quick.but(password_file=tmp_path / "password"), flags)
    assert code == WRONG
    assert "submitter.json" in line

    code, line = submit(quick.but(key="nobody"), flags)
    assert code == WRONG
    assert "nobody.json" in line


@pytest.mark.parametrize("part", ["rpc", "market"])
def test_a_dead_part_is_named_and_may_be_tried_again(quick: Cli, flags: dict[str, str], part: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"

    code, line = submit(quick.but(**{part: url}), flags)

    assert code == UNAVAILABLE
    assert url in line


def test_a_dead_store_is_named(quick: Cli, flags: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")

    code, line = submit(quick.but(store=tmp_path / "file"), flags)

    assert code == UNAVAILABLE
    assert str(tmp_path / "file") in line


def test_all_missing_settings_are_named_at_once(quick: Cli, flags: dict[str, str]) -> None:
    code, line = submit(CliInProcess({}), flags)

    assert code == WRONG
    assert all(name in line for name in ("DEAI_RPC", "DEAI_MARKET", "DEAI_STORE", "DEAI_DEPLOYMENT"))


def test_a_dead_docker_engine_stops_the_agent_with_one_line(net: Localnet, tmp_path: Path) -> None:
    environment = net.provider_environment() | {
        "DOCKER_HOST": f"unix://{tmp_path}/no.sock",
        "DEAI_PROVIDER_WORK": str(tmp_path / "work"),
    }
    done = subprocess.run(
        [str(Path(sys.executable).with_name("deai-provider")), "run"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == UNAVAILABLE
    assert "Traceback" not in done.stderr
    assert "no.sock" in done.stderr


def test_an_image_that_cannot_be_had_is_refused_before_any_bid(
    quick: Cli, submitter: Submitter, jobs: Jobs, tmp_path: Path
) -> None:
    """An archive that is not an image: the agent finds out while it stages, before money moves."""
    (tmp_path / "image.tar").write_bytes(b"this is no archive" * 1000)
    cid = quick.json("add", tmp_path / "image.tar")["cid"]
    token = submitter.deployment.token("DAI").address
    before = submitter.chain.balance(token, submitter.address)

    job = jobs.submit("print(1)", docker_image=cid)

    deadline = time.monotonic() + 30
    while "declined" not in submitter.view(job).note:
        assert time.monotonic() < deadline, submitter.view(job)
        time.sleep(0.1)
    assert submitter.chain.state(job)[0] is JobState.UNKNOWN
    assert submitter.chain.balance(token, submitter.address) == before
    quick.json("cancel", job)


def test_a_name_is_given_to_image_archives_only(quick: Cli, submitter: Submitter, tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_text("hi")

    done = quick.run("add", tmp_path / "image.tar", "--image", "mine:1")

    assert done.returncode == WRONG
    assert "image archive" in done.stderr
    assert "mine:1" not in submitter.home.images()


def test_a_job_that_nobody_knows_is_no_job(quick: Cli) -> None:
    job = "0x" + "12" * 32

    done = quick.run("status", job)

    assert done.returncode == WRONG
    assert job in done.stderr
    assert quick.run("history", job).stdout == "the chain tells nothing of it\n"
