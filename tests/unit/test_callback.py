"""What a receiver of callbacks checks."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deai import callback
from deai.errors import BadField, BadSignature
from deai.job import JobId

JOB = JobId("0x" + "ab" * 32)
NOW = 1_800_000_000
BODY = b'{"type":"job.closed"}'
SECRET = callback.new_secret()
OTHER = callback.new_secret()
HEADERS = callback.sign(SECRET, callback.message_id(JOB), NOW, BODY)


def test_the_signature_is_the_one_that_the_libraries_of_the_standard_make() -> None:
    # The test vector that the libraries of Standard Webhooks share.
    body = b'{"event_type":"ping","data":{"success":true}}'
    found = callback.signature(
        base64.b64decode("plJ3nmyCDGBKInavdOK15jsl"), "msg_loFOjxBNrRLzqYUf", 1731705121, body
    )
    assert found == "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0="


@pytest.mark.parametrize("now", [NOW - 300, NOW, NOW + 300])
def test_a_callback_is_read_within_five_minutes(now: int) -> None:
    assert callback.verify(HEADERS, BODY, SECRET, now) == {"type": "job.closed"}


def test_the_case_of_headers_and_further_signatures_do_not_matter() -> None:
    headers = {name.title(): value for name, value in HEADERS.items()}
    headers["Webhook-Signature"] = f"v2,xyz v1,AAAA ünd {HEADERS['webhook-signature']}"
    assert callback.verify(headers, BODY, SECRET, NOW)


@pytest.mark.parametrize(
    ("headers", "body", "secret", "now", "said"),
    [
        (HEADERS, BODY, SECRET, NOW - 301, "300 s from now"),
        (HEADERS, BODY, SECRET, NOW + 301, "300 s from now"),
        (HEADERS, BODY + b" ", SECRET, NOW, "not signed"),
        (HEADERS, BODY, OTHER, NOW, "not signed"),
        ({**HEADERS, "webhook-id": "closed_0x00"}, BODY, SECRET, NOW, "not signed"),
        ({**HEADERS, "webhook-timestamp": str(NOW + 1)}, BODY, SECRET, NOW, "not signed"),
        ({**HEADERS, "webhook-timestamp": "1e9"}, BODY, SECRET, NOW, "not a number"),
        ({**HEADERS, "webhook-timestamp": "²"}, BODY, SECRET, NOW, "not a number"),
        ({**HEADERS, "webhook-signature": ""}, BODY, SECRET, NOW, "not signed"),
        ({**HEADERS, "webhook-signature": HEADERS["webhook-signature"][3:]}, BODY, SECRET, NOW, "not signed"),
        ({"webhook-id": "x", "webhook-timestamp": "1"}, BODY, SECRET, NOW, "webhook-signature is missing"),
    ],
)
def test_a_callback_that_was_touched_or_comes_late_is_refused(
    headers: dict[str, str], body: bytes, secret: str, now: int, said: str
) -> None:
    with pytest.raises(BadSignature, match=said):
        callback.verify(headers, body, secret, now)


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "whsec_!", "whsec_" + "A" * 28, "whsec_" + "A" * 92, "A" * 44, "whsec_" + "ü" * 44],
)
def test_a_secret_that_is_none_is_refused_and_not_repeated(secret: str) -> None:
    with pytest.raises(BadField, match="callback_secret") as refused:
        callback.key(secret)
    assert refused.value.value is None
    assert len(secret) < 8 or secret not in str(refused.value)


@given(st.binary(min_size=24, max_size=64))
def test_any_24_to_64_bytes_are_a_secret(raw: bytes) -> None:
    assert callback.key("whsec_" + base64.b64encode(raw).decode()) == raw


def test_new_secrets_are_secrets_and_differ() -> None:
    assert len(callback.key(SECRET)) == 32
    assert SECRET != OTHER
