"""A small job that many tests are about: its spec, and what somebody may deliver for it."""

from pathlib import Path
from tempfile import mkdtemp

from deai import unixfs
from deai.result import EXIT_NAME, LOG_NAME, ExitRecord
from deai.spec import Spec
from deai.store import Block, Store


def digits(store: Store, **fields: object) -> Spec:
    """Its spec with one input, both kept in the store."""
    given: dict[str, object] = {
        "name": "digits",
        "image": {"digest": "python@sha256:" + "0" * 64},
        "command": ["python3", "/inputs/script"],
        "inputs": {"script": str(unixfs.add_bytes(b"print('hello')", store))},
        "output_path": "/out",
        "max_seconds": 300,
    }
    spec = Spec.build(**(given | fields))
    store.put([Block(spec.cid(), spec.canonical())])
    return spec


def delivered(folder: Path, store: Store, answer: bytes, exit_code: int = 0) -> bytes:
    """A result with that answer, made in `folder` and put into the store; its digest."""
    target = Path(mkdtemp(prefix="result-", dir=folder))
    (target / "out").mkdir()
    (target / "out" / "answer").write_bytes(answer)
    (target / LOG_NAME).write_bytes(b"theirs")
    record = ExitRecord(exit_code=exit_code, timed_out=False, oom_killed=False, seconds=1, image="sha256:1")
    (target / EXIT_NAME).write_bytes(record.canonical())
    return unixfs.add(target, store).digest
