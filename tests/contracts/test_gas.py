"""What each verb costs, exactly, with balances that are already in use: tests/contracts/gas.json.

After a change that is meant to move the numbers: DEAI_WRITE_GAS=1 .venv/bin/python -m pytest tests/contracts/test_gas.py
"""

import json
import os
from pathlib import Path

from world import ONE, RESULT, World, terms_of

from deai import signing
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
    for person in (world.matcher, world.arbiter):
        world.fund(person, ONE)
    _burn_something(world)
    world.send(world.submitter, "mint", world.submitter, ONE, to=world.dai, at=START)
    world.send(world.submitter, "approve", world.market.address, ONE, to=world.dai, at=START + 1)
    cost = {
        "deposit": _gas(world, world.submitter, "deposit", world.token, world.submitter, ONE // 2),
        "withdraw": _gas(world, world.submitter, "withdraw", world.token, world.submitter, ONE),
        "cancelAll": _gas(world, world.submitter, "cancelAll", world.token),
    }
    job, bid = _orders(world)
    cost["post"] = _gas(world, world.submitter, "post", job)
    cost["bid"] = _gas(world, world.provider, "bid", bid)
    with world.undone():
        world.send(world.submitter, "post", job, at=START + 2)
        cost["cancel"] = _gas(world, world.submitter, "cancel", job)
    for name, sender in (("", world.stranger), ("_fee", world.matcher)):
        with world.undone():
            cost |= {verb + name: gas for verb, gas in _life(world, sender).items()}
    for count in (1, 10):
        with world.undone():
            cost[f"batch_{count}_awards"] = _batch(world, count)
    return cost


def _burn_something(world: World) -> None:
    job, terms = world.awarded(deliver_seconds=1)
    world.send(world.stranger, "reclaim", world.key(job), terms, at=terms.deliver_by)


def _life(world: World, sender: Address) -> dict[str, int]:
    """Each verb on a job with bond and arbiter, from its award to its end."""
    job, bid = _orders(world)
    key = world.key(job)
    orders = (job, world.signed(job), bid, world.signed(bid))
    cost = {"award": _gas(world, sender, "award", *orders)}
    terms = terms_of(world.send(sender, "award", *orders, at=START + 10))
    cost["reclaim"] = _gas(world, world.stranger, "reclaim", key, terms, at=terms.deliver_by)
    cost["deliver"] = _gas(world, world.provider, "deliver", key, terms, RESULT)
    key_pair = world.people[world.submitter]
    consent = signing.sign_approval(key_pair, world.id(job), world.provider, RESULT, world.domain)
    cost["deliverAndClose"] = _gas(world, world.provider, "deliverAndClose", key, terms, RESULT, consent)
    terms = world.deliver(job, terms, at=START + 20)
    cost["approve"] = _gas(world, world.submitter, "approve", key, terms)
    cost["settle"] = _gas(world, world.stranger, "settle", key, terms, at=terms.window_end)
    cost["dispute"] = _gas(world, world.submitter, "dispute", key, terms)
    terms = world.dispute(job, terms, at=START + 30)
    for share in (0, 5_000, 10_000):
        cost[f"rule_{share}"] = _gas(world, world.arbiter, "rule", key, terms, share, at=START + 40)
    cost["lapse"] = _gas(world, world.stranger, "lapse", key, terms, at=terms.rule_by)
    cost["three_tx"] = sum(cost[verb] for verb in ("award", "deliver", "settle"))
    cost["two_tx"] = sum(cost[verb] for verb in ("award", "deliverAndClose"))
    return cost


def _batch(world: World, count: int) -> int:
    """The gas of one transaction with so many awards."""
    calls = []
    for _ in range(count):
        job, bid = _orders(world)
        data = world.data("award", job, world.signed(job), bid, world.signed(bid))
        calls.append(bytes.fromhex(data[2:]))
    return _gas(world, world.stranger, "batch", calls, False)


def _orders(world: World) -> tuple[Job, Bid]:
    job = world.judged(open_at=Timestamp(START), award_by=Timestamp(START + 1000))
    return job, world.bid(job, expires_at=Timestamp(START + 60))


def _gas(world: World, sender: Address, verb: str, *args: object, at: int = START + 30) -> int:
    with world.undone():
        sent = world.send(sender, verb, *args, at=at)
    return sent.gas_used
