"""Jobs and bids that are on chain and never came to the market: it finds them, and awards them."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import delete

from deai import car
from deai.cid import Cid, Codec
from deai.errors import BadSignature
from deai.job import Address, Job, JobId, JobState, Timestamp, Wei
from deai.signing import job_id
from deai.store import Block
from deai.wire import BidJson, JobJson, Order, SignedBid
from deai_market import matcher, postings, queries, tables
from deai_market.errors import NotFound
from deai_market.market import Market
from deai_market.matching import Matching, Suggestion
from deai_market.settings import Rules
from tests.market_world import COIN, NOW, World, account, spec


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def market(world: World) -> Iterator[Market]:
    """Not started: the test makes its rounds."""
    market = world.market()
    yield market
    market.close()


def post(world: World, **fields: Any) -> tuple[JobId, Job]:
    job = world.job(**fields)
    world.chain.post(world.submitter, job)
    return job_id(job, world.domain), job


def keep_spec(world: World, **fields: Any) -> None:
    """In the market's own store."""
    data = spec(**fields).canonical()
    world.store.put([Block(Cid.of(data, Codec.RAW), data)])


def unsigned(world: World, job: Job) -> Order:
    return Order(job=JobJson.of(job), signature=b"", spec=spec().canonical().decode())


def look(market: Market) -> Matching:
    """What the market's threads do in a round."""
    market.indexer.catch_up()
    market.postings.round()
    return market._matcher.round()


def send(market: Market) -> None:
    """Sends the awards that are due."""
    market.awards._send(market.awards._take(), threading.Event())


def due_again(market: Market) -> None:
    """As if the time to look at them again had come."""
    for posting in market.postings._postings.values():
        posting.next_at = (
            min(posting.next_at, time.monotonic()) if posting.next_at != float("inf") else posting.next_at
        )


def test_a_job_posted_on_chain_is_matched_and_awarded_without_any_request(
    world: World, market: Market
) -> None:
    keep_spec(world)
    job, _ = post(world)
    market.book.offer(world.ask())
    assert [each.job for each in look(market).matches] == [job]
    (match,) = market.matches(Address(world.provider.address), 0).matches
    assert (match.id, match.signature) == (job, b"")
    number = market.book.bid(world.bid(job))
    assert number is not None
    market.awards.send(number)
    send(market)
    market.indexer.catch_up()
    view = market.job(job)
    assert (view.state, view.name) == ("Awarded", "small")
    assert [line.event for line in view.history] == ["JobPosted", "JobAwarded"]


def test_a_posted_job_whose_spec_is_nowhere_says_so_until_it_is_handed_in(
    world: World, market: Market
) -> None:
    job, _ = post(world)
    market.book.offer(world.ask())
    assert look(market).matches == ()
    assert market.job(job).note == (
        f"posted on chain, but this market does not have its spec {spec().cid()}; hand it in"
    )
    (view,) = market.jobs(None, "Open", 9)
    assert (view.id, "hand it in" in view.note) == (job, True)

    data = spec().canonical()
    archive = car.write([], [Block(Cid.of(data, Codec.RAW), data)])
    market.uploads.take(Address(world.other.address), archive)
    # At once, although it was looked at a moment ago.
    assert [each.job for each in look(market).matches] == [job]
    # It stays known, whatever becomes of the upload.
    assert world.store.has(spec().cid())


def test_a_post_that_a_reorg_undid_is_taken_out_and_comes_back_with_it(world: World, market: Market) -> None:
    keep_spec(world)
    market.book.offer(world.ask())
    job, posted = post(world)
    assert look(market).matches
    world.chain.reorg(1)
    assert look(market).matches == ()
    assert market.matches(Address(world.provider.address), 0).matches == ()
    assert market.jobs(None, None, 9) == []
    with pytest.raises(NotFound):
        market.job(job)
    world.chain.post(world.submitter, posted)
    look(market)
    assert market.matches(Address(world.provider.address), 0).matches[0].id == job


def test_an_award_of_a_job_whose_post_is_gone_is_given_up(world: World, market: Market) -> None:
    keep_spec(world)
    market.book.offer(world.ask())
    job, _ = post(world)
    look(market)
    number = market.book.bid(world.bid(job))
    assert number is not None
    world.chain.reorg(1)
    market.awards.send(number)
    send(market)
    assert world.chain.state(job)[0] == JobState.UNKNOWN
    with market._database.read() as session:
        match = session.get(tables.MatchRow, number)
        assert match is not None
        assert match.reason == "the job is neither signed nor posted on chain any more"


def test_rows_made_from_the_chain_come_back_when_they_were_dropped(world: World) -> None:
    keep_spec(world)
    market = world.market()
    market.book.offer(world.ask())
    posted, _ = post(world)
    other = market.book.submit(world.order(submitter=world.other.address, signer=world.other))
    look(market)
    world.chain.cancel_all(world.other, world.deployment.token("DAI").address)
    look(market)
    before = (market.job(posted), market.job(other))
    with market._database.write() as session:
        rows = (tables.BlockRow, tables.EventRow, tables.ChainJobRow, tables.CancellationRow)
        for row in rows:
            session.exec(delete(row))
        session.exec(delete(tables.OrderRow).where(tables.OrderRow.id == posted))  # type: ignore[arg-type]
    market.close()

    market = world.market()
    look(market)
    after = (market.job(posted), market.job(other))
    market.close()
    assert after == before
    assert "ended all its jobs" in after[1].note


def test_a_posted_job_that_breaks_a_rule_stays_out_with_the_rule_named(world: World, market: Market) -> None:
    keep_spec(world)
    stranger = account(77).address
    job, _ = post(world, **world.judged(arbiter=Address(stranger)))
    assert look(market).reasons == {}
    note = market.job(job).note
    assert note.startswith("this market does not take it: job.arbiter")
    assert f"known: the panel {world.arbiter.address}" in note


def test_a_posted_job_waits_for_the_balance_that_covers_it(world: World, market: Market) -> None:
    keep_spec(world)
    job, _ = post(world, price_cap=Wei(101 * COIN))
    look(market)
    assert market.job(job).note.startswith("this market does not take it now: InsufficientBalance")
    world.chain.deposit(world.submitter, world.deployment.tokens[0].address, Wei(COIN))
    look(market)
    assert "not take it now" in market.job(job).note  # looked at a moment ago
    due_again(market)
    assert job in look(market).reasons


def counted(world: World, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The market's questions to the node about single accounts and jobs, from here on."""
    questions = list[tuple[str, ...]]()

    def count(name: str, answer: Callable[..., Any]) -> Callable[..., Any]:
        def ask(*about: str) -> Any:
            questions.append((name, *about))
            return answer(*about)

        return ask

    for name in ("balance", "epoch", "state"):
        monkeypatch.setattr(world.chain, name, count(name, getattr(world.chain, name)))
    return questions


def test_posts_without_a_balance_cost_two_questions_a_purse_and_look(
    world: World, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_spec(world)
    jobs = [post(world, price_cap=Wei(101 * COIN))[0] for _ in range(20)]
    market.indexer.catch_up()
    questions = counted(world, monkeypatch)
    market.postings.round()
    due_again(market)
    market.postings.round()
    assert len(questions) == 2 * 2
    assert all("InsufficientBalance" in (market.postings.note(job) or "") for job in jobs)


def test_of_posts_that_share_a_balance_those_get_in_that_it_covers(
    world: World, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_spec(world)
    first, second, third = (post(world, price_cap=Wei(40 * COIN))[0] for _ in range(3))
    market.indexer.catch_up()
    questions = counted(world, monkeypatch)
    market.postings.round()
    waiting = [job for job in (first, second, third) if market.postings.note(job)]
    assert len(waiting) == 1
    assert "InsufficientBalance" in (market.postings.note(waiting[0]) or "")
    assert ("state", waiting[0]) not in questions


def test_a_post_of_an_epoch_that_ended_is_not_taken(world: World, market: Market) -> None:
    keep_spec(world)
    job, posted = post(world)
    world.chain.cancel_all(world.submitter, posted.token)
    look(market)
    assert "WrongEpoch" in (market.postings.note(job) or "")


def test_only_so_many_purses_are_asked_for_in_a_round_and_all_have_their_turn(
    world: World, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postings, "_PURSES", 2)
    keep_spec(world)
    for number in range(70, 75):
        poster = account(number)
        world.chain.post(poster, world.job(submitter=Address(poster.address)))
    market.indexer.catch_up()
    questions = counted(world, monkeypatch)
    market.postings.round()
    assert len(questions) == 2 * 2
    market.postings.round()
    market.postings.round()
    assert len(set(questions)) == len(questions) == 5 * 2


def test_of_one_submitter_only_so_many_waiting_posts_are_looked_at(world: World) -> None:
    market = world.market(Rules(open_jobs=2))
    jobs = set[JobId]()
    for _ in range(3):
        jobs.add(post(world)[0])
        world.chain.advance(1)
    look(market)
    beyond = [job for job in jobs if "is the limit" in market.job(job).note]
    assert len(beyond) == 1
    assert len(market.postings._postings) == 2
    keep_spec(world)
    market.postings.arrived([spec().cid().digest])
    look(market)
    look(market)
    assert "2 open orders already, which is the limit" in market.job(beyond[0]).note
    market.close()


def test_a_posted_job_past_its_award_is_not_looked_for(world: World, market: Market) -> None:
    keep_spec(world)
    job, _ = post(world, award_by=Timestamp(NOW + 700))
    world.chain.advance(700)
    look(market)
    assert market.postings.note(job) is None
    assert market.job(job).note == "nobody was found before its award_by; sign a new job"


def test_an_order_without_a_signature_is_taken_while_its_job_is_posted(world: World, market: Market) -> None:
    job = world.job()
    order = unsigned(world, job)
    with pytest.raises(BadSignature, match="neither signed nor posted"):
        market.submit(order, None)
    world.chain.post(world.submitter, job)
    assert market.job(market.submit(order, None)).state == "Open"
    world.chain.cancel(world.submitter, job)
    market.indexer.catch_up()
    assert market.job(world.id(order)).state == "Cancelled"


def test_a_signature_that_comes_later_outlives_the_post(world: World, market: Market) -> None:
    keep_spec(world)
    order = world.order()
    world.chain.post(world.submitter, order.job.value())
    look(market)
    market.submit(order, None)
    world.chain.reorg(1)
    look(market)
    assert market.job(world.id(order)).state == "Signed"


# Bids on chain.


def placed(world: World, job: JobId, price: int = COIN // 4, ahead: int = 100) -> None:
    bid = world.bid(job, world.other, price=Wei(price), expires_at=Timestamp(world.chain.now + ahead))
    world.chain.bid(world.other, bid.bid.value())


def test_a_bid_on_chain_is_awarded_without_an_ask(world: World, market: Market) -> None:
    keep_spec(world)
    job, _ = post(world)
    placed(world, job)
    look(market)
    send(market)
    assert world.chain.state(job)[0] == JobState.AWARDED
    market.indexer.catch_up()
    assert market.job(job).provider == Address(world.other.address)


def test_of_asks_and_bids_on_chain_the_cheaper_gets_the_job(world: World, market: Market) -> None:
    market.book.offer(world.ask())
    dear, cheap = market.book.submit(world.order()), market.book.submit(world.order())
    placed(world, dear, COIN // 2 + 1)
    placed(world, cheap, COIN // 2)
    matches = {each.job: each.provider for each in look(market).matches}
    assert matches == {dear: Address(world.provider.address), cheap: Address(world.other.address)}


def test_many_bids_of_a_provider_on_chain_cost_one_question_in_seconds(
    world: World, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = market.book.submit(world.order(bond=Wei(101 * COIN)))
    for price in range(1, 30):
        placed(world, job, price)
    market.indexer.catch_up()
    questions = counted(world, monkeypatch)
    token, other = world.deployment.token("DAI").address, Address(world.other.address)
    for _ in range(3):
        market._matcher.round()
    assert questions.count(("balance", token, other)) == 1


def test_a_submitters_balance_is_asked_once_a_block_and_counts_from_the_next_round_on(
    world: World, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = market.book.submit(world.order())
    token, submitter = world.deployment.token("DAI").address, Address(world.submitter.address)
    questions = counted(world, monkeypatch)
    asked = ("balance", token, submitter)
    for _ in range(3):
        market._matcher.round()
    assert questions.count(asked) == 1
    had = world.chain.balance(token, submitter)
    world.chain.withdraw(world.submitter, token, submitter, had)
    questions.clear()
    look(market)
    assert questions.count(asked) == 1
    assert "the submitter has 0 DAI free" in (market.job(job).note or "")
    world.chain.deposit(world.submitter, token, had)
    market.book.offer(world.ask())
    assert [each.job for each in look(market).matches] == [job]


def test_of_a_provider_with_several_bids_on_chain_the_cheapest_is_taken(world: World, market: Market) -> None:
    job = market.book.submit(world.order())
    for price in (COIN // 2, COIN // 8, COIN // 4):
        placed(world, job, price)
    placed(world, job, COIN // 16, ahead=1)
    world.chain.advance(1)
    assert [each.price for each in look(market).matches] == [COIN // 8]


def test_bidders_on_chain_have_their_turns_and_none_is_crowded_out(
    world: World, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matcher, "_STRANGERS", 2)
    # A round's answers are too old for the next one, as if there were bidders for all the seconds that they last.
    monkeypatch.setattr(matcher, "_DEPOSIT_SECONDS", 1e-9)
    job = market.book.submit(world.order(bond=COIN))
    for number in range(70, 75):
        broke = account(number)
        bid = world.bid(job, broke, price=Wei(1), expires_at=Timestamp(world.chain.now + 100))
        world.chain.bid(broke, bid.bid.value())
    placed(world, job)
    questions = counted(world, monkeypatch)
    matches = list[Suggestion]()
    for number in range(1, 4):
        matches += look(market).matches
        bidders = {about for name, *_, about in questions if name == "balance"} - {world.submitter.address}
        assert len(bidders) <= 2 * number
    assert [each.provider for each in matches] == [Address(world.other.address)]


@pytest.mark.parametrize("wrong", ["expired", "above the ramp", "no bond", "its own"])
def test_a_bid_on_chain_that_cannot_be_awarded_is_passed_over(
    world: World, market: Market, wrong: str
) -> None:
    bond = Wei(101 * COIN if wrong == "no bond" else COIN)
    job = market.book.submit(world.order(bond=bond))
    if wrong == "its own":
        own = world.bid(job, world.submitter)
        world.chain.bid(world.submitter, own.bid.value())
    else:
        placed(world, job, COIN + 1 if wrong == "above the ramp" else COIN // 4)
    if wrong == "expired":
        world.chain.advance(100)
    assert look(market).matches == ()
    assert market.awards._take() == []


def test_a_matched_provider_may_place_its_bid_on_chain_instead(world: World, market: Market) -> None:
    market.book.offer(world.ask(world.other))
    job = market.book.submit(world.order())
    look(market)
    assert market.matches(Address(world.other.address), 0).matches
    placed(world, job)
    look(market)
    send(market)
    assert world.chain.state(job)[0] == JobState.AWARDED


def test_a_bid_without_a_signature_that_is_not_on_chain_is_refused(world: World, market: Market) -> None:
    market.book.offer(world.ask())
    job = market.book.submit(world.order())
    look(market)
    bid = world.bid(job).bid
    with pytest.raises(BadSignature, match="neither signed nor placed"):
        market.book.bid(SignedBid(bid=BidJson.of(bid.value()), signature=b""))
    world.chain.bid(world.provider, bid.value())
    market.indexer.catch_up()
    assert market.book.bid(SignedBid(bid=bid, signature=b"")) is not None


def test_a_refused_award_of_a_bid_on_chain_is_not_sent_again_at_once(world: World, market: Market) -> None:
    job = market.book.submit(world.order())
    placed(world, job)
    look(market)
    world.chain.withdraw(
        world.submitter, world.deployment.tokens[0].address, Address(world.submitter.address), Wei(100 * COIN)
    )
    send(market)
    with market._database.read() as session:
        assert queries.live_match(session, job) is None
    assert look(market).matches == ()
