"""Who sent a request: the account that signed its market, method, path, body and an expiry that is near."""

from collections.abc import Sequence

from deai.errors import BadField, BadSignature
from deai.job import Address
from deai.signing import Domain, Request, check_request
from deai.wire import MAX_AUTHORIZATION_SECONDS, Authorization
from deai_market.errors import NotSigned


def sender(
    header: str | None,
    method: str,
    path: str,
    body_digest: bytes,
    *,
    origins: Sequence[str],
    domain: Domain,
    now: int,
) -> Address:
    """The account that signed this request for one of this market's `origins`. `path` includes the query, `body_digest` is the sha-256 of
    the body; `now` is in seconds since 1970, by this machine's clock: a chain's may jump. Raises NotSigned, BadSignature."""
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
    for origin in origins:
        request = Request(
            account=authorization.account,
            market=origin,
            method=method,
            path=path,
            body=body_digest,
            expires_at=authorization.expires_at,
        )
        try:
            check_request(request, authorization.signature, domain)
        except BadSignature:
            continue
        return authorization.account
    raise BadSignature(
        f"request: {authorization.account} did not sign this request, or not for this market, which is {' or '.join(origins)}"
    )
