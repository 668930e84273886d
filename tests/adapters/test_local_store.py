import hashlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from deai import unixfs
from deai.cid import Cid
from deai.errors import BadContent, ContentMissing, StoreUnavailable
from deai.local_store import LocalStore
from tests.adapters.store_fixtures import CID, DATA, python, raw


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def block_file(folder: Path, cid: Cid) -> Path:
    (path,) = folder.glob(f"blocks/*/{cid.digest.hex()}")
    return path


def leftovers(folder: Path) -> list[Path]:
    return list((folder / "writing").iterdir())


def test_a_store_that_is_not_there_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    LocalStore(tmp_path / "new" / "store")
    assert stat.S_IMODE((tmp_path / "new" / "store").stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(StoreUnavailable, match=str(path)):
            LocalStore(path)


def test_a_store_opened_again_has_what_was_put_and_pinned(folder: Path) -> None:
    root = unixfs.add_bytes(DATA, LocalStore(folder))
    LocalStore(folder).pin(root)
    assert LocalStore(folder).get(root) == DATA
    assert LocalStore(folder).pins() == {root}


def test_a_pin_is_not_recorded_while_content_is_missing(folder: Path) -> None:
    with pytest.raises(ContentMissing):
        LocalStore(folder).pin(CID)
    assert LocalStore(folder).pins() == frozenset()


def test_a_block_that_is_there_is_not_written_again(folder: Path) -> None:
    store = LocalStore(folder)
    store.put([raw(DATA)])
    before = block_file(folder, CID).stat()
    store.put([raw(DATA)])
    after = block_file(folder, CID).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


@pytest.mark.parametrize(
    "spoilt",
    [DATA[:-1] + b"?", DATA[:-1], b"", DATA + b"\0", DATA * 300_000],
    ids=["flipped", "truncated", "emptied", "grown", "outgrown"],
)
def test_a_block_that_the_disk_has_spoilt_is_refused_until_it_is_put_again(
    spoilt: bytes, folder: Path, tmp_path: Path
) -> None:
    store = LocalStore(folder)
    store.put([raw(DATA)])
    path = block_file(folder, CID)
    path.write_bytes(spoilt)
    with pytest.raises(BadContent, match=f"{path} is corrupt"):
        store.get(CID)
    with pytest.raises(BadContent, match="is corrupt"):
        unixfs.fetch(store, CID, tmp_path / "target")
    assert not (tmp_path / "target").exists()
    store.put([raw(DATA)])
    assert store.get(CID) == DATA


KILLED = """
import os, resource, signal, sys
from pathlib import Path
from deai import unixfs
from deai.local_store import LocalStore
step = sys.argv[2]
def die(*_): os.kill(os.getpid(), signal.SIGKILL)
store = LocalStore(Path(sys.argv[1]))
if step == "write":
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, 5))
elif step == "fsync":
    os.fsync = die
else:
    Path.replace = die
unixfs.add_bytes(b"some bytes", store)
"""


@pytest.mark.parametrize("step", ["write", "fsync", "rename"])
def test_a_process_killed_while_it_puts_leaves_no_visible_block(step: str, folder: Path) -> None:
    assert python(KILLED, folder, step).returncode in (-signal.SIGKILL, -signal.SIGXFSZ)
    (left,) = leftovers(folder)
    assert left.read_bytes() == (DATA[:5] if step == "write" else DATA)
    store = LocalStore(folder)
    assert not store.has(CID)
    assert leftovers(folder) == [left]  # its writer might still live
    os.utime(left, (0, 0))
    store = LocalStore(folder)
    assert not leftovers(folder)
    store.put([raw(DATA)])
    assert store.get(CID) == DATA


FULL = """
import resource, sys
from pathlib import Path
from deai import unixfs
from deai.cid import Cid
from deai.errors import StoreUnavailable
from deai.local_store import LocalStore
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store = LocalStore(Path(sys.argv[1]))
unixfs.add_bytes(b"some bytes", store)
try:
    unixfs.add_bytes(bytes(200_000), store)
except StoreUnavailable as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_is_unavailable_and_leaves_no_part_of_a_block(folder: Path) -> None:
    full = python(FULL, folder)
    assert (full.returncode, full.stdout) == (0, f"{folder}: File too large\n"), full.stderr
    store = LocalStore(folder)
    assert store.get(CID) == DATA
    assert not store.has(raw(bytes(200_000)).cid)
    assert not leftovers(folder)


TOGETHER = """
import sys
from pathlib import Path
from deai.cid import Cid, Codec
from deai.local_store import LocalStore
from deai.store import Block
store = LocalStore(Path(sys.argv[1]))
datas = [str(i).encode() * 1000 for i in range(300)]
sys.stdin.readline()
store.put(Block(Cid.of(data, Codec.RAW), data) for data in datas)
assert all(store.get(Cid.of(data, Codec.RAW)) == data for data in datas)
"""


def test_processes_that_put_the_same_blocks_at_once_all_succeed(folder: Path) -> None:
    command = [sys.executable, "-c", TOGETHER, str(folder)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(3)]
    for process in processes:
        assert process.stdin
        process.stdin.write(b"\n")
        process.stdin.flush()
    for process in processes:
        _, trouble = process.communicate(timeout=120)
        assert process.returncode == 0, trouble.decode()
    assert len(list(folder.glob("blocks/*/*"))) == 300
    assert not leftovers(folder)


LARGE = """
import resource, sys
from pathlib import Path
from deai import unixfs
from deai.local_store import LocalStore
base = Path(sys.argv[1])
store = LocalStore(base / "store")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
cid = unixfs.add(base / "large", store)
store.pin(cid)
unixfs.fetch(store, cid, base / "target")
print(cid, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_memory_stays_flat_however_large_the_file(tmp_path: Path) -> None:
    large, mebibytes = tmp_path / "large", 160
    with large.open("wb") as file:
        for i in range(mebibytes):
            file.seek(i << 20)
            file.write(hashlib.sha256(b"%d" % i).digest())
        file.truncate(mebibytes << 20)
    result = python(LARGE, tmp_path)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout.split()[1]) < 40
    with large.open("rb") as before, (tmp_path / "target").open("rb") as after:
        assert hashlib.file_digest(before, "sha256").digest() == hashlib.file_digest(after, "sha256").digest()
