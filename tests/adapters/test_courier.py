"""The courier against real servers that lie, stall, redirect and flood, and against names that lead elsewhere."""

import resource
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deai_market.courier import Courier, NotTaken
from tests.receivers import OK, Answer, Receiver, says

SECONDS = 1.0


@pytest.fixture
def courier() -> Courier:
    """One that may call this machine, with little patience."""
    return Courier(private=True, seconds=SECONDS)


def named(*addresses: str) -> Callable[[str, int], list[str]]:
    """A resolver that gives these addresses for any name."""
    return lambda *_: list(addresses)


def test_a_post_arrives_whole_and_says_who_it_is_for(courier: Courier) -> None:
    with Receiver() as receiver:
        assert courier.post(receiver.url, {"webhook-id": "x"}, b"{}") == 204
    (heard,) = receiver.heard
    assert (heard.line, heard.body) == ("POST /closed?x=1 HTTP/1.1", b"{}")
    assert heard.headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert heard.headers["webhook-id"] == "x"
    assert heard.headers["Content-Type"] == "application/json"


def test_proxies_of_the_environment_are_not_asked(courier: Courier, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as receiver, Receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        assert courier.post(receiver.url, {}, b"{}") == 204
    assert proxy.connections == 0


def test_a_redirect_to_the_metadata_of_a_cloud_is_an_answer_and_not_followed(courier: Courier) -> None:
    with Receiver() as elsewhere:
        for location in ("http://169.254.169.254/latest/meta-data", elsewhere.url):
            moved = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\n\r\n".encode()
            with Receiver(says(moved)) as receiver:
                assert courier.post(receiver.url, {}, b"{}") == 307
    assert elsewhere.connections == 0


def test_local_addresses_are_not_called_unless_the_operator_says_so() -> None:
    public = Courier(private=False, seconds=SECONDS)
    with Receiver() as receiver:
        with pytest.raises(NotTaken, match="not at a public address"):
            public.post(receiver.url, {}, b"{}")
        for url in ("localhost", "0x7f000001", "0177.0.0.1"):
            with pytest.raises(NotTaken, match="not at a public address"):
                public.post(f"http://{url}:{receiver.port}/", {}, b"{}")
    assert receiver.connections == 0


@pytest.mark.parametrize(
    "addresses",
    [("127.0.0.1",), ("8.8.8.8", "10.0.0.1"), ("::ffff:127.0.0.1",), ("fe80::1%lo",), ("0.0.0.0",)],  # noqa: S104
)
def test_a_name_is_refused_if_any_of_its_addresses_is_not_public(addresses: tuple[str, ...]) -> None:
    courier = Courier(private=False, resolve=named(*addresses), seconds=SECONDS)
    with pytest.raises(NotTaken, match="not at a public address") as refused:
        courier.post("http://receiver.example/", {}, b"{}")
    # Whoever asks learns nothing of the market's own net.
    assert not any(address in str(refused.value) for address in addresses)


def test_a_name_is_resolved_once_and_what_was_checked_is_connected_to() -> None:
    """A name that leads to a harmless address when it is checked, and to another when it is asked again."""
    asked = list[str]()

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.2"] if len(asked) == 1 else ["127.0.0.1"]

    with Receiver(address="127.0.0.1") as inside, socket.create_server(("127.0.0.2", inside.port)) as checked:
        courier = Courier(private=True, resolve=rebinding, seconds=SECONDS)
        with pytest.raises(NotTaken):
            courier.post(f"http://receiver.example:{inside.port}/", {}, b"{}")
        connection, _ = checked.accept()
        assert b"Host: receiver.example" in connection.recv(4_096)
        connection.close()
    assert asked == ["receiver.example"]
    assert inside.connections == 0


def test_the_next_address_of_a_name_is_tried_when_one_refuses(courier: Courier) -> None:
    with Receiver(address="127.0.0.3") as receiver:
        both = Courier(private=True, resolve=named("127.0.0.2", "127.0.0.3"), seconds=SECONDS)
        assert both.post(f"http://receiver.example:{receiver.port}/", {}, b"{}") == 204


def test_a_name_that_is_not_found_in_time_or_at_all_is_said() -> None:
    def slow(host: str, port: int) -> list[str]:
        time.sleep(3 * SECONDS)
        return ["127.0.0.1"]

    begun = time.monotonic()
    with pytest.raises(NotTaken, match="was not found within 1 s"):
        Courier(private=True, resolve=slow, seconds=SECONDS).post("http://receiver.example/", {}, b"{}")
    assert time.monotonic() - begun < 2 * SECONDS
    with pytest.raises(NotTaken, match="no address"):
        Courier(private=True, resolve=named(), seconds=SECONDS).post("http://receiver.example/", {}, b"{}")
    with pytest.raises(NotTaken, match="no address"):
        Courier(private=True, seconds=SECONDS).post(f"http://{'a' * 64}.example/", {}, b"{}")


def drip(connection: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" * 100:
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def interim(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n")
        time.sleep(0.05)


def silence(connection: socket.socket) -> None:
    time.sleep(3 * SECONDS)


@pytest.mark.parametrize("answer", [drip, interim, silence])
def test_a_receiver_that_takes_its_time_gets_no_more_than_is_given(courier: Courier, answer: Answer) -> None:
    with Receiver(answer) as receiver:
        begun = time.monotonic()
        with pytest.raises(NotTaken, match="no answer within 1 s"):
            courier.post(receiver.url, {}, b"{}")
        assert SECONDS <= time.monotonic() - begun < 2 * SECONDS


def test_an_interim_answer_is_not_the_answer(courier: Courier) -> None:
    with Receiver(says(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK)) as receiver:
        assert courier.post(receiver.url, {}, b"{}") == 204


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n\r\n",
        b"HTTP/1.1 2",
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 \r\n\r\n",
        b"x" * 100_000,
    ],
)
def test_an_answer_that_is_none_is_refused(courier: Courier, data: bytes) -> None:
    with Receiver(says(data)) as receiver, pytest.raises(NotTaken, match=r"not HTTP|without an answer|broke"):
        courier.post(receiver.url, {}, b"{}")


def test_of_a_flood_next_to_nothing_is_read(courier: Courier) -> None:
    sent = [0]

    def flood(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        for _ in range(1_024):
            connection.sendall(bytes(1 << 20))
            sent[0] += 1

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Receiver(flood) as receiver:
        assert courier.post(receiver.url, {}, b"{}") == 200
    assert sent[0] < 64
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_a_receiver_that_is_not_there_is_said(courier: Courier) -> None:
    with Receiver() as receiver:
        url = receiver.url
    with pytest.raises(NotTaken, match="refuses connections"):
        courier.post(url, {}, b"{}")


# TLS.


CERTIFICATE = Path(__file__).resolve().parents[1] / "vectors" / "receiver.pem"
"""Key and certificate of `receiver.example`, signed by itself, made for these tests and good for a century."""


@pytest.fixture
def served() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def test_a_certificate_counts_for_its_name_alone(served: ssl.SSLContext) -> None:
    trusting = ssl.create_default_context(cafile=str(CERTIFICATE))
    courier = Courier(private=True, resolve=named("127.0.0.1"), tls=trusting, seconds=SECONDS)
    with Receiver(tls=served) as receiver:
        assert courier.post(f"https://receiver.example:{receiver.port}/", {}, b"{}") == 204
        for host in ("another.example", "127.0.0.1"):
            with pytest.raises(NotTaken, match="certificate is not valid"):
                courier.post(f"https://{host}:{receiver.port}/", {}, b"{}")
    assert len(receiver.heard) == 1


def test_a_certificate_that_nobody_vouches_for_is_refused(served: ssl.SSLContext) -> None:
    courier = Courier(private=True, resolve=named("127.0.0.1"), seconds=SECONDS)
    with Receiver(tls=served) as receiver, pytest.raises(NotTaken, match="self-signed certificate"):
        courier.post(f"https://receiver.example:{receiver.port}/", {}, b"{}")
    assert receiver.heard == []


def test_a_server_that_speaks_no_tls_or_nothing_at_all_is_refused_in_time(courier: Courier) -> None:
    with Receiver() as receiver, pytest.raises(NotTaken, match="TLS"):
        courier.post(receiver.url.replace("http", "https"), {}, b"{}")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        begun = time.monotonic()
        with pytest.raises(NotTaken, match="TLS"):
            courier.post(f"https://127.0.0.1:{mute.getsockname()[1]}/", {}, b"{}")
        assert time.monotonic() - begun < 2 * SECONDS
