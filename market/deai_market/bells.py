"""Wake-ups from working threads to open connections, so that a long poll costs no thread and answers in milliseconds."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

Topic = tuple[str, str]
"""What one listens for: a kind, such as `matches` or `logs`, and whose."""


class Ear:
    """One listener. Made before the first look, so that nothing rung after that look is missed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wakes the listener; from any thread."""
        with suppress(RuntimeError):  # its loop has ended, and so has it
            self._loop.call_soon_threadsafe(self._rung.set)

    async def heard(self, seconds: float) -> None:
        """Returns once the bell was rung, or after `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        self._rung.clear()


class Bells:
    """One bell for each topic that somebody listens for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ears: dict[Topic, set[Ear]] = {}
        self.closed = False
        """Nobody should go on listening: the market stops."""

    def ring(self, topic: Topic) -> None:
        """Wakes all who listen for `topic`."""
        with self._lock:
            ears = tuple(self._ears.get(topic, ()))
        for ear in ears:
            ear.ring()

    def close(self) -> None:
        """Wakes everybody, for good."""
        with self._lock:
            self.closed = True
            ears = [ear for listening in self._ears.values() for ear in listening]
        for ear in ears:
            ear.ring()

    @contextmanager
    def listening(self, topic: Topic) -> Iterator[Ear]:
        """Listens for `topic` while the block runs."""
        ear = Ear(asyncio.get_running_loop())
        with self._lock:
            self._ears.setdefault(topic, set()).add(ear)
        try:
            yield ear
        finally:
            with self._lock:
                self._ears[topic].discard(ear)
                if not self._ears[topic]:
                    del self._ears[topic]
