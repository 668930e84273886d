"""The command line and the SDK as their users run them."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from click.testing import CliRunner

from deai import unixfs
from deai.ask import Ask
from deai.cli import main
from deai.job import JobId
from deai.job_file import JobFile
from deai.localnet import Localnet
from deai.submitter import Submitter
from deai.wire import SignedAsk

ROOT = Path(__file__).resolve().parents[2]
IMAGE = "huggingface/transformers-pytorch-gpu:4.25.1-cuda11.6"


@dataclass
class Cli:
    """`deai` as a user runs it: a process of its own, settings from the environment."""

    environment: dict[str, str]
    extra: dict[str, str] = field(default_factory=dict)

    def run(self, *args: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).with_name("deai")), *(str(arg) for arg in args)],
            env={**os.environ, **self.environment, **self.extra},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def json(self, *args: object) -> Any:
        """Runs a command that must succeed, and returns its last line's JSON."""
        done = self.run(*args, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def but(self, **variables: object) -> Self:
        """The same with some settings changed."""
        return replace(self, extra={f"DEAI_{name.upper()}": str(value) for name, value in variables.items()})


@dataclass
class CliInProcess(Cli):
    """The same command in this process: for many short commands, of which each would spend a second on imports."""

    def run(self, *args: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
        words = [str(arg) for arg in args]
        outside = {name: None for name in os.environ if name.startswith("DEAI_")}
        done = CliRunner().invoke(main, words, input=stdin, env={**outside, **self.environment, **self.extra})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(words, done.exit_code, done.stdout, done.stderr)


def advance(net: Localnet, submitter: Submitter, seconds: int) -> None:
    """Moves the chain's clock, and waits until the market shows what the provider asks from then on: its earlier ask has run out."""
    net.advance(seconds)
    deadline = time.monotonic() + 30
    while not any(_lives(signed, submitter.chain.head().time) for signed in submitter.market.asks()):
        assert time.monotonic() < deadline, "the provider asks nothing any more"
        time.sleep(0.1)


def _lives(signed: SignedAsk, now: int) -> bool:
    return Ask.parse(signed.ask.encode()).expires_at > now


@dataclass
class Jobs:
    """Submits jobs by the SDK."""

    submitter: Submitter
    image: str

    def submit(self, script: str, **fields: Any) -> JobId:
        cid = unixfs.add_bytes(script.encode(), self.submitter.store)
        values: dict[str, Any] = {
            "name": "journey",
            "docker_image": self.image,
            "input_script_cid": str(cid),
            "payment_token": "DAI",
            "payment_amount": "5",
            "memory": "128MiB",
            "disk": "64MiB",
            "timeout": "60s",
        }
        return self.submitter.submit(self.submitter.draft(JobFile.parse({**values, **fields})))
