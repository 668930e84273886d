"""What a job needs is brought while it may still be awarded, holds up no other job, and stays as long as a promise needs it."""

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deai import unixfs
from deai.cid import Cid
from deai.errors import EngineUnavailable, StoreUnavailable, Unavailable
from deai.job import Timestamp
from deai.registry import Manifest
from deai.spec import Image
from deai_provider import room
from deai_provider.archives import Archives
from deai_provider.docker_images import DockerImages
from deai_provider.executor import Run
from deai_provider.image_archive import ImageLimits
from deai_provider.ledger import Ledger, Step
from deai_provider.testing import Script
from tests.unit.provider_world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def hang(_: Run) -> Script:
    return Script(seconds=None)


class Gate:
    """A store's `get` that waits before it gives one block."""

    def __init__(self, world: World, cid: Cid) -> None:
        self.reached, self.opened = threading.Event(), threading.Event()
        self._get, self._cid = world.store.get, cid
        world.store.get = self  # type: ignore[method-assign]

    def __call__(self, cid: Cid) -> bytes:
        if cid == self._cid:
            self.reached.set()
            assert self.opened.wait(10)
        return self._get(cid)


class Engine:
    """An engine with images of ours, five bytes each, and no container."""

    def __init__(self, *images: str) -> None:
        self.there = list(images)

    def images(self, name: str) -> list[dict[str, str]]:
        return [{"Id": each} for each in self.there]

    def inspect_image(self, image: str) -> dict[str, Any]:
        tag = f"deai.local/image:{image.removeprefix('sha256:')}"
        return {"Id": image, "Metadata": {"LastTagTime": ""}, "Size": 5, "RepoTags": [tag]}

    def containers(self, **_: object) -> list[object]:
        return []

    def tag(self, *_: str) -> None:
        pass

    def remove_image(self, image: str, **_: object) -> None:
        self.there.remove(image)


def images(engine: object, folder: Path, needed: Callable[[], set[str]], budget: int = 0) -> DockerImages:
    return DockerImages(engine, engine, "amd64", ImageLimits(), budget, folder, lambda: None, needed)  # type: ignore[arg-type, return-value]


# Other jobs.


def test_a_slow_archive_of_one_job_does_not_hold_up_the_others(world: World) -> None:
    slow, quick = (unixfs.add_bytes(data, world.store) for data in (b"slow", b"quick"))
    gate = Gate(world, slow)
    with world.agent():
        waits = world.submit(world.spec(image={"cid": str(slow)}))
        try:
            assert gate.reached.wait(10)
            world.reach(world.submit(world.spec(image={"cid": str(quick)}, name="b")), Step.DELIVERED)
            assert world.reach(waits, *Step).step is Step.STAGING
        finally:
            gate.opened.set()
        world.reach(waits, Step.DELIVERED)


def test_two_jobs_of_the_same_archive_fetch_it_once(world: World) -> None:
    image = unixfs.add_bytes(b"an archive", world.store)
    gate = Gate(world, image)
    asked: list[Cid] = []
    inner = gate._get
    gate._get = lambda cid: asked.append(cid) or inner(cid)  # type: ignore[func-returns-value]
    with world.agent():
        jobs = [world.submit(world.spec(image={"cid": str(image)}, name=name)) for name in "ab"]
        assert gate.reached.wait(10)
        world.reach(jobs[1], Step.STAGING)
        gate.opened.set()
        for each in jobs:
            world.reach(each, Step.DELIVERED)
    assert asked.count(image) == 1


def test_who_waits_for_an_archive_gives_up_once_it_need_not_be(tmp_path: Path) -> None:
    archives = Archives(tmp_path)

    def over() -> None:
        raise Unavailable("it is over")

    with archives.held("a", over), pytest.raises(Unavailable, match="over"), archives.held("a", over):
        pass
    with archives.held("a", over) as path:
        assert path == tmp_path / "a.tar"


def test_an_archive_that_is_held_or_needed_outlives_a_full_disk(tmp_path: Path) -> None:
    archives = Archives(tmp_path)
    for name in "abc":
        (tmp_path / f"{name}.tar").write_bytes(b"12345")
    with archives.held("a", lambda: None):
        archives.trim(0, {"b"})
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["a", "b"]


# Deadlines.


def test_staging_ends_with_award_by(world: World) -> None:
    inputs = {name: unixfs.add_bytes(name.encode(), world.store) for name in ("first", "second")}
    gate, further = Gate(world, inputs["first"]), Gate(world, inputs["second"])
    with world.agent() as agent:
        now = world.chain.now
        spec = world.spec(inputs={name: str(cid) for name, cid in inputs.items()})
        id_ = world.submit(spec, open_at=Timestamp(now + 10), award_by=Timestamp(now + 40))
        assert gate.reached.wait(10)
        world.chain.advance(60)
        agent._shop.now()
        gate.opened.set()
        assert world.reach(id_, Step.FAILED).reason == "award_by has come"
    assert not further.reached.is_set()
    assert ("stage", str(spec.image)) not in world.executor.calls


def test_an_agent_that_stops_does_not_finish_what_it_stages(world: World) -> None:
    inputs = {name: unixfs.add_bytes(name.encode(), world.store) for name in ("first", "second")}
    gate, further = Gate(world, inputs["first"]), Gate(world, inputs["second"])
    with world.agent() as agent:
        id_ = world.submit(world.spec(inputs={name: str(cid) for name, cid in inputs.items()}))
        assert gate.reached.wait(10)
        agent.stop()
        gate.opened.set()
    assert world.reach(id_, *Step).step is Step.STAGING
    assert not further.reached.is_set()
    further.opened.set()
    with world.agent():
        world.reach(id_, Step.DELIVERED)


def test_an_image_that_the_engine_has_is_not_staged_again_under_the_award(world: World) -> None:
    world.script = hang
    with world.agent():
        id_ = world.submit()
        world.until(lambda: world.starts(id_) == 1)
    world.executor.lose(id_)
    world.executor.images[str(world.spec().image)] = StoreUnavailable("its author took it away")
    with world.agent():
        world.until(lambda: world.starts(id_) == 2)
        world.executor.finish(id_)
        world.reach(id_, Step.DELIVERED)


# Room.


def test_an_image_that_a_bid_was_signed_for_outlives_a_full_disk(world: World) -> None:
    world.market.awards = False
    with world.agent():
        entry = world.reach(world.submit(), Step.BIDDING)
        assert entry.image is not None
        engine = Engine(entry.image, "sha256:old")
        with Ledger(world.folder / "ledger.sqlite", read_only=True) as ledger:
            kept = images(engine, world.folder / "pulls", lambda: room.needed_images(ledger))
            kept.spare()
            assert engine.there == [entry.image]
            engine.there.append("sha256:new")
            kept.keep("sha256:new")
    assert engine.there == [entry.image, "sha256:new"]


def test_an_image_larger_than_what_is_free_is_a_want_of_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OneImage:
        def __enter__(self) -> "OneImage":
            return self

        def __exit__(self, *_: object) -> None: ...

        def manifest(self, reference: Any, platform: Any) -> Manifest:
            return Manifest(reference, platform, b"12345", ())

    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 4}))
    engine = Engine()
    monkeypatch.setattr(DockerImages, "_image", lambda *_: None)
    pulls = DockerImages(engine, engine, "amd64", ImageLimits(), 0, tmp_path / "p", OneImage)  # type: ignore[arg-type]
    with pytest.raises(EngineUnavailable, match="it has 5 bytes, 4 are free") as raised:
        pulls.bring(Image(digest="python@sha256:" + "0" * 64), None)
    assert room.is_short(raised.value)


def test_a_job_whose_image_has_no_room_is_declined_and_room_is_made(world: World) -> None:
    error = EngineUnavailable("no room for the image")
    error.__cause__ = OSError(errno.ENOSPC, "too little is free for it")
    world.executor.images[str(world.spec().image)] = error
    with world.agent():
        entry = world.reach(world.submit(), Step.FAILED)
    assert "no room" in entry.reason
    assert ("spare", "") in world.executor.calls
