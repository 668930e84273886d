"""What only a real node can do to us: be gone, be another chain, answer late, mine a revert, cap its ranges."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from eth_account import Account

from deai import errors
from deai.chain import Receipt
from deai.job import Action, Address, JobState, Wei
from deai.localnet import free_port
from deai.testing import MemoryChain
from deai.transactions import Pace
from deai.web3_chain import Web3Chain
from tests.adapters.chain_fixtures import AnvilGround
from tests.lives import CAST, Life

FUNDS = Wei(10**6)


def fund(ground: AnvilGround) -> Address:
    token = ground.deployment.token("DAI").address
    for account in (CAST.submitter, CAST.provider):
        ground.chain.deposit(account, token, FUNDS)
    return token


def test_a_dead_node_is_named_without_what_may_be_secret_in_its_address(anvil_ground: AnvilGround) -> None:
    port = free_port()

    with pytest.raises(errors.ChainUnavailable, match=f"http://127.0.0.1:{port} does not answer") as refused:
        Web3Chain(f"http://me:password@127.0.0.1:{port}/v3/key", anvil_ground.deployment)

    assert "password" not in str(refused.value)
    assert "key" not in str(refused.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"{}",
        b"[]",
        b"<html>",
        b'{"jsonrpc": "2.0", "id": 1, "result": null}',
        b'{"jsonrpc": "2.0", "id": 1, "result": {}}',
        b'{"jsonrpc": "2.0", "id": 1, "result": "0x"}',
    ],
)
def test_what_answers_and_is_no_node_is_unavailable(answer: bytes) -> None:
    class Odd(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Odd) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(errors.ChainUnavailable, match=f"127.0.0.1:{server.server_port}"):
            Web3Chain(f"http://127.0.0.1:{server.server_port}", MemoryChain().deployment())
        server.shutdown()


def test_what_is_no_address_of_a_node_is_refused(anvil_ground: AnvilGround) -> None:
    with pytest.raises(errors.BadField, match="rpc: 'localhost:8545'"):
        Web3Chain("localhost:8545", anvil_ground.deployment)


def test_a_node_on_another_chain_is_refused(anvil_ground: AnvilGround) -> None:
    elsewhere = anvil_ground.deployment.model_copy(update={"chain_id": 1})

    with pytest.raises(errors.BadField, match="chain_id: 31337"):
        Web3Chain(anvil_ground.node.rpc, elsewhere)


def test_an_address_without_a_contract_is_refused(anvil_ground: AnvilGround) -> None:
    elsewhere = anvil_ground.deployment.model_copy(update={"contract": CAST.stranger.address})

    with pytest.raises(errors.BadField, match="contract"):
        Web3Chain(anvil_ground.node.rpc, elsewhere)


def test_a_contract_that_is_not_there_just_now_is_a_node_to_ask_again(anvil_ground: AnvilGround) -> None:
    contract = anvil_ground.deployment.contract
    code = anvil_ground.node("eth_getCode", contract, "latest")
    token = anvil_ground.deployment.token("DAI").address
    anvil_ground.node("anvil_setCode", contract, "0x")
    try:
        with pytest.raises(errors.ChainUnavailable, match=f"knows no contract at {contract} just now"):
            anvil_ground.chain.balance(token, Address(CAST.submitter.address))
    finally:
        anvil_ground.node("anvil_setCode", contract, code)

    assert anvil_ground.chain.balance(token, Address(CAST.stranger.address)) == 0


def test_a_key_without_coin_is_told_that_it_cannot_pay_gas(anvil_ground: AnvilGround) -> None:
    token = fund(anvil_ground)
    anvil_ground.node("anvil_setBalance", CAST.submitter.address, "0x0")

    with pytest.raises(errors.BadField, match="gas: 0"):
        anvil_ground.chain.withdraw(CAST.submitter, token, Address(CAST.submitter.address), Wei(1))


def test_a_first_deposit_approves_exactly_what_it_needs(anvil_ground: AnvilGround) -> None:
    newcomer, token = Account.create(), anvil_ground.deployment.token("DAI").address
    anvil_ground.node("anvil_setBalance", newcomer.address, hex(10**18))
    anvil_ground.mint(Address(newcomer.address), Wei(100))

    anvil_ground.chain.deposit(newcomer, token, Wei(60))
    with pytest.raises(errors.BadField, match=r"holds 0\.00000000000000004 DAI"):
        anvil_ground.chain.deposit(newcomer, token, Wei(41))
    anvil_ground.chain.deposit(newcomer, token, Wei(40))

    assert anvil_ground.chain.balance(token, Address(newcomer.address)) == 100


def test_what_the_estimate_refuses_is_never_sent(anvil_ground: AnvilGround) -> None:
    token = fund(anvil_ground)
    head, sent = (
        anvil_ground.chain.head(),
        anvil_ground.node("eth_getTransactionCount", CAST.stranger.address, "latest"),
    )

    with pytest.raises(errors.InsufficientBalance):
        anvil_ground.chain.withdraw(CAST.stranger, token, Address(CAST.stranger.address), Wei(1))

    assert anvil_ground.chain.head() == head
    assert anvil_ground.node("eth_getTransactionCount", CAST.stranger.address, "latest") == sent


def test_many_threads_share_one_key_and_no_transaction_is_lost(anvil_ground: AnvilGround) -> None:
    token = fund(anvil_ground)
    to = Address(CAST.stranger.address)
    again = Web3Chain(anvil_ground.node.rpc, anvil_ground.deployment, journal=anvil_ground.journal)

    def withdraw(number: int) -> Receipt:
        chain = again if number % 2 else anvil_ground.chain
        return chain.withdraw(CAST.submitter, token, to, Wei(1))

    with ThreadPoolExecutor(8) as threads:
        receipts = list(threads.map(withdraw, range(24)))

    assert len({receipt.tx for receipt in receipts}) == 24
    assert anvil_ground.chain.balance(token, Address(CAST.submitter.address)) == FUNDS - 24


def test_a_key_that_sent_elsewhere_meanwhile_goes_on_with_the_right_nonce(anvil_ground: AnvilGround) -> None:
    token = fund(anvil_ground)
    me = Address(CAST.submitter.address)
    anvil_ground.chain.withdraw(CAST.submitter, token, me, Wei(1))
    anvil_ground.node.send(me, token, "approve(address,uint256)", me, 0)

    anvil_ground.chain.withdraw(CAST.submitter, token, me, Wei(1))

    assert anvil_ground.chain.balance(token, me) == FUNDS - 2


def test_of_two_settlements_in_one_block_the_second_is_told_that_the_job_is_closed(
    anvil_ground: AnvilGround,
) -> None:
    fund(anvil_ground)
    life = Life(anvil_ground.chain, anvil_ground.deployment, anvil_ground.at)
    life.reach((Action.AWARD, Action.DELIVER))
    node, chain, terms = anvil_ground.node, anvil_ground.chain, life.terms
    node("evm_setNextBlockTimestamp", terms.window_end)
    node("evm_mine")
    node("evm_setAutomine", False)
    try:
        with ThreadPoolExecutor(2) as threads:
            settlements = [
                threads.submit(chain.settle, signer, life.id, terms)
                for signer in (CAST.stranger, CAST.matcher)
            ]
            while int(node("txpool_status")["pending"], 16) < 2:
                pass
            node("evm_mine")
            outcomes = [settlement.exception() for settlement in settlements]
    finally:
        node("evm_setAutomine", True)

    (refused,) = filter(None, outcomes)
    assert isinstance(refused, errors.WrongState)
    assert refused.args == (life.id, JobState.CLOSED)


def test_a_transaction_that_nobody_mines_is_named_in_the_error(anvil_ground: AnvilGround) -> None:
    token = fund(anvil_ground)
    node = anvil_ground.node
    hasty = Web3Chain(
        node.rpc, anvil_ground.deployment, journal=anvil_ground.journal, pace=Pace(receipt_seconds=0.2)
    )
    node("evm_setAutomine", False)
    try:
        with pytest.raises(errors.ChainUnavailable, match=r"transaction 0x[0-9a-f]{64} was sent"):
            hasty.withdraw(CAST.submitter, token, Address(CAST.stranger.address), Wei(1))
        node("evm_mine")
    finally:
        node("evm_setAutomine", True)

    assert hasty.balance(token, Address(CAST.submitter.address)) == FUNDS - 1


class Stingy(ThreadingHTTPServer):
    """A node that refuses log queries over more than some blocks, as hosted ones do; all else it passes on."""

    def __init__(self, rpc: str, most: int) -> None:
        self.rpc, self.most, self.refused = rpc, most, 0
        super().__init__(("127.0.0.1", 0), _Pass)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Pass(BaseHTTPRequestHandler):
    server: Stingy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        query = json.loads(body)
        if query["method"] == "eth_getLogs" and self._span(query["params"][0]) > self.server.most:
            self.server.refused += 1
            error = {"code": -32005, "message": "block range too large"}
            answer = json.dumps({"jsonrpc": "2.0", "id": query["id"], "error": error}).encode()
        else:
            request = urllib.request.Request(self.server.rpc, body, {"Content-Type": "application/json"})  # noqa: S310
            with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
                answer = response.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Quiet."""

    @staticmethod
    def _span(query: dict[str, str]) -> int:
        return int(query["toBlock"], 16) - int(query["fromBlock"], 16) + 1


@pytest.fixture
def stingy(anvil_ground: AnvilGround) -> Iterator[Stingy]:
    server = Stingy(anvil_ground.node.rpc, most=3)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_range_that_the_node_finds_too_large_is_asked_for_in_parts(
    anvil_ground: AnvilGround, stingy: Stingy
) -> None:
    fund(anvil_ground)
    for _ in range(3):
        Life(anvil_ground.chain, anvil_ground.deployment, anvil_ground.at).reach((Action.POST, Action.CANCEL))
    head = anvil_ground.chain.head().number

    found = Web3Chain(stingy.url, anvil_ground.deployment).events(0, head + 100)

    assert stingy.refused > 0
    assert found == anvil_ground.chain.events(0, head)
    assert len(found) == 2 + 6


def test_a_node_that_refuses_even_one_block_is_unavailable(anvil_ground: AnvilGround, stingy: Stingy) -> None:
    stingy.most = 0

    with pytest.raises(errors.ChainUnavailable, match="block range too large"):
        Web3Chain(stingy.url, anvil_ground.deployment).events(0, 5)
