"""`deai-provider`, which cheats where a job's name says so. Nothing else of the program is changed.

`forged …`    delivers other outputs than the run left
`withheld …`  delivers the result's digest, and shows its content to nobody
`cured …`     withholds as well, until the result is disputed
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from deai.cid import Cid
from deai.content import Content
from deai.job import JobId
from deai_provider import __main__ as program
from deai_provider import result_folder
from deai_provider.ledger import Ledger, Step

_withheld = dict[str, JobId]()
"""The CIDs of results that nobody may see, and whose they are."""
_make, _share, _move = result_folder.make, Content.share, Ledger.move


def _forging(target: Path, spec: Any, *rest: Any) -> Any:
    record = _make(target, spec, *rest)
    if spec.name.startswith("forged"):
        (target / "answer.txt").write_text("made up")
    return record


def _withholding(self: Content, root: Cid, *rest: Any) -> bool:
    return str(root) in _withheld or _share(self, root, *rest)


def _noting(self: Ledger, id_: JobId, step: Step, *rest: Any, **facts: Any) -> Any:
    entry = _move(self, id_, step, *rest, **facts)
    name = entry.spec.name if entry.spec else ""
    if step is Step.PUBLISHED and name.startswith(("withheld", "cured")):
        _withheld[str(entry.result)] = id_
    if step is Step.DISPUTED and name.startswith("cured"):
        _withheld.pop(str(entry.result), None)
    return entry


def _replace(owner: Any, name: str, act: Callable[..., Any]) -> None:
    setattr(owner, name, act)


if __name__ == "__main__":
    _replace(result_folder, "make", _forging)
    _replace(Content, "share", _withholding)
    _replace(Ledger, "move", _noting)
    program.main()
