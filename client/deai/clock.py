"""The chain's time between blocks: what the next block will say, as near as one can know."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from deai.chain import Block, Chain
from deai.job import Timestamp

_YEAR_10000 = 253_402_300_800


class ChainClock:
    """This machine's clock, put forward when the chain's newest block is ahead of it: local chains jump."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self.wall = wall
        """Seconds since 1970 on this machine."""
        self._head = ""
        self._ahead = 0

    def saw(self, head: Block) -> None:
        """Takes note of the newest block. What counts is the moment at which it was first seen."""
        if head.hash != self._head:
            self._head, self._ahead = head.hash, max(0, head.time - int(self.wall()))

    def now(self) -> Timestamp:
        """Chain seconds."""
        return Timestamp(int(self.wall()) + self._ahead)


def chain_now(chain: Chain) -> Timestamp:
    """The time that the next block will have, at the earliest: a chain that rests has an old head. Raises ChainUnavailable."""
    return Timestamp(max(chain.head().time, int(time.time())))


def utc(at: Timestamp) -> str:
    """Chain seconds as people read them. Any number: years beyond 9999 stay a number."""
    if at >= _YEAR_10000:
        return f"second {at}"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(at: Timestamp) -> str:
    """Chain seconds as programs exchange them (RFC 3339), before the year 10000."""
    return datetime.fromtimestamp(min(at, _YEAR_10000 - 1), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
