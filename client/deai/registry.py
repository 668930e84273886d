"""Images in registries, by the HTTP API of the OCI distribution specification: tag to digest, manifests and blobs, all verified.

A tag is resolved to the digest of one platform's manifest, never to that of an index of several: a spec names the very bytes
that run, whichever provider runs them. Nothing that a registry says of a digest is believed; what it sends is hashed.
"""

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urljoin

import httpx

from deai.authorities import authorities
from deai.docker_config import DockerConfig, Login
from deai.errors import BadContent, BadField, RegistryUnavailable
from deai.image_reference import DOCKER, FIELD, Platform, Reference, is_loopback

MAX_MANIFEST_BYTES, MAX_CONFIG_BYTES, MAX_LAYERS = 4 << 20, 8 << 20, 127

_DOCKER_API = "registry-1.docker.io"
_ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
    )
)
_CONFIGS = {
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
}
_LAYERS = {
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
}
"""Tar archives, plain or by gzip. Not those by zstd, which many engines cannot load, nor those kept elsewhere than in the registry."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_WORD = re.compile(r"[A-Za-z0-9._-]{1,32}")
_NO_URL = (httpx.InvalidURL, ValueError, TypeError)
_CHALLENGE = re.compile(r'(?:^|,\s*)(Bearer|Basic)\b\s*((?:[\w-]+="[^"]*"(?:\s*,\s*)?)*)', re.IGNORECASE)
_FACT = re.compile(r'([\w-]+)="([^"]*)"')
_MAX_TOKEN_BYTES, _MAX_REDIRECTS = 64 << 10, 5
_CONNECT_SECONDS, _STALL_SECONDS, _SMALL_SECONDS = 10.0, 20.0, 60.0
_BYTES_PER_SECOND = 512 << 10
"""A registry that is slower than this counts as away: it would hold up who waits for it without end."""
_MAX_SIZE = 1 << 53
_TRIES = 5
"""How often a blob that broke off is taken up again where it broke off."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes in a registry, by their digest."""

    digest: str
    size: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """One platform's image: its configuration, and its layers as they travel, lowest first."""

    reference: Reference
    """By the digest of this manifest."""
    platform: Platform
    config: bytes
    layers: tuple[Blob, ...]

    @property
    def bytes(self) -> int:
        """What has to be fetched for it."""
        return len(self.config) + sum(layer.size for layer in dict.fromkeys(self.layers))


class Registry:
    """The registries that images' names name. Not thread-safe; a context manager.

    Every method raises BadField (`docker_image`, `platform`) for an image that the registry does not have, or not for us; BadContent for bytes
    that are not what their digest says, or beyond a cap; RegistryUnavailable for a registry that is away, slow or odd.
    """

    def __init__(self, config: DockerConfig | None = None, client: httpx.Client | None = None) -> None:
        """Logs in as `config` says; without one, nowhere. `client` sends everything, if one is given."""
        self._config = config
        self._client = client or httpx.Client(verify=authorities())
        # Proxies from the environment are for the world outside.
        self._local = client or httpx.Client(trust_env=False, verify=authorities())
        self._authorizations: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()
        self._local.close()

    def manifest(self, reference: Reference, platform: Platform) -> Manifest:
        """The image for `platform` that `reference` names now."""
        found, body = self._manifest(reference)
        if "manifests" in body:
            found, body = self._manifest(reference.at(_choose(reference, body["manifests"], platform)))
            if "manifests" in body:
                raise BadContent(f"image {found}: is an index within an index")
        config_blob, layers = _parts(found, body)
        config = b"".join(self.blob(found, config_blob))
        made_for = _platform(found, config)
        if not made_for.serves(platform):
            raise BadField("platform", str(platform), f"the image {found} is for {made_for} alone")
        return Manifest(found, made_for, config, layers)

    def blob(self, reference: Reference, blob: Blob) -> Iterator[bytes]:
        """A blob of the image's repository, piece by piece. What it gave is good only once it ended without an error."""
        hashed, done = hashlib.sha256(), 0
        deadline = time.monotonic() + _SMALL_SECONDS + blob.size / _BYTES_PER_SECOND
        for tries_left in reversed(range(_TRIES)):
            start = done
            try:
                for piece in self._blob_from(start, reference, blob, deadline):
                    hashed.update(piece)
                    done += len(piece)
                    yield piece
                break
            except RegistryUnavailable:
                if done == start or tries_left == 0:
                    raise
        if (done, f"sha256:{hashed.hexdigest()}") != (blob.size, blob.digest):
            raise BadContent(f"image {reference}: the registry's bytes are not those of {blob.digest}")

    def _blob_from(self, start: int, reference: Reference, blob: Blob, deadline: float) -> Iterator[bytes]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        with self._get(reference, f"blobs/{blob.digest}", deadline, headers) as reply:
            skip = start
            if reply.status_code == httpx.codes.PARTIAL_CONTENT:
                if not reply.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
                    raise RegistryUnavailable(f"the registry {reference.registry} sent another range")
                skip = 0
            left = blob.size - start
            for piece in _pieces(reply, deadline, reference):
                rest, skip = piece[skip:], max(0, skip - len(piece))
                left -= len(rest)
                if left < 0:
                    raise BadContent(f"image {reference}: {blob.digest} has more than {blob.size} bytes")
                if rest:
                    yield rest

    def _manifest(self, reference: Reference) -> tuple[Reference, dict[str, Any]]:
        deadline = time.monotonic() + _SMALL_SECONDS
        path = f"manifests/{reference.digest or reference.tag}"
        with self._get(reference, path, deadline, {"Accept": _ACCEPT}) as reply:
            data = _small(reply, MAX_MANIFEST_BYTES, deadline, reference)
            told = reply.headers.get("Docker-Content-Digest", "")
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if reference.digest not in ("", digest) or (_DIGEST.fullmatch(told) and told != digest):
            wanted = reference.digest or told
            raise BadContent(f"image {reference}: the registry sent the manifest {digest}, not {wanted}")
        body = _object(reference, data)
        # With the parts of both it would be an index to one reader and an image to another.
        if ("manifests" in body) == ("layers" in body):
            raise BadContent(f"image {reference}: its manifest is neither an image's (schema 2) nor an index")
        return reference.at(digest), body

    @contextmanager
    def _get(
        self, reference: Reference, path: str, deadline: float, headers: Mapping[str, str]
    ) -> Iterator[httpx.Response]:
        """The registry's answer, if it is a good one; logged in where it asks for that, redirected where it wants."""
        host = _DOCKER_API if reference.registry == DOCKER else reference.registry
        url = f"{'http' if reference.is_local else 'https'}://{host}/v2/{reference.repository}/{path}"
        challenge = ""
        for attempt in (1, 2):
            if challenge:
                self._authorizations[reference.name] = self._authorize(reference, challenge, deadline)
            with self._follow(reference, url, headers, deadline) as reply:
                if reply.status_code != httpx.codes.UNAUTHORIZED or attempt == 2:
                    self._check(reference, reply)
                    yield reply
                    return
                challenge = ", ".join(reply.headers.get_list("WWW-Authenticate")) or "none"

    @contextmanager
    def _follow(
        self, reference: Reference, url: str, headers: Mapping[str, str], deadline: float
    ) -> Iterator[httpx.Response]:
        known = self._authorizations.get(reference.name)
        # Only the registry itself hears who asks, wherever it redirects to.
        first = {"Authorization": known} if known else {}
        for _ in range(_MAX_REDIRECTS + 1):
            with self._stream(reference, "GET", url, {**headers, **first}, deadline) as reply:
                if not reply.has_redirect_location:
                    yield reply
                    return
                url = _safe(reference, _joined(url, reply.headers["Location"]))
            first = {}
        raise RegistryUnavailable(f"the registry {reference.registry} redirects without end")

    @contextmanager
    def _stream(
        self,
        reference: Reference,
        method: str,
        url: str,
        headers: Mapping[str, str],
        deadline: float,
        form: Mapping[str, str] | None = None,
    ) -> Iterator[httpx.Response]:
        client = self._local if reference.is_local else self._client
        left = max(deadline - time.monotonic(), 0.001)
        timeout = httpx.Timeout(min(_STALL_SECONDS, left), connect=min(_CONNECT_SECONDS, left))
        request = client.build_request(
            method, url, headers={"Accept-Encoding": "identity", **headers}, data=form, timeout=timeout
        )
        try:
            try:
                reply = client.send(request, stream=True, follow_redirects=False, auth=None)
            except _NO_URL as error:  # it looks at where a redirect leads, also when it does not go there
                raise RegistryUnavailable(f"the registry {reference.registry} leads nowhere") from error
            try:
                yield reply
            finally:
                reply.close()
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise RegistryUnavailable(f"the registry {reference.registry} does not answer: {why}") from error

    def _authorize(self, reference: Reference, challenge: str, deadline: float) -> str:
        """The value of `Authorization` that answers the challenge."""
        login = self._config.login(reference.registry) if self._config else None
        asked = {
            scheme.lower(): dict(_FACT.findall(facts)) for scheme, facts in _CHALLENGE.findall(challenge)
        }
        if "bearer" in asked:
            return self._token(reference, asked["bearer"], login, deadline)
        if "basic" in asked and login is not None and login.name:
            return _basic(login)
        raise self._refused(reference)

    def _token(
        self, reference: Reference, facts: Mapping[str, str], login: Login | None, deadline: float
    ) -> str:
        """A token that may pull from this repository and no more: docs.docker.com/registry/spec/auth."""
        realm = _safe(reference, facts.get("realm", ""))
        wanted = {"service": facts.get("service", ""), "scope": f"repository:{reference.repository}:pull"}
        if login is not None and login.token:
            form = {
                **wanted,
                "grant_type": "refresh_token",
                "refresh_token": login.token,
                "client_id": "deai",
            }
            answer = self._stream(reference, "POST", realm, {}, deadline, form)
        else:
            headers = {"Authorization": _basic(login)} if login is not None else {}
            url = _safe(reference, _with(realm, wanted))
            answer = self._stream(reference, "GET", url, headers, deadline)
        with answer as reply:
            self._check(reference, reply)
            body = _object(reference, _small(reply, _MAX_TOKEN_BYTES, deadline, reference))
        token = body.get("token") or body.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RegistryUnavailable(f"the registry {reference.registry} gives no token")
        return f"Bearer {token}"

    def _check(self, reference: Reference, reply: httpx.Response) -> None:
        """Raises what an answer other than a good one means."""
        status = reply.status_code
        if status in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
            return
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise self._refused(reference)
        if status == httpx.codes.NOT_FOUND:
            raise BadField(FIELD, str(reference), f"the registry {reference.registry} has no such image")
        if status == httpx.codes.TOO_MANY_REQUESTS:
            raise RegistryUnavailable(
                f"the registry {reference.registry} was asked too often; try again later"
            )
        raise RegistryUnavailable(f"the registry {reference.registry} answered {status}, and not as one does")

    def _refused(self, reference: Reference) -> BadField:
        registry, config = reference.registry, self._config
        rule = f"the registry {registry} has no such image, or not for everybody"
        if config is not None and config.login(registry) is not None:
            rule = f"the registry {registry} refuses the login for it in {config.path}"
        elif config is not None:
            where = "" if registry == DOCKER else f" {registry}"
            rule += f", and {config.path} has no login for it (`docker login{where}`)"
        return BadField(FIELD, str(reference), rule)


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(f"{login.name}:{login.password}".encode()).decode()


def _safe(reference: Reference, url: str) -> str:
    """The URL, if we go where it leads: by TLS, but for a registry on this machine that leads to this machine."""
    try:
        parts = httpx.URL(url)
        # Only now is the name decoded, which may fail: names of the whole world's letters are spelled in a code.
        host = parts.host
    except _NO_URL:
        parts, host = httpx.URL(""), ""
    local = reference.is_local and parts.scheme == "http" and is_loopback(host)
    if not (parts.scheme == "https" or local) or not host or parts.userinfo:
        raise RegistryUnavailable(
            f"the registry {reference.registry} leads to {parts.scheme or 'nowhere'}://{host}, which is not safe"
        )
    return str(parts)


def _joined(url: str, location: str) -> str:
    """Where a redirect leads; nowhere if it is no URL."""
    try:
        return urljoin(url, location)
    except ValueError:
        return ""


def _with(url: str, parameters: Mapping[str, str]) -> str:
    """The URL with these in its query; nowhere if that is none."""
    try:
        return str(httpx.URL(url).copy_merge_params(dict(parameters)))
    except _NO_URL:
        return ""


def _pieces(reply: httpx.Response, deadline: float, reference: Reference) -> Iterator[bytes]:
    for piece in reply.iter_raw():
        if time.monotonic() > deadline:
            raise RegistryUnavailable(f"the registry {reference.registry} is too slow")
        yield piece


def _small(reply: httpx.Response, most: int, deadline: float, reference: Reference) -> bytes:
    data = bytearray()
    for piece in _pieces(reply, deadline, reference):
        data += piece
        if len(data) > most:
            raise BadContent(f"image {reference}: the registry's answer has more than {most} bytes")
    return bytes(data)


def _object(reference: Reference, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadContent(f"image {reference}: the registry's answer is not JSON") from error
    if not isinstance(value, dict):
        raise BadContent(f"image {reference}: the registry's answer is not an object")
    return value


def _choose(reference: Reference, entries: object, wanted: Platform) -> str:
    """The digest of the manifest for `wanted` in an index."""
    found: dict[Platform, str] = {}
    for entry in entries if isinstance(entries, list) else ():
        match entry:
            case {"digest": str(digest), "platform": {"os": str(os), "architecture": str(machine), **more}}:
                # What is for `unknown` is no image but a statement about one.
                if _DIGEST.fullmatch(digest) and os != "unknown" and _is_plain(os, machine, more):
                    found.setdefault(Platform(os, machine, str(more.get("variant", ""))), digest)
    fitting = sorted(
        (each for each in found if each.serves(wanted)), key=lambda each: each.variant != wanted.variant
    )
    if not fitting:
        there = ", ".join(sorted({str(each) for each in found})[:16]) or "no platform at all"
        raise BadField("platform", str(wanted), f"the image {reference} has {there}")
    return found[fitting[0]]


def _parts(reference: Reference, body: dict[str, Any]) -> tuple[Blob, tuple[Blob, ...]]:
    layers = body["layers"]
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        raise BadContent(f"image {reference}: has no list of at most {MAX_LAYERS} layers")
    config = _descriptor(reference, body.get("config"), _CONFIGS)
    if config.size > MAX_CONFIG_BYTES:
        raise BadContent(f"image {reference}: its configuration has more than {MAX_CONFIG_BYTES} bytes")
    return config, tuple(_descriptor(reference, each, _LAYERS) for each in layers)


def _descriptor(reference: Reference, value: object, kinds: set[str]) -> Blob:
    match value:
        case {"mediaType": str(kind), "digest": str(digest), "size": int(size)}:
            if kind not in kinds:
                raise BadContent(f"image {reference}: has a part of the kind {kind!r}, which is not taken")
            if _DIGEST.fullmatch(digest) and 0 <= size < _MAX_SIZE and not isinstance(size, bool):
                return Blob(digest, size)
    raise BadContent(f"image {reference}: its manifest names a part without kind, sha256 digest and size")


def _is_plain(os: str, machine: str, more: Mapping[Any, Any]) -> bool:
    """Whether these are words: they are shown to the submitter, and come from strangers."""
    return all(_WORD.fullmatch(text) for text in (os, machine, str(more.get("variant", "")) or "none"))


def _platform(reference: Reference, config: bytes) -> Platform:
    match _object(reference, config):
        case {"os": str(os), "architecture": str(machine), **more} if _is_plain(os, machine, more):
            return Platform(os, machine, str(more.get("variant", "")))
    raise BadContent(f"image {reference}: its configuration names no platform")
