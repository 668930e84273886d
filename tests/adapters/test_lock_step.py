"""The same random histories on the model and on the contract: equal after each step, and the laws hold on both.

More of them: `HISTORIES=50 pytest tests/adapters/test_lock_step.py`.
"""

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from deai.job import Address
from deai.testing import MemoryChain
from tests.adapters.chain_fixtures import RICH, START, AnvilGround, MemoryGround
from tests.histories import Histories
from tests.lives import CAST

COUNT = int(os.environ.get("HISTORIES", "6"))


class LockStep(Histories):
    """A history that ends by rolling the node back."""

    def __init__(self, anvil: AnvilGround) -> None:
        self.node, self.snapshot = anvil.node, anvil.node("evm_snapshot")
        twin = MemoryGround(MemoryChain(now=START, deployment=anvil.deployment))
        for account in CAST.all():
            assert (
                anvil.chain.token_balance(anvil.deployment.token("DAI").address, Address(account.address))
                == RICH
            )
        super().__init__(twin, anvil)

    def teardown(self) -> None:
        super().teardown()
        assert self.node("evm_revert", self.snapshot)


def test_model_and_contract_answer_alike_at_every_step(anvil_ground: AnvilGround) -> None:
    run_state_machine_as_test(
        lambda: LockStep(anvil_ground),  # type: ignore[arg-type]
        settings=settings(
            max_examples=COUNT,
            stateful_step_count=30,
            deadline=None,
            phases=(Phase.explicit, Phase.reuse, Phase.generate),
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
