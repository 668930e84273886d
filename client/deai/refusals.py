"""What the escrow refused, as people read it: amounts in tokens, times in UTC."""

from collections.abc import Mapping, Sequence

from deai import errors
from deai.clock import utc
from deai.deployment import Token
from deai.errors import ContractError
from deai.job import Timestamp, Wei

_TIMES: Mapping[type[ContractError], str] = {
    errors.NotOpen: "until {time} only the job's matcher may award",
    errors.JobExpired: "it could be awarded only before {time}; sign a new job",
    errors.BidExpired: "the bid could be awarded only before {time}",
    errors.BidTooLong: "the bid lives until {time}, longer than bids may",
    errors.DeliverByMissed: "it had to be delivered before {time}",
    errors.DeliverByAhead: "its provider may deliver until {time}",
    errors.WindowOpen: "its result may be disputed until {time}; from then on anyone may settle",
    errors.WindowOver: "its result could be disputed only before {time}",
    errors.RuleByAhead: "its arbiter may rule until {time}",
    errors.RuleByMissed: "its arbiter had to rule before {time}; anyone may let the case lapse",
}
"""Errors whose arguments are a job and a time."""


def told(error: ContractError, tokens: Sequence[Token] = ()) -> str:
    """The error with its arguments in words. `tokens` are those whose amounts can be told as people write them.

    A market's word for a refusal may have any arguments: of those that are not the error's own, no more is said than they are.
    """
    match error:
        case ContractError(args=(str(job), int(time))) if type(error) in _TIMES and time >= 0:
            text = f"job {job}: " + _TIMES[type(error)].format(time=utc(Timestamp(time)))
        case errors.InsufficientBalance(args=(str(token), str(account), int(balance), int(needed))):
            text = f"{account} " + _lacking(
                next((each for each in tokens if each.address == token), None), token, balance, needed
            )
        case errors.PriceAboveRamp(args=(str(job), int(price), int(most))):
            text = f"job {job}: the bid asks for {price}, its ramp allows {most} now, in the token's smallest unit"
        case errors.WrongEpoch(args=(str(job), int(epoch), int(current))):
            text = f"job {job} is of epoch {epoch}, and its submitter cancelled all before epoch {current}; sign a new one"
        case _:
            return str(error)
    return f"{type(error).__name__}: {text}"


def _lacking(known: Token | None, token: str, balance: int, needed: int) -> str:
    if known is None:
        return f"has {balance} of token {token} in the escrow, and this needs {needed}"
    lacking = known.show(Wei(needed - balance)).split()[0]
    has, needs = known.show(Wei(balance)), known.show(Wei(needed))
    return f"has {has} in the escrow, and this needs {needs}; `deai deposit {known.symbol} {lacking}` brings the rest"
