"""What happens at the panel, in words: an event for `deai history`, and where a case stands for `deai status`. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from deai.chain import Event
from deai.cid import Cid, Codec
from deai.clock import utc
from deai.errors import Bug
from deai.job import BASIS_POINTS, Address, Timestamp
from deai.panel import (
    Case,
    CaseClosed,
    CaseOpened,
    Collected,
    Committed,
    Declined,
    Drawn,
    DrawRequested,
    Earned,
    Leaving,
    Left,
    Moved,
    Phase,
    Revealed,
    RevealStarted,
    Rules,
    SeatDrawn,
    SeatSlashed,
    Staked,
    Verdict,
)

Facts = dict[str, str | int]
"""An event's values by name. Amounts are decimal strings in the token's smallest unit, times chain seconds."""


def tell(event: Event, rules: Rules, show: Callable[[int, Address], str]) -> tuple[str, Facts]:
    """One of `panel.EVENTS` in words, and its values; `show` tells an amount of a token. Raises Bug for an event that is none."""
    match event:
        case Staked() | Leaving() | Left() | Moved():
            return _stake(event, show(rules.seat_stake, rules.stake_token))
        case SeatDrawn() | Declined() | Committed() | Revealed() | SeatSlashed():
            return _seat(event, lambda amount: show(amount, rules.stake_token))
        case Earned():
            facts: Facts = {"account": event.account, "amount": str(event.amount)}
            return f"{event.account} earned {show(event.amount, rules.fee_token)}", facts
        case Collected():
            facts = {"account": event.account, "amount": str(event.amount)}
            return f"{event.account} collected {show(event.amount, rules.fee_token)}", facts
    return _case(event)


def _stake(event: Staked | Leaving | Left | Moved, stake: str) -> tuple[str, Facts]:
    number: Facts = {"resource_class": event.resource_class}
    if isinstance(event, Moved):
        text = (
            f"the stake in slot {event.source} of class {event.resource_class} moved to slot {event.target}"
        )
        return text, {**number, "source": event.source, "target": event.target}
    facts: Facts = {**number, "account": event.account, "slot": event.slot}
    if isinstance(event, Staked):
        return f"{event.account} staked {stake} in class {event.resource_class}", facts
    if isinstance(event, Left):
        return f"{event.account} took {stake} back from class {event.resource_class}", facts
    text = f"{event.account} leaves class {event.resource_class}; its {stake} are free from {utc(event.leave_at)} on"
    return text, {**facts, "leave_at": event.leave_at}


def _seat(
    event: SeatDrawn | Declined | Committed | Revealed | SeatSlashed, show: Callable[[int], str]
) -> tuple[str, Facts]:
    facts: Facts = {"account": event.account}
    match event:
        case SeatDrawn():
            text = f"{event.account} was drawn for seat {event.seat}"
            return text, {**facts, "seat": event.seat, "slot": event.slot}
        case Declined():
            return f"{event.account} declined seat {event.seat}", {**facts, "seat": event.seat}
        case Committed():
            return f"{event.account} sealed its vote", {**facts, "seal": "0x" + event.seal.hex()}
        case Revealed():
            text = f"{event.account} voted {words(event.verdict)}"
            return text, {**facts, "verdict": words(event.verdict), "digest": "0x" + event.digest.hex()}
        case SeatSlashed():
            why = "voted with the minority" if event.voted else "was silent"
            text = f"{event.account}, who {why}, lost {show(event.amount)}"
            return text, {**facts, "seat": event.seat, "amount": str(event.amount), "why": why}


def _case(event: Event) -> tuple[str, Facts]:
    match event:
        case CaseOpened():
            cid = str(Cid(Codec.DAG_PB, event.result))
            text = f"a case of {event.seats} seats in class {event.resource_class} over {cid}; rules before {utc(event.rule_by)}"
            return text, {
                "submitter": event.submitter,
                "provider": event.provider,
                "result_cid": cid,
                "seats": event.seats,
                "resource_class": event.resource_class,
                "rule_by": event.rule_by,
            }
        case DrawRequested():
            text = f"round {event.round}: block {event.draw_block} draws for {event.empty} seats"
            return text, {
                "round": event.round,
                "empty": event.empty,
                "draw_block": event.draw_block,
                "draw_by": event.draw_by,
            }
        case Drawn():
            left = f", {event.empty} seats are empty" if event.empty else ""
            text = f"round {event.round}{left}: votes from {utc(event.vote_from)} until {utc(event.vote_by)}"
            return text, {
                "round": event.round,
                "empty": event.empty,
                "vote_from": event.vote_from,
                "vote_by": event.vote_by,
            }
        case RevealStarted():
            text = f"votes are revealed until {utc(event.reveal_by)}"
            return text, {"reveal_by": event.reveal_by}
        case CaseClosed():
            facts: Facts = {
                "verdict": words(event.verdict),
                "ruled": event.ruled,
                "share_bps": event.share_bps,
            }
            return _end(event), facts
        case _:
            raise Bug(f"{type(event).__name__}: an event nobody knows")


def _end(event: CaseClosed) -> str:
    if not event.ruled:
        return f"{words(event.verdict)}: nobody ruled"
    return f"{words(event.verdict)}: the provider gets {event.share_bps * 100 / BASIS_POINTS:g} % of price and bond"


def words(value: Verdict | Phase) -> str:
    """A verdict or a phase as people read it: `output missing`."""
    return value.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a case is. `votes` are those that are sealed or, in revealing, open; `verdict` is there once it closed."""

    phase: Phase
    round: int
    seats: int
    votes: int
    deadline: Timestamp
    end: CaseClosed | None

    @classmethod
    def of(cls, case: Case, events: list[Event]) -> "Standing":
        """From what the panel knows of the case, and the case's events."""
        ends = [event for event in events if isinstance(event, CaseClosed)]
        return cls(
            phase=case.phase,
            round=case.round,
            seats=case.seats,
            votes=case.seats - case.empty - case.open,
            deadline=case.deadline,
            end=ends[-1] if ends else None,
        )

    def __str__(self) -> str:
        if self.end is not None:
            return _end(self.end)
        where = f"{words(self.phase)}, round {self.round}, until {utc(self.deadline)}"
        return f"{where}: {self.votes} of {self.seats} votes" if self.phase is not Phase.DRAWING else where

    def as_json(self) -> Facts:
        """One flat object."""
        end: Facts = (
            {"verdict": words(self.end.verdict), "ruled": self.end.ruled, "share_bps": self.end.share_bps}
            if self.end
            else {}
        )
        return {
            "phase": words(self.phase),
            "round": self.round,
            "seats": self.seats,
            "votes": self.votes,
            "deadline": self.deadline,
            **end,
        }
