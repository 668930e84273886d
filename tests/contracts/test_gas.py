"""What each verb costs, exactly, with balances that are already in use: tests/contracts/gas.json.

After a change that is meant to move the numbers: DEAI_WRITE_GAS=1 .venv/bin/python -m pytest tests/contracts/test_gas.py
"""

import json
import os
from pathlib import Path

from world import ONE, RESULT, World

from deai.job import Address, Bid, Job, Timestamp

SNAPSHOT = Path(__file__).with_name("gas.json")


def test_every_verb_costs_what_the_snapshot_says(world: World) -> None:
    measured = _measure(world)
    if os.environ.get("DEAI_WRITE_GAS"):
        SNAPSHOT.write_text(json.dumps(measured, indent=2) + "\n")
    assert measured == json.loads(SNAPSHOT.read_text())


START = 3_000_000_000
"""Everything happens at fixed times, so that calldata and signatures are the same bytes in every run."""


def _measure(world: World) -> dict[str, int]:
    world.fund(world.matcher, ONE)
    world.send(world.submitter, "mint", world.submitter, ONE, to=world.dai, at=START)
    world.send(world.submitter, "approve", world.market.address, ONE, to=world.dai, at=START + 1)
    cost = {
        "deposit": _gas(world, world.submitter, "deposit", world.token, world.submitter, ONE // 2),
        "withdraw": _gas(world, world.submitter, "withdraw", world.token, world.submitter, ONE),
    }
    job, bid = _orders(world)
    cost["post"] = _gas(world, world.submitter, "post", job)
    cost["bid"] = _gas(world, world.provider, "bid", bid)
    with world.undone():
        world.send(world.submitter, "post", job, at=START + 2)
        cost["cancel"] = _gas(world, world.submitter, "cancel", job)

    for name, sender in (("", world.stranger), ("_fee", world.matcher)):
        job, bid = _orders(world)
        key = world.key(job)
        orders = (job, world.signed(job), bid, world.signed(bid))
        with world.undone():
            cost["award" + name] = _gas(world, sender, "award", *orders)
            terms = world.award(job, bid, by=sender, at=START + 10)
            cost["reclaim" + name] = _gas(world, world.stranger, "reclaim", key, terms, at=terms.deliver_by)
            cost["deliver" + name] = _gas(world, world.provider, "deliver", key, terms, RESULT)
            sent = world.send(world.provider, "deliver", key, terms, RESULT, at=START + 20)
            terms = terms.delivered(RESULT, sent.only("JobDelivered")["windowEnd"])
            cost["approve" + name] = _gas(world, world.submitter, "approve", key, terms)
            cost["settle" + name] = _gas(world, world.stranger, "settle", key, terms, at=terms.window_end)
        cost["three_tx" + name] = sum(cost[verb + name] for verb in ("award", "deliver", "settle"))
    return cost


def _orders(world: World) -> tuple[Job, Bid]:
    job = world.job(open_at=Timestamp(START), award_by=Timestamp(START + 1000))
    return job, world.bid(job, expires_at=Timestamp(START + 60))


def _gas(world: World, sender: Address, verb: str, *args: object, at: int = START + 30) -> int:
    with world.undone():
        sent = world.send(sender, verb, *args, at=at)
    return sent.gas_used
