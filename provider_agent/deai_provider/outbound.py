"""HTTP to hosts that strangers name: to public addresses only, and not at the pace of a drip."""

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import httpcore
import httpx

from deai.addresses import is_allowed
from deai.authorities import authorities

_START_SECONDS, _BYTES_PER_SECOND = 60.0, 256 << 10
"""An answer's time: so long, and longer for what it brings. Timeouts alone are for each piece, however small."""
_MAX_ADDRESSES = 4
_FAILURES = (
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.UnsupportedProtocol,
    ssl.SSLError,
)

Resolve = Callable[[str, int], list[str]]


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system's resolver finds them. Raises OSError, UnicodeError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


def client(*, private: bool, resolve: Resolve = resolve) -> httpx.Client:
    """A client that connects to public addresses, with `private` also to this machine and local nets. It uses no proxies.

    The address that was checked is the one that is connected to: a name that resolves otherwise the next moment changes nothing.
    """
    return httpx.Client(transport=_Transport(_Backend(private, resolve)), trust_env=False)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, private: bool, resolve: Resolve) -> None:
        self._private, self._resolve = private, resolve
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host} cannot be found") from error
        # One that is not allowed spoils all: no honest name leads here and there.
        if not found or not all(is_allowed(each, private=self._private) for each in found):
            raise httpcore.ConnectError(f"{host} is not at a public address")
        failure: Exception = httpcore.ConnectError(f"{host} does not answer")
        for address in found[:_MAX_ADDRESSES]:
            try:
                return _Paced(
                    self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _Paced(httpcore.NetworkStream):
    """A connection whose answers must not take much longer than their bytes are worth."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream
        self._since, self._bytes = time.monotonic(), 0

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._stream.read(max_bytes, timeout)
        self._bytes += len(data)
        if time.monotonic() - self._since > _START_SECONDS + self._bytes / _BYTES_PER_SECOND:
            raise httpcore.ReadTimeout("the answer is too slow")
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._since, self._bytes = time.monotonic(), 0
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Paced(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Transport(httpx.BaseTransport):
    """httpx's requests over httpcore's connections, which take a backend of ours."""

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=authorities(), max_connections=4, network_backend=backend
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not isinstance(request.stream, httpx.SyncByteStream):
            raise httpx.UnsupportedProtocol("this client is not for async requests", request=request)
        url = request.url
        sent = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _failures(request):
            answer = self._pool.handle_request(sent)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer, request))

    def close(self) -> None:
        self._pool.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, answer: httpcore.Response, request: httpx.Request) -> None:
        self._answer, self._request = answer, request

    def __iter__(self) -> Iterator[bytes]:
        with _failures(self._request):
            yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


@contextmanager
def _failures(request: httpx.Request) -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        raise httpx.TransportError(str(error) or type(error).__name__, request=request) from error
