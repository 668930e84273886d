"""The verifier on a real chain and panel, with scripted containers: its seats, its votes, and what it survives."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from deai.anvil import local_account
from deai.chain import Chain
from deai.errors import ChainUnavailable
from deai.home import Home
from deai.job import Address, JobId, JobState, Outcome
from deai.local_store import LocalStore
from deai.panel import Committed, Declined, Panel, Phase, Revealed, SeatDrawn, SeatSlashed, Verdict
from deai.submitter import Submitter
from deai.wire import JobJson, Order
from deai_provider.executor import Run
from deai_provider.rerun import run_id
from deai_provider.testing import Script
from deai_provider.workshop import REORG_BLOCKS
from tests.adapters.panel_fixtures import FEE, PACE, PROVIDER, QUICK, SUBMITTER, PanelWorld

VERBS = frozenset({"open", "draw", "commit", "reveal", "advance", "collect"})
A, B, C, D = (local_account(index) for index in range(4, 8))


@contextmanager
def verifiers(world: PanelWorld, *accounts: Any, **fields: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for account in accounts:
            stack.enter_context(world.verifier(account, **fields))
        yield


def told(world: PanelWorld, id_: JobId, kind: type[Any]) -> list[Any]:
    return [each for each in world.panel.events(0, 1 << 40, id_) if isinstance(each, kind)]


def outcome(world: PanelWorld, id_: JobId) -> Outcome:
    return world.chain.state(id_)[1]


def spend_the_time_to_look(world: PanelWorld, id_: JobId) -> None:
    """Lets all look twice while votes are taken, and nobody votes; then only the time of a re-run is left to vote."""

    def votes_are_taken() -> bool:
        case = world.panel.case(id_)
        return case is not None and case.phase is Phase.VOTING and world.chain.head().time >= case.vote_from

    world.until(votes_are_taken)
    before = {account: store.misses for account, store in world.looks.items()}
    world.until(lambda: all(world.looks[account].misses >= known + 2 for account, known in before.items()))
    assert told(world, id_, Committed) == []
    world.node.advance(PACE.vote_seconds - 15)


def test_three_verifiers_open_draw_vote_rule_and_are_paid(panel_world: PanelWorld) -> None:
    number = panel_world.new_class(A, B, C)
    before = panel_world.chain.token_balance(panel_world.token, Address(A.address))
    with verifiers(panel_world, A, B, C):
        id_ = panel_world.disputed(panel_world.job(number), panel_world.result(b"42"), in_a_batch=True)
        assert panel_world.closed(id_).verdict is Verdict.GOOD
        panel_world.until(lambda: panel_world.panel.earned(Address(A.address)) == 0)
    assert outcome(panel_world, id_) is Outcome.PAID
    assert panel_world.chain.token_balance(panel_world.token, Address(A.address)) - before == FEE // 3


class Watched:
    """The chain, and how often its reader was told that a job is closed; many blocks come just before it is told so first."""

    def __init__(self, world: PanelWorld) -> None:
        self._world = world
        self.closed = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.chain, name)

    def state(self, id_: JobId) -> tuple[JobState, Outcome]:
        found = self._world.chain.state(id_)
        if found[0] is JobState.CLOSED:
            if self.closed == 0:
                self._world.node.call("anvil_mine", hex(2 * REORG_BLOCKS))
            self.closed += 1
        return found


def test_a_made_up_result_is_found_out_and_nothing_of_the_case_stays(panel_world: PanelWorld) -> None:
    number = panel_world.new_class(A, B, C)
    watched = Watched(panel_world)
    with verifiers(panel_world, B, C), panel_world.verifier(A, chain=cast("Chain", watched)):
        id_ = panel_world.disputed(panel_world.job(number), panel_world.result(b"41"))
        assert panel_world.closed(id_).verdict is Verdict.BAD
        # Blocks count from the moment on at which A saw that it is over.
        panel_world.until(lambda: watched.closed > 2)
        vote = panel_world.folder / A.address / "votes" / f"{id_}.json"
        assert vote.exists(), "a reorg may still bring the case back"
        panel_world.node.call("anvil_mine", hex(2 * REORG_BLOCKS))
        panel_world.until(lambda: not vote.exists())
    assert outcome(panel_world, id_) is Outcome.REFUNDED
    assert not (panel_world.folder / A.address / "jobs" / run_id(id_, Address(A.address))).exists()


def test_a_result_that_nobody_has_is_found_missing_and_missing_inputs_are_the_submitters_fault(
    panel_world: PanelWorld, tmp_path: Path
) -> None:
    number = panel_world.new_class(A, B, C)
    with verifiers(panel_world, A, B, C, poll_seconds=QUICK):
        withheld = panel_world.disputed(
            panel_world.job(number), panel_world.result(b"withheld", LocalStore(tmp_path / "elsewhere"))
        )
        spend_the_time_to_look(panel_world, withheld)
        assert panel_world.closed(withheld).verdict is Verdict.OUTPUT_MISSING
        trap = replace(panel_world.job(number), spec=b"\7" * 32)
        lacking = panel_world.disputed(trap, panel_world.result(b"42"))
        spend_the_time_to_look(panel_world, lacking)
        assert panel_world.closed(lacking).verdict is Verdict.INPUTS_MISSING
    assert (outcome(panel_world, withheld), outcome(panel_world, lacking)) == (Outcome.REFUNDED, Outcome.PAID)


def test_a_cheater_that_hides_its_award_is_judged_all_the_same(
    panel_world: PanelWorld, tmp_path: Path
) -> None:
    """The award goes through another contract, so no verifier learns the signed job: the submitter, who has it, opens the case."""
    world, chain = panel_world, panel_world.chain
    job = world.job(world.new_class(A, B, C))
    id_, award = world.award_call(job)
    home = Home(tmp_path)
    home.save_order(id_, Order(job=JobJson.of(job), signature=b"", spec="{}"))
    submitter = Submitter(
        SUBMITTER, world.deployment, chain, cast("Any", None), cast("Any", None), home, world.panel
    )
    with verifiers(world, A, B, C):
        world.send(world.forwarder(), "0xff" + award[2:])
        assert world.panel.job(world.award(id_)) is None
        chain.deliver(PROVIDER, id_, world.terms(id_), world.result(b"41"))

        submitter.dispute(id_)

        assert world.closed(id_).verdict is Verdict.BAD
    assert outcome(world, id_) is Outcome.REFUNDED


def test_runs_that_differ_each_time_end_in_pay_for_the_provider(panel_world: PanelWorld) -> None:
    number = panel_world.new_class(A, B, C)
    runs = iter(range(100))

    def chance(_: Run) -> Script:
        return Script(outputs={"answer": str(next(runs)).encode()})

    usual, panel_world.script = panel_world.script, chance
    try:
        with verifiers(panel_world, A, B, C):
            id_ = panel_world.disputed(panel_world.job(number), panel_world.result(b"42"))
            assert panel_world.closed(id_).verdict is Verdict.DISAGREED
    finally:
        panel_world.script = usual
    assert outcome(panel_world, id_) is Outcome.PAID
    assert told(panel_world, id_, SeatSlashed) == []


def test_a_machine_that_is_too_small_gives_its_seat_back_and_another_is_drawn(
    panel_world: PanelWorld,
) -> None:
    number = panel_world.new_class(A, B, D)
    with verifiers(panel_world, A, B, C), panel_world.verifier(D, cpu_millis=500):
        id_ = panel_world.disputed(panel_world.job(number), panel_world.result(b"42"))
        panel_world.until(lambda: len(told(panel_world, id_, SeatDrawn)) == 3)
        panel_world.stake(C, number)
        panel_world.until(lambda: len(told(panel_world, id_, Committed)) == 2)
        case = panel_world.panel.case(id_)
        assert case is not None
        assert (case.open, case.empty) == (0, 1)
        panel_world.node.advance(case.deadline - panel_world.chain.head().time)
        assert panel_world.closed(id_).verdict is Verdict.GOOD
    (declined,) = told(panel_world, id_, Declined)
    assert declined.account == D.address
    assert {each.account for each in told(panel_world, id_, Revealed)} == {A.address, B.address, C.address}
    assert told(panel_world, id_, SeatSlashed) == []


def test_a_job_longer_than_the_time_left_is_given_back(panel_world: PanelWorld) -> None:
    number = panel_world.new_class(A, B, C)
    spec = panel_world.spec(max_seconds=86_400)
    with verifiers(panel_world, A, B, C):
        id_ = panel_world.disputed(panel_world.job(number, spec), panel_world.result(b"42"))
        panel_world.until(lambda: len(told(panel_world, id_, Declined)) == 3)
    assert told(panel_world, id_, Committed) == []


class Faulty:
    """The panel, each of whose verbs fails the first time: before it was sent, or after it was mined."""

    def __init__(
        self,
        world: PanelWorld,
        *,
        applied: bool,
        failing: frozenset[str] = VERBS,
        forever: bool = False,
    ) -> None:
        self._panel, self._applied, self._failing, self._forever = world.panel, applied, failing, forever
        self.failed = set[str]()

    def __getattr__(self, name: str) -> Any:
        act = getattr(self._panel, name)
        if name not in (self._failing if self._forever else self._failing - self.failed):
            return act

        def fails(*values: Any) -> Any:
            self.failed.add(name)
            if self._applied:
                act(*values)
            raise ChainUnavailable("the node went away")

        return fails


@pytest.mark.parametrize("applied", [False, True], ids=["lost", "mined unseen"])
def test_verbs_whose_outcome_is_not_known_are_said_again_harmlessly(
    panel_world: PanelWorld, applied: bool
) -> None:
    number = panel_world.new_class(A, B, C)
    faulty = [Faulty(panel_world, applied=applied) for _ in range(3)]
    with ExitStack() as stack:
        for account, panel in zip((A, B, C), faulty, strict=True):
            stack.enter_context(panel_world.verifier(account, panel=cast("Panel", panel), poll_seconds=QUICK))
        id_ = panel_world.disputed(panel_world.job(number), panel_world.result(b"42"))
        assert panel_world.closed(id_).verdict is Verdict.GOOD
        addresses = [Address(account.address) for account in (A, B, C)]
        panel_world.until(lambda: not any(panel_world.panel.earned(address) for address in addresses))
    assert set().union(*(each.failed for each in faulty)) == VERBS
    assert all({"commit", "reveal", "collect"} <= each.failed for each in faulty)
    assert len(told(panel_world, id_, Committed)) == 3
    assert told(panel_world, id_, SeatSlashed) == []


def test_a_verifier_that_died_before_its_vote_was_sealed_seals_the_one_it_wrote_down(
    panel_world: PanelWorld,
) -> None:
    number = panel_world.new_class(A, B, C)
    votes = panel_world.folder / A.address / "votes"

    dead = cast("Panel", Faulty(panel_world, applied=False, failing=frozenset({"commit"}), forever=True))
    with verifiers(panel_world, B, C):
        with panel_world.verifier(A, panel=dead) as engine:
            id_ = panel_world.disputed(panel_world.job(number), panel_world.result(b"42"))
            panel_world.until(lambda: len(told(panel_world, id_, Committed)) == 2)
            panel_world.until((votes / f"{id_}.json").exists)
        starts = [call for call in engine.calls if call[0] == "start"]
        with panel_world.verifier(A, executor=engine):
            assert panel_world.closed(id_).verdict is Verdict.GOOD
    assert [call for call in engine.calls if call[0] == "start"] == starts
    assert told(panel_world, id_, SeatSlashed) == []


def test_a_stranger_without_a_seat_moves_the_case_on_and_votes_on_nothing(panel_world: PanelWorld) -> None:
    number = panel_world.new_class(A, B, C)
    with panel_world.verifier(D) as engine:
        id_ = panel_world.disputed(panel_world.job(number), panel_world.result(b"42"))
        panel_world.until(lambda: len(told(panel_world, id_, SeatDrawn)) == 3)
    assert [call for call in engine.calls if call[0] == "start"] == []


def test_disputes_before_the_verifier_started_are_found(panel_world: PanelWorld) -> None:
    number = panel_world.new_class(A, B, C)
    id_ = panel_world.disputed(panel_world.job(number), panel_world.result(b"42"))
    with verifiers(panel_world, A, B, C):
        assert panel_world.closed(id_).verdict is Verdict.GOOD


class Lagging:
    """The chain through nodes of which one lags behind: of each dispute, one answer after A's vote was sealed is an old one."""

    def __init__(self, world: PanelWorld) -> None:
        self._world = world
        self.lagged = set[JobId]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.chain, name)

    def state(self, id_: JobId) -> tuple[JobState, Outcome]:
        if id_ not in self.lagged and A.address in {
            each.account for each in told(self._world, id_, Committed)
        }:
            self.lagged.add(id_)
            return JobState.DELIVERED, Outcome.NONE
        return self._world.chain.state(id_)


def test_an_old_answer_of_a_node_costs_no_sealed_vote(panel_world: PanelWorld) -> None:
    number = panel_world.new_class(A, B, C)
    lagging = Lagging(panel_world)
    with verifiers(panel_world, B, C), panel_world.verifier(A, chain=cast("Chain", lagging)):
        id_ = panel_world.disputed(panel_world.job(number), panel_world.result(b"42"))
        panel_world.until(lambda: len(told(panel_world, id_, Revealed)) == 3)
        assert panel_world.closed(id_).verdict is Verdict.GOOD
    assert id_ in lagging.lagged
    assert told(panel_world, id_, SeatSlashed) == []


def test_a_verifier_that_was_away_for_long_seals_the_vote_that_it_wrote_down(panel_world: PanelWorld) -> None:
    number = panel_world.new_class(A, B, C)
    votes = [panel_world.folder / account.address / "votes" for account in (A, B, C)]
    silent = [
        cast("Panel", Faulty(panel_world, applied=False, failing=frozenset({"commit"}), forever=True))
        for _ in votes
    ]
    with ExitStack() as stack:
        for account, panel in zip((A, B, C), silent, strict=True):
            stack.enter_context(panel_world.verifier(account, panel=panel))
        id_ = panel_world.disputed(panel_world.job(number), panel_world.result(b"42"))
        panel_world.until(lambda: all((folder / f"{id_}.json").exists() for folder in votes))
    panel_world.node.call("anvil_mine", hex(2 * REORG_BLOCKS), hex(0))
    with verifiers(panel_world, A, B, C, look_back_blocks=5):
        assert panel_world.closed(id_).verdict is Verdict.GOOD
    assert told(panel_world, id_, SeatSlashed) == []
