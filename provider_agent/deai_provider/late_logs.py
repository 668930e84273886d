"""What a market did not take of a job's output before the job was over: kept for a while, and handed over once the market is back."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from deai.errors import WrongRequest
from deai.job import JobId
from deai.wire import LogChunk

_log = logging.getLogger(__name__)
MAX_BYTES = 64 << 20
"""Of all of them together; the oldest go first."""
MAX_SECONDS = 86_400.0
_CHUNK_BYTES = 256 << 10

Send = Callable[[JobId, LogChunk], None]


class LateLogs:
    """A folder with a file for each such job: `<job>.<the first byte's offset>`. Thread-safe."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()

    def keep(self, id_: JobId, offset: int, data: bytes) -> None:
        """Keeps the output of a job from byte `offset` on. Raises OSError where the disk refuses."""
        with self._lock:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial = self._folder / f".{id_}"
            partial.write_bytes(data[:MAX_BYTES])
            partial.replace(self._folder / f"{id_}.{offset}")
            self._drop()

    def waiting(self) -> list[JobId]:
        """The jobs whose output is here."""
        return [JobId(path.name.partition(".")[0]) for path in self._files()]

    def send(self, send: Send) -> None:
        """Hands over what is here, the oldest first. Raises MarketUnavailable; what was taken is not sent again."""
        for path in self._files():
            name, _, offset = path.name.partition(".")
            try:
                self._send_one(JobId(name), int(offset), path.read_bytes(), send)
            except FileNotFoundError:
                continue  # dropped meanwhile: there was too much
            except WrongRequest as error:
                if time.time() - path.stat().st_mtime < MAX_SECONDS:
                    _log.info("%s: the market does not take the rest of the log yet: %s", name, error)
                    continue
                _log.warning("%s: the market never took the rest of the log: %s", name, error)
            path.unlink(missing_ok=True)

    def _send_one(self, id_: JobId, offset: int, data: bytes, send: Send) -> None:
        for start in range(0, len(data), _CHUNK_BYTES):
            send(id_, LogChunk(offset=offset + start, data=data[start : start + _CHUNK_BYTES]))
        send(id_, LogChunk(offset=offset + len(data), data=b"", end=True))

    def _files(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        files = [path for path in self._folder.iterdir() if not path.name.startswith(".")]
        return sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def _drop(self) -> None:
        left = MAX_BYTES
        for path in reversed(self._files()):
            left -= path.stat().st_size
            if left < 0:
                _log.warning("%s: the rest of the log is dropped: too many wait for the market", path.name)
                path.unlink()
