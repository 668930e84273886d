"""How far long work has come: a bar on standard error, where a person watches."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from deai.cid import Cid
from deai.store import Block, Store

Moved = Callable[[int], None]
"""Told how many bytes more are done."""


def unmoved(count: int) -> None:
    """Tells nobody."""


@contextmanager
def bar(label: str, total: int | None, *, hidden: bool = False) -> Iterator[Moved]:
    """A bar for `total` bytes, or for as many as come. Nothing is shown where standard error is no terminal."""
    if hidden or not sys.stderr.isatty():
        yield unmoved
        return
    from rich.console import Console  # noqa: PLC0415 - a fifth of a second, for those who see it
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn  # noqa: PLC0415

    columns = (TextColumn(label), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=total)
        yield lambda count: progress.update(task, advance=count)


@contextmanager
def waiting(label: str) -> Iterator[None]:
    """Shows that work goes on whose end nobody knows, where standard error is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console  # noqa: PLC0415

    with Console(stderr=True).status(label):
        yield


class Metered:
    """A store that tells how many bytes went through it."""

    def __init__(self, store: Store, moved: Moved) -> None:
        self._store, self._moved = store, moved

    def put(self, blocks: Iterable[Block]) -> None:
        self._store.put(self._counted(blocks))

    def _counted(self, blocks: Iterable[Block]) -> Iterator[Block]:
        for block in blocks:
            yield block
            self._moved(len(block.data))

    def get(self, cid: Cid) -> bytes:
        data = self._store.get(cid)
        self._moved(len(data))
        return data

    def has(self, cid: Cid) -> bool:
        return self._store.has(cid)

    def pin(self, root: Cid) -> None:
        self._store.pin(root)
