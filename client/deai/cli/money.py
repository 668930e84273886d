"""`deai balance`, `deai deposit`, `deai withdraw`: money in the escrow."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from deai.cli import completion
from deai.cli.root import main
from deai.errors import BadField
from deai.job import Address, Wei
from deai.terminal import command, emit, open_submitter, say

if TYPE_CHECKING:
    from deai.chain import Receipt
    from deai.submitter import Submitter


@command(main, "balance")
def balance(as_json: bool) -> None:
    """Show what you have in the escrow and outside, per token."""
    submitter = open_submitter()
    for token in submitter.deployment.tokens:
        inside = submitter.chain.balance(token.address, submitter.address)
        outside = submitter.chain.token_balance(token.address, submitter.address)
        if as_json:
            emit(
                {
                    "token": token.symbol,
                    "account": submitter.address,
                    "escrow": str(inside),
                    "wallet": str(outside),
                }
            )
        else:
            say(
                f"{token.show(inside)} in the escrow, {token.show(outside)} in the wallet of {submitter.address}"
            )


def _money(
    token: str, amount: str, as_json: bool, act: Callable[["Submitter", Address, Wei], "Receipt"]
) -> None:
    submitter = open_submitter()
    known = submitter.deployment.token(token)
    wei: Wei = known.amount(amount)
    if wei == 0:
        raise BadField("amount", amount, "must be more than 0")
    receipt = act(submitter, known.address, wei)
    now = submitter.chain.balance(known.address, submitter.address)
    if as_json:
        emit(
            {
                "token": known.symbol,
                "amount": str(wei),
                "escrow": str(now),
                "tx": receipt.tx,
                "gas": receipt.gas_used,
            }
        )
    else:
        say(f"{known.show(now)} in the escrow now")


@command(main, "deposit")
@click.argument("token", shell_complete=completion.tokens)
@click.argument("amount")
def deposit(token: str, amount: str, as_json: bool) -> None:
    """Move AMOUNT of TOKEN from your wallet into your balance in the escrow."""
    _money(token, amount, as_json, lambda by, token, wei: by.chain.deposit(by.account, token, wei))


@command(main, "withdraw")
@click.argument("token", shell_complete=completion.tokens)
@click.argument("amount")
@click.option("--to", help="The account to pay; your own without it.")
def withdraw(token: str, amount: str, to: str | None, as_json: bool) -> None:
    """Pay AMOUNT of TOKEN out of your balance in the escrow."""
    from eth_utils.address import is_checksum_address

    if to is not None and not is_checksum_address(to):
        raise BadField("to", to, "is not a checksummed address")
    _money(token, amount, as_json, lambda by, token, wei: _withdraw(by, token, wei, to))


def _withdraw(by: "Submitter", token: Address, wei: Wei, to: str | None) -> "Receipt":
    balance = by.chain.balance(token, by.address)
    if wei > balance:
        known = by.deployment.token(token)
        raise BadField(
            "amount", known.show(wei), f"is more than the {known.show(balance)} you have in the escrow"
        )
    return by.chain.withdraw(by.account, token, Address(to or by.address), wei)
