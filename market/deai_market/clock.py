"""The chain's time between blocks: what the next block will say, as near as one can know."""

import time
from collections.abc import Callable

from deai.chain import Block
from deai.job import Timestamp


class ChainClock:
    """The wall's clock, put forward when the chain's newest block is ahead of it (local chains jump)."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._ahead = 0

    def saw(self, head: Block) -> None:
        """Takes note of a new head, at the moment it is seen."""
        self._ahead = max(0, head.time - int(self._wall()))

    def now(self) -> Timestamp:
        """Chain seconds."""
        return Timestamp(int(self._wall()) + self._ahead)
