"""Collecting outputs: what is taken, what is refused and why, and where it stops. Hostile kinds of files are in the sandbox's tests too."""

import os
import socket
import tempfile
from pathlib import Path

import pytest

from deai.spec import Spec
from deai_provider import result_folder
from deai_provider.executor import RunState, RunStatus
from deai_provider.outputs import Collected, Limits, Refusal, collect, printable

ROOM = Limits(bytes=1 << 20)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    return folder


def tree(folder: Path) -> dict[str, bytes | None]:
    """Relative path to content; None for folders."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def test_files_and_folders_are_copied_and_empty_ones_kept(source: Path, tmp_path: Path) -> None:
    (source / "a" / "b").mkdir(parents=True)
    (source / "empty").mkdir()
    (source / "a" / "b" / "c.bin").write_bytes(b"\0" * 3_000_000)
    (source / "Grüße 世界.txt").write_bytes(b"")

    collected = collect(source, tmp_path / "target", Limits(bytes=1 << 22))

    assert tree(tmp_path / "target") == tree(source)
    assert collected == Collected(files=2, bytes=3_000_000, refused=(), refused_count=0)
    assert collected.complete


def test_modes_are_dropped(source: Path, tmp_path: Path) -> None:
    (source / "run").write_bytes(b"x")
    (source / "run").chmod(0o6777)
    (source / "shut").mkdir()
    (source / "shut").chmod(0o700)

    collect(source, tmp_path / "target", ROOM)

    assert (tmp_path / "target" / "run").stat().st_mode & 0o7777 == 0o644
    assert (tmp_path / "target" / "shut").stat().st_mode & 0o7777 == 0o755


def test_links_and_special_files_are_refused_by_name(source: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("secret")
    (source / "file").symlink_to(secret / "key")
    (source / "folder").symlink_to(secret)
    (source / "dangling").symlink_to("nowhere")
    (source / "hard").hardlink_to(secret / "key")
    os.mkfifo(source / "fifo")
    with tempfile.TemporaryDirectory() as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short}/s")
        Path(f"{short}/s").rename(source / "socket")

    collected = collect(source, tmp_path / "target", ROOM)

    reasons = {each.name: each.reason for each in collected.refused}
    assert tree(tmp_path / "target") == {}
    assert reasons == {
        "dangling": "a symbolic link: only files and folders are taken",
        "fifo": "a FIFO: only files and folders are taken",
        "file": "a symbolic link: only files and folders are taken",
        "folder": "a symbolic link: only files and folders are taken",
        "hard": "has 2 hard links: only files with one name are taken",
        "socket": "a socket: only files and folders are taken",
    }


@pytest.mark.parametrize(
    ("name", "shown", "reason"),
    [
        (b"\xff\xfe", "\\xff\\xfe", "the name is not UTF-8"),
        (b"\x1b[2J", "\\x1b[2J", "the name has control characters"),
        (b"a\nb", "a\\nb", "the name has control characters"),
        ("a\u202eb".encode(), "a\\u202eb", "the name has control characters"),
    ],
)
def test_names_that_are_not_plain_text_are_refused_and_shown_escaped(
    source: Path, tmp_path: Path, name: bytes, shown: str, reason: str
) -> None:
    (Path(os.fsdecode(bytes(source) + b"/" + name))).write_text("x")

    collected = collect(source, tmp_path / "target", ROOM)

    assert collected.refused == (Refusal(shown, reason),)
    assert tree(tmp_path / "target") == {}


def test_a_name_longer_than_the_limit_is_refused(source: Path, tmp_path: Path) -> None:
    (source / ("x" * 51)).write_text("x")
    (source / ("x" * 50)).write_text("x")

    collected = collect(source, tmp_path / "target", Limits(bytes=10, name_bytes=50))

    assert [each.reason for each in collected.refused] == ["the name is longer than 50 bytes"]
    assert collected.files == 1


def deep(root: Path, length: int) -> str:
    """Makes a file by folder handles, so that its path below `root` may have any length; that path."""
    names, left = list[str](), length
    while left > 255:
        names.append("d" * 200)
        left -= 201
    names.append("f" * left)
    folder = os.open(root, os.O_RDONLY)
    for name in names[:-1]:
        os.mkdir(name, dir_fd=folder)
        above, folder = folder, os.open(name, os.O_RDONLY, dir_fd=folder)
        os.close(above)
    os.close(os.open(names[-1], os.O_CREAT | os.O_WRONLY, dir_fd=folder))
    os.close(folder)
    return "/".join(names)


@pytest.mark.parametrize(("length", "taken"), [(2_000, True), (2_001, False), (4_050, False), (6_000, False)])
def test_a_path_that_another_machine_might_not_open_is_refused_and_the_result_laid_out(
    source: Path, tmp_path: Path, length: int, taken: bool
) -> None:
    path = deep(source, length)
    spec = Spec.build(
        name="deep", image={"digest": "python@sha256:" + "0" * 64}, command=["true"], output_path="/out"
    )
    status = RunStatus(state=RunState.EXITED, exit_code=0, ran_seconds=1.0)

    record = result_folder.make(tmp_path / "result", spec, "sha256:1", status, False, source, lambda _: b"")

    if taken:
        assert record.refused == ()
        assert (tmp_path / "result" / "out" / path).is_file()
    else:
        (refused,) = record.refused
        assert refused.reason == "the path is longer than 2000 bytes"
        assert path.startswith(refused.name.split("…", maxsplit=1)[0])


def test_bytes_count_to_the_last_one_and_holes_count_too(source: Path, tmp_path: Path) -> None:
    (source / "a").write_bytes(b"x" * 60)
    (source / "b").write_bytes(b"x" * 40)
    (source / "c").write_bytes(b"x")
    with (source / "sparse").open("wb") as file:
        file.truncate(1 << 40)

    collected = collect(source, tmp_path / "target", Limits(bytes=100))

    assert collected.bytes == 100
    assert [each.name for each in collected.refused] == ["c", "sparse"]
    assert "0 of 100 are left" in collected.refused[0].reason


def test_folders_deeper_than_the_limit_are_refused_and_the_rest_is_taken(
    source: Path, tmp_path: Path
) -> None:
    (source / "1" / "2" / "3" / "4").mkdir(parents=True)
    (source / "1" / "2" / "3" / "file").write_text("x")

    collected = collect(source, tmp_path / "target", Limits(bytes=10, depth=3))

    assert collected.refused == (Refusal("1/2/3/4", "deeper than 3 folders"),)
    assert "1/2/3/file" in tree(tmp_path / "target")


def test_a_flood_of_entries_ends_the_walk_with_a_reason(source: Path, tmp_path: Path) -> None:
    for number in range(200):
        (source / f"{number:03}").write_bytes(b"")

    collected = collect(source, tmp_path / "target", Limits(bytes=10, entries=50))

    assert collected.files == 50
    assert collected.refused == (Refusal("*", "the rest was not looked at: more than 50 entries"),)


def test_a_flood_of_refusals_is_counted_but_not_named(source: Path, tmp_path: Path) -> None:
    for number in range(30):
        (source / f"{number:03}").symlink_to("x")

    collected = collect(source, tmp_path / "target", Limits(bytes=10, refusals=5))

    assert len(collected.refused) == 5
    assert collected.refused_count == 30
    assert not collected.complete


def test_a_target_that_exists_is_not_written_into(source: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()

    with pytest.raises(FileExistsError):
        collect(source, tmp_path / "target", ROOM)


def test_a_source_that_is_a_link_is_not_followed(source: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(source)

    with pytest.raises(OSError, match="Not a directory"):
        collect(tmp_path / "link", tmp_path / "target", ROOM)


def test_a_long_name_is_shown_by_its_ends() -> None:
    shown = printable(b"a" * 500 + b"z")

    assert len(shown) == 200
    assert shown.startswith("aaa")
    assert shown.endswith("az")
