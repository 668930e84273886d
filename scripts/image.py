#!/usr/bin/env python3
"""Builds the image of the demo and of the tests, Python and numpy, from Debian packages: no image registry needed.

The archive is what `docker save` would write. The same packages give the same bytes, hence the same image id.
"""

import argparse
import fcntl
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

PACKAGES = ("python3", "python3-numpy")
UNUSED = frozenset(
    {
        *("debconf", "dpkg", "tar", "tzdata", "media-types", "readline-common", "python3-pkg-resources"),
        *("gcc-12-base", "libacl1", "libdb5.3", "libmd0", "libpcre2-8-0", "libselinux1", "libzstd1"),
        *("libcom-err2", "libgssapi-krb5-2", "libk5crypto3", "libkeyutils1", "libkrb5-3", "libkrb5support0"),
        *("libnsl2", "libtirpc-common", "libtirpc3"),
    }
)
"""Dependencies of their installation, or of Python modules that no job in a box without network can use."""

DROPPED_FOLDERS = ("usr/share", "var")
DROPPED_NAMES = frozenset(
    {
        "gconv",
        "include",
        "valgrind",
        "tests",
        "test",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "pydoc_data",
        "tkinter",
        "turtledemo",
        "__pycache__",
    }
)
DROPPED_SUFFIXES = (".a", ".pyi", ".pyx", ".pxd", ".h")

TAG = "deai/python-numpy:debian"
MOMENT = 1_700_000_000
"""The time of every file. Any constant will do."""
CREATED = "2023-11-14T22:13:20Z"


@dataclass(frozen=True, slots=True)
class Facts:
    """What was built."""

    archive: str
    """The path of the image archive."""
    image: str
    """The image's id, `sha256:` and the digest of its config: what the engine will call it."""
    bytes: int
    packages: dict[str, str]
    """Name to version."""
    recipe: str


class BuildError(Exception):
    """The image cannot be built here; the message says what to do."""


def build(folder: Path) -> Facts:
    """The image archive in `folder`, built there unless it is there. Raises BuildError."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _cached(folder) or _build(folder)


def _recipe() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _cached(folder: Path) -> Facts | None:
    try:
        facts = Facts(**json.loads((folder / "image.json").read_text()))
        archive = folder / "image.tar"
        fresh = facts.recipe == _recipe() and facts.bytes == archive.stat().st_size
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return replace(facts, archive=str(archive)) if fresh else None


def _build(folder: Path) -> Facts:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise BuildError(
            "the demo's image is built from Debian packages: needs apt-get and dpkg-deb (Debian or Ubuntu)"
        )
    try:
        versions = _versions()
        debs = _download(folder / "debs", versions)
    except BuildError:
        # No package lists yet, or lists so old that the packages they name are gone.
        _update()
        versions = _versions()
        debs = _download(folder / "debs", versions)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        root, layer, unfinished = (Path(scratch) / name for name in ("root", "layer.tar", "image.tar"))
        for deb in debs:
            _run("dpkg-deb", "-x", str(deb), str(root))
        _prune(root)
        _choose_blas(root)
        _write_layer(root, layer)
        image = _write_archive(layer, unfinished)
        archive = unfinished.replace(folder / "image.tar")
    facts = Facts(str(archive), image, archive.stat().st_size, versions, _recipe())
    (folder / "image.json").write_text(json.dumps(asdict(facts), indent=1) + "\n")
    return facts


def _say(text: str) -> None:
    print(f"image: {text}", file=sys.stderr, flush=True)


def _run(*command: str, cwd: Path | None = None) -> str:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"{' '.join(command[:4])} … failed:\n{done.stderr.strip()}")
    return done.stdout


def _update() -> None:
    if os.geteuid() != 0:
        raise BuildError("apt knows no current package lists: run `apt-get update` as root")
    _say("package lists by apt-get update")
    _run("apt-get", "-qq", "update")


def _versions() -> dict[str, str]:
    """Every package that an empty machine would need, with the version apt would take."""
    _say(f"finds what {' and '.join(PACKAGES)} need")
    with tempfile.NamedTemporaryFile() as nothing_installed:
        status = f"Dir::State::status={nothing_installed.name}"
        plan = _run("apt-get", "install", "--simulate", "--no-install-recommends", "-o", status, *PACKAGES)
    installs = [line.split() for line in plan.splitlines() if line.startswith("Inst ")]
    return {words[1]: words[2].lstrip("(") for words in sorted(installs) if words[1] not in UNUSED}


def _download(folder: Path, versions: dict[str, str]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    missing = [f"{name}={version}" for name, version in versions.items() if not _debs(folder, name, version)]
    if missing:
        _say(f"downloads {len(missing)} packages")
        _run("apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", *missing, cwd=folder)
    return [deb for name, version in versions.items() for deb in _debs(folder, name, version)]


def _debs(folder: Path, name: str, version: str) -> list[Path]:
    return list(folder.glob(f"{name}_{version.replace(':', '%3a')}_*.deb"))


def _prune(root: Path) -> None:
    for folder in DROPPED_FOLDERS:
        shutil.rmtree(root / folder, ignore_errors=True)
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if path.name in DROPPED_NAMES:
                shutil.rmtree(path)
        elif path.suffix in DROPPED_SUFFIXES:
            path.unlink()


def _choose_blas(root: Path) -> None:
    """Does what update-alternatives does on installation."""
    for name in ("blas", "lapack"):
        for library in root.glob(f"usr/lib/*/{name}/lib{name}.so.3"):
            (library.parent.parent / library.name).symlink_to(f"{name}/{library.name}")


def _write_layer(root: Path, target: Path) -> None:
    _say("writes the layer")
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as layer:
        for folder in ("inputs", "outputs", "tmp"):
            (root / folder).mkdir(exist_ok=True)
        for path in _sorted_walk(root):
            name = PurePosixPath(path.relative_to(root)).as_posix()
            info = layer.gettarinfo(path, name)
            if info.islnk():
                # Which of two hard links comes first is the file system's accident.
                info.type, info.linkname, info.size = tarfile.REGTYPE, "", path.stat().st_size
            _settle(info)
            if name == "tmp":
                # Engines give the file system they mount here the mode of the folder below.
                info.mode = 0o1777
            if info.isreg():
                with path.open("rb") as data:
                    layer.addfile(info, data)
            else:
                layer.addfile(info)


def _sorted_walk(root: Path) -> Iterator[Path]:
    for path in sorted(root.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _sorted_walk(path)


def _settle(info: tarfile.TarInfo) -> None:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    info.mtime = MOMENT
    info.mode = 0o755 if info.isdir() or info.mode & 0o111 else 0o644
    info.pax_headers = {}


def _write_archive(layer: Path, target: Path) -> str:
    with layer.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    architecture = _run("dpkg", "--print-architecture").strip()
    config = _json(
        {
            "architecture": architecture,
            "config": {"Cmd": ["python3"], "Env": ["PATH=/usr/bin:/bin", "LANG=C.UTF-8"]},
            "created": CREATED,
            "history": [{"created": CREATED, "created_by": "scripts/image.py"}],
            "os": "linux",
            "rootfs": {"diff_ids": [f"sha256:{digest}"], "type": "layers"},
        }
    )
    image = hashlib.sha256(config).hexdigest()
    manifest = _json([{"Config": f"{image}.json", "Layers": [f"{digest}/layer.tar"], "RepoTags": [TAG]}])
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in ((f"{image}.json", config), ("manifest.json", manifest)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            _settle(info)
            archive.addfile(info, io.BytesIO(content))
        info = tarfile.TarInfo(f"{digest}/layer.tar")
        info.size = layer.stat().st_size
        _settle(info)
        with layer.open("rb") as data:
            archive.addfile(info, data)
    return f"sha256:{image}"


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def main() -> int:
    """Builds, and prints the facts as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(__file__).resolve().parent.parent / ".cache" / "image"
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=default,
        help="where packages and archive are kept (default: .cache/image)",
    )
    try:
        facts = build(parser.parse_args().folder)
    except BuildError as error:
        print(f"image: {error}", file=sys.stderr)
        return 3
    print(json.dumps(asdict(facts), sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
