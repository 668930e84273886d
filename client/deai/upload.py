"""Hands content to a market, so that whoever handed it in can be behind NAT, or go away. Only what is missing there is sent."""

import math
import threading
import time
from collections.abc import Callable, Iterable
from itertools import islice

from eth_account.signers.local import LocalAccount

from deai import car
from deai.cid import Cid
from deai.market_api import MarketApi
from deai.store import Block
from deai.wire import MAX_CIDS, UPLOAD_BYTES

_ASK_AT_ONCE = MAX_CIDS // 4  # some hundred MiB of a large file, so that `go_on` is asked in between
_LOOK_SECONDS = 0.5


class Uploader:
    """Sends blocks to `market`, signed by `account`. Thread-safe: one upload at a time, as markets take them. Memory stays at one batch."""

    def __init__(self, market: MarketApi, account: LocalAccount) -> None:
        self._market, self._account = market, account
        self._sending = threading.Lock()

    def send(
        self,
        cids: Iterable[Cid],
        get: Callable[[Cid], bytes],
        go_on: Callable[[], bool],
        seconds: float = math.inf,
    ) -> bool:
        """Sees to it that the market has all these blocks; `get` gives the bytes of one. Before each request `go_on()` is asked: False when
        it said no, or `seconds` are over; no request outlasts them. What was sent until then, or until an error, stays there, so a second
        call goes on where the first one ended.

        Raises WrongRequest when the market knows no such account, or holds enough for it; MarketUnavailable; and what `get` raises.
        """
        until = time.monotonic() + seconds

        def left() -> float:
            return until - time.monotonic()

        def still() -> bool:
            return left() > 0 and go_on()

        waiting = iter(cids)
        while asked := list(islice(waiting, _ASK_AT_ONCE)):
            if not still():
                return False
            missing = self._market.missing(self._account, asked, left())
            for batch in _batches(missing, get):
                if not still():
                    return False
                while not self._sending.acquire(timeout=min(_LOOK_SECONDS, max(0.0, left()))):
                    if not still():
                        return False
                try:
                    self._market.upload(self._account, batch, left())
                finally:
                    self._sending.release()
        return True


def _batches(cids: Iterable[Cid], get: Callable[[Cid], bytes]) -> Iterable[bytes]:
    """Archives of some `UPLOAD_BYTES` each."""
    archive = bytearray()
    for cid in cids:
        archive = archive or bytearray(car.header([cid]))
        archive += car.section(Block(cid, get(cid)))
        if len(archive) >= UPLOAD_BYTES:
            yield bytes(archive)
            archive.clear()
    if archive:
        yield bytes(archive)
