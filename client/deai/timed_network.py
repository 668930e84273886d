"""Connections of HTTP clients on which a whole answer has a time: from the wait for a connection to the last byte.

The timeouts of an HTTP library are for each piece sent or received, and a peer can send its headers a byte at a time for days.
"""

import ssl
import threading
import time
from collections.abc import Iterable

import httpcore
import httpx

from deai.authorities import authorities

_PIECE_BYTES = 1 << 14


class TimedNetwork(httpcore.SyncBackend):
    """Connections whose every read and write ends when the calling thread's time is over."""

    def __init__(self) -> None:
        self._thread = threading.local()

    @property
    def until(self) -> float:
        """When the calling thread's time is over, by `time.monotonic`."""
        until: float = self._thread.until
        return until

    @until.setter
    def until(self, value: float) -> None:
        self._thread.until = value

    def left(self, timeout: float | None) -> float:
        """What is left of the calling thread's time, at most `timeout`, in seconds. Raises ReadTimeout when it is over."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the time for the whole answer is over")
        return left if timeout is None else min(left, timeout)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection, for as long as the calling thread has time."""
        stream = super().connect_tcp(host, port, self.left(timeout), local_address, socket_options)
        return _TimedStream(stream, self)


class _TimedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, network: TimedNetwork) -> None:
        self._stream, self._network = stream, network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._network.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # The library's own timeout starts anew whenever the peer takes a little.
        for start in range(0, len(buffer), _PIECE_BYTES):
            self._stream.write(buffer[start : start + _PIECE_BYTES], self._network.left(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, self._network.left(timeout))
        return _TimedStream(stream, self._network)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class TimedTransport(httpx.HTTPTransport):
    """For an `httpx.Client`: a request's timeout, one number of seconds, is for its whole answer. Thread-safe; whoever sends reads.

    Nothing of the environment is used.
    """

    def __init__(self) -> None:
        context = authorities(trust_env=False)
        super().__init__(verify=context, trust_env=False)
        self._network = TimedNetwork()
        self._pool = httpcore.ConnectionPool(
            ssl_context=context,
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,
            network_backend=self._network,
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, its body unread."""
        self._network.until = time.monotonic() + request.extensions["timeout"]["read"]
        return super().handle_request(request)
