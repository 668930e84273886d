"""The provider's agent is killed with -9 wherever a job of its may be."""

import pytest

from tests.kill.world import LONG, Stand, World

_ALONE = [
    Stand("fetching", data=True),
    Stand("before staged"),
    Stand("after staged"),
    Stand("bid posted"),
    Stand("before awarded"),
    Stand("after awarded"),
    Stand("before running"),
    Stand("after running"),
    Stand("container made"),
    Stand("container started"),
    Stand("container started", seconds=LONG),
    Stand("collecting"),
    Stand("before collected"),
    Stand("after collected"),
    Stand("publishing"),
    Stand("before published"),
    Stand("after published"),
    Stand("before delivering"),
    Stand("after delivering"),
    Stand("delivery sent"),
    Stand("delivery mined"),
    Stand("before delivered"),
    Stand("after delivered"),
    Stand("before cleared"),
    Stand("half cleared"),
]
_HOLDING_UP = [
    [Stand("volume made"), Stand("before staging"), Stand("before matched")],
    [Stand("after staging"), Stand("after matched")],
    [Stand("before done"), Stand("before bidding")],
    [Stand("after done"), Stand("after bidding")],
]
_ROUNDS = [(_ALONE[number::4], last) for number, last in enumerate(_HOLDING_UP)]


@pytest.mark.parametrize(
    ("stands", "last"),
    _ROUNDS,
    ids=[", ".join(each.point for each in (*part, *last)) for part, last in _ROUNDS],
)
def test_an_agent_killed_there_carries_every_job_to_one_delivery(
    world: World, stands: list[Stand], last: list[Stand]
) -> None:
    world.begin()
    standing = world.stand(stands, last)
    world.net.kill("deai-provider")
    world.net.start_provider()
    world.finish("agent", standing)
