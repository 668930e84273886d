"""lapse: ends a case whose arbiter was silent."""

import pytest
from world import ONE, World, reverts

from deai.job import JobState, Outcome, Wei, lapsed

CASES = [
    # (submitter, provider, matcher, arbiter, burned), in hundredths of a token.
    ("submitter", Outcome.SPLIT, (500, 987.5, 12.5, 0, 200)),
    ("arbiter", Outcome.PAID, (0, 1475, 25, 0, 0)),
]


@pytest.mark.parametrize(("by", "outcome", "parts"), CASES)
@pytest.mark.parametrize("late", [0, 1, 10**6])
def test_a_silent_arbiter_splits_the_price_or_loses_its_own_case(
    world: World, by: str, outcome: Outcome, parts: tuple[float, ...], late: int
) -> None:
    job, terms = world.disputed(by=getattr(world, by))
    people = (world.submitter, world.provider, world.matcher, world.arbiter)
    before, held = [world.balance(who) for who in people], world.held()
    sent = world.send(world.stranger, "lapse", world.key(job), terms, at=terms.rule_by + late)
    expected = tuple(int(part * ONE) // 100 for part in parts)
    assert [log.name for log in sent.logs] == ["JobClosed"]
    assert sent.only("JobClosed") == {"id": world.key(job), "outcome": outcome, "payout": expected}
    assert sum(expected) == terms.price + terms.bond + terms.prepaid
    assert [world.balance(who) for who in people] == [
        balance + part for balance, part in zip(before, expected, strict=False)
    ]
    assert world.burned() == expected[4]
    assert world.held() == held
    assert world.ending(job) == (JobState.CLOSED, outcome)


@pytest.mark.parametrize("early", [1, 400])
def test_before_the_ruling_time_is_over_nothing_lapses(world: World, early: int) -> None:
    job, terms = world.disputed()
    with reverts("RuleByAhead", world.key(job), terms.rule_by):
        at = max(terms.rule_by - early, world.now + 1)
        world.send(world.submitter, "lapse", world.key(job), terms, at=at)


def test_a_job_that_is_not_disputed_does_not_lapse(world: World) -> None:
    job, terms = world.delivered(world.judged())
    with reverts("WrongState", world.key(job), JobState.DELIVERED):
        world.send(world.stranger, "lapse", world.key(job), terms, at=terms.window_end + 10**6)


def test_a_case_lapses_once_and_is_not_ruled_afterwards(world: World) -> None:
    job, terms = world.disputed()
    world.send(world.stranger, "lapse", world.key(job), terms, at=terms.rule_by)
    with reverts("WrongState", world.key(job), JobState.CLOSED):
        world.send(world.stranger, "lapse", world.key(job), terms)
    with reverts("WrongState", world.key(job), JobState.CLOSED):
        world.send(world.arbiter, "rule", world.key(job), terms, 0)


def test_who_opened_the_case_cannot_be_altered(world: World) -> None:
    for by, other in ((world.submitter, world.arbiter), (world.arbiter, world.submitter)):
        job, terms = world.disputed(by=by)
        altered = terms.disputed(other, terms.rule_by)
        with reverts("WrongTerms", world.key(job)):
            world.send(world.provider, "lapse", world.key(job), altered, at=terms.rule_by)


@pytest.mark.parametrize(("price", "bps"), [(0, 0), (1, 10_000), (3, 3_333), (9_999, 1)])
def test_an_odd_price_is_halved_against_the_provider(world: World, price: int, bps: int) -> None:
    job = world.judged(matcher_fee_bps=bps)
    terms = world.award(job, world.bid(job, price=Wei(price)), by=world.matcher)
    terms = world.dispute(job, world.deliver(job, terms))
    parts = world.send(world.stranger, "lapse", world.key(job), terms, at=terms.rule_by).only("JobClosed")
    paid = lapsed(terms)
    assert parts["payout"] == (paid.to_submitter, paid.to_provider, paid.to_matcher, 0, 2 * ONE)
    assert paid.to_submitter == price - price // 2
    assert paid.to_provider + paid.to_matcher == price // 2 + terms.bond
