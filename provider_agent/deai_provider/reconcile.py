"""What an agent that starts finds, and what follows from it: the ledger, the engine's containers, the folders on disk, and the chain. Pure.

The ledger says what was promised, and the chain says what is owed: a promise of which only the chain knows, because the ledger was lost or
is an old copy, is owed all the same.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from deai.chain import JobAwarded
from deai.job import ZERO_DIGEST, Address, Job, JobId, JobState, Timestamp
from deai_provider.executor import EngineLife, RunStatus
from deai_provider.ledger import BUSY, UNDER_AWARD, Step

MAX_RUNS = 4
"""A run that its engine cut short is begun anew, until it was cut short this often. A start that failed does not count."""

UNPROMISED = (Step.LOST, Step.DECLINED)
"""What the ledger says of jobs that were given up, though an award may have come after all."""
_SIGNALLED = 128
"""Exit codes from here on are those of processes that a signal ended."""
_STOP_SECONDS = 20.0
"""An engine that is asked to end stops its containers first, and takes this long at most."""
_RESTORE_SECONDS = 60.0
"""An engine that starts ends what it does not carry on, and takes this long at most. What ran on past that ended by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What is there when an agent starts."""

    steps: Mapping[JobId, Step]
    """The ledger's rows."""
    engine: Collection[JobId]
    """Jobs with a container, a volume or a log."""
    folders: Collection[JobId]
    """Jobs with inputs or a result on disk."""
    awards: Collection[JobAwarded]
    """Awards to this provider, in the chain as it is now, one a job."""
    states: Mapping[JobId, JobState]
    """Where the chain has those of the jobs that the ledger does not have as promised."""
    now: Timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do, in this order."""

    restore: tuple[JobAwarded, ...]
    """Promises of which only the chain knows: carried on from the award, or, once delivered, until they are paid."""
    clear: tuple[JobId, ...]
    """Jobs that are over, and left something behind."""
    remove: tuple[JobId, ...]
    """Containers, volumes and folders of jobs that were never promised."""


def plan(found: Findings) -> Plan:
    """What to do about what was found."""
    restore = tuple(
        award
        for award in found.awards
        if found.steps.get(award.id) in (None, *UNPROMISED)
        and (
            found.states.get(award.id) in (JobState.DELIVERED, JobState.DISPUTED)
            or (found.states.get(award.id) is JobState.AWARDED and found.now < award.terms.deliver_by)
        )
    )
    owed = {award.id for award in restore}
    there = sorted({*found.engine, *found.folders} - owed)
    return Plan(
        restore=restore,
        clear=tuple(id_ for id_ in there if id_ in found.steps and found.steps[id_] not in BUSY),
        remove=tuple(id_ for id_ in there if id_ not in found.steps),
    )


def strays(steps: Mapping[JobId, Step], engine: Iterable[JobId]) -> tuple[JobId, ...]:
    """Containers that no promise accounts for."""
    return tuple(sorted(id_ for id_ in engine if steps.get(id_) not in UNDER_AWARD))


def job_of(award: JobAwarded) -> Job:
    """As much of the signed job as its award tells. Its id is not this job's digest: what the award does not fix is lost."""
    terms = award.terms
    return Job(
        submitter=terms.submitter,
        token=terms.token,
        price_start=terms.price,
        price_cap=terms.price,
        bond=terms.bond,
        arbiter=terms.arbiter,
        dispute_fee=terms.dispute_fee,
        arbiter_data=award.arbiter_data,
        matcher=terms.matcher,
        open_at=Timestamp(0),
        award_by=terms.deliver_by,
        deliver_seconds=0,
        challenge_seconds=terms.challenge_seconds,
        ruling_seconds=terms.ruling_seconds,
        spec=award.spec,
        salt=ZERO_DIGEST,
    )


def latest(awards: Iterable[JobAwarded], provider: Address) -> tuple[JobAwarded, ...]:
    """The newest award of each job that went to `provider`."""
    newest = {award.id: award for award in awards}
    return tuple(award for award in newest.values() if award.terms.provider == provider)


def cut_short(status: RunStatus, begun_in: str | None, life: EngineLife) -> bool:
    """Whether a run that is over was ended by its engine's end, or the machine's, rather than by itself.

    An engine that starts again ends what ran, and says that it exited. Such an end is no result of the job's. Some engines carry on what ran.
    """
    if begun_in is None or begun_in == life.id or status.oom_killed:
        return False
    # An engine that cannot say since when it lives says 0.
    if life.since and status.finished_at is not None and status.finished_at > life.since + _RESTORE_SECONDS:
        return False
    if status.exit_code is None or status.exit_code >= _SIGNALLED:
        return True
    return status.finished_at is None or status.finished_at >= life.since - _STOP_SECONDS
