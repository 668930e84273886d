"""Staging: a job's spec, image and inputs on this machine's disk, checked, before anything is promised."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from deai import unixfs
from deai.cid import Cid, Codec
from deai.errors import Unavailable
from deai.job import Job, JobId
from deai.spec import Spec
from deai.store import Block, Store
from deai_provider.archives import Archives
from deai_provider.executor import Executor
from deai_provider.ledger import BUSY, UNDER_AWARD, Entry
from deai_provider.workshop import Workshop, known


def read_spec(store: Store, job: Job) -> Spec:
    """The spec that the job names. Raises BadField for one that is not valid, ContentMissing,
    StoreUnavailable.
    """
    return Spec.parse(store.get(Cid(Codec.RAW, job.spec)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Depot:
    """Where images and inputs come from and go to, and how much they may take."""

    store: Store
    executor: Executor
    images: Archives
    max_input_bytes: int
    """Of all inputs of one job together."""
    max_image_bytes: int
    """Of one image archive."""
    image_cache_bytes: int
    """Archives are kept for the next job, up to this much."""


def stage(shop: Workshop, spec: Spec, folder: Path) -> str:
    """`bring` for a job of the ledger's. Raises Unavailable once the agent stops, or the deadline has come, `award_by` or after the award
    `deliver_by`.
    """
    entry = known(shop.ledger.entry(JobId(folder.name)))
    depot = Depot(
        store=shop.store,
        executor=shop.executor,
        images=shop.images,
        max_input_bytes=shop.max_input_bytes,
        max_image_bytes=shop.max_image_bytes,
        image_cache_bytes=shop.image_cache_bytes,
    )

    def check() -> None:
        _check(shop, entry)

    def needed() -> set[str]:
        return {str(each.spec.image.cid) for each in shop.ledger.entries(BUSY) if each.spec}

    return bring(depot, spec, folder, check, entry.image if entry.step in UNDER_AWARD else None, needed)


def bring(
    depot: Depot,
    spec: Spec,
    folder: Path,
    check: Callable[[], None],
    promised: str | None = None,
    needed: Callable[[], set[str]] = set,
) -> str:
    """Brings everything a run of `spec` needs; inputs go to `folder`/inputs. Returns the image's pinned id.

    What is there already stays, so saying it again finishes what was interrupted. `check()` is called on the way; what it raises ends that.
    `promised` is the pinned id of an image that an earlier call brought for a job that is promised; `needed()` tells the archives that
    jobs under way may need again. Raises BadContent for content that is not what it says or beyond the caps, ContentMissing,
    StoreUnavailable, EngineUnavailable.
    """
    store = CheckedStore(depot.store, check)
    inputs = inputs_folder(folder)
    inputs.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(inputs, spec)
    left = depot.max_input_bytes
    for name, cid in sorted(spec.inputs.items()):
        target = inputs / name
        if not target.exists():
            unixfs.fetch(store, Cid.parse(cid), target, unixfs.Limits(max_bytes=left))
        left -= _bytes(target)
    if promised is not None and depot.executor.has(promised):
        # A promise waits for nobody's store or registry that it does not need.
        return promised
    if spec.image.cid is None:
        return depot.executor.stage(spec.image, None, check)
    with depot.images.held(spec.image.cid, check) as archive:
        _bring(depot, store, Cid.parse(spec.image.cid), archive, needed)
        return depot.executor.stage(spec.image, archive, check)


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


class CheckedStore:
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


def _bring(depot: Depot, store: Store, cid: Cid, archive: Path, needed: Callable[[], set[str]]) -> None:
    """Fetches the image archive unless an earlier job brought it; the oldest ones go when they are too
    many, but for those that a job under way may need again.
    """
    if archive.exists():
        archive.touch()
    else:
        unixfs.fetch(store, cid, archive, unixfs.Limits(max_bytes=depot.max_image_bytes))
    depot.images.trim(depot.image_cache_bytes, needed())


def _bytes(path: Path) -> int:
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size
