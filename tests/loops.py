"""The programs' loops, in threads of their own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

_STOP_SECONDS = 20.0


class Loop(Protocol):
    """An agent, or a verifier."""

    def run(self) -> None: ...

    def stop(self) -> None: ...


@contextmanager
def running(loop: Loop) -> Iterator[None]:
    """The loop runs; at the end it is stopped, as by SIGTERM."""
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield
    finally:
        loop.stop()
        thread.join(_STOP_SECONDS)
        assert not thread.is_alive(), f"the {type(loop).__name__} did not stop"
