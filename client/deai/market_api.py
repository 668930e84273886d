"""HTTP client of a market. What a market says is never trusted beyond its purpose: states, terms and money are the chain's."""

import base64
import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self, TypeVar

import httpx
from eth_account.signers.local import LocalAccount
from pydantic import BaseModel, TypeAdapter, ValidationError

from deai import car, errors
from deai.cid import Cid
from deai.errors import MarketUnavailable, WrongRequest
from deai.job import Address, JobId, Timestamp
from deai.signing import Domain, Request, sign_request
from deai.spec import bad_field
from deai.timed_network import TimedTransport
from deai.wire import (
    MAX_WAIT_SECONDS,
    Authorization,
    CallbackView,
    Cids,
    Health,
    JobView,
    LogChunk,
    MarketInfo,
    Matches,
    Observation,
    Order,
    Problem,
    SignedAsk,
    SignedBid,
    origin,
)

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

_AUTHORIZATION_SECONDS = 60
_UPLOAD_SECONDS = 120.0
"""How much longer an upload may take than other requests: it may wait for a place, and takes its time on a slow line."""
_MOST_BYTES = 64 << 20

_VIEWS = TypeAdapter(list[JobView])
_ASKS = TypeAdapter(list[SignedAsk])


class MarketApi:
    """The market at `url`, for the escrow of `domain`. Thread-safe.

    Every method raises the WrongRequest that the market refused with (BadField, InsufficientBalance, … by name), and MarketUnavailable when
    the market does not answer, or not in its language. A market can waste no more than 64 MiB of memory and `timeout_seconds` per call,
    and what the call says it waits.
    """

    def __init__(
        self, url: str, domain: Domain, *, now: Callable[[], float] = time.time, timeout_seconds: float = 10.0
    ) -> None:
        """`now` gives seconds since 1970 by this machine's clock, for the expiry of signed requests. `timeout_seconds` is what a call may
        take from its connection to its last byte."""
        self.url, self._domain, self._now = url.rstrip("/"), domain, now
        self._timeout = timeout_seconds
        try:
            # Proxies from the environment are for the world outside, and a market is named on purpose.
            self._client = httpx.Client(
                base_url=self.url,
                headers={"Accept-Encoding": "identity"},
                timeout=timeout_seconds,
                trust_env=False,
                transport=TimedTransport(),
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise errors.BadField("market", url, f"is not a URL: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def health(self) -> Health:
        """Whether the market follows the chain."""
        return self._read(Health, self._send("GET", "/health"))

    def info(self) -> MarketInfo:
        """The chain and escrow the market serves, and the key that sends its awards. Raises BadField when they are not ours."""
        info = self._read(MarketInfo, self._send("GET", "/market"))
        if (info.chain_id, info.contract) != (self._domain.chain_id, self._domain.contract):
            rule = f"serves {info.contract} on chain {info.chain_id}, not {self._domain.contract} on {self._domain.chain_id}"
            raise errors.BadField("market", self.url, rule)
        return info

    def submit(self, order: Order, account: LocalAccount | None = None) -> JobView:
        """Sends a signed job. The same order again is harmless. One with a callback needs the `account` that signed the job: a callback is
        not part of what was signed, so the request has to be."""
        return self._read(
            JobView, self._send("POST", "/jobs", order, account=account if order.callback_url else None)
        )

    def callback(self, account: LocalAccount, job: JobId) -> CallbackView:
        """What became of the job's callback, as its submitter."""
        return self._read(CallbackView, self._send("GET", f"/jobs/{job}/callback", account=account))

    def job(self, job: JobId) -> JobView:
        """A job with its history."""
        return self._read(JobView, self._send("GET", f"/jobs/{job}"))

    def jobs(
        self, submitter: Address | None = None, state: str | None = None, limit: int = 100
    ) -> list[JobView]:
        """The newest jobs, without their history; of one submitter, or in one state, where given."""
        params = {"submitter": submitter, "state": state, "limit": limit}
        return self._parse(_VIEWS.validate_json, self._send("GET", "/jobs", params=params))

    def ask(self, signed: SignedAsk) -> None:
        """Sends an ask, which replaces the provider's older one."""
        self._send("POST", "/asks", signed)

    def asks(self) -> list[SignedAsk]:
        """The asks that have not expired. Their signatures are not checked here."""
        return self._parse(_ASKS.validate_json, self._send("GET", "/asks"))

    def matches(self, provider: Address, after: int = 0, wait: float = 0) -> Matches:
        """The provider's matches above the cursor `after`; waits up to `wait` seconds for one."""
        wait = min(wait, MAX_WAIT_SECONDS)
        answer = self._send(
            "GET", f"/providers/{provider}/matches", params={"after": after, "wait": wait}, wait=wait
        )
        return self._read(Matches, answer)

    def bid(self, signed: SignedBid) -> None:
        """Sends a bid for a match. The same bid again is harmless."""
        self._send("POST", "/bids", signed)

    def logs(self, account: LocalAccount, job: JobId, offset: int = 0, wait: float = 0) -> LogChunk:
        """The run's output from byte `offset` on, as the job's submitter; waits up to `wait` seconds for some."""
        wait = min(wait, MAX_WAIT_SECONDS)
        params = {"offset": offset, "wait": wait}
        return self._read(
            LogChunk, self._send("GET", f"/jobs/{job}/logs", params=params, account=account, wait=wait)
        )

    def send_logs(self, account: LocalAccount, job: JobId, chunk: LogChunk) -> None:
        """Sends output of the run, as the awarded provider. The same chunk again is harmless."""
        self._send("POST", f"/jobs/{job}/logs", chunk, account=account)

    def observe(self, account: LocalAccount, job: JobId, observation: Observation) -> None:
        """Tells a step that the chain does not see, as the awarded provider."""
        self._send("POST", f"/jobs/{job}/observations", observation, account=account)

    def missing(self, account: LocalAccount, cids: Sequence[Cid], seconds: float = math.inf) -> list[Cid]:
        """Those of at most `wire.MAX_CIDS` blocks that the market wants to be sent. It holds the others for the account from now on.

        Takes at most `seconds`, and no longer than any call.
        """
        asked = Cids(cids=tuple(str(cid) for cid in cids))
        answer = self._read(Cids, self._send("POST", "/ipfs/missing", asked, account=account, most=seconds))
        wanted = set(answer.cids)
        return [cid for cid in cids if str(cid) in wanted]

    def upload(self, account: LocalAccount, archive: bytes, seconds: float = math.inf) -> None:
        """Sends blocks, as an archive (CARv1) of about `wire.UPLOAD_BYTES`. The same again is harmless. Takes at most `seconds`, and no
        longer than two minutes more than any call."""
        self._send("POST", "/ipfs", archive, account=account, wait=_UPLOAD_SECONDS, most=seconds)

    def _send(
        self,
        method: str,
        path: str,
        body: BaseModel | bytes | None = None,
        *,
        params: Mapping[str, str | int | float | None] | None = None,
        account: LocalAccount | None = None,
        wait: float = 0,
        most: float = math.inf,
    ) -> bytes:
        content = body.model_dump_json().encode() if isinstance(body, BaseModel) else body or b""
        request = self._client.build_request(
            method,
            path,
            content=content or None,
            params={name: value for name, value in (params or {}).items() if value is not None} or None,
            headers=_headers(body),
            timeout=max(0.0, min(self._timeout + wait, most)),
        )
        if account is not None:
            request.headers["Authorization"] = self._authorization(account, request, content)
        try:
            response = self._client.send(request, stream=True)
            try:
                answer = self._body(response)
            finally:
                response.close()
        except httpx.HTTPError as error:
            raise MarketUnavailable(f"the market at {self.url} does not answer: {error}") from error
        if response.is_success:
            return answer
        raise self._refusal(response.status_code, answer)

    def _body(self, response: httpx.Response) -> bytes:
        if (encoding := response.headers.get("content-encoding", "identity")) != "identity":
            # A little of it may become any amount of memory.
            raise MarketUnavailable(f"{self.url}: its answer is encoded as {encoding[:100]!r}, unasked")
        body = bytearray()
        for piece in response.iter_raw():
            body += piece
            if len(body) > _MOST_BYTES:
                raise MarketUnavailable(f"{self.url}: its answer has more than {_MOST_BYTES} bytes")
        return bytes(body)

    def _authorization(self, account: LocalAccount, request: httpx.Request, content: bytes) -> str:
        signed = Request(
            account=Address(account.address),
            market=origin(str(request.url)),
            method=request.method,
            path=request.url.raw_path.decode(),
            body=hashlib.sha256(content).digest(),
            expires_at=Timestamp(int(self._now()) + _AUTHORIZATION_SECONDS),
        )
        signature = sign_request(account, signed, self._domain)
        return str(Authorization(signed.account, signed.expires_at, signature))

    def _refusal(self, status: int, answer: bytes) -> errors.DeaiError:
        try:
            problem = Problem.model_validate_json(answer)
        except ValidationError:
            return MarketUnavailable(f"{self.url} answered {status}, and not as a market does")
        if status >= 500:
            return MarketUnavailable(f"the market at {self.url} cannot serve this now: {problem.detail}")
        kind = getattr(errors, problem.error, WrongRequest)
        if not (isinstance(kind, type) and issubclass(kind, WrongRequest)):
            kind = WrongRequest
        try:
            return kind(*(problem.facts or (problem.detail,)))
        except (TypeError, ValueError):  # not this error's arguments: then its sentence will do
            return WrongRequest(problem.detail)

    def _read(self, kind: type[M], content: bytes) -> M:
        return self._parse(kind.model_validate_json, content)

    def _parse(self, parse: Callable[[bytes], T], content: bytes) -> T:
        try:
            return parse(content)
        except ValidationError as error:
            raise MarketUnavailable(
                f"{self.url} answered, and not as a market does: {bad_field('answer', error)}"
            ) from error


def _headers(body: BaseModel | bytes | None) -> dict[str, str]:
    if isinstance(body, bytes):
        # Announced, so that the market knows who sends before it reads.
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        return {"Content-Type": car.MEDIA_TYPE, "Content-Digest": f"sha-256=:{digest}:"}
    return {"Content-Type": "application/json"} if body is not None else {}
