"""Transactions on a real node, through all that happens between writing one down and its receipt: each call is done once."""

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from eth_account import Account

from deai import errors
from deai.artifacts import artifact
from deai.chain import Receipt, Withdrawn
from deai.codec import Codec
from deai.job import Action, Address, Job, JobState, Wei
from deai.journal import Entry, Fate, Journal
from deai.transactions import Pace
from deai.web3_chain import Web3Chain
from tests.adapters.chain_fixtures import CHECKOUT, AnvilGround
from tests.lives import CAST, Life

FUNDS = Wei(10**6)
QUICK = Pace(receipt_seconds=60, bump_seconds=90, look_seconds=0.05, silence_seconds=10)
HASTY = Pace(receipt_seconds=0.2)
ME = Address(CAST.submitter.address)


class World:
    """An escrow on Anvil that holds money of one key, and chains that share its journal."""

    def __init__(self, ground: AnvilGround, folder: Path) -> None:
        self.ground, self.node, self.folder = ground, ground.node, folder
        self.token = ground.deployment.token("DAI").address
        ground.chain.deposit(CAST.submitter, self.token, FUNDS)
        self.deployment_file = folder / "deployment.json"
        self.deployment_file.write_text(ground.deployment.model_dump_json())
        self.journal = Journal(folder / "journal")

    def chain(self, pace: Pace = QUICK, rpc: str | None = None) -> Web3Chain:
        return Web3Chain(rpc or self.node.rpc, self.ground.deployment, journal=self.journal, pace=pace)

    def withdraw(self, pace: Pace = QUICK, amount: int = 1) -> Receipt:
        return self.chain(pace).withdraw(CAST.submitter, self.token, ME, Wei(amount))

    @property
    def taken(self) -> list[int]:
        """The withdrawals in the chain as it is now."""
        events = self.ground.chain.events(0, self.ground.chain.head().number)
        return [event.amount for event in events if isinstance(event, Withdrawn)]

    @property
    def nonce(self) -> int:
        return int(self.node("eth_getTransactionCount", ME, "latest"), 16)

    @property
    def waiting(self) -> int:
        return int(self.node("txpool_status")["pending"], 16)

    def mine(self) -> bool:
        self.node("evm_mine")
        return False

    @contextmanager
    def unmined(self) -> Iterator[None]:
        """Blocks come only when they are asked for."""
        self.node("evm_setAutomine", False)
        try:
            yield
        finally:
            self.node("evm_setAutomine", True)

    @property
    def offered(self) -> int:
        """The most that the key's waiting transaction pays, in wei a gas."""
        (transaction,) = self.node("txpool_content")["pending"][ME.lower()].values()
        return int(transaction["maxFeePerGas"], 16)

    @contextmanager
    def base_fee(self, wei: int) -> Iterator[None]:
        """The next block's base fee. The node keeps it over a revert to a snapshot, so it is put back."""
        self.node("anvil_setNextBlockBaseFeePerGas", hex(wei))
        try:
            yield
        finally:
            self.node("anvil_setNextBlockBaseFeePerGas", hex(10**9))

    def forget(self) -> None:
        """The node loses its memory of what is not mined, as at a restart."""
        self.node("anvil_dropAllTransactions")

    def program(self, source: str, rpc: str | None = None) -> "subprocess.Popen[str]":
        """Another process with the same key and the same journal; `chain`, `me`, `token` and `say(n)` (a withdrawal) are there."""
        head = f"""
import sys; sys.path.insert(0, {str(CHECKOUT)!r})
from pathlib import Path
from deai.deployment import Deployment
from deai.journal import Journal
from deai.web3_chain import Web3Chain
from tests.lives import CAST
deployment = Deployment.load(Path({str(self.deployment_file)!r}))
chain = Web3Chain({rpc or self.node.rpc!r}, deployment, journal=Journal(Path({str(self.folder / "journal")!r})))
token, me = deployment.token("DAI").address, CAST.submitter
say = lambda amount: chain.withdraw(me, token, me.address, amount)
"""
        return subprocess.Popen([sys.executable, "-c", head + source], text=True)


@pytest.fixture
def world(anvil_ground: AnvilGround, tmp_path: Path) -> Iterator[World]:
    world = World(anvil_ground, tmp_path)
    yield world
    world.journal.close()


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def killed(program: "subprocess.Popen[str]", when: Callable[[], bool]) -> None:
    """Ends the program as a power cut would, once `when` holds."""
    until(when)
    program.send_signal(signal.SIGKILL)
    program.wait()


@contextmanager
def said(*calls: Callable[[], Receipt]) -> Iterator[list[Future[Receipt]]]:
    """The calls, each in a thread."""
    with ThreadPoolExecutor(len(calls)) as threads:
        yield [threads.submit(call) for call in calls]


class Lossy(ThreadingHTTPServer):
    """A node behind a network that loses requests for the methods `unheard`, or the answers to `unanswered`."""

    def __init__(self, rpc: str) -> None:
        self.rpc = rpc
        self.unheard: set[str] = set()
        self.unanswered: set[str] = set()
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Pass)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Pass(BaseHTTPRequestHandler):
    server: Lossy

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        query = json.loads(body)
        methods = {each["method"] for each in (query if isinstance(query, list) else [query])}
        self.server.asked.extend(methods)
        if methods & self.server.unheard:
            return self._break()
        request = urllib.request.Request(self.server.rpc, body, {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            answer = response.read()
        if methods & self.server.unanswered:
            return self._break()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        return None

    def _break(self) -> None:
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def lossy(world: World) -> Iterator[Lossy]:
    server = Lossy(world.node.rpc)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


# The process died, or gave up.


def test_killed_after_it_was_sent_the_same_call_waits_for_the_first_one(world: World) -> None:
    with world.unmined():
        killed(world.program("say(7)"), lambda: world.waiting == 1)
        with said(lambda: world.withdraw(amount=7)) as (again,):
            time.sleep(0.3)
            assert world.waiting == 1
            world.mine()

    assert again.result().events
    assert world.taken == [7]


def test_killed_between_writing_and_sending_the_same_call_sends_what_was_written(
    world: World, lossy: Lossy
) -> None:
    lossy.unheard = {"eth_sendRawTransaction"}
    killed(world.program("say(7)", lossy.url), lambda: "eth_sendRawTransaction" in lossy.asked)
    written = world.journal.entry(world.journal.newest())
    assert world.taken == []

    receipt = world.withdraw(amount=7)

    assert receipt.tx == written.latest.hash
    assert world.taken == [7]


def test_killed_after_it_was_mined_the_same_call_gets_the_first_ones_receipt(
    world: World, lossy: Lossy
) -> None:
    lossy.unanswered = {"eth_getTransactionReceipt"}
    killed(world.program("say(7)", lossy.url), lambda: lossy.asked.count("eth_getTransactionReceipt") > 2)
    assert world.taken == [7]
    nonce = world.nonce

    receipt = world.withdraw(amount=7)

    assert [event.tx for event in receipt.events] == [receipt.tx]
    assert (world.taken, world.nonce) == ([7], nonce)


def test_once_told_the_same_call_is_meant_anew(world: World) -> None:
    first, second = world.withdraw(amount=7), world.withdraw(amount=7)

    assert first.tx != second.tx
    assert world.taken == [7, 7]


def test_a_call_that_timed_out_and_is_said_again_is_done_once(world: World) -> None:
    with world.unmined():
        with pytest.raises(errors.ChainUnavailable, match="it may still be") as late:
            world.withdraw(HASTY, 7)
        world.mine()
        again = world.withdraw(amount=7)

    assert again.tx in str(late.value)
    assert late.value.__notes__ == [f"transaction {again.tx} is written down: the same again waits for it"]
    assert world.taken == [7]


def test_a_deposit_cut_short_at_its_approval_does_not_spoil_a_later_one(world: World) -> None:
    newcomer = Account.create()
    to = Address(newcomer.address)
    world.node("anvil_setBalance", to, hex(10**18))
    world.ground.mint(to, Wei(100))
    with world.unmined():
        with pytest.raises(errors.ChainUnavailable):
            world.chain(HASTY).deposit(newcomer, world.token, Wei(40))
        world.mine()

    world.chain().deposit(newcomer, world.token, Wei(40))
    world.chain().deposit(newcomer, world.token, Wei(40))

    assert world.ground.chain.balance(world.token, to) == 80


def test_two_live_threads_that_say_the_same_mean_two(world: World) -> None:
    with world.unmined(), ThreadPoolExecutor(2) as threads:
        for number in (1, 2):
            threads.submit(world.withdraw, amount=7)
            until(lambda number=number: world.waiting == number)  # type: ignore[misc]
        world.mine()

    assert world.taken == [7, 7]


def test_two_that_were_abandoned_are_adopted_one_by_one(world: World) -> None:
    with world.unmined():
        with said(*[lambda: world.withdraw(HASTY, 7)] * 2) as both:
            pass
        assert all(isinstance(each.exception(), errors.ChainUnavailable) for each in both)
        world.mine()
    nonce = world.nonce

    found = {world.withdraw(amount=7).tx, world.withdraw(amount=7).tx}

    assert (len(found), world.nonce) == (2, nonce)
    assert world.taken == [7, 7]


def test_an_abandoned_one_whose_nonce_another_program_used_is_evaluated_anew(world: World) -> None:
    with world.unmined():
        with pytest.raises(errors.ChainUnavailable):
            world.withdraw(HASTY, 7)
        world.forget()
        elsewhere = Web3Chain(
            world.node.rpc, world.ground.deployment, journal=Journal(world.folder / "elsewhere"), pace=HASTY
        )
        with pytest.raises(errors.ChainUnavailable):
            elsewhere.withdraw(CAST.submitter, world.token, ME, Wei(8))
        world.mine()
    assert world.taken == [8]

    world.withdraw(amount=7)

    assert world.taken == [8, 7]


def cancelling(job: Job) -> str:
    return Codec(artifact("JobMarket").abi).call("cancel", job)


def test_what_another_program_did_in_its_place_is_refused_by_the_estimate(world: World) -> None:
    life = Life(world.ground.chain, world.ground.deployment, world.ground.at).reach((Action.POST,))
    with world.unmined():
        with pytest.raises(errors.ChainUnavailable):
            world.chain(HASTY).cancel(CAST.submitter, life.job)
        world.forget()
    elsewhere = {"from": ME, "to": world.ground.chain.contract, "data": cancelling(life.job)}
    world.node("eth_sendTransaction", elsewhere)

    with pytest.raises(errors.WrongState) as refused:
        world.chain().cancel(CAST.submitter, life.job)

    assert refused.value.args == (life.id, JobState.CLOSED)


# The node forgot, or was away.


def test_a_node_that_forgot_what_it_had_not_mined_gets_it_again(world: World) -> None:
    with world.unmined(), said(lambda: world.withdraw(amount=7)) as (waits,):
        until(lambda: world.waiting == 1)
        world.forget()
        until(lambda: world.waiting == 1)
        world.mine()
        assert waits.result().events

    assert world.taken == [7]


def test_a_lost_transaction_does_not_hold_up_those_after_it(world: World) -> None:
    with world.unmined():
        for amount in (5, 6):
            with pytest.raises(errors.ChainUnavailable):
                world.withdraw(HASTY, amount)
        world.forget()
    world.withdraw(amount=7)

    until(lambda: world.taken == [5, 6, 7])
    world.withdraw(amount=8)
    assert world.journal.unfinished(world.journal.entry(1).call) == []
    world.withdraw(amount=5)
    world.withdraw(amount=6)
    assert world.taken == [5, 6, 7, 8]


def test_what_is_lost_while_a_later_one_waits_is_sent_again_first(world: World) -> None:
    with world.unmined():
        with pytest.raises(errors.ChainUnavailable):
            world.withdraw(HASTY, 5)
        with said(lambda: world.withdraw(amount=7)) as (later,):
            until(lambda: world.waiting == 2)
            world.forget()
            until(lambda: world.waiting == 2)
            world.mine()
            later.result()

    assert world.taken == [5, 7]


def test_an_answer_that_is_lost_is_no_second_transaction(world: World, lossy: Lossy) -> None:
    lossy.unanswered = {"eth_sendRawTransaction"}

    world.chain(rpc=lossy.url).withdraw(CAST.submitter, world.token, ME, Wei(7))

    assert world.taken == [7]


def test_a_node_that_is_silent_for_a_while_is_waited_for(world: World, lossy: Lossy) -> None:
    with world.unmined():
        chain = world.chain(rpc=lossy.url)
        with said(lambda: chain.withdraw(CAST.submitter, world.token, ME, Wei(7))) as (waits,):
            until(lambda: world.waiting == 1)
            lossy.unheard = {"eth_getTransactionReceipt"}
            time.sleep(0.5)
            world.mine()
            lossy.unheard = set()
            assert waits.result().events


def test_a_node_that_stays_silent_is_unavailable_and_the_transaction_stays_written(
    world: World, lossy: Lossy
) -> None:
    lossy.unheard = {"eth_getTransactionReceipt"}
    brief = Pace(silence_seconds=0.2)

    with pytest.raises(errors.ChainUnavailable, match="does not answer"):
        world.chain(brief, lossy.url).withdraw(CAST.submitter, world.token, ME, Wei(7))

    assert world.withdraw(amount=7).events
    assert world.taken == [7]


def test_a_journal_that_cannot_be_written_sends_nothing(world: World) -> None:
    (world.folder / "file").touch()
    chain = Web3Chain(
        world.node.rpc, world.ground.deployment, journal=Journal(world.folder / "file" / "journal")
    )
    nonce = world.nonce

    with pytest.raises(errors.JournalUnavailable, match="Not a directory"):
        chain.withdraw(CAST.submitter, world.token, ME, Wei(7))

    assert (world.nonce, world.waiting) == (nonce, 0)


def test_without_a_journal_nothing_is_sent(world: World) -> None:
    reader = Web3Chain(world.node.rpc, world.ground.deployment)

    with pytest.raises(errors.BadField, match="journal: is needed"):
        reader.withdraw(CAST.submitter, world.token, ME, Wei(7))


# Fees.


def test_what_waits_long_is_sent_again_for_more_and_whichever_is_mined_counts(world: World) -> None:
    pace = Pace(receipt_seconds=15, bump_seconds=0.3, look_seconds=0.05)
    with world.unmined(), said(lambda: world.withdraw(pace, 7)) as (waits,):
        until(lambda: world.waiting == 1)
        entry = world.journal.entry(world.journal.newest())
        # Too much for the first form, even for the doubling that it has room for.
        with world.base_fee(2 * entry.latest.max_fee):
            until(lambda: world.offered >= 2 * entry.latest.max_fee)
            world.mine()
        receipt = waits.result()

    entry = world.journal.entry(entry.id)
    assert receipt.tx in [attempt.hash for attempt in entry.attempts[1:]]
    rises(entry)
    assert world.taken == [7]


def rises(entry: Entry) -> None:
    """Each form pays so much more than the one before that nodes take it in its place."""
    attempts = entry.attempts
    for before, after in itertools.pairwise(attempts):
        assert after.max_fee * 8 >= before.max_fee * 9
        assert after.tip * 8 >= before.tip * 9


def test_the_first_form_counts_though_a_dearer_one_was_sent(world: World, lossy: Lossy) -> None:
    pace = Pace(receipt_seconds=15, bump_seconds=0.2, look_seconds=0.05)
    with world.unmined():
        chain = world.chain(pace, lossy.url)
        with said(lambda: chain.withdraw(CAST.submitter, world.token, ME, Wei(7))) as (waits,):
            until(lambda: world.waiting == 1)
            lossy.unheard = {"eth_sendRawTransaction"}
            entry = world.journal.entry(world.journal.newest())
            until(lambda: len(world.journal.entry(entry.id).attempts) >= 2)
            world.mine()
            receipt = waits.result()

    assert receipt.tx == entry.latest.hash
    assert world.taken == [7]


def test_fees_rise_no_further_than_they_may(world: World) -> None:
    pace = Pace(receipt_seconds=1.5, bump_seconds=0.02, look_seconds=0.02, most_fee=2)
    with world.unmined(), pytest.raises(errors.ChainUnavailable):
        world.withdraw(pace, 7)

    entry = world.journal.entry(world.journal.newest())
    rises(entry)
    first, last = entry.attempts[0], entry.latest
    assert first.max_fee * 16 < last.max_fee * 9 <= first.max_fee * 18
    world.mine()
    assert world.withdraw(amount=7).tx == last.hash
    assert world.taken == [7]


# Many at once.


def test_fifty_at_once_take_fifty_nonces(world: World) -> None:
    nonce, chain = world.nonce, world.chain()

    def say(amount: int) -> Receipt:
        return chain.withdraw(CAST.submitter, world.token, ME, Wei(amount))

    with ThreadPoolExecutor(50) as threads:
        receipts = list(threads.map(say, range(1, 51)))

    assert len({receipt.tx for receipt in receipts}) == 50
    assert sorted(world.taken) == list(range(1, 51))
    assert world.nonce == nonce + 50


def test_two_processes_with_one_key_and_one_journal_lose_nothing(world: World) -> None:
    nonce = world.nonce
    programs = [
        world.program(f"for amount in range({first}, {first} + 10): say(amount)") for first in (1, 11)
    ]

    assert [program.wait(60) for program in programs] == [0, 0]

    assert sorted(world.taken) == list(range(1, 21))
    assert world.nonce == nonce + 20


def test_a_wallet_that_uses_the_key_meanwhile_costs_none_of_ours(world: World) -> None:
    stop = threading.Event()
    foreign: list[str] = []

    def wallet() -> None:
        while not stop.is_set():
            transaction = {"from": ME, "to": CAST.stranger.address, "value": "0x1"}
            with suppress(errors.ChainUnavailable):  # we took the nonce just then
                foreign.append(world.node("eth_sendTransaction", transaction))
            time.sleep(0.05)

    thread = threading.Thread(target=wallet)
    thread.start()
    try:
        for amount in range(1, 16):
            world.withdraw(amount=amount)
    finally:
        stop.set()
        thread.join()

    assert sorted(world.taken) == list(range(1, 16))
    # This node lets ours take the place of one that still waits; others ask for a tenth more than it pays.
    receipts = [world.node("eth_getTransactionReceipt", tx) for tx in foreign]
    assert all(receipt["status"] == "0x1" for receipt in receipts if receipt)
    assert any(receipts), "the wallet came through at least once"


# Reorgs.


def test_a_gap_that_a_reorg_left_below_a_waiting_one_is_filled_with_what_was_there(world: World) -> None:
    world.withdraw(amount=5)
    with world.unmined(), said(lambda: world.withdraw(amount=7)) as (waits,):
        until(lambda: world.waiting == 1)
        world.ground.reorg(1)
        until(lambda: world.waiting == 2)
        # Anvil drops what waits above a gap when it mines; it gets it again.
        until(lambda: world.mine() or waits.done())
        assert waits.result().events

    assert world.taken == [5, 7]


def test_what_a_reorg_undid_and_the_node_keeps_is_waited_for_and_not_doubled(world: World) -> None:
    first = world.withdraw(amount=7)
    raw = world.journal.entry(world.journal.newest()).latest.raw
    world.ground.reorg(1)
    assert world.taken == []
    with world.unmined():
        world.node("eth_sendRawTransaction", "0x" + raw.hex())
        with said(lambda: world.withdraw(amount=7)) as (again,):
            time.sleep(0.2)
            world.mine()
            assert again.result().tx == first.tx

    assert world.taken == [7]


def test_what_a_reorg_undid_and_the_node_forgot_is_sent_anew(world: World) -> None:
    world.withdraw(amount=7)
    world.ground.reorg(1)

    world.withdraw(amount=7)

    assert world.taken == [7]


def test_a_reorg_between_sending_and_the_receipt_is_outlived(world: World) -> None:
    world.ground.mine(3)
    with world.unmined(), said(lambda: world.withdraw(amount=7)) as (waits,):
        until(lambda: world.waiting == 1)
        world.forget()
        world.ground.reorg(3)
        until(lambda: world.waiting == 1)
        world.mine()
        assert world.ground.chain.events(waits.result().block, waits.result().block)

    assert world.taken == [7]
    assert world.journal.entry(world.journal.newest()).fate is Fate.MINED
