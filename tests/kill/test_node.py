"""The chain's node is killed with -9: it comes back as it was, or without its last blocks."""

import time

import pytest

from tests.kill.world import HOLDING_UP, STEPS, Stand, World

_AWAY_SECONDS = 1.0


@pytest.mark.parametrize("last", HOLDING_UP, ids=lambda last: ", ".join(each.point for each in last))
def test_a_node_killed_there_costs_no_delivery(world: World, last: list[Stand]) -> None:
    world.begin()
    standing = world.stand(STEPS[HOLDING_UP.index(last) :: len(HOLDING_UP)], last)
    world.net.save_chain()
    world.net.kill("anvil")
    world.lot.release()
    time.sleep(_AWAY_SECONDS)
    world.net.start_anvil()
    world.finish("node", standing)


@pytest.mark.parametrize("point", ["award sent", "before the award is recorded"])
def test_a_node_killed_while_an_award_is_sent_mines_one(world: World, point: str) -> None:
    world.begin()
    standing = world.stand([Stand(point)])
    world.net.save_chain()
    world.net.kill("anvil")
    world.lot.release()
    time.sleep(_AWAY_SECONDS)
    world.net.start_anvil()
    world.finish("node", standing)


def test_a_node_that_lost_awards_and_deliveries_gets_them_again(world: World) -> None:
    """Its last blocks are gone for good, as in a deep reorg: who sent what they held sends it again."""
    points = (
        "after awarded", "after running", "container started", "after collected", "publishing", "after delivering",
        "delivery mined", "before delivered",
    )  # fmt: skip
    world.begin()
    world.net.save_chain()
    standing = world.stand(Stand(point) for point in points)
    world.net.kill("anvil")
    world.net.start_anvil()
    world.lot.release()
    world.finish("node, blocks lost", standing)
