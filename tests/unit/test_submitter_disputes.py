"""The submitter over the model chain, where results may be disputed; jobs by the tree and on chain; and what it refuses to sign."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from deai import unixfs
from deai.arbitration import arbiter_data
from deai.chain import Receipt
from deai.deployment import Deployment
from deai.draft import Draft
from deai.errors import (
    BadField,
    ChainUnavailable,
    DeaiError,
    InsufficientBalance,
    MarketUnavailable,
    RuleByAhead,
    WrongEpoch,
    WrongState,
)
from deai.home import Home
from deai.job import (
    ZERO_ADDRESS,
    ZERO_DIGEST,
    Address,
    Bid,
    Job,
    JobId,
    JobState,
    Outcome,
    Terms,
    Timestamp,
    Wei,
)
from deai.panel import CasePace, ResourceClass, Rules
from deai.panel_errors import TooFewTickets, TooLate, WrongPhase
from deai.signing import sign_bid
from deai.submitter import Submitter
from deai.testing import DAI
from deai.verification import cheating_loses
from tests.unit.test_submitter import ALICE, BOB, MATCHER, ONE, World

JUDGE: LocalAccount = Account.from_key(b"\x05" * 32)
PANEL = Address(JUDGE.address)
OPENED = Receipt(tx="0x" + "0" * 64, block=1, gas_used=1, events=())
CASE_SECONDS, OPEN_SECONDS = 5_000, 600
RULES = Rules(
    stake_token=DAI.address,
    fee_token=DAI.address,
    seat_stake=Wei(10 * ONE),
    seat_fee=Wei(ONE // 100),
    rounds=3,
    pace=CasePace(
        draw_blocks=1,
        open_seconds=OPEN_SECONDS,
        draw_seconds=1,
        cure_seconds=1,
        vote_seconds=1,
        reveal_seconds=1,
        unstake_seconds=10**6,
    ),
)


@dataclass
class Views:
    """What a panel says before a job is signed, and one case, ruled by the key JUDGE."""

    contract: Address = PANEL
    rules: Rules = RULES
    tickets: int = 9
    lacking: str = ""
    failing: list[DeaiError] = field(default_factory=list)
    """What the next tries to open a case meet."""
    opened: tuple[Job, Terms] | None = None

    def unfit(self, job: Job) -> str:
        return self.lacking

    def case_seconds(self, deliver_seconds: int) -> int:
        return CASE_SECONDS

    def resource_class(self, number: int) -> ResourceClass:
        return ResourceClass(self.tickets, self.tickets, self.tickets, 0)

    def case(self, id_: JobId) -> object | None:
        return self.opened

    def open(self, signer: LocalAccount, job: Job, terms: Terms) -> Receipt:
        if self.failing:
            raise self.failing.pop(0)
        self.opened = (job, terms)
        return OPENED


class JudgedWorld(World):
    """The same world in a deployment with a panel."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.panel = Views()
        self.submitter = self.with_deployment(self.chain.deployment().model_copy(update={"panel": PANEL}))

    def with_deployment(self, deployment: Deployment) -> Submitter:
        panel: Any = self.panel
        home = Home(self.folder / "home")
        return Submitter(ALICE, deployment, self.chain, self.market, self.store, home, panel)

    def judged(self, **fields: Any) -> Draft:
        return self.submitter.draft(
            self.file(**{"verification": "optimistic", "payment_amount": "1", **fields})
        )

    def balances(self) -> tuple[int, int, int]:
        """Alice's, Bob's and the judge's, in the escrow."""
        alice, bob, judge = (
            self.chain.balance(DAI.address, Address(each.address)) for each in (ALICE, BOB, JUDGE)
        )
        return alice, bob, judge

    def award(self, job: JobId, price: int = 0, signature: bytes | None = None) -> None:
        order = self.submitter.home.order(job)
        bid = Bid(
            job=job,
            provider=Address(BOB.address),
            price=Wei(price),
            expires_at=Timestamp(self.chain.head().time + 100),
        )
        signed = sign_bid(BOB, bid, self.chain.deployment().domain)
        given = order.signature if signature is None else signature
        self.chain.award(MATCHER, order.job.value(), given, bid, signed)


@pytest.fixture
def world(tmp_path: Path) -> JudgedWorld:
    return JudgedWorld(tmp_path)


def delivered(world: JudgedWorld, **fields: Any) -> JobId:
    job = world.submitter.submit(world.judged(**fields))
    world.deliver(job, BOB, b"wrong")
    return job


# Disputes.


def test_an_optimistic_draft_names_the_panel_and_stakes_at_which_cheating_loses(world: JudgedWorld) -> None:
    draft = world.judged(seats=5, resource_class=2)

    job, found = draft.job, draft.arbitration
    assert found is not None
    assert (job.arbiter, job.arbiter_data) == (PANEL, arbiter_data(2, 5))
    assert (job.bond, job.dispute_fee) == (found.bond, found.dispute_fee)
    assert job.bond >= 2 * job.dispute_fee >= 10 * RULES.seat_fee
    assert cheating_loses(found.stakes, found.odds)
    assert job.ruling_seconds >= CASE_SECONDS + OPEN_SECONDS
    assert draft.spec.verification == "optimistic"


def test_without_verification_nobody_judges(world: JudgedWorld) -> None:
    draft = world.submitter.draft(world.file())

    assert (draft.job.arbiter, draft.job.arbiter_data, draft.job.ruling_seconds) == (
        ZERO_ADDRESS,
        ZERO_DIGEST,
        0,
    )
    assert draft.arbitration is None
    assert draft.spec.verification == "none"


def test_a_dispute_that_is_won_brings_back_price_and_fee(world: JudgedWorld) -> None:
    job = delivered(world)
    terms = world.submitter.terms(job)
    alice, bob, _ = world.balances()

    world.submitter.dispute(job)
    assert world.submitter.progress(job).name == "Disputed"
    assert world.balances()[0] == alice - terms.dispute_fee
    world.chain.rule(JUDGE, job, world.submitter.terms(job), 0)

    assert world.submitter.progress(job).name == "Refunded"
    assert world.balances() == (alice + terms.price, bob, terms.dispute_fee)
    assert world.chain.burned(DAI.address) == terms.bond - terms.dispute_fee


def test_a_dispute_opens_its_case_with_the_job_that_was_signed(world: JudgedWorld) -> None:
    """Nobody else may know that job: an award that a cheater sends through another contract does not show it."""
    job = delivered(world)

    world.submitter.dispute(job)

    assert world.panel.opened == (world.submitter.home.order(job).job.value(), world.submitter.terms(job))


def test_a_case_that_could_not_be_opened_is_opened_by_the_next_call_and_the_fee_is_paid_once(
    world: JudgedWorld,
) -> None:
    job = delivered(world)
    alice = world.balances()[0]
    world.panel.failing = [TooFewTickets(0, 1, 3)]
    with pytest.raises(TooFewTickets) as raised:
        world.submitter.dispute(job, timeout=0)
    assert any(f"`deai dispute {job}` opens it" in note for note in raised.value.__notes__)
    assert world.submitter.progress(job).name == "Disputed"

    assert world.submitter.dispute(job) == OPENED

    assert world.panel.opened is not None
    assert world.balances()[0] == alice - world.submitter.terms(job).dispute_fee
    with pytest.raises(WrongState):
        world.submitter.dispute(job)


def test_a_node_that_is_away_for_a_moment_does_not_leave_the_case_unopened(world: JudgedWorld) -> None:
    job = delivered(world)
    world.panel.failing = [ChainUnavailable("gone")]

    world.submitter.dispute(job)

    assert world.panel.opened is not None


def test_a_case_that_a_verifier_opened_first_is_fine_and_one_that_came_too_late_is_told_at_once(
    world: JudgedWorld,
) -> None:
    job = delivered(world)
    world.panel.failing = [TooLate(job, 1)]
    with pytest.raises(TooLate):
        world.submitter.dispute(job)

    class Faster(Views):
        """Somebody opens the case between the look and the call."""

        def open(self, signer: LocalAccount, job: Job, terms: Terms) -> Receipt:
            super().open(signer, job, terms)
            raise WrongPhase(job, 1)

    other = JudgedWorld(world.folder / "other")
    other.panel = Faster()
    other.submitter = other.with_deployment(other.submitter.deployment)
    job = delivered(other)
    other.submitter.dispute(job)
    assert other.submitter.progress(job).name == "Disputed"


def test_a_dispute_that_is_lost_costs_the_fee(world: JudgedWorld) -> None:
    job = delivered(world)
    terms = world.submitter.terms(job)
    alice, bob, _ = world.balances()

    world.submitter.dispute(job)
    world.chain.rule(JUDGE, job, world.submitter.terms(job), 10_000)

    assert world.balances() == (alice - terms.dispute_fee, bob + terms.price + terms.bond, terms.dispute_fee)


def test_a_silent_panels_case_lapses_when_its_time_is_over(world: JudgedWorld) -> None:
    job = delivered(world)
    world.submitter.dispute(job)
    with pytest.raises(RuleByAhead):
        world.submitter.lapse(job)
    world.chain.advance(world.submitter.terms(job).rule_by - world.chain.head().time)

    world.submitter.lapse(job)

    assert world.chain.state(job) == (JobState.CLOSED, Outcome.SPLIT)


def test_a_job_that_nobody_judges_cannot_be_disputed(world: JudgedWorld) -> None:
    job = world.submitter.submit(world.submitter.draft(world.file()))
    world.deliver(job, BOB, b"wrong")

    with pytest.raises(BadField, match="has no arbiter"):
        world.submitter.dispute(job)


def test_who_cannot_prepay_the_fee_disputes_nothing(world: JudgedWorld) -> None:
    job = delivered(world)
    world.chain.withdraw(ALICE, DAI.address, Address(ALICE.address), Wei(world.balances()[0]))

    with pytest.raises(InsufficientBalance):
        world.submitter.dispute(job)

    assert world.submitter.progress(job).name == "Delivered"


# What is refused before anything is signed.


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"window": "0"}, "window"),
        ({"ruling": "1h"}, "ruling"),
        ({"seats": 2}, "seats"),
        ({"seats": 11}, "seats"),
        ({"check_rate": "0"}, "check_rate"),
        ({"check_rate": "1.5"}, "check_rate"),
        ({"check_rate": "often"}, "check_rate"),
        ({"bond": "0"}, "bond"),
        ({"dispute_fee": "0"}, "dispute_fee"),
        ({"outside_gain": "-1"}, "outside_gain"),
        ({"verification": "none", "seats": 3}, "seats"),
        ({"verification": "none", "dispute_fee": "1"}, "dispute_fee"),
        ({"verification": "hope"}, "job.verification"),
    ],
    ids=str,
)
def test_a_wrong_word_about_disputes_is_named(world: JudgedWorld, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(BadField) as raised:
        world.judged(**fields)
    assert raised.value.field == field


def test_a_panel_that_is_paid_in_another_token_is_refused(world: JudgedWorld) -> None:
    world.panel.rules = replace(RULES, fee_token=ZERO_ADDRESS)
    with pytest.raises(BadField, match="is not what the panel is paid in"):
        world.judged()


def test_a_deployment_without_a_panel_has_no_optimistic_jobs(tmp_path: Path) -> None:
    other = World(tmp_path / "other")
    with pytest.raises(BadField, match="names no panel"):
        other.submitter.draft(other.file(verification="optimistic"))


def test_a_job_that_the_panel_would_not_take_is_not_signed(world: JudgedWorld) -> None:
    world.panel.lacking = "deliverSeconds"
    with pytest.raises(BadField, match="deliver_seconds"):
        world.judged()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"arbiter": Address(BOB.address)}, "arbiter"),
        ({"token": Address(BOB.address)}, "payment_token"),
        ({"ruling_seconds": CASE_SECONDS}, "ruling"),
        ({"challenge_seconds": 59}, "window"),
    ],
    ids=str,
)
def test_what_others_put_into_a_draft_is_not_signed(
    world: JudgedWorld, changes: dict[str, Any], field: str
) -> None:
    """An unknown arbiter could take the fee and hand the price back at will; too short a ruling costs half the price."""
    draft = world.judged()
    made_up = replace(draft, job=replace(draft.job, **changes))

    for act in (world.submitter.submit, world.submitter.post):
        with pytest.raises(BadField) as raised:
            act(made_up)
        assert raised.value.field == field

    assert world.submitter.home.orders() == []


# Many jobs by one signature.


def test_many_jobs_by_one_signature_are_awarded_one_by_one(world: JudgedWorld) -> None:
    drafts = [world.submitter.draft(world.file(name=f"job {number}")) for number in range(3)]

    jobs = world.submitter.submit_many(drafts)

    assert len({order.signature[:64] for order in world.market.orders}) == 1
    for job in reversed(jobs):
        world.award(job)
        assert world.submitter.progress(job).name == "Awarded"


def test_when_the_market_takes_no_more_the_rest_is_named(world: JudgedWorld) -> None:
    drafts = [world.submitter.draft(world.file(name=f"job {number}")) for number in range(3)]
    world.market.mute = True

    with pytest.raises(MarketUnavailable) as raised:
        world.submitter.submit_many(drafts)

    kept = world.submitter.home.orders()
    assert len(kept) == 3
    assert all(any(job in note for note in raised.value.__notes__) for job in kept)
    world.market.mute = False
    for job in kept:
        world.submitter.resubmit(job)
        world.award(job)


def test_cancel_all_ends_what_was_signed_and_what_was_posted_and_spares_the_next(world: JudgedWorld) -> None:
    signed = world.submitter.submit(world.submitter.draft(world.file()))
    posted = world.submitter.post(world.submitter.draft(world.file()))

    world.submitter.cancel_all(DAI.address)

    for job in (signed, posted):
        with pytest.raises(WrongEpoch):
            world.award(job)
    later = world.submitter.submit(world.submitter.draft(world.file()))
    world.award(later)
    assert world.submitter.progress(later).name == "Awarded"


# On chain.


def test_a_posted_job_is_open_and_no_market_has_its_order(world: JudgedWorld) -> None:
    job = world.submitter.post(world.submitter.draft(world.file()))

    assert world.submitter.progress(job).name == "Open"
    assert world.market.orders == []
    assert world.submitter.home.order(job).signature == b""
    world.award(job)
    with pytest.raises(WrongState):
        world.submitter.cancel(job)


def test_a_post_that_is_refused_leaves_no_copy(world: JudgedWorld) -> None:
    draft = world.submitter.draft(world.file())
    world.submitter.cancel_all(DAI.address)

    with pytest.raises(WrongEpoch):
        world.submitter.post(draft)

    assert world.submitter.home.orders() == []


def test_a_post_whose_answer_was_lost_is_kept_and_named(world: JudgedWorld) -> None:
    draft = world.submitter.draft(world.file())
    world.chain.fail_next(ChainUnavailable("gone"), applied=True)

    with pytest.raises(ChainUnavailable) as raised:
        world.submitter.post(draft)

    (job,) = world.submitter.home.orders()
    assert any(f"deai status {job}" in note for note in raised.value.__notes__)
    assert world.submitter.progress(job).name == "Open"


def test_a_callback_needs_a_signed_order(world: JudgedWorld) -> None:
    with pytest.raises(BadField, match="callback_url"):
        world.submitter.post(world.submitter.draft(world.file(callback_url="https://example.org")))


def test_an_approval_given_before_lets_the_provider_deliver_and_be_paid_at_once(world: JudgedWorld) -> None:
    job = world.submitter.submit(world.submitter.draft(world.file()))
    world.award(job)
    cid = unixfs.add(_folder(world.folder / "out"), world.store)
    approval = world.submitter.sign_approval(job, cid)

    world.chain.deliver_and_close(BOB, job, world.submitter.terms(job), cid.digest, approval)

    assert world.submitter.progress(job).name == "Paid"


def _folder(path: Path) -> Path:
    path.mkdir()
    (path / "out.txt").write_text("good")
    return path
