"""The JSON that a market and its clients speak. Amounts are decimal strings, bytes 0x-hex; unknown fields are refused."""

import re
from dataclasses import asdict, dataclass
from typing import Annotated, Self
from urllib.parse import urlsplit

from eth_utils.address import to_checksum_address
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from deai.errors import BadField
from deai.job import Address, Bid, Job, JobId, Terms, Timestamp, Wei
from deai.spec import MAX_SPEC_BYTES

UINT96 = (1 << 96) - 1
MAX_AUTHORIZATION_SECONDS = 120
"""The longest an authorization may still live when it arrives."""
MAX_WAIT_SECONDS = 20
"""The longest a market keeps a request waiting for news."""

MAX_CIDS = 1_024
"""The most blocks that one question may name."""
UPLOAD_BYTES = 4 << 20
"""About how much content a client of ours sends in one request. A market takes twice as much."""

_PORTS = {"http": 80, "https": 443}
_AUTHORIZATION = re.compile(r"deai (0x[0-9a-fA-F]{40}):([0-9]{1,12}):0x((?:[0-9a-fA-F]{2}){64,65})")


def _address(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("is an address as a string")
    return to_checksum_address(value)


def _amount(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("is a decimal string")
    return int(value) if isinstance(value, int) or (value.isascii() and value.isdigit()) else -1


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str) or not value.startswith("0x"):
        raise ValueError("is 0x-hex")
    return bytes.fromhex(value[2:])


AddressText = Annotated[Address, BeforeValidator(_address)]
Amount = Annotated[
    Wei, BeforeValidator(_amount), Field(ge=0, le=UINT96), PlainSerializer(str, return_type=str)
]
Hex = Annotated[bytes, BeforeValidator(_bytes), PlainSerializer(lambda b: "0x" + b.hex(), return_type=str)]
Hex32 = Annotated[Hex, Field(min_length=32, max_length=32)]
IdText = Annotated[JobId, Field(pattern=r"^0x[0-9a-f]{64}$")]
Seconds = Annotated[int, Field(ge=0, lt=1 << 32)]
CaseSeconds = Annotated[int, Field(ge=0, lt=1 << 24)]
Time = Annotated[Timestamp, Field(ge=0, lt=1 << 40)]


class Json(BaseModel):
    """Base of all bodies."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class JobJson(Json):
    """`job.Job` as JSON."""

    submitter: AddressText
    token: AddressText
    price_start: Amount
    price_cap: Amount
    bond: Amount
    arbiter: AddressText
    dispute_fee: Amount
    arbiter_data: Hex32
    matcher: AddressText
    matcher_fee_bps: int = Field(ge=0, le=10_000)
    epoch: int = Field(ge=0, lt=1 << 32)
    open_at: Time
    award_by: Time
    deliver_seconds: Seconds
    challenge_seconds: CaseSeconds
    ruling_seconds: CaseSeconds
    spec: Hex32
    salt: Hex32

    @classmethod
    def of(cls, job: Job) -> Self:
        """From the value."""
        return cls(**asdict(job))

    def value(self) -> Job:
        """To the value."""
        return Job(**dict(self))


class BidJson(Json):
    """`job.Bid` as JSON."""

    job: IdText
    provider: AddressText
    price: Amount
    expires_at: Time

    @classmethod
    def of(cls, bid: Bid) -> Self:
        """From the value."""
        return cls(**asdict(bid))

    def value(self) -> Bid:
        """To the value."""
        return Bid(**dict(self))


class TermsJson(Json):
    """`job.Terms` as JSON."""

    submitter: AddressText
    provider: AddressText
    token: AddressText
    matcher: AddressText
    price: Amount
    bond: Amount
    fee: Amount
    arbiter: AddressText
    dispute_fee: Amount
    deliver_by: Time
    challenge_seconds: CaseSeconds
    ruling_seconds: CaseSeconds
    window_end: Time
    result: Hex32
    rule_by: Time
    by_arbiter: bool

    @classmethod
    def of(cls, terms: Terms) -> Self:
        """From the value."""
        return cls(**asdict(terms))

    def value(self) -> Terms:
        """To the value."""
        return Terms(**dict(self))


class Order(Json):
    """`POST /jobs`: a signed job, its spec, and what travels outside the public spec."""

    job: JobJson
    signature: Hex
    spec: str = Field(max_length=MAX_SPEC_BYTES)
    """The spec's canonical bytes, as text."""
    callback_url: str | None = Field(default=None, max_length=2_048, repr=False)
    """What is called when the job has closed. Never published; the request that carries it has to be signed by the submitter."""
    callback_secret: str | None = Field(default=None, max_length=128, repr=False)
    """The order's own secret, which signs that call: see `deai.callback`. Never published."""


class SignedAsk(Json):
    """`POST /asks`: an ask in its canonical spelling, and its signature."""

    ask: str
    signature: Hex


class SignedBid(Json):
    """`POST /bids`: a bid and its signature."""

    bid: BidJson
    signature: Hex


class Match(Json):
    """What a market suggests to a provider: a job that fits its ask. Only a suggestion until the award is mined."""

    id: IdText
    job: JobJson
    signature: Hex
    """The submitter's, so that the provider may award by itself after `open_at`."""


class Matches(Json):
    """`GET /providers/{address}/matches?after=N`: the matches of that provider that still wait for its bid."""

    cursor: int
    """Pass it as `after` to wait for news."""
    matches: tuple[Match, ...]


class JobView(Json):
    """`GET /jobs/{id}`: a job as this market sees it. `state` is the chain's, everything else is the market's word."""

    id: IdText
    name: str
    submitter: AddressText
    state: str
    """`Signed` (known here, not on chain) or the JobState's name in CamelCase, or the Outcome's once closed."""
    note: str
    """Why the job is where it is, in one sentence: why no ask matches, say."""
    provider: AddressText | None = None
    price: Amount | None = None
    token: AddressText | None = None
    """What the price is in."""
    since: int | None = None
    """When it was heard of first, in seconds since 1970: here, or on chain where it was not ordered here."""
    result_cid: str | None = None
    rule_by: int | None = None
    """Until when its arbiter may rule, in chain seconds; of a job that was disputed."""
    history: tuple["HistoryLine", ...] = ()


class HistoryLine(Json):
    """One step of a job's life. Steps without `block` are the market's or the agent's own observations, not facts of the chain."""

    at: int
    """Seconds since 1970: the block's time, or the market's clock."""
    event: str
    text: str
    block: int | None = None
    tx: str | None = None
    final: bool = False
    """Deep enough in the chain that this market no longer expects a reorg to undo it."""


class Observation(Json):
    """`POST /jobs/{id}/observations`, by the awarded provider: a step that the chain does not see."""

    event: str = Field(pattern=r"^(Staging|Declined|Running|Uploading)$")
    text: str = Field(default="", max_length=256)


class CallbackView(Json):
    """`GET /jobs/{id}/callback`, for the job's submitter: what became of the call that its order asked for."""

    step: str = Field(pattern=r"^(waiting|due|delivered|given up)$")
    """`waiting` for the job to close for good, `due` until the receiver takes it."""
    attempts: int
    next_at: int | None = None
    """When the next attempt is made, in seconds since 1970; of a call that is due."""
    error: str | None = None
    """Why the last attempt failed."""


class Cids(Json):
    """`POST /ipfs/missing`: blocks that the sender is about to hand in; and the answer: those of them that have to be sent."""

    cids: tuple[Annotated[str, Field(max_length=128)], ...] = Field(max_length=MAX_CIDS)


class LogChunk(Json):
    """`POST` (awarded provider) and `GET` (submitter) `/jobs/{id}/logs`: the run's output from byte `offset` on."""

    offset: int = Field(ge=0, lt=1 << 53)
    data: Hex
    end: bool = False
    """Nothing follows."""


class Health(Json):
    """`GET /health`: whether the market follows the chain."""

    head: int
    """The newest block this market has indexed."""
    silent_seconds: float
    """How long ago the chain's node last answered."""


class MarketInfo(Json):
    """`GET /market`: what a client needs to know of this market."""

    chain_id: int
    contract: AddressText
    matcher: AddressText
    """The key that sends awards. A job that names it as its matcher is awarded by it alone until `open_at`."""
    head: int
    """The newest block this market has indexed."""


class Problem(Json):
    """The body of every 4xx and 5xx."""

    error: str
    """The error's class name."""
    detail: str
    facts: tuple[int | str, ...] = ()
    """The error's arguments, where it has more than one sentence: field, value and rule, say."""


@dataclass(frozen=True, slots=True)
class Authorization:
    """The header `Authorization: deai <account>:<expires_at>:<0xsignature>`, over `signing.Request`."""

    account: Address
    expires_at: Timestamp
    signature: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads the header's value. Raises BadField."""
        found = _AUTHORIZATION.fullmatch(text)
        if found is None:
            raise BadField(
                "authorization", text[:80], "is of the form `deai <account>:<expires_at>:<0xsignature>`"
            )
        account, expires_at, signature = found.groups()
        return cls(
            Address(to_checksum_address(account)), Timestamp(int(expires_at)), bytes.fromhex(signature)
        )

    def __str__(self) -> str:
        return f"deai {self.account}:{self.expires_at}:0x{self.signature.hex()}"


def origin(url: str) -> str:
    """The market's name in signed requests: scheme, host and port of its URL, lower case, the port always there. Raises BadField."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except (ValueError, KeyError) as error:
        raise BadField("market", url, "is not a URL of the form http(s)://host:port") from error
    if not parts.hostname:
        raise BadField("market", url, "names no host")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"
