"""deliverAndClose: delivery and payment in one, by the submitter's signature over the result."""

import pytest
from world import ONE, RESULT, World, reverts

from deai import signing
from deai.job import Address, Job, JobState, Outcome, Terms, Timestamp


def approval(world: World, job: Job, provider: Address, result: bytes = RESULT) -> bytes:
    return signing.sign_approval(world.people[job.submitter], world.id(job), provider, result, world.domain)


def close(world: World, job: Job, terms: Terms, signature: bytes, at: int | None = None) -> dict[str, object]:
    args = (world.key(job), terms, RESULT, signature)
    return world.send(terms.provider, "deliverAndClose", *args, at=at).only("JobClosed")


def test_an_approved_result_is_delivered_and_paid_at_once(world: World) -> None:
    job, terms = world.awarded()
    held = world.held()
    signature = approval(world, job, world.provider)
    sent = world.send(world.provider, "deliverAndClose", world.key(job), terms, RESULT, signature)
    assert [log.name for log in sent.logs] == ["JobDelivered", "JobClosed"]
    assert sent.only("JobDelivered") == {"id": world.key(job), "result": RESULT, "windowEnd": sent.time}
    assert sent.only("JobClosed") == {
        "id": world.key(job),
        "outcome": Outcome.PAID,
        "payout": (0, 15 * ONE - terms.fee, terms.fee, 0, 0),
    }
    assert world.ending(job) == (JobState.CLOSED, Outcome.PAID)
    assert world.balance(world.submitter) == 990 * ONE
    assert world.balance(world.provider) == 1010 * ONE - terms.fee
    assert world.balance(world.matcher) == terms.fee
    assert world.held() == held


def test_the_digest_on_chain_is_the_one_that_the_client_signs(world: World) -> None:
    job = world.job()
    expected = signing.approval_digest(world.id(job), world.provider, RESULT, world.domain)
    assert world.view("approvalDigest", world.key(job), world.provider, RESULT) == expected


@pytest.mark.parametrize("altered", ["job", "provider", "result", "signer", "empty"])
def test_an_approval_of_anything_else_reverts(world: World, altered: str) -> None:
    job, terms = world.awarded()
    other, _ = world.awarded()
    signature = {
        "job": approval(world, other, world.provider),
        "provider": approval(world, job, world.rival),
        "result": approval(world, job, world.provider, b"\x08" * 32),
        "signer": signing.sign_approval(
            world.people[world.rival], world.id(job), world.provider, RESULT, world.domain
        ),
        "empty": b"",
    }[altered]
    digest = signing.approval_digest(world.id(job), world.provider, RESULT, world.domain)
    with reverts("WrongSignature", world.submitter, digest):
        close(world, job, terms, signature)
    assert world.state(job) is JobState.AWARDED


def test_a_signed_job_is_no_approval(world: World) -> None:
    job, terms = world.awarded()
    digest = signing.approval_digest(world.id(job), world.provider, RESULT, world.domain)
    with reverts("WrongSignature", world.submitter, digest):
        close(world, job, terms, world.signed(job))


def test_another_provider_cannot_use_the_approval(world: World) -> None:
    job, terms = world.awarded()
    signature = approval(world, job, world.provider)
    for who in (world.rival, world.submitter):
        with reverts("WrongCaller", who, world.provider):
            world.send(who, "deliverAndClose", world.key(job), terms, RESULT, signature)


def test_an_empty_result_reverts(world: World) -> None:
    job, terms = world.awarded()
    signature = approval(world, job, world.provider, bytes(32))
    with reverts("Malformed", "result"):
        world.send(world.provider, "deliverAndClose", world.key(job), terms, bytes(32), signature)


@pytest.mark.parametrize(("late", "fits"), [(-1, True), (0, False), (1, False)])
def test_an_approved_result_too_must_come_in_time(world: World, late: int, fits: bool) -> None:
    job, terms = world.awarded()
    signature = approval(world, job, world.provider)
    if fits:
        assert close(world, job, terms, signature, at=terms.deliver_by + late)["outcome"] == Outcome.PAID
    else:
        with reverts("DeliverByMissed", world.key(job), terms.deliver_by):
            close(world, job, terms, signature, at=terms.deliver_by + late)


def test_altered_terms_revert(world: World) -> None:
    job, terms = world.awarded()
    altered = terms.delivered(RESULT, Timestamp(terms.deliver_by + 1))
    with reverts("WrongTerms", world.key(job)):
        close(world, job, altered, approval(world, job, world.provider))


def test_a_delivered_job_is_not_closed_by_an_approval_again(world: World) -> None:
    job, terms = world.delivered()
    with reverts("WrongState", world.key(job), JobState.DELIVERED):
        close(world, job, terms, approval(world, job, world.provider))
