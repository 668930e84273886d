"""Receivers of callbacks: real servers on loopback, well-behaved or not."""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

OK = b"HTTP/1.1 204 No Content\r\n\r\n"
Answer = Callable[[socket.socket], None]


@dataclass(frozen=True, slots=True)
class Heard:
    """A request."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        """The part of the body that is about the job."""
        found: dict[str, Any] = json.loads(self.body)["data"]
        return found


def says(data: bytes) -> Answer:
    """An answer of these bytes."""
    return lambda connection: connection.sendall(data)


@dataclass
class Receiver:
    """Listens while the block runs. `answer` can be changed in the middle; `heard` are the requests."""

    answer: Answer = field(default_factory=lambda: says(OK))
    tls: ssl.SSLContext | None = None
    address: str = "127.0.0.1"
    heard: list[Heard] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.address, 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        # Wakes the thread that accepts; closing alone would not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.tls else 'http'}://{self.address}:{self.port}/closed?x=1"

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        # The other side may leave at any time: that is what is tested.
        with plain, contextlib.suppress(OSError):
            plain.settimeout(30)
            connection = self.tls.wrap_socket(plain, server_side=True) if self.tls else plain
            with connection:
                if request := _read(connection):
                    self.heard.append(request)
                    self.answer(connection)


def _read(connection: socket.socket) -> Heard | None:
    read = b""
    while b"\r\n\r\n" not in read:
        data = connection.recv(4_096)
        if not data:
            return None
        read += data
    head, _, body = read.partition(b"\r\n\r\n")
    line, *rest = head.decode().split("\r\n")
    headers = dict(each.split(": ", 1) for each in rest)
    while len(body) < int(headers["Content-Length"]):
        body += connection.recv(4_096)
    return Heard(line, headers, body)
