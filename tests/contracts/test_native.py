"""The chain's native coin: token zero, by the same paths as any token."""

from typing import Any

import pytest
from world import NOBODY, ONE, RESULT, World, reverts

from deai import signing
from deai.job import Job, JobState, Outcome


@pytest.fixture
def native(world: World) -> World:
    """The world, in which submitter and provider have 100 coins in the escrow."""
    for who in (world.submitter, world.provider):
        world.fund(who, 100 * ONE, NOBODY)
    return world


def coins(world: World, account: str) -> int:
    """What the account has outside the escrow."""
    return int(world.web3.eth.get_balance(account))


def test_a_deposit_is_credited_to_the_named_account_and_emits(world: World) -> None:
    before = coins(world, world.stranger)
    sent = world.send(world.stranger, "deposit", NOBODY, world.rival, 7, value=7)
    assert sent.only("Deposited") == {
        "token": NOBODY,
        "account": world.rival,
        "from": world.stranger,
        "amount": 7,
    }
    assert (world.balance(world.rival, NOBODY), world.balance(world.stranger, NOBODY)) == (7, 0)
    assert world.held(NOBODY) == 7
    assert coins(world, world.stranger) <= before - 7


@pytest.mark.parametrize(("amount", "value"), [(7, 6), (7, 8), (7, 0), (0, 7)])
def test_a_deposit_of_another_amount_than_was_sent_reverts(world: World, amount: int, value: int) -> None:
    with reverts("Malformed", "value"):
        world.send(world.stranger, "deposit", NOBODY, world.stranger, amount, value=value)


def test_a_deposit_of_nothing_reverts(world: World) -> None:
    with reverts("Malformed", "amount"):
        world.send(world.stranger, "deposit", NOBODY, world.stranger, 0)


def test_a_deposit_for_the_zero_address_reverts(world: World) -> None:
    with reverts("Malformed", "account"):
        world.send(world.stranger, "deposit", NOBODY, NOBODY, 7, value=7)


def test_a_withdrawal_pays_out_and_emits(native: World) -> None:
    receiver = "0x" + "77" * 20
    sent = native.send(native.submitter, "withdraw", NOBODY, receiver, 3 * ONE)
    assert sent.only("Withdrawn") == {
        "token": NOBODY,
        "account": native.submitter,
        "to": receiver,
        "amount": 3 * ONE,
    }
    assert native.balance(native.submitter, NOBODY) == 97 * ONE
    assert (coins(native, receiver), native.held(NOBODY)) == (3 * ONE, 197 * ONE)


def test_more_than_the_balance_cannot_leave(native: World) -> None:
    with reverts("InsufficientBalance", NOBODY, native.submitter, 100 * ONE, 100 * ONE + 1):
        native.send(native.submitter, "withdraw", NOBODY, native.submitter, 100 * ONE + 1)


def test_the_coin_and_a_token_are_separate_books(native: World) -> None:
    assert native.balance(native.rival) == 1000 * ONE
    with reverts("InsufficientBalance", NOBODY, native.rival, 0, 1):
        native.send(native.rival, "withdraw", NOBODY, native.rival, 1)


def test_a_receiver_that_refuses_coins_keeps_its_balance_and_sends_them_elsewhere(world: World) -> None:
    receiver = world.create("RefusingReceiver")
    world.send(world.rival, "deposit", NOBODY, receiver.address, 50, value=50)

    def withdraw(to: str) -> None:
        payload = bytes.fromhex(world.data("withdraw", NOBODY, to, 50)[2:])
        world.send(world.rival, "run", world.market.address, payload, to=receiver)

    with reverts("NoCoins"):
        withdraw(receiver.address)
    assert world.balance(receiver.address, NOBODY) == 50
    withdraw("0x" + "77" * 20)
    assert (world.balance(receiver.address, NOBODY), world.held(NOBODY)) == (0, 0)


@pytest.mark.parametrize("end", ["settle", "approve", "deliverAndClose", "reclaim", "rule", "lapse"])
def test_a_whole_life_in_the_native_coin(native: World, end: str) -> None:
    world = native
    job = world.judged(token=NOBODY)
    key, terms = world.key(job), world.awarded(job)[1]
    assert world.balance(world.submitter, NOBODY) == 90 * ONE
    assert world.balance(world.provider, NOBODY) == 95 * ONE
    if end == "reclaim":
        world.send(world.stranger, "reclaim", key, terms, at=terms.deliver_by)
        _assert_ended(world, job, Outcome.REFUNDED, 100, 95, 0, 0, 5)
        return
    if end == "deliverAndClose":
        approval = signing.sign_approval(
            world.people[world.submitter], world.id(job), terms.provider, RESULT, world.domain
        )
        world.send(world.provider, "deliverAndClose", key, terms, RESULT, approval)
        _assert_ended(world, job, Outcome.PAID, 90, 109.75, 0.25, 0, 0)
        return
    terms = world.deliver(job, terms)
    if end in ("settle", "approve"):
        at = terms.window_end if end == "settle" else None
        world.send(world.submitter, end, key, terms, at=at)
        _assert_ended(world, job, Outcome.PAID, 90, 109.75, 0.25, 0, 0)
        return
    terms = world.dispute(job, terms)
    assert world.balance(world.submitter, NOBODY) == 88 * ONE
    if end == "rule":
        world.send(world.arbiter, "rule", key, terms, 0)
        _assert_ended(world, job, Outcome.REFUNDED, 100, 95, 0, 2, 3)
    else:
        world.send(world.stranger, "lapse", key, terms, at=terms.rule_by)
        _assert_ended(world, job, Outcome.SPLIT, 93, 104.875, 0.125, 0, 2)


def test_coins_forced_upon_the_escrow_are_nobodys(native: World) -> None:
    native.create("Forcer", native.market.address, value=5)
    assert native.held(NOBODY) == 200 * ONE + 5
    assert native.balance(native.submitter, NOBODY) == 100 * ONE
    native.send(native.stranger, "deposit", NOBODY, native.stranger, 7, value=7)
    assert native.balance(native.stranger, NOBODY) == 7
    for who, amount in ((native.submitter, 100 * ONE), (native.provider, 100 * ONE), (native.stranger, 7)):
        native.send(who, "withdraw", NOBODY, who, amount)
    assert native.held(NOBODY) == 5


def test_nothing_but_a_deposit_takes_coins(world: World) -> None:
    payable = {item["name"] for item in world.market.abi if item.get("stateMutability") == "payable"}
    assert payable == {"deposit"}
    bare: list[bytes] = [b"", b"\xde\xad\xbe\xef"]
    calls = (
        bytes.fromhex(world.data("batch", [], False)[2:]),
        bytes.fromhex(world.data("cancelAll", NOBODY)[2:]),
    )
    for data in (*bare, *calls):
        with reverts("unknown", b""):
            world.ask(world.submitter, data, value=1)
    for data in calls:
        world.ask(world.submitter, data)


def _assert_ended(world: World, job: Job, outcome: Outcome, *parts: Any) -> None:
    """Balances of submitter, provider, matcher, arbiter, and what was burned, in coins; and nothing is lost."""
    people = (world.submitter, world.provider, world.matcher, world.arbiter)
    found = [*(world.balance(who, NOBODY) for who in people), world.burned(NOBODY)]
    assert found == [int(part * 1000) * ONE // 1000 for part in parts]
    assert sum(found) == world.held(NOBODY) == 200 * ONE
    assert world.ending(job) == (JobState.CLOSED, outcome)
