"""rule: the arbiter closes a job by a share of price and bond; the losers bear what the case costs."""

import pytest
from world import ONE, World, reverts

from deai.job import JobState, Outcome, Terms, Wei, ruled

OUTCOMES = [(10_000, Outcome.PAID), (0, Outcome.REFUNDED), (1, Outcome.SPLIT), (9_999, Outcome.SPLIT)]
CASES = [
    # What a share of 10,000, of 0 and of 2,500 pays: (submitter, provider, matcher, arbiter, burned), in hundredths of a token.
    ("submitter", 10_000, (0, 1475, 25, 200, 0)),
    ("submitter", 0, (1200, 0, 0, 200, 300)),
    ("submitter", 2_500, (900, 368.75, 6.25, 200, 225)),
    ("arbiter", 10_000, (0, 1475, 25, 0, 0)),
    ("arbiter", 0, (1000, 0, 0, 200, 300)),
    ("arbiter", 2_500, (750, 368.75, 6.25, 150, 225)),
]


@pytest.mark.parametrize(("by", "share", "parts"), CASES)
def test_a_case_is_ruled_and_its_losers_bear_the_cost(
    world: World, by: str, share: int, parts: tuple[float, ...]
) -> None:
    job, terms = world.disputed(by=getattr(world, by))
    people = (world.submitter, world.provider, world.matcher, world.arbiter)
    before, held = [world.balance(who) for who in people], world.held()
    closed = world.send(world.arbiter, "rule", world.key(job), terms, share).only("JobClosed")
    expected = tuple(int(part * ONE) // 100 for part in parts)
    assert closed["payout"] == expected == tuple(_payout(terms, share))
    assert sum(expected) == terms.price + terms.bond + terms.prepaid
    assert [world.balance(who) for who in people] == [
        balance + part for balance, part in zip(before, expected, strict=False)
    ]
    assert world.burned() == expected[4]
    assert world.held() == held
    assert world.state(job) is JobState.CLOSED


@pytest.mark.parametrize(("share", "parts"), [(10_000, (0, 1475, 25, 0, 0)), (0, (1000, 0, 0, 200, 300))])
def test_an_arbiter_rules_before_any_dispute(world: World, share: int, parts: tuple[int, ...]) -> None:
    job, terms = world.delivered(world.judged())
    closed = world.send(world.arbiter, "rule", world.key(job), terms, share).only("JobClosed")
    assert closed["payout"] == tuple(part * ONE // 100 for part in parts)
    assert world.balance(world.submitter) == (1000 - (10 if share else 0)) * ONE


@pytest.mark.parametrize(("share", "outcome"), OUTCOMES)
def test_the_outcome_follows_the_share(world: World, share: int, outcome: Outcome) -> None:
    job, terms = world.disputed()
    sent = world.send(world.arbiter, "rule", world.key(job), terms, share)
    assert [log.name for log in sent.logs] == ["JobClosed"]
    assert sent.only("JobClosed") == {
        "id": world.key(job),
        "outcome": outcome,
        "payout": tuple(_payout(terms, share)),
    }
    assert world.ending(job) == (JobState.CLOSED, outcome)


@pytest.mark.parametrize("share", [10_001, 20_000, 2**256 - 1])
def test_a_share_of_more_than_all_reverts(world: World, share: int) -> None:
    job, terms = world.disputed()
    with reverts("Malformed", "shareBps"):
        world.send(world.arbiter, "rule", world.key(job), terms, share)


def test_nobody_but_the_arbiter_rules(world: World) -> None:
    for job, terms in (world.disputed(), world.delivered(world.judged())):
        for who in (world.submitter, world.provider, world.matcher, world.stranger):
            with reverts("WrongCaller", who, world.arbiter):
                world.send(who, "rule", world.key(job), terms, 10_000)


@pytest.mark.parametrize(("late", "fits"), [(-1, True), (0, False), (1, False)])
def test_a_disputed_job_is_ruled_only_within_the_ruling_time(world: World, late: int, fits: bool) -> None:
    job, terms = world.disputed()
    if fits:
        world.send(world.arbiter, "rule", world.key(job), terms, 0, at=terms.rule_by + late)
        assert world.state(job) is JobState.CLOSED
    else:
        with reverts("RuleByMissed", world.key(job), terms.rule_by):
            world.send(world.arbiter, "rule", world.key(job), terms, 0, at=terms.rule_by + late)


@pytest.mark.parametrize(("late", "fits"), [(-1, True), (0, False), (1, False)])
def test_an_undisputed_job_is_ruled_only_within_its_window(world: World, late: int, fits: bool) -> None:
    job, terms = world.delivered(world.judged())
    if fits:
        world.send(world.arbiter, "rule", world.key(job), terms, 0, at=terms.window_end + late)
        assert world.state(job) is JobState.CLOSED
    else:
        with reverts("WindowOver", world.key(job), terms.window_end):
            world.send(world.arbiter, "rule", world.key(job), terms, 0, at=terms.window_end + late)


def test_a_case_is_ruled_once(world: World) -> None:
    job, terms = world.disputed()
    world.send(world.arbiter, "rule", world.key(job), terms, 0)
    with reverts("WrongState", world.key(job), JobState.CLOSED):
        world.send(world.arbiter, "rule", world.key(job), terms, 10_000)


def test_an_awarded_job_cannot_be_ruled(world: World) -> None:
    job, terms = world.awarded(world.judged())
    with reverts("WrongState", world.key(job), JobState.AWARDED):
        world.send(world.arbiter, "rule", world.key(job), terms, 10_000)


def test_the_terms_from_before_the_dispute_rule_nothing(world: World) -> None:
    job, terms = world.delivered(world.judged())
    world.dispute(job, terms)
    with reverts("WrongTerms", world.key(job)):
        world.send(world.arbiter, "rule", world.key(job), terms, 10_000)


def test_a_job_without_an_arbiter_is_ruled_by_nobody(world: World) -> None:
    job, terms = world.delivered()
    with reverts("WrongCaller", world.stranger, terms.arbiter):
        world.send(world.stranger, "rule", world.key(job), terms, 0)


@pytest.mark.parametrize(
    ("price", "bond", "fee", "bps"),
    [(0, 0, 0, 10_000), (1, 1, 1, 9_999), (9_999, 7, 3, 1), (3, 10_001, 10_001, 3_333)],
)
@pytest.mark.parametrize("share", [0, 1, 5_000, 9_999, 10_000])
@pytest.mark.parametrize("by", ["submitter", "arbiter"])
def test_dust_is_rounded_against_provider_matcher_and_arbiter_and_adds_up(
    world: World, price: int, bond: int, fee: int, bps: int, share: int, by: str
) -> None:
    job = world.judged(bond=Wei(bond), dispute_fee=Wei(fee), matcher_fee_bps=bps)
    terms = world.award(job, world.bid(job, price=Wei(price)), by=world.matcher)
    terms = world.dispute(job, world.deliver(job, terms), by=getattr(world, by))
    parts = world.send(world.arbiter, "rule", world.key(job), terms, share).only("JobClosed")["payout"]
    assert parts == tuple(_payout(terms, share))
    submitter, provider, matcher, arbiter, burned = parts
    assert sum(parts) == price + bond + terms.prepaid
    assert (provider + matcher) * 10_000 <= (price + bond) * share
    assert matcher * 10_000 <= terms.fee * share
    assert arbiter * 10_000 <= terms.prepaid * share + fee * (10_000 - share)
    assert submitter >= (price + terms.prepaid) * (10_000 - share) // 10_000
    assert burned <= bond


def _payout(terms: Terms, share: int) -> tuple[int, ...]:
    paid = ruled(terms, share)
    return paid.to_submitter, paid.to_provider, paid.to_matcher, paid.to_arbiter, paid.burned
