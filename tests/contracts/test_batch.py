"""batch: many calls in one transaction, each undone and reported if it fails, or all or nothing."""

from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from world import NOBODY, ONE, RESULT, Reverted, Sent, World, reverts, unpacked

from deai import signing
from deai.job import Address, Job, JobState, Terms, Wei


def call(world: World, verb: str, *args: Any) -> bytes:
    return bytes.fromhex(world.data(verb, *args)[2:])


def batch(world: World, sender: Address, calls: list[bytes], *, whole: bool = False, **more: Any) -> Sent:
    return world.send(sender, "batch", calls, whole, **more)


def awards(world: World, jobs: list[Job]) -> list[bytes]:
    signatures = signing.sign_jobs(world.people[world.submitter], jobs, world.domain)
    bids = [world.bid(job) for job in jobs]
    return [
        call(world, "award", job, signature, bid, world.signed(bid))
        for job, signature, bid in zip(jobs, signatures, bids, strict=True)
    ]


def awarded(world: World, count: int) -> tuple[list[Job], list[Terms]]:
    jobs = [world.job() for _ in range(count)]
    sent = batch(world, world.matcher, awards(world, jobs), gas=25_000_000)
    return jobs, [unpacked(log.values["terms"]) for log in sent.logs]


def skipped(world: World, sent: Sent) -> dict[int, tuple[str, tuple[Any, ...]]]:
    """The errors that a batch reported, by the place of their calls."""
    found = {}
    for log in sent.logs:
        if log.name == "CallSkipped":
            error = world.error(log.values["reason"])
            found[log.values["index"]] = error.name, error.values
    return found


def test_a_whole_life_of_many_jobs_takes_three_transactions(world: World) -> None:
    jobs, terms = awarded(world, 3)
    keys = [world.key(job) for job in jobs]
    sent = batch(
        world,
        world.provider,
        [call(world, "deliver", key, each, RESULT) for key, each in zip(keys, terms, strict=True)],
    )
    terms = [
        each.delivered(RESULT, log.values["windowEnd"]) for each, log in zip(terms, sent.logs, strict=True)
    ]
    calls = [call(world, "settle", key, each) for key, each in zip(keys, terms, strict=True)]
    sent = batch(world, world.stranger, calls, at=terms[0].window_end)
    assert [log.name for log in sent.logs] == ["JobClosed"] * 3
    assert world.balance(world.provider) == 1000 * ONE + 3 * (10 * ONE - terms[0].fee)
    assert world.balance(world.matcher) == 3 * terms[0].fee


@pytest.mark.parametrize("bad", [0, 2, 4])
def test_a_bad_call_is_undone_and_reported_and_the_others_pass(world: World, bad: int) -> None:
    jobs = [world.job() for _ in range(5)]
    jobs[bad] = world.job(bond=Wei(2000 * ONE))
    sent = batch(world, world.stranger, awards(world, jobs))
    reason = (
        "InsufficientBalance",
        (
            world.token,
            world.provider,
            1000 * ONE - bad * 5 * ONE,
            2000 * ONE,
        ),
    )
    assert skipped(world, sent) == {bad: reason}
    assert [log.name for log in sent.logs].index("CallSkipped") == bad
    states = [world.state(job) for job in jobs]
    assert states == [JobState.UNKNOWN if place == bad else JobState.AWARDED for place in range(5)]
    # The bad one's price, debited before its bond was found missing, is back.
    assert world.balance(world.submitter) == 960 * ONE


@pytest.mark.parametrize("bad", [0, 2, 4])
def test_all_or_nothing_fails_with_the_bad_calls_own_error(world: World, bad: int) -> None:
    jobs = [world.job() for _ in range(5)]
    jobs[bad] = world.job(bond=Wei(2000 * ONE))
    with reverts("InsufficientBalance", world.token, world.provider, (1000 - 5 * bad) * ONE, 2000 * ONE):
        batch(world, world.stranger, awards(world, jobs), whole=True)
    assert {world.state(job) for job in jobs} == {JobState.UNKNOWN}


def test_all_or_nothing_without_a_bad_call_passes_whole(world: World) -> None:
    jobs = [world.job() for _ in range(3)]
    sent = batch(world, world.stranger, awards(world, jobs), whole=True)
    assert [log.name for log in sent.logs] == ["JobAwarded"] * 3


def test_the_answer_says_which_calls_succeeded(world: World) -> None:
    calls = [call(world, "cancelAll", NOBODY), call(world, "withdraw", world.token, world.rival, 0)]
    answer = world.ask(world.submitter, call(world, "batch", [*calls, calls[0]], False))
    assert answer == encode(["bool[]"], [[True, False, True]])


def test_an_empty_batch_does_nothing(world: World) -> None:
    assert batch(world, world.stranger, []).logs == ()


def test_the_caller_of_every_call_is_the_batchs(world: World) -> None:
    job, theirs = world.awarded()
    sent = batch(
        world,
        world.stranger,
        [
            call(world, "withdraw", world.token, world.stranger, 1),
            call(world, "deliver", world.key(job), theirs, RESULT),
            call(world, "cancelAll", world.token),
        ],
    )
    assert skipped(world, sent) == {
        0: ("InsufficientBalance", (world.token, world.stranger, 0, 1)),
        1: ("WrongCaller", (world.stranger, world.provider)),
    }
    assert sent.only("AllCancelled")["submitter"] == world.stranger


def test_one_matcher_sends_many_awards_and_earns_each_fee(world: World) -> None:
    _, terms = awarded(world, 3)
    assert {each.matcher for each in terms} == {world.matcher}
    assert all(each.fee for each in terms)


def test_a_job_twice_in_a_batch_is_awarded_once(world: World) -> None:
    job = world.job()
    (one,) = awards(world, [job])
    sent = batch(world, world.stranger, [one, one])
    assert skipped(world, sent) == {1: ("WrongState", (world.key(job), JobState.AWARDED))}
    assert world.balance(world.submitter) == 990 * ONE


def test_a_balance_is_spent_once_however_often_it_is_withdrawn(world: World) -> None:
    one = call(world, "withdraw", world.token, world.submitter, 1000 * ONE)
    sent = batch(world, world.submitter, [one, one, one])
    assert skipped(world, sent) == dict.fromkeys(
        (1, 2), ("InsufficientBalance", (world.token, world.submitter, 0, 1000 * ONE))
    )


# Coins.


def test_no_coin_can_be_sent_along_to_be_deposited_twice(world: World) -> None:
    one = call(world, "deposit", NOBODY, world.submitter, 7)
    with reverts("unknown", b""):
        batch(world, world.submitter, [one, one], value=7)
    assert world.held(NOBODY) == 0


def test_a_deposit_of_coins_in_a_batch_finds_none(world: World) -> None:
    sent = batch(world, world.submitter, [call(world, "deposit", NOBODY, world.submitter, 7)])
    assert skipped(world, sent) == {0: ("Malformed", ("value",))}
    assert world.balance(world.submitter, NOBODY) == 0


def test_a_batch_deposits_and_withdraws_tokens(world: World) -> None:
    world.send(world.matcher, "mint", world.matcher, 9, to=world.dai)
    world.send(world.matcher, "approve", world.market.address, 9, to=world.dai)
    calls = [
        call(world, "deposit", world.token, world.matcher, 9),
        call(world, "withdraw", world.token, world.rival, 4),
    ]
    sent = batch(world, world.matcher, calls)
    assert [log.name for log in sent.logs] == ["Deposited", "Withdrawn"]
    assert world.balance(world.matcher) == 5


# Batches of batches.


def test_a_batch_in_a_batch_is_undone_on_its_own(world: World) -> None:
    jobs = [world.job(), world.job(bond=Wei(2000 * ONE)), world.job()]
    good, bad, other = awards(world, jobs)
    inner = call(world, "batch", [good, bad], True)
    sent = batch(world, world.stranger, [inner, other])
    assert list(skipped(world, sent)) == [0]
    assert [world.state(job) for job in jobs] == [JobState.UNKNOWN, JobState.UNKNOWN, JobState.AWARDED]


def test_a_batch_in_a_batch_reports_on_its_own(world: World) -> None:
    inner = call(world, "batch", [call(world, "withdraw", world.token, world.rival, 0)], False)
    sent = batch(world, world.stranger, [call(world, "cancelAll", NOBODY), inner], whole=True)
    assert skipped(world, sent) == {0: ("Malformed", ("amount",))}


def test_a_call_back_within_a_batch_meets_the_guard(world: World) -> None:
    token = world.create("ReenteringToken")
    world.fund(world.submitter, 100, token)
    inner = call(world, "batch", [call(world, "withdraw", token.address, token.address, 1)], True)
    world.send(world.stranger, "prepare", world.market.address, inner, to=token)
    batch(world, world.submitter, [call(world, "withdraw", token.address, world.submitter, 60)])
    assert token.functions.called().call()
    assert not token.functions.succeeded().call()
    assert token.functions.answer().call() == keccak(text="ReentrancyGuardReentrantCall()")[:4]


# Failures without a reason, and failures that say too much.


@pytest.mark.parametrize("data", [b"", b"\xde\xad\xbe\xef", b"\x00"])
@pytest.mark.parametrize("whole", [True, False])
def test_what_is_no_call_of_the_contract_fails_the_batch(world: World, data: bytes, whole: bool) -> None:
    with reverts("NoReason", 1):
        batch(world, world.stranger, [call(world, "cancelAll", NOBODY), data], whole=whole)
    assert world.view("epochOf", NOBODY, world.stranger) == 0


@pytest.mark.parametrize("whole", [True, False])
def test_a_call_that_runs_out_of_gas_fails_the_batch(world: World, whole: bool) -> None:
    """Else whoever sends a batch could pick what is skipped by the gas it gives."""
    jobs = [world.job() for _ in range(3)]
    calls = awards(world, jobs)
    with world.undone():
        gas = batch(world, world.stranger, calls).gas_used
    # What is left of the gas may or may not suffice to say NoReason.
    with pytest.raises(Reverted):
        batch(world, world.stranger, calls, whole=whole, gas=gas - 20_000)
    assert {world.state(job) for job in jobs} == {JobState.UNKNOWN}


def test_a_reason_of_any_length_is_capped(world: World) -> None:
    token = world.create("ChattyToken")
    sent = batch(world, world.stranger, [call(world, "deposit", token.address, world.stranger, 1)])
    assert len(sent.only("CallSkipped")["reason"]) == 1024
    assert sent.gas_used < 150_000


# Gas.


def test_a_batchs_gas_grows_in_a_straight_line(world: World) -> None:
    """The price of one more job among 400 is that of one more among 10."""
    counts = (10, 100, 200, 400)
    call_ = call(world, "cancelAll", world.token)
    costs = []
    for count in counts:
        with world.undone():
            batch(world, world.submitter, [call_])
            costs.append(batch(world, world.submitter, [call_] * count, gas=29_000_000).gas_used)
    slopes = [
        (high - low) / (more - fewer)
        for low, high, fewer, more in zip(costs, costs[1:], counts, counts[1:], strict=False)
    ]
    assert max(slopes) < 1.02 * min(slopes)


def test_awards_of_a_batch_cost_the_same_each(world: World) -> None:
    costs = []
    for count in (2, 12, 22):
        with world.undone():
            awarded(world, 1)
            jobs = [world.job() for _ in range(count)]
            signatures = [world.signed(job) for job in jobs]
            bids = [world.bid(job) for job in jobs]
            calls = [
                call(world, "award", job, signature, bid, world.signed(bid))
                for job, signature, bid in zip(jobs, signatures, bids, strict=True)
            ]
            costs.append(batch(world, world.matcher, calls, gas=29_000_000).gas_used)
    first, second = (costs[1] - costs[0]) / 10, (costs[2] - costs[1]) / 10
    assert abs(first - second) < 0.01 * first


def test_a_batch_of_failures_costs_no_more_each_than_one(world: World) -> None:
    bad = call(world, "withdraw", world.token, world.stranger, 1)
    costs = [batch(world, world.stranger, [bad] * count).gas_used for count in (1, 101, 201)]
    first, second = costs[1] - costs[0], costs[2] - costs[1]
    assert second < 1.02 * first
