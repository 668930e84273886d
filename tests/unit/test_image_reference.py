"""Images' names as people write them, and the platforms they are for."""

import pytest

from deai.errors import BadField
from deai.image_reference import Platform, Reference

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("written", "spelled_out"),
    [
        ("python", "docker.io/library/python:latest"),
        ("python:3.12", "docker.io/library/python:3.12"),
        ("docker.io/python:3.12", "docker.io/library/python:3.12"),
        ("index.docker.io/library/python", "docker.io/library/python:latest"),
        (
            "huggingface/transformers-pytorch-gpu:4.25.1",
            "docker.io/huggingface/transformers-pytorch-gpu:4.25.1",
        ),
        ("ghcr.io/a/b/c:v1_2-x", "ghcr.io/a/b/c:v1_2-x"),
        ("GHCR.io/a/b", "ghcr.io/a/b:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x:y", "localhost:5000/x:y"),
        ("registry:5000/x", "registry:5000/x:latest"),
        ("team/x", "docker.io/team/x:latest"),
        (f"python@{DIGEST}", f"docker.io/library/python@{DIGEST}"),
        (f"ghcr.io/a/b:moving@{DIGEST}", f"ghcr.io/a/b@{DIGEST}"),
    ],
)
def test_a_short_name_is_spelled_out_as_docker_does(written: str, spelled_out: str) -> None:
    assert str(Reference.parse(written)) == spelled_out
    assert str(Reference.parse(spelled_out)) == spelled_out


@pytest.mark.parametrize(
    "text",
    [
        *("", ":tag", "@", "Python", "a//b", "a/", "/a", "a:", "a:b:c", "a b", "a\n", "-a", "a..b", "ä"),
        *("x.io:port/a", "x.io:70000/a", "x.io:0/a", "[::1]:5000/a", "user@host/a", "https://x.io/a"),
        *(
            "a@sha256:00",
            f"a@{DIGEST.upper()}",
            "a@md5:" + "0" * 32,
            f"a@{DIGEST}@{DIGEST}",
            "a:" + "t" * 129,
        ),
        *("x.io/../a", "x.io/a?b", "x.io/a#b", "x.io/a%2f", "a" * 256),
    ],
)
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(BadField) as raised:
        Reference.parse(text)
    assert raised.value.field == "docker_image"


@pytest.mark.parametrize(
    ("name", "local"),
    [
        ("localhost/x", True),
        ("localhost:5000/x", True),
        ("127.0.0.1:5000/x", True),
        ("127.9.9.9/x", True),
        ("127.0.0.1.example.org/x", False),
        ("localhost.example.org/x", False),
        ("10.0.0.1:5000/x", False),
        ("python", False),
    ],
)
def test_only_this_machines_registries_are_spoken_to_without_tls(name: str, local: bool) -> None:
    assert Reference.parse(name).is_local is local


def test_a_platform_serves_what_asks_for_no_other_variant() -> None:
    arm, v7, v6 = (Platform.parse(f"linux/arm{each}") for each in ("", "/v7", "/v6"))

    assert v7.serves(arm)
    assert v7.serves(v7)
    assert arm.serves(v7)
    assert not v6.serves(v7)
    assert not v7.serves(Platform.parse("linux/arm64"))


@pytest.mark.parametrize("text", ["", "linux", "linux/", "linux/amd64/v1/x", "Linux/amd64", "linux/../x"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    with pytest.raises(BadField, match="platform"):
        Platform.parse(text)
