"""A run, from its container to the result on this machine's disk. Begun anew, from a clean volume, when its engine or the machine cut it short."""

import logging
import time
from collections.abc import Callable

from deai.job import JobId
from deai_provider import reconcile, reproducible, result_folder, staging
from deai_provider.executor import Run, RunState, RunStatus
from deai_provider.ledger import Entry, Step
from deai_provider.relay import Relay
from deai_provider.workshop import Workshop, known

_log = logging.getLogger(__name__)
_WAIT_POLLS, _CHAIN_LOOK_POLLS = 4, 8


class Running:
    """One job's run. `stands(entry)` says whether it should go on: the award holds, and the deadline has not come."""

    def __init__(self, shop: Workshop, id_: JobId, relay: Relay, stands: Callable[[], bool]) -> None:
        self._shop, self._id, self._relay, self._stands = shop, id_, relay, stands
        self._staged = False
        self._looked = 0.0

    def stage(self, entry: Entry) -> str:
        """Brings image and inputs, unless this thread did already. Returns the image's pinned id."""
        if not self._staged or entry.image is None:
            spec = known(entry.spec)
            image = staging.stage(self._shop, spec, self._shop.folder(self._id))
            self._staged = True
            return image
        return entry.image

    def carry(self, entry: Entry) -> None:
        """Runs the job to its end and collects the result, or ends the run because it should not go on."""
        shop, spec = self._shop, known(entry.spec)
        status = shop.executor.poll(self._id) if entry.runs else RunStatus(state=RunState.ABSENT)
        if status.state in (RunState.ABSENT, RunState.CREATED):
            entry = self._begin(entry, fresh=status.state is RunState.ABSENT)
        self._relay.observe("Running", f"for at most {spec.max_seconds} s")
        self._relay.follow()
        while not shop.stopping.is_set():
            status = shop.executor.wait(self._id, self._patience(status, spec.max_seconds))
            if status.state is RunState.EXITED:
                self._end(shop.ledger.entry(self._id) or entry, status)
                return
            if status.state is not RunState.RUNNING:
                # Somebody removed the container, or the engine made it and died: the run is said again.
                shop.stopping.wait(shop.poll_seconds)
                return
            if status.ran_seconds is not None and status.ran_seconds >= spec.max_seconds:
                shop.note(self._id, timed_out=True)
                _log.info("%s: stopped after its %d s", self._id, spec.max_seconds)
                shop.executor.stop(self._id)
            elif not self._goes_on():
                shop.executor.stop(self._id)
                return

    def _begin(self, entry: Entry, *, fresh: bool) -> Entry:
        """Starts the container; written down before, with the life of the engine that it belongs to."""
        shop, spec = self._shop, known(entry.spec)
        image = self.stage(entry)
        if fresh and entry.runs:
            # What an earlier run left in its volume is no business of this one.
            shop.executor.remove(self._id)
        entry = shop.note(self._id, image=image, runs=max(1, entry.runs), engine=shop.executor.life().id)
        try:
            shop.executor.start(
                Run(
                    job=self._id,
                    image=image,
                    command=spec.command,
                    env=reproducible.environment(spec),
                    inputs=staging.inputs_folder(shop.folder(self._id)),
                    resources=spec.resources,
                    max_seconds=spec.max_seconds,
                )
            )
        except Exception:
            # The image may be gone, or the inputs: the next try brings them again.
            self._staged = False
            raise
        return entry

    def _end(self, entry: Entry, status: RunStatus) -> None:
        shop = self._shop
        if not entry.timed_out and entry.runs < reconcile.MAX_RUNS:
            life = shop.executor.life()
            if reconcile.cut_short(status, entry.engine, life):
                _log.warning(
                    "%s: the engine or the machine went down during its run, which begins anew", self._id
                )
                shop.executor.remove(self._id)
                shop.note(self._id, runs=entry.runs + 1)
                return
        record = result_folder.make(
            shop.folder(self._id) / "result",
            known(entry.spec),
            known(entry.image),
            status,
            entry.timed_out,
            shop.executor.outputs(self._id),
            lambda offset: shop.executor.logs(self._id, offset),
        )
        shop.move(self._id, Step.COLLECTED, str(record), exit=record)

    def _patience(self, status: RunStatus, max_seconds: int) -> float:
        left = max_seconds - (status.ran_seconds or 0.0)
        return max(0.0, min(_WAIT_POLLS * self._shop.poll_seconds, left))

    def _goes_on(self) -> bool:
        now = time.monotonic()
        if now - self._looked < _CHAIN_LOOK_POLLS * self._shop.poll_seconds:
            return True
        self._looked = now
        return self._stands()
