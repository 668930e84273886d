"""Attacks on the escrow, each ending where it must."""

from dataclasses import fields, replace
from typing import Any

import pytest
from eth_utils.crypto import keccak
from world import NOBODY, ONE, RESULT, World, reverts

from deai import signing
from deai.job import Job, JobState, Outcome, Terms, Timestamp, Wei
from deai.signing import Domain

GUARD = keccak(text="ReentrancyGuardReentrantCall()")[:4]
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order of secp256k1."""


# Tokens that misbehave.


@pytest.mark.parametrize("outer", ["deposit", "withdraw"])
@pytest.mark.parametrize("inner", ["deposit", "depositWithPermit", "withdraw"])
def test_a_token_that_calls_back_into_the_money_verbs_is_refused(
    world: World, outer: str, inner: str
) -> None:
    token = world.create("ReenteringToken")
    world.fund(world.submitter, 100, token)
    world.fund(world.provider, 100, token)
    _give(world, token, token.address, 50)
    zero = bytes(32)
    payload = {
        "deposit": (token.address, token.address, 1),
        "depositWithPermit": (token.address, 1, 2**40, 27, zero, zero),
        "withdraw": (token.address, token.address, 50),
    }[inner]
    _outer(world, token, outer, world.data(inner, *payload))
    assert token.functions.called().call()
    assert not token.functions.succeeded().call()
    assert token.functions.answer().call()[:4] == GUARD
    _assert_solvent(world, token)


@pytest.mark.parametrize("outer", ["deposit", "withdraw"])
@pytest.mark.parametrize(
    "inner", ["post", "bid", "cancel", "award", "deliver", "approve", "settle", "reclaim"]
)
def test_a_token_that_calls_back_into_any_other_verb_gains_nothing(
    world: World, outer: str, inner: str
) -> None:
    token = world.create("ReenteringToken")
    world.fund(world.submitter, 100, token)
    world.fund(world.provider, 100, token)
    money: dict[str, Any] = {
        "price_start": Wei(50),
        "price_cap": Wei(50),
        "bond": Wei(5),
        "token": token.address,
    }
    job = world.job(**money)
    bid = world.bid(job, price=Wei(10))
    args: dict[str, tuple[Any, ...]] = {
        "post": (world.job(**money, submitter=token.address),),
        "bid": (world.bid(job, provider=token.address),),
        "cancel": (world.job(**money, submitter=token.address),),
        "award": (job, world.signed(job), bid, world.signed(bid)),
    }
    if inner not in args:
        terms = world.award(job, bid)
        key = world.key(job)
        if inner in ("settle", "approve"):
            sent = world.send(world.provider, "deliver", key, terms, RESULT)
            terms = terms.delivered(RESULT, sent.only("JobDelivered")["windowEnd"])
        args[inner] = (key, terms, RESULT) if inner == "deliver" else (key, terms)
    late = world.now + 2000 if inner in ("settle", "reclaim") else None
    _outer(world, token, outer, world.data(inner, *args[inner]), at=late)
    assert token.functions.called().call()
    # The verb does what it would have done after the transfer: for its own rightful caller, or for anyone.
    rightful = inner in ("post", "bid", "cancel", "award", "settle", "reclaim")
    assert token.functions.succeeded().call() is rightful
    _assert_solvent(world, token, locked=15 if inner in ("award", "deliver", "approve") else 0)


def test_views_read_in_the_middle_of_a_withdrawal_show_it_done(world: World) -> None:
    token = world.create("ReenteringToken")
    world.fund(world.submitter, 100, token)
    payload = world.data("balanceOf", token.address, world.submitter)
    world.send(world.stranger, "prepare", world.market.address, bytes.fromhex(payload[2:]), to=token)
    world.send(world.submitter, "withdraw", token.address, world.submitter, 60)
    assert int.from_bytes(token.functions.answer().call()) == 40


def test_a_token_that_keeps_a_fee_is_credited_as_it_arrived(world: World) -> None:
    token = world.create("FeeToken")
    world.fund(world.submitter, 10_000, token)
    assert world.balance(world.submitter, token) == world.held(token) == 9_900
    world.send(world.submitter, "withdraw", token.address, world.submitter, 9_900)
    assert world.held(token) == 0


def test_a_token_that_shrinks_on_its_own_harms_its_last_holder_and_no_other_token(world: World) -> None:
    token = world.create("RebasingToken")
    world.fund(world.submitter, 100, token)
    world.fund(world.provider, 100, token)
    dai = world.held()
    world.send(world.stranger, "rebase", world.market.address, to=token)
    world.send(world.submitter, "withdraw", token.address, world.submitter, 100)
    with reverts("ERC20InsufficientBalance", world.market.address, 80, 100):
        world.send(world.provider, "withdraw", token.address, world.provider, 100)
    assert world.balance(world.provider, token) == 100
    assert world.held() == dai


def test_a_blocklisted_provider_is_paid_and_withdraws_elsewhere(world: World) -> None:
    token = world.create("BlockingToken")
    world.fund(world.submitter, 100 * ONE, token)
    world.fund(world.provider, 100 * ONE, token)
    job, terms = world.delivered(token=token.address)
    world.send(world.stranger, "setBlocked", world.provider, True, to=token)
    world.send(world.stranger, "settle", world.key(job), terms, at=terms.window_end)
    assert world.ending(job) == (JobState.CLOSED, Outcome.PAID)
    with reverts("Blocked", world.provider):
        world.send(world.provider, "withdraw", token.address, world.provider, ONE)
    world.send(world.provider, "withdraw", token.address, world.rival, ONE)


def test_a_token_that_answers_nothing_works(world: World) -> None:
    token = world.create("NoReturnToken")
    world.fund(world.submitter, 100, token)
    world.send(world.submitter, "withdraw", token.address, world.rival, 40)
    assert (world.balance(world.submitter, token), world.held(token)) == (60, 60)


def test_a_token_that_answers_false_is_refused(world: World) -> None:
    token = world.create("FalseToken")
    with reverts("SafeERC20FailedOperation", token.address):
        world.fund(world.submitter, 100, token)
    assert world.balance(world.submitter, token) == 0


def test_donated_tokens_and_forced_coins_are_nobodys(world: World) -> None:
    world.send(world.stranger, "mint", world.market.address, 77, to=world.dai)
    world.create("Forcer", world.market.address, value=5)
    assert world.web3.eth.get_balance(world.market.address) == 5
    world.fund(world.rival, 3)
    assert world.balance(world.rival) == 1000 * ONE + 3


def test_the_escrow_takes_no_coins(world: World) -> None:
    for data in ("0x", world.data("approve", bytes(32), world.awarded()[1])):
        request = {"from": world.submitter, "to": world.market.address, "value": "0x1", "data": data}
        answer = world.web3.provider.make_request("eth_call", [request, "latest"])
        assert "error" in answer


# Signatures.


def test_a_signature_for_another_escrow_is_worth_nothing(world: World) -> None:
    job = world.job()
    bid = world.bid(job)
    signatures = world.signed(job), world.signed(bid)
    second = world.create("JobMarket")
    elsewhere = Domain(world.domain.chain_id, second.address)
    with reverts("WrongSignature", world.submitter, bytes.fromhex(signing.job_id(job, elsewhere)[2:])):
        world.send(world.stranger, "award", job, signatures[0], bid, signatures[1], to=second)


@pytest.fixture
def before_the_fork(world: World) -> tuple[Job, Terms]:
    """A job awarded on the chain as it was before it split."""
    return world.awarded()


def test_after_a_chain_fork_old_signatures_are_dead_and_awarded_jobs_are_not_stranded(
    before_the_fork: tuple[Job, Terms], world: World, forked: World
) -> None:
    awarded, terms = before_the_fork
    job = world.job()
    bid = world.bid(job)
    there = bytes.fromhex(signing.job_id(job, Domain(777, world.domain.contract))[2:])
    with reverts("WrongSignature", world.submitter, there):
        forked.send(world.stranger, "award", job, world.signed(job), bid, world.signed(bid))
    forked.send(world.provider, "deliver", world.key(awarded), terms, RESULT)
    assert forked.state(awarded) is JobState.DELIVERED
    assert world.state(awarded) is JobState.AWARDED


def test_a_signature_with_flipped_s_is_refused(world: World) -> None:
    job = world.job()
    signature = world.signed(job)
    s = N - int.from_bytes(signature[32:64])
    flipped = signature[:32] + s.to_bytes(32) + bytes([55 - signature[64]])
    _refuses(world, job, flipped)


@pytest.mark.parametrize("v", [0, 1, 26, 29, 255])
def test_a_recovery_byte_other_than_27_and_28_is_refused(world: World, v: int) -> None:
    job = world.job()
    _refuses(world, job, world.signed(job)[:64] + bytes([v]))


def test_the_compact_form_is_refused(world: World) -> None:
    job = world.job()
    signature = world.signed(job)
    s = int.from_bytes(signature[32:64]) | (signature[64] - 27) << 255
    _refuses(world, job, signature[:32] + s.to_bytes(32))


@pytest.mark.parametrize("size", [1, 64, 65, 66, 1000])
def test_bytes_that_are_no_signature_are_refused(world: World, size: int) -> None:
    _refuses(world, world.job(), b"\x1b" * size)


def test_a_signature_that_recovers_to_zero_signs_for_nobody(world: World) -> None:
    _refuses(world, world.job(submitter=NOBODY), bytes(64) + b"\x1b")
    job = world.job()
    with reverts("Malformed", "provider"):
        world.send(
            world.stranger,
            "award",
            job,
            world.signed(job),
            world.bid(job, provider=NOBODY),
            bytes(64) + b"\x1b",
        )


@pytest.mark.parametrize("end", ["award", "cancel", "approve", "reclaim"])
def test_a_job_is_awarded_at_most_once(world: World, end: str) -> None:
    job = world.job()
    bid = world.bid(job, expires_at=Timestamp(world.now + 100))
    if end == "cancel":
        world.send(world.submitter, "cancel", job)
    else:
        terms = world.award(job, bid)
        if end == "reclaim":
            world.send(world.stranger, "reclaim", world.key(job), terms, at=terms.deliver_by)
        if end == "approve":
            sent = world.send(world.provider, "deliver", world.key(job), terms, RESULT)
            terms = terms.delivered(RESULT, sent.only("JobDelivered")["windowEnd"])
            world.send(world.submitter, "approve", world.key(job), terms)
    state = JobState.AWARDED if end == "award" else JobState.CLOSED
    again = world.bid(job, provider=world.rival)
    for signature in (world.signed(job), b""):
        with reverts("WrongState", world.key(job), state):
            world.send(world.stranger, "award", job, signature, again, world.signed(again))


# Terms, times and prices.


@pytest.mark.parametrize("name", [field.name for field in fields(Terms)])
@pytest.mark.parametrize("verb", ["deliver", "approve", "settle", "reclaim"])
def test_terms_altered_in_any_field_are_refused(world: World, verb: str, name: str) -> None:
    job, terms = world.awarded() if verb in ("deliver", "reclaim") else world.delivered()
    value = getattr(terms, name)
    other: Any = world.stranger
    if isinstance(value, int):
        other = value + 1
    elif isinstance(value, bytes):
        other = bytes([value[0] ^ 1]) + value[1:]
    altered = replace(terms, **{name: other})
    result = (RESULT,) if verb == "deliver" else ()
    with reverts("WrongTerms", world.key(job)):
        world.send(world.provider, verb, world.key(job), altered, *result)


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


@pytest.mark.parametrize(
    ("place", "bits"),
    [(0, 160), (1, 160), (2, 96), (3, 96), (4, 96), (8, 16), (9, 32), (10, 40), (11, 40), (12, 32)],
)
def test_a_job_whose_field_exceeds_its_type_is_refused(world: World, place: int, bits: int) -> None:
    """Bits above a field's type must never be dropped silently."""
    data = bytearray.fromhex(world.data("post", world.job())[2:])
    start = 4 + 32 * place
    value = int.from_bytes(data[start : start + 32]) | 1 << bits
    data[start : start + 32] = value.to_bytes(32)
    request = {"from": world.submitter, "to": world.market.address, "data": "0x" + data.hex()}
    answer = world.web3.provider.make_request("eth_call", [request, "latest"])
    assert "error" in answer


def _refuses(world: World, job: Job, signature: bytes) -> None:
    bid = world.bid(job)
    with reverts("WrongSignature", job.submitter, world.key(job)):
        world.send(world.stranger, "award", job, signature, bid, world.signed(bid))


def _give(world: World, token: Any, account: str, amount: int) -> None:
    world.send(world.rival, "mint", world.rival, amount, to=token)
    world.send(world.rival, "approve", world.market.address, amount, to=token)
    world.send(world.rival, "deposit", token.address, account, amount)


def _outer(world: World, token: Any, verb: str, payload: str, at: int | None = None) -> None:
    """Moves some of the token in or out of the escrow; the token makes the prepared call in the middle."""
    world.send(world.rival, "mint", world.rival, 30, to=token)
    world.send(world.rival, "approve", world.market.address, 30, to=token)
    if verb == "withdraw":
        world.send(world.rival, "deposit", token.address, world.rival, 30)
    world.send(world.stranger, "prepare", world.market.address, bytes.fromhex(payload[2:]), to=token)
    world.send(world.rival, verb, token.address, world.rival, 30, at=at)


def _assert_solvent(world: World, token: Any, locked: int = 0) -> None:
    accounts = [*world.people, token.address]
    balances = sum(world.balance(account, token) for account in accounts)
    assert world.held(token) == balances + locked + world.view("burned", token.address)
