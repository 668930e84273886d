"""The executor on a Docker engine: other people's code in a box without network, privileges or room to spread.

The engine must run on this machine, share its file system, and be able to enforce the limits. A container's name is made of
its job's id, so that a second attempt finds the first one's container.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, NotFound

from deai import ask
from deai.errors import BadContent, BadField, EngineUnavailable
from deai.job import JobId
from deai.registry import Registry
from deai.spec import Image, Resources
from deai_provider import docker_engine, outbound, run_log, sandbox, volume
from deai_provider.docker_engine import asked_to, insist
from deai_provider.docker_images import DockerImages
from deai_provider.executor import EngineLife, Run, RunState, RunStatus, always_wanted
from deai_provider.hardware import Device
from deai_provider.image_archive import ImageLimits

MAX_LOG_BYTES = 16 << 20
"""What is kept of each run's output."""

_MIB = 1 << 20
_JOB, _AGENT, _GPUS = "deai.job", "deai.agent", "deai.gpus"
_CALL_SECONDS, _LOAD_SECONDS, _STOP_SECONDS, _DRAIN_SECONDS = 60, 3_600, 5, 5
_BROKEN_SECONDS = 0.1
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_INIT = "/sbin/docker-init"
_log = logging.getLogger(__name__)


class DockerExecutor:
    """Runs jobs in containers of the engine at `base_url` (default: `DOCKER_HOST`, else the local socket).

    Keeps the runs' volumes and logs in `work`; of the images it staged, the engine keeps up to `image_budget_bytes`. `agent` tells this
    agent's containers from another's on the same engine;
    `runtime` is the engine's name for the OCI runtime; `devices` are the GPUs it may give to runs; `private_registries` says whether
    images may come from registries on this machine and in local nets, where strangers should not lead it; `needed` tells the ids of images
    that jobs wait for, which stay whatever the room. Raises EngineUnavailable when
    there is no engine, when the engine cannot hold a container to its limits, or when this process cannot make volumes.
    """

    def __init__(
        self,
        work: Path,
        *,
        agent: str = "deai",
        base_url: str | None = None,
        runtime: str = "runc",
        devices: Sequence[Device] = (),
        image_limits: ImageLimits | None = None,
        image_budget_bytes: int = 64 << 30,
        private_registries: bool = False,
        needed: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        volume.check()
        self._work = work.resolve()
        self._agent, self._runtime, self._devices = agent, runtime, tuple(devices)
        self._creating, self._trying, self._following = threading.Lock(), threading.Lock(), threading.Lock()
        self._followers: dict[JobId, threading.Thread] = {}
        self._tried: set[str] = set()
        where = docker.utils.kwargs_from_env() if base_url is None else {"base_url": base_url}
        with asked_to("connect to the Docker engine"):
            self._api = docker.APIClient(version="auto", timeout=_CALL_SECONDS, **where)
            slow = docker.APIClient(version="auto", timeout=_LOAD_SECONDS, **where)
            info = self._api.info()
        docker_engine.check(info, runtime)
        architecture = _ARCHITECTURES.get(info["Architecture"], info["Architecture"])
        self._images = DockerImages(
            self._api,
            slow,
            architecture,
            image_limits or ImageLimits(),
            image_budget_bytes,
            self._work / "pulls",
            lambda: Registry(client=outbound.client(private=private_registries)),
            needed,
        )
        self._cores, self._memory_mib = int(info["NCPU"]), int(info["MemTotal"]) // _MIB
        self._work.mkdir(mode=0o700, parents=True, exist_ok=True)

    def stage(self, image: Image, archive: Path | None, check: Callable[[], None] = always_wanted) -> str:
        """See `executor.Executor`. Also starts a container of the image once, so that one that cannot start is refused before a bid."""
        pinned = self._images.bring(image, archive, check)
        self._try(pinned)
        self._images.keep(pinned)
        return pinned

    def has(self, image: str) -> bool:
        """See `executor.Executor`."""
        return self._images.has(image)

    def _try(self, image: str) -> None:
        """Starts a container that does nothing from the image. An image can be made such that none starts, to burn a provider's bond."""
        with self._trying:
            if image in self._tried:
                return
            name, folder = f"deai-trial-{self._agent}", self._work / "trial"
            folder.mkdir(exist_ok=True)
            box = sandbox.host_config(Resources(), folder, folder, (), self._runtime)
            with asked_to("try the image"):
                self._remove_container(name)
                try:
                    self._create(name, image, [_INIT, "--version"], [], {_AGENT: self._agent}, box)
                    self._api.start(name)
                    code = self._api.wait(name)["StatusCode"]
                except APIError as error:
                    raise BadContent(
                        f"image {image}: no container starts from it: {error.explanation}"
                    ) from error
                finally:
                    self._remove_container(name)
            if code != 0:
                raise BadContent(f"image {image}: no container starts from it: exit code {code}")
            self._tried.add(image)

    def life(self) -> EngineLife:
        """See `executor.Executor`."""
        return docker_engine.life(self._api)

    def start(self, run: Run) -> None:
        """See `executor.Executor`."""
        name = _name(run.job)
        with asked_to(f"start {name}"):
            with self._creating:
                found = self._inspect(run.job) or self._create_run(run)
            if found["Config"]["Labels"].get(_AGENT) != self._agent:
                raise EngineUnavailable(f"the container {name} is another agent's, named as ours would be")
            if found["State"]["Status"] == "created":
                # Mounted again here: the machine may have been restarted between create and start.
                volume.attach(self._work, run.job)
                self._api.start(name)

    def _create_run(self, run: Run) -> dict[str, Any]:
        self._check_room(run)
        gpus = self._choose_gpus(run.resources)
        outputs = volume.make(self._work, run.job, run.resources.disk_mib, sandbox.NOBODY)
        box = sandbox.host_config(run.resources, run.inputs.resolve(), outputs, gpus, self._runtime)
        labels = {_JOB: run.job, _AGENT: self._agent, _GPUS: ",".join(gpus)}
        environment = sandbox.environment(run.env, gpus)
        try:
            self._create(_name(run.job), run.image, run.command, environment, labels, box)
        except APIError as error:
            # A create that failed on our side may have succeeded on the engine's.
            if error.status_code != requests.codes.conflict:
                raise
        created: dict[str, Any] = self._api.inspect_container(_name(run.job))
        return created

    def poll(self, job: JobId) -> RunStatus:
        """See `executor.Executor`."""
        with asked_to(f"look at {_name(job)}"):
            found = self._inspect(job)
        if found is None:
            return RunStatus(state=RunState.ABSENT)
        state = found["State"]
        match state["Status"]:
            case "created":
                return RunStatus(state=RunState.CREATED)
            case "running" | "paused" | "restarting":
                return RunStatus(
                    state=RunState.RUNNING,
                    started_at=_seconds(state["StartedAt"]),
                    ran_seconds=docker_engine.process_seconds(int(state["Pid"])),
                )
        return RunStatus(
            state=RunState.EXITED,
            exit_code=int(state["ExitCode"]),
            oom_killed=bool(state["OOMKilled"]),
            started_at=_seconds(state["StartedAt"]),
            finished_at=_seconds(state["FinishedAt"]),
        )

    def wait(self, job: JobId, seconds: float) -> RunStatus:
        """See `executor.Executor`. Returns at once when nothing runs."""
        # docker-py reports a time that is over as a connection error, like a connection that broke: poll and the clock tell the two apart.
        over = (requests.exceptions.ConnectionError, requests.exceptions.Timeout)
        until = time.monotonic() + seconds
        while True:
            with asked_to(f"wait for {_name(job)}"), suppress(NotFound, *over):
                self._api.wait(_name(job), timeout=max(until - time.monotonic(), 0.001))
            status = self.poll(job)
            if status.state is not RunState.RUNNING or time.monotonic() >= until:
                return status
            time.sleep(_BROKEN_SECONDS)

    def logs(self, job: JobId, offset: int) -> bytes:
        """See `executor.Executor`. At most `MAX_LOG_BYTES` in all, and then a line that says so.

        The engine keeps text, by lines: what is not UTF-8 becomes U+FFFD, and a line shows once it is whole or 16 KiB long.
        """
        state = self.poll(job).state
        if state in (RunState.RUNNING, RunState.EXITED):
            follower = self._follower(job)
            if state is RunState.EXITED:
                follower.join(_DRAIN_SECONDS)
        return run_log.read(self._log_path(job), offset)

    def stop(self, job: JobId) -> None:
        """See `executor.Executor`."""
        with asked_to(f"stop {_name(job)}"), suppress(NotFound):
            insist(lambda: self._api.stop(_name(job), timeout=_STOP_SECONDS))

    def outputs(self, job: JobId) -> Path:
        """See `executor.Executor`. Raises EngineUnavailable if the job has no volume here."""
        return volume.attach(self._work, job)

    def remove(self, job: JobId) -> None:
        """See `executor.Executor`."""
        with asked_to(f"remove {_name(job)}"):
            self._remove_container(_name(job))
        with self._following:
            follower = self._followers.pop(job, None)
        if follower is not None:
            follower.join(_DRAIN_SECONDS)
        self._log_path(job).unlink(missing_ok=True)
        volume.delete(self._work, job)

    def spare(self) -> None:
        """See `executor.Executor`."""
        self._images.spare()

    def adopt(self) -> list[JobId]:
        """See `executor.Executor`. Only what this agent's name is on counts."""
        with asked_to("list containers"):
            containers = self._api.containers(all=True, filters={"label": [_JOB, f"{_AGENT}={self._agent}"]})
        jobs = {JobId(each["Labels"][_JOB]) for each in containers}
        jobs.update(volume.existing(self._work))
        return sorted(jobs)

    def _create(
        self,
        name: str,
        image: str,
        command: Sequence[str],
        environment: list[str],
        labels: dict[str, str],
        box: dict[str, Any],
    ) -> None:
        self._api.create_container(
            image,
            name=name,
            entrypoint=[],
            command=list(command),
            environment=environment,
            labels=labels,
            user=f"{sandbox.NOBODY}:{sandbox.NOBODY}",
            # The image's own may be a folder that only its root may enter.
            working_dir="/outputs",
            hostname="deai",
            healthcheck={"test": ["NONE"]},
            stop_signal="SIGTERM",
            host_config=box,
        )

    def _check_room(self, run: Run) -> None:
        if run.resources.cpu_millis > self._cores * 1_000:
            raise BadField(
                "resources.cpu_millis", run.resources.cpu_millis, f"this machine has {self._cores} cores"
            )
        if run.resources.memory_mib > self._memory_mib:
            raise BadField(
                "resources.memory_mib", run.resources.memory_mib, f"this machine has {self._memory_mib} MiB"
            )

    def _choose_gpus(self, wanted: Resources) -> list[str]:
        """The GPUs for a run: those with the least memory that fit, and that no other run has."""
        if not wanted.gpus:
            return []
        containers = self._api.containers(
            all=True, filters={"label": _GPUS, "status": ["created", "running", "paused"]}
        )
        taken = {uuid for each in containers for uuid in each["Labels"][_GPUS].split(",")}
        free = [
            device
            for device in self._devices
            if device.uuid not in taken and ask.gpu_fits(wanted, device.gpu)
        ]
        if len(free) < wanted.gpus:
            raise BadField("resources.gpus", wanted.gpus, f"{len(free)} fitting GPUs are free here")
        free.sort(key=lambda device: device.gpu.vram_mib)
        return [device.uuid for device in free[: wanted.gpus]]

    def _inspect(self, job: JobId) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = self._api.inspect_container(_name(job))
        except NotFound:
            return None
        return found

    def _remove_container(self, name: str) -> None:
        with suppress(NotFound):
            insist(lambda: self._api.remove_container(name, force=True, v=True))

    def _log_path(self, job: JobId) -> Path:
        return self._work / job / volume.LOG_NAME

    def _follower(self, job: JobId) -> threading.Thread:
        """The thread that copies the run's output; a new one if the last one lost its engine."""
        with self._following:
            follower = self._followers.get(job)
            if follower is None or not follower.is_alive():
                follower = threading.Thread(
                    target=self._follow, args=(job,), name=f"log {_name(job)}", daemon=True
                )
                self._followers[job] = follower
                follower.start()
            return follower

    def _follow(self, job: JobId) -> None:
        path = self._log_path(job)
        address = f"{self._api.base_url}/v{self._api.api_version}/containers/{_name(job)}/logs"
        parameters = {"stdout": 1, "stderr": 1, "follow": 1}
        try:
            with self._api.get(
                address, params=parameters, stream=True, timeout=(_CALL_SECONDS, None)
            ) as reply:
                if reply.status_code == requests.codes.ok:
                    run_log.append(path, run_log.demultiplex(reply.iter_content(None)), MAX_LOG_BYTES)
        except (OSError, requests.exceptions.RequestException) as error:
            _log.warning("job %s: its log is out of reach for now: %s", job, error)


def _name(job: JobId) -> str:
    return f"deai-{job[2:34]}"


def _seconds(moment: str) -> float | None:
    """The engine's time, which has nanoseconds and the year 1 for never."""
    return None if moment.startswith("0001-") else datetime.fromisoformat(moment).timestamp()
