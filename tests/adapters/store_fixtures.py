"""What the tests of several stores share: blocks, programs in a process of their own, gateways that misbehave."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from socket import SHUT_RDWR, create_server, socket

from deai.cid import Cid, Codec
from deai.store import Block

DATA = b"some bytes"
CID = Cid.of(DATA, Codec.RAW)


def raw(data: bytes) -> Block:
    return Block(Cid.of(data, Codec.RAW), data)


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
