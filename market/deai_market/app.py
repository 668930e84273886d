"""The market as a web application, and the server that carries it."""

import contextlib
import ipaddress
import logging
import socket
import threading
import time
from collections.abc import Iterator, Sequence

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from deai.errors import BadField, Bug, DeaiError
from deai.wire import Problem, origin
from deai_market.errors import problem, status
from deai_market.limits import BodyLimit, Places
from deai_market.market import Market
from deai_market.routes import router

_log = logging.getLogger(__name__)

_CONNECTIONS = 2_000
_PRIVATE = {"callback_url", "callback_secret"}
"""Fields of a body that no answer repeats."""


def app(market: Market, origins: Sequence[str]) -> FastAPI:
    """The application, for requests signed for one of `origins`. Every refusal is a `wire.Problem`."""
    # No documentation pages: they would load scripts from elsewhere.
    application = FastAPI(title="deai market", docs_url=None, redoc_url=None)
    application.state.market = market
    application.state.origins = tuple(origins)
    application.state.places = Places(market.rules.upload_places, market.rules.upload_wait_seconds)
    application.include_router(router)
    application.add_middleware(BodyLimit, most=market.rules.body_bytes)
    application.add_exception_handler(DeaiError, _refuse)
    application.add_exception_handler(RequestValidationError, _refuse)
    application.add_exception_handler(HTTPException, _refuse)
    application.add_exception_handler(Exception, _refuse)
    return application


@contextlib.contextmanager
def serving(market: Market, host: str, port: int, origins: Sequence[str] = ()) -> Iterator[str]:
    """Starts the market and serves it while the block runs; gives its URL. Port 0 takes a free one. Signed requests have to name one of
    `origins`, the URLs that clients know the market by; without any, the address it listens on.

    Raises BadField for an address that cannot be listened on and an origin that is no URL, ChainUnavailable.
    """
    named = [origin(each) for each in origins]
    listener = _listener(host, port)
    bound = listener.getsockname()[1]
    config = uvicorn.Config(
        app(market, named or _own_origins(host, bound)),
        access_log=False,
        log_config=None,
        lifespan="off",
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=20,
        timeout_graceful_shutdown=3,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    try:
        market.start()
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.005)
        if not server.started:
            raise Bug("the web server did not start")
        yield _url(host, bound)
    finally:
        market.bells.close()
        server.should_exit = True
        if thread.ident is not None:
            thread.join()
        market.close()
        listener.close()


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _own_origins(host: str, port: int) -> list[str]:
    """What clients call a market that listens there. Never what a request says of itself: that is its sender's word."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    names = [host, "localhost"] if is_loopback else [host]
    return [origin(_url(name, port)) for name in names]


def _listener(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise BadField("port", f"{host}:{port}", f"cannot be listened on: {error.strerror}") from error
    return listener


async def _refuse(_request: Request, error: Exception) -> Response:
    if isinstance(error, DeaiError):
        code, body = status(error), problem(error)
    elif isinstance(error, RequestValidationError):
        code, body = 422, _invalid(error)
    elif isinstance(error, HTTPException):
        code, body = error.status_code, Problem(error="WrongRequest", detail=str(error.detail))
    else:
        code, body = (
            500,
            Problem(error="Bug", detail="this should not have happened; the market's log has the details"),
        )
    if code == 500:
        _log.error("a request failed", exc_info=error)
    elif code > 500:
        _log.warning("a request could not be served: %s: %s", type(error).__name__, error)
    retry = {503: "1", 507: "10"}
    headers = {"Retry-After": retry[code]} if code in retry else None
    if code == 401:
        headers = {"WWW-Authenticate": "deai"}
    return Response(body.model_dump_json(), status_code=code, media_type="application/json", headers=headers)


def _invalid(error: RequestValidationError) -> Problem:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    value = first.get("input") if not _PRIVATE & {str(part) for part in first["loc"]} else None
    shown = (
        value
        if isinstance(value, int | float | None)
        else value[:80]
        if isinstance(value, str)
        else type(value).__name__
    )
    return problem(BadField(field, shown, str(first["msg"]).removeprefix("Value error, ")))
