"""Logins to image registries from Docker's own configuration: what `docker login` wrote down.

They are read when a job is drafted and sent to the registry alone: never to a market, never into a spec.
"""

import base64
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deai.errors import BadField
from deai.image_reference import DOCKER

_TLS = "https://"
_DOCKER_KEY = "https://index.docker.io/v1/"
_NO_USER = "<token>"
_HELPER = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_HELPER_SECONDS = 30
_NOT_FOUND = "credentials not found in native keychain"


@dataclass(frozen=True, slots=True)
class Login:
    """A name and a password for one registry, or a token that stands for both."""

    name: str
    password: str = field(repr=False)
    token: str = field(default="", repr=False)
    """An OAuth2 refresh token; then name and password are empty."""


def config_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Docker's configuration file: in `DOCKER_CONFIG`, else in ~/.docker."""
    folder = environment.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


@dataclass(frozen=True, slots=True)
class DockerConfig:
    """The configuration file at `path`, read anew for each question. No file is no logins."""

    path: Path

    def login(self, registry: str) -> Login | None:
        """The login for `registry` (host[:port]), or None.

        Raises BadField for a file that cannot be read, and for a credential helper that is missing or fails.
        """
        config = _read(self.path)
        keys = [_DOCKER_KEY, DOCKER] if registry == DOCKER else [registry, _TLS + registry]
        helpers = _object(config, "credHelpers", self.path)
        for key in keys:
            if isinstance(helper := helpers.get(key), str):
                return _ask(helper, key)
        store = config.get("credsStore")
        if isinstance(store, str) and store:
            for key in keys:
                if (asked := _ask(store, key)) is not None:
                    return asked
        auths = {_host(key): value for key, value in _object(config, "auths", self.path).items()}
        found = auths.get(_host(keys[0]))
        return _entry(found, self.path) if isinstance(found, dict) else None


def _read(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadField("DOCKER_CONFIG", str(path), f"cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise BadField("DOCKER_CONFIG", str(path), "is not a JSON object")
    return config


def _object(config: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    found = config.get(name) or {}
    if not isinstance(found, dict):
        raise BadField("DOCKER_CONFIG", str(path), f"{name} is not an object")
    return found


def _host(key: str) -> str:
    """`https://host/v1/` and `host` are one registry; Docker's own has a name of its own."""
    host = key.removeprefix("https://").removeprefix("http://").partition("/")[0].lower()
    return DOCKER if host in ("index.docker.io", "registry-1.docker.io") else host


def _entry(entry: dict[str, Any], path: Path) -> Login | None:
    token, name, password = (entry.get(key) or "" for key in ("identitytoken", "username", "password"))
    if encoded := entry.get("auth"):
        try:
            name, _, password = base64.b64decode(str(encoded), validate=True).decode().partition(":")
        except ValueError as error:
            raise BadField("DOCKER_CONFIG", str(path), "auths has an entry that is not base64") from error
        password = password.rstrip("\0")
    if token:
        return Login("", "", str(token))
    return Login(str(name), str(password)) if name else None


def _ask(helper: str, key: str) -> Login | None:
    """What `docker-credential-HELPER get` answers for `key`: the protocol of docker-credential-helpers."""
    name = f"docker-credential-{helper}"
    program = shutil.which(name) if _HELPER.fullmatch(helper) else None
    if program is None:
        raise BadField("DOCKER_CONFIG", helper, f"names the credential helper {name}, which is not installed")
    try:
        done = subprocess.run(
            [program, "get"], input=key.encode(), capture_output=True, timeout=_HELPER_SECONDS, check=False
        )
        if done.returncode != 0:
            said = done.stdout.decode(errors="replace").strip()
            if _NOT_FOUND in said:
                return None
            raise BadField("DOCKER_CONFIG", helper, f"{name} failed for {key}: exit code {done.returncode}")
        answer = json.loads(done.stdout)
        user, secret = answer["Username"], answer["Secret"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError) as error:
        # The answer may hold the secret: it is not shown.
        raise BadField("DOCKER_CONFIG", helper, f"{name} failed for {key}: {type(error).__name__}") from None
    return Login("", "", str(secret)) if user == _NO_USER else Login(str(user), str(secret))
