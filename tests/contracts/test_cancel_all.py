"""cancelAll: ends all jobs of a submitter in one token that were not awarded."""

import pytest
from world import NOBODY, ONE, World, reverts

from deai.job import JobState


def test_the_epoch_steps_and_the_balance_stays(world: World) -> None:
    for epoch in (1, 2, 3):
        sent = world.send(world.submitter, "cancelAll", world.token)
        assert [log.name for log in sent.logs] == ["AllCancelled"]
        assert sent.only("AllCancelled") == {
            "token": world.token,
            "submitter": world.submitter,
            "epoch": epoch,
        }
        assert world.view("epochOf", world.token, world.submitter) == epoch
        assert world.balance(world.submitter) == 1000 * ONE


@pytest.mark.parametrize("posted", [True, False])
def test_no_job_of_an_earlier_epoch_is_awarded_any_more(world: World, posted: bool) -> None:
    job = world.job()
    if posted:
        world.send(world.submitter, "post", job)
    world.send(world.submitter, "cancelAll", world.token)
    with reverts("WrongEpoch", world.key(job), 0, 1):
        world.award(job, world.bid(job))


def test_a_job_of_the_new_epoch_is_awarded(world: World) -> None:
    world.send(world.submitter, "cancelAll", world.token)
    job = world.job(epoch=1)
    world.award(job, world.bid(job))
    assert world.state(job) is JobState.AWARDED


def test_an_awarded_job_goes_on_to_its_end(world: World) -> None:
    job, terms = world.delivered(world.judged())
    world.send(world.submitter, "cancelAll", world.token)
    terms = world.dispute(job, terms)
    world.send(world.arbiter, "rule", world.key(job), terms, 0)
    assert world.balance(world.submitter) == 1000 * ONE
    assert world.view("epochOf", world.token, world.submitter) == 1


def test_other_tokens_and_other_submitters_are_untouched(world: World) -> None:
    world.send(world.submitter, "cancelAll", NOBODY)
    world.send(world.rival, "cancelAll", world.token)
    assert world.view("epochOf", world.token, world.submitter) == 0
    job = world.job()
    world.award(job, world.bid(job))
    assert world.state(job) is JobState.AWARDED


def test_a_job_of_an_earlier_epoch_can_still_be_cancelled(world: World) -> None:
    job = world.job()
    world.send(world.submitter, "cancelAll", world.token)
    world.send(world.submitter, "cancel", job)
    assert world.state(job) is JobState.CLOSED


@pytest.mark.parametrize("account", ["submitter", "stranger"])
def test_money_moves_in_every_epoch(world: World, account: str) -> None:
    """The epoch lives in the balance's word: neither may touch the other, an empty balance included."""
    who = getattr(world, account)
    balance = world.balance(who)
    world.send(who, "cancelAll", world.token)
    world.fund(who, 7)
    assert (world.balance(who), world.view("epochOf", world.token, who)) == (balance + 7, 1)
    world.send(who, "withdraw", world.token, who, balance + 7)
    assert (world.balance(who), world.view("epochOf", world.token, who)) == (0, 1)
    with reverts("InsufficientBalance", world.token, who, 0, 1):
        world.send(who, "withdraw", world.token, who, 1)


def test_a_balance_at_its_limit_does_not_spill_into_the_epoch(world: World) -> None:
    token = world.create("NoReturnToken")
    world.fund(world.stranger, 2**128 - 1, token)
    with reverts("BalanceOverflow", token.address, world.stranger):
        world.fund(world.stranger, 1, token)
    assert world.balance(world.stranger, token) == 2**128 - 1
    assert world.view("epochOf", token.address, world.stranger) == 0
