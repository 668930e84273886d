"""Everything that can go wrong, as one tree.

DeaiError
├── WrongRequest          the caller must change something; exit code 2, HTTP 4xx
│   ├── BadField          a field, its value, and the rule it breaks
│   ├── BadContent        bytes that are not what their CID says, or that exceed a cap
│   ├── BadSignature      a signature that is not its signer's
│   ├── KeyUnusable       a keystore that is missing or does not open
│   └── ContractError     the escrow refused: one class for each Solidity error
├── Unavailable           a part is out of reach; trying again may help; exit code 3, HTTP 503
│   ├── ChainUnavailable  the node
│   ├── StoreUnavailable  the content store
│   ├── ContentMissing    a block nobody we asked has
│   │   └── ContentOutOfReach  nor do we know: somebody who may have it did not answer
│   ├── MarketUnavailable the market
│   ├── RegistryUnavailable  a registry of container images
│   ├── JournalUnavailable the journal of transactions, on this machine's disk
│   └── EngineUnavailable the Docker engine
└── Bug                   this cannot happen; exit code 1, HTTP 500
"""

from typing import ClassVar

from deai.job import JobState


class DeaiError(Exception):
    """Base of all errors this package raises on purpose."""

    exit_code: ClassVar[int] = 1


class WrongRequest(DeaiError):
    """The request cannot succeed as it is; nothing was done."""

    exit_code = 2


class BadField(WrongRequest):
    """`field` has `value`, which breaks `rule`; or it is missing, where `value` is None."""

    def __init__(self, field: str, value: object, rule: str) -> None:
        self.field, self.value, self.rule = field, value, rule
        super().__init__(f"{field}: {rule}" if value is None else f"{field}: {value!r}: {rule}")


class BadContent(WrongRequest):
    """Content that is not what its CID says, or is beyond a cap."""


class BadSignature(WrongRequest):
    """A signature that is not its signer's."""


class KeyUnusable(WrongRequest):
    """A keystore that is missing, is not one, or does not open with this password."""


class Unavailable(DeaiError):
    """A part could not be reached. Nothing was done, or what was done is written down; try again."""

    exit_code = 3


class ChainUnavailable(Unavailable):
    """The chain's node did not answer."""


class StoreUnavailable(Unavailable):
    """The content store did not answer."""


class ContentMissing(Unavailable):
    """No store we asked has this block."""


class ContentOutOfReach(ContentMissing):
    """Nobody who answered has it, and somebody who may have it did not answer: it may well be there."""


class MarketUnavailable(Unavailable):
    """The market did not answer."""


class JournalUnavailable(Unavailable):
    """The disk did not take what must be written down before a transaction is sent."""


class RegistryUnavailable(Unavailable):
    """A registry of container images did not answer, or not as one does."""


class EngineUnavailable(Unavailable):
    """The Docker engine did not answer."""


class Bug(DeaiError):
    """A state that must not exist. Please report it."""


class ContractError(WrongRequest):
    """The escrow refused. Subclasses have the Solidity error's name; `args` are its arguments, in order."""

    hint: ClassVar[str] = "the escrow refused"

    def __init__(self, *args: object) -> None:
        super().__init__(*args)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.args == getattr(other, "args", None)

    def __hash__(self) -> int:
        return hash((type(self), self.args))

    def __str__(self) -> str:
        shown = ", ".join(f"0x{a.hex()}" if isinstance(a, bytes) else str(a) for a in self.args)
        return f"{type(self).__name__}({shown}): {self.hint}"


class Malformed(ContractError):
    """The field has a value that no version accepts."""

    hint = "the field's value is never accepted"


class WrongState(ContractError):
    """The verb is not allowed in the job's state. `args` are the job's id and its JobState."""

    hint = "the job's state does not allow this"

    def __init__(self, job: str, state: int) -> None:
        super().__init__(job, JobState(state))

    def __str__(self) -> str:
        job, state = self.args
        return f"WrongState: job {job} is {state.name.capitalize()}: {self.hint}"


class WrongTerms(ContractError):
    """These are not the terms the job committed to."""

    hint = "these are not the terms this job committed to"


class WrongCaller(ContractError):
    """The caller is not the one party that may do this."""

    hint = "another party must do this"


class WrongSignature(ContractError):
    """The signature is not the signer's over this digest."""

    hint = "the signature is not its signer's"


class WrongJob(ContractError):
    """The bid is for another job."""

    hint = "the bid is for another job"


class NotOpen(ContractError):
    """Before `openAt` only the job's matcher may award."""

    hint = "only the job's matcher may award before openAt"


class JobExpired(ContractError):
    """The job could be awarded only before `awardBy`."""

    hint = "the job's awardBy has come; sign a new job"


class BidExpired(ContractError):
    """The bid could be awarded only before `expiresAt`."""

    hint = "the bid has expired"


class BidTooLong(ContractError):
    """The bid lives longer than bids may."""

    hint = "the bid lives longer than bids may"


class NoBid(ContractError):
    """No bid of this provider with these values stands on chain."""

    hint = "no such bid was placed on chain"


class PriceAboveRamp(ContractError):
    """The bid asks for more than the price ramp allows now."""

    hint = "the price is above the job's ramp now"


class InsufficientBalance(ContractError):
    """The account's balance in the escrow is too small."""

    hint = "deposit first (`deai deposit`)"


class DeliverByMissed(ContractError):
    """The delivery deadline has come."""

    hint = "the delivery deadline has come"


class DeliverByAhead(ContractError):
    """The provider may still deliver."""

    hint = "the provider may still deliver"


class WindowOpen(ContractError):
    """The challenge window is still open."""

    hint = "the challenge window is still open"


class WindowOver(ContractError):
    """The challenge window is over."""

    hint = "the challenge window is over"


class RuleByAhead(ContractError):
    """The arbiter may still rule."""

    hint = "the arbiter may still rule"


class RuleByMissed(ContractError):
    """The time to rule is over."""

    hint = "the time to rule is over; anyone may let the case lapse"


class WrongEpoch(ContractError):
    """The submitter cancelled all jobs of this epoch."""

    hint = "its submitter cancelled all jobs of that epoch"


class NoReason(ContractError):
    """A call of a batch failed without a reason."""

    hint = "a call of the batch gave no reason: too little gas, or no call of the escrow"


class TooLittleGas(ContractError):
    """A contract that judges a signature must get this much gas, and there was less."""

    hint = "send more gas: a contract has to judge a signature"


class BalanceOverflow(ContractError):
    """The balance would exceed what its word can hold."""

    hint = "the balance would exceed 2**128 - 1"


class NoToken(ContractError):
    """The address holds no contract."""

    hint = "there is no token at this address"
