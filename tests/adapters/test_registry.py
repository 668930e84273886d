"""Resolving and reading images, against a real registry: Debian's docker-registry."""

import base64
import gzip
import json
from pathlib import Path

import pytest

from deai.docker_config import DockerConfig
from deai.errors import BadContent, BadField, RegistryUnavailable
from deai.image_reference import Platform, Reference
from deai.registry import Registry
from tests.adapters.registry_fixtures import (
    INDEX,
    NAME,
    PASSWORD,
    LocalRegistry,
    closed_registry,
    layer,
    registry,
)

__all__ = ["closed_registry", "registry"]

AMD, ARM = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")
HELLO = layer(("hello", b"hello"))


def reference(server: LocalRegistry, name: str) -> Reference:
    return Reference.parse(f"{server.host}/{name}")


def config(folder: Path, server: LocalRegistry, password: str = PASSWORD) -> DockerConfig:
    path = folder / "config.json"
    auth = base64.b64encode(f"{NAME}:{password}".encode()).decode()
    path.write_text(json.dumps({"auths": {server.host: {"auth": auth}}}))
    return DockerConfig(path)


def test_a_tag_becomes_the_digest_of_the_manifest_that_was_pushed(registry: LocalRegistry) -> None:
    digest = registry.push("team/tool", "1.0", HELLO, architecture="amd64")

    with Registry() as client:
        found = client.manifest(reference(registry, "team/tool:1.0"), AMD)
        (blob,) = found.layers
        content = b"".join(client.blob(found.reference, blob))

    assert str(found.reference) == f"{registry.host}/team/tool@{digest}"
    assert found.platform == AMD
    assert gzip.decompress(content) == HELLO
    assert found.bytes == len(found.config) + len(content)


def test_of_several_platforms_the_wanted_ones_manifest_is_taken(registry: LocalRegistry) -> None:
    entries, digests = [], {}
    for machine in ("arm64", "amd64"):
        body = registry.image("multi", HELLO, architecture=machine)
        digests[machine] = registry.push_manifest("multi", machine, body)
        entries.append(
            {
                "mediaType": body["mediaType"],
                "size": len(json.dumps(body)),
                "digest": digests[machine],
                "platform": {"os": "linux", "architecture": machine},
            }
        )
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
    whole = registry.push_manifest("multi", "latest", index)

    with Registry() as client:
        by_tag = {each: client.manifest(reference(registry, "multi"), each) for each in (AMD, ARM)}
        by_digest = client.manifest(reference(registry, f"multi@{whole}"), ARM)
        with pytest.raises(BadField, match="linux/amd64, linux/arm64") as raised:
            client.manifest(reference(registry, "multi"), Platform.parse("linux/s390x"))

    assert raised.value.field == "platform"
    assert [by_tag[each].reference.digest for each in (AMD, ARM)] == [digests["amd64"], digests["arm64"]]
    assert by_digest.reference.digest == digests["arm64"]


def test_an_image_of_one_platform_is_not_taken_for_another(registry: LocalRegistry) -> None:
    registry.push("one", "latest", HELLO, architecture="arm64")

    with Registry() as client, pytest.raises(BadField, match="is for linux/arm64 alone"):
        client.manifest(reference(registry, "one"), AMD)


@pytest.mark.parametrize("name", ["tool:2.0", "other:1.0", f"tool@sha256:{'0' * 64}"])
def test_what_the_registry_does_not_have_is_a_wrong_request(registry: LocalRegistry, name: str) -> None:
    registry.push("tool", "1.0", HELLO)

    with Registry() as client, pytest.raises(BadField, match=f"{registry.host} has no such image"):
        client.manifest(reference(registry, name), AMD)


def test_a_registry_that_is_away_may_be_asked_again(registry: LocalRegistry) -> None:
    registry.push("tool", "1.0", HELLO, architecture="amd64")
    registry.kill()

    with Registry() as client:
        with pytest.raises(RegistryUnavailable, match=registry.host):
            client.manifest(reference(registry, "tool:1.0"), AMD)
        registry.start()
        assert client.manifest(reference(registry, "tool:1.0"), AMD).layers


def test_the_login_that_docker_knows_opens_a_closed_registry(
    closed_registry: LocalRegistry, tmp_path: Path
) -> None:
    closed_registry.push("secret", "1", HELLO, architecture="amd64")
    name = reference(closed_registry, "secret:1")

    with Registry(config(tmp_path, closed_registry)) as client:
        found = client.manifest(name, AMD)
        assert gzip.decompress(b"".join(client.blob(found.reference, found.layers[0]))) == HELLO
    with (
        Registry(config(tmp_path, closed_registry, "guessed")) as client,
        pytest.raises(BadField, match=r"refuses the login for it in .*config\.json"),
    ):
        client.manifest(name, AMD)
    with Registry() as client, pytest.raises(BadField, match="not for everybody"):
        client.manifest(name, AMD)
    with (
        Registry(DockerConfig(tmp_path / "none.json")) as client,
        pytest.raises(BadField, match=rf"none\.json has no login for it \(`docker login {name.registry}`\)"),
    ):
        client.manifest(name, AMD)


def test_a_blob_whose_bytes_changed_in_the_registry_is_refused(registry: LocalRegistry) -> None:
    registry.push("tool", "1.0", HELLO, architecture="amd64")
    with Registry() as client:
        found = client.manifest(reference(registry, "tool:1.0"), AMD)
        path = registry.blob_path(found.layers[0].digest)
        path.write_bytes(path.read_bytes()[:-1] + b"?")

        with pytest.raises(BadContent, match=found.layers[0].digest):
            b"".join(client.blob(found.reference, found.layers[0]))

        path.write_bytes(path.read_bytes() * 3)
        with pytest.raises(BadContent, match="more than"):
            b"".join(client.blob(found.reference, found.layers[0]))


def test_a_manifest_whose_bytes_changed_in_the_registry_is_refused(registry: LocalRegistry) -> None:
    digest = registry.push("tool", "1.0", HELLO, architecture="amd64")
    path = registry.blob_path(digest)
    path.write_bytes(path.read_bytes().replace(b'"schemaVersion": 2', b'"schemaVersion":  2'))

    with Registry() as client:
        for name in ("tool:1.0", f"tool@{digest}"):
            with pytest.raises(BadContent, match="the registry sent the manifest"):
                client.manifest(reference(registry, name), AMD)
