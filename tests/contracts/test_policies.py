"""The ladder of verification on one escrow: each policy is an arbiter of its own, run once to the good and once to the bad end.

The arbiters are small doubles (contracts/test/Arbiters.sol, ProofArbiters.sol); the proofs of `zk` are simulated.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_utils.crypto import keccak
from world import ONE, RESULT, World, reverts

from deai.job import Address, Job, JobState, Outcome, Terms, Timestamp

GOOD = Outcome.PAID, 990, 1009.75, 0
"""The outcome, and the balances of submitter, provider and arbiter, in tokens."""
SLASHED = Outcome.REFUNDED, 1000, 995, 2
SEAL_SALT = b"\x5a" * 32


@dataclass(frozen=True, slots=True)
class Case:
    """A delivered job under an arbiter contract."""

    world: World
    arbiter: Any
    job: Job
    terms: Terms

    def act(self, verb: str, *args: Any, by: Address | None = None, at: int | None = None) -> None:
        """Calls the arbiter, as a stranger unless told otherwise."""
        self.world.send(by or self.world.stranger, verb, *args, to=self.arbiter, at=at)

    def after_the_dispute(self, disputer: Address) -> "Case":
        """The case as it stands once the newest block's dispute was mined."""
        rule_by = Timestamp(self.world.now + self.terms.ruling_seconds)
        terms = self.terms.disputed(disputer, rule_by)
        return Case(self.world, self.arbiter, self.job, terms)

    def ended(self, end: tuple[Outcome, float, float, float]) -> bool:
        """Whether the job ended so."""
        people = (self.job.submitter, self.terms.provider, self.job.arbiter)
        balances = [self.world.balance(who) / ONE for who in people]
        return [self.world.ending(self.job), *balances] == [(JobState.CLOSED, end[0]), *end[1:]]


def case(world: World, arbiter: Any, result: bytes = RESULT, **changes: Any) -> Case:
    """A job under that arbiter, awarded and delivered."""
    job = world.judged(arbiter=Address(arbiter.address), **changes)
    return delivered(world, arbiter, job, world.provider, result)


def delivered(world: World, arbiter: Any, job: Job, provider: Address, result: bytes) -> Case:
    bid = world.bid(job, provider=provider)
    terms = world.award(job, bid, by=world.matcher)
    sent = world.send(provider, "deliver", world.key(job), terms, result)
    return Case(world, arbiter, job, terms.delivered(result, sent.only("JobDelivered")["windowEnd"]))


def arbiter(world: World, name: str, *args: Any) -> Any:
    return world.create(name, world.market.address, *args)


# none


def test_none_pays_any_digest_that_comes_in_time(world: World) -> None:
    job, terms = world.awarded(challenge_seconds=0)
    world.deliver(job, terms)
    assert world.ending(job) == (JobState.CLOSED, Outcome.PAID)


def test_none_refunds_a_provider_that_delivers_nothing(world: World) -> None:
    job, terms = world.awarded(challenge_seconds=0)
    world.send(world.submitter, "reclaim", world.key(job), terms, at=terms.deliver_by)
    assert world.ending(job) == (JobState.CLOSED, Outcome.REFUNDED)


# optimistic


def test_optimistic_pays_what_nobody_disputes(world: World) -> None:
    one = case(world, arbiter(world, "OptimisticArbiter", world.rival))
    key = world.key(one.job)
    with reverts("NotDisputed", key):
        one.act("judge", key, one.terms, 0, by=world.rival)
    world.send(world.stranger, "settle", key, one.terms, at=one.terms.window_end)
    assert one.ended(GOOD)


@pytest.mark.parametrize(
    ("share", "end"), [(0, (Outcome.REFUNDED, 1000, 995, 2)), (10_000, (Outcome.PAID, 988, 1009.75, 2))]
)
def test_optimistic_judges_what_the_submitter_disputes(
    world: World, share: int, end: tuple[Outcome, float, float, float]
) -> None:
    one = case(world, arbiter(world, "OptimisticArbiter", world.rival))
    key = world.key(one.job)
    world.dispute(one.job, one.terms)
    one = one.after_the_dispute(world.submitter)
    with reverts("NotTheJudge", world.submitter):
        one.act("judge", key, one.terms, 0, by=world.submitter)
    one.act("judge", key, one.terms, share, by=world.rival)
    assert one.ended(end)


# audit:p


def drawn(world: World, one: Case) -> bool:
    """Marks the job and draws it in the next block but one; whether it was drawn, as the hash between them says."""
    one.act("mark", one.job, one.terms)
    with reverts("TooEarly", world.key(one.job), world.web3.eth.block_number + 1):
        one.act("draw", one.job, one.terms)
    seed = bytes(world.web3.eth.get_block("latest")["hash"])
    lot = int.from_bytes(keccak(seed + world.key(one.job))) % 10_000
    chance = int.from_bytes(one.job.arbiter_data)
    if lot < chance:
        one.act("draw", one.job, one.terms)
        return True
    with reverts("NotDrawn", world.key(one.job)):
        one.act("draw", one.job, one.terms)
    return False


def chance(share: int) -> bytes:
    return share.to_bytes(32)


@pytest.mark.parametrize(("rerun", "end"), [(RESULT, GOOD), (b"\x08" * 32, SLASHED)])
def test_audit_opens_a_drawn_case_itself_and_rules_by_the_rerun(
    world: World, rerun: bytes, end: tuple[Outcome, float, float, float]
) -> None:
    one = case(world, arbiter(world, "AuditArbiter", world.rival), arbiter_data=chance(10_000))
    assert drawn(world, one)
    one = one.after_the_dispute(one.job.arbiter)
    with reverts("NotTheAuditor", world.submitter):
        one.act("judge", world.key(one.job), one.terms, rerun, by=world.submitter)
    one.act("judge", world.key(one.job), one.terms, rerun, by=world.rival)
    assert one.ended(end)


def test_audit_leaves_alone_what_it_did_not_draw(world: World) -> None:
    one = case(world, arbiter(world, "AuditArbiter", world.rival), arbiter_data=chance(0))
    assert not drawn(world, one)
    with reverts("DrawnTwice", world.key(one.job)):
        one.act("mark", one.job, one.terms)
    world.send(world.stranger, "settle", world.key(one.job), one.terms, at=one.terms.window_end)
    assert one.ended(GOOD)


def test_audit_draws_by_the_hash_of_a_block_after_the_delivery(world: World) -> None:
    judge = arbiter(world, "AuditArbiter", world.rival)
    for _ in range(4):
        drawn(world, case(world, judge, arbiter_data=chance(5_000)))


def test_cheating_does_not_pay_at_the_audit_rate_that_the_arithmetic_asks_for(world: World) -> None:
    """p >= (C - c) / (R + S): honest cost C, a cheater's cost c, pay R, bond S."""
    pay, bond, honest, cheap = 9.75, 5.0, 7.0, 0.5
    rate = (honest - cheap) / (pay + bond)
    ends = []
    for rerun in (RESULT, b"\x08" * 32):
        with world.undone():
            one = case(world, arbiter(world, "AuditArbiter", world.rival), arbiter_data=chance(10_000))
            drawn(world, one)
            one = one.after_the_dispute(one.job.arbiter)
            one.act("judge", world.key(one.job), one.terms, rerun, by=world.rival)
            ends.append((world.balance(world.provider) - 1000 * ONE) / ONE)
    good, caught = ends
    assert (good, caught) == (pay, -bond)
    for p, pays in ((rate * 1.01, False), (rate * 0.99, True)):
        cheating = p * caught + (1 - p) * good - cheap
        assert (cheating > good - honest) is pays


# replicated:k/n


def seal(provider: Address, digest: bytes) -> bytes:
    return keccak(encode(["address", "bytes32", "bytes32"], [provider, digest, SEAL_SALT]))


def group(k: int, n: int) -> bytes:
    return bytes([k, n]) + b"\x77" * 30


@pytest.fixture
def replicas(world: World) -> Callable[..., list[Case]]:
    """Makes three replicas of one job, each delivered as the seal of its provider's digest, and enters them."""

    def make(*digests: bytes) -> list[Case]:
        judge = arbiter(world, "ReplicaArbiter")
        world.fund(world.stranger, 1000 * ONE)
        cases = []
        for provider, digest in zip((world.provider, world.rival, world.stranger), digests, strict=True):
            job = world.judged(arbiter=Address(judge.address), arbiter_data=group(2, 3))
            cases.append(delivered(world, judge, job, provider, seal(provider, digest)))
        for one in cases:
            one.act("enter", one.job, one.terms)
        return cases

    return make


def test_replicas_that_agree_are_paid_and_the_odd_one_out_is_slashed(
    world: World, replicas: Callable[..., list[Case]]
) -> None:
    digests = RESULT, RESULT, b"\x08" * 32
    cases = replicas(*digests)
    for one, digest in zip(cases, digests, strict=True):
        one.act("open", one.job, one.terms, digest, SEAL_SALT)
    for one in cases:
        one.act("judge", one.job, one.terms)
    outcomes = [world.ending(one.job)[1] for one in cases]
    assert outcomes == [Outcome.PAID, Outcome.PAID, Outcome.REFUNDED]


def test_a_copied_seal_cannot_be_opened_and_is_slashed(
    world: World, replicas: Callable[..., list[Case]]
) -> None:
    """A provider that copies the first one's delivery has sealed somebody else's address in."""
    cases = replicas(RESULT, RESULT, RESULT)
    thief = cases[2]
    copied = cases[0].terms.result
    assert thief.terms.result != copied
    job = world.judged(arbiter=thief.job.arbiter, arbiter_data=thief.job.arbiter_data)
    copy = delivered(world, thief.arbiter, job, world.stranger, copied)
    copy.act("enter", copy.job, copy.terms)
    with reverts("WrongSeal", world.key(copy.job)):
        copy.act("open", copy.job, copy.terms, RESULT, SEAL_SALT)
    for one in cases[:2]:
        one.act("open", one.job, one.terms, RESULT, SEAL_SALT)
    with reverts("NotAllOpen", copy.job.arbiter_data):
        copy.act("judge", copy.job, copy.terms)
    copy.act("judge", copy.job, copy.terms, at=copy.terms.window_end - 10)
    assert world.ending(copy.job) == (JobState.CLOSED, Outcome.REFUNDED)


def test_no_seal_opens_before_all_are_there(world: World) -> None:
    judge = arbiter(world, "ReplicaArbiter")
    one = case(world, judge, seal(world.provider, RESULT), arbiter_data=group(2, 3))
    one.act("enter", one.job, one.terms)
    with reverts("NotAllSealed", one.job.arbiter_data):
        one.act("open", one.job, one.terms, RESULT, SEAL_SALT)


# verifier:image


@pytest.mark.parametrize(("score", "end"), [(90, GOOD), (89, SLASHED)])
def test_verifiers_rule_by_the_score_of_the_submitters_checker(
    world: World, score: int, end: tuple[Outcome, float, float, float]
) -> None:
    verifiers = sorted((world.matcher, world.stranger, world.rival), key=lambda who: int(who, 16))
    judge = arbiter(world, "QuorumArbiter", verifiers, 2)
    one = case(world, judge, arbiter_data=(90).to_bytes(32))
    digest = judge.functions.scoreDigest(world.key(one.job), RESULT, score).call()
    signatures = [world.signed_digest(who, digest) for who in verifiers[:2]]
    with reverts("NoQuorum", 1, 2):
        one.act("judge", one.job, one.terms, score, signatures[:1])
    with reverts("OutOfOrder", verifiers[0]):
        one.act("judge", one.job, one.terms, score, [signatures[0], signatures[0]])
    with reverts("NotAVerifier", world.provider):
        one.act("judge", one.job, one.terms, score, [world.signed_digest(world.provider, digest)] * 2)
    one.act("judge", one.job, one.terms, score, signatures)
    assert one.ended(end)


# attested, zk


def quote(world: World, one: Case, result: bytes = RESULT) -> bytes:
    digest = one.arbiter.functions.quoteDigest(world.key(one.job), one.job.spec, result).call()
    return world.signed_digest(world.rival, digest)


def proof(world: World, one: Case, result: bytes = RESULT) -> bytes:
    return keccak(encode(["string", "bytes32", "bytes32"], ["simulated proof", one.job.spec, result]))


@pytest.fixture(params=["attested", "zk"])
def proven(request: pytest.FixtureRequest, world: World) -> tuple[Case, Callable[..., bytes]]:
    """A delivered job whose arbiter wants evidence, and what makes that evidence."""
    if request.param == "attested":
        return case(world, arbiter(world, "AttestedArbiter", world.rival)), quote
    verifier = world.create("SimulatedVerifier")
    return case(world, arbiter(world, "ZkArbiter", verifier.address)), proof


def test_evidence_is_paid_at_once(world: World, proven: tuple[Case, Callable[..., bytes]]) -> None:
    one, make = proven
    one.act("prove", one.job, one.terms, make(world, one))
    assert one.ended(GOOD)


def test_evidence_for_another_result_is_none(world: World, proven: tuple[Case, Callable[..., bytes]]) -> None:
    one, make = proven
    for wrong in (make(world, one, b"\x08" * 32), b"", b"\x01" * 65):
        with reverts("WrongProof", world.key(one.job)):
            one.act("prove", one.job, one.terms, wrong)


@pytest.mark.parametrize("late", [True, False])
def test_a_delivery_without_evidence_is_doubted_and_then_condemned_or_proven(
    world: World, proven: tuple[Case, Callable[..., bytes]], late: bool
) -> None:
    one, make = proven
    key = world.key(one.job)
    with reverts("NoDoubtYet", key):
        one.act("condemn", key, one.terms)
    one.act("doubt", one.job, one.terms)
    one = one.after_the_dispute(one.job.arbiter)
    until = one.terms.rule_by - 60
    with reverts("StillTime", key, until):
        one.act("condemn", key, one.terms)
    if late:
        one.act("condemn", key, one.terms, at=until)
        assert one.ended(SLASHED)
    else:
        one.act("prove", one.job, one.terms, make(world, one))
        assert one.ended(GOOD)


# What all share.


@pytest.mark.parametrize("name", ["AuditArbiter", "AttestedArbiter"])
def test_an_arbiter_is_not_fooled_by_another_jobs_data(world: World, name: str) -> None:
    """The 32 bytes that a job has for its arbiter are not in the terms: the job itself proves them, by its id."""
    judge = arbiter(world, name, world.rival)
    one = case(world, judge, arbiter_data=chance(0))
    other = world.judged(arbiter=Address(judge.address), arbiter_data=chance(10_000))
    verb = "mark" if name == "AuditArbiter" else "doubt"
    with reverts("WrongJob", world.key(other)):
        one.act(verb, other, one.terms)


def test_no_arbiter_rules_a_job_that_is_not_its_own(world: World) -> None:
    judge = arbiter(world, "AttestedArbiter", world.rival)
    job, terms = world.delivered(world.judged())
    one = Case(world, judge, job, terms)
    with reverts("WrongCaller", judge.address, world.arbiter):
        one.act("prove", job, terms, quote(world, one))
    assert world.state(job) is JobState.DELIVERED
