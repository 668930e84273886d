"""The panel's events in words: none is left out, and each tells its values; and where a case stands."""

import dataclasses
from typing import Any, get_type_hints

import pytest

from deai.case_history import Standing, tell
from deai.chain import Event
from deai.errors import Bug
from deai.job import Address, JobId, Timestamp, Wei
from deai.panel import (
    EVENTS,
    Case,
    CaseClosed,
    CasePace,
    Collected,
    Committed,
    Earned,
    Left,
    Phase,
    Revealed,
    Rules,
    SeatSlashed,
    Staked,
    Verdict,
)
from deai.testing import DAI

VERIFIER = Address("0x" + "7" * 40)
JOB = JobId("0x" + "ab" * 32)
AT = Timestamp(2_000_000_000)
STAKE = Address("0x" + "5" * 40)
RULES = Rules(
    stake_token=STAKE,
    fee_token=DAI.address,
    seat_stake=Wei(100),
    seat_fee=Wei(1),
    rounds=2,
    pace=CasePace(
        draw_blocks=1,
        open_seconds=1,
        draw_seconds=1,
        cure_seconds=1,
        vote_seconds=1,
        reveal_seconds=1,
        unstake_seconds=1,
    ),
)
PLACE: dict[str, Any] = {"block": 7, "block_hash": "0x07", "tx": "0x0a", "index": 0}
VALUES: dict[Any, Any] = {
    int: 3,
    str: "0x01",
    bool: True,
    bytes: bytes(32),
    Address: VERIFIER,
    JobId: JOB,
    Timestamp: AT,
    Wei: Wei(9),
    Verdict: Verdict.OUTPUT_MISSING,
}


def show(amount: int, token: Address) -> str:
    return f"{amount} {'STAKE' if token == STAKE else 'FEE'}"


def made(kind: type[Event], **values: Any) -> Event:
    hints = get_type_hints(kind)
    usual = {each.name: VALUES[hints[each.name]] for each in dataclasses.fields(kind)}
    return kind(**usual | PLACE | values)


@pytest.mark.parametrize("kind", EVENTS)
def test_every_event_is_told_with_its_values(kind: type[Event]) -> None:
    text, facts = tell(made(kind), RULES, show)

    assert text
    assert all(character.isprintable() for character in text)
    names = {each.name for each in dataclasses.fields(kind)} - set(PLACE) - {"id", "voted"}
    assert {name.replace("result", "result_cid") for name in names} - {"amount"} <= facts.keys()


def test_an_event_of_the_escrow_is_none_of_the_panels() -> None:
    with pytest.raises(Bug):
        tell(Event(**PLACE), RULES, show)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (made(Staked), f"{VERIFIER} staked 100 STAKE in class 3"),
        (made(Left), f"{VERIFIER} took 100 STAKE back from class 3"),
        (made(Committed), f"{VERIFIER} sealed its vote"),
        (made(Revealed), f"{VERIFIER} voted output missing"),
        (made(SeatSlashed), f"{VERIFIER}, who voted with the minority, lost 9 STAKE"),
        (made(SeatSlashed, voted=False), f"{VERIFIER}, who was silent, lost 9 STAKE"),
        (made(Earned), f"{VERIFIER} earned 9 FEE"),
        (made(Collected), f"{VERIFIER} collected 9 FEE"),
        (made(CaseClosed, verdict=Verdict.BAD, share_bps=0), "bad: the provider gets 0 % of price and bond"),
        (made(CaseClosed, verdict=Verdict.UNDECIDED, ruled=False), "undecided: nobody ruled"),
    ],
)
def test_what_is_told(event: Event, words: str) -> None:
    assert tell(event, RULES, show)[0] == words


def a_case(phase: Phase, empty: int, waited_for: int) -> Case:
    return Case(
        phase=phase,
        round=1,
        seats=3,
        empty=empty,
        open=waited_for,
        resource_class=0,
        deliver_seconds=60,
        slots=3,
        vote_from=AT,
        deadline=AT,
        rule_by=AT,
        draw_block=7,
        submitter=VERIFIER,
        provider=VERIFIER,
        result=bytes(32),
    )


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (a_case(Phase.DRAWING, 3, 0), "drawing, round 1, until 2033-05-18 03:33:20 UTC"),
        (a_case(Phase.VOTING, 1, 1), "voting, round 1, until 2033-05-18 03:33:20 UTC: 1 of 3 votes"),
        (a_case(Phase.REVEALING, 0, 0), "revealing, round 1, until 2033-05-18 03:33:20 UTC: 3 of 3 votes"),
    ],
)
def test_an_open_case_says_its_phase_and_how_many_votes_are_in(case: Case, words: str) -> None:
    assert str(Standing.of(case, [])) == words


def test_a_closed_case_says_how_it_ended() -> None:
    end = made(CaseClosed, verdict=Verdict.GOOD, share_bps=10_000)

    standing = Standing.of(a_case(Phase.CLOSED, 0, 0), [made(Committed), end])

    assert str(standing) == "good: the provider gets 100 % of price and bond"
    assert standing.as_json() == {
        "phase": "closed",
        "round": 1,
        "seats": 3,
        "votes": 3,
        "deadline": AT,
        "verdict": "good",
        "ruled": True,
        "share_bps": 10_000,
    }
