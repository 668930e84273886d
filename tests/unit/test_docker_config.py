"""Logins from Docker's own configuration: where they are found, and what a broken one says."""

import base64
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from deai.docker_config import DockerConfig, Login, config_path
from deai.errors import BadField

BASIC = base64.b64encode(b"alice:open:sesame").decode()


def config(folder: Path, **content: Any) -> DockerConfig:
    path = folder / "config.json"
    path.write_text(json.dumps(content))
    return DockerConfig(path)


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, known: dict[str, tuple[str, str]]) -> None:
    """A docker-credential-test on the path that knows those registries."""
    program = folder / "docker-credential-test"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, sys\n"
        f"found = {known!r}.get(sys.stdin.read())\n"
        "assert sys.argv[1:] == ['get']\n"
        "if found is None:\n"
        "    print('credentials not found in native keychain'); sys.exit(1)\n"
        "if found[0] == 'broken':\n"
        "    print('my secret is', found[1]); sys.exit(2)\n"
        "print(json.dumps({'Username': found[0], 'Secret': found[1]}))\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))


def test_the_file_is_where_docker_has_it(tmp_path: Path) -> None:
    assert config_path({"DOCKER_CONFIG": str(tmp_path)}) == tmp_path / "config.json"
    assert config_path({}) == Path.home() / ".docker" / "config.json"


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("ghcr.io", "ghcr.io"),
        ("https://ghcr.io/v2/", "ghcr.io"),
        ("localhost:5000", "localhost:5000"),
    ],
)
def test_a_login_is_found_under_its_registrys_names(tmp_path: Path, key: str, registry: str) -> None:
    found = config(tmp_path, auths={key: {"auth": BASIC}, "other.io": {"auth": "bm86bm8="}})

    assert found.login(registry) == Login("alice", "open:sesame")
    assert found.login("stranger.io") is None
    assert found.login("sub.ghcr.io") is None


def test_no_file_is_no_logins(tmp_path: Path) -> None:
    assert DockerConfig(tmp_path / "none.json").login("docker.io") is None


def test_a_token_stands_for_name_and_password(tmp_path: Path) -> None:
    found = config(tmp_path, auths={"x.io": {"auth": BASIC, "identitytoken": "refresh"}}).login("x.io")

    assert found == Login("", "", "refresh")
    assert "refresh" not in repr(found)
    assert "sesame" not in repr(Login("alice", "open:sesame"))


def test_a_registrys_own_helper_goes_before_the_store_and_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(
        tmp_path, monkeypatch, {"x.io": ("bob", "kept"), "https://index.docker.io/v1/": ("<token>", "long")}
    )

    own = config(tmp_path, credHelpers={"x.io": "test"}, credsStore="none", auths={"x.io": {"auth": BASIC}})
    assert own.login("x.io") == Login("bob", "kept")
    store = config(tmp_path, credsStore="test", auths={"x.io": {}, "y.io": {"auth": BASIC}})
    assert store.login("x.io") == Login("bob", "kept")
    assert store.login("docker.io") == Login("", "", "long")
    assert store.login("y.io") == Login("alice", "open:sesame"), "the store has none, the file has"
    assert store.login("z.io") is None


def test_a_helper_that_fails_is_named_and_its_words_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper(tmp_path, monkeypatch, {"x.io": ("broken", "hush")})

    for name, said in (
        ("test", "failed for x.io"),
        ("absent", "not installed"),
        ("../evil", "not installed"),
    ):
        with pytest.raises(BadField, match=said) as raised:
            config(tmp_path, credHelpers={"x.io": name}).login("x.io")
        assert "hush" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"auths": 7}', '{"auths": {"x.io": {"auth": "%"}}}'])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)

    with pytest.raises(BadField, match=r"DOCKER_CONFIG: .*config\.json"):
        DockerConfig(tmp_path / "config.json").login("x.io")
