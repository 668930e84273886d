"""The panel by a node: its words are the contract's, and so are its answers."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from deai import codec, panel_errors
from deai.anvil import local_account
from deai.artifacts import artifact
from deai.chain import Deposited, Event
from deai.codec import Codec
from deai.errors import BadField
from deai.job import Address, JobId, Wei
from deai.panel import EVENTS, Phase, Verdict, seal
from deai.panel_contract import PanelContract
from deai.panel_errors import LeaveAhead, NoSeat, NotYours, PhaseAhead, TooFewTickets, WrongPhase
from deai_provider import stakes
from tests.adapters.panel_fixtures import DAI, PACE, PROVIDER, RESULT, SUBMITTER, PanelWorld

INTERFACE = (Path(__file__).resolve().parents[2] / "contracts" / "IPanel.sol").read_text()
A, B = local_account(4), local_account(5)
ADDRESS = Address(A.address)


@pytest.mark.parametrize("ours", [Phase, Verdict])
def test_the_enums_are_the_contracts_value_by_value(ours: type[Phase] | type[Verdict]) -> None:
    found = re.search(rf"enum {ours.__name__} \{{(.*?)\}}", INTERFACE, re.DOTALL)
    assert found is not None
    names = re.findall(r"^\s*([A-Z]\w*)", found[1], re.MULTILINE)
    assert [name.upper() for name in names] == [each.name.replace("_", "") for each in ours]


def test_every_error_and_event_of_the_panel_has_a_class() -> None:
    abi = artifact("Panel").abi
    named = {each["name"] for each in abi if each["type"] == "error"}
    ours = {each.__name__ for each in panel_errors.PanelRefusal.__subclasses__()}
    tokens = {name for name in named if name.startswith(("SafeERC20", "SafeCast"))}
    assert named - tokens - {"ReentrancyGuardReentrantCall"} == ours | {"Malformed"}
    events = {each["name"]: each["inputs"] for each in abi if each["type"] == "event"}
    assert set(events) == {each.__name__ for each in EVENTS}
    place = {field.name for field in fields(Event)}
    renamed = {"from": "source", "to": "target"}
    for event in EVENTS:
        names = [codec._name(each) for each in events[event.__name__]]
        told = {renamed.get(name, name) if event.__name__ == "Moved" else name for name in names}
        assert told == {field.name for field in fields(event)} - place


def test_the_rules_are_those_it_was_deployed_with(panel_world: PanelWorld) -> None:
    rules = panel_world.panel.rules
    assert (rules.pace, rules.seat_stake, rules.seat_fee) == (PACE, 10 * DAI, DAI // 10)
    assert (rules.stake_token, rules.fee_token) == (panel_world.token, panel_world.token)


def test_seals_are_the_contracts(panel_world: PanelWorld) -> None:
    case, digest, salt = JobId("0x" + "ab" * 32), b"\2" * 32, b"\3" * 32
    theirs = panel_world.panel._one("sealOf", ADDRESS, case, int(Verdict.BAD), digest, salt)
    assert seal(ADDRESS, case, Verdict.BAD, digest, salt) == theirs


def test_an_unfit_job_is_told_by_the_field_to_blame(panel_world: PanelWorld) -> None:
    job = panel_world.job(7)
    assert panel_world.panel.unfit(job) == ""
    assert panel_world.panel.unfit(replace(job, bond=Wei(job.dispute_fee * 2 - 1))) == "bond"
    assert panel_world.panel.unfit(replace(job, ruling_seconds=60)) == "rulingSeconds"
    assert panel_world.panel.case_seconds(120) < job.ruling_seconds


def test_tickets_are_bought_leave_and_are_paid_back(panel_world: PanelWorld) -> None:
    panel, chain = panel_world.panel, panel_world.chain
    number = panel_world.new_class()
    with pytest.raises(BadField, match="2 tickets cost"):
        panel.stake(A, number, 2)
    panel_world.stake(A, number, 2)
    assert panel.resource_class(number).tickets == 2
    first, second = panel.tickets(number, ADDRESS)
    with pytest.raises(LeaveAhead):
        panel.unstake(A, number, [first])
    with pytest.raises(NotYours):
        panel.leave(B, number, [first])

    now = chain.head().time
    (said,) = stakes.unstake(panel, A, number, 1, now)
    assert "may be paid back from" in said
    assert stakes.unstake(panel, A, number, 1, now) == [said]
    assert panel.tickets(number, ADDRESS)[second].leave_at == 0
    snapshot = panel_world.node.call("evm_snapshot")
    panel_world.node.advance(PACE.unstake_seconds)
    told = stakes.unstake(panel, A, number, 1, chain.head().time)
    assert told == [f"class {number}: 1 tickets paid back"]
    assert chain.token_balance(panel_world.token, ADDRESS) == 10 * DAI
    assert list(panel.tickets(number, ADDRESS)) == [second]
    panel_world.node.call("evm_revert", snapshot)


def test_a_ticket_that_moved_is_found_in_its_new_slot(panel_world: PanelWorld) -> None:
    panel, number = panel_world.panel, panel_world.new_class(B)
    panel_world.stake(A, number)
    (theirs,) = panel.tickets(number, Address(B.address))
    snapshot = panel_world.node.call("evm_snapshot")
    panel.leave(B, number, [theirs])
    panel_world.node.advance(PACE.unstake_seconds)
    panel.unstake(B, number, [theirs])
    panel._act(A, "compact", number, 5)
    assert list(panel.tickets(number, ADDRESS)) == [theirs]
    panel_world.node.call("evm_revert", snapshot)


def test_a_class_without_verifiers_has_no_cases(panel_world: PanelWorld) -> None:
    job = panel_world.job(panel_world.new_class(A))
    id_ = panel_world.disputed(job, RESULT)
    with pytest.raises(TooFewTickets):
        panel_world.panel.open(PROVIDER, job, panel_world.terms(id_))
    assert panel_world.panel.case(id_) is None


def test_the_signed_job_is_read_from_its_award_alone_or_in_a_batch(panel_world: PanelWorld) -> None:
    number = panel_world.new_class()
    for in_a_batch in (False, True):
        job = panel_world.job(number)
        id_ = panel_world.disputed(job, RESULT, in_a_batch=in_a_batch)
        assert panel_world.panel.job(panel_world.award(id_)) == job


def test_the_signed_job_is_found_in_a_batch_beside_batches_without_end(panel_world: PanelWorld) -> None:
    world, escrow = panel_world, Codec(artifact("JobMarket").abi)
    job = world.job(world.new_class())
    id_, award = world.award_call(job)
    junk = b""
    for _ in range(700):
        junk = bytes.fromhex(escrow.call("batch", [junk], False)[2:])

    world.send(world.deployment.contract, escrow.call("batch", [bytes.fromhex(award[2:]), junk], False))

    assert world.panel.job(world.award(id_)) == job


def test_a_posted_job_is_known_whatever_awarded_it(panel_world: PanelWorld) -> None:
    world = panel_world
    job = world.job(world.new_class())
    world.chain.post(SUBMITTER, job)
    id_, award = world.award_call(job, signature=b"")

    world.send(world.forwarder(), "0xff" + award[2:])

    assert world.panel.job(world.award(id_)) == job


def test_an_award_whose_transaction_shows_no_job_or_another_gives_none(panel_world: PanelWorld) -> None:
    number = panel_world.new_class()
    ids = [panel_world.disputed(panel_world.job(number), RESULT) for _ in range(2)]
    first, second = map(panel_world.award, ids)
    assert panel_world.panel.job(replace(first, tx=second.tx)) is None
    deposits = panel_world.chain.events(0, 1 << 40)
    deposit = next(each for each in deposits if isinstance(each, Deposited))
    assert panel_world.panel.job(replace(first, tx=deposit.tx)) is None
    assert panel_world.panel.job(replace(first, tx="0x" + "00" * 32)) is None


def test_refusals_of_panel_and_escrow_are_errors_of_their_names(panel_world: PanelWorld) -> None:
    panel, number = panel_world.panel, panel_world.new_class(A, B, local_account(6))
    job = panel_world.job(number)
    id_ = panel_world.disputed(job, RESULT)
    terms = panel_world.terms(id_)
    panel.open(PROVIDER, job, terms)
    with pytest.raises(WrongPhase):
        panel.open(SUBMITTER, job, terms)
    with pytest.raises((NoSeat, WrongPhase)):
        panel.decline(PROVIDER, id_)
    with pytest.raises(PhaseAhead):
        panel.advance(PROVIDER, id_, terms)
    case = panel.case(id_)
    assert case is not None
    assert (case.phase, case.empty, case.result) == (Phase.DRAWING, 3, RESULT)
    assert case.provider == Address(PROVIDER.address)


def test_without_a_journal_it_reads_only_and_without_a_panel_it_is_refused(panel_world: PanelWorld) -> None:
    reader = PanelContract(panel_world.node.rpc, panel_world.deployment)
    assert reader.rules == panel_world.panel.rules
    with pytest.raises(BadField, match="journal"):
        reader.collect(A)
    none = panel_world.deployment.model_copy(update={"panel": None})
    with pytest.raises(BadField, match="has none"):
        PanelContract(panel_world.node.rpc, none)
    nowhere = panel_world.deployment.model_copy(update={"panel": Address("0x" + "00" * 19 + "77")})
    with pytest.raises(BadField, match="was the panel deployed"):
        PanelContract(panel_world.node.rpc, nowhere)
