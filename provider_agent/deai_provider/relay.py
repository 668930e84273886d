"""Tells a market what the chain does not see: a job's observations and logs. Never holds up the run: it has
its own thread.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from eth_account.signers.local import LocalAccount

from deai.errors import Unavailable, WrongRequest
from deai.job import JobId
from deai.wire import LogChunk, Observation
from deai_provider.workshop import Market

_log = logging.getLogger(__name__)
_CHUNK_BYTES = 256 << 10
_LOOK_SECONDS = 0.5
HOLD_SECONDS = 10.0
_MAX_PAUSE_SECONDS = 30.0


class Relay:
    """One job's messages to the market, in order. What a market that is away misses is sent again later;
    an observation that it refuses is dropped, and a piece of the log that it refuses is offered again, ever more
    rarely: its view of the chain may lag behind ours.
    """

    def __init__(
        self, market: Market, account: LocalAccount, id_: JobId, read: Callable[[int], bytes]
    ) -> None:
        """`read(offset)` gives the run's output from that byte on."""
        self._market, self._account, self._id, self._read = market, account, id_, read
        self._observations: deque[Observation] = deque()
        self._queueing = threading.Lock()
        """Held by whoever reads or changes the queue, and to start the thread."""
        self._offset = 0
        self._log_pause, self._log_at = _LOOK_SECONDS, 0.0
        self._logging = self._ended = False
        self._finishing = threading.Event()
        self._aborted = threading.Event()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def observe(self, event: str, text: str = "") -> None:
        """Queues an observation."""
        observation = Observation(event=event, text=text[:256])
        with self._queueing:
            if observation not in self._observations:
                self._observations.append(observation)
        self._start()

    @contextmanager
    def repeating(self, event: str, text: str = "") -> Iterator[None]:
        """Says it at once, and again every `HOLD_SECONDS` until left: a market holds a match only for a provider
        that keeps saying `Staging`.
        """
        left = threading.Event()

        def repeat() -> None:
            while not left.wait(HOLD_SECONDS):
                self.observe(event, text)

        self.observe(event, text)
        thread = threading.Thread(target=repeat, name=f"hold-{self._id[:10]}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            left.set()
            thread.join()

    @property
    def follows(self) -> bool:
        """Whether it sends the run's output."""
        return self._logging

    def follow(self) -> None:
        """Sends the run's output from now on, from its first byte: chunks that the market has are harmless."""
        self._logging = True
        self._start()

    def finish(self, seconds: float) -> int | None:
        """Sends what is left, for at most `seconds`; then gives up. From which byte on the market lacks the run's output; None if it
        has all of it, or was to have none.
        """
        if self._thread is None:
            return None
        self._finishing.set()
        self._wake.set()
        self._thread.join(seconds)
        self._aborted.set()
        self._wake.set()
        return self._offset if self._logging and not self._ended else None

    def _start(self) -> None:
        with self._queueing:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"relay-{self._id[:10]}", daemon=True)
                self._thread.start()
        self._wake.set()

    def _work(self) -> None:
        pause = _LOOK_SECONDS
        while not self._aborted.is_set():
            self._wake.clear()
            finishing = self._finishing.is_set()
            try:
                self._send(finishing)
                if finishing:
                    return
                pause = _LOOK_SECONDS
                self._wake.wait(_LOOK_SECONDS if self._logging else None)
                continue
            except Unavailable as error:
                _log.info("%s: %s; again in %.1f s", self._id, error, pause)
            except Exception:  # noqa: BLE001 - a loop's top
                _log.exception("%s: a bug; again in %.1f s", self._id, pause)
            self._aborted.wait(pause)
            pause = min(pause * 2, _MAX_PAUSE_SECONDS)

    def _send(self, finishing: bool) -> None:
        while (observation := self._next()) is not None:
            try:
                self._market.observe(self._account, self._id, observation)
            except WrongRequest as error:
                _log.warning("%s: the market refused to hear of %s: %s", self._id, observation.event, error)
            with self._queueing:
                self._observations.popleft()
        if self._logging and (finishing or time.monotonic() >= self._log_at):
            try:
                self._send_log(finishing)
                self._log_pause = _LOOK_SECONDS
            except WrongRequest as error:
                self._log_pause = min(self._log_pause * 2, _MAX_PAUSE_SECONDS)
                self._log_at = time.monotonic() + self._log_pause
                _log.warning("%s: the market refused a piece of the log: %s", self._id, error)

    def _next(self) -> Observation | None:
        with self._queueing:
            return self._observations[0] if self._observations else None

    def _send_log(self, finishing: bool) -> None:
        while data := self._read(self._offset)[:_CHUNK_BYTES]:
            self._market.send_logs(self._account, self._id, LogChunk(offset=self._offset, data=data))
            self._offset += len(data)
        if finishing:
            self._market.send_logs(self._account, self._id, LogChunk(offset=self._offset, data=b"", end=True))
            self._ended = True
