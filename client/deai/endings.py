"""How delivered runs ended, as their providers say: read from the results once, then known here."""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deai import unixfs
from deai.cid import Cid
from deai.errors import BadContent, BadField, Unavailable
from deai.home import write_whole
from deai.result import EXIT_NAME, MAX_EXIT_BYTES, ExitRecord
from deai.store import Store

_AT_ONCE = 8


def exit_record(store: Store, result: Cid) -> ExitRecord | None:
    """The exit record of a result; None when it holds no readable one. Raises ContentMissing, StoreUnavailable."""
    try:
        found = unixfs.resolve(store, result, EXIT_NAME)
        return ExitRecord.parse(unixfs.read(store, found, MAX_EXIT_BYTES))
    except (BadContent, BadField):
        return None


def brief(record: ExitRecord | None) -> str:
    """The end of a run in a word or two: `exit 0`, `timed out`, `exit 137, out of memory`; `no exit record` without one."""
    if record is None:
        return "no exit record"
    ended = "timed out" if record.timed_out else f"exit {record.exit_code}"
    return f"{ended}, out of memory" if record.oom_killed else ended


class Endings:
    """The ends of many runs. `folder` is deai's home folder."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store, self._file = store, folder / "endings.json"

    def of(self, results: Iterable[Cid]) -> dict[Cid, str]:
        """The ends of those runs whose results can be had now, in brief."""
        wanted, known = dict.fromkeys(results), self._known()
        new = [cid for cid in wanted if str(cid) not in known]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = {str(cid): end for cid, end in zip(new, pool.map(self._read, new), strict=True) if end}
        if found:
            write_whole(self._file, json.dumps(known | found))
        ends = known | found
        return {cid: ends[str(cid)] for cid in wanted if str(cid) in ends}

    def _read(self, result: Cid) -> str | None:
        try:
            return brief(exit_record(self._store, result))
        except Unavailable:
            return None

    def _known(self) -> dict[str, str]:
        try:
            known = json.loads(self._file.read_text())
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise BadField("endings", str(self._file), "is not JSON; remove it") from error
        return known if isinstance(known, dict) else {}
