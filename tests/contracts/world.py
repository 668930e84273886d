"""A chain with the escrow on it, and the people who use it: what the contract's tests speak through."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from eth_abi.abi import decode, encode
from eth_account.signers.local import LocalAccount
from eth_typing import Hash32
from eth_utils.abi import abi_to_signature, collapse_if_tuple
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from node import Node, Refused

from brownie_project import Contract
from deai import signing
from deai.anvil import local_account
from deai.job import ZERO_ADDRESS, Address, Bid, Job, JobId, JobState, Outcome, Terms, Timestamp, Wei
from deai.signing import Domain

ONE = 10**18
RESULT = b"\x07" * 32
_GAS = 3_000_000
_ADDRESS_LETTERS = 42
_PANIC = {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]}


class Reverted(Exception):
    """A transaction was refused with the Solidity error `name` and its decoded arguments."""

    def __init__(self, name: str, values: tuple[Any, ...]) -> None:
        self.name, self.values = name, values
        super().__init__(f"{name}{values}")


@contextmanager
def reverts(name: str, *values: Any) -> Iterator[None]:
    """Fails unless the block is refused with exactly this error and these arguments."""
    refused: Reverted | None = None
    try:
        yield
    except Reverted as error:
        refused = error
    assert refused is not None, f"was not refused with {name}{values}"
    assert (refused.name, refused.values) == (name, tuple(plain(value) for value in values))


@dataclass(frozen=True, slots=True)
class Log:
    """An event as it was emitted, decoded. Tuples are structs, in field order."""

    name: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sent:
    """A transaction that succeeded."""

    gas_used: int
    time: int
    logs: tuple[Log, ...]
    """The escrow's events only."""

    def only(self, name: str) -> dict[str, Any]:
        """The values of the one event of that name."""
        (log,) = (log for log in self.logs if log.name == name)
        return log.values


def calldata(contract: Any, verb: str, *args: Any) -> str:
    """What calls `verb` of the contract; orders and terms may be ours."""
    entry = _function(contract, verb)
    types = [collapse_if_tuple(item) for item in entry["inputs"]]
    return "0x" + (_selector(verb, tuple(types)) + encode(types, [plain(arg) for arg in args])).hex()


def _function(contract: Any, verb: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        item for item in contract.abi if item["type"] == "function" and item["name"] == verb
    )
    return found


@cache
def _selector(verb: str, types: tuple[str, ...]) -> bytes:
    return keccak(text=f"{verb}({','.join(types)})")[:4]


_job_id = cache(signing.job_id)


class World:
    """The escrow `market`, the token `dai`, and accounts with balances in both."""

    def __init__(self, node: Node, project: Mapping[str, Contract]) -> None:
        """`project` has the contracts by name."""
        self.node, self.project = node, project
        abis: list[Any] = [[_PANIC], *(contract.abi for contract in project.values())]
        known = [item for abi in abis for item in abi if item["type"] == "error"]
        self._errors = {keccak(text=abi_to_signature(item))[:4]: item for item in known}
        self.people: dict[Address, LocalAccount] = {}
        self.submitter, self.provider, self.matcher, self.stranger, self.rival, self.arbiter = (
            self._person(index) for index in range(1, 7)
        )
        self.deployer = self._person(0)
        self.market = self.create("JobMarket")
        self._events = {
            keccak(text=abi_to_signature(item)): item for item in self.market.abi if item["type"] == "event"
        }
        self.dai = self.create("TestToken", "Dai", "DAI")
        self.domain = Domain(int(self.web3.eth.chain_id), Address(self.market.address))
        self.token = Address(self.dai.address)
        for person in (self.submitter, self.provider, self.rival):
            self.fund(person, 1000 * ONE)
        self.salt = 0

    # The chain.

    @property
    def now(self) -> Timestamp:
        """The newest block's time."""
        return Timestamp(int(self.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16))

    @property
    def web3(self) -> Any:
        return self.node.web3

    def rpc(self, method: str, *params: Any) -> Any:
        """A raw request to the node."""
        return self.node.rpc(method, *params)

    def on_fork(self, node: Node) -> "World":
        """The same people and contracts by another node, which split off from this chain."""
        twin = copy(self)
        twin.node = node
        twin.market = node.web3.eth.contract(address=self.market.address, abi=self.market.abi)
        return twin

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Takes back whatever the block does to the chain."""
        snapshot = self.rpc("evm_snapshot")
        try:
            yield
        finally:
            self.rpc("evm_revert", snapshot)

    def create(self, name: str, *args: Any, value: int = 0) -> Any:
        """A new contract of the project, as Brownie compiled it."""
        made = self.project[name]
        factory = self.web3.eth.contract(abi=made.abi, bytecode=made.bytecode)
        data = factory.constructor(*args).data_in_transaction
        receipt = self.node.send(
            {"from": self.deployer, "data": data, "gas": hex(8_000_000), "value": hex(value)}
        )
        assert int(receipt["status"], 16) == 1, f"{name} was not made"
        return self.web3.eth.contract(address=to_checksum_address(receipt["contractAddress"]), abi=made.abi)

    def send(
        self,
        sender: Address,
        verb: str,
        *args: Any,
        at: int | None = None,
        to: Any = None,
        value: int = 0,
        gas: int = _GAS,
    ) -> Sent:
        """Calls `verb` of the escrow (or of the contract `to`) in a block of the time `at`, with `value` of the native coin and at most
        `gas`. Raises Reverted."""
        contract = to or self.market
        data = calldata(contract, verb, *args)
        if at is not None:
            self.rpc("evm_setNextBlockTimestamp", at)
        receipt = self.node.send(
            {"from": sender, "to": contract.address, "data": data, "gas": hex(gas), "value": hex(value)}
        )
        if int(receipt["status"], 16) == 0:
            trace = self.rpc("debug_traceTransaction", receipt["transactionHash"], {"tracer": "callTracer"})
            if trace["error"].lower().startswith("outofgas"):
                raise Reverted("OutOfGas", ())
            raise self.error(bytes.fromhex(trace.get("output", "0x")[2:]))
        return Sent(
            int(receipt["gasUsed"], 16), int(receipt["blockTimestamp"]), tuple(self.logs(receipt["logs"]))
        )

    def in_one_block(self, calls: Sequence[tuple[Any, ...]], at: int) -> list[bool]:
        """Sends the calls (sender, verb, arguments) in this order in one block; whether each succeeded."""
        self.rpc("evm_setAutomine", False)
        try:
            sent = []
            # A falling gas price keeps the order within the block.
            for place, (sender, verb, *args) in enumerate(calls):
                fields_ = {"from": sender, "to": self.market.address, "gas": hex(_GAS)}
                price = hex((10 - place) * 10**9)
                transaction = {**fields_, "data": self.data(verb, *args), "gasPrice": price}
                sent.append(self.rpc("eth_sendTransaction", transaction))
            self.rpc("evm_setNextBlockTimestamp", at)
            self.rpc("evm_mine")
        finally:
            self.rpc("evm_setAutomine", True)
        receipts = self.node.ask(*(("eth_getTransactionReceipt", each) for each in sent))
        assert len({receipt["blockNumber"] for receipt in receipts}) == 1
        assert [int(receipt["transactionIndex"], 16) for receipt in receipts] == list(range(len(calls)))
        return [int(receipt["status"], 16) == 1 for receipt in receipts]

    def view(self, verb: str, *args: Any, to: Any = None) -> Any:
        """What a view of the escrow (or of the contract `to`) answers now."""
        contract = to or self.market
        call = {"to": contract.address, "data": calldata(contract, verb, *args)}
        answer = bytes.fromhex(self.rpc("eth_call", call, "latest")[2:])
        outputs = _function(contract, verb)["outputs"]
        values = decode([collapse_if_tuple(item) for item in outputs], answer)
        checked = [_checksummed(value, item) for value, item in zip(values, outputs, strict=True)]
        return checked[0] if len(checked) == 1 else checked

    def ask(self, sender: Address, data: bytes, value: int = 0) -> bytes:
        """What the escrow would answer to this raw call. Raises Reverted."""
        call = {"from": sender, "to": self.market.address, "data": "0x" + data.hex(), "value": hex(value)}
        try:
            return bytes.fromhex(self.rpc("eth_call", call, "latest")[2:])
        except Refused as refused:
            raise self.error(bytes.fromhex(refused.error.get("data", "0x")[2:])) from None

    def data(self, verb: str, *args: Any) -> str:
        """The calldata of a call to the escrow."""
        return calldata(self.market, verb, *args)

    def logs(self, raw: list[dict[str, Any]]) -> Iterator[Log]:
        """The escrow's events among raw logs."""
        for log in raw:
            if to_checksum_address(log["address"]) != self.market.address:
                continue
            topics = [bytes.fromhex(topic.removeprefix("0x")) for topic in log["topics"]]
            abi = self._events[topics[0]]
            loose = [item for item in abi["inputs"] if not item["indexed"]]
            fixed = [item for item in abi["inputs"] if item["indexed"]]
            body = decode([collapse_if_tuple(item) for item in loose], bytes.fromhex(log["data"][2:]))
            values = {
                item["name"]: _checksummed(value, item) for item, value in zip(loose, body, strict=True)
            }
            for item, topic in zip(fixed, topics[1:], strict=True):
                values[item["name"]] = _checksummed(decode([item["type"]], topic)[0], item)
            yield Log(abi["name"], values)

    def error(self, raw: bytes) -> Reverted:
        """The error that was encoded so."""
        if raw[:4] not in self._errors:
            return Reverted("unknown", (raw,))
        item = self._errors[raw[:4]]
        values = decode([collapse_if_tuple(each) for each in item["inputs"]], raw[4:])
        checked = (_checksummed(v, each) for v, each in zip(values, item["inputs"], strict=True))
        return Reverted(item["name"], tuple(checked))

    def _person(self, index: int) -> Address:
        account = local_account(index)
        self.people[Address(account.address)] = account
        return Address(account.address)

    # Money.

    def fund(self, account: Address, amount: int, token: Any = None) -> None:
        """Mints tokens and deposits them; with NOBODY as token, deposits native coins."""
        if token == NOBODY:
            self.send(account, "deposit", NOBODY, account, amount, value=amount)
            return
        token = token or self.dai
        self.send(account, "mint", account, amount, to=token)
        self.send(account, "approve", self.market.address, amount, to=token)
        self.send(account, "deposit", token.address, account, amount)

    def balance(self, account: Address, token: Any = None) -> int:
        """What the account holds in the escrow of a token: a contract or an address, NOBODY for the native coin."""
        return int(self.view("balanceOf", self._address(token), account))

    def held(self, token: Any = None) -> int:
        """What the escrow itself holds of a token: a contract or an address, NOBODY for the native coin."""
        address = self._address(token)
        if address == NOBODY:
            return int(self.web3.eth.get_balance(self.market.address))
        erc20 = self.web3.eth.contract(address=address, abi=self.dai.abi)
        return int(erc20.functions.balanceOf(self.market.address).call())

    def _address(self, token: Any) -> Address:
        if isinstance(token, str):
            return Address(token)
        return Address((token or self.dai).address)

    def burned(self, token: Address | None = None) -> int:
        """What the escrow burned of the token so far."""
        return int(self.view("burned", token or self.token))

    # Jobs.

    def job(self, **changes: Any) -> Job:
        """A well-formed job that is open now; each has a salt of its own."""
        self.salt += 1
        plain = Job(
            submitter=self.submitter,
            token=self.token,
            price_start=Wei(20 * ONE),
            price_cap=Wei(120 * ONE),
            bond=Wei(5 * ONE),
            matcher=self.matcher,
            matcher_fee_bps=250,
            open_at=self.now,
            award_by=Timestamp(self.now + 1000),
            deliver_seconds=600,
            challenge_seconds=300,
            spec=b"\x05" * 32,
            salt=self.salt.to_bytes(32, "big"),
        )
        return replace(plain, **changes)

    def judged(self, **changes: Any) -> Job:
        """A well-formed job with an arbiter: a case costs 2, and is ruled within 400 seconds."""
        plain = {"arbiter": self.arbiter, "dispute_fee": Wei(2 * ONE), "ruling_seconds": 400}
        return self.job(**{**plain, **changes})

    def bid(self, job: Job, **changes: Any) -> Bid:
        """The provider's bid for the job, one minute long."""
        plain = Bid(
            job=self.id(job), provider=self.provider, price=Wei(10 * ONE), expires_at=Timestamp(self.now + 60)
        )
        return replace(plain, **changes)

    def id(self, job: Job) -> JobId:
        return _job_id(job, self.domain)

    def key(self, job: Job) -> bytes:
        """The job's id as the chain's bytes32."""
        return bytes.fromhex(self.id(job)[2:])

    def signed(self, order: Job | Bid) -> bytes:
        """The signature of whoever the order names."""
        if isinstance(order, Job):
            return signing.sign_job(self.people[order.submitter], order, self.domain)
        return signing.sign_bid(self.people[order.provider], order, self.domain)

    def signed_digest(self, who: Address, digest: bytes) -> bytes:
        """A person's signature of any digest, 65 bytes."""
        return bytes(self.people[who].unsafe_sign_hash(Hash32(digest)).signature)

    def award(self, job: Job, bid: Bid, by: Address | None = None, at: int | None = None) -> Terms:
        """Awards with both signatures, by a stranger unless told otherwise; the terms as the event has them."""
        sent = self.send(by or self.stranger, "award", job, self.signed(job), bid, self.signed(bid), at=at)
        return terms_of(sent)

    def deliver(self, job: Job, terms: Terms, at: int | None = None) -> Terms:
        """Delivers RESULT as the provider; the terms from there on."""
        sent = self.send(terms.provider, "deliver", self.key(job), terms, RESULT, at=at)
        return terms.delivered(RESULT, sent.only("JobDelivered")["windowEnd"])

    def dispute(self, job: Job, terms: Terms, by: Address | None = None, at: int | None = None) -> Terms:
        """Opens a case, as the submitter unless told otherwise; the terms from there on."""
        disputer = by or terms.submitter
        sent = self.send(disputer, "dispute", self.key(job), terms, at=at)
        return terms.disputed(disputer, sent.only("JobDisputed")["ruleBy"])

    def awarded(self, job: Job | None = None, **changes: Any) -> tuple[Job, Terms]:
        """A job in AWARDED, by its matcher."""
        job = job or self.job(**changes)
        return job, self.award(job, self.bid(job), by=self.matcher)

    def delivered(self, job: Job | None = None, **changes: Any) -> tuple[Job, Terms]:
        """A job in DELIVERED."""
        job, terms = self.awarded(job, **changes)
        return job, self.deliver(job, terms)

    def disputed(self, by: Address | None = None, **changes: Any) -> tuple[Job, Terms]:
        """A job with an arbiter in DISPUTED, by the submitter unless told otherwise."""
        job, terms = self.delivered(self.judged(**changes))
        return job, self.dispute(job, terms, by)

    def state(self, job: Job) -> JobState:
        return self.ending(job)[0]

    def ending(self, job: Job) -> tuple[JobState, Outcome]:
        """The job's state and outcome on chain."""
        state, outcome = self.view("stateOf", self.key(job))
        return JobState(state), Outcome(outcome)


def terms_of(sent: Sent) -> Terms:
    """The terms that an award emitted."""
    return unpacked(sent.only("JobAwarded")["terms"])


def unpacked(words: tuple[Any, ...]) -> Terms:
    """Terms from the seven words that an award's event carries."""
    submitter, provider, matcher, arbiter = (
        (Address(to_checksum_address(word[:20])), Wei(int.from_bytes(word[20:]))) for word in words[:4]
    )
    token, times, result = words[4:]
    return Terms(
        submitter=submitter[0],
        provider=provider[0],
        token=Address(to_checksum_address(token)),
        matcher=matcher[0],
        price=submitter[1],
        bond=provider[1],
        fee=matcher[1],
        arbiter=arbiter[0],
        dispute_fee=arbiter[1],
        deliver_by=Timestamp(int.from_bytes(times[:5])),
        challenge_seconds=int.from_bytes(times[5:8]),
        ruling_seconds=int.from_bytes(times[8:11]),
        by_arbiter=times[11] != 0,
        result=result,
    )


def plain(value: Any) -> Any:
    """Orders and terms as the tuples that the ABI knows; ids as bytes."""
    if isinstance(value, Terms):
        return value.packed()
    if isinstance(value, Job | Bid):
        return tuple(plain(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, str) and value.startswith("0x") and len(value) != _ADDRESS_LETTERS:
        return bytes.fromhex(value[2:])
    return value


def _checksummed(value: Any, item: dict[str, Any]) -> Any:
    if item["type"] == "tuple":
        return tuple(_checksummed(each, part) for each, part in zip(value, item["components"], strict=True))
    return to_checksum_address(value) if item["type"] == "address" else value


NOBODY = ZERO_ADDRESS
