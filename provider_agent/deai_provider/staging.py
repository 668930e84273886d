"""Staging: a job's spec, image and inputs on this machine's disk, checked, before anything is promised."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from deai import unixfs
from deai.cid import Cid, Codec
from deai.errors import Unavailable
from deai.job import Job, JobId
from deai.spec import Spec
from deai.store import Block, Store
from deai_provider.ledger import BUSY, UNDER_AWARD, Entry
from deai_provider.workshop import Workshop, known


def read_spec(store: Store, job: Job) -> Spec:
    """The spec that the job names. Raises BadField for one that is not valid, ContentMissing,
    StoreUnavailable.
    """
    return Spec.parse(store.get(Cid(Codec.RAW, job.spec)))


def stage(shop: Workshop, spec: Spec, folder: Path) -> str:
    """Brings everything a run of `spec` needs; inputs go to `folder`/inputs. Returns the image's pinned id.

    What is there already stays, so saying it again finishes what was interrupted. Raises BadContent for
    content that is not what it says or beyond the caps, ContentMissing, StoreUnavailable, EngineUnavailable;
    Unavailable once the agent stops, or the deadline has come, `award_by` or after the award `deliver_by`.
    """
    entry = known(shop.ledger.entry(JobId(folder.name)))

    def check() -> None:
        _check(shop, entry)

    store = _Checked(shop.store, check)
    inputs = inputs_folder(folder)
    inputs.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(inputs, spec)
    left = shop.max_input_bytes
    for name, cid in sorted(spec.inputs.items()):
        target = inputs / name
        if not target.exists():
            unixfs.fetch(store, Cid.parse(cid), target, unixfs.Limits(max_bytes=left))
        left -= _bytes(target)
    if entry.step in UNDER_AWARD and entry.image is not None and shop.executor.has(entry.image):
        # A promise waits for nobody's store or registry that it does not need.
        return entry.image
    if spec.image.cid is None:
        return shop.executor.stage(spec.image, None, check)
    with shop.images.held(spec.image.cid, check) as archive:
        _bring(shop, store, Cid.parse(spec.image.cid), archive)
        return shop.executor.stage(spec.image, archive, check)


def inputs_folder(folder: Path) -> Path:
    """Where the inputs of the job in `folder` are."""
    return folder / "inputs"


def _clear_leftovers(inputs: Path, spec: Spec) -> None:
    """Removes what is no input of the job: a fetch that was killed. An input gets its name once it is whole."""
    for each in inputs.iterdir():
        if each.name not in spec.inputs:
            shutil.rmtree(each) if each.is_dir() else each.unlink()


def _check(shop: Workshop, entry: Entry) -> None:
    """Raises Unavailable once there is nothing to stage for. What a job is at does not change while it is staged."""
    if shop.stopping.is_set():
        raise Unavailable("staging: the agent stops")
    if entry.step in UNDER_AWARD:
        if shop.deadline_passed(known(entry.terms)):
            raise Unavailable("staging: deliver_by has come")
    elif shop.clock.now() >= entry.job.award_by:
        raise Unavailable("staging: award_by has come")


class _Checked:
    """A store that calls `check` before it looks for a block."""

    def __init__(self, store: Store, check: Callable[[], None]) -> None:
        self._store, self._check = store, check

    def put(self, blocks: Iterable[Block]) -> None:
        self._store.put(blocks)

    def get(self, cid: Cid) -> bytes:
        self._check()
        return self._store.get(cid)

    def has(self, cid: Cid) -> bool:
        return self._store.has(cid)

    def pin(self, root: Cid) -> None:
        self._store.pin(root)


def _bring(shop: Workshop, store: Store, cid: Cid, archive: Path) -> None:
    """Fetches the image archive unless an earlier job brought it; the oldest ones go when they are too
    many, but for those that a job under way may need again.
    """
    if archive.exists():
        archive.touch()
    else:
        unixfs.fetch(store, cid, archive, unixfs.Limits(max_bytes=shop.max_image_bytes))
    needed = {str(entry.spec.image.cid) for entry in shop.ledger.entries(BUSY) if entry.spec}
    shop.images.trim(shop.image_cache_bytes, needed)


def _bytes(path: Path) -> int:
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size
