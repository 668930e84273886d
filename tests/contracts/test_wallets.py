"""Signers that are contracts (ERC-1271): the good one, and every nasty one."""

from enum import IntEnum
from typing import Any

import pytest
from world import ONE, RESULT, Reverted, Sent, World, reverts, terms_of

from deai import signing
from deai.job import Address, Bid, Job, JobId, JobState, Outcome

CONTRACT_GAS = 150_000
ANY = b"whatever it likes"


class Manner(IntEnum):
    """How a hostile wallet answers, as contracts/test/Wallets.sol has it."""

    ACCEPT = 0
    REFUSE = 1
    REVERT = 2
    NOTHING = 3
    FOUR_BYTES = 4
    ONE = 5
    DIRTY = 6
    FLOOD = 7
    BURN_ALL = 8
    CALL_BACK = 9


def wallet(world: World, owner: Address) -> Any:
    """A wallet with 100 tokens in the escrow, whose owner is a person."""
    return _funded(world, world.create("Wallet", owner))


def hostile(world: World, manner: Manner) -> Any:
    """A wallet with 100 tokens in the escrow that answers in that manner."""
    made = _funded(world, world.create("HostileWallet"))
    world.send(world.stranger, "turn", manner, to=made)
    return made


def run(world: World, made: Any, verb: str, *args: Any, **more: Any) -> Sent:
    """The wallet itself calls the escrow."""
    payload = bytes.fromhex(world.data(verb, *args)[2:])
    return world.send(world.stranger, "run", world.market.address, payload, to=made, **more)


def orders(world: World, submitter: Address) -> tuple[Job, Bid, bytes]:
    """A job of that submitter, a person's bid for it, and its signature."""
    job = world.judged(submitter=submitter)
    bid = world.bid(job)
    return job, bid, world.signed(bid)


def _funded(world: World, made: Any) -> Any:
    world.send(world.rival, "mint", world.rival, 100 * ONE, to=world.dai)
    world.send(world.rival, "approve", world.market.address, 100 * ONE, to=world.dai)
    world.send(world.rival, "deposit", world.token, made.address, 100 * ONE)
    return made


# Wallets that mean well.


def test_wallets_sign_a_job_and_a_bid_by_their_owners(world: World) -> None:
    buyer, seller = wallet(world, world.submitter), wallet(world, world.provider)
    job = world.job(submitter=buyer.address)
    bid = world.bid(job, provider=seller.address)
    by_buyer = world.signed_digest(world.submitter, world.key(job))
    by_seller = world.signed_digest(world.provider, world.view("bidDigest", bid))
    world.send(world.stranger, "award", job, by_buyer, bid, by_seller)
    assert world.state(job) is JobState.AWARDED
    assert world.balance(buyer.address) == 90 * ONE
    assert world.balance(seller.address) == 95 * ONE


def test_a_wallet_approves_a_result_by_its_owner(world: World) -> None:
    buyer = wallet(world, world.submitter)
    job, bid, by_provider = orders(world, buyer.address)
    by_buyer = world.signed_digest(world.submitter, world.key(job))
    terms = terms_of(world.send(world.stranger, "award", job, by_buyer, bid, by_provider))
    digest = world.view("approvalDigest", world.key(job), world.provider, RESULT)
    approval = world.signed_digest(world.submitter, digest)
    world.send(world.provider, "deliverAndClose", world.key(job), terms, RESULT, approval)
    assert world.ending(job) == (JobState.CLOSED, Outcome.PAID)


def test_what_another_signed_for_a_wallet_is_refused(world: World) -> None:
    buyer = wallet(world, world.submitter)
    job, bid, by_provider = orders(world, buyer.address)
    for signature in (
        world.signed_digest(world.rival, world.key(job)),
        b"",
        world.signed_digest(world.submitter, bytes(32)),
    ):
        with reverts("WrongSignature", buyer.address, world.key(job)):
            world.send(world.stranger, "award", job, signature, bid, by_provider)


def test_a_wallet_that_posts_and_bids_is_never_asked(world: World) -> None:
    buyer, seller = hostile(world, Manner.BURN_ALL), hostile(world, Manner.BURN_ALL)
    job = world.job(submitter=buyer.address)
    bid = world.bid(job, provider=seller.address)
    run(world, buyer, "post", job)
    run(world, seller, "bid", bid)
    sent = world.send(world.stranger, "award", job, b"", bid, b"")
    assert world.state(job) is JobState.AWARDED
    assert sent.gas_used < CONTRACT_GAS


# Wallets that do not.


@pytest.mark.parametrize(
    "manner",
    [
        Manner.REFUSE,
        Manner.REVERT,
        Manner.NOTHING,
        Manner.FOUR_BYTES,
        Manner.ONE,
        Manner.DIRTY,
        Manner.BURN_ALL,
    ],
)
def test_an_answer_that_is_not_exactly_yes_is_no(world: World, manner: Manner) -> None:
    buyer = hostile(world, manner)
    job, bid, by_provider = orders(world, buyer.address)
    with reverts("WrongSignature", buyer.address, world.key(job)):
        world.send(world.stranger, "award", job, ANY, bid, by_provider)
    assert world.state(job) is JobState.UNKNOWN


def test_a_stale_word_in_memory_is_no_answer(world: World) -> None:
    """A wallet that answers nothing after another that said yes: the yes must not be read twice."""
    buyer, seller = hostile(world, Manner.ACCEPT), hostile(world, Manner.NOTHING)
    job = world.job(submitter=buyer.address)
    bid = world.bid(job, provider=seller.address)
    with reverts("WrongSignature", seller.address, world.view("bidDigest", bid)):
        world.send(world.stranger, "award", job, ANY, bid, ANY)


def test_an_answer_of_200_kilobytes_is_not_copied(world: World) -> None:
    usual, flood = hostile(world, Manner.ACCEPT), hostile(world, Manner.FLOOD)
    costs = []
    for made in (usual, flood):
        job, bid, by_provider = orders(world, made.address)
        costs.append(world.send(world.stranger, "award", job, ANY, bid, by_provider).gas_used)
        assert world.state(job) is JobState.AWARDED
    assert costs[1] - costs[0] < CONTRACT_GAS


def test_a_wallet_that_burns_all_gas_costs_no_more_than_its_share(world: World) -> None:
    job, bid, by_provider = orders(world, hostile(world, Manner.BURN_ALL).address)
    calls = [bytes.fromhex(world.data("award", job, ANY, bid, by_provider)[2:])]
    sent = world.send(world.stranger, "batch", calls, False)
    assert sent.only("CallSkipped")["index"] == 0
    assert CONTRACT_GAS < sent.gas_used < CONTRACT_GAS + 70_000


@pytest.mark.parametrize("side", ["job", "bid"])
def test_a_wallet_cannot_change_anything_while_it_is_asked(world: World, side: str) -> None:
    made = hostile(world, Manner.CALL_BACK)
    payload = bytes.fromhex(world.data("withdraw", world.token, made.address, 100 * ONE)[2:])
    world.send(world.stranger, "prepare", world.market.address, payload, to=made)
    job, bid, signature = orders(world, made.address)
    signatures: tuple[bytes, bytes] = (ANY, signature)
    if side == "bid":
        job = world.job()
        bid = world.bid(job, provider=made.address)
        signatures = world.signed(job), ANY
    digest = world.key(job) if side == "job" else world.view("bidDigest", bid)
    with reverts("WrongSignature", made.address, digest):
        world.send(world.stranger, "award", job, signatures[0], bid, signatures[1])
    assert world.balance(made.address) == 100 * ONE


def test_a_wallet_may_read_the_escrow_while_it_is_asked(world: World) -> None:
    """What fails above fails for the change alone."""
    made = hostile(world, Manner.CALL_BACK)
    payload = bytes.fromhex(world.data("balanceOf", world.token, made.address)[2:])
    world.send(world.stranger, "prepare", world.market.address, payload, to=made)
    job, bid, by_provider = orders(world, made.address)
    world.send(world.stranger, "award", job, ANY, bid, by_provider)
    assert world.state(job) is JobState.AWARDED


def test_a_wallet_that_changes_its_mind_after_the_award_changes_nothing(world: World) -> None:
    buyer = hostile(world, Manner.ACCEPT)
    job, bid, by_provider = orders(world, buyer.address)
    terms = terms_of(world.send(world.stranger, "award", job, ANY, bid, by_provider))
    world.send(world.stranger, "turn", Manner.REFUSE, to=buyer)
    terms = world.deliver(job, terms)
    world.send(world.stranger, "settle", world.key(job), terms, at=terms.window_end)
    assert world.ending(job) == (JobState.CLOSED, Outcome.PAID)


def test_a_wallet_that_says_yes_to_anything_is_awarded_once_a_job(world: World) -> None:
    buyer = hostile(world, Manner.ACCEPT)
    job, bid, by_provider = orders(world, buyer.address)
    world.send(world.stranger, "award", job, ANY, bid, by_provider)
    with reverts("WrongState", world.key(job), JobState.AWARDED):
        world.send(world.stranger, "award", job, ANY + ANY, bid, by_provider)


def test_a_wallet_signs_for_itself_alone(world: World) -> None:
    hostile(world, Manner.ACCEPT)
    job, bid, by_provider = orders(world, world.submitter)
    with reverts("WrongSignature", world.submitter, world.key(job)):
        world.send(world.stranger, "award", job, ANY, bid, by_provider)


def test_an_account_without_code_is_not_asked(world: World) -> None:
    """A call of an address without code succeeds; that must never pass for a yes."""
    job, bid, by_provider = orders(world, Address("0x" + "77" * 20))
    with reverts("WrongSignature", "0x" + "77" * 20, world.key(job)):
        world.send(world.stranger, "award", job, ANY, bid, by_provider)


def test_a_precompile_is_not_asked_either(world: World) -> None:
    job, bid, by_provider = orders(world, Address("0x" + "00" * 19 + "04"))
    with reverts("WrongSignature", "0x" + "00" * 19 + "04", world.key(job)):
        world.send(world.stranger, "award", job, ANY, bid, by_provider)


# Gas.


def test_a_wallet_gets_its_whole_share_of_gas_or_the_award_fails(world: World) -> None:
    """Else whoever sends the award could starve a wallet into saying no; that would be a false report in a batch."""
    buyer = hostile(world, Manner.ACCEPT)
    job, bid, by_provider = orders(world, buyer.address)
    refusals = []
    for gas in range(80_000, 300_000, 10_000):
        with world.undone():
            try:
                world.send(world.stranger, "award", job, ANY, bid, by_provider, gas=gas)
            except Reverted as refused:
                refusals.append(refused.name)
            else:
                assert gas > CONTRACT_GAS * 64 // 63
    assert set(refusals) == {"TooLittleGas"}


def test_a_starved_wallet_in_a_batch_is_reported_as_starved(world: World) -> None:
    buyer = hostile(world, Manner.ACCEPT)
    job, bid, by_provider = orders(world, buyer.address)
    calls = [bytes.fromhex(world.data("award", job, ANY, bid, by_provider)[2:])]
    sent = world.send(world.stranger, "batch", calls, False, gas=180_000)
    reason = sent.only("CallSkipped")["reason"]
    assert world.error(reason).name == "TooLittleGas"
    assert world.error(reason).values == (CONTRACT_GAS,)
    assert world.state(job) is JobState.UNKNOWN


def test_a_signature_of_the_client_is_no_wallets_tree(world: World) -> None:
    """A contract's signature of the form of a tree is handed to the contract whole."""
    buyer = hostile(world, Manner.ACCEPT)
    job, bid, by_provider = orders(world, buyer.address)
    signature = signing.sign_approval(
        world.people[world.rival], JobId("0x" + "00" * 32), world.rival, RESULT, world.domain
    )
    world.send(world.stranger, "award", job, signature + bytes(64), bid, by_provider)
    assert world.state(job) is JobState.AWARDED
