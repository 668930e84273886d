"""The shipped fake of the chain: the escrow's reference model with blocks, a clock and failures around it."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, replace

from eth_account.signers.local import LocalAccount

from deai import errors
from deai.chain import Block, Event, Item, Receipt
from deai.deployment import Deployment, Token
from deai.escrow import UNKNOWN, Call, Escrow
from deai.job import ZERO_ADDRESS, Address, Bid, Job, JobId, JobState, Outcome, Terms, Timestamp, Wei

CONTRACT = Address("0x00000000000000000000000000000000dea1c0dE")
DAI = Token(symbol="DAI", address=Address("0x00000000000000000000000000000000000000DA"), decimals=18)
GAS_BALANCE = Wei(10_000 * 10**18)
"""What every account holds of the native coin, unless told otherwise."""

_GAS_USED = 50_000
_Verb = Callable[[Escrow, Call], list[Event]]


@dataclass(frozen=True, slots=True)
class _Mined:
    block: Block
    events: tuple[Event, ...]
    after: Escrow


class MemoryChain:
    """A `chain.Chain` without a node: every transaction is a block of its own, mined at once. Thread-safe.

    Its clock is this machine's, as a node's is; given `now`, or once set, it stands still until it is moved.
    """

    def __init__(
        self, chain_id: int = 31337, now: Timestamp | None = None, deployment: Deployment | None = None
    ) -> None:
        """`deployment` makes it the twin of an escrow elsewhere: the same addresses, so the same job ids."""
        self._deployment = deployment or Deployment(
            chain_id=chain_id, contract=CONTRACT, block=0, tokens=(DAI,)
        )
        self._lock = threading.RLock()
        self._frozen = now
        self._ahead = 0
        self._forks = 0
        self._failures: list[tuple[errors.DeaiError, bool]] = []
        self._mined: list[_Mined] = []
        escrow = Escrow(self._deployment.domain, GAS_BALANCE)
        for token in self._deployment.tokens:
            escrow.mint(token.address, ZERO_ADDRESS, 0)
        self._mine(escrow, [])

    @property
    def chain_id(self) -> int:
        return self._deployment.chain_id

    @property
    def contract(self) -> Address:
        return self._deployment.contract

    def deployment(self) -> Deployment:
        """Where this chain's escrow is; the token DAI is known there."""
        return self._deployment

    # What only a test may do.

    @property
    def now(self) -> Timestamp:
        """The time of the next block."""
        with self._lock:
            clock = int(time.time()) + self._ahead if self._frozen is None else self._frozen
            return Timestamp(max(clock, self._mined[-1].block.time if self._mined else 0))

    @now.setter
    def now(self, value: Timestamp) -> None:
        with self._lock:
            if value < self._mined[-1].block.time:
                raise ValueError(f"the head's time is {self._mined[-1].block.time}, later than {value}")
            self._frozen = value

    def advance(self, seconds: int) -> None:
        """Moves the clock, and mines an empty block so that readers of the head see it."""
        with self._lock:
            if self._frozen is None:
                self._ahead += seconds
            else:
                self._frozen = Timestamp(self._frozen + seconds)
            self.mine()

    def mine(self, blocks: int = 1) -> None:
        """Mines empty blocks."""
        with self._lock:
            for _ in range(blocks):
                self._mine(self._mined[-1].after, [])

    def mint(self, token: Address, account: Address, amount: int) -> None:
        """Gives `account` tokens out of nothing, outside the escrow. A new address becomes a token."""
        with self._lock:
            escrow = copy(self._mined[-1].after)
            self._mine(escrow, escrow.mint(token, account, amount))

    def set_gas(self, account: Address, amount: Wei) -> None:
        """Sets what `account` holds of the native coin."""
        with self._lock:
            self._mined[-1].after.held.setdefault(ZERO_ADDRESS, {})[account] = amount

    def fail_next(self, error: errors.DeaiError, *, applied: bool = False) -> None:
        """The next call raises `error`: before it did anything, or, with `applied`, after it was mined."""
        with self._lock:
            self._failures.append((error, applied))

    def reorg(self, depth: int) -> None:
        """Replaces the last `depth` blocks by empty ones; their hashes change, their transactions vanish."""
        with self._lock:
            if not 0 < depth < len(self._mined):
                raise ValueError(f"depth {depth}: of {len(self._mined)} blocks, the first one stays")
            dropped = self._mined[-depth:]
            del self._mined[-depth:]
            self._forks += 1
            for mined in dropped:
                self._mine(self._mined[-1].after, [], mined.block.time)

    def escrow(self) -> Escrow:
        """A copy of the escrow as it is now."""
        with self._lock:
            return copy(self._mined[-1].after)

    # The chain itself.

    def head(self) -> Block:
        with self._call():
            return self._mined[-1].block

    def block(self, number: int) -> Block | None:
        with self._call():
            return self._mined[number].block if 0 <= number < len(self._mined) else None

    def events(self, first: int, last: int, job: JobId | None = None) -> list[Event]:
        with self._call():
            found = [event for mined in self._mined[max(first, 0) : last + 1] for event in mined.events]
            return [event for event in found if job is None or getattr(event, "id", None) == job]

    # Money.

    def balance(self, token: Address, account: Address) -> Wei:
        with self._call():
            return Wei(self._mined[-1].after.balances.get((token, account), 0))

    def token_balance(self, token: Address, account: Address) -> Wei:
        with self._call():
            escrow = self._mined[-1].after
            if token != ZERO_ADDRESS and token not in escrow.held:
                raise errors.NoToken(token)
            return Wei(escrow.holding(token, account))

    def gas_balance(self, account: Address) -> Wei:
        with self._call():
            return Wei(self._mined[-1].after.holding(ZERO_ADDRESS, account))

    def burned(self, token: Address) -> Wei:
        with self._call():
            return Wei(self._mined[-1].after.burned.get(token, 0))

    def epoch(self, token: Address, account: Address) -> int:
        with self._call():
            return self._mined[-1].after.epochs.get((token, account), 0)

    def deposit(self, signer: LocalAccount, token: Address, amount: Wei) -> Receipt:
        value = amount if token == ZERO_ADDRESS else 0
        return self._send(
            signer, lambda escrow, call: escrow.deposit(call, token, call.sender, amount), value
        )

    def withdraw(self, signer: LocalAccount, token: Address, to: Address, amount: Wei) -> Receipt:
        return self._send(signer, lambda escrow, call: escrow.withdraw(call, token, to, amount))

    # Jobs.

    def state(self, job: JobId) -> tuple[JobState, Outcome]:
        with self._call():
            record = self._mined[-1].after.jobs.get(job, UNKNOWN)
            return record.state, record.outcome

    def post(self, signer: LocalAccount, job: Job) -> Receipt:
        return self._send(signer, lambda escrow, call: escrow.post(call, job))

    def bid(self, signer: LocalAccount, bid: Bid) -> Receipt:
        return self._send(signer, lambda escrow, call: escrow.bid(call, bid))

    def cancel(self, signer: LocalAccount, job: Job) -> Receipt:
        return self._send(signer, lambda escrow, call: escrow.cancel(call, job))

    def cancel_all(self, signer: LocalAccount, token: Address) -> Receipt:
        return self._send(signer, lambda escrow, call: escrow.cancel_all(call, token))

    def award(
        self, signer: LocalAccount, job: Job, job_signature: bytes, bid: Bid, bid_signature: bytes
    ) -> Receipt:
        return self._send(
            signer,
            lambda escrow, call: escrow.award(call, job, job_signature, bid, bid_signature),
        )

    def deliver(self, signer: LocalAccount, job: JobId, terms: Terms, result: bytes) -> Receipt:
        return self._send(signer, lambda escrow, call: escrow.deliver(call, job, terms, result))

    def deliver_and_close(
        self, signer: LocalAccount, job: JobId, terms: Terms, result: bytes, approval: bytes
    ) -> Receipt:
        return self._send(
            signer, lambda escrow, call: escrow.deliver_and_close(call, job, terms, result, approval)
        )

    def approve(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt:
        return self._send(signer, lambda escrow, call: escrow.approve(call, job, terms))

    def settle(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt:
        return self._send(signer, lambda escrow, call: escrow.settle(call, job, terms))

    def dispute(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt:
        return self._send(signer, lambda escrow, call: escrow.dispute(call, job, terms))

    def rule(self, signer: LocalAccount, job: JobId, terms: Terms, share_bps: int) -> Receipt:
        return self._send(signer, lambda escrow, call: escrow.rule(call, job, terms, share_bps))

    def lapse(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt:
        return self._send(signer, lambda escrow, call: escrow.lapse(call, job, terms))

    def reclaim(self, signer: LocalAccount, job: JobId, terms: Terms) -> Receipt:
        return self._send(signer, lambda escrow, call: escrow.reclaim(call, job, terms))

    # Many at once.

    def batch(self, signer: LocalAccount, calls: Sequence[Item], *, all_or_nothing: bool = False) -> Receipt:
        return self._send(signer, lambda escrow, call: escrow.batch(call, calls, all_or_nothing))

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Holds the lock. Raises the failure that is due, now or after the act."""
        with self._lock:
            if not self._failures:
                yield
                return
            error, applied = self._failures.pop(0)
            if applied:
                yield
            raise error

    def _send(self, signer: LocalAccount, verb: _Verb, value: int = 0) -> Receipt:
        sender = Address(signer.address)
        with self._call():
            if not self._mined[-1].after.holding(ZERO_ADDRESS, sender):
                raise errors.BadField("gas", 0, f"{sender} has no native coin to pay for a transaction")
            escrow = copy(self._mined[-1].after)
            mined = self._mine(escrow, verb(escrow, Call(sender, self.now, value)))
            tx = _hash("tx", mined.block.hash)
            return Receipt(tx=tx, block=mined.block.number, gas_used=_GAS_USED, events=mined.events)

    def _mine(self, after: Escrow, events: list[Event], time: Timestamp | None = None) -> _Mined:
        number = len(self._mined)
        parent = self._mined[-1].block.hash if self._mined else "0x" + "00" * 32
        at = self.now if time is None else time
        block = Block(number, _hash("block", parent, number, at, self._forks, len(events)), parent, at)
        tx = _hash("tx", block.hash)
        placed = tuple(
            replace(event, block=number, block_hash=block.hash, tx=tx, index=index)
            for index, event in enumerate(events)
        )
        mined = _Mined(block, placed, after)
        self._mined.append(mined)
        return mined


def _hash(*parts: object) -> str:
    return "0x" + hashlib.sha256(repr(parts).encode()).hexdigest()
