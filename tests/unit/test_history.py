"""A job's history from events alone: the words, the facts, and the state rebuilt."""

import pytest

from deai import errors
from deai.chain import Event, JobDelivered
from deai.cid import Cid, Codec
from deai.deployment import Deployment
from deai.history import history, rebuild
from deai.job import Action, Address, JobId, Outcome, Timestamp, Wei
from deai.testing import DAI, MemoryChain
from tests.lives import BOND, CAST, PRICE, RESULT, Life

START = Timestamp(2_000_000_000)
UNIT = 10**18


def rich_chain() -> MemoryChain:
    chain = MemoryChain(now=START)
    for account in (CAST.submitter, CAST.provider):
        chain.mint(DAI.address, Address(account.address), 1_000 * UNIT)
        chain.deposit(account, DAI.address, Wei(1_000 * UNIT))
    return chain


def a_life(chain: MemoryChain, **changes: object) -> Life:
    def at(time: int) -> None:
        chain.now = Timestamp(time)

    return Life(chain, chain.deployment(), at, **changes)


def test_a_paid_job_is_told_from_its_post_to_its_payment() -> None:
    chain = rich_chain()
    whole = {"price_start": Wei(250 * UNIT), "price_cap": Wei(250 * UNIT), "bond": Wei(5 * UNIT)}
    life = a_life(chain, **whole)
    other = a_life(chain)
    life.reach((Action.POST,))
    other.reach((Action.CANCEL,))
    life.reach((Action.AWARD, Action.DELIVER, Action.APPROVE))

    lines = list(history(chain, chain.deployment(), life.id))

    assert [line.event for line in lines] == ["JobPosted", "JobAwarded", "JobDelivered", "JobClosed"]
    posted, awarded, delivered, closed = lines
    result, spec = str(Cid(Codec.DAG_PB, RESULT)), str(Cid(Codec.RAW, life.job.spec))
    assert posted.facts["spec_cid"] == awarded.facts["spec_cid"] == spec
    assert "250 DAI, bond 5 DAI" in awarded.text
    assert awarded.facts["price"] == str(250 * UNIT)
    assert delivered.facts["result_cid"] == result
    assert result in delivered.text
    assert closed.text == "Paid, 255 DAI to provider"
    assert [line.time for line in lines] == sorted(line.time for line in lines)
    block = chain.block(delivered.block)
    assert block is not None
    assert delivered.time == block.time
    assert all(line.job == life.id for line in lines)


def test_without_a_job_everything_is_told_deposits_and_cancellations_too() -> None:
    chain = rich_chain()
    a_life(chain).reach((Action.CANCEL,))
    chain.withdraw(CAST.submitter, DAI.address, Address(CAST.stranger.address), Wei(UNIT // 2))

    lines = list(history(chain, chain.deployment()))

    assert [line.event for line in lines] == ["Deposited", "Deposited", "JobCancelled", "Withdrawn"]
    assert lines[0].text == f"{CAST.submitter.address} deposited 1000 DAI"
    assert lines[-1].text == f"{CAST.submitter.address} withdrew 0.5 DAI to {CAST.stranger.address}"
    assert lines[-1].as_json()["amount"] == str(UNIT // 2)
    assert str(lines[0]).startswith("2033-05-18 03:33:20 UTC  block 2  Deposited: ")


def test_a_reclaimed_job_says_who_was_refunded_and_what_was_burned() -> None:
    chain = rich_chain()
    life = a_life(chain).reach((Action.AWARD, Action.RECLAIM))

    closed = list(history(chain, chain.deployment(), life.id))[-1]

    assert closed.facts["outcome"] == "Refunded"
    assert (closed.facts["to_submitter"], closed.facts["burned"]) == (str(PRICE), str(BOND))


def test_a_deadline_beyond_all_calendars_is_told_all_the_same() -> None:
    chain = rich_chain()
    chain.now = Timestamp(2**39)
    chain.mine()
    life = a_life(chain).reach((Action.AWARD,))

    text = next(history(chain, chain.deployment(), life.id)).text

    assert f"second {life.terms.deliver_by}" in text


def test_an_unknown_token_is_named_by_its_address() -> None:
    chain = rich_chain()
    bare = Deployment(chain_id=chain.chain_id, contract=chain.contract, block=0)

    text = next(history(chain, bare)).text

    assert text.endswith(f"{1_000 * UNIT} of {DAI.address}")


def test_a_block_that_a_reorg_takes_away_is_not_told_as_if_it_were_there() -> None:
    chain = rich_chain()
    a_life(chain).reach((Action.CANCEL,))
    found = chain.events(0, chain.head().number)
    chain.reorg(1)

    class Stale(MemoryChain):
        """Tells of events that the reorg took away."""

        def events(self, first: int, last: int, job: JobId | None = None) -> list[Event]:
            return found

    with pytest.raises(errors.ChainUnavailable, match="replaced"):
        list(history(Stale(now=START), chain.deployment()))


def test_the_events_alone_rebuild_the_escrow() -> None:
    chain = rich_chain()
    lives = [
        a_life(chain, matcher_fee_bps=100).reach(path)
        for path in (
            (Action.POST,),
            (Action.AWARD,),
            (Action.AWARD, Action.DELIVER),
            (Action.AWARD, Action.DELIVER, Action.SETTLE),
            (Action.AWARD, Action.RECLAIM),
            (Action.CANCEL,),
        )
    ]

    ledger = rebuild(chain.events(0, chain.head().number))

    escrow = chain.escrow()
    assert {key: value for key, value in ledger.balances.items() if value} == {
        key: value for key, value in escrow.balances.items() if value
    }
    assert ledger.burned[DAI.address] == escrow.burned[DAI.address] == BOND
    assert ledger.locked(DAI.address) == escrow.locked(DAI.address) == 2 * (PRICE + BOND)
    for life in lives:
        record = ledger.jobs[life.id]
        assert (record.state, record.outcome) == chain.state(life.id)
    assert ledger.jobs[lives[4].id].outcome is Outcome.REFUNDED


def test_events_without_their_beginning_are_a_bug() -> None:
    chain = rich_chain()
    a_life(chain).reach((Action.AWARD, Action.DELIVER))
    delivered = [event for event in chain.events(0, 100) if isinstance(event, JobDelivered)]

    with pytest.raises(errors.Bug, match="no award"):
        rebuild(delivered)
