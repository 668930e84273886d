"""`deai-market`, whose acts stop where the test's `Lot` says. Nothing else of the program is changed."""

import os
import threading
from pathlib import Path
from typing import Any

from web3.providers.rpc import HTTPProvider

from deai.deployment import Deployment
from deai.signing import job_id
from deai.web3_chain import Web3Chain
from deai.wire import Order, SignedBid
from deai_market import __main__ as program
from deai_market import matcher
from deai_market.book import Book
from tests.kill.parking import Lot, wrap

_lot = Lot(Path(os.environ["DEAI_KILL_LOT"]))
_batch = threading.local()
_domain = Deployment.load(Path(os.environ["DEAI_MARKET_DEPLOYMENT"])).domain


def _submit(act: Any, self: Book, order: Order, *args: Any) -> Any:
    job = job_id(order.job.value(), _domain)
    _lot.stop(job, "before the order is kept")
    done = act(self, order, *args)
    _lot.stop(job, "before the order is answered")
    return done


def _match(act: Any, *args: Any, **kwargs: Any) -> Any:
    found = act(*args, **kwargs)
    for each in found.matches:
        _lot.stop(each.job, "before the match is kept")
    return found


def _round(act: Any, self: matcher.Matcher) -> Any:
    found = act(self)
    for each in found.matches:
        _lot.stop(each.job, "after the match was told")
    return found


def _bid(act: Any, self: Book, signed: SignedBid) -> Any:
    _lot.stop(signed.bid.job, "before the bid is kept")
    done = act(self, signed)
    _lot.stop(signed.bid.job, "before the bid is answered")
    return done


def _award(act: Any, self: Web3Chain, signer: Any, job: Any, *args: Any) -> Any:
    id_ = job_id(job, _domain)
    with _lot.about(id_):
        _lot.stop(id_, "before the award is sent")
        receipt = act(self, signer, job, *args)
        _lot.stop(id_, "before the award is recorded")
    return receipt


def _awards(act: Any, self: Web3Chain, signer: Any, calls: Any, **options: Any) -> Any:
    ids = [job_id(call.values[0], _domain) for call in calls]
    for id_ in ids:
        _lot.stop(id_, "before the award is sent")
    _batch.jobs = ids
    try:
        receipt = act(self, signer, calls, **options)
    finally:
        _batch.jobs = []
    for id_ in ids:
        _lot.stop(id_, "before the award is recorded")
    return receipt


def _request(act: Any, self: HTTPProvider, method: Any, *args: Any) -> Any:
    if method == "eth_getTransactionReceipt":
        for job in getattr(_batch, "jobs", []) or filter(None, [_lot.job]):
            _lot.stop(job, "award sent")
    return act(self, method, *args)


for owner, name, around in (
    (Book, "submit", _submit),
    (Book, "bid", _bid),
    (matcher, "match", _match),
    (matcher.Matcher, "round", _round),
    (Web3Chain, "award", _award),
    (Web3Chain, "batch", _awards),
    (HTTPProvider, "make_request", _request),
):
    wrap(owner, name, around)

if __name__ == "__main__":
    program.main()
