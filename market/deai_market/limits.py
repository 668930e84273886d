"""What a request may cost: bytes, the time to send them, and room for those that are many.

A body is read before its route sees the request. Uploads are the exception: their sender is known by the digest that it announces, so nobody
else's bytes are taken, and only so many at once.
"""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deai.errors import BadField, BadSignature
from deai.job import Address
from deai.wire import Problem
from deai_market.errors import Busy, TooLarge, TooSlow, problem, status

BODY_SECONDS = 20
UPLOADS = "/ipfs"
"""The route that reads its body itself."""

_DIGEST = "sha-256=:"


class BodyLimit:
    """Reads the whole body first; refuses one that is too large, or too slow."""

    def __init__(self, app: ASGIApp, most: int, seconds: float = BODY_SECONDS) -> None:
        self._app, self._most, self._seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) == ("POST", UPLOADS):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._body(scope, receive)
        except TooLarge as error:
            await _refusal(status(error), problem(error))(scope, receive, send)
            return
        except TimeoutError:
            slow = TooSlow(f"the body did not arrive within {self._seconds} s")
            await _refusal(status(slow), problem(slow))(scope, receive, send)
            return
        if body is None:
            return
        told = False

        async def replay() -> Message:
            nonlocal told
            if told:
                return await receive()
            told = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body, or None when the client left."""
        check_length(dict(scope["headers"]).get(b"content-length", b"0"), self._most)
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._most:
                raise TooLarge(f"the body has more than {self._most} bytes")
            if not message.get("more_body", False):
                return bytes(body)


class Places:
    """Room for `most` uploads at once, one of each account. Others wait for a place, unread, up to `seconds`."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._taken: set[Address] = set()
        self._left = asyncio.Condition()

    @asynccontextmanager
    async def taken(self, account: Address) -> AsyncIterator[None]:
        """Holds a place while the block runs. Raises Busy when none gets free."""
        try:
            async with asyncio.timeout(self._seconds), self._left:
                await self._left.wait_for(
                    lambda: len(self._taken) < self._most and account not in self._taken
                )
                self._taken.add(account)
        except TimeoutError as error:
            raise Busy(
                f"{len(self._taken)} uploads are under way, and no place got free in {self._seconds:g} s"
            ) from error
        try:
            yield
        finally:
            self._taken.discard(account)
            async with self._left:
                self._left.notify_all()


def check_length(declared: bytes, most: int) -> None:
    """Raises TooLarge for a Content-Length above `most`."""
    if declared.isdigit() and int(declared[:20]) > most:
        raise TooLarge(f"the body has {declared.decode()} bytes; at most {most} are taken")


def announced_digest(request: Request) -> bytes:
    """The sha-256 of the body as the header Content-Digest (RFC 9530) gives it. Raises BadField."""
    text = request.headers.get("content-digest", "")
    try:
        digest = base64.b64decode(text.removeprefix(_DIGEST).removesuffix(":"), validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if not text.startswith(_DIGEST) or not text.endswith(":") or len(digest) != hashlib.sha256().digest_size:
        raise BadField("content-digest", text[:80], "is of the form sha-256=:BASE64: here")
    return digest


async def body_of(request: Request, digest: bytes, most: int, seconds: float) -> list[bytes]:
    """The body in pieces. Raises TooLarge, TooSlow, and BadSignature for one with another digest than was signed."""
    check_length(request.headers.get("content-length", "").encode(), most)
    pieces, size, seen = list[bytes](), 0, hashlib.sha256()
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                size += len(piece)
                if size > most:
                    raise TooLarge(f"the body has more than {most} bytes")
                seen.update(piece)
                pieces.append(piece)
    except TimeoutError as error:
        raise TooSlow(f"the body did not arrive within {seconds:g} s") from error
    if seen.digest() != digest:
        raise BadSignature("request: the body is not the one that was signed")
    return pieces


def _refusal(code: int, body: Problem) -> Response:
    # The rest of the body is never read, so the connection ends here.
    headers = {"Connection": "close"}
    return Response(body.model_dump_json(), status_code=code, media_type="application/json", headers=headers)
