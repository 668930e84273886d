"""Attacks on jobs: altered terms, orphaned awards, late awards, bought matchers, liars, silent and bought arbiters."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from world import ONE, RESULT, World, reverts

from deai import signing
from deai.job import Address, Job, JobId, JobState, Outcome, Terms, Timestamp, Wei

# Terms.

REACHED: dict[str, Callable[[World], tuple[Job, Terms]]] = {
    "deliver": lambda world: world.awarded(world.judged()),
    "deliverAndClose": lambda world: world.awarded(world.judged()),
    "reclaim": lambda world: world.awarded(world.judged()),
    "approve": lambda world: world.delivered(world.judged()),
    "settle": lambda world: world.delivered(world.judged()),
    "dispute": lambda world: world.delivered(world.judged()),
    "rule": World.disputed,
    "lapse": World.disputed,
}
FIELDS = {
    # Where each field ends in the seven words, counted in bytes.
    "submitter": 19,
    "price": 31,
    "provider": 51,
    "bond": 63,
    "matcher": 83,
    "fee": 95,
    "arbiter": 115,
    "disputeFee": 127,
    "token": 159,
    "deadline": 164,
    "challengeSeconds": 167,
    "rulingSeconds": 170,
    "byArbiter": 171,
    "nothing": 191,
    "result": 223,
}


@pytest.mark.parametrize("verb", REACHED)
def test_terms_altered_in_any_field_are_refused(world: World, verb: str) -> None:
    job, terms = REACHED[verb](world)
    key = world.key(job)
    approval = signing.sign_approval(
        world.people[world.submitter], world.id(job), terms.provider, RESULT, world.domain
    )
    more = {"deliver": (RESULT,), "deliverAndClose": (RESULT, approval), "rule": (0,)}.get(verb, ())
    data = bytes.fromhex(world.data(verb, key, terms, *more)[2:])
    for byte in FIELDS.values():
        altered = bytearray(data)
        altered[4 + 32 + byte] ^= 1
        with reverts("WrongTerms", key):
            world.ask(world.provider, bytes(altered))


def test_terms_of_an_orphaned_award_are_worth_nothing(world: World) -> None:
    job = world.job()
    with world.undone():
        orphaned = world.award(job, world.bid(job))
    actual = world.award(job, world.bid(job, provider=world.rival, price=Wei(11 * ONE)))
    for who, terms, error in (
        (world.provider, orphaned, ("WrongTerms", world.key(job))),
        (world.provider, actual, ("WrongCaller", world.provider, world.rival)),
    ):
        with reverts(*error):
            world.send(who, "deliver", world.key(job), terms, RESULT)


def test_an_approval_given_for_an_orphaned_award_pays_nobody_else(world: World) -> None:
    job = world.job()
    with world.undone():
        world.award(job, world.bid(job))
        approval = signing.sign_approval(
            world.people[world.submitter], world.id(job), world.provider, RESULT, world.domain
        )
    actual = world.award(job, world.bid(job, provider=world.rival))
    digest = signing.approval_digest(world.id(job), world.rival, RESULT, world.domain)
    with reverts("WrongSignature", world.submitter, digest):
        world.send(world.rival, "deliverAndClose", world.key(job), actual, RESULT, approval)


def test_an_approval_holds_when_the_same_award_is_mined_again_at_another_price(world: World) -> None:
    job = world.job()
    approval = signing.sign_approval(
        world.people[world.submitter], world.id(job), world.provider, RESULT, world.domain
    )
    with world.undone():
        world.award(job, world.bid(job))
    again = world.award(job, world.bid(job, price=Wei(11 * ONE)))
    world.send(world.provider, "deliverAndClose", world.key(job), again, RESULT, approval)
    assert world.balance(world.provider) == 1011 * ONE


def test_a_result_copied_from_the_mempool_is_delivered_by_nobody_else(world: World) -> None:
    job, terms = world.awarded()
    for thief in (world.rival, world.matcher, world.submitter):
        with reverts("WrongCaller", thief, world.provider):
            world.send(thief, "deliver", world.key(job), terms, RESULT)


# Awards.


def test_an_award_in_the_last_second_of_a_bid_leaves_the_whole_time_to_deliver(world: World) -> None:
    job = world.job()
    bid = world.bid(job)
    terms = world.award(job, bid, at=bid.expires_at - 1)
    assert terms.deliver_by == bid.expires_at - 1 + job.deliver_seconds


def test_a_matcher_cannot_pay_its_own_provider_the_cap_from_the_first_second(world: World) -> None:
    job = world.job(open_at=Timestamp(world.now + 500), award_by=Timestamp(world.now + 1000))
    bid = world.bid(job, provider=world.rival, price=job.price_cap)
    with reverts("PriceAboveRamp", world.key(job), job.price_cap, job.price_start):
        world.award(job, bid, by=world.matcher)


def test_when_the_matcher_censors_a_stranger_awards_after_open_at_and_no_fee_is_due(world: World) -> None:
    job = world.job(open_at=Timestamp(world.now + 50), challenge_seconds=0)
    terms = world.award(job, world.bid(job), by=world.stranger, at=job.open_at)
    world.send(world.provider, "deliver", world.key(job), terms, RESULT)
    assert world.balance(world.provider) == 1010 * ONE
    assert world.balance(world.matcher) == world.balance(world.stranger) == 0


def test_a_matcher_that_is_the_provider_gets_both_parts(world: World) -> None:
    job = world.job(matcher=world.provider, challenge_seconds=0)
    terms = world.award(job, world.bid(job), by=world.provider)
    world.send(world.provider, "deliver", world.key(job), terms, RESULT)
    assert world.balance(world.provider) == 1010 * ONE


def test_a_fee_of_the_whole_price_is_the_most_a_matcher_gets(world: World) -> None:
    job = world.job(matcher_fee_bps=10_000, challenge_seconds=0)
    terms = world.award(job, world.bid(job), by=world.matcher)
    world.send(world.provider, "deliver", world.key(job), terms, RESULT)
    assert (world.balance(world.matcher), world.balance(world.provider)) == (10 * ONE, 1000 * ONE)


def test_one_balance_that_signed_many_jobs_pays_for_as_many_as_it_covers(world: World) -> None:
    jobs = [world.job(price_start=Wei(600 * ONE), price_cap=Wei(600 * ONE)) for _ in range(2)]
    bids = [world.bid(job, price=Wei(600 * ONE)) for job in jobs]
    world.award(jobs[0], bids[0])
    with reverts("InsufficientBalance", world.token, world.submitter, 400 * ONE, 600 * ONE):
        world.award(jobs[1], bids[1])


@pytest.mark.parametrize("fits", [True, False])
def test_a_deadline_beyond_its_word_is_refused(world: World, fits: bool) -> None:
    """The last second whose deadline still fits in 40 bits, and the next one."""
    job = world.job(award_by=Timestamp(2**40 - 1))
    at = Timestamp(2**40 - 1 - job.deliver_seconds + (0 if fits else 1))
    bid = world.bid(job, expires_at=Timestamp(at + 60))
    if fits:
        assert world.award(job, bid, at=at).deliver_by == 2**40 - 1
    else:
        with reverts("Panic", 0x11):
            world.award(job, bid, at=at)


# Cases.


def wealth(world: World, *people: Address) -> int:
    return sum(world.balance(who) for who in people)


def test_a_liar_that_loses_its_case_pays_for_it_and_the_provider_is_whole(world: World) -> None:
    job, terms = world.disputed()
    world.send(world.arbiter, "rule", world.key(job), terms, 10_000)
    assert world.balance(world.submitter) == (1000 - 10 - 2) * ONE
    assert wealth(world, world.provider, world.matcher) == 1010 * ONE
    assert world.balance(world.arbiter) == 2 * ONE


@pytest.mark.parametrize("share", [0, 1, 3_333, 10_000])
@pytest.mark.parametrize("by", ["submitter", "arbiter"])
def test_a_slash_never_enriches_the_submitter(world: World, share: int, by: str) -> None:
    job, terms = world.disputed(by=getattr(world, by))
    world.send(world.arbiter, "rule", world.key(job), terms, share)
    assert world.balance(world.submitter) <= 1000 * ONE


@pytest.mark.parametrize("by", ["submitter", "arbiter"])
def test_an_arbiter_bought_by_the_submitter_takes_at_most_the_price_and_the_fee_that_was_signed(
    world: World, by: str
) -> None:
    job, terms = world.disputed(by=getattr(world, by))
    world.send(world.arbiter, "rule", world.key(job), terms, 0)
    assert wealth(world, world.submitter, world.arbiter) == 1000 * ONE + terms.dispute_fee
    assert world.balance(world.arbiter) == terms.dispute_fee
    assert world.burned() == terms.bond - terms.dispute_fee


def test_an_arbiter_that_rules_for_all_it_can_get_never_gets_more_than_its_fee(world: World) -> None:
    for share in (0, 1, 5_000, 9_999, 10_000):
        for by in (world.submitter, world.arbiter):
            with world.undone():
                job, terms = world.disputed(by=by)
                world.send(world.arbiter, "rule", world.key(job), terms, share)
                assert world.balance(world.arbiter) <= terms.dispute_fee


def test_a_provider_that_disputes_itself_loses_its_bond_all_the_same(world: World) -> None:
    """Submitter and provider are one: the case shields nothing, the burn and the fee are lost."""
    before = wealth(world, world.submitter, world.provider)
    job, terms = world.disputed(matcher_fee_bps=0)
    world.send(world.arbiter, "rule", world.key(job), terms, 0)
    lost = before - wealth(world, world.submitter, world.provider)
    assert lost == terms.bond
    assert world.burned() == terms.bond - terms.dispute_fee


@pytest.mark.parametrize("code", ["0xfe", "0x5b600056", "0x60006000fd"])
def test_an_arbiter_that_reverts_or_burns_gas_hinders_nothing(world: World, code: str) -> None:
    """The escrow never calls it: an invalid instruction, an endless loop and a revert in its place change nothing."""
    world.rpc("anvil_setCode", world.arbiter, code)
    job, terms = world.delivered(world.judged())
    with world.undone():
        world.send(world.provider, "settle", world.key(job), terms, at=terms.window_end)
        assert world.ending(job) == (JobState.CLOSED, Outcome.PAID)
    terms = world.dispute(job, terms)
    world.send(world.provider, "lapse", world.key(job), terms, at=terms.rule_by)
    assert world.ending(job) == (JobState.CLOSED, Outcome.SPLIT)


def test_a_silent_arbiter_that_opened_the_case_itself_cannot_cost_the_provider_anything(world: World) -> None:
    job, terms = world.disputed(by=world.arbiter)
    world.send(world.provider, "lapse", world.key(job), terms, at=terms.rule_by)
    assert wealth(world, world.provider, world.matcher) == 1010 * ONE


def test_a_submitter_that_never_signs_the_close_pays_all_the_same(world: World) -> None:
    job, terms = world.delivered()
    world.send(world.provider, "settle", world.key(job), terms, at=terms.window_end)
    assert wealth(world, world.provider, world.matcher) == 1010 * ONE


# Bits that no field has.

WIDTHS = [160, 160, 96, 96, 96, 160, 96, None, 160, 16, 32, 40, 40, 32, 24, 24, None, None]
"""Of the words of a Job, in bits; None: the whole word."""


@pytest.mark.parametrize("place", [place for place, bits in enumerate(WIDTHS) if bits])
def test_a_job_whose_field_exceeds_its_type_is_refused(world: World, place: int) -> None:
    """Bits above a field's type must never be dropped silently: neither posted nor awarded, well signed as they are."""
    job = world.judged()
    bits = WIDTHS[place] or 0

    def raw(verb: str, *more: object, dirty: bool) -> bytes:
        data = bytearray.fromhex(world.data(verb, job, *more)[2:])
        # The bit just above the field in the job's word.
        data[4 + 32 * place + 31 - bits // 8] |= dirty << bits % 8
        return bytes(data)

    def orders(*, dirty: bool) -> tuple[object, ...]:
        key = world.ask(world.stranger, raw("jobId", dirty=dirty))
        bid = replace(world.bid(job), job=JobId("0x" + key.hex()))
        return world.signed_digest(world.submitter, key), bid, world.signed(bid)

    world.ask(world.submitter, raw("post", dirty=False))
    with reverts("unknown", b""):
        world.ask(world.submitter, raw("post", dirty=True))
    world.ask(world.stranger, raw("award", *orders(dirty=False), dirty=False))
    with reverts("unknown", b""):
        world.ask(world.stranger, raw("award", *orders(dirty=True), dirty=True))


@pytest.mark.parametrize(("place", "bits"), [(1, 160), (2, 96), (3, 40)])
def test_a_bid_whose_field_exceeds_its_type_is_refused(world: World, place: int, bits: int) -> None:
    data = bytearray.fromhex(world.data("bid", world.bid(world.job()))[2:])
    world.ask(world.provider, bytes(data))
    data[4 + 32 * place + 31 - bits // 8] |= 1 << bits % 8
    with reverts("unknown", b""):
        world.ask(world.provider, bytes(data))
