"""Transactions over a node that limits the rate, or lags, and a disk that fails: nothing is doubled, no key stays blocked."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.crypto import keccak
from hexbytes import HexBytes

from deai import errors
from deai.job import Address
from deai.journal import Fate, Journal
from deai.node import Node
from deai.transactions import Pace, Transactions

ME: LocalAccount = Account.from_key(b"\1" * 32)
TO = Address("0x00000000000000000000000000000000dea1c0dE")
PACE = Pace(receipt_seconds=1.5, look_seconds=0.02, bump_seconds=10.0, silence_seconds=0.1)


class Chain:
    """A node for one key; it mines at once what is next in line."""

    def __init__(self) -> None:
        self.nonce, self.sent = 0, list[int]()
        self.refuses: dict[str, str] = {}
        """Methods, and what is said instead of an answer."""
        self.lags = False
        """Whether receipts come from a replica that has none yet."""
        self.asked = dict[str, Callable[[], object]]()
        """Methods, and what happens when they are called."""
        self._mined: dict[str, dict[str, str]] = {}

    def make_batch_request(self, requests: list[tuple[str, tuple[Any, ...]]]) -> list[dict[str, Any]]:
        return [self.make_request(method, params) for method, params in requests]

    def make_request(self, method: str, params: tuple[Any, ...]) -> dict[str, Any]:
        self.asked.get(method, lambda: None)()
        if method in self.refuses:
            return {"error": {"code": -32005, "message": self.refuses[method]}}
        return {"result": self._result(method, params)}

    def _result(self, method: str, params: tuple[Any, ...]) -> Any:
        match method, params:
            case "eth_getBlockByNumber", _:
                return {"hash": "0x1", "baseFeePerGas": "0x1"}
            case (("eth_estimateGas" | "eth_maxPriorityFeePerGas"), _):
                return "0x5208"
            case "eth_getTransactionCount", _:
                return hex(self.nonce)
            case "eth_getTransactionByHash", (tx,):
                return self._mined.get(tx)
            case "eth_getTransactionReceipt", (tx,):
                return None if self.lags else self._mined.get(tx)
            case "eth_sendRawTransaction", (raw,):
                return self._send(HexBytes(raw))
        raise AssertionError(method)

    def _send(self, raw: HexBytes) -> str:
        nonce = TypedTransaction.from_bytes(raw).as_dict()["nonce"]
        assert nonce == self.nonce, f"nonce {nonce} does not follow {self.nonce}"
        self.sent.append(nonce)
        self.nonce += 1
        tx = "0x" + keccak(raw).hex()
        self._mined[tx] = {"status": "0x1", "transactionHash": tx, "blockNumber": "0x1"}
        return tx


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal")
    yield journal
    journal.close()


def transactions(chain: Chain, journal: Journal, pace: Pace = PACE) -> Transactions:
    return Transactions(Node("http://127.0.0.1:1", chain, errors.WrongRequest), 1, journal, pace)


def test_a_node_that_limits_the_rate_for_a_moment_does_not_block_the_key(
    chain: Chain, journal: Journal
) -> None:
    sender = transactions(chain, journal)
    limited = "request rate limited"
    chain.refuses = {"eth_sendRawTransaction": limited, "eth_getTransactionByHash": limited}
    with pytest.raises(errors.ChainUnavailable):
        sender.send(ME, TO, "0x01")
    chain.refuses = {}

    sender.send(ME, TO, "0x02")
    sender.send(ME, TO, "0x01")

    assert chain.sent == [0, 1]


def test_what_is_interrupted_while_it_is_sent_is_left_to_the_next_who_asks(
    chain: Chain, journal: Journal
) -> None:
    sender = transactions(chain, journal)
    chain.asked["eth_sendRawTransaction"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        sender.send(ME, TO, "0x01")
    chain.asked.clear()

    sender.send(ME, TO, "0x01")

    assert chain.sent == [0]


def test_a_disk_that_fails_when_the_receipt_comes_doubles_nothing(chain: Chain, journal: Journal) -> None:
    sender = transactions(chain, journal)
    chain.asked["eth_getTransactionReceipt"] = lambda: journal._connection().execute("PRAGMA query_only = 1")
    with pytest.raises(errors.JournalUnavailable, match="readonly"):
        sender.send(ME, TO, "0x01")
    chain.asked.clear()
    journal._connection().execute("PRAGMA query_only = 0")

    sender.send(ME, TO, "0x01")

    assert chain.sent == [0]
    assert journal.entry(journal.newest()).fate is Fate.MINED


def test_a_replica_that_lags_is_no_reason_to_send_the_same_twice(chain: Chain, journal: Journal) -> None:
    chain.lags = True
    with pytest.raises(errors.ChainUnavailable):
        transactions(chain, journal, Pace(receipt_seconds=0.05)).send(ME, TO, "0x01")
    sender = transactions(chain, journal)
    other = threading.Thread(target=sender.send, args=(ME, TO, "0x02"))
    other.start()
    while len(chain.sent) < 2:
        time.sleep(0.005)
    chain.lags = False
    other.join()

    sender.send(ME, TO, "0x01")

    assert chain.sent == [0, 1]
