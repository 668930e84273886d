"""EIP-712: what is signed, by whom, and for which escrow only."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account import Account
from eth_utils.crypto import keccak

from deai import signing
from deai.ask import Ask, Capacity
from deai.errors import BadSignature
from deai.job import Address, Bid, Job, JobId, Timestamp, Wei
from deai.signing import Domain, Request

KEY, OTHER = (Account.from_key(bytes([number]) * 32) for number in (1, 2))
ME = Address(KEY.address)
DOMAIN = Domain(31337, Address("0x5FbDB2315678afecb367f032d93F642f64180aa3"))
JOB = Job(
    submitter=ME,
    token=Address("0xe7f1725E7734CE288F8367e1Bb143E90bb3F0512"),
    price_start=Wei(1),
    price_cap=Wei(2**96 - 1),
    bond=Wei(3),
    arbiter=Address(OTHER.address),
    arbiter_data=b"\x04" * 32,
    matcher=Address(OTHER.address),
    matcher_fee_bps=5,
    epoch=6,
    open_at=Timestamp(7),
    award_by=Timestamp(2**40 - 1),
    deliver_seconds=8,
    challenge_seconds=9,
    ruling_seconds=10,
    spec=b"\x0b" * 32,
    salt=b"\x0c" * 32,
)
BID = Bid(job=JobId("0x" + "ab" * 32), provider=ME, price=Wei(13), expires_at=Timestamp(14))
ASK = Ask(
    provider=ME,
    chain_id=31337,
    contract=DOMAIN.contract,
    capacity=Capacity(cpu_millis=1, memory_mib=1, disk_mib=1),
    prices={},
    issued_at=1,
    expires_at=2,
)
REQUEST = Request(
    account=ME,
    market="http://127.0.0.1:8420",
    method="POST",
    path="/jobs",
    body=b"\x0d" * 32,
    expires_at=Timestamp(15),
)

Check = Callable[[bytes, Domain], None]
SIGNED: dict[str, tuple[bytes, Check]] = {
    "job": (signing.sign_job(KEY, JOB, DOMAIN), lambda s, d: signing.check_job(JOB, s, d)),
    "bid": (signing.sign_bid(KEY, BID, DOMAIN), lambda s, d: signing.check_bid(BID, s, d)),
    "request": (
        signing.sign_request(KEY, REQUEST, DOMAIN),
        lambda s, d: signing.check_request(REQUEST, s, d),
    ),
    "approval": (
        signing.sign_approval(KEY, BID.job, BID.provider, b"\x09" * 32, DOMAIN),
        lambda s, d: signing.check_approval(ME, BID.job, BID.provider, b"\x09" * 32, s, d),
    ),
    "ask": (
        signing.sign_ask(KEY, ASK),
        lambda s, d: signing.check_ask(
            ASK.model_copy(update={"chain_id": d.chain_id, "contract": d.contract}), s
        ),
    ),
}
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def by_hand(types: dict[str, list[dict[str, str]]], value: Any) -> bytes:
    """The EIP-712 digest, computed from the standard's text rather than by a library."""
    ((name, members),) = types.items()
    separator = keccak(
        keccak(text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
        + keccak(text="deai")
        + keccak(text="1")
        + encode(["uint256", "address"], [DOMAIN.chain_id, DOMAIN.contract])
    )
    members_text = ",".join(f"{each['type']} {each['name']}" for each in members)
    typehash = keccak(text=f"{name}({members_text})")
    values = [getattr(value, field.name) for field in fields(value)]
    plain = [
        bytes.fromhex(each[2:]) if isinstance(each, str) and len(each) == 66 else each for each in values
    ]
    return keccak(
        b"\x19\x01" + separator + keccak(typehash + encode([each["type"] for each in members], plain))
    )


def test_a_jobs_id_and_a_bids_digest_are_as_the_standard_says() -> None:
    assert signing.job_id(JOB, DOMAIN) == "0x" + by_hand(signing.JOB_TYPE, JOB).hex()
    assert signing.bid_digest(BID, DOMAIN) == by_hand(signing.BID_TYPE, BID)


@pytest.mark.parametrize("field", [field.name for field in fields(Job)])
def test_every_field_of_a_job_is_part_of_its_id(field: str) -> None:
    value = getattr(JOB, field)
    others: dict[type, Any] = {int: 11, bytes: b"\x63" * 32, str: DOMAIN.contract}
    other = others[type(value)]
    assert other != value

    assert signing.job_id(replace(JOB, **{field: other}), DOMAIN) != signing.job_id(JOB, DOMAIN)


def long_form(compact: bytes) -> bytes:
    """The 65 bytes r, s, v of a signature in the 64 of EIP-2098."""
    last = int.from_bytes(compact[32:])
    return compact[:32] + (last & (1 << 255) - 1).to_bytes(32) + bytes([27 + (last >> 255)])


@pytest.mark.parametrize("what", SIGNED)
def test_what_its_signer_signed_passes_in_both_forms(what: str) -> None:
    signature, check = SIGNED[what]
    assert len(signature) == 64
    check(signature, DOMAIN)
    check(long_form(signature), DOMAIN)


def test_both_parities_of_a_signature_fit_into_the_short_form() -> None:
    jobs = [replace(JOB, salt=bytes([number]) * 32) for number in range(16)]
    signatures = [signing.sign_job(KEY, job, DOMAIN) for job in jobs]
    assert {signature[32] >> 7 for signature in signatures} == {0, 1}
    for job, signature in zip(jobs, signatures, strict=True):
        signing.check_job(job, signature, DOMAIN)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 100])
def test_one_use_of_the_key_signs_many_jobs(count: int) -> None:
    jobs = [replace(JOB, salt=number.to_bytes(32)) for number in range(count)]

    signatures = signing.sign_jobs(KEY, jobs, DOMAIN)

    assert len({signature[:64] for signature in signatures}) == 1
    assert max(map(len, signatures)) <= 64 + 32 * (count - 1).bit_length()
    for job, signature in zip(jobs, signatures, strict=True):
        signing.check_job(job, signature, DOMAIN)
    stranger = replace(JOB, salt=b"\xff" * 32)
    with pytest.raises(BadSignature, match="signed by"):
        signing.check_job(stranger, signatures[0], DOMAIN)


def test_a_proof_of_another_job_or_a_shorter_one_does_not_count() -> None:
    jobs = [replace(JOB, salt=number.to_bytes(32)) for number in range(5)]
    first, second, *_ = signing.sign_jobs(KEY, jobs, DOMAIN)
    for spoiled in (second, first[:-32], first + first[-32:], first[:64] + second[64:]):
        with pytest.raises(BadSignature):
            signing.check_job(jobs[0], spoiled, DOMAIN)


def test_no_job_makes_no_tree() -> None:
    with pytest.raises(ValueError, match="no jobs"):
        signing.sign_jobs(KEY, [], DOMAIN)


@pytest.mark.parametrize(
    "elsewhere", [Domain(1, DOMAIN.contract), Domain(31337, ME)], ids=["chain", "escrow"]
)
@pytest.mark.parametrize("what", SIGNED)
def test_a_signature_for_another_chain_or_escrow_does_not_count(what: str, elsewhere: Domain) -> None:
    signature, check = SIGNED[what]
    with pytest.raises(BadSignature, match=f"{what}: signed by"):
        check(signature, elsewhere)


@pytest.mark.parametrize("what", SIGNED)
def test_a_signature_that_is_not_in_its_one_form_does_not_count(what: str) -> None:
    short, check = SIGNED[what]
    good = long_form(short)
    s = int.from_bytes(good[32:64])
    high = good[:32] + (ORDER - s).to_bytes(32) + bytes([55 - good[64]])
    for spoiled in (
        b"",
        good[:63],
        good + b"\0",
        high,
        good[:64] + bytes([good[64] - 27]),
        b"\xff" * 64 + b"\x1b",
    ):
        with pytest.raises(BadSignature, match=what):
            check(spoiled, DOMAIN)


def test_a_strangers_signature_does_not_count() -> None:
    with pytest.raises(BadSignature, match=f"signed by {OTHER.address}, not by {ME}"):
        signing.check_job(JOB, signing.sign_job(OTHER, JOB, DOMAIN), DOMAIN)
