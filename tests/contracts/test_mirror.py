"""What Solidity says and what the client's Python says are the same: enums, structs, errors, arithmetic, digests."""

import re
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Any, get_args

import pytest
from eth_utils.crypto import keccak
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from hypothesis.strategies import SearchStrategy
from world import ONE, RESULT, World, reverts, terms_of

from deai import errors, signing
from deai.artifacts import ContractName, artifact
from deai.job import (
    Address,
    Bid,
    Job,
    JobId,
    JobState,
    Outcome,
    Timestamp,
    Wei,
    lapsed,
    paid,
    ramp,
    refunded,
    ruled,
)

SOURCE = (Path(__file__).parents[2] / "contracts" / "IJobMarket.sol").read_text()
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

addresses = some.binary(min_size=20, max_size=20).map(lambda raw: Address("0x" + raw.hex()))


def numbers(bits: int) -> SearchStrategy[int]:
    return some.integers(0, 2**bits - 1)


words = some.binary(min_size=32, max_size=32)
jobs = some.builds(
    Job,
    submitter=addresses,
    token=addresses,
    price_start=numbers(96),
    price_cap=numbers(96),
    bond=numbers(96),
    arbiter=addresses,
    dispute_fee=numbers(96),
    arbiter_data=words,
    matcher=addresses,
    matcher_fee_bps=numbers(16),
    epoch=numbers(32),
    open_at=numbers(40),
    award_by=numbers(40),
    deliver_seconds=numbers(32),
    challenge_seconds=numbers(24),
    ruling_seconds=numbers(24),
    spec=words,
    salt=words,
)
bids = some.builds(
    Bid,
    job=words.map(lambda raw: JobId("0x" + raw.hex())),
    provider=addresses,
    price=numbers(96),
    expires_at=numbers(40),
)


@pytest.mark.parametrize("mirror", [JobState, Outcome])
def test_the_enums_are_equal_value_by_value(mirror: type[JobState] | type[Outcome]) -> None:
    (body,) = re.findall(rf"enum {mirror.__name__} {{([^}}]*)}}", SOURCE)
    names = [name.strip() for name in body.split(",")]
    assert {name.upper(): value for value, name in enumerate(names)} == {
        each.name: each.value for each in mirror
    }


def test_the_arrows_drawn_at_the_enum_are_the_table() -> None:
    from deai.job import TRANSITIONS

    drawn = set()
    for start, end, verbs in re.findall(r"///     (\w+) +-> (\w+) +(.+)", SOURCE):
        for verb in re.sub(r"\([^)]*\)", "", verbs).split(","):
            drawn.add((JobState[start.upper()], verb.strip(), JobState[end.upper()]))
    table = {(start, action.value, end) for (start, action), ends in TRANSITIONS.items() for end in ends}
    assert drawn == table


@pytest.mark.parametrize(("struct", "typed"), [("Job", signing.JOB_TYPE), ("Bid", signing.BID_TYPE)])
def test_the_signed_types_are_the_structs(struct: str, typed: dict[str, Any]) -> None:
    assert [(field["name"], field["type"]) for field in typed[struct]] == _fields(struct)


@pytest.mark.parametrize("mirror", [Job, Bid])
def test_the_values_have_the_structs_fields_in_order(mirror: type[Job] | type[Bid]) -> None:
    python = [
        re.sub(r"_(\w)", lambda m: m[1].upper(), name) for name in (field.name for field in fields(mirror))
    ]
    assert python == [name for name, _ in _fields(mirror.__name__)]


def test_every_solidity_error_has_a_class_and_every_class_an_error() -> None:
    solidity = set(re.findall(r"^    error (\w+)\(", SOURCE, re.MULTILINE))
    shipped = {item["name"] for item in artifact("JobMarket").abi if item["type"] == "error"}
    assert solidity <= shipped
    assert solidity == {each.__name__ for each in errors.ContractError.__subclasses__()}


@pytest.mark.parametrize("name", get_args(ContractName))
def test_the_shipped_code_is_what_the_sources_compile_to(world: World, name: ContractName) -> None:
    # The code ends in a hash of all its sources and settings.
    made = world.project[name]
    assert artifact(name).bytecode == made.bytecode
    assert artifact(name).abi == made.abi


@MANY
@given(job=jobs)
def test_a_job_has_the_same_id_on_chain_and_in_the_client(world: World, job: Job) -> None:
    assert world.view("jobId", _checked(job)) == world.key(_checked(job))


@MANY
@given(bid=bids)
def test_a_bid_has_the_same_digest_on_chain_and_in_the_client(world: World, bid: Bid) -> None:
    assert world.view("bidDigest", _checked(bid)) == signing.bid_digest(_checked(bid), world.domain)


def test_the_digests_are_those_of_the_specification(world: World) -> None:
    """EIP-712 spelled out by hand, in case both encoders erred alike."""
    bid = Bid(job=JobId("0x" + "12" * 32), provider=world.provider, price=Wei(7), expires_at=Timestamp(9))
    domain_type = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    place = [
        keccak(b"deai"),
        keccak(b"1"),
        _word(world.domain.chain_id),
        _word(int(world.market.address, 16)),
    ]
    domain = keccak(b"".join([keccak(domain_type), *place]))
    bid_type = keccak(b"Bid(bytes32 job,address provider,uint96 price,uint40 expiresAt)")
    struct = keccak(b"".join([bid_type, b"\x12" * 32, _word(int(bid.provider, 16)), _word(7), _word(9)]))
    assert world.view("bidDigest", bid) == keccak(b"\x19\x01" + domain + struct)


@MANY
@given(start=numbers(96), rise=numbers(96), after=some.integers(-50, 1100))
def test_the_ramp_is_the_clients_ramp(world: World, start: int, rise: int, after: int) -> None:
    cap = min(start + rise, 2**96 - 1)
    job = world.job(open_at=Timestamp(world.now - after), price_start=Wei(start), price_cap=Wei(cap))
    job = replace(job, award_by=Timestamp(job.open_at + 1000))
    assert world.view("ramp", job) == ramp(job, world.now)


@pytest.mark.parametrize("close", [False, True])
def test_a_signature_of_many_jobs_and_an_approval_count_on_chain(world: World, close: bool) -> None:
    jobs = [world.job() for _ in range(5)]
    signatures = signing.sign_jobs(world.people[world.submitter], jobs, world.domain)
    job, bid = jobs[3], world.bid(jobs[3])
    sent = world.send(world.matcher, "award", job, signatures[3], bid, world.signed(bid))
    terms = terms_of(sent)
    key, result = world.people[world.submitter], RESULT if close else b"\x08" * 32
    approval = signing.sign_approval(key, world.id(job), world.provider, result, world.domain)
    if close:
        world.send(world.provider, "deliverAndClose", world.key(job), terms, RESULT, approval)
        return
    digest = signing.approval_digest(world.id(job), world.provider, RESULT, world.domain)
    with reverts("WrongSignature", world.submitter, digest):
        world.send(world.provider, "deliverAndClose", world.key(job), terms, RESULT, approval)


@settings(MANY, max_examples=30)
@given(
    price=some.one_of(some.sampled_from([0, 1, 9_999, 10_000, 20 * ONE]), some.integers(0, 20 * ONE)),
    bond=some.one_of(some.sampled_from([0, 1]), some.integers(0, 5 * ONE)),
    cost=some.integers(0, 5 * ONE),
    bps=some.one_of(some.sampled_from([0, 1, 9_999, 10_000]), some.integers(0, 10_000)),
    share=some.one_of(some.sampled_from([0, 1, 9_999, 10_000]), some.integers(0, 10_000)),
    ending=some.sampled_from(["settle", "reclaim", "rule", "disputed", "lapse", "forgotten"]),
)
def test_a_closing_job_pays_what_the_client_computes(
    world: World, price: int, bond: int, cost: int, bps: int, share: int, ending: str
) -> None:
    with world.undone():
        job = world.job(
            matcher_fee_bps=bps,
            bond=Wei(bond),
            arbiter=world.rival,
            dispute_fee=Wei(min(cost, bond)),
            ruling_seconds=500,
        )
        terms, key = world.award(job, world.bid(job, price=Wei(price)), by=world.matcher), world.key(job)
        if ending == "reclaim":
            sent = world.send(world.stranger, "reclaim", key, terms, at=terms.deliver_by)
            expected = refunded(terms)
        else:
            sent = world.send(world.provider, "deliver", key, terms, RESULT)
            terms = terms.delivered(RESULT, sent.only("JobDelivered")["windowEnd"])
            if ending in ("disputed", "lapse", "forgotten"):
                disputer = world.rival if ending == "forgotten" else world.submitter
                sent = world.send(disputer, "dispute", key, terms)
                terms = terms.disputed(disputer, sent.only("JobDisputed")["ruleBy"])
            match ending:
                case "settle":
                    sent, expected = (
                        world.send(world.stranger, "settle", key, terms, at=terms.deadline),
                        paid(terms),
                    )
                case "rule" | "disputed":
                    sent, expected = world.send(world.rival, "rule", key, terms, share), ruled(terms, share)
                case _:
                    sent = world.send(world.stranger, "lapse", key, terms, at=terms.deadline)
                    expected = lapsed(terms)
    assert sent.only("JobClosed")["payout"] == astuple(expected)
    assert sum(astuple(expected)) == price + bond + terms.prepaid
    assert terms.fee == price * bps // 10_000


def _fields(struct: str) -> list[tuple[str, str]]:
    (body,) = re.findall(rf"struct {struct} {{(.*?)\n}}", SOURCE, re.DOTALL)
    found = re.findall(r"^    (\w+) (\w+);", body, re.MULTILINE)
    return [(name, "bytes32" if kind == "JobId" else kind) for kind, name in found]


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")


def _checked(order: Any) -> Any:
    """The same order with checksummed addresses, as the codecs want them."""
    from eth_utils.address import to_checksum_address

    names = [name for name in order.__dataclass_fields__ if isinstance(getattr(order, name), str)]
    found = {name: getattr(order, name) for name in names}
    return replace(order, **{n: to_checksum_address(v) for n, v in found.items() if len(v) == 42})
