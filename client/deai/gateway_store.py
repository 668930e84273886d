"""GatewayStore: content from a trustless IPFS gateway, read-only. A market's `/ipfs/` is one."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import httpcore

from deai.cid import Cid
from deai.errors import BadContent, BadField, ContentMissing, StoreUnavailable, WrongRequest
from deai.store import MAX_BLOCK_BYTES, Block, verify
from deai.timed_network import TimedNetwork

_CONNECTIONS = 16
_IDLE_SECONDS = 2.0  # servers hang up on idle connections after some five
_GONE = (404, 410, 451)


class GatewayStore:
    """Reads blocks from `url` + `/ipfs/CID?format=raw`, and believes none of them unverified. Thread-safe.

    No redirect is followed, nothing is decompressed, no proxy of the environment is used, and a body is read no further than a
    block can be long: a gateway can waste no more than one block of memory and `seconds` of time per call.
    """

    def __init__(self, url: str, *, seconds: float = 30.0) -> None:
        """`seconds` is what one call may take from its connection to its last byte. Raises BadField for what is no URL of a gateway."""
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.username
            or parts.query
            or parts.fragment
        ):
            raise BadField("gateway", url, "is not a URL of the form `https://host[:port][/path]`")
        self._url, self._seconds = url.rstrip("/"), seconds
        self._network = TimedNetwork()
        self._pool = httpcore.ConnectionPool(
            max_connections=_CONNECTIONS, keepalive_expiry=_IDLE_SECONDS, network_backend=self._network
        )

    def close(self) -> None:
        """Closes the connections."""
        self._pool.close()

    def put(self, blocks: Iterable[Block]) -> None:  # noqa: ARG002 - the port's
        """Raises WrongRequest: a gateway is read-only."""
        raise WrongRequest(f"{self._url}: a gateway is read-only; put content into a store")

    def pin(self, root: Cid) -> None:
        """Raises WrongRequest: a gateway is read-only."""
        raise WrongRequest(f"{self._url}: a gateway is read-only; {root} cannot be pinned there")

    def get(self, cid: Cid) -> bytes:
        """The bytes of one block, verified.

        Raises ContentMissing; BadContent for other bytes; StoreUnavailable for a gateway that fails, redirects, encodes, or takes too long.
        """
        with self._answer("GET", cid) as answer:
            if answer.status != 200:
                raise self._refusal(cid, answer)
            if (encoding := _field(answer, b"content-encoding")) not in ("", "identity"):
                raise StoreUnavailable(f"{self._url}: sends {cid} encoded as {encoding!r}, unasked")
            data = self._body(cid, answer)
        try:
            verify(Block(cid, data))
        except BadContent as error:
            raise BadContent(f"{self._url}: sent other bytes: {error}") from error
        return data

    def has(self, cid: Cid) -> bool:
        """Whether the gateway says that it has the block. Raises StoreUnavailable."""
        with self._answer("HEAD", cid) as answer:
            if answer.status == 200:
                return True
            refusal = self._refusal(cid, answer)
        if isinstance(refusal, ContentMissing):
            return False
        raise refusal

    @contextmanager
    def _answer(self, method: str, cid: Cid) -> Iterator[httpcore.Response]:
        headers = [
            ("Host", urlsplit(self._url).netloc),
            ("Accept", "application/vnd.ipld.raw"),
            ("Accept-Encoding", "identity"),
            ("User-Agent", "deai"),
        ]
        extensions = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), self._seconds)}
        self._network.until = time.monotonic() + self._seconds
        try:
            with self._pool.stream(
                method,
                f"{self._url}/ipfs/{cid}?format=raw",
                headers=headers,
                extensions=extensions,
            ) as answer:
                yield answer
        except httpcore.TimeoutException as error:
            raise StoreUnavailable(f"{self._url}: took more than {self._seconds:g} s for {cid}") from error
        except (httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise StoreUnavailable(f"{self._url}: {error or type(error).__name__}") from error

    def _refusal(self, cid: Cid, answer: httpcore.Response) -> ContentMissing | StoreUnavailable:
        if answer.status in _GONE:
            return ContentMissing(f"{cid}: is not at {self._url}")
        if target := _field(answer, b"location"):
            return StoreUnavailable(
                f"{self._url}: redirects to {target[:200]!r}; name that gateway to use it"
            )
        return StoreUnavailable(f"{self._url}: answers {answer.status} for {cid}")

    def _body(self, cid: Cid, answer: httpcore.Response) -> bytes:
        data = bytearray()
        for piece in answer.iter_stream():
            data += piece
            if len(data) > MAX_BLOCK_BYTES:
                raise BadContent(f"{self._url}: sends more than {MAX_BLOCK_BYTES} bytes for {cid}")
        return bytes(data)


def _field(answer: httpcore.Response, name: bytes) -> str:
    """A header's value in lower case, "" without one."""
    return (
        next((value for key, value in answer.headers if key.lower() == name), b"").decode("latin-1").lower()
    )
