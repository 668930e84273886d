"""What the tests of several stores share: blocks, content, programs in a process of their own, gateways that misbehave."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import SHUT_RDWR, create_server, socket

from deai.cid import Cid, Codec
from deai.store import Block

DATA = b"some bytes"
CID = Cid.of(DATA, Codec.RAW)


def raw(data: bytes) -> Block:
    return Block(Cid.of(data, Codec.RAW), data)


def fresh() -> Block:
    """Ten bytes that no store has had before, as tests share a daemon."""
    return raw(os.urandom(10))


def _file(size: int) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(hashlib.shake_256(b"deai").digest(size))


def _nested(path: Path) -> None:
    for name, data in {
        "empty": b"",
        "a/empty": b"",
        "a/b/c/deep.bin": hashlib.shake_256(b"deep").digest((2 << 20) + 17),
        "a/b/.hidden": DATA,
        "Übung/日本語.txt": DATA,
        "Übung/🦀 and spaces": b"\n",
        "Übung/e\u0301 is not é": b"",
    }.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    (path / "empty folder").mkdir()


def _many(path: Path) -> None:
    path.mkdir()
    for i in range(5_000):
        (path / f"{i:04}.txt").write_bytes(b"%d" % i)


WRITE: dict[str, Callable[[Path], object]] = {
    "0 B": _file(0),
    "1 B": _file(1),
    "1 MiB": _file(1 << 20),
    "1 MiB + 1": _file((1 << 20) + 1),
    "50 MiB": _file(50 << 20),
    "nested, with empty files and Unicode names": _nested,
    "5,000 files": _many,
}
"""What writes each content to a path."""

CONTENTS = {
    "0 B": "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",
    "1 B": "bafkreigkgwdvr5wspzwpiutssn4xpj2i7wedshnwphhnu7ohx4pqaxxipe",
    "1 MiB": "bafkreifzmhzyxqxiikfvtzrolpcalwhcmffrrjev4cemt4ewnuyoq7q5ne",
    "1 MiB + 1": "bafybeihxf72vqzb47uz2aght2emzej7dcvnvvifrsig5wntaxd5zpyduuu",
    "50 MiB": "bafybeiec6tgbfwr63xxxmutieoo2shfxeovfn3z2t6kuq24fhhhvn3fvlu",
    "nested, with empty files and Unicode names": "bafybeihlmk74x7iye2qvzatwchbrhqqgehqs6t6l4cw7rwvdlqwvam7kki",
    "5,000 files": "bafybeihkndwz5umswukyusmljzi5qgl7lwk72ue2y4fxm3bbwwklo3cmom",
}
"""Each content's CID, as Kubo 0.42 gives it."""


def same(one: Path, other: Path) -> bool:
    """Whether two files, or two folders with all below them, have the same names and bytes."""
    if one.is_file():
        return other.is_file() and one.read_bytes() == other.read_bytes()
    names = {path.relative_to(one) for path in one.rglob("*")}
    if names != {path.relative_to(other) for path in other.rglob("*")}:
        return False
    return all(
        (one / name).is_dir() == (other / name).is_dir()
        and ((one / name).is_dir() or (one / name).read_bytes() == (other / name).read_bytes())
        for name in names
    )


def python(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a program in a process of its own, to be killed or limited."""
    command = [sys.executable, "-c", program, *(str(each) for each in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def gateway(answer: Callable[[socket, bytes], None]) -> Iterator[str]:
    """A server on loopback whose `answer` gets each connection and the request's head; gives its URL."""
    listener = create_server(("127.0.0.1", 0))
    open_now: list[socket] = []

    def serve(connection: socket) -> None:
        try:
            head = b""
            while b"\r\n\r\n" not in head and (piece := connection.recv(4096)):
                head += piece
            if head:
                answer(connection, head)
        except OSError:
            pass  # the client hung up, as it should on most of what comes here
        finally:
            connection.close()

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            open_now.append(connection)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(SHUT_RDWR)
        listener.close()
        for each in open_now:
            each.close()
        thread.join()


def answer(status: str = "200 OK", body: bytes = b"", *fields: str, length: int | None = None) -> bytes:
    """The bytes of an answer; `length` is what it claims."""
    head = [
        f"HTTP/1.1 {status}",
        f"Content-Length: {len(body) if length is None else length}",
        *fields,
        "Connection: close",
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
