"""Attacks by tokens and receivers of coins that misbehave: what they call back, what they keep, and whom they harm."""

from typing import Any

import pytest
from eth_utils.crypto import keccak
from world import NOBODY, ONE, RESULT, World, reverts, terms_of

from deai import signing
from deai.job import Address, JobState, Outcome, Wei

GUARD = keccak(text="ReentrancyGuardReentrantCall()")[:4]
COINS = 100
"""How much everybody has of the hostile token, in its smallest unit."""


# Who calls back. Everything that a party could prepare is prepared with the hostile contract as that party.

MONEY = ("deposit", "depositWithPermit", "withdraw")
VERBS = {
    # The verb, called in the middle of a transfer by its rightful party: what is locked afterwards.
    "post": 0,
    "bid": 0,
    "cancel": 0,
    "cancelAll": 0,
    "award": 15,
    "deliver": 15,
    "deliverAndClose": 0,
    "approve": 0,
    "settle": 0,
    "dispute": 17,
    "rule": 0,
    "lapse": 0,
    "reclaim": 0,
}


def test_every_verb_of_the_contract_is_tried(world: World) -> None:
    changing = {
        item["name"]
        for item in world.market.abi
        if item["type"] == "function" and item["stateMutability"] in ("nonpayable", "payable")
    }
    assert changing == {*MONEY, *VERBS, "batch"}


@pytest.fixture(params=["token deposit", "token withdraw", "coin withdraw"])
def callback(request: pytest.FixtureRequest, world: World) -> "Callback":
    kind, outer = request.param.split()
    return Callback(world, kind, outer)


class Callback:
    """A hostile contract with 100 of the money that it can call back with: of its own token, or of the native coin."""

    def __init__(self, world: World, kind: str, outer: str) -> None:
        self.world, self.outer = world, outer
        self.contract = world.create("ReenteringToken" if kind == "token" else "ReenteringReceiver")
        self.me = Address(self.contract.address)
        self.money = self.me if kind == "token" else NOBODY
        for person in (world.submitter, world.provider, world.rival):
            world.fund(person, COINS, self.contract if kind == "token" else NOBODY)
        if kind == "token":
            world.send(world.rival, "mint", world.rival, COINS, to=self.contract)
            world.send(world.rival, "approve", world.market.address, COINS, to=self.contract)
        value = {} if kind == "token" else {"value": COINS}
        world.send(world.rival, "deposit", self.money, self.me, COINS, **value)

    def call_back(self, verb: str, *args: Any, at: int | None = None) -> tuple[bool, bytes]:
        """Moves some of the money in or out; in the middle of it the hostile contract calls `verb`. How that went."""
        world = self.world
        payload = bytes.fromhex(world.data(verb, *args)[2:])
        if self.outer == "deposit":
            world.send(world.rival, "mint", world.rival, 30, to=self.contract)
            world.send(world.rival, "approve", world.market.address, 30, to=self.contract)
        world.send(world.stranger, "prepare", world.market.address, payload, to=self.contract)
        if self.outer == "deposit" or self.money != NOBODY:
            world.send(world.rival, self.outer, self.money, world.rival, 30, at=at)
        else:
            world.send(world.rival, "withdraw", self.money, self.me, 30, at=at)
        called, succeeded, answer = (
            world.view(each, to=self.contract) for each in ("called", "succeeded", "answer")
        )
        assert called
        return succeeded, answer

    def act(self, verb: str, *args: Any) -> None:
        """Lets the hostile contract call the escrow outside any transfer."""
        payload = bytes.fromhex(self.world.data(verb, *args)[2:])
        self.world.send(self.world.stranger, "run", self.world.market.address, payload, to=self.contract)

    def assert_solvent(self, locked: int) -> None:
        world = self.world
        balances = sum(world.balance(account, self.money) for account in (*world.people, self.me))
        assert world.held(self.money) == balances + locked + world.burned(self.money)


@pytest.mark.parametrize("inner", MONEY)
@pytest.mark.parametrize("batched", [False, True])
def test_money_verbs_called_back_are_refused(callback: Callback, inner: str, batched: bool) -> None:
    world, zero = callback.world, bytes(32)
    args: dict[str, tuple[Any, ...]] = {
        "deposit": (world.token, callback.me, 1),
        "depositWithPermit": (world.token, 1, 2**40, 27, zero, zero),
        "withdraw": (callback.money, callback.me, 50),
    }
    if batched:
        calls = [bytes.fromhex(world.data(inner, *args[inner])[2:])]
        succeeded, answer = callback.call_back("batch", calls, True)
    else:
        succeeded, answer = callback.call_back(inner, *args[inner])
    assert (succeeded, answer) == (False, GUARD)
    assert world.balance(callback.me, callback.money) == COINS
    callback.assert_solvent(locked=0)


@pytest.mark.parametrize("inner", VERBS)
def test_any_other_verb_called_back_does_what_it_does_on_its_own(callback: Callback, inner: str) -> None:
    """Each is whole before and after the transfer, so in its middle it changes exactly what it always changes."""
    args, at = _prepared(callback, inner)
    succeeded, answer = callback.call_back(inner, *args, at=at)
    assert succeeded, answer
    callback.assert_solvent(locked=VERBS[inner])


@pytest.mark.parametrize("inner", ["deliver", "approve", "rule", "dispute"])
def test_a_verb_called_back_by_the_wrong_party_is_refused(callback: Callback, inner: str) -> None:
    world = callback.world
    job = world.judged(
        token=callback.money, price_cap=Wei(50), bond=Wei(5), dispute_fee=Wei(2), price_start=Wei(50)
    )
    terms = world.award(job, world.bid(job, price=Wei(10)))
    if inner != "deliver":
        terms = world.deliver(job, terms)
    more = {"deliver": (RESULT,), "rule": (0,)}.get(inner, ())
    succeeded, answer = callback.call_back(inner, world.key(job), terms, *more)
    assert not succeeded
    assert world.error(answer).name == "WrongCaller"
    callback.assert_solvent(locked=15)


def test_views_read_in_the_middle_of_a_withdrawal_show_it_done(callback: Callback) -> None:
    world = callback.world
    succeeded, answer = callback.call_back("balanceOf", callback.money, world.rival)
    assert succeeded
    # A withdrawal is debited before it pays, a deposit credited after it came: books never exceed what is held.
    assert int.from_bytes(answer) == (COINS if callback.outer == "deposit" else COINS - 30)


def _prepared(callback: Callback, verb: str) -> tuple[tuple[Any, ...], int | None]:
    """What the hostile contract needs to call that verb as its rightful party; and the time to do it."""
    world, me = callback.world, callback.me
    buys = verb in ("post", "cancel", "approve", "dispute")
    sells = verb in ("bid", "deliver", "deliverAndClose")
    amounts = {"price_start": Wei(50), "price_cap": Wei(50), "bond": Wei(5), "dispute_fee": Wei(2)}
    job = world.judged(
        **amounts,
        token=callback.money,
        submitter=me if buys else world.submitter,
        arbiter=me if verb == "rule" else world.arbiter,
    )
    bid = world.bid(job, price=Wei(10), provider=me if sells else world.provider)
    early = {"post": (job,), "cancel": (job,), "cancelAll": (callback.money,), "bid": (bid,)}
    if verb in early:
        return early[verb], None

    if buys:
        callback.act("post", job)
    if sells:
        callback.act("bid", bid)
    orders = (job, b"" if buys else world.signed(job), bid, b"" if sells else world.signed(bid))
    if verb == "award":
        return orders, None

    terms = terms_of(world.send(world.stranger, "award", *orders))
    key = world.key(job)
    if verb == "deliver":
        return (key, terms, RESULT), None
    if verb == "deliverAndClose":
        owner = world.people[world.submitter]
        approval = signing.sign_approval(owner, world.id(job), me, RESULT, world.domain)
        return (key, terms, RESULT, approval), None
    if verb == "reclaim":
        return (key, terms), terms.deliver_by

    terms = world.deliver(job, terms)
    if verb == "settle":
        return (key, terms), terms.window_end
    if verb == "lapse":
        terms = world.dispute(job, terms)
        return (key, terms), terms.rule_by
    return ((key, terms, 5_000) if verb == "rule" else (key, terms)), None


# What they keep, and whom they harm.


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
