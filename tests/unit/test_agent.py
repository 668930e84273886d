"""The agent carries jobs from match to pay, whatever fails on the way."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deai import unixfs
from deai.chain import JobAwarded, JobDelivered
from deai.errors import ChainUnavailable
from deai.job import Address, Bid, JobId, JobState, Outcome, Timestamp, Wei
from deai.signing import sign_bid
from deai.testing import DAI
from deai.wire import JobJson, Match
from deai_provider import policy
from deai_provider.executor import Run
from deai_provider.ledger import Step
from deai_provider.testing import Script
from tests.unit.provider_world import BOND, DEPOSIT, MATCHER, POLL, PROVIDER, RIVAL, SUBMITTER, World

WHOLE_WAY = [
    Step.MATCHED, Step.STAGING, Step.STAGED, Step.BIDDING, Step.AWARDED, Step.RUNNING,
    Step.COLLECTED, Step.PUBLISHED, Step.DELIVERING, Step.DELIVERED, Step.DONE,
]  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def approve(world: World, id_: JobId) -> None:
    [award] = world.events(id_, JobAwarded)
    delivery = world.events(id_, JobDelivered)[-1]
    terms = award.terms.delivered(delivery.result, delivery.window_end)
    world.chain.approve(SUBMITTER, delivery.id, terms)


def hang(_: Run) -> Script:
    return Script(seconds=None, log=b"working\n")


def test_a_job_is_run_delivered_and_paid_by_approval(world: World) -> None:
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.DELIVERED)
        record, result = world.result(id_)
        approve(world, id_)
        done = world.reach(id_, Step.DONE)
        assert done.earned == 100
        world.until(lambda: world.clean(id_))
    assert record.succeeded
    assert (result / "weights" / "out.txt").read_bytes() == b"42"
    assert (result / "log.txt").read_bytes() == b"hello\n"
    assert world.chain.balance(DAI.address, Address(PROVIDER.address)) == DEPOSIT + 100
    assert world.steps(id_) == WHOLE_WAY
    assert world.market.seen[id_] == ["Staging", "Running", "Uploading"]
    assert world.market.logs[id_] == b"hello\n"
    assert id_ in world.market.ended


def test_a_result_nobody_approves_is_settled_by_the_agent_once_the_window_is_over(world: World) -> None:
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.DELIVERED)
        world.chain.advance(61)
        world.reach(id_, Step.DONE)
    assert world.chain.state(id_) == (JobState.CLOSED, Outcome.PAID)


def test_a_job_without_a_window_is_done_with_its_delivery(world: World) -> None:
    with world.agent():
        id_ = world.submit(challenge_seconds=0)
        assert world.reach(id_, Step.DONE).earned == 100


def test_a_script_that_fails_is_delivered_as_such(world: World) -> None:
    world.script = lambda _: Script(exit_code=3, oom_killed=True, log=b"Traceback\n")
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.DELIVERED)
    record, result = world.result(id_)
    assert (record.exit_code, record.oom_killed, record.succeeded) == (3, True, False)
    assert (result / "log.txt").read_bytes() == b"Traceback\n"


def test_a_run_beyond_its_time_is_stopped_and_delivered_as_timed_out(world: World) -> None:
    world.script = hang
    with world.agent():
        id_ = world.submit(world.spec(max_seconds=1))
        world.reach(id_, Step.DELIVERED)
    record, _ = world.result(id_)
    assert record.timed_out
    assert not record.succeeded


def test_an_output_that_would_replace_the_exit_record_is_refused_and_named(world: World) -> None:
    world.script = lambda _: Script(exit_code=1, outputs={"exit.json": b"{}", "good.txt": b"1"})
    with world.agent():
        id_ = world.submit(world.spec(output_path="/"))
        world.reach(id_, Step.DELIVERED)
    record, result = world.result(id_)
    assert record.exit_code == 1
    assert [refused.name for refused in record.refused] == ["exit.json"]
    assert (result / "good.txt").read_bytes() == b"1"


def test_the_same_run_gives_the_same_result_cid(world: World) -> None:
    with world.agent():
        first, second = world.submit(), world.submit()
        results = {world.reach(id_, Step.DELIVERED).result for id_ in (first, second)}
    assert len(results) == 1


@pytest.mark.parametrize(
    "fields", [{"bond": Wei(BOND + 1)}, {"deliver_seconds": 359}, {"arbiter": Address(RIVAL.address)}]
)
def test_a_job_against_the_rules_is_declined_and_nothing_is_staged(
    world: World, fields: dict[str, Any]
) -> None:
    with world.agent():
        id_ = world.submit(**fields)
        world.reach(id_, Step.DECLINED)
    assert not [call for call in world.executor.calls if call[0] == "stage"]
    assert world.market.bids == []


def test_an_order_beyond_its_submitters_balance_stages_nothing(world: World) -> None:
    world.rules = replace(world.rules, slots=4)
    world.chain.withdraw(SUBMITTER, DAI.address, Address(SUBMITTER.address), Wei(DEPOSIT - 250))
    world.market.awards = False
    with world.agent():
        ids = [world.submit() for _ in range(3)]
        ends = sorted(world.reach(id_, Step.BIDDING, Step.DECLINED).step for id_ in ids)
    assert ends == [Step.BIDDING, Step.BIDDING, Step.DECLINED]


def test_content_that_nobody_has_fails_before_the_bid(world: World) -> None:
    missing = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
    with world.agent():
        id_ = world.submit(world.spec(inputs={"script": missing}))
        entry = world.reach(id_, Step.FAILED)
        world.until(lambda: world.clean(id_))
    assert missing in entry.reason
    assert world.market.bids == []


def test_inputs_larger_than_the_cap_fail_before_the_bid(world: World) -> None:
    halves = {name: str(unixfs.add_bytes(name.encode() * 600_000, world.store)) for name in ("a", "b")}
    with world.agent():
        id_ = world.submit(world.spec(inputs=halves))
        world.reach(id_, Step.FAILED)
    assert world.market.bids == []


def test_a_match_whose_job_is_another_than_its_id_is_ignored(world: World) -> None:
    id_, _, _ = world.job()
    _, other, signature = world.job()
    world.market.offer(Match(id=id_, job=JobJson.of(other), signature=signature))
    with world.agent():
        good = world.submit()
        world.reach(good, Step.DELIVERED)
    assert world.entry(id_) is None


def test_a_match_that_the_submitter_did_not_sign_is_ignored(world: World) -> None:
    id_, job, _ = world.job()
    world.market.offer(Match(id=id_, job=JobJson.of(job), signature=world.job()[2]))
    with world.agent():
        good = world.submit()
        world.reach(good, Step.DELIVERED)
    assert world.entry(id_) is None


def test_a_bid_that_nobody_awards_is_lost_and_leaves_nothing(world: World) -> None:
    world.market.awards = False
    with world.agent():
        id_ = world.submit(open_at=Timestamp(world.chain.now + 400))
        world.reach(id_, Step.BIDDING)
        world.chain.advance(policy.BID_SECONDS + policy.GRACE_SECONDS)
        assert "expired" in world.reach(id_, Step.LOST).reason
        world.until(lambda: world.clean(id_))


def test_a_job_awarded_to_another_is_lost(world: World) -> None:
    world.market.awards = False
    with world.agent():
        id_, job, signature = world.job()
        world.market.offer(Match(id=id_, job=JobJson.of(job), signature=signature))
        world.reach(id_, Step.BIDDING)
        bid = Bid(
            job=id_, provider=Address(RIVAL.address), price=Wei(1), expires_at=Timestamp(world.chain.now + 60)
        )
        world.chain.award(MATCHER, job, signature, bid, sign_bid(RIVAL, bid, world.chain.deployment().domain))
        assert RIVAL.address in world.reach(id_, Step.LOST).reason
    assert world.starts(id_) == 0


def test_a_cancelled_job_is_lost(world: World) -> None:
    world.market.awards = False
    with world.agent():
        id_, job, signature = world.job()
        world.market.offer(Match(id=id_, job=JobJson.of(job), signature=signature))
        world.reach(id_, Step.BIDDING)
        world.chain.cancel(SUBMITTER, job)
        assert "cancelled" in world.reach(id_, Step.LOST).reason


def test_when_the_market_keeps_silent_the_agent_sends_the_award_itself(world: World) -> None:
    world.market.awards = False
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.BIDDING)
        world.market.down = True
        world.chain.advance(60 + policy.PATIENCE_SECONDS)
        world.reach(id_, Step.DELIVERED)
    [award] = world.events(id_, JobAwarded)
    assert award.terms.provider == PROVIDER.address
    assert award.terms.fee == 0


def test_an_award_that_a_lagging_node_hid_until_the_bid_was_given_up_is_still_served(world: World) -> None:
    state, lagging = world.chain.state, True

    def lag(id_: JobId) -> tuple[JobState, Outcome]:
        return (JobState.UNKNOWN, Outcome.NONE) if lagging else state(id_)

    world.chain.state = lag  # type: ignore[method-assign, assignment]
    with world.agent():
        id_ = world.submit()
        world.until(lambda: bool(world.events(id_, JobAwarded)))
        world.chain.advance(policy.BID_SECONDS + policy.GRACE_SECONDS)
        world.reach(id_, Step.LOST)
        world.until(lambda: world.clean(id_))
        lagging = False
        world.reach(id_, Step.DELIVERED)
    assert world.result(id_)[0].succeeded


def test_the_market_dying_after_the_award_does_not_touch_the_delivery(world: World) -> None:
    world.script = hang
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.RUNNING)
        world.market.down = True
        world.executor.finish(id_)
        world.reach(id_, Step.DELIVERED)
    assert world.result(id_)[0].exit_code == 0


def test_logs_that_a_market_missed_are_sent_again(world: World) -> None:
    world.market.deaf = 2
    with world.agent():
        id_ = world.submit()
        world.until(lambda: id_ in world.market.ended)
    assert world.market.deaf == 0
    assert world.market.logs[id_] == b"hello\n"


def test_a_run_goes_on_without_its_agent_and_the_next_one_takes_it_up(world: World) -> None:
    world.script = hang
    with world.agent():
        id_ = world.submit()
        world.until(lambda: world.starts(id_) == 1)
    assert world.executor.adopt() == [id_]
    world.executor.finish(id_)
    with world.agent():
        world.reach(id_, Step.DELIVERED)
    assert len(world.events(id_, JobDelivered)) == 1
    assert world.steps(id_).count(Step.RUNNING) == 1


def test_an_agent_stopped_while_it_waits_for_the_award_finds_it_later(world: World) -> None:
    world.market.awards = False
    with world.agent():
        id_ = world.submit()
        world.until(lambda: len(world.market.bids) == 1)
    signed = world.market.bids[0]
    [match] = world.market.matches(Address(PROVIDER.address), 0, 0).matches
    world.chain.award(MATCHER, match.job.value(), match.signature, signed.bid.value(), signed.signature)
    with world.agent():
        world.reach(id_, Step.DELIVERED)
    assert len(world.market.bids) == 1


def test_a_delivery_that_was_mined_unseen_is_not_sent_again(world: World) -> None:
    world.script = hang
    with world.agent():
        id_ = world.submit()
        world.reach(id_, Step.RUNNING)
        deliver = world.chain.deliver
        calls = 0

        def cut_off(*args: object) -> object:
            nonlocal calls
            calls += 1
            deliver(*args)  # type: ignore[arg-type]
            raise ChainUnavailable("the answer was lost")

        world.chain.deliver = cut_off  # type: ignore[method-assign, assignment]
        world.executor.finish(id_)
        world.reach(id_, Step.DELIVERED)
    assert calls == 1
    assert len(world.events(id_, JobDelivered)) == 1


def test_a_container_that_vanished_is_started_again(world: World) -> None:
    world.script = hang
    with world.agent():
        id_ = world.submit()
        world.until(lambda: world.starts(id_) == 1)
        world.executor.lose(id_)
        world.until(lambda: world.starts(id_) > 1)
        world.executor.finish(id_)
        world.reach(id_, Step.DELIVERED)


def test_an_engine_that_is_away_for_a_while_delays_the_run_only(world: World) -> None:
    world.script = hang
    with world.agent():
        id_ = world.submit()
        world.until(lambda: world.starts(id_) == 1)
        asked = len(world.executor.calls)
        world.executor.break_down()
        world.until(lambda: len(world.executor.calls) > asked + 1)
        assert world.entry(id_).step is Step.RUNNING  # type: ignore[union-attr]
        world.executor.broken = None
        world.executor.finish(id_)
        world.reach(id_, Step.DELIVERED)


def test_a_missed_deadline_stops_the_run_and_costs_the_bond(world: World) -> None:
    world.script = hang
    with world.agent():
        id_ = world.submit()
        world.until(lambda: world.starts(id_) == 1)
        world.chain.advance(600)
        entry = world.reach(id_, Step.FAILED)
        world.until(lambda: world.clean(id_))
    assert entry.earned == -BOND
    assert "deliver_by" in entry.reason


def test_an_award_waits_for_its_confirmations_before_the_run(world: World) -> None:
    world.rules = replace(world.rules, confirmations=3)
    with world.agent():
        id_ = world.submit()
        world.until(lambda: bool(world.events(id_, JobAwarded)))
        world.chain.mine(2)
        time.sleep(20 * POLL)
        assert world.reach(id_, Step.BIDDING).step is Step.BIDDING
        assert world.starts(id_) == 0
        world.chain.mine(1)
        world.reach(id_, Step.DELIVERED)


def test_a_reorg_that_moves_the_award_is_followed_to_the_new_terms(world: World) -> None:
    world.script = hang
    with world.agent():
        id_ = world.submit()
        old = world.reach(id_, Step.RUNNING)
        world.until(lambda: world.starts(id_) == 1)
        signed = world.market.bids[0]
        [match] = world.market.matches(Address(PROVIDER.address), 0, 0).matches
        world.chain.reorg(1)
        world.chain.advance(5)
        world.chain.award(MATCHER, match.job.value(), match.signature, signed.bid.value(), signed.signature)
        [award] = world.events(id_, JobAwarded)
        assert award.terms != old.terms
        world.until(lambda: world.entry(id_).terms == award.terms)  # type: ignore[union-attr]
        world.executor.finish(id_)
        world.reach(id_, Step.DELIVERED)
    assert world.starts(id_) == 1


def test_a_reorg_that_undoes_the_award_for_good_ends_the_job(world: World) -> None:
    world.script = hang
    with world.agent():
        id_ = world.submit()
        world.until(lambda: world.starts(id_) == 1)
        world.chain.reorg(1)
        world.chain.advance(policy.BID_SECONDS + policy.GRACE_SECONDS)
        world.reach(id_, Step.LOST)
        world.until(lambda: world.clean(id_))


def test_a_reorg_that_undoes_the_delivery_is_answered_by_the_same_delivery(world: World) -> None:
    with world.agent():
        id_ = world.submit()
        first = world.reach(id_, Step.DELIVERED)
        world.chain.reorg(1)
        world.until(lambda: world.steps(id_).count(Step.DELIVERED) == 2)
    assert world.entry(id_).result == first.result  # type: ignore[union-attr]
    assert world.chain.state(id_)[0] is JobState.DELIVERED
    assert world.starts(id_) == 1


def test_a_container_without_a_promise_is_removed(world: World) -> None:
    stray = world.job()[0]
    image = "sha256:" + "0" * 64
    world.executor.start(
        Run(
            job=stray,
            image=image,
            command=("true",),
            env=(),
            inputs=world.folder,
            resources=world.spec().resources,
            max_seconds=1,
        )
    )
    with world.agent():
        world.until(lambda: world.executor.adopt() == [])


def test_earnings_above_the_threshold_are_withdrawn_but_for_the_bonds(world: World) -> None:
    world.rules = replace(
        world.rules,
        withdraw_above={DAI.address: Wei(DEPOSIT + 50)},
        withdraw_to=Address(RIVAL.address),
    )
    before = world.chain.token_balance(DAI.address, Address(RIVAL.address))
    with world.agent():
        id_ = world.submit(challenge_seconds=0)
        world.reach(id_, Step.DONE)
        world.until(lambda: world.chain.token_balance(DAI.address, Address(RIVAL.address)) > before)
    assert world.chain.balance(DAI.address, Address(PROVIDER.address)) == 2 * BOND


def test_the_ask_says_what_the_machine_has_and_is_taken_back_when_the_agent_stops(world: World) -> None:
    with world.agent():
        world.until(lambda: len(world.market.asks) == 1)
    first, last = world.market.asks
    assert first.capacity.slots == 2
    assert first.max_bond == {DAI.address: BOND}
    assert first.expires_at - first.issued_at == 120
    assert last.issued_at > first.issued_at
    assert last.expires_at - last.issued_at == 1


def test_an_engine_that_is_away_takes_no_ask_to_the_market(world: World) -> None:
    world.executor.break_down()
    with world.agent():
        world.chain.mine()
        world.until(lambda: ("adopt", "") in world.executor.calls)
        assert world.market.asks == []
