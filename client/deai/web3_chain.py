"""The chain by a node's JSON-RPC: the only file that imports web3."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from eth_account.signers.local import LocalAccount
from web3.providers.rpc import HTTPProvider
from web3.types import RPCEndpoint

from deai import errors
from deai.artifacts import artifact
from deai.chain import Block, Event, Receipt
from deai.codec import Codec
from deai.deployment import Deployment
from deai.job import ZERO_ADDRESS, Address, Bid, Job, JobId, JobState, Outcome, Terms, Timestamp, Wei

RECEIPT_SECONDS = 120.0
"""How long a transaction is waited for."""

_REQUEST_SECONDS = 20.0
_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS, _POLL_GROWTH = 0.005, 2.0, 1.5
_NONCE_TRIES = 3
_NONCE_COMPLAINTS = ("nonce", "already known", "underpriced", "already imported")

_WORD_HEX = 2 + 64
_ERC20 = Codec(
    [
        {"type": "function", "name": name, "inputs": [{"name": "", "type": kind} for kind in inputs]}
        for name, inputs in (
            ("balanceOf", ("address",)),
            ("allowance", ("address", "address")),
            ("approve", ("address", "uint256")),
        )
    ]
)


T = TypeVar("T")


class _Refused(Exception):
    """The node answered with an error."""

    def __init__(self, error: Any) -> None:
        self.message = str(error.get("message", error)) if isinstance(error, dict) else str(error)
        self.data = _revert_data(error)
        super().__init__(self.message)


class _Nonces:
    """The nonces of one key. While transactions of ours are under way we count; else the node knows best."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.next = 0
        self.under_way = 0


# One per node and key in this process, however many chains were built: two counters would race.
_nonces: defaultdict[tuple[str, str], _Nonces] = defaultdict(_Nonces)


class Web3Chain:
    """A `chain.Chain` by the JSON-RPC of the node at `rpc`. Thread-safe.

    Raises ChainUnavailable where the node does not answer, and BadField where it is on another chain than the
    deployment, or holds no contract at its address.
    """

    def __init__(self, rpc: str, deployment: Deployment, *, receipt_seconds: float = RECEIPT_SECONDS) -> None:
        if urlsplit(rpc).scheme not in ("http", "https") or not urlsplit(rpc).hostname:
            raise errors.BadField("rpc", rpc, "is not an http(s) URL of a node")
        self._rpc = rpc
        self._receipt_seconds = receipt_seconds
        self._provider = HTTPProvider(
            rpc, request_kwargs={"timeout": _REQUEST_SECONDS}, exception_retry_configuration=None
        )
        self._codec = Codec(artifact("JobMarket").abi)
        self._deployment = deployment
        found = self._number("eth_chainId")
        if found != deployment.chain_id:
            rule = f"the node at {self._shown} is on this chain, the deployment on {deployment.chain_id}"
            raise errors.BadField("chain_id", found, rule)
        if self._ask("eth_getCode", deployment.contract, "latest") == "0x":
            rule = f"the node at {self._shown} knows no contract there; was the escrow deployed?"
            raise errors.BadField("contract", deployment.contract, rule)

    @property
    def chain_id(self) -> int:
        return self._deployment.chain_id

    @property
    def contract(self) -> Address:
        return self._deployment.contract

    # The chain itself.

    def head(self) -> Block:
        return self._read(_block, "eth_getBlockByNumber", "latest", False)

    def block(self, number: int) -> Block | None:
        return self._read(
            lambda found: None if found is None else _block(found), "eth_getBlockByNumber", hex(number), False
        )

    def events(self, first: int, last: int, job: JobId | None = None) -> list[Event]:
        last = min(last, self._number("eth_blockNumber"))
        return self._events(first, last, [self._codec.job_topics, job] if job else [])

    def _events(self, first: int, last: int, topics: list[Any]) -> list[Event]:
        if first > last:
            return []
        query = {"address": self.contract, "fromBlock": hex(first), "toBlock": hex(last), "topics": topics}
        try:
            return [self._codec.event(log) for log in self._answer("eth_getLogs", query)]
        except _Refused as refused:
            # Nodes cap the range or the answer's size, each in words of its own: ask for less.
            if first == last:
                raise self._unavailable("eth_getLogs", refused) from refused
        middle = (first + last) // 2
        return self._events(first, middle, topics) + self._events(middle + 1, last, topics)

    # Money.

    def balance(self, token: Address, account: Address) -> Wei:
        return Wei(self._view("balanceOf", token, account)[0])

    def token_balance(self, token: Address, account: Address) -> Wei:
        return Wei(self._token_view(token, "balanceOf", account))

    def gas_balance(self, account: Address) -> Wei:
        return Wei(self._number("eth_getBalance", account, "latest"))

    def burned(self, token: Address) -> Wei:
        return Wei(self._view("burned", token)[0])

    def deposit(self, signer: LocalAccount, token: Address, amount: Wei) -> Receipt:
        sender = Address(signer.address)
        if token != ZERO_ADDRESS and self._token_view(token, "allowance", sender, self.contract) < amount:
            there = self.token_balance(token, sender)
            if there < amount:
                rule = f"{sender} holds {self._amount(token, there)}"
                raise errors.BadField("amount", self._amount(token, amount), rule)
            self._send(signer, token, _ERC20.call("approve", self.contract, amount))
        return self._act(signer, "deposit", token, sender, amount)

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

    def award(
        self, signer: LocalAccount, job: Job, job_signature: bytes, bid: Bid, bid_signature: bytes
    ) -> Receipt:
        return self._act(signer, "award", job, job_signature, bid, bid_signature)

    def deliver(self, signer: LocalAccount, job: JobId, terms: Terms, result: bytes) -> Receipt:
        return self._act(signer, "deliver", job, terms, result)

    def approve(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt:
        return self._act(signer, "approve", job, terms)

    def settle(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt:
        return self._act(signer, "settle", job, terms)

    def reclaim(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt:
        return self._act(signer, "reclaim", job, terms)

    # Transactions.

    def _act(self, signer: LocalAccount, verb: str, *values: object) -> Receipt:
        mined = self._send(signer, self.contract, self._codec.call(verb, *values))
        ours = [log for log in mined["logs"] if log["address"].lower() == self.contract.lower()]
        return Receipt(
            tx=mined["transactionHash"],
            block=int(mined["blockNumber"], 16),
            gas_used=int(mined["gasUsed"], 16),
            events=tuple(self._codec.event(log) for log in ours),
        )

    def _send(self, signer: LocalAccount, to: Address, data: str) -> dict[str, Any]:
        """The receipt. What would revert is refused by the estimate, before anything is sent."""
        call = {"from": signer.address, "to": to, "data": data}
        # Pending: the clock of the next block, not of the last one, decides about times.
        gas = self._number("eth_estimateGas", call, "pending")
        base_fee = self._read(
            lambda found: int(found["baseFeePerGas"], 16), "eth_getBlockByNumber", "latest", False
        )
        tip = self._number("eth_maxPriorityFeePerGas")
        nonces = _nonces[self._rpc, signer.address]
        tx = self._submit(
            signer,
            nonces,
            {
                "chainId": self.chain_id,
                "to": to,
                "data": data,
                "value": 0,
                # A balance that another transaction empties meanwhile costs more to fill again.
                "gas": gas * 5 // 4 + 25_000,
                "maxPriorityFeePerGas": tip,
                "maxFeePerGas": 2 * base_fee + tip,
            },
        )
        try:
            mined = self._receipt(tx)
        finally:
            with nonces.lock:
                nonces.under_way -= 1
        if int(mined["status"], 16) != 1:
            self._ask("eth_call", call, mined["blockNumber"])  # raises what the escrow says
            raise errors.WrongRequest(f"transaction {tx} was mined, but reverted")
        return mined

    def _submit(self, signer: LocalAccount, nonces: _Nonces, transaction: dict[str, Any]) -> str:
        with nonces.lock:
            count = nonces.under_way > 0
            for _ in range(_NONCE_TRIES):
                if not count:
                    nonces.next = self._number("eth_getTransactionCount", signer.address, "pending")
                signed = signer.sign_transaction(transaction | {"nonce": nonces.next})
                try:
                    self._answer("eth_sendRawTransaction", "0x" + signed.raw_transaction.hex())
                except _Refused as refused:
                    last = refused
                    if not any(complaint in refused.message.lower() for complaint in _NONCE_COMPLAINTS):
                        break
                    count = False
                    continue
                nonces.next += 1
                nonces.under_way += 1
                return "0x" + signed.hash.hex()
        if "insufficient" in last.message.lower():
            there = self.gas_balance(Address(signer.address))
            rule = f"{signer.address} has too little of the chain's coin for the transaction's gas"
            raise errors.BadField("gas", there, rule) from last
        raise self._unavailable("eth_sendRawTransaction", last) from last

    def _receipt(self, tx: str) -> dict[str, Any]:
        until, pause = time.monotonic() + self._receipt_seconds, _FIRST_POLL_SECONDS
        while time.monotonic() < until:
            found: dict[str, Any] | None = self._ask("eth_getTransactionReceipt", tx)
            if found is not None:
                return found
            time.sleep(pause)
            pause = min(pause * _POLL_GROWTH, _LAST_POLL_SECONDS)
        raise errors.ChainUnavailable(
            f"{self._shown}: transaction {tx} was sent, but not mined within {self._receipt_seconds:g} s;"
            " it may still be"
        )

    # Questions.

    def _view(self, verb: str, *values: object) -> tuple[Any, ...]:
        call = {"to": self.contract, "data": self._codec.call(verb, *values)}
        return self._read(lambda found: self._codec.answer(verb, found), "eth_call", call, "latest")

    def _token_view(self, token: Address, verb: str, *values: object) -> int:
        found = self._ask("eth_call", {"to": token, "data": _ERC20.call(verb, *values)}, "latest")
        if len(found) < _WORD_HEX:
            raise errors.NoToken(token)
        return int(found[:_WORD_HEX], 16)

    def _amount(self, token: Address, amount: int) -> str:
        for known in self._deployment.tokens:
            if known.address == token:
                return known.show(Wei(amount))
        return f"{amount} of {token}"

    def _ask(self, method: str, *params: Any) -> Any:
        """The node's result. A revert becomes what the escrow said; any other error, ChainUnavailable."""
        try:
            return self._answer(method, *params)
        except _Refused as refused:
            if refused.data is not None:
                raise self._codec.refusal(refused.data) from refused
            raise self._unavailable(method, refused) from refused

    def _answer(self, method: str, *params: Any) -> Any:
        try:
            answer = self._provider.make_request(RPCEndpoint(method), params)
        except (OSError, ValueError) as error:  # the network's errors are OSErrors; ValueError: not JSON
            why = f"the chain's node at {self._shown} does not answer ({type(error).__name__})"
            raise errors.ChainUnavailable(why) from error
        match answer:
            case {"error": refusal}:
                raise _Refused(refusal)
            case {"result": result}:
                return result
        raise errors.ChainUnavailable(f"what answers at {self._shown} is not a chain's node")

    def _read(self, parse: Callable[[Any], T], method: str, *params: Any) -> T:
        """What `parse` makes of the node's result."""
        result = self._ask(method, *params)
        try:
            return parse(result)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise errors.ChainUnavailable(
                f"what answers at {self._shown} is not a chain's node: its {method} makes no sense"
            ) from error

    def _number(self, method: str, *params: Any) -> int:
        return self._read(lambda found: int(found, 16), method, *params)

    def _unavailable(self, method: str, refused: _Refused) -> errors.ChainUnavailable:
        return errors.ChainUnavailable(f"the chain's node at {self._shown} refused {method}: {refused}")

    @property
    def _shown(self) -> str:
        """The node's address without what may be a secret: password, path and query."""
        url = urlsplit(self._rpc)
        return f"{url.scheme}://{url.hostname}" + (f":{url.port}" if url.port else "")


def _block(found: dict[str, Any]) -> Block:
    return Block(
        int(found["number"], 16),
        found["hash"],
        found["parentHash"],
        Timestamp(int(found["timestamp"], 16)),
    )


def _revert_data(error: Any) -> str | None:
    """The revert data of an error, wherever a node puts it; None where the error is not a revert."""
    if not isinstance(error, dict):
        return None
    data = error.get("data")
    if isinstance(data, dict):
        data = data.get("data") or data.get("result")
    if isinstance(data, str):
        found = data.removeprefix("Reverted ").strip()
        if found.startswith("0x"):
            return found
    return "0x" if "revert" in str(error.get("message", "")).lower() else None
