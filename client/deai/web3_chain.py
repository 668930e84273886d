"""The chain by a node's JSON-RPC: the only file that imports web3."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from eth_account.signers.local import LocalAccount
from web3.providers.rpc import HTTPProvider

from deai import errors
from deai.artifacts import artifact
from deai.chain import Block, Event, Item, Receipt
from deai.codec import Codec
from deai.deployment import Deployment
from deai.job import ZERO_ADDRESS, Address, Bid, Job, JobId, JobState, Outcome, Terms, Timestamp, Wei
from deai.journal import Journal
from deai.node import Node, Refused
from deai.permit import NO_DEADLINE, TokenDomain, sign_permit
from deai.transactions import Pace, Transactions

_log = logging.getLogger(__name__)

_REQUEST_SECONDS = 20.0
_WORD_HEX = 2 + 64


def _function(name: str, inputs: tuple[str, ...], output: str) -> dict[str, Any]:
    named = [{"name": "", "type": kind} for kind in inputs]
    return {"type": "function", "name": name, "inputs": named, "outputs": [{"name": "", "type": output}]}


ERC20 = Codec(
    [
        _function(name, inputs, output)
        for name, inputs, output in (
            ("balanceOf", ("address",), "uint256"),
            ("allowance", ("address", "address"), "uint256"),
            ("approve", ("address", "uint256"), "bool"),
            # EIP-2612
            ("nonces", ("address",), "uint256"),
            ("name", (), "string"),
            ("version", (), "string"),
            ("DOMAIN_SEPARATOR", (), "bytes32"),
        )
    ]
)
"""As much of a token as deai speaks to."""


def connect(rpc: str, refusal: Callable[[str], errors.WrongRequest]) -> Node:
    """The node at `rpc`; `refusal` makes an error of what a contract says when it reverts."""
    timeout = {"timeout": _REQUEST_SECONDS}
    return Node(rpc, HTTPProvider(rpc, request_kwargs=timeout, exception_retry_configuration=None), refusal)


class Web3Chain:
    """A `chain.Chain` by the JSON-RPC of the node at `rpc`. Thread-safe. To send, it needs a journal; to read, none.

    Raises ChainUnavailable where the node does not answer, and BadField where it is on another chain than the
    deployment, or holds no contract at its address.
    """

    def __init__(
        self, rpc: str, deployment: Deployment, *, journal: Journal | None = None, pace: Pace | None = None
    ) -> None:
        self._codec = Codec(artifact("JobMarket").abi)
        self._node = node = connect(rpc, self._codec.refusal)
        self._deployment = deployment
        found = node.number("eth_chainId")
        if found != deployment.chain_id:
            rule = f"the node at {node.shown} is on this chain, the deployment on {deployment.chain_id}"
            raise errors.BadField("chain_id", found, rule)
        if node.ask("eth_getCode", deployment.contract, "latest") == "0x":
            rule = f"the node at {node.shown} knows no contract there; was the escrow deployed?"
            raise errors.BadField("contract", deployment.contract, rule)
        self._transactions = Transactions(node, found, journal, pace or Pace()) if journal else None

    @property
    def chain_id(self) -> int:
        return self._deployment.chain_id

    @property
    def contract(self) -> Address:
        return self._deployment.contract

    # The chain itself.

    def head(self) -> Block:
        return self._node.read(_block, "eth_getBlockByNumber", "latest", False)

    def block(self, number: int) -> Block | None:
        return self._node.read(
            lambda found: None if found is None else _block(found), "eth_getBlockByNumber", hex(number), False
        )

    def events(self, first: int, last: int, job: JobId | None = None) -> list[Event]:
        last = min(last, self._node.number("eth_blockNumber"))
        return self._events(first, last, [self._codec.job_topics, job] if job else [])

    def _events(self, first: int, last: int, topics: list[Any]) -> list[Event]:
        if first > last:
            return []
        query = {"address": self.contract, "fromBlock": hex(first), "toBlock": hex(last), "topics": topics}
        try:
            return [self._codec.event(log) for log in self._node.answer("eth_getLogs", query)]
        except Refused as refused:
            # Nodes cap the range or the answer's size, each in words of its own: ask for less.
            if first == last:
                raise self._node.error("eth_getLogs", refused) from refused
        middle = (first + last) // 2
        return self._events(first, middle, topics) + self._events(middle + 1, last, topics)

    # Money.

    def balance(self, token: Address, account: Address) -> Wei:
        return Wei(self._view("balanceOf", token, account)[0])

    def token_balance(self, token: Address, account: Address) -> Wei:
        if token == ZERO_ADDRESS:
            return self.gas_balance(account)
        return Wei(self._token_view(token, "balanceOf", account))

    def gas_balance(self, account: Address) -> Wei:
        return Wei(self._node.number("eth_getBalance", account, "latest"))

    def burned(self, token: Address) -> Wei:
        return Wei(self._view("burned", token)[0])

    def epoch(self, token: Address, account: Address) -> int:
        return int(self._view("epochOf", token, account)[0])

    def deposit(self, signer: LocalAccount, token: Address, amount: Wei) -> Receipt:
        sender = Address(signer.address)
        if token == ZERO_ADDRESS:
            return self._act(signer, "deposit", token, sender, amount, value=amount)
        if self._allowance(token, sender) < amount and not self._left(
            signer, "deposit", token, sender, amount
        ):
            by_permit = self._deposit_by_permit(signer, token, amount)
            if by_permit is not None:
                return by_permit
        # Twice: the first may have been adopted from a deposit that was cut short, and used up since.
        for _ in range(2):
            if self._allowance(token, sender) >= amount:
                break
            there = self.token_balance(token, sender)
            if there < amount:
                rule = f"{sender} holds {self._amount(token, there)}"
                raise errors.BadField("amount", self._amount(token, amount), rule)
            self._send(signer, token, ERC20.call("approve", self.contract, amount))
        return self._act(signer, "deposit", token, sender, amount)

    def _deposit_by_permit(self, signer: LocalAccount, token: Address, amount: Wei) -> Receipt | None:
        """A deposit in one transaction; None where the token takes no permits."""
        owner = Address(signer.address)
        domain, nonce = self._permits(token, owner)
        if domain is None:
            return None
        earlier, now = (
            (token, amount, NO_DEADLINE, *sign_permit(signer, domain, self.contract, amount, max(used, 0)))
            for used in (nonce - 1, nonce)
        )
        if self._left(signer, "depositWithPermit", *earlier):
            # It was cut short and used its permit: this deposit is that one.
            return self._act(signer, "depositWithPermit", *earlier)
        if self.token_balance(token, owner) < amount:
            return None
        try:
            return self._act(signer, "depositWithPermit", *now)
        except errors.WrongRequest as refused:
            _log.info("%s: a permit did not do, an approval may: %s", token, refused)
            return None

    def _permits(self, token: Address, owner: Address) -> tuple[TokenDomain | None, int]:
        """The domain in which the token takes `owner`'s permits, and the next one's nonce. A domain is what we know of it (this chain, this
        token) and what it says of itself, as far as that is the domain it checks."""
        nonce, separator, name, version = (
            self._told(token, verb, *values)
            for verb, values in (
                ("nonces", (owner,)),
                ("DOMAIN_SEPARATOR", ()),
                ("name", ()),
                ("version", ()),
            )
        )
        if not isinstance(nonce, int) or not isinstance(name, str):
            return None, 0
        domain = TokenDomain(name, version if isinstance(version, str) else "1", self.chain_id, token)
        return (domain if domain.separator == separator else None), nonce

    def withdraw(self, signer: LocalAccount, token: Address, to: Address, amount: Wei) -> Receipt:
        return self._act(signer, "withdraw", token, to, amount)

    # Jobs.

    def state(self, job: JobId) -> tuple[JobState, Outcome]:
        state, outcome = self._view("stateOf", job)
        return state, outcome

    def post(self, signer: LocalAccount, job: Job) -> Receipt:
        return self._act(signer, "post", job)

    def bid(self, signer: LocalAccount, bid: Bid) -> Receipt:
        return self._act(signer, "bid", bid)

    def cancel(self, signer: LocalAccount, job: Job) -> Receipt:
        return self._act(signer, "cancel", job)

    def cancel_all(self, signer: LocalAccount, token: Address) -> Receipt:
        return self._act(signer, "cancelAll", token)

    def award(
        self, signer: LocalAccount, job: Job, job_signature: bytes, bid: Bid, bid_signature: bytes
    ) -> Receipt:
        return self._act(signer, "award", job, job_signature, bid, bid_signature)

    def deliver(self, signer: LocalAccount, job: JobId, terms: Terms, result: bytes) -> Receipt:
        return self._act(signer, "deliver", job, terms, result)

    def deliver_and_close(
        self, signer: LocalAccount, job: JobId, terms: Terms, result: bytes, approval: bytes
    ) -> Receipt:
        return self._act(signer, "deliverAndClose", job, terms, result, approval)

    def approve(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt:
        return self._act(signer, "approve", job, terms)

    def settle(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt:
        return self._act(signer, "settle", job, terms)

    def reclaim(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt:
        return self._act(signer, "reclaim", job, terms)

    def dispute(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt:
        return self._act(signer, "dispute", job, terms)

    def rule(self, signer: LocalAccount, job: JobId, terms: Terms, share_bps: int) -> Receipt:
        return self._act(signer, "rule", job, terms, share_bps)

    def lapse(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt:
        return self._act(signer, "lapse", job, terms)

    # Many at once.

    def batch(self, signer: LocalAccount, calls: Sequence[Item], *, all_or_nothing: bool = False) -> Receipt:
        encoded = [bytes.fromhex(self._codec.call(item.verb, *item.values)[2:]) for item in calls]
        return self._act(signer, "batch", encoded, all_or_nothing)

    # Transactions.

    def _act(self, signer: LocalAccount, verb: str, *values: object, value: int = 0) -> Receipt:
        mined = self._send(signer, self.contract, self._codec.call(verb, *values), value)
        ours = [log for log in mined["logs"] if log["address"].lower() == self.contract.lower()]
        return Receipt(
            tx=mined["transactionHash"],
            block=int(mined["blockNumber"], 16),
            gas_used=int(mined["gasUsed"], 16),
            events=tuple(self._codec.event(log) for log in ours),
        )

    def _send(self, signer: LocalAccount, to: Address, data: str, value: int = 0) -> dict[str, Any]:
        if self._transactions is None:
            raise errors.BadField("journal", None, "is needed where transactions are sent")
        return self._transactions.send(signer, to, data, value)

    def _left(self, signer: LocalAccount, verb: str, *values: object) -> bool:
        """Whether a transaction that does just this was cut short, so that the same again is that one."""
        data = self._codec.call(verb, *values)
        return self._transactions is not None and self._transactions.left(signer, self.contract, data)

    # Questions.

    def _view(self, verb: str, *values: object) -> tuple[Any, ...]:
        data = self._codec.call(verb, *values)
        return self._node.view(lambda found: self._codec.answer(verb, found), self.contract, data)

    def _token_view(self, token: Address, verb: str, *values: object) -> int:
        found = self._node.ask("eth_call", {"to": token, "data": ERC20.call(verb, *values)}, "latest")
        if len(found) < _WORD_HEX:
            raise errors.NoToken(token)
        return int(found[:_WORD_HEX], 16)

    def _told(self, token: Address, verb: str, *values: object) -> object:
        """What the token answers; None where it has no such function, or answers in another way."""
        try:
            data = self._node.ask("eth_call", {"to": token, "data": ERC20.call(verb, *values)}, "latest")
            return ERC20.answer(verb, data)[0]
        except (errors.WrongRequest, errors.Bug, ValueError):
            return None

    def _allowance(self, token: Address, owner: Address) -> int:
        return self._token_view(token, "allowance", owner, self.contract)

    def _amount(self, token: Address, amount: int) -> str:
        for known in self._deployment.tokens:
            if known.address == token:
                return known.show(Wei(amount))
        return f"{amount} of {token}"


def _block(found: dict[str, Any]) -> Block:
    return Block(
        int(found["number"], 16),
        found["hash"],
        found["parentHash"],
        Timestamp(int(found["timestamp"], 16)),
    )
