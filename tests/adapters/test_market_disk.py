"""A market whose disk is full: nothing is acknowledged that is not kept, and it goes on by itself once there is room."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from eth_account import Account

from deai.authorities import authorities
from deai.deployment import Deployment
from deai.errors import MarketUnavailable
from deai.job import Address
from deai.market_api import MarketApi
from deai.web3_chain import Web3Chain
from deai.wire import SignedAsk
from tests.adapters.market_fixtures import eventually
from tests.adapters.test_market_program import environment, start
from tests.market_world import World

__all__ = ["environment"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def running(environment: dict[str, str], deployment: Deployment) -> Iterator[MarketApi]:
    """The program, which is killed in the end."""
    with start(environment) as program:
        try:
            assert program.stderr is not None
            found = re.search(r"listening on (http\S+)", program.stderr.readline())
            assert found
            with MarketApi(found[1], deployment.domain) as api:
                yield api
        finally:
            program.kill()


def fill(disk: Path) -> Path:
    """Takes all that is left."""
    path = disk / "filling"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return path


def test_the_program_refuses_and_goes_on_and_what_it_took_outlives_a_kill(
    environment: dict[str, str], deployment: Deployment, disk: Path, tmp_path: Path
) -> None:
    environment["DEAI_MARKET_DATA"] = str(disk / "data")
    world, taken = World(tmp_path / "world"), list[SignedAsk]()
    world.deployment = deployment

    def fresh() -> SignedAsk:
        now = Web3Chain(environment["DEAI_MARKET_RPC"], deployment).head().time
        return world.ask(Account.create(), issued_at=now, expires_at=now + 3_600)

    def offer(api: MarketApi) -> None:
        ask = fresh()
        api.ask(ask)
        taken.append(ask)

    with running(environment, deployment) as api:
        offer(api)
        filling = fill(disk)
        # Files have some room inside that is theirs already.
        answer = httpx.Response(202)
        while answer.status_code == 202:
            ask = fresh()
            answer = httpx.post(
                f"{api.url}/asks", json=ask.model_dump(mode="json"), trust_env=False, verify=authorities()
            )
            taken += [ask] * (answer.status_code == 202)
        assert (answer.status_code, answer.headers.get("retry-after")) == (507, "10"), answer.text
        assert answer.json()["error"] == "DiskFull"
        assert {each.signature for each in api.asks()} == {each.signature for each in taken}
        filling.unlink()
        offer(api)
        assert len(api.asks()) == len(taken)
    with running(environment, deployment) as api:
        assert {each.signature for each in api.asks()} == {each.signature for each in taken}


def test_orders_are_kept_whole_or_refused_and_matching_goes_on(disk: Path) -> None:
    world = World(disk)
    with world.served() as api:
        api.submit(world.order())
        filling = fill(disk)
        kept = 1

        def submit(most: int) -> None:
            nonlocal kept
            for _ in range(most):
                api.submit(world.order())
                kept += 1

        with pytest.raises(MarketUnavailable):
            submit(9)
        assert len(api.jobs()) == kept
        filling.unlink()
        submit(1)
        assert len(api.jobs()) == kept
        api.ask(world.ask())
        eventually(
            lambda: api.matches(Address(world.provider.address), 0, 5).matches, lambda found: len(found) > 0
        )
