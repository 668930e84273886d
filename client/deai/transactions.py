"""Transactions that survive: one nonce at a time for each key, written down before they are sent, resent and paid better until mined.

A call whose outcome nobody was told, because its process died or gave up waiting, is never sent a second time: whoever asks for the
same call again gets the first one's receipt.
"""

import logging
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from eth_account.signers.local import LocalAccount

from deai import errors
from deai.job import Address
from deai.journal import Attempt, Call, Entry, Fate, Journal
from deai.node import Node, Refused, quantity

_log = logging.getLogger(__name__)

_TRIES = 3
_NONCE_TRIES = 8
_LOOKS = 3
"""So many looks in a row must find the nonce used by another: a hosted node's replicas may lag."""
_ADOPTED_SECONDS = 86_400
"""What was mined unseen longer ago than this is history; the same call is meant anew."""
_FIRST_POLL_SECONDS, _LAST_POLL_SECONDS, _POLL_GROWTH = 0.002, 2.0, 1.4
_KNOWN = ("already known", "already imported")
_NONCE_USED = ("nonce too low", "nonce is too low", "invalid nonce", "nonce has already been used")
_NONCE_HELD = ("underpriced",)
_TOO_CHEAP = (*_NONCE_HELD, "fee")
_NEVER_TAKEN = (*_NONCE_USED, *_TOO_CHEAP, "insufficient", "intrinsic gas", "gas limit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long things are waited for, in seconds, and how far fees may rise."""

    receipt_seconds: float = 120.0
    """A transaction that is not mined by then is left to the next who asks for the same."""
    bump_seconds: float = 30.0
    """Not mined by then, it is sent again with higher fees; and again, each time."""
    most_fee: int = 10
    """Fees rise up to so many times the first."""
    look_seconds: float = 1.0
    """How often the node is asked whether it still has a transaction."""
    silence_seconds: float = 5.0
    """So long a node may be silent while its receipt is waited for."""


class _Superseded(Exception):
    """Another transaction has the nonce."""


def free_nonce(count: int, taken: Collection[int]) -> int:
    """The lowest nonce from the node's pending `count` on that nothing under way has. It fills a gap that a lost transaction left."""
    nonce = count
    while nonce in taken:
        nonce += 1
    return nonce


def raised(last: tuple[int, int], now: tuple[int, int], most: int) -> tuple[int, int] | None:
    """The next form's fees, each a (max fee, tip) in wei a gas: at least an eighth above `last`, as nodes demand of a replacement,
    and no less than the market's `now`. None where the max fee is above `most`.
    """
    least_fee, least_tip = (-(-old * 9 // 8) or 1 for old in last)
    if least_fee > most:
        return None
    fee = min(max(least_fee, now[0]), most)
    return fee, min(max(least_tip, now[1]), fee)


class Transactions:
    """Sends the transactions of any key to one chain. Thread-safe; other processes may share the journal."""

    def __init__(self, node: Node, chain_id: int, journal: Journal, pace: Pace) -> None:
        self._node, self._chain_id, self._journal, self._pace = node, chain_id, journal, pace

    def send(self, signer: LocalAccount, to: Address, data: str, value: int = 0) -> dict[str, Any]:
        """The receipt of the call, as the node gives it; `value` of the native coin is sent along. What would revert is refused by the
        estimate, before anything is sent.

        Raises what the contract says, BadField for a key that cannot pay gas, ChainUnavailable, JournalUnavailable.
        """
        call = Call(chain=self._chain, sender=Address(signer.address), to=to, data=data, value=value)
        for _ in range(_TRIES):
            adopted = self._adopt(call)
            entry = adopted or self._submit(signer, call)
            try:
                mined = self._await(signer, entry, entry is adopted)
            except _Superseded:
                _log.warning("transaction %s: another one has its nonce %d", entry.latest.hash, entry.nonce)
                continue
            if quantity(mined["status"]) == 1:
                return mined
            # What reverted did nothing. Of an older attempt that says little about now.
            if adopted is None:
                self._node.ask(
                    "eth_call", _request(call), mined["blockNumber"]
                )  # raises what the contract says
                raise errors.WrongRequest(f"transaction {mined['transactionHash']} was mined, but reverted")
        raise errors.ChainUnavailable(
            f"{self._node.shown}: another program uses the key of {signer.address}, each time before this one"
        )

    def left(self, signer: LocalAccount, to: Address, data: str) -> bool:
        """Whether this call was sent, and its process died or gave up before it was told the outcome: then `send` goes on with it."""
        call = Call(chain=self._chain, sender=Address(signer.address), to=to, data=data, value=0)
        return self._adoptable(call)

    @cached_property
    def _chain(self) -> str:
        first = self._node.read(lambda block: str(block["hash"]), "eth_getBlockByNumber", "0x0", False)
        return f"{self._chain_id}:{first}"

    # The same call, sent before.

    def _adopt(self, call: Call) -> Entry | None:
        """A transaction that does just this, and whose outcome nobody was told, held by us now."""
        if not self._adoptable(call):
            return None
        with self._journal.key(call.sender):
            found = next((each for each in self._journal.same(call) if self._may_adopt(each)), None)
            if found is None:
                return None
            _log.warning(
                "transaction %s of %.0f s ago does the same, and nobody saw it through: going on with it",
                found.latest.hash,
                time.time() - found.written_at,
            )
            return self._journal.take(found.id)

    def _adoptable(self, call: Call) -> bool:
        return any(self._may_adopt(each) for each in self._journal.same(call))

    def _may_adopt(self, entry: Entry) -> bool:
        if entry.told:
            # If a reorg undid it, nodes keep it, to mine it again.
            return self._receipt(entry) is None and any(self._known(each.hash) for each in entry.attempts)
        recent = time.time() - entry.written_at < _ADOPTED_SECONDS
        return (recent or entry.fate is Fate.SENT) and self._journal.abandoned(entry)

    # A new one.

    def _submit(self, signer: LocalAccount, call: Call) -> Entry:
        newest = self._journal.newest()
        # Pending: the clock of the next block, not of the last one, decides about times.
        estimate, block, tip, pending = self._node.ask_all(
            ("eth_estimateGas", _request(call), "pending"),
            ("eth_getBlockByNumber", "latest", False),
            ("eth_maxPriorityFeePerGas",),
            ("eth_getTransactionCount", call.sender, "pending"),
        )
        # A balance that another transaction empties meanwhile costs more to fill again.
        gas = self._node.parsed(quantity, estimate) * 5 // 4 + 25_000
        fees = self._node.parsed(_fees, (block, tip))
        count = self._node.parsed(quantity, pending)
        with self._journal.key(call.sender):
            if self._mend(call):
                count = self._count(call, "pending")
            for left in reversed(range(_NONCE_TRIES)):
                nonce = free_nonce(count, self._journal.taken(call, newest))
                entry = self._journal.write(call, nonce, gas, self._sign(signer, call, nonce, gas, fees))
                with self._let_go_on_error(entry):
                    refused = self._broadcast(entry)
                    if refused is None:
                        return entry
                    self._journal.mark(entry.id, Fate.REFUSED, told=True)
                if not left or not _says(refused, (*_NONCE_USED, *_NONCE_HELD)):
                    raise self._error(refused, call) from refused
                count = self._count(call, "pending")
                if _says(refused, _NONCE_HELD):
                    count = max(count, nonce + 1)
        raise errors.Bug("transactions: out of tries, and nothing was refused")

    def _error(self, refused: Refused, call: Call) -> errors.DeaiError:
        if _says(refused, ("insufficient",)):
            there = self._node.number("eth_getBalance", call.sender, "latest")
            rule = f"{call.sender} has too little of the chain's coin for the transaction's gas"
            return errors.BadField("gas", there, rule)
        return self._node.error("eth_sendRawTransaction", refused)

    def _sign(self, signer: LocalAccount, call: Call, nonce: int, gas: int, fees: tuple[int, int]) -> Attempt:
        fields: dict[str, Any] = {
            "chainId": self._chain_id,
            "nonce": nonce,
            "to": call.to,
            "data": call.data,
            "value": call.value,
            "gas": gas,
            "maxFeePerGas": fees[0],
            "maxPriorityFeePerGas": fees[1],
        }
        signed = signer.sign_transaction(fields)
        return Attempt(
            hash="0x" + signed.hash.hex(),
            raw=bytes(signed.raw_transaction),
            max_fee=fees[0],
            tip=fees[1],
            at=time.time(),
        )

    def _broadcast(self, entry: Entry) -> Refused | None:
        """Sends the latest form; the node's refusal, if that is certain. Silence is none: it may have it."""
        latest = entry.latest
        try:
            self._node.answer("eth_sendRawTransaction", "0x" + latest.raw.hex())
        except Refused as refused:
            if _says(refused, _KNOWN):
                return None
            if _says(refused, _NEVER_TAKEN) or not self._may_know(latest.hash):
                return refused
        except errors.ChainUnavailable as error:
            _log.warning("transaction %s: %s", latest.hash, error)
        return None

    def _known(self, tx: str) -> bool:
        return self._node.ask("eth_getTransactionByHash", tx) is not None

    def _may_know(self, tx: str) -> bool:
        try:
            return self._known(tx)
        except errors.ChainUnavailable as error:
            _log.warning("transaction %s: %s", tx, error)
            return True

    def _mend(self, call: Call) -> bool:
        """Sends again what the key sent and nobody looks after, in order; whether there was any. Only while alone with the key."""
        left = [each for each in self._journal.unfinished(call) if self._journal.abandoned(each)]
        if not left:
            return False
        used = self._count(call, "latest")
        for each in left:
            if each.nonce >= used:
                self._broadcast(each)
            elif self._receipt(each):
                self._journal.mark(each.id, Fate.MINED, told=False)
            elif time.time() - each.latest.at >= _ADOPTED_SECONDS:  # until then, a replica may lag
                self._journal.mark(each.id, Fate.SUPERSEDED, told=False)
        return True

    # The wait.

    def _await(self, signer: LocalAccount, entry: Entry, adopted: bool) -> dict[str, Any]:
        with self._let_go_on_error(entry):
            try:
                return self._seen_through(signer, entry, adopted)
            except _Superseded:
                self._journal.mark(entry.id, Fate.SUPERSEDED, told=True)
                raise

    @contextmanager
    def _let_go_on_error(self, entry: Entry) -> Iterator[None]:
        try:
            yield
        except _Superseded:
            raise
        except BaseException as error:
            try:
                self._journal.let_go(entry.id)
            except errors.JournalUnavailable as full:
                _log.warning("transaction %s: %s", entry.latest.hash, full)
            error.add_note(f"transaction {entry.latest.hash} is written down: the same again waits for it")
            raise

    def _seen_through(self, signer: LocalAccount, entry: Entry, adopted: bool) -> dict[str, Any]:
        started = heard = time.monotonic()
        looked = float("-inf") if adopted else started
        pause, passed = _FIRST_POLL_SECONDS, 0
        while (now := time.monotonic()) - started < self._pace.receipt_seconds:
            try:
                mined = self._receipt(entry)
                if mined is not None:
                    self._journal.mark(entry.id, Fate.MINED, told=True)
                    return mined
                if now - looked >= self._pace.look_seconds:
                    looked = now
                    passed = passed + 1 if self._look(signer, entry) else 0
                    if passed >= _LOOKS:
                        raise _Superseded
                    entry = self._journal.entry(entry.id)
                heard = now
            except errors.ChainUnavailable:
                if now - heard >= self._pace.silence_seconds:
                    raise
            time.sleep(pause)
            pause = min(pause * _POLL_GROWTH, _LAST_POLL_SECONDS, self._pace.look_seconds)
        raise errors.ChainUnavailable(
            f"{self._node.shown}: transaction {entry.latest.hash} was sent, but not mined within"
            f" {self._pace.receipt_seconds:g} s; it may still be"
        )

    def _receipt(self, entry: Entry) -> dict[str, Any] | None:
        """The receipt of whichever form was mined."""
        calls = [("eth_getTransactionReceipt", attempt.hash) for attempt in reversed(entry.attempts)]
        found: list[Any] = self._node.ask_all(*calls) if len(calls) > 1 else [self._node.ask(*calls[0])]
        return next((receipt for receipt in found if receipt is not None), None)

    def _look(self, signer: LocalAccount, entry: Entry) -> bool:
        """Sees to it that the transaction can be mined, and those before it; whether another has its nonce."""
        used = self._count(entry.call, "latest")
        if used > entry.nonce:
            return self._receipt(entry) is None
        with self._journal.key(entry.call.sender):
            before = [
                each
                for each in self._journal.unfinished(entry.call)
                if used <= each.nonce < entry.nonce and self._journal.abandoned(each)
            ]
            if used < entry.nonce and used not in self._journal.taken(entry.call, entry.id):
                self._fill(entry.call, used)
            for each in (*before, self._journal.entry(entry.id)):
                self._push(signer, each)
        return False

    def _fill(self, call: Call, nonce: int) -> None:
        """Sends again what a reorg undid, where a later transaction waits for its nonce."""
        undone = self._journal.mined_at(call, nonce)
        if undone is not None:
            _log.warning("a reorg undid transaction %s; sending it again", undone.latest.hash)
            self._broadcast(undone)

    def _push(self, signer: LocalAccount, entry: Entry) -> None:
        """Sends the transaction again if the node forgot it, for more if it has waited long. Only while alone with the key."""
        latest, call = entry.latest, entry.call
        refused = None if self._known(latest.hash) else self._broadcast(entry)
        cheap = refused is not None and _says(refused, _TOO_CHEAP)
        if not cheap and time.time() - latest.at < self._pace.bump_seconds:
            return
        block, tip = self._node.ask_all(
            ("eth_getBlockByNumber", "latest", False), ("eth_maxPriorityFeePerGas",)
        )
        first = entry.attempts[0]
        most = first.max_fee * self._pace.most_fee
        fees = raised((latest.max_fee, latest.tip), self._node.parsed(_fees, (block, tip)), most)
        if fees is None:
            return
        attempt = self._sign(signer, call, entry.nonce, entry.gas, fees)
        refused = self._broadcast(self._journal.replace(entry.id, attempt))
        _log.warning(
            "transaction %s waits; sent again as %s for at most %d wei a gas%s",
            latest.hash,
            attempt.hash,
            attempt.max_fee,
            f", and refused: {refused}" if refused else "",
        )

    def _count(self, call: Call, block: str) -> int:
        return self._node.number("eth_getTransactionCount", call.sender, block)


def _request(call: Call) -> dict[str, str]:
    return {"from": call.sender, "to": call.to, "data": call.data, "value": hex(call.value)}


def _fees(answers: tuple[Any, Any]) -> tuple[int, int]:
    """Of the latest block and the node's tip: room for the base fee to double."""
    block, tip = answers
    return 2 * quantity(block["baseFeePerGas"]) + quantity(tip), quantity(tip)


def _says(refused: Refused, complaints: Collection[str]) -> bool:
    return any(complaint in refused.message.lower() for complaint in complaints)
