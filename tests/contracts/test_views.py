"""Views of the escrow that no verb's own test reads."""

from dataclasses import replace

from world import World

from deai.job import Wei


def test_a_job_is_committed_to_its_terms_of_now_from_award_to_end_and_to_no_others(world: World) -> None:
    job = world.judged()
    key = world.key(job)
    awarded = world.award(job, world.bid(job))
    delivered = world.deliver(job, awarded)
    disputed = world.dispute(job, delivered)
    assert world.view("isCommitted", key, disputed)
    assert not world.view("isCommitted", key, delivered)
    assert not world.view("isCommitted", key, replace(disputed, price=Wei(disputed.price + 1)))
    world.send(world.arbiter, "rule", key, disputed, 0)
    assert not world.view("isCommitted", key, disputed)
