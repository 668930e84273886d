"""A panel on the world's chain, verifiers who stake in it, and its cases: what the panel's tests speak through."""

from collections.abc import Sequence
from copy import copy
from enum import Enum, IntEnum, auto
from typing import Any, NamedTuple

from eth_utils.address import to_checksum_address
from hexbytes import HexBytes
from web3.exceptions import ContractCustomError
from world import NOBODY, ONE, RESULT, Sent, World

from deai.job import ZERO_DIGEST, Address, Job, Terms
from deai.panel import Phase, Verdict

CLASS = 7
SEAT_STAKE = 100 * ONE
SEAT_FEE = ONE
ROUNDS = 3
RICH = 9
"""So many people have stake for so many tickets each, and approved it."""
MOST_GAS = 8_000_000
OTHER_RESULT = b"\x08" * 32
THIRD_RESULT = b"\x09" * 32


class Pace(NamedTuple):
    """The struct of the same name."""

    draw_blocks: int = 3
    open_seconds: int = 60
    draw_seconds: int = 100
    cure_seconds: int = 50
    vote_seconds: int = 100
    reveal_seconds: int = 50
    unstake_seconds: int = 5000


class Vote(NamedTuple):
    """A verdict and the digest that goes with it."""

    verdict: Verdict
    digest: bytes = ZERO_DIGEST


class Seat(NamedTuple):
    """The struct of the same name."""

    account: Address
    slot: int
    verdict: Verdict
    vote: bytes

    @property
    def waits(self) -> bool:
        """Whether somebody sits there who sealed nothing."""
        return self.account != NOBODY and self.vote == ZERO_DIGEST and self.verdict is Verdict.NONE


class Luck(IntEnum):
    """The enum of the same name."""

    PENDING = 0
    READY = 1
    MISSED = 2


class Else(Enum):
    """What a seat may do instead of voting."""

    SILENT = auto()
    DECLINES = auto()


GOOD = Vote(Verdict.GOOD, RESULT)
BAD = Vote(Verdict.BAD, OTHER_RESULT)
WORSE = Vote(Verdict.BAD, THIRD_RESULT)
NO_OUTPUT = Vote(Verdict.OUTPUT_MISSING)
NO_INPUTS = Vote(Verdict.INPUTS_MISSING)
TRAP = Vote(Verdict.NOT_RERUNNABLE)
SILENT, DECLINES = Else.SILENT, Else.DECLINES


def arbiter_data(resource_class: int = CLASS, seats: int = 3, comparator: int = 0, rest: int = 0) -> bytes:
    """A job's 32 bytes for the panel."""
    word = resource_class << 240 | seats << 232 | comparator << 224 | rest
    return word.to_bytes(32, "big")


class Court:
    """The contract `panel`, its token for stakes, and who staked."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.create("BlockRandom")
        self.stake_token = world.create("TestToken", "Stake", "STAKE")
        self.panel = self.new_panel()
        self._people = 0
        for _ in range(RICH):
            self.approve(self.person(), RICH * SEAT_STAKE)

    def fresh(self) -> "Court":
        """The same court, whose first `RICH` people were not met yet."""
        twin = copy(self)
        twin._people = 0
        return twin

    def new_panel(self, **changes: Any) -> Any:
        """Another panel; `changes` are of the constructor's arguments and of Pace."""
        return self.world.create("Panel", *self._arguments(**changes))

    def another(self, **changes: Any) -> "Court":
        """A court with another panel, and nobody there yet."""
        twin = copy(self)
        twin.panel = self.new_panel(**changes)
        return twin

    def refusal(self, **changes: Any) -> tuple[str, tuple[Any, ...]]:
        """The error, and its arguments, with which such a panel is not made."""
        code = self.world.project["Panel"].bytecode
        factory = self.world.web3.eth.contract(abi=self.panel.abi, bytecode=code)
        try:
            factory.constructor(*self._arguments(**changes)).estimate_gas()
        except ContractCustomError as error:
            refused = self.world.error(bytes.fromhex(str(error.data)[2:]))
            return refused.name, refused.values
        raise AssertionError(f"a panel was made with {changes}")

    def _arguments(self, **changes: Any) -> tuple[Any, ...]:
        pace = Pace(**{name: changes.pop(name) for name in Pace._fields if name in changes})
        plain = {
            "market": self.world.market.address,
            "random": self.random.address,
            "stake_token": self.stake_token.address,
            "fee_token": self.world.token,
            "seat_stake": SEAT_STAKE,
            "seat_fee": SEAT_FEE,
        }
        return *{**plain, **changes}.values(), tuple(pace)

    def send(self, sender: Address, verb: str, *args: Any, at: int | None = None) -> Sent:
        """Calls a verb of the panel."""
        return self.world.send(sender, verb, *args, at=at, to=self.panel, gas=MOST_GAS)

    def view(self, verb: str, *args: Any) -> Any:
        """What a view of the panel answers now."""
        return self.world.view(verb, *args, to=self.panel)

    def events(self, name: str, since: int | None = None) -> list[dict[str, Any]]:
        """The panel's events of that name in the newest block, or since a block."""
        block = self.world.web3.eth.block_number
        found = self.panel.events[name].get_logs(from_block=block if since is None else since)
        return [dict(log["args"]) for log in found]

    def event(self, name: str) -> dict[str, Any]:
        """The one event of that name in the newest block."""
        (found,) = self.events(name)
        return found

    def history(self, since: int) -> list[tuple[str, dict[str, Any]]]:
        """All of the panel's events since a block, in their order."""
        known = {HexBytes(event().topic): event() for event in self.panel.events}
        raw = self.world.web3.eth.get_logs({"address": self.panel.address, "fromBlock": since})
        read = [known[log["topics"][0]].process_log(log) for log in raw]
        return [(log["event"], dict(log["args"])) for log in read]

    def mine(self, blocks: int) -> None:
        """Lets blocks pass, a second each."""
        self.world.rpc("anvil_mine", hex(blocks), hex(1))

    # Verifiers.

    def person(self) -> Address:
        """A new account with coins for gas."""
        self._people += 1
        account = Address(to_checksum_address((0xBEEF << 32 | self._people).to_bytes(20, "big")))
        self.world.rpc("anvil_impersonateAccount", account)
        self.world.rpc("anvil_setBalance", account, hex(10**24))
        return account

    def verifier(
        self, tickets: int = 1, resource_class: int = CLASS, account: Address | None = None
    ) -> Address:
        """An account that stakes so many tickets."""
        account = account or self.person()
        allowed = self.world.view("allowance", account, self.panel.address, to=self.stake_token)
        if allowed < tickets * SEAT_STAKE:
            self.approve(account, tickets * SEAT_STAKE)
        self.send(account, "stake", resource_class, tickets)
        return account

    def verifiers(self, count: int) -> list[Address]:
        """Accounts with a ticket each."""
        return [self.verifier() for _ in range(count)]

    def approve(self, account: Address, amount: int) -> None:
        """Mints stake for the account and approves the panel."""
        self.world.send(account, "mint", account, amount, to=self.stake_token)
        self.world.send(account, "approve", self.panel.address, amount, to=self.stake_token)

    def ticket(self, slot: int, resource_class: int = CLASS) -> tuple[Any, ...]:
        """Account, since, leave_at, seated."""
        return tuple(self.view("ticketOf", resource_class, slot))

    def tickets(self, resource_class: int = CLASS) -> tuple[int, int, int, int]:
        """Tickets, those free, slots, draws requested."""
        tickets, free, slots, draws = self.view("classOf", resource_class)
        return tickets, free, slots, draws

    def staked(self, account: Address) -> int:
        """What the account holds of the stake's token outside of the panel."""
        return int(self.world.view("balanceOf", account, to=self.stake_token))

    # Cases.

    def job(self, **changes: Any) -> Job:
        """A job that the panel takes: three seats, one token each, a bond of eight."""
        fit = {
            "arbiter": Address(self.panel.address),
            "arbiter_data": arbiter_data(),
            "dispute_fee": 3 * ONE,
            "bond": 8 * ONE,
            "ruling_seconds": 3600,
        }
        return self.world.job(**{**fit, **changes})

    def disputed(self, **changes: Any) -> "CourtCase":
        """A disputed job of that kind, its case not opened."""
        job, terms = self.world.delivered(self.job(**changes))
        return CourtCase(self, job, self.world.dispute(job, terms))

    def opened(self, **changes: Any) -> "CourtCase":
        """A case whose draw is requested."""
        case = self.disputed(**changes)
        case.open()
        return case

    def drawn(self, **changes: Any) -> "CourtCase":
        """A case whose seats are drawn."""
        case = self.opened(**changes)
        case.draw()
        return case


class CourtCase:
    """One case, and what its seats sealed."""

    def __init__(self, court: Court, job: Job, terms: Terms) -> None:
        self.court, self.world, self.job, self.terms = court, court.world, job, terms
        self.key = court.world.key(job)
        self.sealed: dict[Address, tuple[Vote, bytes]] = {}

    def _field(self, name: str) -> Any:
        (output,) = self.court.panel.functions.caseOf.__call__(self.key).abi["outputs"]
        names = [item["name"] for item in output["components"]]
        return self.court.view("caseOf", self.key)[names.index(name)]

    @property
    def phase(self) -> Phase:
        return Phase(self._field("phase"))

    @property
    def round(self) -> int:
        return int(self._field("round"))

    @property
    def deadline(self) -> int:
        return int(self._field("deadline"))

    @property
    def vote_from(self) -> int:
        return int(self._field("voteFrom"))

    @property
    def still_open(self) -> int:
        return int(self._field("open"))

    @property
    def empty(self) -> int:
        return int(self._field("empty"))

    @property
    def draw_block(self) -> int:
        return int(self._field("drawBlock"))

    def seats(self) -> list[Seat]:
        """All seats, the empty ones too."""
        raw = self.court.view("seatsOf", self.key)
        return [
            Seat(Address(to_checksum_address(seat[0])), seat[1], Verdict(seat[2]), seat[3]) for seat in raw
        ]

    def accounts(self) -> list[Address]:
        """Who has a seat."""
        return [seat.account for seat in self.seats() if seat.account != NOBODY]

    def to_vote(self) -> list[Address]:
        """Who has a seat and sealed nothing."""
        return [seat.account for seat in self.seats() if seat.waits]

    def open(self, by: Address | None = None, at: int | None = None) -> Sent:
        return self.court.send(by or self.world.stranger, "open", self.job, self.terms, at=at)

    def draw(self, at: int | None = None) -> Sent:
        """Waits for the block of the draw, and draws."""
        self.court.mine(max(0, self.draw_block - self.world.web3.eth.block_number))
        return self.court.send(self.world.stranger, "draw", self.resource_class, at=at)

    @property
    def resource_class(self) -> int:
        return int(self._field("resourceClass"))

    def vote(self, *choices: Vote | Else) -> None:
        """The seats that are to vote do so, in their order, as soon as votes are taken."""
        after_cure = max(self.vote_from, self.world.now + 1)
        for account, choice in zip(self.to_vote(), choices, strict=True):
            if choice is DECLINES:
                self.court.send(account, "decline", self.key)
            elif isinstance(choice, Vote):
                self.commit(account, choice, at=max(after_cure, self.world.now))

    def commit(self, account: Address, vote: Vote, at: int | None = None) -> Sent:
        """Seals a vote with a salt of its own."""
        salt = (len(self.sealed) + 1).to_bytes(32, "big")
        self.sealed[account] = (vote, salt)
        return self.court.send(account, "commit", self.key, self.seal(account, vote, salt), at=at)

    def seal(self, account: Address, vote: Vote, salt: bytes) -> bytes:
        return bytes(self.court.view("sealOf", account, self.key, vote.verdict, vote.digest, salt))

    def reveal(self, account: Address, at: int | None = None) -> Sent:
        vote, salt = self.sealed[account]
        return self.court.send(account, "reveal", self.key, vote.verdict, vote.digest, salt, at=at)

    def reveal_all(self, but: Sequence[Address] = ()) -> None:
        """Every seat that did not reveal does so."""
        for seat in self.seats():
            if seat.account != NOBODY and seat.verdict is Verdict.NONE and seat.account not in but:
                self.reveal(seat.account)

    def advance(self, at: int | None = None, by: Address | None = None) -> Sent:
        return self.court.send(by or self.world.stranger, "advance", self.key, self.terms, at=at)

    def end_phase(self) -> Sent:
        """Advances as soon as that is allowed: at once if no seat is open and, in VOTING, none empty; else at the deadline."""
        waits = (
            self.still_open != 0 or self.phase is Phase.DRAWING or (self.phase is Phase.VOTING and self.empty)
        )
        return self.advance(at=self.deadline if waits and self.world.now < self.deadline else None)

    def judge(self, *votes: Vote) -> None:
        """All seats seal these votes, reveal them, and the case is closed."""
        self.vote(*votes)
        self.end_phase()
        self.reveal_all()
        self.end_phase()

    def holders(self, *votes: Vote) -> list[Address]:
        """Who sealed one of these votes."""
        return [account for account, (vote, _) in self.sealed.items() if vote in votes]
