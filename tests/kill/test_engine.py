"""dockerd and its containerd are killed with -9 wherever jobs may be."""

import time

import pytest

from tests.kill.world import HOLDING_UP, LONG, STEPS, Stand, World

_AWAY_SECONDS = 1.0


@pytest.mark.parametrize("last", HOLDING_UP, ids=lambda last: ", ".join(each.point for each in last))
def test_an_engine_killed_there_costs_no_delivery(world: World, last: list[Stand]) -> None:
    """The agent goes on while there is no engine, and runs again what the engine took with it."""
    stands = [*STEPS, Stand("container started", seconds=LONG)][HOLDING_UP.index(last) :: len(HOLDING_UP)]
    world.begin()
    standing = world.stand(stands, last)
    world.net.engine.kill()
    world.lot.release()
    time.sleep(_AWAY_SECONDS)
    world.net.engine.start()
    world.finish("dockerd", standing, reruns=True)
