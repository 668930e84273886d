"""One suite for the model and for the contract on Anvil: what holds for the one holds for the other."""

import pytest

from deai import errors, signing
from deai.chain import Deposited, JobAwarded, JobClosed, JobDelivered, Withdrawn
from deai.codec import Codec
from deai.job import (
    TRANSITIONS,
    ZERO_ADDRESS,
    Action,
    Address,
    JobState,
    Outcome,
    Payout,
    Timestamp,
    Wei,
    may,
    ramp,
)
from tests.adapters.chain_fixtures import RICH, Ground
from tests.lives import BOND, CAST, PATHS, PRICE, RESULT, Life

FUNDS = Wei(10**6)
SUBMITTER, PROVIDER = Address(CAST.submitter.address), Address(CAST.provider.address)
MATCHER, STRANGER = Address(CAST.matcher.address), Address(CAST.stranger.address)
WAYS = [(state, path) for state, paths in PATHS.items() for path in paths]


def a_life(ground: Ground, **changes: object) -> Life:
    """A job whose parties have funds in the escrow."""
    token = ground.deployment.token("DAI").address
    for account in (CAST.submitter, CAST.provider):
        if ground.chain.balance(token, Address(account.address)) < FUNDS // 2:
            ground.chain.deposit(account, token, FUNDS)
    return Life(ground.chain, ground.deployment, ground.at, **changes)


# The relation of states and verbs.


@pytest.mark.parametrize(("state", "path"), WAYS, ids=str)
def test_every_verb_in_every_state_does_what_the_table_says(
    ground: Ground, state: JobState, path: tuple[Action, ...]
) -> None:
    for action in Action:
        life = a_life(ground).reach(path)
        assert life.state is state
        due = life.due(action)
        assert may(action, state, due, life.job, life.terms) == ((state, action) in TRANSITIONS)

        if (state, action) in TRANSITIONS:
            life.act(action)
            assert life.state in TRANSITIONS[state, action]
        else:
            with pytest.raises(errors.WrongState) as refused:
                life.act(action)
            assert refused.value.args == (life.id, state)
            assert life.state is state


def test_an_award_is_in_time_just_before_award_by_and_too_late_at_it(ground: Ground) -> None:
    early, late = a_life(ground), a_life(ground)

    early.act(Action.AWARD, time=early.job.award_by - 1)
    with pytest.raises(errors.JobExpired) as refused:
        late.act(Action.AWARD, time=late.job.award_by)

    assert refused.value.args == (late.id, late.job.award_by)


def test_before_open_at_only_the_matcher_may_award(ground: Ground) -> None:
    start = ground.chain.head().time
    life = a_life(ground, open_at=Timestamp(start + 100), matcher_fee_bps=250)

    with pytest.raises(errors.NotOpen) as refused:
        life.act(Action.AWARD, time=start + 99)
    life.act(Action.AWARD, time=start + 99, signer=CAST.matcher)

    assert refused.value.args == (life.id, start + 100)
    assert (life.terms.matcher, life.terms.fee) == (MATCHER, PRICE * 250 // 10_000)


def test_at_open_at_anyone_may_award_and_no_fee_is_due(ground: Ground) -> None:
    start = ground.chain.head().time
    life = a_life(ground, open_at=Timestamp(start + 100), matcher_fee_bps=250)

    life.act(Action.AWARD, time=start + 100, signer=CAST.stranger)

    assert (life.terms.matcher, life.terms.fee) == (ZERO_ADDRESS, 0)


def test_a_delivery_is_in_time_just_before_deliver_by_and_too_late_at_it(ground: Ground) -> None:
    early, late = a_life(ground).reach((Action.AWARD,)), a_life(ground).reach((Action.AWARD,))

    early.act(Action.DELIVER, time=early.terms.deliver_by - 1)
    with pytest.raises(errors.DeliverByMissed) as refused:
        late.act(Action.DELIVER, time=late.terms.deliver_by)

    assert refused.value.args == (late.id, late.terms.deliver_by)


def test_a_reclaim_is_too_early_just_before_deliver_by_and_right_at_it(ground: Ground) -> None:
    life = a_life(ground).reach((Action.AWARD,))
    border = life.terms.deliver_by

    with pytest.raises(errors.DeliverByAhead) as refused:
        life.act(Action.RECLAIM, time=border - 1)
    life.act(Action.RECLAIM, time=border)

    assert refused.value.args == (life.id, border)


def test_a_settlement_is_too_early_just_before_the_windows_end_and_right_at_it(ground: Ground) -> None:
    life = a_life(ground).reach((Action.AWARD, Action.DELIVER))
    border = life.terms.window_end

    with pytest.raises(errors.WindowOpen) as refused:
        life.act(Action.SETTLE, time=border - 1)
    life.act(Action.SETTLE, time=border)

    assert refused.value.args == (life.id, border)


# Who gets what.


def test_a_paid_job_pays_provider_and_matcher_and_returns_the_bond(ground: Ground) -> None:
    life = a_life(ground, matcher_fee_bps=1_000)
    token, chain = life.job.token, ground.chain
    before = [chain.balance(token, account) for account in (SUBMITTER, PROVIDER, MATCHER)]

    life.act(Action.AWARD, signer=CAST.matcher)
    locked = [chain.balance(token, account) for account in (SUBMITTER, PROVIDER, MATCHER)]
    delivered = life.act(Action.DELIVER)
    closed = life.act(Action.APPROVE)

    after = [chain.balance(token, account) for account in (SUBMITTER, PROVIDER, MATCHER)]
    assert [now - then for now, then in zip(locked, before, strict=True)] == [-PRICE, -BOND, 0]
    assert [now - then for now, then in zip(after, before, strict=True)] == [-PRICE, 270, 30]
    (delivery,), (close,) = delivered.events, closed.events
    assert isinstance(delivery, JobDelivered)
    assert delivery.result == RESULT
    assert isinstance(close, JobClosed)
    assert close.payout == Payout(to_provider=Wei(270 + BOND), to_matcher=Wei(30))
    assert chain.state(life.id) == (JobState.CLOSED, Outcome.PAID)


def test_a_missed_delivery_refunds_the_price_and_burns_the_bond(ground: Ground) -> None:
    life = a_life(ground)
    token, chain = life.job.token, ground.chain
    before = [chain.balance(token, account) for account in (SUBMITTER, PROVIDER)]

    life.reach((Action.AWARD, Action.RECLAIM))

    after = [chain.balance(token, account) for account in (SUBMITTER, PROVIDER)]
    assert [now - then for now, then in zip(after, before, strict=True)] == [0, -BOND]
    assert chain.burned(token) == BOND
    assert chain.state(life.id) == (JobState.CLOSED, Outcome.REFUNDED)


def test_a_delivery_without_a_window_pays_at_once(ground: Ground) -> None:
    life = a_life(ground, challenge_seconds=0).reach((Action.AWARD,))

    receipt = life.act(Action.DELIVER)

    assert [type(event) for event in receipt.events] == [JobDelivered, JobClosed]
    assert ground.chain.state(life.id) == (JobState.CLOSED, Outcome.PAID)


# Money in and out.


def test_money_goes_in_and_comes_out(ground: Ground) -> None:
    chain, token = ground.chain, ground.deployment.token("DAI").address

    (arrived,) = chain.deposit(CAST.submitter, token, Wei(100)).events
    (left,) = chain.withdraw(CAST.submitter, token, STRANGER, Wei(40)).events

    assert isinstance(arrived, Deposited)
    assert (arrived.token, arrived.account, arrived.sender, arrived.amount) == (
        token,
        SUBMITTER,
        SUBMITTER,
        100,
    )
    assert isinstance(left, Withdrawn)
    assert (left.account, left.to, left.amount) == (SUBMITTER, STRANGER, 40)
    assert chain.balance(token, SUBMITTER) == 60
    assert chain.token_balance(token, SUBMITTER) == RICH - 100
    assert chain.token_balance(token, STRANGER) == RICH + 40
    assert chain.token_balance(token, chain.contract) == 60


def test_a_deposit_above_the_token_balance_is_refused_with_what_is_there(ground: Ground) -> None:
    chain, token = ground.chain, ground.deployment.token("DAI").address

    with pytest.raises(errors.BadField, match=r"amount: .*holds") as refused:
        chain.deposit(CAST.submitter, token, Wei(RICH + 1))

    assert refused.value.field == "amount"
    assert chain.balance(token, SUBMITTER) == 0


def test_a_withdrawal_above_the_balance_is_refused(ground: Ground) -> None:
    chain, token = ground.chain, ground.deployment.token("DAI").address
    chain.deposit(CAST.submitter, token, Wei(5))

    with pytest.raises(errors.InsufficientBalance) as refused:
        chain.withdraw(CAST.submitter, token, SUBMITTER, Wei(6))

    assert refused.value.args == (token, SUBMITTER, 5, 6)


@pytest.mark.parametrize(
    ("token", "amount", "error", "args"),
    [
        (ZERO_ADDRESS, 0, errors.Malformed, ("amount",)),
        (STRANGER, 1, errors.NoToken, (STRANGER,)),
        (None, 0, errors.Malformed, ("amount",)),
    ],
)
def test_a_deposit_of_nothing_that_counts_is_refused(
    ground: Ground,
    token: Address | None,
    amount: int,
    error: type[errors.ContractError],
    args: tuple[object, ...],
) -> None:
    with pytest.raises(error) as refused:
        ground.chain.deposit(CAST.submitter, token or ground.deployment.token("DAI").address, Wei(amount))

    assert refused.value.args == args


@pytest.mark.parametrize("to", [ZERO_ADDRESS, None])
def test_a_withdrawal_to_nobody_or_to_the_escrow_is_refused(ground: Ground, to: Address | None) -> None:
    chain, token = ground.chain, ground.deployment.token("DAI").address

    with pytest.raises(errors.Malformed) as refused:
        chain.withdraw(CAST.submitter, token, to or chain.contract, Wei(1))

    assert refused.value.args == ("to",)


def test_the_balance_outside_of_what_is_no_token_is_refused(ground: Ground) -> None:
    with pytest.raises(errors.NoToken):
        ground.chain.token_balance(STRANGER, SUBMITTER)


# What an award refuses.


@pytest.mark.parametrize(
    ("changes", "error", "args"),
    [
        ({"price_start": Wei(PRICE + 1)}, errors.Malformed, ("priceStart",)),
        ({"open_at": Timestamp(2**40 - 1)}, errors.Malformed, ("openAt",)),
        ({"deliver_seconds": 0}, errors.Malformed, ("deliverSeconds",)),
        ({"spec": bytes(32)}, errors.Malformed, ("spec",)),
        ({"matcher_fee_bps": 10_001}, errors.Malformed, ("matcherFeeBps",)),
        ({"arbiter": SUBMITTER}, errors.Malformed, ("arbiter",)),
        ({"dispute_fee": Wei(BOND + 1)}, errors.Malformed, ("disputeFee",)),
        ({"ruling_seconds": 0}, errors.Malformed, ("rulingSeconds",)),
        ({"arbiter": ZERO_ADDRESS}, errors.Malformed, ("disputeFee",)),
        ({"arbiter": ZERO_ADDRESS, "dispute_fee": Wei(0)}, errors.Malformed, ("arbiterData",)),
        (
            {"arbiter": ZERO_ADDRESS, "dispute_fee": Wei(0), "arbiter_data": bytes(32)},
            errors.Malformed,
            ("rulingSeconds",),
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("action", [Action.AWARD, Action.POST])
def test_a_job_that_is_not_well_formed_is_refused(
    ground: Ground,
    action: Action,
    changes: dict[str, object],
    error: type[errors.ContractError],
    args: tuple[object, ...],
) -> None:
    life = a_life(ground, **changes)

    with pytest.raises(error) as refused:
        life.act(action)

    assert refused.value.args == args


@pytest.mark.parametrize("action", [Action.AWARD, Action.POST])
def test_a_job_of_another_epoch_is_refused(ground: Ground, action: Action) -> None:
    life = a_life(ground, epoch=1)

    with pytest.raises(errors.WrongEpoch) as refused:
        life.act(action)

    assert refused.value.args == (life.id, 1, 0)


def test_a_bid_must_be_for_this_job_short_lived_signed_and_below_the_ramp(ground: Ground) -> None:
    life = a_life(ground, price_cap=Wei(PRICE + 1_000))
    now = Timestamp(life.time + 250)
    life.time = now
    most = ramp(life.job, now)
    other = "0x" + "11" * 32
    good = life.bid()
    cases = [
        (life.bid(job=other), errors.WrongJob, (life.id, other)),
        (life.bid(provider=SUBMITTER), errors.Malformed, ("provider",)),
        (life.bid(expires_at=now), errors.BidExpired, (life.id, now)),
        (life.bid(expires_at=now + 121), errors.BidTooLong, (life.id, now + 121)),
        (life.bid(price=most + 1), errors.PriceAboveRamp, (life.id, most + 1, most)),
    ]
    for bid, error, args in cases:
        ground.at(now)
        signature = signing.sign_bid(CAST.provider, bid, ground.deployment.domain)
        with pytest.raises(error) as refused:
            ground.chain.award(CAST.provider, life.job, life.job_signature, bid, signature)
        assert refused.value.args == args

    ground.at(now)
    with pytest.raises(errors.WrongSignature) as refused:
        ground.chain.award(CAST.provider, life.job, life.job_signature, good, life.job_signature)
    assert refused.value.args == (PROVIDER, signing.bid_digest(good, ground.deployment.domain))

    ground.at(now)
    exact = life.bid(price=most, expires_at=now + 120)
    signature = signing.sign_bid(CAST.provider, exact, ground.deployment.domain)
    (awarded,) = ground.chain.award(CAST.provider, life.job, life.job_signature, exact, signature).events
    assert isinstance(awarded, JobAwarded)
    assert awarded.terms.price == most


def test_posted_and_placed_stand_for_signatures(ground: Ground) -> None:
    life = a_life(ground)
    life.act(Action.POST)
    bid = life.bid()
    ground.at(life.time + 1)
    with pytest.raises(errors.NoBid) as refused:
        ground.chain.award(CAST.stranger, life.job, b"", bid, b"")
    assert refused.value.args == (life.id, PROVIDER)

    ground.at(life.time + 1)
    ground.chain.bid(CAST.provider, bid)
    ground.at(life.time + 2)
    ground.chain.award(CAST.stranger, life.job, b"", bid, b"")

    assert life.state is JobState.AWARDED


def test_without_signature_and_post_there_is_nothing_to_award(ground: Ground) -> None:
    life = a_life(ground)
    ground.at(life.time + 1)

    with pytest.raises(errors.WrongSignature) as refused:
        ground.chain.award(CAST.stranger, life.job, b"", life.bid(), b"")

    assert refused.value.args == (SUBMITTER, bytes.fromhex(life.id[2:]))


ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.mark.parametrize("spoiled", ["stranger's", "high s", "v of 0", "short", "random"])
def test_a_job_signature_that_is_not_canonical_and_the_submitters_is_refused(
    ground: Ground, spoiled: str
) -> None:
    life = a_life(ground)
    r, last = life.job_signature[:32], int.from_bytes(life.job_signature[32:])
    s, v = last & (1 << 255) - 1, 27 + (last >> 255)
    good = r + s.to_bytes(32) + bytes([v])
    life.job_signature = {
        "stranger's": signing.sign_job(CAST.stranger, life.job, ground.deployment.domain),
        "high s": r + (ORDER - s).to_bytes(32) + bytes([55 - v]),
        "v of 0": good[:64] + bytes([v - 27]),
        "short": good[:63],
        "random": b"\x07" * 64 + b"\x1b",
    }[spoiled]

    with pytest.raises(errors.WrongSignature) as refused:
        life.act(Action.AWARD)

    assert refused.value.args == (SUBMITTER, bytes.fromhex(life.id[2:]))
    with pytest.raises(errors.BadSignature):
        signing.check_job(life.job, life.job_signature, ground.deployment.domain)


def test_a_purse_too_small_for_price_or_bond_is_refused(ground: Ground) -> None:
    poor_submitter = Life(ground.chain, ground.deployment, ground.at)
    with pytest.raises(errors.InsufficientBalance) as refused:
        poor_submitter.act(Action.AWARD)
    assert refused.value.args == (poor_submitter.job.token, SUBMITTER, 0, PRICE)

    ground.chain.deposit(CAST.submitter, poor_submitter.job.token, FUNDS)
    poor_provider = Life(ground.chain, ground.deployment, ground.at)
    with pytest.raises(errors.InsufficientBalance) as refused:
        poor_provider.act(Action.AWARD)
    assert refused.value.args == (poor_provider.job.token, PROVIDER, 0, BOND)
    assert ground.chain.balance(poor_provider.job.token, SUBMITTER) == FUNDS


# Who may, and with which terms.


@pytest.mark.parametrize(
    ("path", "action", "expected"),
    [
        ((), Action.POST, SUBMITTER),
        ((), Action.CANCEL, SUBMITTER),
        ((Action.AWARD,), Action.DELIVER, PROVIDER),
        ((Action.AWARD, Action.DELIVER), Action.APPROVE, SUBMITTER),
    ],
    ids=str,
)
def test_a_stranger_is_told_who_must_act(
    ground: Ground, path: tuple[Action, ...], action: Action, expected: Address
) -> None:
    life = a_life(ground).reach(path)

    with pytest.raises(errors.WrongCaller) as refused:
        life.act(action, signer=CAST.stranger)

    assert refused.value.args == (STRANGER, expected)


def test_altered_terms_are_refused(ground: Ground) -> None:
    life = a_life(ground).reach((Action.AWARD,))
    good = life.terms
    ground.at(good.deliver_by)

    for altered in (good.delivered(RESULT, Timestamp(1)), good.delivered(RESULT, Timestamp(0))):
        with pytest.raises(errors.WrongTerms) as refused:
            ground.chain.reclaim(CAST.stranger, life.id, altered)
        assert refused.value.args == (life.id,)


def test_an_empty_result_is_refused(ground: Ground) -> None:
    life = a_life(ground).reach((Action.AWARD,))

    with pytest.raises(errors.Malformed) as refused:
        ground.chain.deliver(CAST.provider, life.id, life.terms, bytes(32))

    assert refused.value.args == ("result",)


# The chain's history.


def test_events_come_in_order_and_by_job(ground: Ground) -> None:
    first = a_life(ground).reach((Action.POST, Action.AWARD, Action.DELIVER))
    second = a_life(ground).reach((Action.CANCEL,))
    first.act(Action.SETTLE)
    head = ground.chain.head().number

    names = [type(event).__name__ for event in ground.chain.events(0, head + 1_000, first.id)]

    assert names == ["JobPosted", "JobAwarded", "JobDelivered", "JobClosed"]
    assert [event.id for event in ground.chain.events(0, head, second.id)] == [second.id]  # type: ignore[attr-defined]
    everything = ground.chain.events(0, head)
    assert [(event.block, event.index) for event in everything] == sorted(
        (event.block, event.index) for event in everything
    )
    assert len(everything) == 2 + 4 + 1
    assert ground.chain.events(head, head) == everything[-1:]
    assert ground.chain.events(head + 1, head + 5) == []


def test_blocks_are_linked_and_end_at_the_head(ground: Ground) -> None:
    ground.mine(2)
    head = ground.chain.head()
    parent = ground.chain.block(head.number - 1)

    assert parent is not None
    assert head.parent == parent.hash
    assert ground.chain.block(head.number) == head
    assert ground.chain.block(head.number + 1) is None


def test_a_reorg_undoes_the_award_and_changes_the_hashes(ground: Ground) -> None:
    life = a_life(ground)
    ground.mine(2)
    token = life.job.token
    before = ground.chain.balance(token, SUBMITTER)
    life.reach((Action.AWARD,))
    ground.mine(1)
    old_head = ground.chain.head()

    ground.reorg(2)

    assert ground.chain.head().number == old_head.number
    assert ground.chain.head().hash != old_head.hash
    assert life.state is JobState.UNKNOWN
    assert ground.chain.balance(token, SUBMITTER) == before
    assert ground.chain.events(0, old_head.number, life.id) == []


def test_a_value_that_no_word_holds_is_refused_before_anything_is_sent() -> None:
    codec = Codec(
        [
            {
                "type": "function",
                "name": "approve",
                "inputs": [{"name": "", "type": "address"}, {"name": "", "type": "uint256"}],
            }
        ]
    )

    with pytest.raises(errors.BadField, match="approve"):
        codec.call("approve", STRANGER, 1 << 256)
