"""Images on a real engine: what is staged is what the spec names, and what cannot be trusted never gets that far."""

import gc
import hashlib
import io
import json
import os
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from deai.ask import Gpu
from deai.cid import Cid, Codec
from deai.errors import BadContent, BadField, ContentMissing, EngineUnavailable
from deai.spec import Image, Resources
from deai_provider.docker_executor import DockerExecutor
from deai_provider.hardware import Device
from tests.adapters.docker_fixtures import Box, Built, box, built_image, docker_executor

__all__ = ["box", "built_image", "docker_executor"]

BY_CID = Image(cid=str(Cid.of(b"an archive", Codec.RAW)))


@pytest.fixture
def engine(docker_engine: None) -> Iterator[docker.APIClient]:
    """The engine itself, to look behind the executor's back."""
    with docker.APIClient(version="auto") as client:
        yield client


def archive(path: Path, members: list[tarfile.TarInfo], promised: str | None = None, tag: str = "x:y") -> str:
    """Writes an image archive with one layer and returns the image's id. `promised` is the digest its config gives for the layer."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for member in members:
            tar.addfile(member)
    diff = promised or hashlib.sha256(layer.getvalue()).hexdigest()
    machine = {"x86_64": "amd64", "aarch64": "arm64"}
    config = json.dumps(
        {
            "architecture": machine[os.uname().machine],
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff}"]},
        }
    ).encode()
    manifest = json.dumps([{"Config": "c.json", "RepoTags": [tag], "Layers": ["l.tar"]}]).encode()
    with tarfile.open(path, "w") as tar:
        for name, content in (("c.json", config), ("l.tar", layer.getvalue()), ("manifest.json", manifest)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return f"sha256:{hashlib.sha256(config).hexdigest()}"


def folder(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode = tarfile.DIRTYPE, 0o755
    return info


def test_an_archive_is_staged_under_the_digest_of_its_config(
    docker_executor: DockerExecutor, built_image: Built
) -> None:
    assert docker_executor.stage(built_image.spec, built_image.archive) == built_image.id
    assert docker_executor.stage(built_image.spec, built_image.archive) == built_image.id


def test_an_archive_cannot_take_the_name_of_another_image(
    docker_executor: DockerExecutor, engine: docker.APIClient, tmp_path: Path
) -> None:
    image = archive(tmp_path / "a.tar", [folder("evil")], tag="deai-test/stolen:latest")

    try:
        assert docker_executor.stage(BY_CID, tmp_path / "a.tar") == image
        tags = engine.inspect_image(image)["RepoTags"]
        assert tags == [f"deai.local/image:{image.removeprefix('sha256:')}"]
    finally:
        engine.remove_image(image, force=True)


def test_beyond_the_budget_the_image_staged_longest_ago_goes(
    docker_executor: DockerExecutor, built_image: Built, engine: docker.APIClient, tmp_path: Path
) -> None:
    docker_executor.stage(built_image.spec, built_image.archive)
    image = archive(tmp_path / "a.tar", [folder("new")])

    tight = DockerExecutor(tmp_path / "tight", agent="tight", image_budget_bytes=0)
    try:
        assert tight.stage(BY_CID, tmp_path / "a.tar") == image
        assert engine.inspect_image(image)["Id"] == image
        with pytest.raises(docker.errors.ImageNotFound):
            engine.inspect_image(built_image.id)
    finally:
        engine.remove_image(image, force=True)


def test_a_layer_that_is_not_the_one_its_config_names_is_refused(
    docker_executor: DockerExecutor, engine: docker.APIClient, tmp_path: Path
) -> None:
    image = archive(tmp_path / "a.tar", [folder("evil")], promised="0" * 64)

    with pytest.raises(BadContent, match="diffID"):
        docker_executor.stage(BY_CID, tmp_path / "a.tar")

    with pytest.raises(docker.errors.ImageNotFound):
        engine.inspect_image(image)


def test_an_image_no_container_can_start_from_is_refused_before_a_bid(
    docker_executor: DockerExecutor, engine: docker.APIClient, tmp_path: Path
) -> None:
    # A file where the run's results should be mounted.
    image = archive(tmp_path / "a.tar", [tarfile.TarInfo("outputs")])

    try:
        with pytest.raises(BadContent, match="no container starts"):
            docker_executor.stage(BY_CID, tmp_path / "a.tar")
    finally:
        engine.remove_image(image, force=True)
    assert not engine.containers(all=True, filters={"name": "deai-trial-test-"})


def test_an_image_whose_registry_is_out_of_reach_cannot_be_had(docker_executor: DockerExecutor) -> None:
    with pytest.raises(ContentMissing, match=r"127\.0\.0\.1:9"):
        docker_executor.stage(Image(digest=f"127.0.0.1:9/none@sha256:{'0' * 64}"), None)


def test_an_engine_that_is_not_there_is_said_plainly(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        # docker-py leaves the socket of a failed connection to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        with pytest.raises(EngineUnavailable, match="connect to the Docker engine") as raised:
            DockerExecutor(tmp_path, base_url=f"unix://{tmp_path}/none.sock")
        del raised
        gc.collect()


def test_a_runtime_the_engine_does_not_have_is_said_plainly(docker_engine: None, tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match="no runtime 'runsc-none'"):
        DockerExecutor(tmp_path, runtime="runsc-none")


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (Resources(cpu_millis=1_024_000), "cpu_millis"),
        (Resources(memory_mib=1 << 24), "memory_mib"),
        (Resources(gpus=1), "gpus"),
    ],
)
def test_more_than_the_machine_has_is_refused_and_leaves_nothing(
    box: Box, wanted: Resources, field: str
) -> None:
    with pytest.raises(BadField, match=f"resources.{field}"):
        box.start("", wanted)

    assert box.executor.adopt() == []


def test_a_disk_larger_than_what_is_free_is_refused(box: Box) -> None:
    with pytest.raises(EngineUnavailable, match="no room for a volume"):
        box.start("", Resources(disk_mib=1 << 26))


def test_a_simulated_gpu_is_asked_of_the_engine(built_image: Built, tmp_path: Path) -> None:
    executor = DockerExecutor(
        tmp_path / "work", agent="test-gpu", devices=[Device("GPU-x", Gpu(model="A100", vram_mib=8))]
    )
    box = Box(executor, executor.stage(built_image.spec, built_image.archive), tmp_path / "inputs")

    try:
        with pytest.raises(EngineUnavailable, match=r"could not select device driver .*gpu"):
            box.start("", Resources(memory_mib=64, disk_mib=16, gpus=1, gpu_model="a100"))
        # The container that could not start holds the only GPU until it is removed.
        with pytest.raises(BadField, match="0 fitting GPUs"):
            box.start("", Resources(memory_mib=64, disk_mib=16, gpus=1))
    finally:
        for job in executor.adopt():
            executor.remove(job)
