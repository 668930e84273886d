"""A whole market on this machine, shared by all journeys."""

from collections.abc import Iterator

import pytest

import image as builder
from deai.content import Content
from deai.home import Home
from deai.keys import unlock
from deai.local_store import LocalStore
from deai.localnet import Localnet
from deai.market_api import MarketApi
from deai.submitter import Submitter
from tests.journeys.users import IMAGE, ROOT, Cli, Jobs


@pytest.fixture(scope="session")
def net(docker_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Localnet]:
    with Localnet(tmp_path_factory.mktemp("net"), print) as net:
        yield net


@pytest.fixture(scope="session")
def cli(net: Localnet) -> Cli:
    return Cli(net.client_environment())


@pytest.fixture(scope="session")
def image(cli: Cli) -> str:
    """The image archive, in the store under the name that the users' documents use."""
    cid: str = cli.json("add", builder.build(ROOT / ".cache" / "image").archive, "--image", IMAGE)["cid"]
    return cid


@pytest.fixture(scope="session")
def submitter(net: Localnet) -> Iterator[Submitter]:
    account = unlock(net.folder / "home" / "keys" / "submitter.json", net.password_file.read_text())
    store, home = Content(LocalStore(net.folder / "store")), Home(net.folder / "home")
    with MarketApi(net.market_url, net.deployment.domain) as market:
        yield Submitter(account, net.deployment, net.chain(), market, store, home)


@pytest.fixture
def jobs(submitter: Submitter, image: str) -> Jobs:
    return Jobs(submitter, image)
