"""deposit and depositWithPermit: how money comes in."""

import pytest
from eth_account.messages import encode_typed_data
from world import NOBODY, ONE, World, reverts

from deai.job import Address

DEADLINE = 2**40


def test_a_deposit_is_credited_to_the_named_account_and_emits(world: World) -> None:
    world.send(world.stranger, "mint", world.stranger, 7, to=world.dai)
    world.send(world.stranger, "approve", world.market.address, 7, to=world.dai)
    held = world.held()
    sent = world.send(world.stranger, "deposit", world.token, world.rival, 7)
    assert sent.only("Deposited") == {
        "token": world.token,
        "account": world.rival,
        "from": world.stranger,
        "amount": 7,
    }
    assert world.balance(world.rival) == 1000 * ONE + 7
    assert world.balance(world.stranger) == 0
    assert world.held() == held + 7


def test_a_deposit_of_an_address_without_code_reverts(world: World) -> None:
    with reverts("NoToken", world.stranger):
        world.send(world.submitter, "deposit", world.stranger, world.submitter, 1)


def test_a_deposit_for_the_zero_address_reverts(world: World) -> None:
    with reverts("Malformed", "account"):
        world.send(world.submitter, "deposit", world.token, NOBODY, 1)


def test_a_deposit_of_nothing_reverts(world: World) -> None:
    with reverts("Malformed", "amount"):
        world.send(world.submitter, "deposit", world.token, world.submitter, 0)


def test_coins_sent_along_with_a_deposit_of_a_token_revert(world: World) -> None:
    with reverts("Malformed", "value"):
        world.send(world.submitter, "deposit", world.token, world.submitter, 1, value=1)


def test_a_deposit_without_an_allowance_reverts(world: World) -> None:
    with reverts("ERC20InsufficientAllowance", world.market.address, 0, 1):
        world.send(world.submitter, "deposit", world.token, world.submitter, 1)


def test_nobody_can_deposit_from_another_ones_allowance(world: World) -> None:
    world.send(world.submitter, "mint", world.submitter, 5, to=world.dai)
    world.send(world.submitter, "approve", world.market.address, 5, to=world.dai)
    with reverts("ERC20InsufficientAllowance", world.market.address, 0, 5):
        world.send(world.stranger, "deposit", world.token, world.stranger, 5)


@pytest.mark.parametrize(("amount", "fits"), [(2**128 - 1, True), (2**128, False), (2**128 + 1, False)])
def test_a_balance_holds_up_to_its_words_limit(world: World, amount: int, fits: bool) -> None:
    world.send(world.matcher, "mint", world.matcher, amount, to=world.dai)
    world.send(world.matcher, "approve", world.market.address, amount, to=world.dai)
    if fits:
        world.send(world.matcher, "deposit", world.token, world.matcher, amount)
        assert world.balance(world.matcher) == amount
    else:
        with reverts("BalanceOverflow", world.token, world.matcher):
            world.send(world.matcher, "deposit", world.token, world.matcher, amount)


def test_a_permit_deposits_in_one_transaction(world: World) -> None:
    world.send(world.stranger, "mint", world.matcher, 9, to=world.dai)
    sent = world.send(world.matcher, "depositWithPermit", *_permit(world, world.matcher, 9))
    assert sent.only("Deposited")["amount"] == 9
    assert world.balance(world.matcher) == 9


def test_a_permit_that_somebody_used_before_still_deposits(world: World) -> None:
    world.send(world.stranger, "mint", world.matcher, 9, to=world.dai)
    token, amount, deadline, v, r, s = _permit(world, world.matcher, 9)
    spender = world.market.address
    world.send(world.stranger, "permit", world.matcher, spender, amount, deadline, v, r, s, to=world.dai)
    world.send(world.matcher, "depositWithPermit", token, amount, deadline, v, r, s)
    assert world.balance(world.matcher) == 9


def test_another_ones_permit_moves_nothing(world: World) -> None:
    world.send(world.stranger, "mint", world.matcher, 9, to=world.dai)
    with reverts("ERC20InsufficientAllowance", world.market.address, 0, 9):
        world.send(world.stranger, "depositWithPermit", *_permit(world, world.matcher, 9))
    assert world.balance(world.stranger) == 0


def test_a_token_without_permits_deposits_by_its_allowance(world: World) -> None:
    token = world.create("NoReturnToken")
    world.send(world.matcher, "mint", world.matcher, 9, to=token)
    world.send(world.matcher, "approve", world.market.address, 9, to=token)
    zero = b"\x00" * 32
    world.send(world.matcher, "depositWithPermit", token.address, 9, DEADLINE, 27, zero, zero)
    assert world.balance(world.matcher, token) == 9


def test_a_permit_for_the_native_coin_is_refused(world: World) -> None:
    zero = b"\x00" * 32
    with reverts("Malformed", "token"):
        world.send(world.matcher, "depositWithPermit", NOBODY, 1, DEADLINE, 27, zero, zero)


def test_a_permit_of_an_address_without_code_is_refused(world: World) -> None:
    zero = b"\x00" * 32
    with reverts("NoToken", world.stranger):
        world.send(world.matcher, "depositWithPermit", world.stranger, 1, DEADLINE, 27, zero, zero)


def _permit(world: World, owner: Address, amount: int) -> tuple[str, int, int, int, bytes, bytes]:
    domain = {
        "name": "Dai",
        "version": "1",
        "chainId": world.domain.chain_id,
        "verifyingContract": world.token,
    }
    kinds = {
        "owner": "address",
        "spender": "address",
        "value": "uint256",
        "nonce": "uint256",
        "deadline": "uint256",
    }
    types = {"Permit": [{"name": name, "type": kind} for name, kind in kinds.items()]}
    values = {
        "owner": owner,
        "spender": world.market.address,
        "value": amount,
        "nonce": world.dai.functions.nonces(owner).call(),
        "deadline": DEADLINE,
    }
    signed = world.people[owner].sign_message(encode_typed_data(domain, types, values))
    r, s = (number.to_bytes(32, "big") for number in (signed.r, signed.s))
    return world.token, amount, DEADLINE, signed.v, r, s
