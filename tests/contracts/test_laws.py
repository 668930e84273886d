"""The laws of the escrow over random histories, on a real chain and in the client's reference model side by side.

After every step: the chain refused or did what the model says; tokens held are balances + locked + burned; what is
closed stays as it is; and a ledger that reads nothing but events knows the whole state.
"""

from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as some
from hypothesis.stateful import Bundle, RuleBasedStateMachine, rule, run_state_machine_as_test
from world import ONE, RESULT, Sent, World, reverts, terms_of

from deai import errors
from deai.escrow import UNKNOWN, Call, Escrow
from deai.job import Address, Job, JobId, JobState, Outcome, Terms, Timestamp, Wei

HISTORIES, STEPS = 20, 20

parties = some.sampled_from(["submitter", "provider", "rival", "matcher", "stranger"])
amounts = some.sampled_from([0, 1, ONE, 7 * ONE, 600 * ONE])


@dataclass
class Ledger:
    """The escrow's state as its events tell it, for one token."""

    balances: dict[Address, int]
    locked: int = 0
    burned: int = 0
    endings: dict[bytes, tuple[JobState, Outcome]] = field(default_factory=dict)
    terms: dict[bytes, Terms] = field(default_factory=dict)

    def read(self, sent: Sent) -> None:
        for log in sent.logs:
            getattr(self, log.name)(log.values)

    def Deposited(self, log: dict[str, Any]) -> None:  # noqa: N802 - the events' own names
        self._add(log["account"], log["amount"])

    def Withdrawn(self, log: dict[str, Any]) -> None:  # noqa: N802
        self._add(log["account"], -log["amount"])

    def JobPosted(self, log: dict[str, Any]) -> None:  # noqa: N802
        self.endings[log["id"]] = JobState.OPEN, Outcome.NONE

    def BidPlaced(self, log: dict[str, Any]) -> None:  # noqa: N802
        """Neither money nor a job's state."""

    def JobCancelled(self, log: dict[str, Any]) -> None:  # noqa: N802
        self.endings[log["id"]] = JobState.CLOSED, Outcome.CANCELLED

    def JobAwarded(self, log: dict[str, Any]) -> None:  # noqa: N802
        terms = terms_of(log["terms"])
        self.terms[log["id"]] = terms
        self.endings[log["id"]] = JobState.AWARDED, Outcome.NONE
        self._add(terms.submitter, -terms.price)
        self._add(terms.provider, -terms.bond)
        self.locked += terms.price + terms.bond

    def JobDelivered(self, log: dict[str, Any]) -> None:  # noqa: N802
        self.terms[log["id"]] = self.terms[log["id"]].delivered(log["result"], log["windowEnd"])
        self.endings[log["id"]] = JobState.DELIVERED, Outcome.NONE

    def JobClosed(self, log: dict[str, Any]) -> None:  # noqa: N802
        terms = self.terms[log["id"]]
        self.endings[log["id"]] = JobState.CLOSED, Outcome(log["outcome"])
        self._add(terms.submitter, log["toSubmitter"])
        self._add(terms.provider, log["toProvider"])
        self._add(terms.matcher, log["toMatcher"])
        self.burned += log["burned"]
        self.locked -= terms.price + terms.bond

    def _add(self, account: Address, amount: int) -> None:
        self.balances[account] = self.balances.get(account, 0) + amount


class History(RuleBasedStateMachine):
    """One history of a few parties and jobs."""

    jobs: Bundle[Job] = Bundle("jobs")

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.snapshot = world.rpc("evm_snapshot")
        self.clock = world.now
        balances = {account: world.balance(account) for account in world.people}
        self.ledger = Ledger(dict(balances))
        self.model = Escrow(world.domain)
        self.model.balances = {(world.token, account): amount for account, amount in balances.items()}
        self.model.mint(world.token, world.domain.contract, world.held())
        self.closed: dict[bytes, tuple[JobState, Outcome]] = {}

    def teardown(self) -> None:
        self.world.rpc("evm_revert", self.snapshot)

    @rule(
        target=jobs,
        matcher=parties,
        bps=some.sampled_from([0, 1, 250, 10_000]),
        bond=amounts,
        window=some.sampled_from([0, 40]),
        opens=some.sampled_from([-50, 0, 30]),
        cap=some.sampled_from([0, 1, 9_999, 300 * ONE]),
    )
    def sign(self, matcher: str, bps: int, bond: int, window: int, opens: int, cap: int) -> Job:
        return self.world.job(
            matcher=getattr(self.world, matcher),
            matcher_fee_bps=bps,
            bond=Wei(bond),
            challenge_seconds=window,
            open_at=Timestamp(self.clock + opens),
            award_by=Timestamp(self.clock + 300),
            deliver_seconds=60,
            price_start=Wei(cap // 2),
            price_cap=Wei(cap),
        )

    @rule(job=jobs, verb=some.sampled_from(["post", "cancel"]), honest=some.booleans(), other=parties)
    def post_or_cancel(self, job: Job, verb: str, honest: bool, other: str) -> None:
        self.step(job.submitter if honest else getattr(self.world, other), verb, job)

    @rule(
        job=jobs,
        by=parties,
        bidder=some.sampled_from(["provider", "rival", "submitter"]),
        share=some.sampled_from([0, 1, 50, 100, 101]),
        placed=some.booleans(),
        life=some.sampled_from([1, 30, 121]),
    )
    def award(self, job: Job, by: str, bidder: str, share: int, placed: bool, life: int) -> None:
        world = self.world
        price = Wei(job.price_cap * share // 100)
        expires_at = Timestamp(self.clock + 1 + life)
        bid = world.bid(job, provider=getattr(world, bidder), price=price, expires_at=expires_at)
        if placed:
            self.step(bid.provider, "bid", bid)
        signature = b"" if placed else world.signed(bid)
        self.step(getattr(world, by), "award", job, world.signed(job), bid, signature)

    @rule(
        job=jobs,
        verb=some.sampled_from(["deliver", "approve", "settle", "reclaim"]),
        honest=some.integers(0, 3),
        other=parties,
        altered=some.integers(0, 7),
    )
    def act(self, job: Job, verb: str, honest: int, other: str, altered: int) -> None:
        key = self.world.key(job)
        terms = self.ledger.terms.get(key)
        if terms is None:
            return
        right = terms.provider if verb == "deliver" else terms.submitter
        if altered == 0:
            terms = replace(terms, price=Wei(terms.price + 1))
        sender = right if honest else getattr(self.world, other)
        self.step(sender, verb, self.world.id(job), terms, *([RESULT] if verb == "deliver" else []))

    @rule(seconds=some.sampled_from([1, 25, 40, 60, 200]))
    def wait(self, seconds: int) -> None:
        self.clock = Timestamp(self.clock + seconds)

    @rule(who=parties, amount=amounts, other=parties)
    def deposit(self, who: str, amount: int, other: str) -> None:
        world, sender = self.world, getattr(self.world, who)
        world.send(sender, "mint", sender, amount, to=world.dai, at=self.tick())
        world.send(sender, "approve", world.market.address, amount, to=world.dai, at=self.tick())
        self.model.mint(world.token, sender, amount)
        self.step(sender, "deposit", world.token, getattr(world, other), amount)

    @rule(who=parties, amount=amounts)
    def withdraw(self, who: str, amount: int) -> None:
        sender = getattr(self.world, who)
        self.step(sender, "withdraw", self.world.token, sender, amount)

    def tick(self) -> Timestamp:
        self.clock = Timestamp(self.clock + 1)
        return self.clock

    def step(self, sender: Address, verb: str, *args: Any) -> None:
        """The same call on the chain and in the model; then every law."""
        now = self.tick()
        after = copy(self.model)
        refused: errors.ContractError | None = None
        expected: list[str] = []
        try:
            expected = [type(event).__name__ for event in getattr(after, verb)(Call(sender, now), *args)]
        except errors.ContractError as error:
            refused = error
        if refused is not None:
            with reverts(type(refused).__name__, *refused.args):
                self.world.send(sender, verb, *args, at=now)
        else:
            sent = self.world.send(sender, verb, *args, at=now)
            assert [log.name for log in sent.logs] == expected
            self.model = after
            self.ledger.read(sent)
        self.check()

    def check(self) -> None:
        world = self.world
        balances = {account: world.balance(account) for account in world.people}
        burned = world.view("burned", world.token)
        assert balances == {
            account: self.model.balances.get((world.token, account), 0) for account in balances
        }
        assert balances == {account: self.ledger.balances.get(account, 0) for account in balances}
        assert burned == self.model.burned.get(world.token, 0) == self.ledger.burned
        assert self.model.locked(world.token) == self.ledger.locked
        assert world.held() == sum(balances.values()) + self.ledger.locked + burned
        for key, ending in self.ledger.endings.items():
            state, outcome = world.view("stateOf", key)
            record = self.model.jobs.get(JobId("0x" + key.hex()), UNKNOWN)
            assert (state, outcome) == ending == (record.state, record.outcome)
            if state == JobState.CLOSED:
                assert self.closed.setdefault(key, ending) == ending


def test_the_laws_hold_over_random_histories(world: World) -> None:
    class Here(History):
        def __init__(self) -> None:
            super().__init__(world)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=HISTORIES,
            stateful_step_count=STEPS,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
