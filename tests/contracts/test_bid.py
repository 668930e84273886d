"""bid: a price on chain, without a signature."""

from dataclasses import replace

import pytest
from world import World, reverts

from deai.job import MAX_BID_SECONDS, JobState, Timestamp, Wei


def test_a_bid_placed_on_chain_stands_and_locks_nothing(world: World) -> None:
    job = world.job()
    bid = world.bid(job)
    balance = world.balance(world.provider)
    assert not world.view("isPlaced", bid)
    placed = world.send(world.provider, "bid", bid).only("BidPlaced")
    assert placed["id"] == world.key(job)
    assert placed["bid"] == (world.key(job), world.provider, bid.price, bid.expires_at)
    assert world.view("isPlaced", bid)
    assert world.balance(world.provider) == balance


def test_a_placed_bid_stands_for_its_own_values_only(world: World) -> None:
    bid = world.bid(world.job())
    world.send(world.provider, "bid", bid)
    assert not world.view("isPlaced", world.bid(world.job()))
    assert not world.view("isPlaced", replace(bid, price=Wei(bid.price + 1)))


def test_a_bid_may_be_placed_for_a_posted_job(world: World) -> None:
    job = world.job()
    world.send(world.submitter, "post", job)
    bid = world.bid(job)
    world.send(world.provider, "bid", bid)
    assert world.view("isPlaced", bid)


def test_only_the_provider_places_its_bid(world: World) -> None:
    with reverts("WrongCaller", world.stranger, world.provider):
        world.send(world.stranger, "bid", world.bid(world.job()))


def test_a_bid_for_an_awarded_job_reverts(world: World) -> None:
    job, _ = world.awarded()
    with reverts("WrongState", world.key(job), JobState.AWARDED):
        world.send(world.provider, "bid", world.bid(job))


@pytest.mark.parametrize("late", [0, 1])
def test_an_expired_bid_reverts(world: World, late: int) -> None:
    bid = world.bid(world.job())
    with reverts("BidExpired", bytes.fromhex(bid.job[2:]), bid.expires_at):
        world.send(world.provider, "bid", bid, at=bid.expires_at + late)


def test_a_bid_in_its_last_second_is_placed(world: World) -> None:
    bid = world.bid(world.job())
    world.send(world.provider, "bid", bid, at=bid.expires_at - 1)
    assert world.view("isPlaced", bid)


@pytest.mark.parametrize(("seconds", "fits"), [(-1, True), (0, True), (1, False)])
def test_a_bid_lives_no_longer_than_bids_may(world: World, seconds: int, fits: bool) -> None:
    at = world.now + 10
    bid = world.bid(world.job(), expires_at=Timestamp(at + MAX_BID_SECONDS + seconds))
    if fits:
        world.send(world.provider, "bid", bid, at=at)
        assert world.view("isPlaced", bid)
    else:
        with reverts("BidTooLong", bytes.fromhex(bid.job[2:]), bid.expires_at):
            world.send(world.provider, "bid", bid, at=at)


def test_the_longest_life_of_a_bid_is_the_clients_constant(world: World) -> None:
    assert world.view("MAX_BID_SECONDS") == MAX_BID_SECONDS
