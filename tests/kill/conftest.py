"""One market on one engine for the whole suite, and the count at its end."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import image as builder
from deai import unixfs
from tests.kill.disk import SmallDisk
from tests.kill.engine import Engine
from tests.kill.parking import Lot
from tests.kill.tally import Tally
from tests.kill.world import ROOT, KillNet, World

_tally = Tally()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _tally.lives:
        terminalreporter.section("lives that met a kill")
        for line in _tally.table():
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine(tmp_path_factory.mktemp("engine") / "dockerd.log")
    try:
        engine.start()
        yield engine
    finally:
        engine.close()


@pytest.fixture(scope="session")
def net(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KillNet]:
    folder = tmp_path_factory.mktemp("kill")
    net = KillNet(folder / "net", engine, Lot(folder / "lot"))
    net.folder.mkdir(exist_ok=True)
    net.disks = {
        part: SmallDisk(folder / f"{part}.img", net.folder / part, mib)
        for part, mib in (("provider", 1_024), ("market", 4_096))
    }
    with net:
        yield net


@pytest.fixture(scope="session")
def world(net: KillNet) -> Iterator[World]:
    with net.submitter() as submitter:
        image = unixfs.add(Path(builder.build(ROOT / ".cache" / "image").archive), submitter.store)
        world = World(net, submitter, str(image), _tally)
        # The image is loaded once, by a job that nobody kills.
        world.begin()
        world.finish("(nobody)", world.run(1))
        yield world


@pytest.fixture(autouse=True)
def all_stand_up_again(world: World) -> Iterator[None]:
    """A round that failed leaves its jobs standing, and a part dead: the next one is not to suffer for it."""
    yield
    for disk in world.net.disks.values():
        disk.free()
    world.lot.clear()
    world.net.revive()
