"""The laws of the escrow over random histories of the model. More of them: `HISTORIES=2000 pytest tests/unit/test_laws.py`."""

import os
from dataclasses import dataclass

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from deai.deployment import Deployment
from deai.job import Address, Timestamp
from deai.testing import DAI, MemoryChain
from tests.histories import Histories
from tests.lives import CAST

COUNT = int(os.environ.get("HISTORIES", "60"))


@dataclass(frozen=True, slots=True)
class ModelStage:
    """The model alone."""

    chain: MemoryChain

    @property
    def deployment(self) -> Deployment:
        return self.chain.deployment()

    def at(self, time: int) -> None:
        self.chain.now = Timestamp(time)


def rich_model() -> Histories:
    chain = MemoryChain(now=Timestamp(2_000_000_000))
    for account in CAST.all():
        chain.mint(DAI.address, Address(account.address), 10**24)
    return Histories(ModelStage(chain))


def test_the_laws_hold_after_every_step_of_every_history() -> None:
    run_state_machine_as_test(
        rich_model,  # type: ignore[arg-type]
        settings=settings(
            max_examples=COUNT,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
