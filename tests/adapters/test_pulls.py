"""Images from a real registry onto a real engine: fetched by digest, measured, loaded; and what must not get there."""

import json
import os
import select
import socket
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import docker
import pytest

from deai.errors import BadContent, ContentMissing, ContentOutOfReach, EngineUnavailable, Unavailable
from deai.spec import Image
from deai_provider.docker_executor import DockerExecutor
from deai_provider.image_archive import ImageLimits
from tests.adapters.docker_fixtures import Box, Built, built_image, docker_executor
from tests.adapters.registry_fixtures import LocalRegistry, layer, registry

__all__ = ["built_image", "docker_executor", "registry"]


@pytest.fixture
def engine(docker_engine: None) -> Iterator[docker.APIClient]:
    """The engine itself. What a test brought there goes again."""
    with docker.APIClient(version="auto") as client:
        before = ids(client)
        yield client
        for each in ids(client) - before:
            client.remove_image(each, force=True)


def ids(engine: docker.APIClient) -> set[str]:
    return {each["Id"] for each in engine.images(name="deai.local/image")}


def image(registry: LocalRegistry, name: str, digest: str) -> Image:
    return Image(digest=f"{registry.host}/{name}@{digest}")


def unique(size: int = 16) -> bytes:
    """A layer that no other test has."""
    return layer(("unique", str(time.time_ns()).encode() * size))


@dataclass
class Line:
    """A line to a registry that breaks each connection after so many bytes; and that is dead after so many breaks, if that is said."""

    target: int
    cut_after: int
    cuts: int | None = None
    brought: int = 0
    connections: int = 0
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with near:
                if self.cuts != 0:
                    with suppress(OSError):
                        self._carry(near)

    def _carry(self, near: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self.target)) as far:
            left = self.cut_after
            while left > 0:
                for each in select.select([near, far], [], [])[0]:
                    data = each.recv(min(left, 65_536))
                    if not data:
                        return
                    (far if each is near else near).sendall(data)
                    if each is far:
                        left -= len(data)
                        self.brought += len(data)
            if self.cuts is not None:
                self.cuts -= 1


def leftovers(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "work" / "pulls").iterdir()]


def test_an_image_by_digest_is_pulled_once_and_runs(
    registry: LocalRegistry,
    docker_executor: DockerExecutor,
    built_image: Built,
    engine: docker.APIClient,
    tmp_path: Path,
) -> None:
    with tarfile.open(built_image.archive) as tar:
        (names,) = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
        only = tar.extractfile(names["Layers"][0])
        assert only is not None
        digest = registry.push("python", "3.11", only.read(), config={"Labels": {"test": "pulls"}})
    wanted = image(registry, "python", digest)

    pinned = docker_executor.stage(wanted, None)
    registry.kill()

    assert docker_executor.stage(wanted, None) == pinned, "the second time needs no registry"
    status, log = Box(docker_executor, pinned, tmp_path / "inputs").run("print('pulled')")
    assert (status.exit_code, log) == (0, "pulled\n")
    assert engine.inspect_image(pinned)["RepoDigests"] == []
    assert all(tag.startswith("deai.local/image:") for tag in engine.inspect_image(pinned)["RepoTags"])
    assert leftovers(tmp_path) == []
    engine.remove_image(pinned, force=True)


def test_what_no_registry_has_cannot_be_had(registry: LocalRegistry, docker_executor: DockerExecutor) -> None:
    registry.push("tool", "1", unique())

    for name in ("tool", "none"):
        with pytest.raises(ContentMissing, match="has no such image") as told:
            docker_executor.stage(image(registry, name, "sha256:" + "0" * 64), None)
        assert not isinstance(told.value, ContentOutOfReach)


def test_bytes_that_changed_in_the_registry_never_reach_the_engine(
    registry: LocalRegistry, docker_executor: DockerExecutor, engine: docker.APIClient, tmp_path: Path
) -> None:
    digest = registry.push("tool", "1", unique())
    manifest = json.loads(registry.blob_path(digest).read_text())
    before = ids(engine)
    for part in (manifest["layers"][0]["digest"], manifest["config"]["digest"], digest):
        path = registry.blob_path(part)
        kept = path.read_bytes()
        path.write_bytes(kept.replace(b'": ', b'":\n') if kept.startswith(b"{") else kept[:-2] + b"??")

        with pytest.raises(BadContent, match="sha256"):
            docker_executor.stage(image(registry, "tool", digest), None)

        path.write_bytes(kept)
    assert ids(engine) == before
    assert leftovers(tmp_path) == []
    docker_executor.stage(image(registry, "tool", digest), None)


def test_an_image_for_another_machine_is_refused_and_its_layers_are_not_fetched(
    registry: LocalRegistry, docker_executor: DockerExecutor, tmp_path: Path
) -> None:
    digest = registry.push("tool", "1", unique(), architecture="s390x")
    manifest = json.loads(registry.blob_path(digest).read_text())
    registry.blob_path(manifest["layers"][0]["digest"]).unlink()

    with pytest.raises(ContentMissing, match="is for linux/s390x alone"):
        docker_executor.stage(image(registry, "tool", digest), None)


def test_a_registry_that_dies_on_the_way_leaves_nothing_and_serves_again(
    registry: LocalRegistry, docker_executor: DockerExecutor, engine: docker.APIClient, tmp_path: Path
) -> None:
    digest = registry.push("tool", "1", layer(("noise", os.urandom(1 << 20))))
    with Line(registry.port, cut_after=300 << 10) as line:
        wanted = Image(digest=f"127.0.0.1:{line.port}/tool@{digest}")
        line.cuts = 1
        with pytest.raises(ContentOutOfReach, match="does not answer"):
            docker_executor.stage(wanted, None)
        assert line.brought == 300 << 10
        assert leftovers(tmp_path) == []
        registry.kill()
        with pytest.raises(ContentOutOfReach):
            docker_executor.stage(wanted, None)
        registry.start()
        line.cuts = None

        assert docker_executor.stage(wanted, None) in ids(engine)


def test_a_pull_that_nobody_waits_for_any_more_ends_and_leaves_nothing(
    registry: LocalRegistry, docker_executor: DockerExecutor, engine: docker.APIClient, tmp_path: Path
) -> None:
    def over() -> None:
        raise Unavailable("it is over")

    before = ids(engine)
    with pytest.raises(Unavailable, match="it is over"):
        docker_executor.stage(image(registry, "tool", registry.push("tool", "1", unique())), None, over)
    assert leftovers(tmp_path) == []
    assert ids(engine) == before


def test_a_line_that_keeps_breaking_brings_the_image_piece_by_piece(
    registry: LocalRegistry, docker_executor: DockerExecutor, engine: docker.APIClient
) -> None:
    digest = registry.push("tool", "1", layer(("noise", os.urandom(1 << 20))))
    with Line(registry.port, cut_after=300 << 10) as line:
        wanted = Image(digest=f"127.0.0.1:{line.port}/tool@{digest}")

        assert docker_executor.stage(wanted, None) in ids(engine)

        assert line.connections > 3
        assert line.brought < 2 << 20, "what had come was not fetched again"


def test_what_is_too_large_is_refused_before_it_is_fetched_or_unpacked(
    registry: LocalRegistry, docker_engine: None, engine: docker.APIClient, tmp_path: Path
) -> None:
    limits = ImageLimits(archive=64 << 10, bytes=1 << 20, entries=100)
    executor = DockerExecutor(
        tmp_path / "work", agent="test-large", image_limits=limits, private_registries=True
    )
    before = ids(engine)
    heavy = registry.push("heavy", "1", layer(("random", os.urandom(128 << 10))))
    bomb = registry.push("bomb", "1", layer(("zeros", bytes(8 << 20))))
    padded = registry.push("padded", "1", layer(("small", b"x")) + bytes(8 << 20))

    for name, digest, said in (
        ("heavy", heavy, "at most 65536 are taken"),
        ("bomb", bomb, "too large once unpacked"),
        ("padded", padded, "goes on after its end"),
    ):
        with pytest.raises(BadContent, match=said):
            executor.stage(image(registry, name, digest), None)
    assert ids(engine) == before
    assert leftovers(tmp_path) == []


def test_a_disk_that_fills_up_on_the_way_is_no_fault_of_the_image(
    registry: LocalRegistry, docker_engine: None, engine: docker.APIClient, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(work)], check=True)
    try:
        executor = DockerExecutor(work, agent="test-full", private_registries=True)
        digest = registry.push("tool", "1", layer(("noise", os.urandom(600 << 10))))
        (work / "filler").write_bytes(bytes(512 << 10))
        with pytest.raises(EngineUnavailable, match="no room for the image"):
            executor.stage(image(registry, "tool", digest), None)
        assert leftovers(tmp_path) == []

        (work / "filler").unlink()

        assert executor.stage(image(registry, "tool", digest), None) in ids(engine)
    finally:
        subprocess.run(["umount", str(work)], check=True)
