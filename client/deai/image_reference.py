"""Names of container images as people write them, spelled out: `python:3.12` is docker.io/library/python:3.12. Pure.

Grammar: github.com/distribution/reference; the short forms of Docker's own registry as Docker has them.
"""

import re
from dataclasses import dataclass
from typing import Self

from deai.errors import BadField

DOCKER = "docker.io"
FIELD = "docker_image"
"""What a job calls its image."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*(?::[0-9]{{1,5}})?")
_PATH = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_LOOPBACK = re.compile(r"localhost|127(?:\.[0-9]{1,3}){3}")
_WORD = re.compile(r"[a-z0-9]{1,16}")
MAX_NAME = 255


def is_loopback(host: str) -> bool:
    """Whether the name says that it is this machine: `localhost`, or 127.x.x.x."""
    return bool(_LOOPBACK.fullmatch(host))


@dataclass(frozen=True, slots=True)
class Reference:
    """An image in a registry, by tag or by digest."""

    registry: str
    """Host, and port where there is one."""
    repository: str
    tag: str
    """Empty where there is a digest: a digest says it all."""
    digest: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `name`, `name:tag`, `name@sha256:…` or both. Raises BadField."""
        name, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise BadField(FIELD, text, "has a digest of the form name@sha256:<64 hex digits>")
        head, slash, _ = name.partition("/")
        is_host = bool(slash) and ("." in head or ":" in head or head.lower() == "localhost")
        registry, path = (head.lower(), name[len(head) + 1 :]) if is_host else (DOCKER, name)
        path, colon, tag = path.partition(":")
        if registry in ("index.docker.io", "registry-1.docker.io"):
            registry = DOCKER
        if registry == DOCKER and "/" not in path:
            path = f"library/{path}"
        port = registry.partition(":")[2]
        if not _HOST.fullmatch(registry) or (port and not 0 < int(port) < 1 << 16):
            raise BadField(FIELD, text, f"names a registry, {registry!r}, that is no host[:port]")
        if not _PATH.fullmatch(path) or len(registry) + 1 + len(path) > MAX_NAME:
            raise BadField(
                FIELD, text, "is no image's name: lower-case words, parted by `/`, `.`, `_` or `-`"
            )
        if colon and not _TAG.fullmatch(tag):
            raise BadField(FIELD, text, f"has a tag, {tag!r}, that is none")
        return cls(registry, path, "" if digest else tag or "latest", digest)

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def is_local(self) -> bool:
        """Whether the registry is on this machine's loopback: there, and only there, it is spoken to without TLS."""
        return is_loopback(self.registry.partition(":")[0])

    def at(self, digest: str) -> "Reference":
        """The same repository's image of that digest."""
        return Reference(self.registry, self.repository, "", digest)

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image's programs are made for."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `linux/amd64` or `linux/arm/v7`. Raises BadField."""
        words = text.split("/")
        if len(words) not in (2, 3) or not all(_WORD.fullmatch(word) for word in words):
            raise BadField("platform", text, "must be of the form linux/amd64 or linux/arm/v7")
        return cls(*words)

    def serves(self, wanted: "Platform") -> bool:
        """Whether an image for this platform is what `wanted` asks for. Where one of them names no variant, any will do."""
        same = (self.os, self.architecture) == (wanted.os, wanted.architecture)
        return same and (not self.variant or wanted.variant in ("", self.variant))

    def __str__(self) -> str:
        return "/".join(word for word in (self.os, self.architecture, self.variant) if word)
