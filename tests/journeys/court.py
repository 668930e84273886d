"""A local market with a panel, verifiers, and a provider that cheats where a job asks for it."""

import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from click.testing import CliRunner
from eth_account.signers.local import LocalAccount

from deai import keys
from deai.anvil import local_account
from deai.job import Address, JobId, Wei
from deai.localnet import Localnet
from deai.panel import CasePace
from deai.program import Program
from deai.submitter import Submitter
from deai_provider import __main__ as program
from tests.journeys.users import ROOT

DAI = 10**18
SEAT_STAKE = Wei(10 * DAI)
CURE_SECONDS = 2
_PROVIDER_POLL_SECONDS, _VERIFIER_POLL_SECONDS = 0.05, 0.1
_FIRST_ACCOUNT = 4


class CourtNet(Localnet):
    """A market whose panel is quick, and so is its chain: draws wait for blocks."""

    pace: ClassVar[CasePace] = CasePace(
        draw_blocks=1,
        open_seconds=600,
        draw_seconds=300,
        cure_seconds=CURE_SECONDS,
        vote_seconds=60,
        reveal_seconds=60,
        unstake_seconds=30 * 86_400,
    )

    def anvil_command(self) -> list[str]:
        command = super().anvil_command()
        command[command.index("--block-time") + 1] = "2"
        return command

    def provider_command(self) -> list[str]:
        return [sys.executable, "-m", "tests.journeys.cheating_agent", "run"]

    def provider_environment(self) -> dict[str, str]:
        own = {
            "PYTHONPATH": str(ROOT),
            "DEAI_PROVIDER_SLOTS": "4",
            "DEAI_PROVIDER_POLL_SECONDS": str(_PROVIDER_POLL_SECONDS),
            "DEAI_PROVIDER_PANEL_CLASSES": "[0, 1, 2]",
        }
        return super().provider_environment() | own

    def _fund(self) -> None:
        super()._fund()
        deployment, provider = self.deployment, Address(self.accounts["provider"].address)
        dai = deployment.token("DAI").address
        self.mint(provider, Wei(1_000 * DAI))
        self._node.deposit(deployment.contract, dai, provider, Wei(1_000 * DAI))

    def dispute(self, submitter: Submitter, job: JobId) -> None:
        """Disputes a result; the blocks that the draw waits for come at once."""
        submitter.dispute(job)
        self.node("anvil_mine", hex(3))

    # Verifiers.

    def verifier(self, index: int) -> LocalAccount:
        """The key of a verifier."""
        return local_account(_FIRST_ACCOUNT + index)

    def stake(self, index: int, number: int, count: int = 1) -> None:
        """Gives a verifier what a ticket costs, and buys it."""
        account = self.verifier(index)
        self.mint(Address(account.address), Wei(count * SEAT_STAKE))
        self.panel().stake(account, number, count)

    def verifier_environment(self, index: int) -> dict[str, str]:
        """The settings of a verifier's program."""
        name, account = f"verifier-{index}", self.verifier(index)
        work = self.folder / name
        work.mkdir(exist_ok=True)
        folder, password = self.folder / "home" / "keys", self.password_file.read_text()
        if not (folder / f"{name}.json").exists():
            keys.save(account, folder, name, password, light=True)
        own = {
            "name": f"{self.agent_name[:20]}-{index}",
            "work": str(work),
            "store": str(self.store(name)),
            "poll_seconds": str(_VERIFIER_POLL_SECONDS),
            "key": str(folder / f"{name}.json"),
        }
        return super().provider_environment() | {f"DEAI_PROVIDER_{key.upper()}": own[key] for key in own}

    def start_verifier(self, index: int, *, lying: bool = False) -> Program:
        """`deai-provider verify`, or one that votes the opposite of what it finds."""
        honest = [str(Path(sys.executable).with_name("deai-provider"))]
        command = [sys.executable, "-m", "tests.journeys.lying_verifier"] if lying else honest
        environment = self.verifier_environment(index) | {"PYTHONPATH": str(ROOT)}
        return self._spawn(f"verifier-{index}", [*command, "verify"], environment)


def provider_command(environment: Mapping[str, str], *words: str) -> str:
    """What `deai-provider` prints, without a process for it."""
    done = CliRunner().invoke(program.cli, words, env=dict(environment))
    assert done.exit_code == 0, done.output
    return done.stdout


def until(what: Callable[[], Any], seconds: float = 60.0) -> Any:
    """Waits for something true, and returns it."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "took too long"
        time.sleep(0.2)
    return found
