"""Images on a Docker engine: brought there, checked, kept within a budget."""

import threading
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound

from deai.errors import BadContent, Bug, ContentMissing, EngineUnavailable
from deai.spec import Image
from deai_provider.docker_engine import asked_to
from deai_provider.image_archive import ImageArchive, ImageLimits, check_config

_TAG = "deai.local/image"


class DockerImages:
    """The images that jobs run from, on the engine that `api` speaks to; `slow` is the same with more patience.

    Takes images of this machine's `architecture` within `limits`; of those it brought, the engine keeps up to `budget_bytes`.
    """

    def __init__(
        self,
        api: docker.APIClient,
        slow: docker.APIClient,
        architecture: str,
        limits: ImageLimits,
        budget_bytes: int,
    ) -> None:
        self._api, self._slow = api, slow
        self._architecture, self._limits, self._budget = architecture, limits, budget_bytes
        self._keeping = threading.Lock()

    def bring(self, image: Image, archive: Path | None) -> str:
        """Sees to it that the engine has the image, and returns its id. See `executor.Executor.stage`."""
        if image.digest is not None:
            return self._pull(image.digest)
        if archive is not None:
            return self._load(archive)
        raise Bug("an image by CID is staged from its archive")

    def keep(self, image: str) -> None:
        """Marks the image as just staged; beyond the budget, images of ours that no container uses go, those staged longest ago first."""
        with asked_to("keep the image"), self._keeping:
            self._api.tag(image, _TAG, image.removeprefix("sha256:"))
            ours = [self._api.inspect_image(each["Id"]) for each in self._api.images(name=_TAG)]
            ours.sort(key=lambda each: str(each["Metadata"]["LastTagTime"]))
            used = {each["ImageID"] for each in self._api.containers(all=True)} | {image}
            total = sum(each["Size"] for each in ours)
            for each in ours:
                if total <= self._budget:
                    return
                if each["Id"] not in used and all(tag.startswith(f"{_TAG}:") for tag in each["RepoTags"]):
                    self._api.remove_image(each["Id"], force=True)
                    total -= each["Size"]

    def _load(self, archive: Path) -> str:
        checked = ImageArchive.read(archive, self._limits)
        if self._image(checked.id) is None:
            pieces = checked.clean(f"{_TAG}:{checked.id.removeprefix('sha256:')}")
            with asked_to("load the image"):
                # Read to the end: what follows an error is only the end, and the connection is free again.
                failures = [str(step["error"]) for step in self._slow.load_image(pieces) if "error" in step]
            if failures:
                raise _load_error(failures[0])
        return self._accepted(checked.id, "")

    def _pull(self, reference: str) -> str:
        name, _, digest = reference.partition("@")
        if self._image(reference) is None:
            sizes: dict[str, int] = {}
            failures: list[str] = []
            most = self._limits.bytes
            with asked_to("pull the image"):
                try:
                    # An empty login: the provider's own credentials are not for other people's images.
                    steps = self._slow.pull(name, tag=digest, stream=True, decode=True, auth_config={})
                    for step in steps:
                        if "error" in step:
                            failures.append(str(step["error"]))
                        layer, total = step.get("id", ""), step.get("progressDetail", {}).get("total", 0)
                        sizes[layer] = max(sizes.get(layer, 0), total)
                        if sum(sizes.values()) > most:
                            raise BadContent(f"image {reference}: has more than {most} bytes")
                except APIError as error:
                    raise _pull_error(reference, str(error.explanation or error)) from error
            if failures:
                raise _pull_error(reference, failures[0])
        return self._accepted(reference, digest)

    def _accepted(self, reference: str, digest: str) -> str:
        """The id of an image that is on the engine, once what the engine says of it fits."""
        found = self._image(reference)
        if found is None:
            raise BadContent(f"image {reference}: what was loaded is another image")
        if digest and not any(each.endswith(f"@{digest}") for each in found["RepoDigests"]):
            raise BadContent(f"image {reference}: the engine has it under other digests")
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


def _load_error(text: str) -> BadContent | EngineUnavailable:
    if "no space left" in text:
        return EngineUnavailable(f"the Docker engine has no room for the image: {text}")
    return BadContent(f"image archive: {text}")


def _pull_error(reference: str, text: str) -> BadContent | ContentMissing | EngineUnavailable:
    if "no space left" in text:
        return EngineUnavailable(f"the Docker engine has no room for the image {reference}: {text}")
    if any(
        sign in text for sign in ("verification failed", "no matching manifest", "invalid", "unsupported")
    ):
        return BadContent(f"image {reference}: {text}")
    return ContentMissing(f"image {reference}: cannot be had from its registry: {text}")
