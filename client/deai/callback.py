"""Callbacks: what a market sends to an order's `callback_url` once its job has closed, and how its receiver checks it. Pure but for `new_secret`.

Signed as Standard Webhooks 1.0.0 has it (standardwebhooks.com): the headers `webhook-id`, `webhook-timestamp` (seconds since 1970) and
`webhook-signature`, HMAC-SHA256 over `id.timestamp.body` under the order's own secret. Any library that speaks that standard can check it too.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from typing import Any

from deai.errors import BadField, BadSignature
from deai.job import JobId

TOLERANCE_SECONDS = 300
"""How far a callback's timestamp may be from the receiver's clock."""
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64

_PREFIX = "whsec_"
_VERSION = "v1"


def new_secret() -> str:
    """A secret for one order: `whsec_` and 32 random bytes in base64."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key(secret: str) -> bytes:
    """The bytes that a secret stands for. Raises BadField, which never shows the secret."""
    try:
        if not secret.startswith(_PREFIX):
            raise ValueError
        found = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (ValueError, binascii.Error):
        raise BadField("callback_secret", None, f"is {_PREFIX} and bytes in base64") from None
    if not MIN_SECRET_BYTES <= len(found) <= MAX_SECRET_BYTES:
        rule = f"has {len(found)} bytes; it must have {MIN_SECRET_BYTES} to {MAX_SECRET_BYTES}"
        raise BadField("callback_secret", None, rule)
    return found


def message_id(job: JobId) -> str:
    """The `webhook-id` of the job's callback: the same for every attempt, so that a receiver can tell a repetition."""
    return f"closed_{job}"


def sign(secret: str, message: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers of one attempt at `timestamp`, in seconds since 1970. Raises BadField."""
    return {
        "webhook-id": message,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": signature(key(secret), message, timestamp, body),
    }


def signature(secret_key: bytes, message: str, timestamp: int, body: bytes) -> str:
    """`v1,` and HMAC-SHA256 of `id.timestamp.body` in base64."""
    signed = hmac.new(secret_key, f"{message}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"{_VERSION},{base64.b64encode(signed.digest()).decode()}"


def verify(headers: Mapping[str, str], body: bytes, secret: str, now: float) -> dict[str, Any]:
    """The body of a callback, read, once it is certain that it comes from a market that was given `secret`.

    `body` is the request's body byte by byte, `now` seconds since 1970. Signatures are compared in constant time. Callbacks may come more
    than once: those with the same `webhook-id` are the same.

    Raises BadSignature for a header that is missing, a timestamp more than 5 minutes away, and a signature that is not the secret's;
    BadField for a secret that is none.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message, moment, signed = (given[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as error:
        raise BadSignature(f"callback: the header {error.args[0]} is missing") from error
    if not (moment.isascii() and moment.isdigit() and len(moment) <= 12):
        raise BadSignature("callback: webhook-timestamp is not a number of seconds")
    if abs(now - int(moment)) > TOLERANCE_SECONDS:
        raise BadSignature(f"callback: sent at {moment}, more than {TOLERANCE_SECONDS} s from now")
    expected = signature(key(secret), message, int(moment), body).encode()
    # A sender that changes its secret may sign with both.
    if not any(hmac.compare_digest(each.encode(), expected) for each in signed.split(" ")):
        raise BadSignature("callback: not signed with this order's secret")
    found: dict[str, Any] = json.loads(body)
    return found
