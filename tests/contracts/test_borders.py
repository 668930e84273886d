"""Every time there is, with the clock off by up to 15 seconds: a verb allowed until `t` is refused at `t`, one allowed from `t` on is not before."""

from collections.abc import Callable
from typing import Any

import pytest
from world import RESULT, Reverted, World

from deai import signing
from deai.job import Address, Timestamp

OFFSETS = (-15, -1, 0, 15)
Call = tuple[int, Address, str, tuple[Any, ...]]
"""The border, and a call (by whom, verb, arguments) that only the time can forbid."""


def _bid(world: World) -> Call:
    bid = world.bid(world.job())
    return bid.expires_at, world.provider, "bid", (bid,)


def _post(world: World) -> Call:
    job = world.job()
    return job.award_by, world.submitter, "post", (job,)


def _award_before_award_by(world: World) -> Call:
    job = world.job(award_by=Timestamp(world.now + 60))
    bid = world.bid(job, expires_at=Timestamp(world.now + 100))
    return job.award_by, world.matcher, "award", (job, world.signed(job), bid, world.signed(bid))


def _award_from_open_at(world: World) -> Call:
    job = world.job(open_at=Timestamp(world.now + 60))
    bid = world.bid(job, expires_at=Timestamp(world.now + 100))
    return job.open_at, world.stranger, "award", (job, world.signed(job), bid, world.signed(bid))


def _award_before_the_bid_expires(world: World) -> Call:
    job = world.job()
    bid = world.bid(job)
    return bid.expires_at, world.matcher, "award", (job, world.signed(job), bid, world.signed(bid))


def _deliver(world: World) -> Call:
    job, terms = world.awarded()
    return terms.deliver_by, world.provider, "deliver", (world.key(job), terms, RESULT)


def _deliver_and_close(world: World) -> Call:
    job, terms = world.awarded()
    approval = signing.sign_approval(
        world.people[world.submitter], world.id(job), terms.provider, RESULT, world.domain
    )
    return terms.deliver_by, world.provider, "deliverAndClose", (world.key(job), terms, RESULT, approval)


def _reclaim(world: World) -> Call:
    job, terms = world.awarded()
    return terms.deliver_by, world.stranger, "reclaim", (world.key(job), terms)


def _settle(world: World) -> Call:
    job, terms = world.delivered()
    return terms.window_end, world.stranger, "settle", (world.key(job), terms)


def _dispute(world: World) -> Call:
    job, terms = world.delivered(world.judged())
    return terms.window_end, world.submitter, "dispute", (world.key(job), terms)


def _dispute_by_the_arbiter(world: World) -> Call:
    job, terms = world.delivered(world.judged())
    return terms.window_end, world.arbiter, "dispute", (world.key(job), terms)


def _rule_from_delivered(world: World) -> Call:
    job, terms = world.delivered(world.judged())
    return terms.window_end, world.arbiter, "rule", (world.key(job), terms, 0)


def _rule_from_disputed(world: World) -> Call:
    job, terms = world.disputed()
    return terms.rule_by, world.arbiter, "rule", (world.key(job), terms, 0)


def _lapse(world: World) -> Call:
    job, terms = world.disputed()
    return terms.rule_by, world.stranger, "lapse", (world.key(job), terms)


UNTIL = [
    _bid,
    _post,
    _award_before_award_by,
    _award_before_the_bid_expires,
    _deliver,
    _deliver_and_close,
    _dispute,
    _dispute_by_the_arbiter,
    _rule_from_delivered,
    _rule_from_disputed,
]
FROM = [_award_from_open_at, _reclaim, _settle, _lapse]


@pytest.mark.parametrize("prepare", UNTIL)
def test_until_its_time_a_verb_is_allowed_and_from_then_on_refused(
    world: World, prepare: Callable[[World], Call]
) -> None:
    assert _allowed(world, prepare(world)) == [True, True, False, False]


@pytest.mark.parametrize("prepare", FROM)
def test_before_its_time_a_verb_is_refused_and_from_then_on_allowed(
    world: World, prepare: Callable[[World], Call]
) -> None:
    assert _allowed(world, prepare(world)) == [False, False, True, True]


def _allowed(world: World, call: Call) -> list[bool]:
    border, sender, verb, args = call
    found = []
    for offset in OFFSETS:
        with world.undone():
            try:
                world.send(sender, verb, *args, at=border + offset)
            except Reverted:
                found.append(False)
            else:
                found.append(True)
    return found
