"""One POST to a URL that a stranger gave: to the address that was checked and no other, in little time, reading next to nothing back."""

import contextlib
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from deai.addresses import is_allowed
from deai.errors import BadField

ATTEMPT_SECONDS = 10.0
"""What an attempt may take altogether: finding the address, connecting, sending, and hearing the answer."""

_PORTS = {"http": 80, "https": 443}
_HEAD_BYTES = 16 << 10
_REST_BYTES = 8 << 10
_REST_SECONDS = 1.0
_MAX_ADDRESSES = 8

Resolve = Callable[[str, int], list[str]]


class NotTaken(Exception):
    """The receiver did not take it. The message says why, and nothing of the URL or of what its name resolves to."""


@dataclass(frozen=True, slots=True)
class Target:
    """The parts of a URL that a request needs."""

    is_tls: bool
    host: str
    port: int
    path: str

    @classmethod
    def parse(cls, url: str, *, private: bool) -> Self:
        """Reads a URL. Raises BadField, which never shows it."""
        try:
            parts = urlsplit(url)
            port = parts.port if parts.port is not None else _PORTS.get(parts.scheme, 0)
            host = parts.hostname or ""
        except ValueError:
            raise _refused("must be an http or https URL") from None
        if parts.scheme not in _PORTS or not host:
            raise _refused("must be an http or https URL")
        if not all(0x21 <= ord(letter) <= 0x7E for letter in url) or "\\" in url:
            raise _refused("is spelled in printable ASCII, other characters percent-encoded")
        if parts.username is not None or parts.password is not None:
            raise _refused("carries no name and password")
        if port == 0:
            raise _refused("has a port of 1 to 65535")
        if "%" in host:
            raise _refused("names no zone")
        is_literal = ":" in host or host.replace(".", "").isdigit()
        if is_literal and not is_allowed(host, private=private):
            raise _refused("is not at a public address")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme == "https", host, port, path)

    @property
    def authority(self) -> str:
        """The value of `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS["https" if self.is_tls else "http"] else f"{host}:{self.port}"


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system's resolver finds them. Raises OSError, UnicodeError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class Courier:
    """Posts to URLs of strangers. No proxies, no cookies, no redirects. Thread-safe."""

    def __init__(
        self,
        *,
        private: bool,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        seconds: float = ATTEMPT_SECONDS,
    ) -> None:
        """`private` also allows addresses of this machine and of local nets. `seconds` bounds each attempt."""
        self.private = private
        self._resolve, self._seconds = resolve, seconds
        self._tls = tls or ssl.create_default_context()

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        """Sends `body` and gives the status of the answer. Raises NotTaken when there is none, or the URL may not be called."""
        until = time.monotonic() + self._seconds
        try:
            target = Target.parse(url, private=self.private)
        except BadField as error:
            raise NotTaken(f"the URL {error.rule}") from error
        addresses = self._addresses(target, until)
        with contextlib.closing(self._connect(target, addresses, until)) as connection:
            try:
                connection.settimeout(_left(until))
                connection.sendall(_request(target, headers, body))
                status = _status(connection, until)
            except TimeoutError as error:
                raise NotTaken(f"no answer within {self._seconds:g} s") from error
            except OSError as error:
                raise NotTaken("the connection broke before an answer came") from error
            _drain(connection, until)
            return status

    def _addresses(self, target: Target, until: float) -> list[str]:
        """The addresses of the host, each of them checked."""
        found: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

        def look() -> None:
            try:
                found.put(self._resolve(target.host, target.port))
            except (OSError, UnicodeError) as error:
                found.put(error)

        # The system's resolver takes no timeout.
        threading.Thread(target=look, daemon=True).start()
        try:
            answer = found.get(timeout=_left(until))
        except (queue.Empty, TimeoutError) as error:
            raise NotTaken(f"the host's address was not found within {self._seconds:g} s") from error
        if isinstance(answer, Exception) or not answer:
            raise NotTaken("the host has no address")
        if not all(is_allowed(address, private=self.private) for address in answer):
            raise NotTaken("the host is not at a public address")
        return answer[:_MAX_ADDRESSES]

    def _connect(self, target: Target, addresses: list[str], until: float) -> socket.socket:
        reason = "the receiver cannot be reached"
        for address in addresses:
            try:
                # An address, never the name: what is connected to is what was checked.
                plain = socket.create_connection((address, target.port), timeout=_left(until))
            except TimeoutError:
                reason = f"no connection within {self._seconds:g} s"
                continue
            except OSError as error:
                if isinstance(error, ConnectionRefusedError):
                    reason = "the receiver refuses connections"
                continue
            if not target.is_tls:
                return plain
            try:
                plain.settimeout(_left(until))
                return self._tls.wrap_socket(plain, server_hostname=target.host)
            except ssl.SSLCertVerificationError as error:
                plain.close()
                raise NotTaken(f"the receiver's certificate is not valid: {error.verify_message}") from error
            except OSError as error:
                plain.close()
                raise NotTaken("TLS could not be agreed on") from error
        raise NotTaken(reason)


def _refused(rule: str) -> BadField:
    return BadField("callback_url", None, rule)


def _left(until: float) -> float:
    """The seconds left. Raises TimeoutError when there are none."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _request(target: Target, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [
        f"POST {target.path} HTTP/1.1",
        f"Host: {target.authority}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "User-Agent: deai-market",
        "Accept: */*",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


def _status(connection: socket.socket, until: float) -> int:
    """The status of the final answer. Raises NotTaken, OSError."""
    head, read = b"", 0
    while True:
        line, newline, _ = head.partition(b"\n")
        if newline:
            status = _code(line)
            if not 100 <= status < 200:
                return status
            _, over, rest = head.replace(b"\r\n", b"\n").partition(b"\n\n")
            if over:  # an interim answer; the final one follows
                head = rest
                continue
        if read >= _HEAD_BYTES:
            raise NotTaken("the answer is not HTTP")
        connection.settimeout(_left(until))
        data = connection.recv(4_096)
        if not data:
            raise NotTaken("the connection was closed without an answer")
        head, read = head + data, read + len(data)


def _code(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    if not version.startswith(b"HTTP/1.") or len(code) != 3 or not code.isdigit():
        raise NotTaken("the answer is not HTTP")
    return int(code)


def _drain(connection: socket.socket, until: float) -> None:
    """Hears a short answer out: closing on unread bytes would look like a failure to its sender."""
    until, read = min(until, time.monotonic() + _REST_SECONDS), 0
    with contextlib.suppress(OSError):
        while read < _REST_BYTES:
            connection.settimeout(_left(until))
            data = connection.recv(4_096)
            if not data:
                return
            read += len(data)
