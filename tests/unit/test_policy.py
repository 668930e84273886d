"""Which jobs the agent takes, at what price, and when it acts."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deai.arbitration import arbiter_data
from deai.ask import Capacity, Gpu, Prices, quote
from deai.job import MAX_BID_SECONDS, Address, Job, JobId, Timestamp, Wei, award_terms, ramp
from deai.job import Bid as JobBid
from deai.spec import Resources, Spec
from deai_provider import policy
from deai_provider.policy import Arbitration, Refusal, Room, Rules

SUBMITTER, PROVIDER, OTHER, PANEL, JUDGE = (Address("0x" + digit * 40) for digit in "12367")
TOKEN, STRANGE_TOKEN = Address("0x" + "4" * 40), Address("0x" + "5" * 40)
NOW = Timestamp(1_000_000)
PRICES = Prices(job=100, core_second=1)
SPEC = Spec.build(
    name="digits",
    image={"digest": "python@sha256:" + "0" * 64},
    command=["python3", "-c", "pass"],
    resources={"cpu_millis": 2_000, "memory_mib": 512, "disk_mib": 512},
    max_seconds=600,
    verification="optimistic",
)
RULES = Rules(
    provider=PROVIDER,
    prices={TOKEN: PRICES},
    max_bond={TOKEN: Wei(50)},
    min_gas=Wei(1_000),
    deliver_margin=120,
    award_margin=30,
    max_challenge_seconds=3_600,
    max_fee_bps=500,
    max_inputs=2,
    arbitration=Arbitration(
        arbiters=frozenset({PANEL, JUDGE}),
        panel=PANEL,
        panel_classes=frozenset({0, 7}),
        min_ruling_seconds=3_600,
        max_ruling_seconds=7_200,
        max_fee_bps=8_000,
        max_bond={STRANGE_TOKEN: Wei(0)},
    ),
    confirmations=2,
    confirm_unit={TOKEN: Wei(1_000)},
    withdraw_above={},
    withdraw_to=PROVIDER,
    slots=2,
)
ROOM = Room(
    capacity=Capacity(cpu_millis=4_000, memory_mib=4_096, disk_mib=8_192, slots=2),
    bond=Wei(500),
    funds=Wei(10_000),
    gas=Wei(1_000),
)
JOB = Job(
    submitter=SUBMITTER,
    token=TOKEN,
    price_start=Wei(1_300),
    price_cap=Wei(2_000),
    bond=Wei(50),
    open_at=Timestamp(NOW + 60),
    award_by=Timestamp(NOW + 660),
    deliver_seconds=720,
    challenge_seconds=3_600,
    spec=SPEC.cid().digest,
    salt=bytes(32),
)


JUDGED = replace(
    JOB, arbiter=PANEL, dispute_fee=Wei(40), ruling_seconds=7_200, arbiter_data=arbiter_data(0, seats=3)
)


def bid(job: Job = JOB, spec: Spec = SPEC, room: Room = ROOM, now: Timestamp = NOW) -> Wei | Refusal:
    return policy.bid(replace(job, spec=spec.cid().digest), spec, RULES, room, now)


def test_a_job_that_fits_is_bid_on_at_the_quote() -> None:
    assert bid() == quote(PRICES, SPEC.resources, SPEC.max_seconds) == 1_300


@pytest.mark.parametrize(
    ("job", "reason"),
    [
        (replace(JOB, token=STRANGE_TOKEN), "token"),
        (replace(JOB, submitter=PROVIDER), "submitter"),
        (replace(JOB, arbiter=OTHER), "arbiter"),
        (replace(JOB, arbiter_data=b"\1" * 32), "arbiter"),
        (replace(JOB, ruling_seconds=1), "arbiter"),
        (replace(JOB, dispute_fee=Wei(1)), "arbiter"),
        (replace(JOB, epoch=1), "epoch"),
        (replace(JUDGED, arbiter=OTHER), "arbiter"),
        (replace(JUDGED, arbiter_data=arbiter_data(777, seats=3)), "arbiter_data"),
        (replace(JUDGED, arbiter_data=arbiter_data(0, seats=4)), "arbiter_data"),
        (replace(JUDGED, ruling_seconds=3_599), "ruling_seconds"),
        (replace(JUDGED, ruling_seconds=7_201), "ruling_seconds"),
        (replace(JUDGED, dispute_fee=Wei(41)), "dispute_fee"),
        (replace(JOB, matcher_fee_bps=501), "matcher_fee_bps"),
        (replace(JOB, deliver_seconds=719), "deliver_seconds"),
        (replace(JOB, award_by=Timestamp(NOW + 29)), "award_by"),
        (replace(JOB, challenge_seconds=3_601), "challenge_seconds"),
        (replace(JOB, bond=Wei(51)), "bond"),
        (replace(JOB, price_start=Wei(0), price_cap=Wei(1_299)), "price"),
        (replace(JOB, price_start=Wei(1_299)), "price"),
    ],
)
def test_a_job_that_breaks_one_rule_is_refused_with_that_field_named(job: Job, reason: str) -> None:
    decision = bid(job)
    assert isinstance(decision, Refusal)
    assert decision.reason.startswith(f"{reason}:")


@pytest.mark.parametrize(
    ("job", "now"),
    [
        (replace(JOB, matcher_fee_bps=500), NOW),
        (JUDGED, NOW),
        (replace(JUDGED, arbiter_data=arbiter_data(7, seats=15)), NOW),
        (replace(JUDGED, arbiter=JUDGE, arbiter_data=b"\xff" * 32), NOW),
        (replace(JUDGED, ruling_seconds=3_600), NOW),
        (replace(JOB, award_by=Timestamp(NOW + 30), open_at=Timestamp(NOW + 10)), NOW),
        (replace(JOB, price_start=Wei(1_000)), Timestamp(NOW + 60 + 180)),
    ],
)
def test_a_job_at_the_very_border_of_a_rule_is_bid_on(job: Job, now: Timestamp) -> None:
    assert bid(job, now=now) == 1_300


def test_a_job_of_which_its_arbiter_would_take_no_case_is_refused_with_the_field_to_blame() -> None:
    decision = bid(JUDGED, room=replace(ROOM, unfit="disputeFee"))
    assert decision == Refusal("arbiter: would take no case of this job: disputeFee")


def test_a_run_that_is_not_made_to_be_repeated_is_put_under_no_arbiter() -> None:
    plain = Spec.parse(SPEC.model_copy(update={"verification": "none"}).canonical())
    decision = bid(JUDGED, plain)
    assert isinstance(decision, Refusal)
    assert decision.reason.startswith("verification: none")
    assert bid(JOB, plain) == 1_300


def test_a_bond_under_an_arbiter_has_a_limit_of_its_own() -> None:
    rules = replace(RULES, arbitration=replace(RULES.arbitration, max_bond={TOKEN: Wei(49)}))
    decision = policy.bid(JUDGED, SPEC, rules, ROOM, NOW)
    assert decision == Refusal("bond: 50, under an arbiter this provider locks at most 49")
    assert policy.bid(JOB, SPEC, rules, ROOM, NOW) == 1_300


def test_a_job_of_a_later_epoch_of_its_submitter_is_bid_on() -> None:
    assert bid(replace(JOB, epoch=3), room=replace(ROOM, epoch=3)) == 1_300


def test_a_price_that_the_ramp_does_not_reach_in_a_moment_is_refused_and_says_so() -> None:
    slow = replace(JOB, price_start=Wei(1_000))
    reached = next(at for at in range(NOW, NOW + 1_000) if ramp(slow, Timestamp(at)) >= 1_300)
    decision = bid(slow, now=Timestamp(reached - policy.CLOCK_SECONDS - 1))
    assert isinstance(decision, Refusal)
    assert "ramp allows 1298 now" in decision.reason
    assert bid(slow, now=Timestamp(reached - policy.CLOCK_SECONDS)) == 1_300


def test_an_award_of_our_own_is_never_sent_before_the_ramp_is_there() -> None:
    assert policy.CLOCK_SECONDS < policy.PATIENCE_SECONDS


@pytest.mark.parametrize(
    ("room", "reason"),
    [
        (
            replace(ROOM, capacity=ROOM.capacity.model_copy(update={"cpu_millis": 1_999})),
            "resources: cpu_millis",
        ),
        (
            replace(ROOM, capacity=Capacity.model_construct(**dict(ROOM.capacity) | {"slots": 0})),
            "resources: no",
        ),
        (replace(ROOM, bond=Wei(49)), "bond"),
        (replace(ROOM, funds=Wei(1_299)), "submitter"),
        (replace(ROOM, gas=Wei(999)), "gas"),
    ],
)
def test_a_machine_or_purse_without_room_refuses(room: Room, reason: str) -> None:
    decision = bid(room=room)
    assert isinstance(decision, Refusal)
    assert decision.reason.startswith(reason)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    spec = SPEC.model_copy(update={"resources": Resources(gpus=1, gpu_model="a100")})
    wrong = replace(
        ROOM, capacity=ROOM.capacity.model_copy(update={"gpus": (Gpu(model="NVIDIA T4", vram_mib=16_000),)})
    )
    right = replace(
        ROOM, capacity=ROOM.capacity.model_copy(update={"gpus": (Gpu(model="NVIDIA A100", vram_mib=80_000),)})
    )
    assert isinstance(bid(spec=spec, room=ROOM), Refusal)
    assert isinstance(bid(spec=spec, room=wrong), Refusal)
    assert not isinstance(bid(spec=spec, room=right), Refusal)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"inputs": {name: str(SPEC.cid()) for name in ("a", "b", "c")}}, "inputs"),
        ({"output_path": "/exit.json/weights"}, "output_path"),
        ({"output_path": "/log.txt"}, "output_path"),
    ],
)
def test_a_spec_beyond_what_is_served_is_refused(change: dict[str, object], reason: str) -> None:
    decision = bid(spec=SPEC.model_copy(update=change))
    assert isinstance(decision, Refusal)
    assert decision.reason.startswith(f"{reason}:")


def test_a_spec_that_the_job_does_not_name_is_refused() -> None:
    assert isinstance(policy.bid(replace(JOB, spec=bytes(32)), SPEC, RULES, ROOM, NOW), Refusal)


@given(
    start=st.integers(0, 3_000),
    more=st.integers(0, 3_000),
    now=st.integers(NOW - 100, NOW + 700),
    funds=st.integers(0, 3_000),
)
def test_whatever_the_job_a_price_never_exceeds_ramp_cap_or_funds(
    start: int, more: int, now: int, funds: int
) -> None:
    job = replace(JOB, price_start=Wei(start), price_cap=Wei(start + more))
    decision = bid(job, room=replace(ROOM, funds=Wei(funds)), now=Timestamp(now))
    if not isinstance(decision, Refusal):
        assert decision == quote(PRICES, SPEC.resources, SPEC.max_seconds)
        assert decision <= min(ramp(job, Timestamp(now + policy.CLOCK_SECONDS)), job.price_cap, funds)


def test_a_bid_lives_shorter_than_bids_may() -> None:
    assert NOW < policy.bid_expiry(NOW) < NOW + MAX_BID_SECONDS
    assert policy.signed_at(policy.bid_expiry(NOW)) == NOW


def test_the_agent_awards_only_once_anyone_may_and_the_market_had_its_time() -> None:
    expires = policy.bid_expiry(NOW)
    opens = JOB.open_at + policy.PATIENCE_SECONDS
    assert not policy.may_award(JOB, NOW, expires, Timestamp(opens - 1))
    assert policy.may_award(JOB, NOW, expires, Timestamp(opens))
    early = replace(JOB, open_at=Timestamp(NOW - 1_000))
    assert not policy.may_award(early, NOW, expires, Timestamp(NOW + policy.PATIENCE_SECONDS - 1))
    assert policy.may_award(early, NOW, expires, Timestamp(NOW + policy.PATIENCE_SECONDS))


def test_the_agent_does_not_award_when_the_bid_or_the_job_is_about_to_expire() -> None:
    expires = policy.bid_expiry(NOW)
    last = expires - policy.SEND_SECONDS
    assert policy.may_award(JOB, NOW, expires, Timestamp(last - 1))
    assert not policy.may_award(JOB, NOW, expires, Timestamp(last))
    short = replace(JOB, open_at=Timestamp(NOW - 1), award_by=Timestamp(NOW + 20))
    assert policy.may_award(short, NOW, expires, Timestamp(NOW + 14))
    assert not policy.may_award(short, NOW, expires, Timestamp(NOW + 15))


def test_a_bid_is_given_up_only_well_after_it_expired() -> None:
    expires = policy.bid_expiry(NOW)
    assert not policy.hopeless(expires, Timestamp(expires + policy.GRACE_SECONDS - 1))
    assert policy.hopeless(expires, Timestamp(expires + policy.GRACE_SECONDS))


@pytest.mark.parametrize(
    ("value", "blocks"), [(0, 2), (999, 2), (1_000, 4), (1_999, 4), (2_000, 6), (4_000, 8), (1_000_000, 22)]
)
def test_confirmations_grow_with_each_doubling_of_the_value(value: int, blocks: int) -> None:
    assert policy.confirmations(2, Wei(value), Wei(1_000)) == blocks


def test_a_chain_that_never_undoes_blocks_needs_no_confirmations() -> None:
    assert policy.confirmations(0, Wei(10**30), Wei(1)) == 0


@pytest.mark.parametrize(("balance", "amount"), [(0, 0), (100, 0), (101, 61), (1_000, 960)])
def test_what_is_above_the_threshold_is_withdrawn_but_for_the_bonds(balance: int, amount: int) -> None:
    assert policy.withdrawal(Wei(balance), Wei(100), Wei(40)) == amount


def test_a_threshold_below_the_bonds_never_withdraws_them() -> None:
    assert policy.withdrawal(Wei(150), Wei(100), Wei(200)) == 0


@pytest.mark.parametrize(
    "change",
    [
        {"price": Wei(1_299)},
        {"bond": Wei(51)},
        {"token": STRANGE_TOKEN},
        {"submitter": OTHER},
        {"arbiter": OTHER},
        {"dispute_fee": Wei(1)},
        {"challenge_seconds": 1},
        {"ruling_seconds": 1},
    ],
)
def test_an_award_that_differs_from_the_bid_is_noticed(change: dict[str, object]) -> None:
    made = JobBid(job=JobId("0x" + "0" * 64), provider=PROVIDER, price=Wei(1_300), expires_at=NOW)
    terms = award_terms(JOB, made, NOW, OTHER)
    assert policy.unlike(terms, JOB, Wei(1_300)) is None
    assert policy.unlike(replace(terms, **change), JOB, Wei(1_300)) is not None  # type: ignore[arg-type]
