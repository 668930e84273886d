"""The market's HTTP interface. Routes that wait for news are async, so that waiting costs no thread; all others are plain functions."""

import hashlib
import time
from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from deai.cid import Cid
from deai.job import Address
from deai.wire import (
    MAX_WAIT_SECONDS,
    AddressText,
    CallbackView,
    Cids,
    Health,
    IdText,
    JobView,
    LogChunk,
    MarketInfo,
    Matches,
    Observation,
    Order,
    SignedAsk,
    SignedBid,
)
from deai_market import authority, gateway, limits
from deai_market.bells import Topic
from deai_market.market import Market

T = TypeVar("T")

router = APIRouter()


def _market(request: Request) -> Market:
    market: Market = request.app.state.market
    return market


async def _sender(request: Request) -> Address:
    """The account that signed the request."""
    return _signer(request, _market(request), hashlib.sha256(await request.body()).digest())


def _signer(request: Request, market: Market, body_digest: bytes) -> Address:
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
    return authority.sender(
        request.headers.get("authorization"),
        request.method,
        path,
        body_digest,
        origins=request.app.state.origins,
        domain=market.deployment.domain,
        now=int(market.clock.wall()),
    )


async def _sender_if_signed(request: Request) -> Address | None:
    """The account that signed the request, or None if nobody did."""
    return await _sender(request) if "authorization" in request.headers else None


InMarket = Annotated[Market, Depends(_market)]
Sender = Annotated[Address, Depends(_sender)]
SenderIfSigned = Annotated[Address | None, Depends(_sender_if_signed)]
Wait = Annotated[float, Query(ge=0, le=MAX_WAIT_SECONDS)]
Position = Annotated[int, Query(ge=0, lt=1 << 53)]


@router.get("/health")
def health(market: InMarket) -> Health:
    """Whether the market follows the chain: its newest block, and how long its node has been silent."""
    return market.health()


@router.get("/market")
def info(market: InMarket) -> MarketInfo:
    """The chain and escrow this market serves, and the key that sends its awards."""
    return market.info()


@router.post("/jobs", status_code=201)
def submit(order: Order, market: InMarket, account: SenderIfSigned) -> JobView:
    """Takes a job that is signed, alone or in a tree of many, or posted on chain: then its signature is empty. The same order again changes
    nothing. One with a callback comes in a request that the submitter signed.

    400 a field breaks a rule; 401 the signature is not the submitter's, or there is none and no post; 402 the free balance does not cover the
    cap; 403 the callback is not the submitter's; 409 the job's state or epoch on chain, or what was submitted before, forbids it; 429 too
    many open orders.
    """
    return market.job(market.submit(order, account))


@router.get("/jobs")
def jobs(
    market: InMarket,
    submitter: AddressText | None = None,
    state: Annotated[str | None, Query(max_length=32)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[JobView]:
    """The newest jobs, without their history; of one submitter, or in one state, where given."""
    return market.jobs(submitter, state, limit)


@router.get("/jobs/{job}")
def job(job: IdText, market: InMarket) -> JobView:
    """One job with its history. 404 if it is unknown."""
    return market.job(job)


@router.post("/asks", status_code=202)
def offer(signed: SignedAsk, market: InMarket) -> Response:
    """Takes a provider's ask, which replaces an older one. 409 if it is not newer than the one that is here."""
    market.book.offer(signed)
    return Response(status_code=202)


@router.get("/asks")
def asks(market: InMarket) -> list[SignedAsk]:
    """The asks that have not expired, as their providers signed them."""
    return market.book.asks()


@router.get("/providers/{provider}/matches")
async def matches(provider: AddressText, market: InMarket, after: Position = 0, wait: Wait = 0) -> Matches:
    """The provider's matches above the cursor `after` that wait for its bid; waits up to `wait` seconds for one."""
    return await _poll(
        market,
        ("matches", provider),
        wait,
        lambda: market.matches(provider, after),
        lambda found: bool(found.matches),
    )


@router.post("/bids", status_code=202)
def bid(signed: SignedBid, market: InMarket) -> Response:
    """Takes a provider's bid for its match, signed, or placed on chain: then its signature is empty. The market sends the award. The same bid
    again changes nothing.

    400 price or expiry break a rule; 401 not the provider's signature; 402 its balance does not cover the bond; 404 no such order; 409 no match
    of this provider waits for a bid.
    """
    taken = market.book.bid(signed)
    if taken is not None:
        market.awards.send(taken)
    return Response(status_code=202)


@router.post("/jobs/{job}/observations", status_code=202)
def observe(job: IdText, observation: Observation, account: Sender, market: InMarket) -> Response:
    """Takes what the awarded provider sees of its run; `Staging` and `Declined` from the matched provider too."""
    market.observe(job, account, observation)
    return Response(status_code=202)


@router.post("/jobs/{job}/logs", status_code=202)
def append_logs(job: IdText, chunk: LogChunk, account: Sender, market: InMarket) -> Response:
    """Takes output of the awarded provider's run. 409 names the offset where the next chunk starts; 413 beyond the cap."""
    market.check_provider(job, account)
    market.logs.append(job, account, chunk)
    market.bells.ring(("logs", job))
    return Response(status_code=202)


@router.get("/jobs/{job}/logs")
async def logs(
    job: IdText, account: Sender, market: InMarket, offset: Position = 0, wait: Wait = 0
) -> LogChunk:
    """The run's output from byte `offset` on, for the job's submitter; waits up to `wait` seconds for some."""
    await run_in_threadpool(market.check_submitter, job, account)

    def read() -> LogChunk:
        provider, over = market.log_provider(job)
        return market.logs.read(job, provider, offset, over=over)

    return await _poll(market, ("logs", job), wait, read, lambda chunk: bool(chunk.data) or chunk.end)


@router.get("/jobs/{job}/callback")
def callback(job: IdText, account: Sender, market: InMarket) -> CallbackView:
    """What became of the call that the job's order asked for, for its submitter. 404 if it asked for none."""
    market.check_submitter(job, account)
    return market.callbacks.view(job)


@router.post("/ipfs/missing")
def missing(wanted: Cids, account: Sender, market: InMarket) -> Cids:
    """Those of some blocks that have to be sent. The others are held for the sender from now on, as if it had sent them.

    403 an account without a balance or a job under way; 413 beyond its quota; 507 the market has no room.
    """
    market.uploads.check_known(account)
    cids = [Cid.parse(text) for text in wanted.cids]
    return Cids(cids=tuple(str(cid) for cid in market.uploads.missing(account, cids)))


@router.post(limits.UPLOADS, status_code=204)
async def upload(request: Request, market: InMarket) -> Response:
    """Takes the blocks of an archive (CARv1), durably. The same again renews them. The header Content-Digest announces the body's sha-256, so
    that its sender is known before it is read.

    400 no archive, or blocks that are not their CIDs'; 401 not signed, or another body; 403 and 507 as for `missing`; 408 too slow; 413 too
    large, or beyond the account's quota; 503 no place for one more upload, or a store that does not answer.
    """
    rules, digest = market.rules, limits.announced_digest(request)
    account = _signer(request, market, digest)
    await run_in_threadpool(market.uploads.check_known, account)
    places: limits.Places = request.app.state.places
    try:
        async with places.taken(account):
            pieces = await limits.body_of(request, digest, rules.upload_bytes, rules.upload_seconds)
            await run_in_threadpool(market.uploads.take, account, pieces)
    except ClientDisconnect:
        return Response(status_code=400)  # to nobody
    return Response(status_code=204)


@router.api_route("/ipfs/{cid}", methods=["GET", "HEAD"], response_class=Response)
def block(
    cid: str, request: Request, market: InMarket, wanted: Annotated[str | None, Query(alias="format")] = None
) -> Response:
    """One block, raw, to be verified by whoever asked. 404 if it is not here, 406 for any other form."""
    return gateway.block(request, cid, wanted, market.content)


async def _poll(
    market: Market, topic: Topic, seconds: float, look: Callable[[], T], is_news: Callable[[T], bool]
) -> T:
    until = time.monotonic() + seconds
    with market.bells.listening(topic) as ear:
        while True:
            found = await run_in_threadpool(look)
            left = until - time.monotonic()
            if is_news(found) or left <= 0 or market.bells.closed:
                return found
            await ear.heard(left)
