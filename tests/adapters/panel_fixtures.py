"""A panel on a node of its own, disputed jobs with real content, and verifiers in this process."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount

from deai import signing
from deai.anvil import AnvilNode, anvil_binary, local_account
from deai.arbitration import arbiter_data
from deai.artifacts import artifact
from deai.ask import Capacity
from deai.chain import Chain, Item, JobAwarded
from deai.cid import Cid
from deai.clock import ChainClock
from deai.codec import Codec
from deai.errors import ChainUnavailable, ContentMissing
from deai.job import Address, Bid, Job, JobId, JobState, Terms, Timestamp, Wei
from deai.journal import Journal
from deai.local_store import LocalStore
from deai.panel import CaseClosed, CasePace, Panel
from deai.panel_contract import PanelContract
from deai.program import Program, free_port
from deai.spec import Spec
from deai.web3_chain import Web3Chain
from deai_provider.archives import Archives
from deai_provider.executor import Run
from deai_provider.hearing import Bench
from deai_provider.staging import Depot
from deai_provider.testing import Script, ScriptedExecutor
from deai_provider.verifier import Verifier
from deai_provider.votes import Votes
from deai_provider.workshop import terms_after
from tests.digits import delivered, digits
from tests.loops import running

DAI = 10**18
PRICE, BOND, FEE = Wei(DAI), Wei(DAI), Wei(3 * DAI // 10)
RESULT = b"\x0b" * 32
POLL, QUICK = 0.05, 0.02
"""How often a verifier looks: `QUICK` where a test waits for many pauses."""
PACE = CasePace(
    draw_blocks=1,
    open_seconds=600,
    draw_seconds=300,
    cure_seconds=1,
    vote_seconds=120,
    reveal_seconds=120,
    unstake_seconds=30 * 86_400,
)
SUBMITTER, PROVIDER = local_account(1), local_account(2)
_salts, _classes = count(1), count()


class Looked(LocalStore):
    """A store that counts how often something was looked for and missing."""

    misses = 0

    def get(self, cid: Cid) -> bytes:
        try:
            return super().get(cid)
        except ContentMissing:
            self.misses += 1
            raise


class PanelWorld:
    """A chain whose blocks come by themselves, an escrow, a panel, and a store that everybody reads."""

    def __init__(self, node: AnvilNode, folder: Path) -> None:
        self.node, self.folder = node, folder
        self.since = 0
        """The block from which on verifiers know of cases."""
        self.deployment = node.deploy("DAI", PACE)
        self.journal = Journal(folder / "journal")
        self.chain = Web3Chain(node.rpc, self.deployment, journal=self.journal)
        self.panel = PanelContract(node.rpc, self.deployment, journal=self.journal)
        self.token = self.deployment.token("DAI").address
        self.store = LocalStore(folder / "store")
        self.looks = dict[Address, Looked]()
        """The store as each verifier sees it."""
        self.script: Callable[[Run], Script] = lambda _: Script(outputs={"answer": b"42"})
        for account in (SUBMITTER, PROVIDER):
            address = Address(account.address)
            node.mint(self.token, address, Wei(1_000 * DAI))
            self.chain.deposit(account, self.token, Wei(1_000 * DAI))

    def _play(self, run: Run) -> Script:
        return self.script(run)

    # Verifiers.

    def new_class(self, *accounts: LocalAccount) -> int:
        """A resource class with a ticket of each."""
        number = next(_classes)
        for account in accounts:
            self.stake(account, number)
        return number

    def stake(self, account: LocalAccount, number: int, tickets: int = 1) -> None:
        """Gives the account what the tickets cost, and buys them."""
        self.node.mint(self.token, Address(account.address), Wei(tickets * self.panel.rules.seat_stake))
        self.panel.stake(account, number, tickets)

    @contextmanager
    def verifier(
        self,
        account: LocalAccount,
        *,
        cpu_millis: int = 4_000,
        panel: Panel | None = None,
        chain: Chain | None = None,
        look_back_blocks: int = 1_000,
        poll_seconds: float = POLL,
        executor: ScriptedExecutor | None = None,
    ) -> Iterator[ScriptedExecutor]:
        """A running verifier; stopped at the end. A later one of the same account goes on in the same folder."""
        work = self.folder / account.address
        engine = executor or ScriptedExecutor(work / "runs", self._play)
        store = self.looks[Address(account.address)] = Looked(self.folder / "store")
        bench = Bench(
            account=account,
            chain=chain or self.chain,
            panel=panel or self.panel,
            depot=Depot(
                store=store,
                executor=engine,
                images=Archives(work / "images"),
                max_input_bytes=1 << 20,
                max_image_bytes=1 << 20,
                image_cache_bytes=1 << 20,
            ),
            votes=Votes(work / "votes"),
            measure=lambda: Capacity(cpu_millis=cpu_millis, memory_mib=4_096, disk_mib=8_192, slots=1),
            work=work,
            slots=1,
            first_block=self.since,
            look_back_blocks=look_back_blocks,
            clock=ChainClock(),
            poll_seconds=poll_seconds,
        )
        with running(Verifier(bench)):
            yield engine

    # Jobs.

    def spec(self, **fields: object) -> Spec:
        """A spec, kept in the store, that verifiers re-run."""
        return digits(self.store, **({"max_seconds": 60, "verification": "optimistic"} | fields))

    def result(self, answer: bytes, store: LocalStore | None = None) -> bytes:
        """A result with that answer, in the store; its digest."""
        return delivered(self.folder, store or self.store, answer)

    def job(self, number: int, spec: Spec | None = None, **fields: Any) -> Job:
        """A job that the panel would judge."""
        now = self.chain.head().time
        values: dict[str, Any] = {
            "submitter": Address(SUBMITTER.address),
            "token": self.token,
            "price_start": PRICE,
            "price_cap": PRICE,
            "bond": BOND,
            "arbiter": self.panel.contract,
            "dispute_fee": FEE,
            "arbiter_data": arbiter_data(number, 3),
            "open_at": Timestamp(now - 1),
            "award_by": Timestamp(now + 600),
            "deliver_seconds": 120,
            "challenge_seconds": 600,
            "ruling_seconds": 7_200,
            "spec": (spec or self.spec()).cid().digest,
            "salt": next(_salts).to_bytes(32),
        }
        return Job(**(values | fields))

    def disputed(self, job: Job, result: bytes, *, in_a_batch: bool = False) -> JobId:
        """Takes the job through award, delivery and dispute."""
        id_, award = self._award(job, None)
        if in_a_batch:
            self.chain.batch(PROVIDER, [Item("award", award)])
        else:
            self.chain.award(PROVIDER, *award)
        self.chain.deliver(PROVIDER, id_, self.terms(id_), result)
        self.chain.dispute(SUBMITTER, id_, self.terms(id_))
        return id_

    def _award(self, job: Job, signature: bytes | None) -> tuple[JobId, tuple[Job, bytes, Bid, bytes]]:
        domain = self.deployment.domain
        id_ = signing.job_id(job, domain)
        expires_at = Timestamp(self.chain.head().time + 60)
        bid = Bid(job=id_, provider=Address(PROVIDER.address), price=PRICE, expires_at=expires_at)
        signed = signing.sign_job(SUBMITTER, job, domain) if signature is None else signature
        return id_, (job, signed, bid, signing.sign_bid(PROVIDER, bid, domain))

    def award_call(self, job: Job, signature: bytes | None = None) -> tuple[JobId, str]:
        """The call data that awards the job."""
        id_, award = self._award(job, signature)
        return id_, Codec(artifact("JobMarket").abi).call("award", *award)

    def send(self, to: Address | None, data: str) -> dict[str, Any]:
        """Sends any call, or creates a contract; its receipt."""
        given = {"from": PROVIDER.address, "gas": hex(29_000_000), "data": data} | ({"to": to} if to else {})
        sent = self.node.call("eth_sendTransaction", given)
        self.until(lambda: self.node.call("eth_getTransactionReceipt", sent))
        receipt: dict[str, Any] = self.node.call("eth_getTransactionReceipt", sent)
        assert receipt["status"] == "0x1", receipt
        return receipt

    def forwarder(self) -> Address:
        """A new contract that hands its call data, but for the first byte, to the escrow: nobody reads the call in the transaction."""
        code = "600136038060016000375f5f825f5f73" + self.deployment.contract[2:].lower() + "5af115"
        code += f"60{len(code) // 2 + 4:02x}57005b5f5ffd"
        size = len(code) // 2
        return Address(
            self.send(None, f"0x60{size:02x}600c60003960{size:02x}6000f3{code}")["contractAddress"]
        )

    def terms(self, id_: JobId) -> Terms:
        """The job's terms as they stand."""
        terms = terms_after(self.chain.events(0, 1 << 40, id_))
        assert terms is not None
        return terms

    def award(self, id_: JobId) -> JobAwarded:
        """The job's award."""
        return next(each for each in self.chain.events(0, 1 << 40, id_) if isinstance(each, JobAwarded))

    def closed(self, id_: JobId, seconds: float = 40) -> CaseClosed:
        """How the case ended; waits for that."""
        self.until(lambda: self.chain.state(id_)[0] is JobState.CLOSED, seconds)
        return next(each for each in self.panel.events(0, 1 << 40, id_) if isinstance(each, CaseClosed))

    def until(self, what: Callable[[], object], seconds: float = 20) -> None:
        """Waits until something holds."""
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(POLL)


@pytest.fixture(scope="module")
def panel_court(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PanelWorld]:
    """A node of this module's own, with a panel."""
    folder, port = tmp_path_factory.mktemp("panel"), str(free_port())
    # Draws wait for later blocks.
    blocks = ["--mixed-mining", "--block-time", "0.25"]
    command = [str(anvil_binary()), "--port", port, "--hardfork", "cancun", "--chain-id", "31337", *blocks]
    program = Program("anvil", command, folder / "anvil.log")
    node = AnvilNode(f"http://127.0.0.1:{port}")
    try:
        program.wait_for(lambda: node.answers, ChainUnavailable)
        yield PanelWorld(node, folder)
    finally:
        program.stop()


@pytest.fixture
def panel_world(panel_court: PanelWorld) -> PanelWorld:
    """The module's panel, as verifiers see it who know nothing of the cases before this test's."""
    panel_court.since = panel_court.chain.head().number
    panel_court.looks.clear()
    return panel_court
