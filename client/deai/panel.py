"""Port: the panel, an arbiter of verifiers who are drawn by stake, as deai uses it; the Solidity interface IPanel is its specification.

`panel_contract.PanelContract` speaks to a node.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from eth_abi.abi import encode
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from deai.chain import Event, JobAwarded, Receipt
from deai.job import ZERO_ADDRESS, ZERO_DIGEST, Address, Job, JobId, Terms, Timestamp, Wei


class Phase(IntEnum):
    """Where a case is; the Solidity enum of the same name, value by value."""

    NONE = 0  # -> DRAWING, CLOSED (open)
    DRAWING = 1  # -> VOTING (draw), CLOSED (advance: nobody drew in time)
    VOTING = 2  # -> REVEALING, DRAWING, CLOSED (advance)
    REVEALING = 3  # -> CLOSED, DRAWING (advance)
    CLOSED = 4


class Verdict(IntEnum):
    """What a verifier votes (up to NOT_RERUNNABLE), and how a case ended; the Solidity enum of the same name, value by value."""

    NONE = 0
    GOOD = 1
    BAD = 2
    OUTPUT_MISSING = 3
    INPUTS_MISSING = 4
    NOT_RERUNNABLE = 5
    DISAGREED = 6
    UNDRAWN = 7
    UNDECIDED = 8
    UNFIT = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePace:
    """How long a case's phases take; the Solidity struct `Pace`. Chain seconds, but for `draw_blocks`."""

    draw_blocks: int
    open_seconds: int
    draw_seconds: int
    cure_seconds: int
    vote_seconds: int
    reveal_seconds: int
    unstake_seconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What was fixed when the panel was deployed. Amounts in the smallest unit of their token."""

    stake_token: Address
    fee_token: Address
    seat_stake: Wei
    """Of one ticket: what a silent or wrong vote costs."""
    seat_fee: Wei
    """The least a case pays per seat."""
    rounds: int
    pace: CasePace


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What the panel knows of a case; the Solidity struct of the same name."""

    phase: Phase
    round: int
    seats: int
    empty: int
    open: int
    """Seats that did not vote yet or, in REVEALING, did not reveal."""
    resource_class: int
    deliver_seconds: int
    slots: int
    vote_from: Timestamp
    """In VOTING: votes are taken from here on."""
    deadline: Timestamp
    rule_by: Timestamp
    draw_block: int
    submitter: Address
    provider: Address
    result: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """A place on a case. Empty while `account` is zero."""

    account: Address
    slot: int
    verdict: Verdict
    vote: bytes
    """Zero, then the seal, then the revealed digest."""

    @property
    def voted(self) -> bool:
        """Whether a vote was sealed."""
        return self.vote != ZERO_DIGEST or self.revealed

    @property
    def revealed(self) -> bool:
        """Whether the vote was opened."""
        return self.verdict is not Verdict.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """One stake, in a slot of its resource class. The slot is empty while `account` is zero."""

    account: Address
    since: int
    leave_at: Timestamp
    """Zero, or when it may be unstaked."""
    seated: bool


@dataclass(frozen=True, slots=True)
class ResourceClass:
    """The tickets of a class, those of them that back no case and did not ask to leave, its slots, and the draws requested."""

    tickets: int
    free: int
    slots: int
    draws: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Staked(Event):
    resource_class: int
    account: Address
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving(Event):
    resource_class: int
    account: Address
    slot: int
    leave_at: Timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Left(Event):
    resource_class: int
    account: Address
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved(Event):
    resource_class: int
    source: int
    target: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOpened(Event):
    id: JobId
    resource_class: int
    submitter: Address
    provider: Address
    result: bytes
    seats: int
    rule_by: Timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawRequested(Event):
    id: JobId
    round: int
    empty: int
    draw_block: int
    draw_by: Timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatDrawn(Event):
    id: JobId
    account: Address
    seat: int
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn(Event):
    id: JobId
    round: int
    empty: int
    vote_from: Timestamp
    vote_by: Timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Declined(Event):
    id: JobId
    account: Address
    seat: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed(Event):
    id: JobId
    account: Address
    seal: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RevealStarted(Event):
    id: JobId
    reveal_by: Timestamp


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed(Event):
    id: JobId
    account: Address
    verdict: Verdict
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SeatSlashed(Event):
    """`voted` tells a minority's vote from a silent seat."""

    id: JobId
    account: Address
    seat: int
    amount: Wei
    voted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseClosed(Event):
    """The provider got `share_bps` of price and bond, if the panel `ruled`."""

    id: JobId
    verdict: Verdict
    ruled: bool
    share_bps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Earned(Event):
    id: JobId
    account: Address
    amount: Wei


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected(Event):
    account: Address
    amount: Wei


EVENTS: tuple[type[Event], ...] = (
    Staked,
    Leaving,
    Left,
    Moved,
    CaseOpened,
    DrawRequested,
    SeatDrawn,
    Drawn,
    Declined,
    Committed,
    RevealStarted,
    Revealed,
    SeatSlashed,
    CaseClosed,
    Earned,
    Collected,
)


def seal(account: Address, case: JobId, verdict: Verdict, digest: bytes, salt: bytes) -> bytes:
    """What seals a vote: the panel's `sealOf`. A copy of it under another account opens with nothing."""
    types = ("address", "bytes32", "uint8", "bytes32", "bytes32")
    return keccak(encode(types, (account, bytes.fromhex(case[2:]), int(verdict), digest, salt)))


def is_empty(seat: Seat) -> bool:
    """Whether nobody sits there."""
    return seat.account == ZERO_ADDRESS


class Panel(Protocol):
    """A panel on a chain. Sending methods sign with `signer`, wait for the receipt, and raise the ContractError of the Solidity error's
    name when the panel refuses (nothing was changed then), or ChainUnavailable."""

    @property
    def contract(self) -> Address: ...

    @property
    def rules(self) -> Rules: ...

    # Questions.

    def unfit(self, job: Job) -> str:
        """The name of the job's field for which the panel would take no case of it; empty if it would."""

    def case_seconds(self, deliver_seconds: int) -> int:
        """The longest a case of a job with these `deliver_seconds` takes."""

    def case(self, id_: JobId) -> Case | None:
        """The job's case, or None if none was opened."""

    def seats(self, id_: JobId) -> list[Seat]:
        """The case's seats, in their order."""

    def resource_class(self, number: int) -> ResourceClass: ...

    def tickets(self, number: int, account: Address) -> dict[int, Ticket]:
        """The account's tickets in a class, by slot."""

    def earned(self, account: Address) -> Wei:
        """What the account may collect, in the fee token's smallest unit."""

    def slashed(self) -> Wei: ...

    def events(self, first: int, last: int, case: JobId | None = None) -> list[Event]:
        """The panel's events in the blocks `first` to `last`, both included, in chain order; only those of `case` if given. `last` is
        clamped to the head."""

    def job(self, award: JobAwarded) -> Job | None:
        """The job as its submitter signed it, from where it was posted, or from the transaction that awarded it; None if that was no call of
        the escrow's own."""

    # Verbs.

    def stake(self, signer: LocalAccount, number: int, count: int) -> Receipt:
        """Buys `count` tickets in a class, approving first where needed."""

    def leave(self, signer: LocalAccount, number: int, slots: list[int]) -> Receipt: ...

    def unstake(self, signer: LocalAccount, number: int, slots: list[int]) -> Receipt: ...

    def collect(self, signer: LocalAccount) -> Receipt: ...

    def open(self, signer: LocalAccount, job: Job, terms: Terms) -> Receipt: ...

    def draw(self, signer: LocalAccount, number: int) -> Receipt: ...

    def decline(self, signer: LocalAccount, id_: JobId) -> Receipt: ...

    def commit(self, signer: LocalAccount, id_: JobId, seal: bytes) -> Receipt: ...

    def reveal(
        self, signer: LocalAccount, id_: JobId, verdict: Verdict, digest: bytes, salt: bytes
    ) -> Receipt: ...

    def advance(self, signer: LocalAccount, id_: JobId, terms: Terms) -> Receipt: ...
