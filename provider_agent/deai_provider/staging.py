"""Staging: a job's spec, image and inputs on this machine's disk, checked, before anything is promised."""

import shutil
from pathlib import Path

from deai import unixfs
from deai.cid import Cid, Codec
from deai.job import Job
from deai.spec import Spec
from deai.store import Store
from deai_provider.ledger import BUSY
from deai_provider.workshop import Workshop


def read_spec(store: Store, job: Job) -> Spec:
    """The spec that the job names. Raises BadField for one that is not valid, ContentMissing,
    StoreUnavailable.
    """
    return Spec.parse(store.get(Cid(Codec.RAW, job.spec)))


def stage(shop: Workshop, spec: Spec, folder: Path) -> str:
    """Brings everything a run of `spec` needs; inputs go to `folder`/inputs. Returns the image's pinned id.

    What is there already stays, so saying it again finishes what was interrupted. Raises BadContent for
    content that is not what it says or beyond the caps, ContentMissing, StoreUnavailable, EngineUnavailable.
    """
    inputs = inputs_folder(folder)
    inputs.mkdir(parents=True, exist_ok=True)
    _clear_leftovers(inputs, spec)
    left = shop.max_input_bytes
    for name, cid in sorted(spec.inputs.items()):
        target = inputs / name
        if not target.exists():
            unixfs.fetch(shop.store, Cid.parse(cid), target, unixfs.Limits(max_bytes=left))
        left -= _bytes(target)
    if spec.image.cid is None:
        # Not under the lock of the archives: a slow registry holds up its own job alone.
        return shop.executor.stage(spec.image, None)
    with shop.images:
        return shop.executor.stage(spec.image, _archive(shop, Cid.parse(spec.image.cid)))


def inputs_folder(folder: Path) -> Path:
    """Where the inputs of the job in `folder` are."""
    return folder / "inputs"


def _clear_leftovers(inputs: Path, spec: Spec) -> None:
    """Removes what is no input of the job: a fetch that was killed. An input gets its name once it is whole."""
    for each in inputs.iterdir():
        if each.name not in spec.inputs:
            shutil.rmtree(each) if each.is_dir() else each.unlink()


def _archive(shop: Workshop, cid: Cid) -> Path:
    """The image archive, fetched unless an earlier job brought it; the oldest ones go when they are too
    many, but for those that a job under way may need again.
    """
    archive = shop.work / "images" / f"{cid}.tar"
    if archive.exists():
        archive.touch()
    else:
        unixfs.fetch(shop.store, cid, archive, unixfs.Limits(max_bytes=shop.max_image_bytes))
    needed = {entry.spec.image.cid for entry in shop.ledger.entries(BUSY) if entry.spec} | {str(cid)}
    kept = shop.image_cache_bytes
    for each in sorted(archive.parent.glob("*.tar"), key=lambda path: path.stat().st_mtime, reverse=True):
        kept -= _bytes(each)
        if kept < 0 and each.stem not in needed:
            each.unlink()
    return archive


def _bytes(path: Path) -> int:
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    return path.stat().st_size
