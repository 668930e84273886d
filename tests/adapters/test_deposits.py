"""Deposits into the escrow on a real chain: in one transaction where the token takes permits, once whatever is cut short, and of the native coin."""

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from deai import errors
from deai.job import ZERO_ADDRESS, Address, Wei
from deai.localnet import local_account
from deai.permit import NO_DEADLINE, TokenDomain, sign_permit
from deai.transactions import Pace
from deai.web3_chain import Web3Chain
from tests.adapters.chain_fixtures import AnvilGround

NAME_SLOT = 3  # of OpenZeppelin's ERC20


@pytest.fixture
def newcomer(anvil_ground: AnvilGround) -> LocalAccount:
    """An account with coin and 100 DAI units, which never spoke to the escrow."""
    account: LocalAccount = Account.create()
    anvil_ground.node("anvil_setBalance", account.address, hex(10**18))
    anvil_ground.mint(Address(account.address), Wei(100))
    return account


def dai(ground: AnvilGround) -> Address:
    return ground.deployment.token("DAI").address


def sent_by(ground: AnvilGround, account: LocalAccount) -> int:
    return int(ground.node("eth_getTransactionCount", account.address, "latest"), 16)


def test_a_token_with_permits_is_deposited_in_one_transaction(
    anvil_ground: AnvilGround, newcomer: LocalAccount
) -> None:
    for amount in (60, 40):
        anvil_ground.chain.deposit(newcomer, dai(anvil_ground), Wei(amount))

    assert anvil_ground.chain.balance(dai(anvil_ground), Address(newcomer.address)) == 100
    assert sent_by(anvil_ground, newcomer) == 2


def test_what_somebody_else_did_with_the_permit_does_no_harm(
    anvil_ground: AnvilGround, newcomer: LocalAccount
) -> None:
    token, escrow = dai(anvil_ground), anvil_ground.deployment.contract
    v, r, s = sign_permit(newcomer, TokenDomain("Test DAI", "1", 31337, token), escrow, Wei(100), 0)
    signature = "permit(address,address,uint256,uint256,uint8,bytes32,bytes32)"
    front_runner = local_account(0).address
    words = (newcomer.address, escrow, 100, NO_DEADLINE, v, int.from_bytes(r), int.from_bytes(s))
    anvil_ground.node.send(front_runner, token, signature, *words)

    anvil_ground.chain.deposit(newcomer, token, Wei(100))

    assert anvil_ground.chain.balance(token, Address(newcomer.address)) == 100


def test_a_token_that_names_another_domain_than_it_checks_is_approved_first(
    anvil_ground: AnvilGround, newcomer: LocalAccount
) -> None:
    token, other = dai(anvil_ground), b"Other".ljust(31, b"\0") + bytes([2 * len(b"Other")])
    anvil_ground.node("anvil_setStorageAt", token, hex(NAME_SLOT), "0x" + other.hex())

    anvil_ground.chain.deposit(newcomer, token, Wei(100))

    assert anvil_ground.chain.balance(token, Address(newcomer.address)) == 100
    assert sent_by(anvil_ground, newcomer) == 2


def test_a_deposit_by_permit_that_was_cut_short_is_done_once(
    anvil_ground: AnvilGround, newcomer: LocalAccount
) -> None:
    """All that the account holds, so that a second one could not even be tried."""
    ground, token = anvil_ground, dai(anvil_ground)
    hasty = Web3Chain(
        ground.node.rpc, ground.deployment, journal=ground.journal, pace=Pace(receipt_seconds=0.2)
    )
    ground.node("evm_setAutomine", False)
    try:
        with pytest.raises(errors.ChainUnavailable):
            hasty.deposit(newcomer, token, Wei(100))
        ground.node("anvil_mine", "0x1")
    finally:
        ground.node("evm_setAutomine", True)
    assert ground.chain.balance(token, Address(newcomer.address)) == 100

    ground.chain.deposit(newcomer, token, Wei(100))

    assert ground.chain.balance(token, Address(newcomer.address)) == 100
    assert sent_by(ground, newcomer) == 1
    ground.mint(Address(newcomer.address), Wei(100))
    ground.chain.deposit(newcomer, token, Wei(100))
    assert ground.chain.balance(token, Address(newcomer.address)) == 200


def test_more_than_there_is_says_what_there_is(anvil_ground: AnvilGround, newcomer: LocalAccount) -> None:
    with pytest.raises(errors.BadField, match=r"holds 0\.0000000000000001 DAI"):
        anvil_ground.chain.deposit(newcomer, dai(anvil_ground), Wei(101))

    assert sent_by(anvil_ground, newcomer) == 0


def test_the_native_coin_goes_in_and_out(anvil_ground: AnvilGround, newcomer: LocalAccount) -> None:
    chain, owner = anvil_ground.chain, Address(newcomer.address)

    chain.deposit(newcomer, ZERO_ADDRESS, Wei(10**17))
    assert chain.balance(ZERO_ADDRESS, owner) == 10**17
    assert chain.token_balance(ZERO_ADDRESS, owner) < 9 * 10**17

    chain.withdraw(newcomer, ZERO_ADDRESS, owner, Wei(10**17))
    assert chain.balance(ZERO_ADDRESS, owner) == 0
    assert chain.token_balance(ZERO_ADDRESS, owner) > 99 * 10**16
