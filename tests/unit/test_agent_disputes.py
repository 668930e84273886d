"""What the agent does about a dispute of its work: it keeps the result up, waits for the ruling, and ends a case whose arbiter is silent."""

from dataclasses import replace
from pathlib import Path

import pytest
from eth_account import Account

from deai.arbitration import arbiter_data
from deai.chain import JobDelivered
from deai.cid import Cid
from deai.errors import ContractError
from deai.job import Address, Job, JobId, JobState, Outcome, Terms, Wei
from deai.panel import Case, ResourceClass
from deai.testing import DAI
from deai_provider.ledger import Step
from deai_provider.policy import Arbitration
from deai_provider.workshop import terms_after
from tests.unit.provider_world import BOND, SUBMITTER, World

ARBITER = Account.from_key(b"\x09" * 32)
RULING_SECONDS, FEE = 3_600, Wei(20)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    arbiters = frozenset({Address(ARBITER.address)})
    world.rules = replace(world.rules, arbitration=Arbitration(arbiters=arbiters))
    return world


def submit(world: World, seats: int = 0) -> JobId:
    return world.submit(
        world.spec(verification="optimistic"),
        arbiter=Address(ARBITER.address),
        dispute_fee=FEE,
        arbiter_data=arbiter_data(0, seats),
        ruling_seconds=RULING_SECONDS,
        challenge_seconds=600,
    )


def terms_of(world: World, id_: JobId) -> Terms:
    terms = terms_after(world.chain.events(0, 1 << 40, id_))
    assert terms is not None
    return terms


def dispute(world: World, id_: JobId) -> None:
    world.reach(id_, Step.DELIVERED)
    world.chain.dispute(SUBMITTER, id_, terms_of(world, id_))


@pytest.mark.parametrize(
    ("share_bps", "reason", "earned"),
    [(10_000, "paid", 100), (0, "refunded", -BOND), (5_000, "split", 50 - BOND // 2)],
)
def test_a_disputed_job_is_done_when_its_arbiter_rules(
    world: World, share_bps: int, reason: str, earned: int
) -> None:
    with world.agent():
        id_ = submit(world)
        dispute(world, id_)
        entry = world.reach(id_, Step.DISPUTED)
        assert entry.terms == terms_of(world, id_)
        world.chain.rule(ARBITER, id_, terms_of(world, id_), share_bps)
        entry = world.reach(id_, Step.DONE)
    assert entry.reason == f"{reason} after a dispute"
    assert entry.earned == earned


def test_the_agent_ends_the_case_of_a_silent_arbiter(world: World) -> None:
    with world.agent():
        id_ = submit(world)
        dispute(world, id_)
        world.reach(id_, Step.DISPUTED)
        world.chain.advance(RULING_SECONDS)
        entry = world.reach(id_, Step.DONE)
    assert world.chain.state(id_) == (JobState.CLOSED, Outcome.SPLIT)
    assert entry.earned == 50


def test_no_case_is_ended_while_its_arbiter_may_rule(world: World) -> None:
    with world.agent():
        id_ = submit(world)
        dispute(world, id_)
        world.reach(id_, Step.DISPUTED)
        world.chain.advance(RULING_SECONDS - 60)
        with pytest.raises(AssertionError):
            world.reach(id_, Step.DONE, seconds=1)
    assert world.chain.state(id_)[0] is JobState.DISPUTED


def test_the_result_of_a_disputed_job_is_handed_to_the_market_again(world: World) -> None:
    shared: list[Cid] = []
    share = world.store.share

    def noting(root: Cid, *rest: object) -> bool:
        shared.append(root)
        return share(root)

    world.store.share = noting  # type: ignore[method-assign, assignment]
    with world.agent():
        id_ = submit(world)
        world.reach(id_, Step.DELIVERED)
        before = len(shared)
        dispute(world, id_)
        world.reach(id_, Step.DISPUTED)
        world.until(lambda: len(shared) > before)
    result = world.events(id_, JobDelivered)[-1].result
    assert {root.digest for root in shared} == {result}


def test_a_dispute_during_which_the_agent_was_away_is_found_at_the_next_start(world: World) -> None:
    with world.agent():
        id_ = submit(world)
        world.reach(id_, Step.DELIVERED)
    dispute(world, id_)
    world.chain.advance(RULING_SECONDS)
    with world.agent():
        entry = world.reach(id_, Step.DONE)
    assert entry.reason == "split after a dispute"
    assert [*world.steps(id_)][-2:] == [Step.DISPUTED, Step.DONE]


def test_a_disputed_job_that_the_ledger_lost_is_found_in_the_chain(world: World) -> None:
    with world.agent():
        id_ = submit(world)
        dispute(world, id_)
        world.reach(id_, Step.DISPUTED)
    for path in world.folder.glob("ledger.sqlite*"):
        path.unlink()
    with world.agent():
        world.reach(id_, Step.DISPUTED)
        world.chain.rule(ARBITER, id_, terms_of(world, id_), 10_000)
        assert world.reach(id_, Step.DONE).earned == 100


def test_a_reorg_that_undoes_the_dispute_leads_back_to_the_window(world: World) -> None:
    with world.agent():
        id_ = submit(world)
        dispute(world, id_)
        world.reach(id_, Step.DISPUTED)
        world.chain.reorg(1)
        world.reach(id_, Step.DELIVERED)
        world.chain.advance(600)
        assert world.reach(id_, Step.DONE).reason == "paid"


def test_a_job_whose_arbiter_nobody_named_is_declined(world: World) -> None:
    with world.agent():
        id_ = world.submit(arbiter=Address("0x" + "7" * 40), ruling_seconds=RULING_SECONDS)
        entry = world.reach(id_, Step.DECLINED)
    assert entry.reason == f"arbiter: 0x{'7' * 40} is not one this provider knows"


def test_a_job_of_an_epoch_that_its_submitter_cancelled_is_declined(world: World) -> None:
    world.chain.cancel_all(SUBMITTER, DAI.address)
    with world.agent():
        old, new = submit(world), world.submit(epoch=1)
        assert world.reach(old, Step.DECLINED).reason.startswith("epoch: 0")
        world.reach(new, Step.DELIVERED)


def test_a_case_that_nobody_opens_at_the_panel_is_opened_by_the_agent(world: World) -> None:
    opened: list[tuple[Job, Terms]] = []

    class QuietPanel:
        """A panel at the arbiter's address, with as much as the agent asks of it."""

        contract = Address(ARBITER.address)

        def unfit(self, job: Job) -> str:
            return ""

        def case(self, id_: JobId) -> Case | None:
            return None

        def open(self, _: object, job: Job, terms: Terms) -> None:
            opened.append((job, terms))
            raise ContractError("TooFewTickets")

    world.panel = QuietPanel()  # type: ignore[assignment]
    with world.agent():
        id_ = submit(world)
        dispute(world, id_)
        world.until(lambda: len(opened) > 1)
    assert opened[0][1] == terms_of(world, id_)
    assert isinstance(opened[0][0], Job)


def test_a_job_of_which_the_panel_would_take_no_case_is_declined(world: World) -> None:
    class PickyPanel:
        """A panel that takes no case."""

        contract = Address(ARBITER.address)

        def unfit(self, job: Job) -> str:
            return "bond"

    world.panel = PickyPanel()  # type: ignore[assignment]
    with world.agent():
        assert world.reach(submit(world), Step.DECLINED).reason.endswith("no case of this job: bond")


def test_a_job_whose_class_has_fewer_free_tickets_than_seats_is_declined(world: World) -> None:
    class BusyPanel:
        """A panel most of whose verifiers sit on cases."""

        contract = Address(ARBITER.address)
        free = 2

        def unfit(self, job: Job) -> str:
            return ""

        def resource_class(self, number: int) -> ResourceClass:
            return ResourceClass(tickets=9, free=self.free, slots=9, draws=0)

    busy = BusyPanel()
    world.panel = busy  # type: ignore[assignment]
    with world.agent():
        declined = world.reach(submit(world, seats=3), Step.DECLINED)
        assert declined.reason.endswith("no case of this job: 2 free tickets in class 0 for 3 seats")
        busy.free = 3
        world.reach(submit(world, seats=3), Step.DELIVERED)
