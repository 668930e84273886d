"""What a request may cost before a route sees it: bytes, and the time to send them."""

import asyncio

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deai.errors import WrongRequest
from deai.wire import Problem
from deai_market.errors import TooLarge, problem, status

BODY_SECONDS = 20


class BodyLimit:
    """Reads the whole body first; refuses one that is too large, or too slow."""

    def __init__(self, app: ASGIApp, most: int, seconds: float = BODY_SECONDS) -> None:
        self._app, self._most, self._seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._body(scope, receive)
        except TooLarge as error:
            await _refusal(status(error), problem(error))(scope, receive, send)
            return
        except TimeoutError:
            slow = Problem(
                error=WrongRequest.__name__, detail=f"the body did not arrive within {self._seconds} s"
            )
            await _refusal(408, slow)(scope, receive, send)
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
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared[:20]) > self._most:
            raise TooLarge(f"the body has {declared.decode()} bytes; at most {self._most} are taken")
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


def _refusal(code: int, body: Problem) -> Response:
    # The rest of the body is never read, so the connection ends here.
    headers = {"Connection": "close"}
    return Response(body.model_dump_json(), status_code=code, media_type="application/json", headers=headers)
