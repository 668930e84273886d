"""What an agent that starts makes of what it finds."""

from collections.abc import Collection, Mapping
from dataclasses import replace

import pytest

from deai.chain import JobAwarded
from deai.job import Address, JobId, JobState, Terms, Timestamp, Wei
from deai_provider.executor import EngineLife, RunState, RunStatus
from deai_provider.ledger import BUSY, Step
from deai_provider.reconcile import Findings, Plan, cut_short, job_of, latest, plan, strays

US, RIVAL, OTHER = (Address("0x" + digit * 40) for digit in "123")
JOBS = [JobId("0x" + digit * 64) for digit in "abcd"]
NOTHING = Plan(restore=(), clear=(), remove=())
NOW = Timestamp(5_000)


def award(id_: JobId, provider: Address = US, block: int = 7) -> JobAwarded:
    terms = Terms(
        submitter=OTHER,
        provider=provider,
        token=OTHER,
        matcher=RIVAL,
        price=Wei(9),
        bond=Wei(5),
        fee=Wei(1),
        arbiter=OTHER,
        dispute_fee=Wei(2),
        deliver_by=Timestamp(NOW + 60),
        challenge_seconds=60,
        ruling_seconds=0,
    )
    spec, data = b"s" * 32, b"d" * 32
    return JobAwarded(
        id=id_, terms=terms, spec=spec, arbiter_data=data, block=block, block_hash="0xaa", tx="0xbb", index=0
    )


def found(
    steps: Mapping[JobId, Step] | None = None,
    engine: Collection[JobId] = (),
    folders: Collection[JobId] = (),
    awards: Collection[JobAwarded] = (),
    state: JobState = JobState.AWARDED,
) -> Findings:
    states = {each.id: state for each in awards}
    return Findings(steps=steps or {}, engine=engine, folders=folders, awards=awards, states=states, now=NOW)


def test_nothing_there_means_nothing_to_do() -> None:
    assert plan(found()) == NOTHING


@pytest.mark.parametrize("step", sorted(BUSY))
def test_what_belongs_to_a_job_under_way_stays(step: Step) -> None:
    assert plan(found({JOBS[0]: step}, engine=JOBS[:1], folders=JOBS[:1], awards=[award(JOBS[0])])) == NOTHING


@pytest.mark.parametrize("step", sorted(set(Step) - BUSY))
def test_what_a_job_that_is_over_left_behind_is_cleared(step: Step) -> None:
    assert plan(found({JOBS[0]: step}, engine=JOBS[:1])).clear == (JOBS[0],)
    assert plan(found({JOBS[0]: step}, folders=JOBS[:1])).clear == (JOBS[0],)


def test_what_was_never_promised_is_removed() -> None:
    assert plan(found(engine=JOBS[:1], folders=JOBS[1:2])) == replace(NOTHING, remove=tuple(JOBS[:2]))


@pytest.mark.parametrize("state", [JobState.AWARDED, JobState.DELIVERED, JobState.DISPUTED])
def test_an_award_that_the_ledger_lost_is_carried_on_with_the_container_it_has(state: JobState) -> None:
    ours = award(JOBS[0])
    assert plan(found(engine=JOBS[:1], awards=[ours], state=state)) == replace(NOTHING, restore=(ours,))


@pytest.mark.parametrize("step", [Step.LOST, Step.DECLINED])
def test_an_award_of_a_job_that_was_given_up_is_carried_on(step: Step) -> None:
    assert plan(found({JOBS[0]: step}, awards=[award(JOBS[0])])).restore == (award(JOBS[0]),)


@pytest.mark.parametrize("step", [Step.DONE, Step.FAILED, Step.DELIVERED, Step.DISPUTED])
def test_a_promise_that_ended_is_not_taken_up_again(step: Step) -> None:
    assert plan(found({JOBS[0]: step}, awards=[award(JOBS[0])])) == NOTHING


@pytest.mark.parametrize("state", [JobState.UNKNOWN, JobState.OPEN, JobState.CLOSED])
def test_an_award_that_a_reorg_undid_or_that_is_paid_is_left_alone(state: JobState) -> None:
    assert plan(found(awards=[award(JOBS[0])], state=state)) == NOTHING


def test_an_award_whose_deadline_has_come_is_left_alone() -> None:
    late = award(JOBS[0])
    late = replace(late, terms=replace(late.terms, deliver_by=NOW))
    assert plan(found(awards=[late])) == NOTHING
    assert plan(found(awards=[late], state=JobState.DELIVERED)).restore == (late,)


def test_of_several_awards_of_a_job_the_newest_counts() -> None:
    moved, back = award(JOBS[0], RIVAL, block=8), award(JOBS[0], US, block=9)
    assert latest([award(JOBS[0]), moved], US) == ()
    assert latest([award(JOBS[0]), moved, back, award(JOBS[1])], US) == (back, award(JOBS[1]))


def test_strays_are_containers_of_jobs_that_are_not_under_an_award() -> None:
    steps = {JOBS[0]: Step.RUNNING, JOBS[1]: Step.DELIVERED, JOBS[2]: Step.BIDDING}
    assert strays(steps, JOBS) == tuple(JOBS[1:])


def test_the_job_of_an_award_says_what_the_award_fixed() -> None:
    fixed = award(JOBS[0])
    job, terms = job_of(fixed), fixed.terms
    assert (job.spec, job.arbiter_data) == (fixed.spec, fixed.arbiter_data)
    assert (job.bond, job.token, job.submitter) == (terms.bond, terms.token, terms.submitter)
    assert (job.arbiter, job.dispute_fee, job.price_cap) == (terms.arbiter, terms.dispute_fee, terms.price)


BEFORE, AFTER = EngineLife("1", 1_000.0), EngineLife("2", 2_000.0)


def ended(exit_code: int, at: float = 1_500.0, *, oom_killed: bool = False) -> RunStatus:
    return RunStatus(
        state=RunState.EXITED,
        exit_code=exit_code,
        started_at=1_100.0,
        finished_at=at,
        oom_killed=oom_killed,
    )


@pytest.mark.parametrize("exit_code", [0, 1, 137, 143, 255])
def test_an_end_in_the_life_of_the_engine_that_began_it_is_the_jobs_own(exit_code: int) -> None:
    assert not cut_short(ended(exit_code), BEFORE.id, BEFORE)
    assert not cut_short(ended(exit_code), None, AFTER)


@pytest.mark.parametrize("exit_code", [137, 143, 255])
def test_an_end_by_a_signal_in_an_earlier_life_of_the_engine_is_not(exit_code: int) -> None:
    assert cut_short(ended(exit_code), BEFORE.id, AFTER)


@pytest.mark.parametrize("exit_code", [0, 1, 127])
def test_a_job_that_exited_by_itself_long_before_the_engine_restarted_is_over(exit_code: int) -> None:
    assert not cut_short(ended(exit_code), BEFORE.id, AFTER)


def test_an_exit_while_the_engine_went_down_is_its_doing_whatever_the_code() -> None:
    assert cut_short(ended(0, at=1_990.0), BEFORE.id, AFTER)
    assert cut_short(ended(0, at=2_003.0), BEFORE.id, AFTER)


@pytest.mark.parametrize("exit_code", [0, 1, 137])
def test_an_end_long_after_the_engine_restarted_is_that_of_a_run_that_it_carried_on(exit_code: int) -> None:
    assert not cut_short(ended(exit_code, at=AFTER.since + 3_600), BEFORE.id, AFTER)


@pytest.mark.parametrize("exit_code", [137, 255])
def test_an_end_by_a_signal_is_the_engines_where_it_is_not_known_since_when_it_lives(exit_code: int) -> None:
    assert cut_short(ended(exit_code), BEFORE.id, EngineLife("2", 0.0))


def test_a_run_out_of_memory_is_the_jobs_own_end_whatever_happened_to_the_engine() -> None:
    assert not cut_short(ended(137, oom_killed=True), BEFORE.id, AFTER)
