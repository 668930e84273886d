"""Images on a Docker engine: brought there, checked, kept within a budget."""

import errno
import secrets
import shutil
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import docker
from docker.errors import NotFound

from deai.errors import (
    BadContent,
    BadField,
    Bug,
    ContentMissing,
    ContentOutOfReach,
    EngineUnavailable,
    RegistryUnavailable,
)
from deai.image_reference import Platform, Reference
from deai.registry import Registry
from deai.spec import Image
from deai_provider import image_archive
from deai_provider.docker_engine import asked_to
from deai_provider.executor import always_wanted
from deai_provider.image_archive import ImageArchive, ImageLimits, Layer, check_config

_TAG = "deai.local/image"


class DockerImages:
    """The images that jobs run from, on the engine that `api` speaks to; `slow` is the same with more patience.

    Takes images of this machine's `architecture` within `limits`; of those it brought, the engine keeps up to `budget_bytes`.
    Images by digest come from `registry`; what is on its way is in the folder `pulls`, which is this object's alone.
    `needed` tells the ids of images that jobs wait for: those stay.
    """

    def __init__(
        self,
        api: docker.APIClient,
        slow: docker.APIClient,
        architecture: str,
        limits: ImageLimits,
        budget_bytes: int,
        pulls: Path,
        registry: Callable[[], Registry],
        needed: Callable[[], Collection[str]] = frozenset,
    ) -> None:
        self._api, self._slow = api, slow
        self._pulls, self._registry, self._needed = pulls, registry, needed
        # What a pull that was killed left behind.
        shutil.rmtree(pulls, ignore_errors=True)
        self._architecture, self._limits, self._budget = architecture, limits, budget_bytes
        self._keeping = threading.Lock()
        self._checked: dict[tuple[str, int, int], str] = {}
        """The images of archives that were read before; the archives are named by their content, and nobody else writes there."""
        self._kept: set[str] = set()
        """Ids of our images on the engine after the last look."""

    def bring(self, image: Image, archive: Path | None, check: Callable[[], None] = always_wanted) -> str:
        """Sees to it that the engine has the image, and returns its id. See `executor.Executor.stage`."""
        if image.digest is not None:
            return self._pull(image.digest, check)
        if archive is not None:
            return self._load(archive)
        raise Bug("an image by CID is staged from its archive")

    def has(self, image: str) -> bool:
        """Whether the engine has the image of this id. Raises EngineUnavailable."""
        return self._image(image) is not None

    def keep(self, image: str) -> None:
        """Marks the image as just staged; beyond the budget, images of ours that no container uses and no job needs go, oldest first."""
        with asked_to("keep the image"), self._keeping:
            self._api.tag(image, _TAG, image.removeprefix("sha256:"))
            # Nothing is listed for an image that was there the last time: each listing costs an engine with many images dearly.
            if image not in self._kept:
                self._kept = self._shrink(self._budget, image)

    def spare(self) -> None:
        """Removes all images of ours that no container uses and no job needs: somebody needs the room."""
        with asked_to("remove images"), self._keeping:
            self._kept = self._shrink(0)

    def _shrink(self, budget: int, kept: str = "") -> set[str]:
        """Brings our images below `budget` bytes, as far as they are not used or `kept`; the ids of those that stay."""
        ours = [self._api.inspect_image(each["Id"]) for each in self._api.images(name=_TAG)]
        ours.sort(key=lambda each: str(each["Metadata"]["LastTagTime"]))
        used = {each["ImageID"] for each in self._api.containers(all=True)} | {kept, *self._needed()}
        total, stay = sum(each["Size"] for each in ours), {str(each["Id"]) for each in ours}
        for each in ours:
            if total <= budget:
                break
            if each["Id"] not in used and all(tag.startswith(f"{_TAG}:") for tag in each["RepoTags"]):
                self._api.remove_image(each["Id"], force=True)
                stay.discard(each["Id"])
                total -= each["Size"]
        return stay

    def _load(self, archive: Path) -> str:
        seen = archive.stat()
        key = (str(archive), seen.st_ino, seen.st_size)
        known = self._checked.get(key)
        if known is not None and self._image(known) is not None:
            return self._accepted(known)
        checked = ImageArchive.read(archive, self._limits)
        if checked.architecture != self._architecture:
            raise BadContent(
                f"image archive: is for {checked.architecture}, this machine is {self._architecture}"
            )
        if self._image(checked.id) is None:
            pieces = checked.clean(f"{_TAG}:{checked.id.removeprefix('sha256:')}")
            with asked_to("load the image"):
                # Read to the end: what follows an error is only the end, and the connection is free again.
                failures = [str(step["error"]) for step in self._slow.load_image(pieces) if "error" in step]
            if failures:
                raise _load_error(failures[0])
        accepted = self._accepted(checked.id)
        self._checked[key] = checked.id
        return accepted

    def _pull(self, text: str, check: Callable[[], None]) -> str:
        """Fetches an image by the digest of its manifest, and loads it as any archive: the engine itself speaks to no registry, and unpacks
        nothing that was not measured. A tag with that digest says that the engine has it.
        """
        reference = Reference.parse(text)
        tag = reference.digest.removeprefix("sha256:")
        if self._image(f"{_TAG}:{tag}") is None:
            self._pulls.mkdir(mode=0o700, parents=True, exist_ok=True)
            archive = self._pulls / f"{tag}.{secrets.token_hex(4)}.tar"
            try:
                self._fetch(reference, archive, check)
                image = self._load(archive)
            finally:
                archive.unlink(missing_ok=True)
            with asked_to("name the image"):
                self._api.tag(image, _TAG, tag)
        return self._accepted(f"{_TAG}:{tag}")

    def _fetch(self, reference: Reference, archive: Path, check: Callable[[], None]) -> None:
        try:
            with self._registry() as registry:
                manifest = registry.manifest(reference, Platform("linux", self._architecture))
                most = self._limits.archive
                if manifest.bytes > most:
                    raise BadContent(
                        f"image {reference}: has {manifest.bytes} bytes, at most {most} are taken"
                    )
                free = shutil.disk_usage(self._pulls).free
                if manifest.bytes > free:
                    raise EngineUnavailable(
                        f"no room for the image {reference}: it has {manifest.bytes} bytes, {free} are free"
                    ) from OSError(errno.ENOSPC, "too little is free for it")
                layers = [
                    Layer(
                        each.digest.removeprefix("sha256:"),
                        each.size,
                        _checked(registry.blob(reference, each), check),
                    )
                    for each in manifest.layers
                ]
                image_archive.write(archive, manifest.config, layers)
        except BadField as error:
            raise ContentMissing(f"image {reference}: cannot be had: {error}") from error
        except RegistryUnavailable as error:
            # Missing, though it may come back: whoever names a registry answers for it, and must not hold up this machine.
            raise ContentOutOfReach(f"image {reference}: cannot be had now: {error}") from error
        except OSError as error:
            raise EngineUnavailable(f"no room for the image {reference}: {error}") from error

    def _accepted(self, reference: str) -> str:
        """The id of an image that is on the engine, once what the engine says of it fits."""
        found = self._image(reference)
        if found is None:
            raise BadContent(f"image {reference}: what was loaded is another image")
        if found["Architecture"] != self._architecture:
            raise BadContent(
                f"image {reference}: is for {found['Architecture']}, this machine is {self._architecture}"
            )
        if found["Size"] > self._limits.bytes:
            raise BadContent(
                f"image {reference}: has {found['Size']} bytes, at most {self._limits.bytes} are taken"
            )
        check_config({"os": found["Os"], "config": found["Config"]})
        return str(found["Id"])

    def _image(self, reference: str) -> dict[str, Any] | None:
        with asked_to("look at the image"):
            try:
                found: dict[str, Any] = self._api.inspect_image(reference)
            except NotFound:
                return None
        return found


def _checked(pieces: Iterator[bytes], check: Callable[[], None]) -> Iterator[bytes]:
    for piece in pieces:
        check()
        yield piece


def _load_error(text: str) -> BadContent | EngineUnavailable:
    if "no space left" in text:
        return EngineUnavailable(f"the Docker engine has no room for the image: {text}")
    return BadContent(f"image archive: {text}")
