"""Port: the chain as deai uses it. One method per verb of the escrow, the money, and the events since a block.

`web3_chain.Web3Chain` speaks to a node; `testing.MemoryChain` is the reference model. One shared suite holds them together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from eth_account.signers.local import LocalAccount

from deai.errors import WrongRequest
from deai.job import Address, Bid, Job, JobId, JobState, Outcome, Payout, Terms, Timestamp, Wei


@dataclass(frozen=True, slots=True)
class Block:
    """A block's place in the chain. `hash` and `parent` are 0x-hex."""

    number: int
    hash: str
    parent: str
    time: Timestamp


@dataclass(frozen=True, slots=True)
class Item:
    """One call of a batch: the contract's name of the verb, and its arguments in the contract's order, as our values."""

    verb: str
    values: tuple[object, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a transaction: where it was mined, its cost, and what it emitted."""

    tx: str
    block: int
    gas_used: int
    events: tuple["Event", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of the escrow's events, with their place in the chain."""

    block: int
    block_hash: str
    tx: str
    index: int
    """The log's index within its block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposited(Event):
    token: Address
    account: Address
    sender: Address
    amount: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawn(Event):
    token: Address
    account: Address
    to: Address
    amount: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPosted(Event):
    id: JobId
    job: Job


@dataclass(frozen=True, slots=True, kw_only=True)
class BidPlaced(Event):
    id: JobId
    bid: Bid


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCancelled(Event):
    id: JobId
    submitter: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class AllCancelled(Event):
    """No job of `submitter` in `token` of an epoch before `epoch` can be awarded any more."""

    token: Address
    submitter: Address
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobAwarded(Event):
    id: JobId
    terms: Terms
    spec: bytes
    arbiter_data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDelivered(Event):
    id: JobId
    result: bytes
    window_end: Timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDisputed(Event):
    """`fee` is what `disputer` prepaid: the job's dispute fee if it is the submitter, nothing if it is the arbiter."""

    id: JobId
    disputer: Address
    fee: Wei
    rule_by: Timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class JobClosed(Event):
    id: JobId
    outcome: Outcome
    payout: Payout


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSkipped(Event):
    """The call at `place` of a batch failed; `reason` is the error that the call alone would have raised."""

    place: int
    reason: WrongRequest


JobEvent = JobPosted | BidPlaced | JobCancelled | JobAwarded | JobDelivered | JobDisputed | JobClosed


class Chain(Protocol):
    """An escrow on a chain. Every sending method signs with `signer`, waits for the receipt, and raises the ContractError of the
    Solidity error's name when the escrow refuses (nothing was changed then), or ChainUnavailable."""

    @property
    def chain_id(self) -> int: ...

    @property
    def contract(self) -> Address: ...

    # The chain itself.

    def head(self) -> Block:
        """The newest block."""

    def block(self, number: int) -> Block | None:
        """The canonical block of that height, or None beyond the head."""

    def events(self, first: int, last: int, job: JobId | None = None) -> list[Event]:
        """The escrow's events in the blocks `first` to `last`, both included, in chain order; only those of `job` if given.
        `last` is clamped to the head."""

    # Money.

    def balance(self, token: Address, account: Address) -> Wei:
        """What `account` can lock or withdraw of `token` in the escrow."""

    def token_balance(self, token: Address, account: Address) -> Wei:
        """What `account` holds of `token` outside the escrow."""

    def gas_balance(self, account: Address) -> Wei:
        """What `account` holds of the chain's native coin."""

    def burned(self, token: Address) -> Wei:
        """What the escrow burned of `token` so far."""

    def epoch(self, token: Address, account: Address) -> int:
        """The epoch that `account`'s jobs in `token` must have."""

    def deposit(self, signer: LocalAccount, token: Address, amount: Wei) -> Receipt:
        """Moves `amount` from what the signer holds (of the native coin, where `token` is zero) into its balance in the escrow, by a
        permit or an approval where it needs one."""

    def withdraw(self, signer: LocalAccount, token: Address, to: Address, amount: Wei) -> Receipt:
        """Pays `amount` of the signer's balance in the escrow to `to`."""

    # Jobs.

    def state(self, job: JobId) -> tuple[JobState, Outcome]:
        """The job's state, and its outcome once CLOSED."""

    def post(self, signer: LocalAccount, job: Job) -> Receipt: ...

    def bid(self, signer: LocalAccount, bid: Bid) -> Receipt: ...

    def cancel(self, signer: LocalAccount, job: Job) -> Receipt: ...

    def cancel_all(self, signer: LocalAccount, token: Address) -> Receipt:
        """Ends all of the signer's jobs in `token` that were not awarded."""

    def award(
        self, signer: LocalAccount, job: Job, job_signature: bytes, bid: Bid, bid_signature: bytes
    ) -> Receipt:
        """Joins job and bid. An empty signature stands for a job posted, or a bid placed, on chain."""

    def deliver(self, signer: LocalAccount, job: JobId, terms: Terms, result: bytes) -> Receipt: ...

    def deliver_and_close(
        self, signer: LocalAccount, job: JobId, terms: Terms, result: bytes, approval: bytes
    ) -> Receipt:
        """Delivers a result that the submitter approved already, by its signature."""

    def approve(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt: ...

    def settle(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt: ...

    def dispute(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt: ...

    def rule(self, signer: LocalAccount, job: JobId, terms: Terms, share_bps: int) -> Receipt: ...

    def lapse(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt: ...

    def reclaim(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt: ...

    # Many at once.

    def batch(self, signer: LocalAccount, calls: Sequence[Item], *, all_or_nothing: bool = False) -> Receipt:
        """Makes the calls in this order as one transaction. Each one that failed left nothing but a CallSkipped event; with
        `all_or_nothing` the first failure fails the whole batch."""
