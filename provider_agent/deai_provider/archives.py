"""Image archives on this machine's disk, named by their CIDs: kept for the next job, as far as there is room."""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

_LOOK_SECONDS = 1.0


class Archives:
    """The archives in `folder`. Each is one thread's at a time, however long that takes; the others' do not wait for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changed = threading.Condition()
        self._held: set[str] = set()

    @contextmanager
    def held(self, name: str, check: Callable[[], None]) -> Iterator[Path]:
        """The path of an archive that nobody else fetches, reads or removes meanwhile. What `check()`, called while others hold it, raises
        ends the wait.
        """
        with self._changed:
            while name in self._held:
                check()
                self._changed.wait(_LOOK_SECONDS)
            self._held.add(name)
        try:
            yield self._folder / f"{name}.tar"
        finally:
            with self._changed:
                self._held.discard(name)
                self._changed.notify_all()

    def trim(self, most: int, needed: Collection[str]) -> None:
        """Removes those used longest ago until `most` bytes are left, but none that is `needed` or held. Raises OSError."""
        with self._changed:
            found = [(path, path.stat()) for path in self._folder.glob("*.tar")]
            for path, status in sorted(found, key=lambda each: each[1].st_mtime, reverse=True):
                most -= status.st_size
                if most < 0 and path.stem not in needed and path.stem not in self._held:
                    path.unlink()
