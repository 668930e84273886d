"""What a market refuses, beside the errors of the protocol.

WrongRequest (deai.errors)
├── NotSigned      401  no valid authorization where one is needed
├── Forbidden      403  signed by somebody to whom this does not belong
├── NotFound       404  no such job, block or route
├── NotAcceptable  406  a representation that is not served
├── TooSlow        408  a body that did not arrive in time
├── Conflict       409  at odds with what the market holds
├── TooLarge       413  a body, or a log, beyond its cap
├── OverQuota      413  content beyond what one account may hold here
└── TooMany        429  beyond an account's limit

Unavailable (deai.errors)
├── Busy                 503  too many at once; no place got free in time
├── DatabaseUnavailable  503  the market's own database cannot be read or written now
├── DiskFull             507  no room for the market's own database: nothing was kept
└── StoreFull            507  no room for more content, until some of it expires
"""

from deai.errors import (
    BadField,
    BadSignature,
    ChainUnavailable,
    ContractError,
    DeaiError,
    InsufficientBalance,
    StoreUnavailable,
    Unavailable,
    WrongRequest,
)
from deai.wire import Problem


class NotSigned(WrongRequest):
    """The request needs an authorization that it does not have, or has in vain."""


class Forbidden(WrongRequest):
    """The account is not the one this belongs to."""


class NotFound(WrongRequest):
    """There is no such thing here."""


class NotAcceptable(WrongRequest):
    """That representation is not served."""


class TooSlow(WrongRequest):
    """The body did not arrive in time."""


class Conflict(WrongRequest):
    """The request is at odds with what the market holds."""


class TooLarge(WrongRequest):
    """More bytes than allowed."""


class OverQuota(WrongRequest):
    """More content than one account may hold here."""


class Busy(Unavailable):
    """Too many do the same at once; again later."""


class DatabaseUnavailable(Unavailable):
    """The market's database cannot be read or written now."""


class DiskFull(Unavailable):
    """There is no room for the market's database. Nothing of the request was kept."""


class StoreFull(Unavailable):
    """There is no room for more content."""


class TooMany(WrongRequest):
    """More than one account may have at a time."""


_STATUS: tuple[tuple[type[DeaiError], int], ...] = (
    (NotSigned, 401),
    (BadSignature, 401),
    (InsufficientBalance, 402),
    (Forbidden, 403),
    (NotFound, 404),
    (NotAcceptable, 406),
    (TooSlow, 408),
    (Conflict, 409),
    (ContractError, 409),
    (TooLarge, 413),
    (OverQuota, 413),
    (TooMany, 429),
    (WrongRequest, 400),
    (DiskFull, 507),
    (StoreFull, 507),
    (Unavailable, 503),
)


_TOLD: dict[type[DeaiError], str] = {
    ChainUnavailable: "the chain's node is out of reach; try again",
    StoreUnavailable: "the content store does not answer; try again",
}
"""What others are told of the operator's parts, whose URLs and folders are the operator's own. The log has the details."""


def status(error: DeaiError) -> int:
    """The HTTP status that says what `error` says."""
    return next((code for kind, code in _STATUS if isinstance(error, kind)), 500)


def problem(error: DeaiError) -> Problem:
    """The body that says what `error` says; a client of ours makes the same error of it again."""
    facts: tuple[object, ...] = ()
    if isinstance(error, BadField):
        facts = (error.field, error.value, error.rule)
    elif isinstance(error, ContractError):
        facts = error.args
    return Problem(
        error=type(error).__name__,
        detail=_TOLD.get(type(error)) or _spelled(str(error)),
        facts=tuple(_plain(fact) for fact in facts),
    )


def _plain(fact: object) -> str | int:
    if isinstance(fact, bytes):
        return "0x" + fact.hex()
    return fact if isinstance(fact, int) and not isinstance(fact, bool) else _spelled(str(fact))


def _spelled(text: str) -> str:
    """The text in characters that UTF-8 has: JSON may smuggle in halves of them."""
    return text.encode(errors="backslashreplace").decode()
