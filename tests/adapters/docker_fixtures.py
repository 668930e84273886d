"""Fixtures for tests on a real Docker engine: the engine, and the image that scripts/image.py builds."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest

from deai.cid import Cid, Codec
from deai.job import JobId
from deai.spec import Image, Resources
from deai_provider.docker_executor import DockerExecutor
from deai_provider.executor import Run, RunStatus

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = Resources(cpu_millis=1_000, memory_mib=128, disk_mib=32)


@dataclass(frozen=True, slots=True)
class Built:
    """The image that the tests run."""

    archive: Path
    id: str

    @property
    def spec(self) -> Image:
        """The image by CID. The executor goes by the archive's bytes; any well-formed CID will do."""
        return Image(cid=str(Cid.of(self.id.encode(), Codec.RAW)))


@pytest.fixture(scope="session")
def built_image(docker_engine: None) -> Built:
    """The image archive, built if the cache has none. Containers that hold the image since a run of the tests was killed go first."""
    with docker.APIClient(version="auto") as engine:
        for each in engine.containers(all=True, filters={"label": "deai.agent"}):
            if each["Labels"]["deai.agent"].startswith("test-"):
                engine.remove_container(each["Id"], force=True, v=True)
    command = [sys.executable, str(REPOSITORY / "scripts" / "image.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    return Built(Path(facts["archive"]), facts["image"])


@pytest.fixture
def docker_executor(docker_engine: None, tmp_path: Path) -> Iterator[DockerExecutor]:
    """An executor with containers of its own; whatever a test leaves is removed."""
    executor = DockerExecutor(
        tmp_path / "work", agent=f"test-{uuid.uuid4().hex[:12]}", private_registries=True
    )
    yield executor
    for job in executor.adopt():
        executor.remove(job)


@dataclass(slots=True)
class Box:
    """Runs Python scripts as jobs, each in a container of its own."""

    executor: DockerExecutor
    image: str
    folder: Path
    jobs: list[JobId] = field(default_factory=list)

    def start(self, script: str, resources: Resources = SMALL, command: tuple[str, ...] = ()) -> JobId:
        """Starts a container that runs `script` and returns the job's id."""
        job = JobId("0x" + uuid.uuid4().hex * 2)
        inputs = self.folder / job
        inputs.mkdir(parents=True)
        (inputs / "script").write_text(script)
        self.executor.start(
            Run(
                job=job,
                image=self.image,
                command=command or ("python3", "/inputs/script"),
                env=(),
                inputs=inputs,
                resources=resources,
                max_seconds=60,
            )
        )
        self.jobs.append(job)
        return job

    def run(self, script: str, resources: Resources = SMALL, seconds: float = 60) -> tuple[RunStatus, str]:
        """Runs `script` to its end and returns how it ended and what it printed."""
        job = self.start(script, resources)
        status = self.executor.wait(job, seconds)
        return status, self.executor.logs(job, 0).decode("utf-8", "backslashreplace")

    def results(self, script: str, resources: Resources = SMALL) -> dict[str, str]:
        """Runs a script that prints lines `name: what came of it` and returns them."""
        status, log = self.run(script, resources)
        assert status.exit_code == 0, (status, log)
        return dict(line.split(": ", 1) for line in log.splitlines())


@pytest.fixture
def box(docker_executor: DockerExecutor, built_image: Built, tmp_path: Path) -> Box:
    """A sandbox with the built image."""
    image = docker_executor.stage(built_image.spec, built_image.archive)
    return Box(docker_executor, image, tmp_path / "inputs")
