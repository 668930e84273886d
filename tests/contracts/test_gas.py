"""What each verb costs, exactly, with balances that are already in use: tests/contracts/gas.json.

After a change that is meant to move the numbers: DEAI_WRITE_GAS=1 .venv/bin/python -m pytest tests/contracts/test_gas.py
"""

import json
import os
from pathlib import Path

from world import ONE, RESULT, World

SNAPSHOT = Path(__file__).with_name("gas.json")


def test_every_verb_costs_what_the_snapshot_says(world: World) -> None:
    measured = _measure(world)
    if os.environ.get("DEAI_WRITE_GAS"):
        SNAPSHOT.write_text(json.dumps(measured, indent=2) + "\n")
    assert measured == json.loads(SNAPSHOT.read_text())


def _measure(world: World) -> dict[str, int]:
    # Values without a chance of more or fewer zero bytes in calldata from run to run: a fixed time and salts.
    world.fund(world.matcher, ONE)
    world.rpc("evm_setNextBlockTimestamp", 3_000_000_000)
    world.rpc("evm_mine")
    cost = {}

    job = world.job(challenge_seconds=300)
    bid = world.bid(job)
    key = world.key(job)
    world.send(world.submitter, "post", job, at=3_000_000_010)
    cost["post"] = _gas(world, world.submitter, "post", world.job())
    cost["bid"] = _gas(world, world.provider, "bid", bid)
    cost["cancel"] = _gas(world, world.submitter, "cancel", job)

    for name, sender in (("", world.stranger), ("_fee", world.matcher)):
        job = world.job()
        bid = world.bid(job)
        key = world.key(job)
        orders = (job, world.signed(job), bid, world.signed(bid))
        cost["award" + name] = _gas(world, sender, "award", *orders)
        terms = world.award(job, bid, by=sender)
        cost["reclaim" + name] = _gas(world, world.stranger, "reclaim", key, terms, at=terms.deliver_by)
        cost["deliver" + name] = _gas(world, world.provider, "deliver", key, terms, RESULT)
        sent = world.send(world.provider, "deliver", key, terms, RESULT)
        terms = terms.delivered(RESULT, sent.only("JobDelivered")["windowEnd"])
        cost["approve" + name] = _gas(world, world.submitter, "approve", key, terms)
        cost["settle" + name] = _gas(world, world.stranger, "settle", key, terms, at=terms.window_end)
        cost["three_tx" + name] = sum(cost[verb + name] for verb in ("award", "deliver", "settle"))

    world.send(world.submitter, "mint", world.submitter, ONE, to=world.dai)
    world.send(world.submitter, "approve", world.market.address, ONE, to=world.dai)
    cost["deposit"] = _gas(world, world.submitter, "deposit", world.token, world.submitter, ONE // 2)
    cost["withdraw"] = _gas(world, world.submitter, "withdraw", world.token, world.submitter, ONE)
    return cost


def _gas(world: World, sender: str, verb: str, *args: object, at: int | None = None) -> int:
    with world.undone():
        return world.send(sender, verb, *args, at=at).gas_used
