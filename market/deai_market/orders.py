"""What a market takes: orders and asks, each rule with the field it is about. Pure."""

from eth_utils.address import is_checksum_address
from pydantic import ValidationError

from deai import callback
from deai.ask import Ask
from deai.cid import Cid, Codec
from deai.deployment import Deployment
from deai.errors import BadField, BadSignature
from deai.job import ZERO_ADDRESS, ZERO_DIGEST, Job, JobId, Timestamp
from deai.signing import check_ask, check_job, job_id
from deai.spec import Spec, bad_field
from deai.wire import UINT96, Order, SignedAsk
from deai_market.courier import Target

MAX_ASK_SECONDS = 86_400
"""The longest an ask may still live."""
MAX_ORDER_SECONDS = 366 * 86_400
"""The longest an order may still wait for its award."""
CLOCK_SECONDS = 60
"""How far in the future an ask may have been issued, as clocks differ."""

MAX_SIGNATURE_BYTES = 64 + 32 * 32
"""The longest signature of a job: of one in a tree of four thousand million."""

_MAX_ROOM = 1 << 40


def check_order(
    order: Order, deployment: Deployment, now: Timestamp, *, private: bool
) -> tuple[JobId, Job, Spec]:
    """The order's job and spec, once they keep all rules that need no chain. An order without a signature counts only if the chain has its
    job posted, which is left to the caller. `private`: callbacks to local addresses are made.

    Raises BadField, BadSignature.
    """
    job = order.job.value()
    if order.signature:
        _signature(job, order.signature, deployment)
    spec = check_terms(job, _encoded(order.spec), deployment, now)
    _callback(order, private)
    return job_id(job, deployment.domain), job, spec


def check_terms(job: Job, data: bytes, deployment: Deployment, now: Timestamp) -> Spec:
    """The spec, of which `data` are the canonical bytes, once it and the job keep all rules that need no chain. Raises BadField."""
    _token(job, deployment)
    _arbiter(job, deployment)
    _well_formed(job)
    if job.award_by <= now:
        raise BadField("job.award_by", job.award_by, f"has passed; it is {now}")
    if job.award_by > now + MAX_ORDER_SECONDS:
        raise BadField("job.award_by", job.award_by, f"is more than {MAX_ORDER_SECONDS} s ahead; it is {now}")
    digest = Cid.of(data, Codec.RAW).digest
    if digest != job.spec:
        raise BadField(
            "spec", "0x" + digest.hex(), f"is not the digest the job was signed with, 0x{job.spec.hex()}"
        )
    spec = Spec.parse(data)
    if job.deliver_seconds < spec.max_seconds:
        raise BadField(
            "job.deliver_seconds",
            job.deliver_seconds,
            f"is shorter than the spec's max_seconds, {spec.max_seconds}",
        )
    return spec


def check_signed_ask(signed: SignedAsk, deployment: Deployment, now: Timestamp) -> Ask:
    """The ask, once it keeps all rules. Raises BadField, BadSignature."""
    data = _encoded(signed.ask)
    try:
        ask = Ask.parse(data)
    except ValidationError as error:
        raise bad_field("ask", error) from error
    if ask.canonical() != data:
        raise BadField("ask", f"{len(data)} bytes", "is not spelled canonically")
    for field, address in (
        ("provider", ask.provider),
        ("contract", ask.contract),
        *(("prices", token) for token in ask.prices),
        *(("max_bond", token) for token in ask.max_bond),
    ):
        if not is_checksum_address(address):
            raise BadField(f"ask.{field}", address[:80], "is not a checksummed address")
    _amounts(ask)
    if (ask.chain_id, ask.contract) != (deployment.chain_id, deployment.contract):
        here = f"{deployment.contract} on chain {deployment.chain_id}"
        raise BadField(
            "ask.contract", f"{ask.contract} on chain {ask.chain_id}", f"this market serves {here}"
        )
    if ask.expires_at <= now:
        raise BadField("ask.expires_at", ask.expires_at, f"has passed; it is {now}")
    if ask.expires_at > now + MAX_ASK_SECONDS:
        raise BadField(
            "ask.expires_at", ask.expires_at, f"is more than {MAX_ASK_SECONDS} s ahead; it is {now}"
        )
    if ask.issued_at > now + CLOCK_SECONDS:
        raise BadField("ask.issued_at", ask.issued_at, f"is ahead; it is {now}")
    check_ask(ask, signed.signature)
    return ask


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadField("body", "lone surrogates", "is text that has an UTF-8 spelling") from error


def _amounts(ask: Ask) -> None:
    capacity, gpus = ask.capacity, ask.capacity.gpus
    numbers = [
        ("capacity", capacity.cpu_millis, _MAX_ROOM),
        ("capacity", capacity.memory_mib, _MAX_ROOM),
        ("capacity", capacity.disk_mib, _MAX_ROOM),
        *(("capacity.gpus", gpu.vram_mib, _MAX_ROOM) for gpu in gpus),
        *(("prices", amount, UINT96) for prices in ask.prices.values() for _, amount in prices),
        *(("max_bond", amount, UINT96) for amount in ask.max_bond.values()),
    ]
    for field, number, most in numbers:
        if not 0 <= number <= most:
            raise BadField(
                f"ask.{field}", number if abs(number) < 1 << 128 else "…", f"is at least 0 and at most {most}"
            )


def _token(job: Job, deployment: Deployment) -> None:
    if job.token not in {token.address for token in deployment.tokens}:
        known = ", ".join(f"{token.symbol} {token.address}" for token in deployment.tokens) or "none"
        raise BadField("job.token", job.token, f"is not known to this market; known: {known}")


def _signature(job: Job, signature: bytes, deployment: Deployment) -> None:
    if len(signature) > MAX_SIGNATURE_BYTES:
        raise BadField("signature", f"{len(signature)} bytes", f"has at most {MAX_SIGNATURE_BYTES} bytes")
    try:
        check_job(job, signature, deployment.domain)
    except BadSignature as error:
        rule = "this market reads signatures of accounts only: a wallet that is a contract posts its job on chain"
        raise BadSignature(f"{error}; {rule}") from error


def _arbiter(job: Job, deployment: Deployment) -> None:
    if job.arbiter == ZERO_ADDRESS:
        for field, value, nothing in (
            ("dispute_fee", job.dispute_fee, 0),
            ("arbiter_data", job.arbiter_data, ZERO_DIGEST),
            ("ruling_seconds", job.ruling_seconds, 0),
        ):
            if value != nothing:
                raise BadField(f"job.{field}", value, "must be zero in a job without an arbiter")
        return
    if job.arbiter not in deployment.arbiters:
        known = f"the panel {deployment.panel}" if deployment.panel else "none"
        raise BadField("job.arbiter", job.arbiter, f"is not an arbiter this market knows; known: {known}")
    if job.dispute_fee > job.bond:
        raise BadField("job.dispute_fee", job.dispute_fee, f"is above the bond that bears it, {job.bond}")
    for field, seconds in (
        ("challenge_seconds", job.challenge_seconds),
        ("ruling_seconds", job.ruling_seconds),
    ):
        if seconds == 0:
            raise BadField(f"job.{field}", 0, "must not be zero in a job with an arbiter")


def _well_formed(job: Job) -> None:
    if job.submitter == ZERO_ADDRESS:
        raise BadField("job.submitter", job.submitter, "must not be zero")
    if job.submitter == job.arbiter:
        raise BadField("job.arbiter", job.arbiter, "must not be the submitter")
    if job.price_start > job.price_cap:
        raise BadField("job.price_start", job.price_start, f"is above price_cap, {job.price_cap}")
    if job.price_cap == 0:
        raise BadField("job.price_cap", 0, "must not be zero: a market serves orders that a deposit covers")
    if job.open_at >= job.award_by:
        raise BadField("job.open_at", job.open_at, f"is not before award_by, {job.award_by}")
    if job.deliver_seconds == 0:
        raise BadField("job.deliver_seconds", 0, "must not be zero")


def _callback(order: Order, private: bool) -> None:
    if order.callback_url is None:
        if order.callback_secret is not None:
            raise BadField("callback_secret", None, "has no callback_url to sign for")
        return
    Target.parse(order.callback_url, private=private)
    if order.callback_secret is None:
        raise BadField("callback_secret", None, "is missing: every callback is signed with its order's own")
    callback.key(order.callback_secret)
