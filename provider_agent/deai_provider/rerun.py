"""A second run of somebody else's job, in the same box as the first one, and what it says of the result that was delivered."""

import logging
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from deai import comparison, unixfs
from deai.cid import Cid, Codec
from deai.comparison import Facts, Opinion
from deai.errors import (
    BadContent,
    BadField,
    ContentMissing,
    ContentOutOfReach,
    StoreUnavailable,
    Unavailable,
    WrongRequest,
)
from deai.job import Address, JobId
from deai.panel import Verdict
from deai.result import ExitRecord
from deai.spec import Spec
from deai_provider import reproducible, result_folder, staging
from deai_provider.executor import Run, RunState, RunStatus
from deai_provider.staging import CheckedStore, Depot

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 1.0
_MIB = 1 << 20
_RESULT_SPARE_BYTES = 64 * _MIB
"""What a result may hold beside its outputs: the log and the exit record."""


class GaveUp(Unavailable):
    """There is no time, or no more reason, to re-run the job: nothing can be said of its result."""


def run_id(job: JobId, verifier: Address) -> JobId:
    """The name of a verifier's own run of the job: one engine may hold the provider's and several verifiers'."""
    return JobId("0x" + sha256(f"{job} {verifier}".encode()).hexdigest())


class Rerun:
    """One job's second run. `check()` is called on the way, and raises GaveUp once it should end.

    Each step says again what an earlier process left unfinished; what it had finished, it finds.
    """

    def __init__(self, depot: Depot, id_: JobId, folder: Path, check: Callable[[], None]) -> None:
        """`id_` is `run_id`'s; `folder` is named by it."""
        self._depot, self._id, self._folder, self._check = depot, id_, folder, check
        self._store = _Sound(depot.store, check)

    def spec(self, digest: bytes) -> Spec:
        """The job's spec. Raises ContentMissing, StoreUnavailable, BadField for one that is none."""
        return Spec.parse(self._store.get(Cid(Codec.RAW, digest)))

    def fetch(self, result: bytes, spec: Spec) -> tuple[Facts, ExitRecord | None]:
        """What of the delivered result is compared. Raises ContentMissing, StoreUnavailable, GaveUp."""
        target = self._folder / "delivered"
        shutil.rmtree(target, ignore_errors=True)
        limits = unixfs.Limits(max_bytes=spec.resources.disk_mib * _MIB + _RESULT_SPARE_BYTES)
        try:
            unixfs.fetch(self._store, Cid(Codec.DAG_PB, result), target, limits)
        except BadContent as error:
            # It is there, and no run leaves such a thing.
            _log.info("%s: what was delivered is no result: %s", self._id, error)
            return Facts(None, None), None
        if not target.is_dir():
            return Facts(None, None), None
        self._check()
        return comparison.facts(target, spec.output_path)

    def stage(self, spec: Spec) -> str:
        """Brings image and inputs; the image's pinned id. Raises ContentMissing for what nobody has, BadContent for what this machine cannot
        hold, StoreUnavailable, EngineUnavailable.
        """
        return staging.bring(self._depot, spec, self._folder, self._check)

    def run(self, spec: Spec, image: str) -> tuple[Facts, ExitRecord]:
        """Runs the job to its end. Raises BadField for what this machine cannot give, GaveUp, EngineUnavailable."""
        executor = self._depot.executor
        # What an earlier process of ours began may have been cut short: nothing of it counts.
        executor.remove(self._id)
        begun_in = executor.life().id
        executor.start(
            Run(
                job=self._id,
                image=image,
                command=spec.command,
                env=reproducible.environment(spec),
                inputs=staging.inputs_folder(self._folder),
                resources=spec.resources,
                max_seconds=spec.max_seconds,
            )
        )
        status, timed_out = self._end(spec)
        if executor.life().id != begun_in:
            raise Unavailable(f"{self._id}: the engine was started anew during the re-run")
        target = self._folder / "rerun"
        record = result_folder.make(
            target,
            spec,
            image,
            status,
            timed_out,
            executor.outputs(self._id),
            lambda offset: executor.logs(self._id, offset),
        )
        self._check()
        try:
            found, _ = comparison.facts(target, spec.output_path)
        except WrongRequest as error:
            record = result_folder.without_outputs(target, record, str(error))
            found, _ = comparison.facts(target, spec.output_path)
        # The exit record went with what is not compared.
        return Facts(record.exit_code, found.outputs), record

    def _end(self, spec: Spec) -> tuple[RunStatus, bool]:
        executor, timed_out = self._depot.executor, False
        while True:
            self._check()
            status = executor.wait(self._id, _LOOK_SECONDS)
            if status.state is RunState.EXITED:
                return status, timed_out
            if status.state is not RunState.RUNNING:
                raise Unavailable(f"{self._id}: its container is gone")
            if status.ran_seconds is not None and status.ran_seconds >= spec.max_seconds:
                timed_out = True
                executor.stop(self._id)

    def clear(self) -> None:
        """Leaves nothing of it on this machine. Raises EngineUnavailable."""
        self._depot.executor.remove(self._id)
        shutil.rmtree(self._folder, ignore_errors=True)


class _Sound(CheckedStore):
    """A checked store whose damaged blocks say nothing of who delivered them."""

    def get(self, cid: Cid) -> bytes:
        try:
            return super().get(cid)
        except BadContent as error:
            raise StoreUnavailable(f"{cid}: is damaged here: {error}") from error


def judge(
    rerun: Rerun,
    result: bytes,
    spec_digest: bytes,
    lacks: Callable[[Spec], str | None],
    missed: Callable[[Verdict], bool],
) -> Opinion:
    """What to say of a delivered result.

    `missed(verdict)` is told what would be said of content that everybody answered not to have, and says whether it may be said now;
    until then ContentMissing is raised, as it may still be published.

    `lacks(spec)` says why this machine cannot run it. Raises GaveUp then, Unavailable for what may work the next time.
    """
    try:
        spec = rerun.spec(spec_digest)
    except BadField as error:
        raise GaveUp(f"its spec is none that this program knows: {error}") from error
    except ContentMissing as error:
        return _missing(error, Verdict.INPUTS_MISSING, missed)
    reason = lacks(spec)
    if reason is not None:
        raise GaveUp(reason)
    try:
        delivered = rerun.fetch(result, spec)
    except ContentMissing as error:
        return _missing(error, Verdict.OUTPUT_MISSING, missed)
    try:
        image = rerun.stage(spec)
    except BadContent as error:
        raise GaveUp(f"this machine cannot hold what it needs: {error}") from error
    except ContentMissing as error:
        return _missing(error, Verdict.INPUTS_MISSING, missed)
    try:
        found = rerun.run(spec, image)
    except BadField as error:
        raise GaveUp(f"this machine cannot run it: {error}") from error
    opinion = comparison.opinion(delivered, result, found, spec.max_seconds)
    if opinion is None:
        raise GaveUp("its re-run was cut short here, and the delivered one was not")
    return opinion


def _missing(error: ContentMissing, verdict: Verdict, missed: Callable[[Verdict], bool]) -> Opinion:
    if isinstance(error, ContentOutOfReach) or not missed(verdict):
        raise error
    return Opinion(verdict)
