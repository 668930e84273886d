"""cancel: ends a job that was not awarded, its signature included."""

from world import World, reverts

from deai.job import JobState, Outcome


def test_cancelling_a_signed_job_kills_its_signature(world: World) -> None:
    job = world.job()
    sent = world.send(world.submitter, "cancel", job)
    assert sent.only("JobCancelled") == {"id": world.key(job), "submitter": world.submitter}
    assert world.ending(job) == (JobState.CLOSED, Outcome.CANCELLED)
    with reverts("WrongState", world.key(job), JobState.CLOSED):
        world.award(job, world.bid(job))


def test_cancelling_a_posted_job_closes_it(world: World) -> None:
    job = world.job()
    world.send(world.submitter, "post", job)
    world.send(world.submitter, "cancel", job)
    assert world.ending(job) == (JobState.CLOSED, Outcome.CANCELLED)


def test_a_job_past_award_by_can_be_cancelled(world: World) -> None:
    job = world.job()
    world.send(world.submitter, "cancel", job, at=job.award_by + 1)
    assert world.state(job) is JobState.CLOSED


def test_only_the_submitter_cancels(world: World) -> None:
    with reverts("WrongCaller", world.matcher, world.submitter):
        world.send(world.matcher, "cancel", world.job())


def test_an_awarded_job_cannot_be_cancelled(world: World) -> None:
    job, _ = world.awarded()
    with reverts("WrongState", world.key(job), JobState.AWARDED):
        world.send(world.submitter, "cancel", job)
