"""The market as a web application, and the server that carries it."""

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from deai.errors import BadField, Bug, DeaiError
from deai.wire import Problem
from deai_market.errors import problem, status
from deai_market.limits import BodyLimit
from deai_market.market import Market
from deai_market.routes import router

_log = logging.getLogger(__name__)

_CONNECTIONS = 2_000


def app(market: Market) -> FastAPI:
    """The application. Every refusal is a `wire.Problem`."""
    # No documentation pages: they would load scripts from elsewhere.
    application = FastAPI(title="deai market", docs_url=None, redoc_url=None)
    application.state.market = market
    application.include_router(router)
    application.add_middleware(BodyLimit, most=market.rules.body_bytes)
    application.add_exception_handler(DeaiError, _refuse)
    application.add_exception_handler(RequestValidationError, _refuse)
    application.add_exception_handler(HTTPException, _refuse)
    application.add_exception_handler(Exception, _refuse)
    return application


@contextlib.contextmanager
def serving(market: Market, host: str, port: int) -> Iterator[str]:
    """Starts the market and serves it while the block runs; gives its URL. Port 0 takes a free one.

    Raises BadField for an address that cannot be listened on, ChainUnavailable.
    """
    listener = _listener(host, port)
    config = uvicorn.Config(
        app(market),
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
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        market.bells.close()
        server.should_exit = True
        if thread.ident is not None:
            thread.join()
        market.close()
        listener.close()


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
    headers = {401: {"WWW-Authenticate": "deai"}, 503: {"Retry-After": "1"}}.get(code)
    return Response(body.model_dump_json(), status_code=code, media_type="application/json", headers=headers)


def _invalid(error: RequestValidationError) -> Problem:
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    value = first.get("input")
    shown = (
        value
        if isinstance(value, int | float | None)
        else value[:80]
        if isinstance(value, str)
        else type(value).__name__
    )
    return problem(BadField(field, shown, str(first["msg"]).removeprefix("Value error, ")))
