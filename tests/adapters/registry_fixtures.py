"""Fixtures for tests on a real image registry: Debian's docker-registry on loopback, with its files in reach of the tests."""

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from deai.authorities import authorities
from deai.errors import RegistryUnavailable
from deai.program import Program, free_port

FIND = Path(__file__).resolve().parents[2] / "scripts" / "registry"
MACHINE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
NAME, PASSWORD = "alice", "open sesame"
_HTPASSWD = "$2b$04$V68kSS.vghkpRj.tSPtUCOBAM0W9vFJasyW04hmzyfSItSlInNIeC"
"""NAME and PASSWORD, as htpasswd -B writes them."""


@dataclass(slots=True)
class LocalRegistry:
    """A docker-registry of its own port, folder and, where wanted, login."""

    folder: Path
    port: int
    login: bool = False
    program: Program | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def auth(self) -> tuple[str, str] | None:
        return (NAME, PASSWORD) if self.login else None

    def start(self) -> None:
        """Starts it, again on what it holds."""
        found = subprocess.run([str(FIND)], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr
        self.folder.mkdir(parents=True, exist_ok=True)
        settings: dict[str, Any] = {
            "version": 0.1,
            "log": {"level": "warn"},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}},
            "http": {"addr": self.host},
        }
        if self.login:
            (self.folder / "htpasswd").write_text(f"{NAME}:{_HTPASSWD}\n")
            settings["auth"] = {"htpasswd": {"realm": "test", "path": str(self.folder / "htpasswd")}}
        # JSON is YAML.
        (self.folder / "config.yml").write_text(json.dumps(settings))
        command = [found.stdout.strip(), "serve", str(self.folder / "config.yml")]
        self.program = Program("docker-registry", command, self.folder / "registry.log")
        self.program.wait_for(self._answers, RegistryUnavailable)

    def kill(self) -> None:
        """Ends it as a power cut would."""
        if self.program is not None:
            self.program.kill()

    def blob_path(self, digest: str) -> Path:
        """Where its storage has the blob."""
        name = digest.removeprefix("sha256:")
        return self.folder / "data/docker/registry/v2/blobs/sha256" / name[:2] / name / "data"

    def digest(self, repository: str, tag: str) -> str:
        """Of the manifest that the tag names now, as its storage has it."""
        link = f"data/docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}/current/link"
        return (self.folder / link).read_text()

    def push_blob(self, repository: str, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        with httpx.Client(
            base_url=f"http://{self.host}", auth=self.auth, trust_env=False, verify=authorities()
        ) as client:
            started = client.post(f"/v2/{repository}/blobs/uploads/")
            assert started.status_code == httpx.codes.ACCEPTED, started.text
            url = httpx.URL(started.headers["Location"]).copy_merge_params({"digest": digest})
            done = client.put(url, content=data, headers={"Content-Type": "application/octet-stream"})
            assert done.status_code == httpx.codes.CREATED, done.text
        return digest

    def push_manifest(self, repository: str, tag: str, body: dict[str, Any]) -> str:
        """Returns the manifest's digest."""
        data = json.dumps(body).encode()
        reply = httpx.put(
            f"http://{self.host}/v2/{repository}/manifests/{tag}",
            content=data,
            headers={"Content-Type": body["mediaType"]},
            auth=self.auth,
            trust_env=False,
            verify=authorities(),
        )
        assert reply.status_code == httpx.codes.CREATED, reply.text
        return f"sha256:{hashlib.sha256(data).hexdigest()}"

    def push(
        self, repository: str, tag: str, *layers: bytes, architecture: str = MACHINE, **config: Any
    ) -> str:
        """Pushes an image of tar archives, compressed by gzip, and returns its manifest's digest."""
        body = self.image(repository, *layers, architecture=architecture, **config)
        return self.push_manifest(repository, tag, body)

    def image(
        self, repository: str, *layers: bytes, architecture: str = MACHINE, **config: Any
    ) -> dict[str, Any]:
        """Pushes the blobs of an image, and returns its manifest."""
        value = {
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": {
                "type": "layers",
                "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers],
            },
        } | config
        parts = [
            json.dumps(value).encode(),
            *(gzip.compress(layer, compresslevel=1, mtime=0) for layer in layers),
        ]
        kinds = [
            "application/vnd.docker.container.image.v1+json",
            *["application/vnd.docker.image.rootfs.diff.tar.gzip"] * len(layers),
        ]
        described = [
            {"mediaType": kind, "size": len(part), "digest": self.push_blob(repository, part)}
            for kind, part in zip(kinds, parts, strict=True)
        ]
        return {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": described[0],
            "layers": described[1:],
        }

    def _answers(self) -> bool:
        try:
            reply = httpx.get(f"http://{self.host}/v2/", timeout=5, trust_env=False, verify=authorities())
        except httpx.HTTPError:
            return False
        return reply.status_code in (httpx.codes.OK, httpx.codes.UNAUTHORIZED)


def layer(*files: tuple[str, bytes]) -> bytes:
    """A tar archive of files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o755
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[LocalRegistry]:
    """A registry that is open to everybody."""
    found = LocalRegistry(tmp_path / "registry", free_port())
    found.start()
    yield found
    found.kill()


@pytest.fixture
def closed_registry(tmp_path: Path) -> Iterator[LocalRegistry]:
    """A registry that wants a login."""
    found = LocalRegistry(tmp_path / "closed", free_port(), login=True)
    found.start()
    yield found
    found.kill()
