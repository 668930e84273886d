"""What a registry may ask and answer: logins that stay where they belong, redirects, and answers that are not what they say."""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from deai.docker_config import DockerConfig
from deai.errors import BadContent, BadField, RegistryUnavailable
from deai.image_reference import Platform, Reference
from deai.registry import Blob, Registry

AMD = Platform("linux", "amd64")
PYTHON = Reference.parse("python:3.12")
CONFIG = json.dumps({"os": "linux", "architecture": "amd64"}).encode()
CONFIG_KIND = "application/vnd.oci.image.config.v1+json"
LAYER_KIND = "application/vnd.oci.image.layer.v1.tar+gzip"
BASIC = base64.b64encode(b"alice:sesame").decode()

Answer = Callable[[httpx.Request], httpx.Response]


def digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def descriptor(data: bytes, kind: str, **more: Any) -> dict[str, Any]:
    return {"mediaType": kind, "digest": digest(data), "size": len(data)} | more


def manifest(*layers: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "config": descriptor(CONFIG, CONFIG_KIND), "layers": list(layers)} | more


class Scripted:
    """A registry that answers as a test says, and remembers what it was asked."""

    def __init__(self, tag: object, **answers: Answer) -> None:
        """`tag` is the manifest's JSON, or its bytes. `answers` are by a word in the URL; they go first."""
        self.body = tag if isinstance(tag, bytes) else json.dumps(tag).encode()
        self.answers = answers
        self.asked: list[httpx.Request] = []

    def registry(self, folder: Path | None = None, **auth: str) -> Registry:
        config = None
        if folder is not None:
            config = DockerConfig(folder / "config.json")
            config.path.write_text(json.dumps({"auths": {"https://index.docker.io/v1/": auth}}))
        return Registry(config, httpx.Client(transport=httpx.MockTransport(self._answer)))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        reply = self._reply(request)
        if not reply.is_stream_consumed:
            return reply
        # As it comes from a network: not read yet.
        stream = httpx.ByteStream(reply.content)
        return httpx.Response(reply.status_code, headers=reply.headers, stream=stream)

    def _reply(self, request: httpx.Request) -> httpx.Response:
        for word, answer in self.answers.items():
            if word in str(request.url):
                return answer(request)
        if "/manifests/" in request.url.path:
            return httpx.Response(200, content=self.body)
        return httpx.Response(200, content=CONFIG)


def says(content: bytes) -> Answer:
    return lambda _: httpx.Response(200, content=content)


def wants_token(realm: str, then: bytes) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.headers.get("Authorization") == "Bearer granted":
            return httpx.Response(200, content=then)
        challenge = (
            f'Bearer realm="{realm}",service="registry.docker.io",scope="repository:everything:push,pull"'
        )
        return httpx.Response(401, headers={"WWW-Authenticate": challenge})

    return answer


def grants(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"token": "granted"})


def test_everybodys_token_is_fetched_for_this_repository_alone() -> None:
    body = json.dumps(manifest()).encode()
    script = Scripted(manifest(), manifests=wants_token("https://auth.docker.io/token", body), token=grants)

    with script.registry() as registry:
        found = registry.manifest(PYTHON, AMD)

    assert found.reference.digest == digest(body)
    first, token, *_ = script.asked
    assert str(first.url) == "https://registry-1.docker.io/v2/library/python/manifests/3.12"
    assert token.url.host == "auth.docker.io"
    assert dict(token.url.params) == {
        "service": "registry.docker.io",
        "scope": "repository:library/python:pull",
    }
    assert "Authorization" not in token.headers


def test_a_login_goes_to_the_realm_and_only_the_token_to_the_registry(tmp_path: Path) -> None:
    body = json.dumps(manifest()).encode()
    script = Scripted(manifest(), manifests=wants_token("https://auth.docker.io/token", body), token=grants)

    with script.registry(tmp_path, auth=BASIC) as registry:
        registry.manifest(PYTHON, AMD)

    sent = {request.url.host: request.headers.get("Authorization") for request in script.asked}
    assert sent == {"registry-1.docker.io": "Bearer granted", "auth.docker.io": f"Basic {BASIC}"}


def test_a_refresh_token_is_posted_not_put_into_a_url(tmp_path: Path) -> None:
    body = json.dumps(manifest()).encode()
    script = Scripted(
        manifest(),
        manifests=wants_token("https://auth.docker.io/token", body),
        token=lambda _: httpx.Response(200, json={"access_token": "granted"}),
    )

    with script.registry(tmp_path, identitytoken="long lived") as registry:
        registry.manifest(PYTHON, AMD)

    (asked,) = [request for request in script.asked if request.url.host == "auth.docker.io"]
    assert asked.method == "POST"
    assert "refresh_token=long+lived" in asked.content.decode()
    assert all("long" not in str(request.url) for request in script.asked)


@pytest.mark.parametrize(
    "realm",
    [
        *("http://auth.docker.io/token", "http://127.0.0.1/token", "ftp://x/", "//x/", "", "https:///token"),
        *("https://user:pw@auth.docker.io/token", "file:///etc/passwd"),
    ],
)
def test_a_login_is_sent_nowhere_without_tls(tmp_path: Path, realm: str) -> None:
    script = Scripted(manifest(), manifests=wants_token(realm, b""))

    with (
        script.registry(tmp_path, auth=BASIC) as registry,
        pytest.raises(RegistryUnavailable, match="not safe"),
    ):
        registry.manifest(PYTHON, AMD)

    assert [request.url.host for request in script.asked] == ["registry-1.docker.io"]


def test_a_realm_that_redirects_gets_nothing_further(tmp_path: Path) -> None:
    moved = httpx.Response(302, headers={"Location": "https://thief.example/"})
    script = Scripted(
        manifest(), manifests=wants_token("https://auth.docker.io/token", b""), token=lambda _: moved
    )

    with script.registry(tmp_path, auth=BASIC) as registry, pytest.raises(RegistryUnavailable, match="302"):
        registry.manifest(PYTHON, AMD)

    assert {request.url.host for request in script.asked} == {"registry-1.docker.io", "auth.docker.io"}


def test_a_blob_kept_elsewhere_is_fetched_there_without_the_token() -> None:
    away = "https://storage.example/blob?signature=x"
    script = Scripted(
        manifest(),
        manifests=wants_token("https://auth.docker.io/token", json.dumps(manifest()).encode()),
        token=grants,
        blobs=lambda _: httpx.Response(307, headers={"Location": away}),
    )

    with script.registry() as registry:
        assert registry.manifest(PYTHON, AMD).config == CONFIG

    asked = {request.url.host: request.headers.get("Authorization") for request in script.asked}
    assert asked["storage.example"] is None
    assert asked["registry-1.docker.io"] == "Bearer granted"


@pytest.mark.parametrize("target", ["http://storage.example/", "http://127.0.0.1:80/", "gopher://x/"])
def test_a_redirect_out_of_tls_is_not_followed(target: str) -> None:
    script = Scripted(manifest(), blobs=lambda _: httpx.Response(307, headers={"Location": target}))

    with script.registry() as registry, pytest.raises(RegistryUnavailable, match="not safe"):
        registry.manifest(PYTHON, AMD)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Location": "http://[x"},
        {"Location": "https://xn--0/"},
        {"Location": "https://x/?" + "y" * 70_000},
    ],
    ids=["nowhere", "no URL", "no name", "too long"],
)
@pytest.mark.parametrize("status", [300, 302, 307])
def test_a_redirect_that_leads_nowhere_is_the_registry_being_odd(
    status: int, headers: dict[str, str]
) -> None:
    script = Scripted(manifest(), blobs=lambda _: httpx.Response(status, headers=headers))

    with script.registry() as registry, pytest.raises(RegistryUnavailable):
        registry.manifest(PYTHON, AMD)


@pytest.mark.parametrize("realm", ["https://xn--0/", "https://x/?" + "y" * 65_500, "http://[x", ""])
def test_a_realm_that_is_no_url_is_the_registry_being_odd(realm: str) -> None:
    script = Scripted(manifest(), manifests=wants_token(realm, b""), token=grants)

    with script.registry() as registry, pytest.raises(RegistryUnavailable):
        registry.manifest(PYTHON, AMD)


@pytest.mark.parametrize("part", ["os", "architecture", "variant"])
def test_a_platform_that_is_no_word_is_refused_before_it_is_shown(part: str) -> None:
    config = json.dumps({"os": "linux", "architecture": "amd64", part: "\x1b[2Kcosts nothing"}).encode()
    script = Scripted(manifest(config=descriptor(config, CONFIG_KIND)), blobs=says(config))

    with script.registry() as registry, pytest.raises(BadContent, match="names no platform"):
        registry.manifest(PYTHON, AMD)


def test_redirects_end() -> None:
    script = Scripted(
        manifest(), blobs=lambda request: httpx.Response(307, headers={"Location": str(request.url)})
    )

    with script.registry() as registry, pytest.raises(RegistryUnavailable, match="without end"):
        registry.manifest(PYTHON, AMD)


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (401, BadField, "not for everybody"),
        (403, BadField, "not for everybody"),
        (404, BadField, "no such image"),
        (429, RegistryUnavailable, "try again later"),
        (500, RegistryUnavailable, "answered 500"),
        (418, RegistryUnavailable, "answered 418"),
        (204, RegistryUnavailable, "answered 204"),
    ],
)
def test_each_refusal_says_whether_trying_again_helps(status: int, error: type[Exception], said: str) -> None:
    script = Scripted(manifest(), manifests=lambda _: httpx.Response(status))

    with script.registry() as registry, pytest.raises(error, match=said):
        registry.manifest(PYTHON, AMD)


def test_a_network_that_breaks_is_the_registry_being_away() -> None:
    def breaks(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("the network broke here")

    with (
        Scripted(manifest(), v2=breaks).registry() as registry,
        pytest.raises(RegistryUnavailable, match=r"docker\.io does not answer: the network broke here"),
    ):
        registry.manifest(PYTHON, AMD)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not an object"),
        (b"x" * (5 << 20), "more than 4194304"),
        ({"schemaVersion": 1, "fsLayers": []}, "neither"),
        (manifest(manifests=[]), "neither"),
        (manifest(layers=None), "layers"),
        (manifest(*[descriptor(b"x", LAYER_KIND)] * 200), "127 layers"),
        (manifest(config=descriptor(b"{}", "application/vnd.cncf.helm.config.v1+json")), "helm"),
        (manifest(descriptor(b"x", "application/vnd.oci.image.layer.v1.tar+zstd")), "zstd"),
        (manifest(descriptor(b"x", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")), "foreign"),
        (manifest(descriptor(b"x", LAYER_KIND, size=-1)), "without kind"),
        (manifest(descriptor(b"x", LAYER_KIND, size="1")), "without kind"),
        (manifest(descriptor(b"x", LAYER_KIND, size=10**400)), "without kind"),
        (manifest(descriptor(b"x", LAYER_KIND, digest="sha256:../../x")), "without kind"),
        (manifest(descriptor(b"x", LAYER_KIND, digest="md5:" + "0" * 32)), "without kind"),
        (manifest(config=descriptor(CONFIG, CONFIG_KIND, size=9 << 20)), "more than"),
        (manifest(config=descriptor(b"another", CONFIG_KIND)), "more than 7 bytes"),
        (manifest(config=descriptor(b"x" * len(CONFIG), CONFIG_KIND)), "not those of"),
    ],
    ids=range(19),
)
def test_a_manifest_that_misleads_is_refused(body: object, said: str) -> None:
    with Scripted(body).registry() as registry, pytest.raises(BadContent, match=said):
        registry.manifest(PYTHON, AMD)


def test_a_registry_that_contradicts_itself_is_refused() -> None:
    body = json.dumps(manifest()).encode()
    told = {"Docker-Content-Digest": "sha256:" + "0" * 64}
    script = Scripted(manifest(), manifests=lambda _: httpx.Response(200, content=body, headers=told))

    with script.registry() as registry, pytest.raises(BadContent, match="sent the manifest"):
        registry.manifest(PYTHON, AMD)


def test_statements_about_images_are_no_platforms() -> None:
    entries = [
        {"digest": digest(b"1"), "platform": {"os": "unknown", "architecture": "unknown"}},
        {"digest": digest(b"2"), "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}},
        {"digest": "odd", "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": digest(b"3")},
        7,
    ]

    with (
        Scripted({"manifests": entries}).registry() as registry,
        pytest.raises(BadField, match=r"has linux/arm/v7$"),
    ):
        registry.manifest(PYTHON, AMD)


def test_a_blob_that_broke_off_is_taken_up_where_it_broke_off() -> None:
    content = bytes(range(256)) * 64
    ranges: list[str | None] = []

    class Broken(httpx.SyncByteStream):
        def __init__(self, data: bytes) -> None:
            self.data = data

        def __iter__(self) -> Any:
            yield self.data[:5_000]
            raise httpx.ReadError("the network broke here")

    def breaking(request: httpx.Request) -> httpx.Response:
        asked = request.headers.get("Range")
        ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if len(ranges) == 2:
            # This time without a range: from the start again.
            return httpx.Response(200, stream=Broken(content))
        if len(ranges) == 4:
            return httpx.Response(
                206, content=content[start:], headers={"Content-Range": f"bytes {start}-9/9"}
            )
        return httpx.Response(
            206 if asked else 200,
            stream=Broken(content[start:]),
            headers={"Content-Range": f"bytes {start}-9/9"},
        )

    script = Scripted(manifest(), blobs=breaking)
    with script.registry() as registry, pytest.raises(RegistryUnavailable):
        # The second answer brings nothing that is new, so it is given up.
        b"".join(registry.blob(PYTHON, Blob(digest(content), len(content))))
    ranges[:] = [None, None]
    with script.registry() as registry:
        assert b"".join(registry.blob(PYTHON, Blob(digest(content), len(content)))) == content
    assert ranges[2:] == [None, "bytes=5000-"]
