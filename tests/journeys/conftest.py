"""A whole market on this machine, shared by all journeys."""

from collections.abc import Iterator

import pytest

import image as builder
from deai.localnet import Localnet
from deai.submitter import Submitter
from tests.journeys.users import IMAGE, ROOT, Cli, CliInProcess, Jobs


@pytest.fixture(scope="session")
def net(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Localnet]:
    with Localnet(tmp_path_factory.mktemp("net"), print) as net:
        yield net


@pytest.fixture(scope="session")
def cli(net: Localnet) -> Cli:
    return Cli(net.client_environment())


@pytest.fixture(scope="session")
def quick(net: Localnet) -> Cli:
    """The same without a process for each command."""
    return CliInProcess(net.client_environment())


@pytest.fixture(scope="session")
def image(quick: Cli) -> str:
    """The image archive, in the store under the name that the users' documents use."""
    cid: str = quick.json("add", builder.build(ROOT / ".cache" / "image").archive, "--image", IMAGE)["cid"]
    return cid


@pytest.fixture(scope="session")
def submitter(net: Localnet) -> Iterator[Submitter]:
    with net.submitter() as submitter:
        yield submitter


@pytest.fixture
def jobs(submitter: Submitter, image: str) -> Jobs:
    return Jobs(submitter, image)
