"""What the market shows of a job: of its state, what the chain says and nothing else."""

from pathlib import Path

import pytest

from deai.job import Address, JobState, Outcome
from deai_market import queries, views
from deai_market.market import Market
from deai_market.tables import ChainJobRow, MatchRow, MatchStep
from tests.market_world import NOW, World


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def indexed(market: Market) -> Market:
    market.indexer.catch_up()
    return market


def test_a_job_that_the_chain_does_not_know_is_signed_whatever_happened_around_it(world: World) -> None:
    market, order = world.market(), world.order()
    job = market.book.submit(order)
    assert indexed(market).job(job).state == "Signed"
    # A bid that anybody may place on chain for it moves nothing.
    world.chain.bid(world.other, world.bid(job, world.other).bid.value())
    view = indexed(market).job(job)
    assert (view.state, [line.event for line in view.history]) == ("Signed", ["Signed", "BidPlaced"])
    # Nor does an award that is undone.
    world.award(order)
    assert indexed(market).job(job).state == "Awarded"
    world.chain.reorg(1)
    view = indexed(market).job(job)
    assert (view.state, view.provider, view.price, view.result_cid) == ("Signed", None, None, None)
    assert [each.state for each in market.jobs(None, "Signed", 9)] == ["Signed"]
    market.close()


@pytest.mark.parametrize("step", [None, MatchStep.WAITING, MatchStep.BID, MatchStep.SENT])
def test_a_row_without_a_state_is_shown_as_signed_and_not_as_closed(
    world: World, step: MatchStep | None
) -> None:
    job, submitter = world.id(world.order()), Address(world.submitter.address)
    row = ChainJobRow(
        id=job,
        submitter=submitter,
        state=JobState.UNKNOWN,
        outcome=Outcome.NONE,
        since=NOW,
        provider=world.other.address,
        price="1",
        result=bytes(32),
    )
    match = step and MatchRow(
        number=1, job=job, provider=world.other.address, price="1", step=step, made_at=NOW, until=NOW
    )
    known = queries.Known(job, submitter, None, row)
    note = views.note(known, match or None, None, 0, NOW)
    view = views.job_view(known, note)
    assert (view.state, view.provider, view.price, view.result_cid) == ("Signed", None, None, None)
    assert view.note != "closed"
