"""A plugin for pytest that shows the contracts' tests many changes in one session, each in a process forked from it.

MUTATION_PLAN names a JSON file with the contract and its bytecode, and with the numbers of the changes, each with a part of the names of the
tests it is shown. To the file descriptor MUTATION_FATES go lines of JSON: first the tests that fail with no change at all, which are left out
from then on (they weigh gas); then of each change the number and the test that failed first, if any did.
"""

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from _pytest.runner import runtestprotocol

import brownie_project
from mutation.schemata import MARK

_SECONDS = 120
_HISTORIES = 8
"""So many of the random histories beside the client's model are enough here."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    few = tuple(f"[{seed}]" for seed in range(_HISTORIES))
    items[:] = [item for item in items if "test_model" not in item.nodeid or item.nodeid.endswith(few)]
    items.sort(key=lambda item: "test_model" in item.nodeid or "_laws" in item.nodeid)


def pytest_runtestloop(session: pytest.Session) -> bool:
    plan = json.loads(Path(os.environ["MUTATION_PLAN"]).read_text())
    with os.fdopen(int(os.environ["MUTATION_FATES"]), "w") as fates:
        for fate in Trial(session, plan["contract"], plan["bytecode"]).fates(plan["shown"]):
            print(json.dumps(fate), file=fates, flush=True)
    return True


class Trial:
    """The session's tests on one chain, with the contract deployed once, its switch on no change."""

    def __init__(self, session: pytest.Session, contract: str, bytecode: str) -> None:
        from world import World  # noqa: PLC0415 - found where the tests are

        self._session, self._items = session, list(session.items)
        self._contract, self._bytecode = contract, bytecode
        made = brownie_project.contracts()
        self._project = {**made, contract: replace(made[contract], bytecode=f"0x{bytecode}")}
        brownie_project.contracts = lambda: self._project
        self._world: World
        self._deployed: list[str] = []
        create = World.create

        def noted(world: World, name: str, *args: Any, value: int = 0) -> Any:
            new = create(world, name, *args, value=value)
            self._world = world
            if name == contract:
                self._deployed.append(new.address)
            return new

        World.create = noted  # type: ignore[method-assign,assignment]
        signal.signal(signal.SIGALRM, _too_long)
        # Deploys what a whole session uses.
        runtestprotocol(self._items[0], log=False, nextitem=self._items[1])

    def fates(self, shown: list[tuple[int, str, str]]) -> Iterator[Any]:
        took: dict[str, float] = {}
        unfit = self._failures(0, self._items, took)
        yield unfit
        order = [item for item in self._items if item.nodeid not in unfit]
        # The order in which changes are noticed soonest: by the verb's own tests, by those that noticed others, by quick ones.
        order.sort(key=lambda item: took[item.nodeid])
        for number, verb, part in shown:
            tests = [item for item in order if part in item.nodeid]
            tests.sort(key=lambda item: f"test_{verb}.py" not in item.nodeid)
            failed = self._failures(number, tests, {})
            yield number, failed
            order.sort(key=lambda item: item.nodeid not in failed)
        if left := self._failures(0, order, {}):
            raise RuntimeError(f"the changes left traces: {left}")

    def _failures(self, number: int, items: list[pytest.Item], took: dict[str, float]) -> list[str]:
        """The first of these tests to fail under a change, in a list of its own; under none, all that fail."""
        node = self._world.node
        before = node.rpc("evm_snapshot")
        incoming, outgoing = os.pipe()
        if os.fork() == 0:
            failed: list[str] = []
            try:
                self._activate(number)
                self._session._setupstate.teardown_exact(items[0])
                for item, following in zip(items, [*items[1:], items[0]], strict=True):
                    signal.alarm(_SECONDS)
                    reports = runtestprotocol(item, log=False, nextitem=following)
                    took[item.nodeid] = sum(report.duration for report in reports)
                    if any(report.failed for report in reports):
                        failed.append(item.nodeid)
                        if number:
                            break
            finally:
                with os.fdopen(outgoing, "w") as answer:
                    json.dump([failed, took], answer)
                os._exit(0)
        os.close(outgoing)
        with os.fdopen(incoming) as answer:
            failed, measured = json.load(answer)
        took |= measured
        os.wait()
        node.rpc("evm_revert", before)
        return failed

    def _activate(self, number: int) -> None:
        world = self._world
        self._kept = world.node  # the parent's connection, which is not ours to close
        world.node = type(world.node)(world.node.url)
        if number == 0:
            return
        word = f"{number:064x}"
        made = self._project[self._contract]
        self._project[self._contract] = replace(made, bytecode=made.bytecode.replace(MARK, word))
        for address in self._deployed:
            code = world.rpc("eth_getCode", address, "latest")
            world.rpc("anvil_setCode", address, code.replace(MARK, word))


def _too_long(*_: object) -> NoReturn:
    raise TimeoutError(f"no end after {_SECONDS} s")
