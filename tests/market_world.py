"""A small world for tests of the market: the reference chain, a submitter, two providers, and what they sign."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from deai.ask import Ask, Capacity, Gpu, Prices
from deai.deployment import Deployment, Token
from deai.job import ZERO_ADDRESS, Address, Bid, Job, JobId, Terms, Timestamp, Wei, award_terms
from deai.local_store import LocalStore
from deai.market_api import MarketApi
from deai.signing import job_id, sign_ask, sign_bid, sign_job
from deai.spec import Spec
from deai.testing import CONTRACT, DAI, MemoryChain
from deai.wire import BidJson, JobJson, Order, SignedAsk, SignedBid
from deai_market.app import serving
from deai_market.courier import Courier
from deai_market.market import Market
from deai_market.settings import Rules

COIN = 10**18
NOW = Timestamp(1_800_000_000)
IMAGE = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
COINS = Token(symbol="ETH", address=ZERO_ADDRESS, decimals=18)
RULES = Rules(poll_seconds=0.02, match_seconds=30, retry_seconds=60, confirmations=2)


def account(number: int) -> LocalAccount:
    """The same account each time."""
    found: LocalAccount = Account.from_key(number.to_bytes(32))
    return found


def fresh_chain() -> MemoryChain:
    """A chain whose escrow has a panel, that of `World.arbiter`, and takes the native coin."""
    deployment = Deployment(
        chain_id=31337,
        contract=CONTRACT,
        block=0,
        tokens=(DAI, COINS),
        panel=Address(account(5).address),
    )
    return MemoryChain(now=NOW, deployment=deployment)


def spec(**fields: Any) -> Spec:
    """A small spec."""
    return Spec.build(
        **{"name": "small", "image": {"cid": IMAGE}, "command": ["true"], "max_seconds": 60, **fields}
    )


@dataclass
class World:
    """Everybody has 100 DAI in the escrow. The clock stands at NOW until it is moved."""

    folder: Path
    chain: MemoryChain = field(default_factory=fresh_chain)
    submitter: LocalAccount = field(default_factory=lambda: account(1))
    provider: LocalAccount = field(default_factory=lambda: account(2))
    other: LocalAccount = field(default_factory=lambda: account(3))
    gas: LocalAccount = field(default_factory=lambda: account(4))
    arbiter: LocalAccount = field(default_factory=lambda: account(5))
    salts: int = 0

    def __post_init__(self) -> None:
        self.deployment = self.chain.deployment()
        self.domain = self.deployment.domain
        self.store = LocalStore(self.folder / "store")
        for each in (self.submitter, self.provider, self.other):
            self.chain.mint(DAI.address, Address(each.address), 1_000 * COIN)
            self.chain.deposit(each, DAI.address, Wei(100 * COIN))

    def market(self, rules: Rules = RULES, courier: Courier | None = None) -> Market:
        """A market in this world's folder, not started."""
        return Market(
            self.chain,
            self.deployment,
            self.store,
            self.gas,
            self.folder / "data",
            rules=rules,
            wall=lambda: self.chain.now,
            courier=courier,
        )

    @contextmanager
    def served(self, rules: Rules = RULES) -> Iterator[MarketApi]:
        """A market that is served on loopback, and its client."""
        with serving(self.market(rules), "127.0.0.1", 0) as url, self.api(url) as api:
            yield api

    def api(self, url: str) -> MarketApi:
        """A client of the market at `url`, by this world's clock."""
        return MarketApi(url, self.domain, now=lambda: self.chain.now)

    def job(self, wanted: Spec | None = None, **fields: Any) -> Job:
        """A job that the market may award from now on, for 1 to 10 DAI."""
        self.salts += 1
        now = self.chain.now
        job = Job(
            submitter=Address(self.submitter.address),
            token=DAI.address,
            price_start=Wei(COIN),
            price_cap=Wei(10 * COIN),
            bond=Wei(COIN),
            matcher=Address(self.gas.address),
            open_at=Timestamp(now + 600),
            award_by=Timestamp(now + 1_200),
            deliver_seconds=120,
            challenge_seconds=60,
            spec=(wanted or spec()).cid().digest,
            salt=self.salts.to_bytes(32),
        )
        return replace(job, **fields)

    def order(
        self, wanted: Spec | None = None, *, signer: LocalAccount | None = None, **fields: Any
    ) -> Order:
        """A signed order for such a job."""
        wanted = wanted or spec()
        job = self.job(wanted, **fields)
        signature = sign_job(signer or self.submitter, job, self.domain)
        return Order(job=JobJson.of(job), signature=signature, spec=wanted.canonical().decode())

    def id(self, order: Order) -> JobId:
        """The order's job id."""
        return job_id(order.job.value(), self.domain)

    def ask(self, signer: LocalAccount | None = None, **fields: Any) -> SignedAsk:
        """A provider's ask: 4 cores, two slots, 0.5 DAI a job."""
        signer, now = signer or self.provider, self.chain.now
        ask = Ask.model_validate(
            {
                "provider": signer.address,
                "chain_id": self.deployment.chain_id,
                "contract": self.deployment.contract,
                "capacity": Capacity(cpu_millis=4_000, memory_mib=8_192, disk_mib=8_192, slots=2),
                "prices": {DAI.address: Prices(job=COIN // 2)},
                "max_bond": {DAI.address: 5 * COIN},
                "issued_at": now,
                "expires_at": now + 3_600,
                **fields,
            }
        )
        return SignedAsk(ask=ask.canonical().decode(), signature=sign_ask(signer, ask))

    def bid(self, job: JobId, signer: LocalAccount | None = None, **fields: Any) -> SignedBid:
        """A provider's bid of 0.5 DAI."""
        signer = signer or self.provider
        values = {"price": Wei(COIN // 2), "expires_at": Timestamp(self.chain.now + 100), **fields}
        bid = Bid(job=job, provider=Address(signer.address), **values)
        return SignedBid(bid=BidJson.of(bid), signature=sign_bid(signer, bid, self.domain))

    def award(self, order: Order, signer: LocalAccount | None = None) -> JobId:
        """Awards an order on chain, past the market."""
        bid, job = self.bid(self.id(order), signer), order.job.value()
        self.chain.award(self.gas, job, order.signature, bid.bid.value(), bid.signature)
        return self.id(order)

    def deliver(self, order: Order) -> Terms:
        """Delivers, on chain, an order that was awarded at this very time; the terms as they stand then."""
        bid = self.bid(self.id(order)).bid.value()
        terms = award_terms(order.job.value(), bid, self.chain.now, Address(self.gas.address))
        self.chain.deliver(self.provider, self.id(order), terms, b"\7" * 32)
        return terms.delivered(b"\7" * 32, Timestamp(self.chain.now + terms.challenge_seconds))

    def pay(self, order: Order) -> None:
        """Delivers and approves, on chain, an order that was awarded at this very time."""
        self.chain.approve(self.submitter, self.id(order), self.deliver(order))

    def judged(self, **fields: Any) -> dict[str, Any]:
        """The fields of a job that the panel may judge: a case costs 0.25 DAI."""
        case = {"dispute_fee": Wei(COIN // 4), "arbiter_data": b"\5" * 32, "ruling_seconds": 300}
        return {"arbiter": Address(self.arbiter.address), **case, **fields}

    def dispute(self, order: Order) -> Terms:
        """Delivers and disputes, on chain, such an order; the terms as they stand then."""
        delivered = self.deliver(order)
        self.chain.dispute(self.submitter, self.id(order), delivered)
        rule_by = Timestamp(self.chain.now + delivered.ruling_seconds)
        return delivered.disputed(Address(self.submitter.address), rule_by)


__all__ = ["COIN", "DAI", "IMAGE", "NOW", "RULES", "Gpu", "World", "account", "spec"]
