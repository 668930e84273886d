"""The model of the escrow: every state and verb, the clock's borders, the laws over random histories, and its blocks."""

import pytest

from deai import errors
from deai.job import TRANSITIONS, Action, Address, JobState, Outcome, Timestamp, Wei, may, refunded
from deai.testing import DAI, MemoryChain
from tests.lives import BOND, CAST, DELIVER_SECONDS, PATHS, PRICE, Life

START = Timestamp(2_000_000_000)
FUNDS = Wei(10**6)


def rich_chain() -> MemoryChain:
    chain = MemoryChain(now=START)
    for account in CAST.all():
        chain.mint(DAI.address, Address(account.address), FUNDS)
        chain.deposit(account, DAI.address, FUNDS)
    return chain


def a_life(chain: MemoryChain, **changes: object) -> Life:
    def at(time: int) -> None:
        chain.now = Timestamp(time)

    return Life(chain, chain.deployment(), at, **changes)


WAYS = [(state, path) for state, paths in PATHS.items() for path in paths]


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize(("state", "path"), WAYS, ids=str)
def test_every_verb_in_every_state_does_what_the_table_says(
    state: JobState, path: tuple[Action, ...], action: Action
) -> None:
    life = a_life(rich_chain()).reach(path)
    assert life.state is state

    if (state, action) in TRANSITIONS:
        life.act(action)
        assert life.state in TRANSITIONS[state, action]
    else:
        with pytest.raises(errors.WrongState) as refused:
            life.act(action)
        assert refused.value.args == (life.id, state)
        assert life.state is state


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize(("state", "path"), WAYS, ids=str)
def test_may_agrees_with_the_escrow_around_every_border(
    state: JobState, path: tuple[Action, ...], action: Action
) -> None:
    borders = {0, -1, 1}
    model = a_life(rich_chain()).reach(path)
    marks = (
        model.job.open_at,
        model.job.award_by,
        model.terms.deliver_by,
        model.terms.window_end,
        model.terms.rule_by,
    )
    for time in sorted({Timestamp(mark + step) for mark in marks for step in borders}):
        life = a_life(rich_chain()).reach(path)
        shifted = Timestamp(time - model.job.open_at + life.job.open_at)
        if shifted < life.time:
            continue
        allowed = may(action, state, shifted, life.job, life.terms)
        try:
            life.act(action, time=shifted)
            succeeded = True
        except errors.ContractError:
            succeeded = False
        assert succeeded == allowed, f"{action} in {state.name} at {shifted - life.job.open_at}"


def test_a_delivery_without_a_window_closes_the_job_as_paid() -> None:
    life = a_life(rich_chain(), challenge_seconds=0).reach((Action.AWARD,))

    receipt = life.act(Action.DELIVER)

    assert [type(event).__name__ for event in receipt.events] == ["JobDelivered", "JobClosed"]
    assert life.chain.state(life.id) == (JobState.CLOSED, Outcome.PAID)
    assert life.chain.balance(DAI.address, Address(CAST.provider.address)) == FUNDS + PRICE


def test_a_missed_delivery_refunds_the_price_and_burns_the_bond() -> None:
    life = a_life(rich_chain()).reach((Action.AWARD, Action.RECLAIM))

    assert life.chain.state(life.id) == (JobState.CLOSED, Outcome.REFUNDED)
    assert life.chain.balance(DAI.address, Address(CAST.submitter.address)) == FUNDS
    assert life.chain.balance(DAI.address, Address(CAST.provider.address)) == FUNDS - BOND
    assert life.chain.burned(DAI.address) == BOND
    assert refunded(life.terms).burned == BOND


def test_a_failure_before_the_call_changes_nothing() -> None:
    chain = rich_chain()
    chain.fail_next(errors.ChainUnavailable("the node is gone"))

    with pytest.raises(errors.ChainUnavailable, match="gone"):
        chain.withdraw(CAST.stranger, DAI.address, Address(CAST.stranger.address), FUNDS)

    assert chain.balance(DAI.address, Address(CAST.stranger.address)) == FUNDS


def test_a_failure_after_the_call_leaves_the_transaction_mined() -> None:
    chain = rich_chain()
    chain.fail_next(errors.ChainUnavailable("the answer got lost"), applied=True)

    with pytest.raises(errors.ChainUnavailable, match="lost"):
        chain.withdraw(CAST.stranger, DAI.address, Address(CAST.stranger.address), FUNDS)

    assert chain.balance(DAI.address, Address(CAST.stranger.address)) == 0


def test_an_account_without_coin_cannot_send() -> None:
    chain = rich_chain()
    chain.set_gas(Address(CAST.stranger.address), Wei(0))

    with pytest.raises(errors.BadField, match="gas"):
        chain.withdraw(CAST.stranger, DAI.address, Address(CAST.stranger.address), FUNDS)


def test_the_clock_stands_still_once_it_is_set_and_never_goes_back() -> None:
    chain = MemoryChain(now=START)
    chain.advance(10)

    assert chain.now == chain.head().time == START + 10
    with pytest.raises(ValueError, match="later"):
        chain.now = START


def test_without_a_set_clock_the_chain_follows_this_machines() -> None:
    chain = MemoryChain()
    before = chain.head().time

    chain.advance(DELIVER_SECONDS)

    assert DELIVER_SECONDS <= chain.head().time - before < DELIVER_SECONDS + 60
