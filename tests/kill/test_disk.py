"""The disk of the agent, or of the market, is full wherever jobs may be; later there is room again."""

import time

import pytest

from tests.kill.world import HOLDING_UP, STEPS, Stand, World

_FULL_SECONDS = 2.0


@pytest.mark.parametrize("last", HOLDING_UP, ids=lambda last: ", ".join(each.point for each in last))
def test_an_agent_whose_disk_was_full_there_keeps_its_promises(world: World, last: list[Stand]) -> None:
    """Before the award it may say no; after it, the job is delivered."""
    world.begin()
    standing = world.stand(STEPS[HOLDING_UP.index(last) :: len(HOLDING_UP)], last)
    _full_for_a_while(world, "provider")
    world.finish("disk of the agent, full", standing)


@pytest.mark.parametrize(
    "point",
    [
        "before the match is kept",
        "before the bid is kept",
        "before the award is sent",
        "before the award is recorded",
    ],
)
def test_a_market_whose_disk_was_full_there_goes_on_when_there_is_room(world: World, point: str) -> None:
    world.begin()
    standing = world.stand([Stand(point)])
    _full_for_a_while(world, "market")
    world.finish("disk of the market, full", standing)


def _full_for_a_while(world: World, part: str) -> None:
    world.net.disks[part].fill()
    world.lot.release()
    time.sleep(_FULL_SECONDS)
    world.net.disks[part].free()
