"""`deai-provider`, whose acts stop where the test's `Lot` says. Nothing else of the program is changed."""

import os
from pathlib import Path
from typing import Any

import docker
from web3.providers.rpc import HTTPProvider

from deai import unixfs
from deai.market_api import MarketApi
from deai.web3_chain import Web3Chain
from deai_provider import __main__ as program
from deai_provider import outputs, volume
from deai_provider.docker_executor import DockerExecutor
from deai_provider.ledger import Ledger
from tests.kill.parking import Lot, SlowStore, wrap

_lot = Lot(Path(os.environ["DEAI_KILL_LOT"]))


def _mine(point: str) -> None:
    if (job := _lot.job) is not None:
        _lot.stop(job, point)


def _match(act: Any, self: Ledger, job: str, *args: Any) -> Any:
    _lot.stop(job, "before matched")
    entry = act(self, job, *args)
    _lot.stop(job, "after matched")
    return entry


def _move(act: Any, self: Ledger, job: str, step: str, *args: Any, **facts: Any) -> Any:
    _lot.stop(job, f"before {step}")
    entry = act(self, job, step, *args, **facts)
    _lot.stop(job, f"after {step}")
    return entry


def _fetch(act: Any, store: Any, *args: Any) -> Any:
    return act(SlowStore(store, lambda: _mine("fetching"), after=3), *args)


def _add(act: Any, path: Path, store: Any) -> Any:
    return act(path, SlowStore(store, lambda: _mine("publishing"), after=1))


def _after(point: str) -> Any:
    def around(act: Any, *args: Any, **kwargs: Any) -> Any:
        done = act(*args, **kwargs)
        _mine(point)
        return done

    return around


def _engine_start(act: Any, self: Any, container: str, *args: Any, **kwargs: Any) -> Any:
    job = str(self.inspect_container(container)["Config"]["Labels"].get("deai.job", ""))
    if job:
        _lot.stop(job, "container made")
    act(self, container, *args, **kwargs)
    if job:
        found = self.inspect_container(container)
        _lot.ran(job, f"{found['Id']} {found['State']['StartedAt']}")


def _remove(act: Any, self: DockerExecutor, job: str) -> Any:
    _lot.stop(job, "before cleared")
    done = act(self, job)
    _lot.stop(job, "half cleared")
    return done


def _deliver(act: Any, self: Web3Chain, signer: Any, job: str, *args: Any) -> Any:
    with _lot.about(job):
        receipt = act(self, signer, job, *args)
        _lot.stop(job, "delivery mined")
    return receipt


def _request(act: Any, self: HTTPProvider, method: Any, *args: Any) -> Any:
    if method == "eth_getTransactionReceipt":
        _mine("delivery sent")
    return act(self, method, *args)


for owner, name, around in (
    (Ledger, "match", _match),
    (Ledger, "move", _move),
    (unixfs, "fetch", _fetch),
    (unixfs, "add", _add),
    (volume, "make", _after("volume made")),
    (docker.APIClient, "start", _engine_start),
    (DockerExecutor, "start", _after("container started")),
    (outputs, "collect", _after("collecting")),
    (MarketApi, "bid", _after("bid posted")),
    (Web3Chain, "deliver", _deliver),
    (HTTPProvider, "make_request", _request),
    (DockerExecutor, "remove", _remove),
):
    wrap(owner, name, around)

if __name__ == "__main__":
    program.main()
