"""Who sent a request: the account that signed its method, path, body and an expiry that is near."""

import hashlib

from deai.errors import BadField
from deai.job import Address
from deai.signing import Domain, Request, check_request
from deai.wire import MAX_AUTHORIZATION_SECONDS, Authorization
from deai_market.errors import NotSigned


def sender(header: str | None, method: str, path: str, body: bytes, domain: Domain, now: int) -> Address:
    """The account that signed this request. `path` includes the query; `now` is in seconds since 1970, by this machine's clock: a
    chain's may jump. Raises NotSigned, BadSignature."""
    if header is None:
        raise NotSigned("the request has no Authorization header")
    try:
        authorization = Authorization.parse(header)
    except BadField as error:
        raise NotSigned(str(error)) from error
    if not now < authorization.expires_at <= now + MAX_AUTHORIZATION_SECONDS:
        raise NotSigned(
            f"authorization: expires at {authorization.expires_at}, which must be ahead by at most"
            f" {MAX_AUTHORIZATION_SECONDS} s; it is {now}"
        )
    request = Request(
        account=authorization.account,
        method=method,
        path=path,
        body=hashlib.sha256(body).digest(),
        expires_at=authorization.expires_at,
    )
    check_request(request, authorization.signature, domain)
    return authorization.account
