"""The market's batches on a real node: one transaction, what it skips, and its gas."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deai.ask import Ask, Capacity, Prices
from deai.chain import CallSkipped, JobAwarded
from deai.cid import Cid, Codec
from deai.job import Address, Bid, Job, JobId, JobState, Timestamp, Wei
from deai.local_store import LocalStore
from deai.signing import job_id, sign_ask, sign_bid, sign_jobs
from deai.store import Block
from deai.wire import BidJson, JobJson, Order, SignedAsk, SignedBid
from deai_market.market import Market
from tests.adapters.chain_fixtures import AnvilGround
from tests.lives import BOND, CAST, job_of_cast
from tests.market_world import spec

PRICE = Wei(200)


class Ground:
    """A market on Anvil whose rounds the test makes, a submitter and a provider with a deposit each."""

    def __init__(self, ground: AnvilGround, folder: Path) -> None:
        self.chain = ground.chain
        self.deployment = ground.deployment.model_copy(update={"panel": Address(CAST.arbiter.address)})
        self.token = self.deployment.token("DAI").address
        self.now = ground.chain.head().time
        for account in (CAST.submitter, CAST.provider):
            self.chain.deposit(account, self.token, Wei(100_000))
        self.store = LocalStore(folder / "store")
        data = spec().canonical()
        self.store.put([Block(Cid.of(data, Codec.RAW), data)])
        self.market = Market(
            self.chain,
            self.deployment,
            self.store,
            CAST.matcher,
            folder / "market",
            wall=lambda: self.chain.head().time,
        )

    def job(self, number: int) -> Job:
        times = {
            "open_at": Timestamp(self.now + 600),
            "award_by": Timestamp(self.now + 1_200),
            "deliver_seconds": 600,
        }
        return job_of_cast(
            self.deployment,
            self.now,
            price_start=PRICE,
            price_cap=PRICE,
            spec=spec().cid().digest,
            salt=number.to_bytes(32),
            **times,
        )

    def ask(self) -> SignedAsk:
        ask = Ask(
            provider=CAST.provider.address,
            chain_id=self.deployment.chain_id,
            contract=self.deployment.contract,
            capacity=Capacity(cpu_millis=400_000, memory_mib=1 << 20, disk_mib=1 << 20, slots=100),
            prices={self.token: Prices(job=PRICE)},
            max_bond={self.token: BOND},
            issued_at=self.now,
            expires_at=self.now + 3_600,
        )
        return SignedAsk(ask=ask.canonical().decode(), signature=sign_ask(CAST.provider, ask))

    def bid(self, job: JobId) -> None:
        """As the route takes it."""
        expires_at = Timestamp(self.chain.head().time + 100)
        bid = Bid(job=job, provider=Address(CAST.provider.address), price=PRICE, expires_at=expires_at)
        signature = sign_bid(CAST.provider, bid, self.deployment.domain)
        number = self.market.book.bid(SignedBid(bid=BidJson.of(bid), signature=signature))
        assert number is not None
        self.market.awards.send(number)


@pytest.fixture
def world(anvil_ground: AnvilGround, tmp_path: Path) -> Iterator[Ground]:
    world = Ground(anvil_ground, tmp_path)
    yield world
    world.market.close()


def test_signed_together_and_posted_jobs_are_awarded_by_one_transaction_that_skips_the_one_refused(
    world: Ground,
) -> None:
    market, domain = world.market, world.deployment.domain
    jobs = [world.job(number) for number in range(1, 6)]
    ids = [job_id(job, domain) for job in jobs]
    text = spec().canonical().decode()
    for job, signature in zip(jobs[:4], sign_jobs(CAST.submitter, jobs[:4], domain), strict=True):
        market.submit(Order(job=JobJson.of(job), signature=signature, spec=text), None)
    world.chain.post(CAST.submitter, jobs[4])
    market.indexer.catch_up()
    market.postings.round()
    market.book.offer(world.ask())
    market._matcher.round()
    for each in ids:
        world.bid(each)
    before = world.chain.head().number
    # Cancelled after the last look at its state, as it were.
    state, looks = world.chain.state, list[JobId]()

    def look(job: JobId) -> tuple[JobState, object]:
        if job == ids[1] and not looks:
            looks.append(job)
            world.chain.cancel(CAST.submitter, jobs[1])
            return JobState.UNKNOWN, None
        return state(job)

    world.chain.state = look  # type: ignore[method-assign, assignment]
    market.awards._send(market.awards._take(), threading.Event())

    found = world.chain.events(before + 2, world.chain.head().number)
    assert len({event.tx for event in found}) == 1
    assert [event.id for event in found if isinstance(event, JobAwarded)] == [ids[0], *ids[2:]]
    (skipped,) = (event for event in found if isinstance(event, CallSkipped))
    assert skipped.place == 1
    assert "WrongState" in str(skipped.reason)
    market.indexer.catch_up()
    assert [market.job(each).state for each in ids] == ["Awarded", "Cancelled", *["Awarded"] * 3]
