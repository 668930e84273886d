"""The submitter over the model chain: what it shows before signing, what it keeps, what it approves."""

from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from deai import unixfs
from deai.ask import Ask, Capacity, Prices
from deai.cid import Cid, Codec
from deai.content import Content
from deai.draft import MATCHER_SECONDS
from deai.endings import exit_record
from deai.errors import BadField, ContentMissing, DeaiError, MarketUnavailable, WrongState
from deai.home import Home
from deai.job import Address, Bid, JobId, JobState, Outcome, Timestamp, Wei
from deai.job_file import JobFile
from deai.local_store import LocalStore
from deai.market_api import MarketApi
from deai.result import EXIT_NAME, ExitRecord
from deai.signing import sign_ask, sign_bid
from deai.submitter import Submitter
from deai.testing import DAI, MemoryChain
from deai.wire import JobView, MarketInfo, Order, SignedAsk

ALICE, BOB, CAROL, MATCHER = (Account.from_key(bytes([number]) * 32) for number in (1, 2, 3, 4))
ONE = 10**18


class Market(MarketApi):
    """A market that remembers orders, and may lose its answers."""

    def __init__(self, chain: MemoryChain) -> None:
        super().__init__("http://127.0.0.1:1", chain.deployment().domain)
        self.orders: list[Order] = []
        self.offers: list[SignedAsk] = []
        self.mute = False

    def info(self) -> MarketInfo:
        return MarketInfo(
            chain_id=31337, contract=self._domain.contract, matcher=Address(MATCHER.address), head=0
        )

    def asks(self) -> list[SignedAsk]:
        return self.offers

    def submit(self, order: Order, account: LocalAccount | None = None) -> JobView:
        self.orders.append(order)
        if self.mute:
            raise MarketUnavailable("no answer")
        return JobView(
            id=JobId("0x" + "0" * 64), name="", submitter=Address(ALICE.address), state="Signed", note=""
        )


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chain = MemoryChain()
        self.store = Content(LocalStore(folder / "store"))
        self.market = Market(self.chain)
        self.submitter = Submitter(
            ALICE, self.chain.deployment(), self.chain, self.market, self.store, Home(folder / "home")
        )
        for account in (ALICE, BOB, CAROL):
            self.chain.mint(DAI.address, Address(account.address), Wei(100 * ONE))
            self.chain.deposit(account, DAI.address, Wei(100 * ONE))

    def file(self, **fields: Any) -> JobFile:
        image = unixfs.add_bytes(b"image", self.store)
        values = {
            "name": "n",
            "docker_image": str(image),
            "command": "true",
            "payment_token": "DAI",
            "payment_amount": "10",
            "timeout": "60s",
        }
        return JobFile.parse({**values, **fields})

    def offer(self, account: Any, price: int, **fields: Any) -> None:
        now = self.chain.head().time
        values = {
            "provider": account.address,
            "chain_id": 31337,
            "contract": self.chain.contract,
            "capacity": Capacity(cpu_millis=8_000, memory_mib=8_000, disk_mib=8_000),
            "prices": {DAI.address: Prices(job=price)},
            "max_bond": {DAI.address: ONE},
            "issued_at": now,
            "expires_at": now + 600,
        }
        ask = Ask(**{**values, **fields})
        self.market.offers.append(SignedAsk(ask=ask.canonical().decode(), signature=sign_ask(account, ask)))

    def deliver(self, job: JobId, account: Any, content: bytes) -> Cid:
        """Awards the job to `account`, which delivers a folder with an exit record and `content`."""
        order = self.submitter.home.order(job)
        bid = Bid(
            job=job,
            provider=Address(account.address),
            price=Wei(0),
            expires_at=Timestamp(self.chain.head().time + 100),
        )
        domain = self.chain.deployment().domain
        receipt = self.chain.award(
            MATCHER, order.job.value(), order.signature, bid, sign_bid(account, bid, domain)
        )
        folder = self.folder / f"result-{content.hex()}"
        folder.mkdir()
        record = ExitRecord(exit_code=0, timed_out=False, oom_killed=False, seconds=1, image="sha256:0")
        (folder / EXIT_NAME).write_bytes(record.canonical())
        (folder / "out.txt").write_bytes(content)
        cid = unixfs.add(folder, self.store)
        terms = next(event.terms for event in receipt.events if hasattr(event, "terms"))
        self.chain.deliver(account, job, terms, cid.digest)
        return cid


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_best_offer_is_one_that_could_win(world: World) -> None:
    now = world.chain.head().time
    world.offer(BOB, 1, max_bond={})
    world.offer(ALICE, 2)
    world.offer(CAROL, 3, expires_at=now - 1)
    world.offer(BOB, 4, capacity=Capacity(cpu_millis=10, memory_mib=1, disk_mib=1))
    world.offer(CAROL, 5)
    world.market.offers.append(
        SignedAsk(ask=world.market.offers[-1].ask.replace(":5,", ":0,"), signature=b"\1" * 65)
    )

    draft = world.submitter.draft(world.file(bond="1"))

    assert draft.offer is not None
    assert (draft.offer.provider, draft.quote, draft.job.price_start) == (CAROL.address, 5, 5)


def test_without_a_fitting_offer_the_draft_says_what_is_lacking(world: World) -> None:
    world.offer(BOB, 1)
    draft = world.submitter.draft(world.file(bond="2"))
    assert (draft.offer, draft.quote, draft.job.price_start) == (None, None, 0)
    assert "bond of 2 DAI" in draft.reason


@pytest.mark.parametrize(
    ("field", "value"), [("window", "1s"), ("award_within", "1s"), ("award_within", "0")]
)
def test_times_that_a_block_could_decide_are_refused(world: World, field: str, value: str) -> None:
    with pytest.raises(BadField, match=field):
        world.submitter.draft(world.file(**{field: value}))


def test_no_window_at_all_is_allowed(world: World) -> None:
    assert world.submitter.draft(world.file(window="0")).job.challenge_seconds == 0


def test_submitting_locks_nothing_and_leaves_the_market_alone_until_open_at(world: World) -> None:
    draft = world.submitter.draft(world.file())
    job = world.submitter.submit(draft)
    assert world.chain.balance(DAI.address, world.submitter.address) == 100 * ONE
    assert world.chain.state(job)[0] is JobState.UNKNOWN
    assert draft.job.matcher == MATCHER.address
    assert MATCHER_SECONDS <= draft.job.open_at - world.chain.head().time <= MATCHER_SECONDS + 2


def test_when_the_markets_answer_is_lost_the_order_is_kept_and_named(world: World) -> None:
    draft = world.submitter.draft(world.file())
    world.market.mute = True

    with pytest.raises(DeaiError) as raised:
        world.submitter.submit(draft)

    (job,) = world.submitter.home.orders()
    assert any(f"deai submit again {job}" in note for note in raised.value.__notes__)
    world.market.mute = False
    world.submitter.resubmit(job)
    assert world.market.orders[0] == world.market.orders[1]


def test_an_approval_means_the_result_that_was_fetched(world: World) -> None:
    job = world.submitter.submit(world.submitter.draft(world.file()))
    world.deliver(job, BOB, b"good")
    world.submitter.results(job, world.folder / "out")
    world.chain.reorg(2)
    other = world.deliver(job, CAROL, b"bad")

    with pytest.raises(BadField, match=str(other)):
        world.submitter.approve(job)

    assert world.chain.state(job)[0] is JobState.DELIVERED
    world.submitter.results(job, world.folder / "out2")
    world.submitter.approve(job)
    assert world.chain.state(job) == (JobState.CLOSED, Outcome.PAID)


def test_a_result_goes_into_an_empty_folder_that_is_there_and_into_no_other(world: World) -> None:
    job = world.submitter.submit(world.submitter.draft(world.file()))
    with pytest.raises(WrongState):
        world.submitter.results(job, world.folder / "early")
    world.deliver(job, BOB, b"good")
    (world.folder / "empty").mkdir()

    result = world.submitter.results(job, world.folder / "empty")

    assert result.exit_record is not None
    assert sorted(path.name for path in (world.folder / "empty").iterdir()) == [EXIT_NAME, "out.txt"]
    with pytest.raises(BadField, match="empty"):
        world.submitter.results(job, world.folder / "empty")


def test_a_result_without_a_readable_exit_record_is_fetched_all_the_same(world: World) -> None:
    job = world.submitter.submit(world.submitter.draft(world.file()))
    world.deliver(job, BOB, b"x")
    terms = world.submitter.progress(job).terms
    assert terms is not None
    empty = world.folder / "nothing"
    empty.mkdir()
    (empty / EXIT_NAME).write_text("{}")
    cid = unixfs.add(empty, world.store)
    assert exit_record(world.store, cid) is None


def test_an_input_that_is_not_in_the_store_is_named(world: World) -> None:
    missing = Cid.of(b"elsewhere", Codec.RAW)
    with pytest.raises(ContentMissing, match=str(missing)):
        world.submitter.draft(world.file(input_data_cid=str(missing)))
