"""HTTP to hosts that strangers name: where it goes, and for how long."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from deai_provider import outbound

Serve = Callable[[socket.socket], None]


@contextmanager
def server(serve: Serve) -> Iterator[int]:
    """A listener on loopback; `serve` gets each connection once its request is read. Yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65_536)
                    try:
                        serve(connection)
                    except OSError:
                        continue

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def hello(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")


def drip(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


@pytest.mark.parametrize(
    "found", [["10.0.0.1"], ["127.0.0.1"], ["169.254.169.254"], ["::1"], [], ["1.1.1.1", "10.0.0.1"]]
)
def test_a_name_that_leads_into_a_private_net_is_not_called(found: list[str]) -> None:
    with (
        outbound.client(private=False, resolve=lambda *_: found) as client,
        pytest.raises(httpx.TransportError, match=r"registry\.example is not at a public address"),
    ):
        client.get("http://registry.example/v2/")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0"])
def test_no_spelling_of_this_machine_is_called(host: str) -> None:
    with (
        outbound.client(private=False) as client,
        pytest.raises(httpx.TransportError, match=r"not at a public address|cannot be found"),
    ):
        client.get(f"http://{host}:9/v2/", timeout=5)


def test_clouds_metadata_is_never_called() -> None:
    with (
        outbound.client(private=True) as client,
        pytest.raises(httpx.TransportError, match="not at a public address"),
    ):
        client.get("http://169.254.169.254/latest/meta-data/")


def test_what_was_checked_is_what_is_connected_to() -> None:
    """The name leads elsewhere the second time it is asked for: it is not asked for a second time."""
    answers = iter([["127.0.0.1"], ["10.0.0.1"]])
    with server(hello) as port, outbound.client(private=True, resolve=lambda *_: next(answers)) as client:
        reply = client.get(f"http://registry.example:{port}/")

    assert reply.text == "hello"
    assert next(answers) == ["10.0.0.1"]


def test_an_answer_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbound, "_START_SECONDS", 0.3)
    monkeypatch.setattr(outbound, "_BYTES_PER_SECOND", 10_000)
    started = time.monotonic()
    with (
        server(drip) as port,
        outbound.client(private=True) as client,
        pytest.raises(httpx.TransportError, match="too slow"),
    ):
        client.get(f"http://127.0.0.1:{port}/", timeout=5)

    assert time.monotonic() - started < 5


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with server(hello) as port, outbound.client(private=True) as client:
        assert client.get(f"http://127.0.0.1:{port}/").text == "hello"
