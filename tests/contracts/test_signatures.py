"""Signatures of accounts: 65 bytes, 64 bytes, trees of jobs; and everything that is none."""

from dataclasses import replace

import pytest
from eth_utils.crypto import keccak
from world import NOBODY, RESULT, World, reverts

from deai import signing
from deai.job import Bid, Job, JobId, JobState, Terms, Timestamp, Wei
from deai.signing import Domain

N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order of secp256k1."""


def long_form(signature: bytes) -> bytes:
    """The 65 bytes (r, s, v) of a compact signature."""
    last = int.from_bytes(signature[32:])
    return signature[:32] + (last & (1 << 255) - 1).to_bytes(32) + bytes([27 + (last >> 255)])


def award(world: World, job: Job, signature: bytes, bid: Bid | None = None) -> None:
    bid = bid or world.bid(job)
    world.send(world.stranger, "award", job, signature, bid, world.signed(bid))


def refuses(world: World, job: Job, signature: bytes) -> None:
    with reverts("WrongSignature", job.submitter, world.key(job)):
        award(world, job, signature)
    assert world.state(job) is JobState.UNKNOWN


# One job, one signature.


@pytest.mark.parametrize("form", [long_form, bytes])
def test_both_forms_of_a_signature_award(world: World, form: type[bytes]) -> None:
    job = world.job()
    bid = world.bid(job)
    signatures = form(world.signed(job)), form(world.signed(bid))
    world.send(world.stranger, "award", job, signatures[0], bid, signatures[1])
    assert world.state(job) is JobState.AWARDED


def test_the_other_form_of_a_used_signature_awards_nothing_again(world: World) -> None:
    job, _ = world.awarded()
    for signature in (world.signed(job), long_form(world.signed(job))):
        with reverts("WrongState", world.key(job), JobState.AWARDED):
            award(world, job, signature, world.bid(job, provider=world.rival))


def test_a_signature_with_flipped_s_is_refused(world: World) -> None:
    job = world.job()
    signature = long_form(world.signed(job))
    s = N - int.from_bytes(signature[32:64])
    refuses(world, job, signature[:32] + s.to_bytes(32) + bytes([55 - signature[64]]))


def test_a_compact_signature_with_a_flipped_recovery_bit_is_refused(world: World) -> None:
    job = world.job()
    signature = bytearray(world.signed(job))
    signature[32] ^= 0x80
    refuses(world, job, bytes(signature))


@pytest.mark.parametrize("v", [0, 1, 26, 29, 255])
def test_a_recovery_byte_other_than_27_and_28_is_refused(world: World, v: int) -> None:
    job = world.job()
    refuses(world, job, long_form(world.signed(job))[:64] + bytes([v]))


@pytest.mark.parametrize("size", [1, 31, 32, 63, 64, 65, 66, 96, 128, 1000])
def test_bytes_that_are_no_signature_are_refused(world: World, size: int) -> None:
    job = world.job()
    refuses(world, job, (keccak(text="noise") * 32)[:size])


def test_a_bid_takes_no_tree(world: World) -> None:
    job = world.job()
    bid = world.bid(job)
    with reverts("WrongSignature", world.provider, signing.bid_digest(bid, world.domain)):
        world.send(
            world.stranger, "award", job, world.signed(job), bid, world.signed(bid) + keccak(text="step")
        )


def test_a_signature_that_recovers_to_zero_signs_for_nobody(world: World) -> None:
    for signature in (bytes(64) + b"\x1b", bytes(64), bytes(96)):
        refuses(world, world.job(submitter=NOBODY), signature)
    job = world.job()
    bid = world.bid(job, provider=NOBODY)
    with reverts("Malformed", "provider"):
        world.send(world.stranger, "award", job, world.signed(job), bid, bytes(64) + b"\x1b")


def test_an_account_that_carries_code_still_signs_with_its_key(world: World) -> None:
    """As an account does that delegates to a contract (EIP-7702): the key is asked before the code."""
    job = world.job()
    bid = world.bid(job)
    signatures = world.signed(job), world.signed(bid)
    for account in (world.submitter, world.provider):
        world.rpc("anvil_setCode", account, "0xfe")
    world.send(world.stranger, "award", job, signatures[0], bid, signatures[1])
    assert world.state(job) is JobState.AWARDED


# Many jobs, one signature.


@pytest.mark.parametrize("count", [2, 3, 4, 7])
def test_every_job_of_a_tree_is_awarded_by_the_one_signature(world: World, count: int) -> None:
    jobs = [world.job() for _ in range(count)]
    signatures = signing.sign_jobs(world.people[world.submitter], jobs, world.domain)
    assert len({signature[:64] for signature in signatures}) == 1
    for job, signature in zip(jobs, signatures, strict=True):
        award(world, job, signature)
        assert world.state(job) is JobState.AWARDED


def test_the_roots_digest_is_the_one_that_the_client_signs(world: World) -> None:
    root = keccak(text="root")
    place = [keccak(text="deai"), keccak(text="1"), world.domain.chain_id.to_bytes(32)]
    kind = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    domain = keccak(
        b"".join([keccak(text=kind), *place, bytes.fromhex(world.market.address[2:]).rjust(32, b"\0")])
    )
    struct = keccak(keccak(text="Jobs(bytes32 root)") + root)
    assert world.view("jobsDigest", root) == keccak(b"\x19\x01" + domain + struct)


@pytest.mark.parametrize(
    "wrong",
    ["another's proof", "a flipped bit", "a step too few", "a step too many", "swapped steps", "a byte more"],
)
def test_a_wrong_proof_is_refused(world: World, wrong: str) -> None:
    jobs = [world.job() for _ in range(4)]
    one, other, *_ = signing.sign_jobs(world.people[world.submitter], jobs, world.domain)
    signature = {
        "another's proof": other,
        "a flipped bit": one[:-1] + bytes([one[-1] ^ 1]),
        "a step too few": one[:-32],
        "a step too many": one + keccak(text="step"),
        "a byte more": one + b"\0",
        "swapped steps": one[:64] + one[96:] + one[64:96],
    }[wrong]
    refuses(world, jobs[0], signature)


def test_a_job_outside_the_tree_is_refused(world: World) -> None:
    jobs = [world.job() for _ in range(2)]
    signature, _ = signing.sign_jobs(world.people[world.submitter], jobs, world.domain)
    refuses(world, world.job(), signature)


def test_a_job_altered_after_the_tree_was_signed_is_refused(world: World) -> None:
    jobs = [world.job() for _ in range(2)]
    signature, _ = signing.sign_jobs(world.people[world.submitter], jobs, world.domain)
    refuses(world, replace(jobs[0], bond=Wei(jobs[0].bond - 1)), signature)


def test_a_job_of_another_submitter_in_the_tree_is_refused(world: World) -> None:
    """A signer can put anybody's job into its tree; that must sign for nobody but itself."""
    victims = [world.job(submitter=world.rival), world.job()]
    for signature in signing.sign_jobs(world.people[world.submitter], victims, world.domain)[:1]:
        refuses(world, victims[0], signature)


def test_a_signature_of_one_job_is_no_root_and_a_root_is_no_job(world: World) -> None:
    """The two digests have types of their own: neither stands for the other, whatever the proof."""
    job = world.job()
    other = world.job()
    refuses(world, job, world.signed(job) + world.key(other))
    jobs = [job, other]
    refuses(world, job, signing.sign_jobs(world.people[world.submitter], jobs, world.domain)[0][:64])


def test_a_root_alone_is_no_signature_of_its_one_job(world: World) -> None:
    job = world.job()
    r, s, v = _parts(world.signed_digest(world.submitter, bytes(world.view("jobsDigest", world.key(job)))))
    refuses(world, job, r + bytes([s[0] | (v - 27) << 7]) + s[1:])


def test_a_node_of_the_tree_is_no_job(world: World) -> None:
    """A leaf is an EIP-712 digest, made of 66 bytes; a node is made of 64, so that no job has a node's hash for its id."""
    jobs = [world.job() for _ in range(4)]
    signature = signing.sign_jobs(world.people[world.submitter], jobs, world.domain)[2]
    node = keccak(b"".join(sorted(world.key(job) for job in jobs[:2])))
    assert signature[96:] == node
    bid = replace(world.bid(jobs[0]), job=JobId("0x" + node.hex()))
    with reverts("WrongJob", world.key(jobs[0]), node):
        world.send(world.stranger, "award", jobs[0], world.signed(jobs[0]), bid, world.signed(bid))
    assert world.view("stateOf", node) == [JobState.UNKNOWN, 0]


def test_the_compact_form_is_the_only_one_for_a_tree(world: World) -> None:
    jobs = [world.job() for _ in range(2)]
    signature, _ = signing.sign_jobs(world.people[world.submitter], jobs, world.domain)
    refuses(world, jobs[0], long_form(signature[:64]) + signature[64:])


@pytest.mark.parametrize("end", ["cancel", "cancelAll"])
def test_a_cancelled_job_of_a_tree_stays_cancelled(world: World, end: str) -> None:
    jobs = [world.job() for _ in range(2)]
    signatures = signing.sign_jobs(world.people[world.submitter], jobs, world.domain)
    if end == "cancel":
        world.send(world.submitter, "cancel", jobs[0])
        with reverts("WrongState", world.key(jobs[0]), JobState.CLOSED):
            award(world, jobs[0], signatures[0])
        award(world, jobs[1], signatures[1])
        assert world.state(jobs[1]) is JobState.AWARDED
    else:
        world.send(world.submitter, "cancelAll", world.token)
        for job, signature in zip(jobs, signatures, strict=True):
            with reverts("WrongEpoch", world.key(job), 0, 1):
                award(world, job, signature)


def test_a_job_of_a_tree_is_awarded_once(world: World) -> None:
    jobs = [world.job() for _ in range(2)]
    signatures = signing.sign_jobs(world.people[world.submitter], jobs, world.domain)
    award(world, jobs[0], signatures[0])
    for signature in (*signatures, world.signed(jobs[0])):
        with reverts("WrongState", world.key(jobs[0]), JobState.AWARDED):
            award(world, jobs[0], signature, world.bid(jobs[0], provider=world.rival))


# Other places.


def test_a_signature_for_another_escrow_is_worth_nothing(world: World) -> None:
    jobs = [world.job(), world.job()]
    bid = world.bid(jobs[0])
    second = world.create("JobMarket")
    elsewhere = Domain(world.domain.chain_id, second.address)
    tree, _ = signing.sign_jobs(world.people[world.submitter], jobs, world.domain)
    for signature in (world.signed(jobs[0]), tree):
        with reverts(
            "WrongSignature", world.submitter, bytes.fromhex(signing.job_id(jobs[0], elsewhere)[2:])
        ):
            world.send(world.stranger, "award", jobs[0], signature, bid, world.signed(bid), to=second)


@pytest.fixture
def before_the_fork(world: World) -> tuple[Job, Terms]:
    """A job awarded on the chain as it was before it split; each of the two chains has a clock of its own."""
    return world.awarded(deliver_seconds=10**6)


def test_after_a_chain_fork_old_signatures_are_dead_and_awarded_jobs_are_not_stranded(
    before_the_fork: tuple[Job, Terms], world: World, forked: World
) -> None:
    awarded, terms = before_the_fork
    job = world.job()
    bid = world.bid(job)
    there = bytes.fromhex(signing.job_id(job, Domain(777, world.domain.contract))[2:])
    tree, _ = signing.sign_jobs(world.people[world.submitter], [job, world.job()], world.domain)
    for signature in (world.signed(job), tree):
        with reverts("WrongSignature", world.submitter, there):
            forked.send(world.stranger, "award", job, signature, bid, world.signed(bid))
    forked.send(world.provider, "deliver", world.key(awarded), terms, RESULT)
    assert forked.state(awarded) is JobState.DELIVERED
    assert world.state(awarded) is JobState.AWARDED


@pytest.mark.parametrize("end", ["award", "cancel", "approve", "reclaim", "rule", "lapse"])
def test_a_job_is_awarded_at_most_once(world: World, end: str) -> None:
    job = world.judged()
    bid = world.bid(job, expires_at=Timestamp(world.now + 100))
    if end == "cancel":
        world.send(world.submitter, "cancel", job)
    else:
        terms = world.award(job, bid)
        if end == "reclaim":
            world.send(world.stranger, "reclaim", world.key(job), terms, at=terms.deliver_by)
        if end in ("approve", "rule", "lapse"):
            terms = world.deliver(job, terms)
        if end == "approve":
            world.send(world.submitter, "approve", world.key(job), terms)
        if end == "rule":
            world.send(world.arbiter, "rule", world.key(job), terms, 0)
        if end == "lapse":
            terms = world.dispute(job, terms)
            world.send(world.arbiter, "lapse", world.key(job), terms, at=terms.rule_by)
    state = JobState.AWARDED if end == "award" else JobState.CLOSED
    again = world.bid(job, provider=world.rival)
    for signature in (world.signed(job), b""):
        with reverts("WrongState", world.key(job), state):
            award(world, job, signature, again)


def _parts(signature: bytes) -> tuple[bytes, bytes, int]:
    return signature[:32], signature[32:64], signature[64]
