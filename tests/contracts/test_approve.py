"""approve: the submitter pays before the window is over."""

from dataclasses import replace

from world import ONE, World, reverts

from deai.job import JobState, Outcome


def test_approval_pays_at_once(world: World) -> None:
    job, terms = world.delivered()
    sent = world.send(world.submitter, "approve", world.key(job), terms)
    assert sent.only("JobClosed")["outcome"] == Outcome.PAID
    assert world.ending(job) == (JobState.CLOSED, Outcome.PAID)
    assert world.balance(world.provider) == 1010 * ONE - terms.fee
    assert world.balance(world.matcher) == terms.fee
    assert world.balance(world.submitter) == 990 * ONE


def test_only_the_submitter_approves(world: World) -> None:
    job, terms = world.delivered()
    for who in (world.provider, world.matcher, world.stranger):
        with reverts("WrongCaller", who, world.submitter):
            world.send(who, "approve", world.key(job), terms)


def test_approval_binds_the_result(world: World) -> None:
    job, terms = world.delivered()
    with reverts("WrongTerms", world.key(job)):
        world.send(world.submitter, "approve", world.key(job), replace(terms, result=b"\x09" * 32))


def test_nothing_is_approved_before_the_delivery(world: World) -> None:
    job, terms = world.awarded()
    with reverts("WrongState", world.key(job), JobState.AWARDED):
        world.send(world.submitter, "approve", world.key(job), terms)


def test_approval_after_the_window_still_pays(world: World) -> None:
    job, terms = world.delivered()
    world.send(world.submitter, "approve", world.key(job), terms, at=terms.window_end + 5)
    assert world.ending(job) == (JobState.CLOSED, Outcome.PAID)
