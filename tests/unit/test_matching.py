"""Matching: who gets which job, and why the others wait."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deai.ask import Ask, Capacity, Gpu, Prices, fits, quote, remaining, without
from deai.job import Address, Bid, Job, JobId, Timestamp, Wei, ramp
from deai.spec import Resources
from deai_market.matching import Matching, OpenJob, Suggestion, Taken, match, reached

NOW = Timestamp(10_000)
DAI, GLM = Address("0x" + "aa" * 20), Address("0x" + "bb" * 20)
MATCHER, SUBMITTER = Address("0x" + "01" * 20), Address("0x" + "02" * 20)
PROVIDERS = [Address(f"0x{number:040x}") for number in range(16, 22)]
RICH = {(DAI, SUBMITTER): Wei(10**9)}
SOLVENT = {(token, provider): Wei(10**9) for token in (DAI, GLM) for provider in PROVIDERS}


def open_job(
    number: int = 1, resources: Resources | None = None, received: int | None = None, **fields: Any
) -> OpenJob:
    job = Job(
        submitter=SUBMITTER,
        token=DAI,
        price_start=Wei(100),
        price_cap=Wei(200),
        bond=Wei(10),
        open_at=Timestamp(NOW),
        award_by=Timestamp(NOW + 1_000),
        deliver_seconds=100,
        challenge_seconds=0,
        spec=bytes(32),
        salt=bytes(32),
    )
    return OpenJob(
        id=JobId(f"0x{number:064x}"),
        job=replace(job, **fields),
        resources=resources or Resources(),
        max_seconds=10,
        received=number if received is None else received,
    )


def ask(provider: Address = PROVIDERS[0], price: int = 50, **fields: Any) -> Ask:
    capacity = {"cpu_millis": 4_000, "memory_mib": 8_192, "disk_mib": 8_192, "slots": 2}
    values = {
        "provider": provider,
        "chain_id": 1,
        "contract": MATCHER,
        "capacity": Capacity.model_validate({**capacity, **fields.pop("capacity", {})}),
        "prices": {DAI: Prices(job=price)},
        "max_bond": {DAI: 10},
        "issued_at": NOW,
        "expires_at": NOW + 100,
    }
    return Ask.model_validate({**values, **fields})


def run(jobs: list[OpenJob], asks: list[Ask], now: int = NOW, **fields: Any) -> Matching:
    values: dict[str, Any] = {
        "taken": [],
        "balances": RICH,
        "deposits": SOLVENT,
        "placed": {},
        "skipped": set(),
        "matcher": MATCHER,
    }
    return match(
        jobs, asks, now=Timestamp(now), show=lambda _, amount: f"{amount} DAI", **{**values, **fields}
    )


def reason(job: OpenJob, asks: list[Ask], now: int = NOW, **fields: Any) -> str:
    matching = run([job], asks, now, **fields)
    assert matching.matches == ()
    return matching.reasons[job.id]


def test_the_cheapest_ask_that_fits_gets_the_job() -> None:
    asks = [ask(PROVIDERS[0], 60), ask(PROVIDERS[1], 50), ask(PROVIDERS[2], 40, capacity={"cpu_millis": 500})]
    assert run([open_job()], asks).matches == (Suggestion(open_job().id, PROVIDERS[1], Wei(50)),)


def test_of_equal_asks_the_older_then_the_lower_address_gets_the_job() -> None:
    asks = [ask(PROVIDERS[2]), ask(PROVIDERS[1], issued_at=NOW - 5), ask(PROVIDERS[0], issued_at=NOW - 5)]
    assert run([open_job()], asks).matches[0].provider == PROVIDERS[0]


def test_the_older_job_is_served_first_whatever_its_place_in_the_list() -> None:
    jobs = [open_job(1, received=9), open_job(2, received=3)]
    matching = run(jobs, [ask(capacity={"slots": 1})])
    assert [each.job for each in matching.matches] == [jobs[1].id]
    assert matching.reasons == {jobs[0].id: "every fitting provider is busy"}


def test_what_is_taken_is_not_given_again() -> None:
    taken = [Taken(PROVIDERS[0], Resources(cpu_millis=3_500))]
    assert reason(open_job(), [ask()], taken=taken) == "every fitting provider is busy"
    assert run([open_job()], [ask()], taken=[Taken(PROVIDERS[0], Resources(cpu_millis=3_000))]).matches


def test_a_job_whose_run_has_ended_makes_room_for_the_next_one() -> None:
    offer, whole = ask(capacity={"slots": 1}), Resources(cpu_millis=4_000, memory_mib=8_192, disk_mib=4_096)
    ended = Taken(PROVIDERS[0], whole, ended=True)
    assert [each.provider for each in run([open_job(resources=whole)], [offer], taken=[ended]).matches] == [
        PROVIDERS[0]
    ]
    busy = "every fitting provider is busy"
    assert reason(open_job(), [offer], taken=[Taken(PROVIDERS[0], whole)]) == busy
    assert reason(open_job(), [offer], taken=[ended, ended]) == busy
    too_large = Resources(disk_mib=4_097)
    assert reason(open_job(resources=too_large), [offer], taken=[ended]) == busy


def test_a_quote_above_the_ramp_waits_and_says_until_when() -> None:
    job = open_job()
    said = reason(job, [ask(price=150)])
    assert (
        said
        == "the cheapest free ask costs 150 DAI; the ramp stands at 100 DAI and reaches it at 1970-01-01 02:55:00 UTC"
    )
    later = [ask(price=150, expires_at=NOW + 1_000)]
    assert run([job], later, NOW + 499).matches == ()
    assert run([job], later, NOW + 500).matches


def test_a_quote_at_the_cap_of_a_rising_ramp_is_never_reached() -> None:
    assert reached(open_job().job, Wei(200)) is None
    assert reached(open_job(price_start=Wei(200)).job, Wei(200)) == NOW
    said = reason(open_job(), [ask(price=200)])
    assert said == "the cheapest fitting ask costs 200 DAI, which the ramp up to 200 DAI never reaches"


@pytest.mark.parametrize(
    ("fields", "asks", "said"),
    [
        ({}, [], "no provider offers anything now"),
        ({}, [ask(expires_at=NOW)], "no provider offers anything now"),
        ({"submitter": PROVIDERS[0]}, [ask()], "the only offer is the submitter's own"),
        ({"token": GLM}, [ask()], f"no ask takes the token {GLM}"),
        ({"bond": Wei(11)}, [ask()], "no fitting ask locks a bond of 11 DAI; the most is 10 DAI"),
        (
            {},
            [ask(price=201)],
            "the cheapest fitting ask costs 201 DAI, which the ramp up to 200 DAI never reaches",
        ),
        ({"award_by": Timestamp(NOW)}, [ask()], "it could be awarded only before 1970-01-01 02:46:40 UTC"),
        (
            {"open_at": Timestamp(NOW + 1), "matcher": SUBMITTER},
            [ask()],
            f"only {SUBMITTER} may award it before 1970-01-01 02:46:41 UTC",
        ),
    ],
)
def test_an_unmatched_job_says_what_lacks(fields: dict[str, Any], asks: list[Ask], said: str) -> None:
    job = open_job(**fields)
    assert reason(job, asks, balances={(job.job.token, job.job.submitter): Wei(1_000)}) == said


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            {"gpus": 1, "gpu_model": "a100", "vram_mib": 81_920},
            "no ask has 1 GPU with a100 and 81920 MiB; the best has none",
        ),
        ({"gpus": 3, "gpu_model": "h100"}, "no ask has 3 GPUs with h100; the best has 2"),
        ({"gpus": 9}, "no ask has 9 GPUs; the best has 2"),
        ({"cpu_millis": 8_500}, "no ask has 8.5 cores; the most is 4"),
        ({"memory_mib": 9_000}, "no ask has 9000 MiB of memory; the most is 8192"),
        ({"disk_mib": 9_000}, "no ask has 9000 MiB of disk; the most is 8192"),
        ({"gpus": 1, "cpu_millis": 3_000}, "no single ask has all that it needs"),
    ],
)
def test_a_job_without_hardware_says_which(wanted: dict[str, Any], said: str) -> None:
    h100 = Gpu(model="NVIDIA H100 80GB", vram_mib=81_559)
    asks = [ask(PROVIDERS[0]), ask(PROVIDERS[1], capacity={"gpus": (h100, h100), "cpu_millis": 2_000})]
    assert reason(open_job(resources=Resources(**wanted)), asks) == said


def test_before_open_at_this_market_may_award_its_own_jobs_and_afterwards_all() -> None:
    ours = open_job(open_at=Timestamp(NOW + 50), matcher=MATCHER)
    others = open_job(open_at=Timestamp(NOW + 50), matcher=SUBMITTER)
    assert run([ours], [ask()]).matches
    assert run([others], [ask()]).matches == ()
    assert run([others], [ask()], NOW + 50).matches


def test_one_balance_makes_providers_stage_for_no_more_jobs_than_it_covers() -> None:
    jobs = [open_job(number) for number in range(1, 101)]
    asks = [ask(capacity={"slots": 200, "cpu_millis": 10**9, "memory_mib": 10**9, "disk_mib": 10**9})]
    matching = run(jobs, asks, balances={(DAI, SUBMITTER): Wei(450)})
    assert [each.job for each in matching.matches] == [jobs[0].id, jobs[1].id]
    assert (
        matching.reasons[jobs[99].id]
        == "the submitter has 50 DAI free, which does not cover the cap of 200 DAI"
    )


def test_a_provider_whose_deposit_does_not_cover_the_bond_is_passed_over() -> None:
    job, asks = open_job(), [ask(PROVIDERS[0], 0), ask(PROVIDERS[1], 50)]
    deposits = {(DAI, PROVIDERS[0]): Wei(9), (DAI, PROVIDERS[1]): Wei(10)}
    assert run([job], asks, deposits=deposits).matches == (Suggestion(job.id, PROVIDERS[1], Wei(50)),)
    assert (
        reason(job, asks, deposits={(GLM, PROVIDERS[0]): Wei(10)})
        == f"{PROVIDERS[0]}, the cheapest that fits, has not deposited the bond of 10 DAI"
    )
    assert run([open_job(bond=Wei(0))], asks, deposits={}).matches


def test_one_deposit_is_not_promised_to_two_jobs() -> None:
    jobs = [open_job(number) for number in (1, 2)]
    matching = run(jobs, [ask()], deposits={(DAI, PROVIDERS[0]): Wei(19)})
    assert [each.job for each in matching.matches] == [jobs[0].id]
    assert "has not deposited the bond of 10 DAI" in matching.reasons[jobs[1].id]
    assert len(run(jobs, [ask()], deposits={(DAI, PROVIDERS[0]): Wei(20)}).matches) == 2


def test_a_provider_that_let_the_job_go_is_passed_over() -> None:
    job, both = open_job(), [ask(PROVIDERS[0], 40), ask(PROVIDERS[1], 50)]
    assert run([job], both, skipped={(job.id, PROVIDERS[0])}).matches[0].provider == PROVIDERS[1]
    said = reason(job, [both[0]], skipped={(job.id, PROVIDERS[0])})
    assert said == "every fitting provider let it go; they are asked again in a while"


resources = st.builds(
    Resources,
    cpu_millis=st.integers(100, 3_000),
    memory_mib=st.integers(16, 4_000),
    disk_mib=st.integers(16, 4_000),
    gpus=st.integers(0, 2),
    gpu_model=st.sampled_from([None, "a100", "h100"]),
)
gpus = st.lists(
    st.builds(Gpu, model=st.sampled_from(["NVIDIA A100", "H100"]), vram_mib=st.integers(0, 90_000)),
    max_size=3,
)
jobs = st.lists(
    st.builds(
        open_job,
        number=st.integers(1, 40),
        resources=resources,
        received=st.integers(0, 5),
        price_start=st.integers(0, 100),
        price_cap=st.integers(100, 300),
        bond=st.integers(0, 20),
        token=st.sampled_from([DAI, DAI, GLM]),
        submitter=st.sampled_from([SUBMITTER, PROVIDERS[0]]),
        matcher=st.sampled_from([MATCHER, SUBMITTER]),
        open_at=st.integers(NOW - 500, NOW + 50),
        award_by=st.sampled_from([NOW, NOW + 51, NOW + 10**9, (1 << 40) - 1]),
    ),
    max_size=12,
    unique_by=lambda each: each.id,
)
asks = st.lists(
    st.builds(
        lambda provider, price, slots, cpus, gpus, issued: ask(
            provider,
            price,
            capacity={"slots": slots, "cpu_millis": cpus, "gpus": tuple(gpus)},
            issued_at=issued,
        ),
        provider=st.sampled_from(PROVIDERS),
        price=st.integers(0, 250),
        slots=st.integers(1, 3),
        cpus=st.integers(0, 6_000),
        gpus=gpus,
        issued=st.integers(0, 3),
    ),
    max_size=6,
    unique_by=lambda each: each.provider,
)
taken = st.lists(st.builds(Taken, st.sampled_from(PROVIDERS), resources, st.booleans()), max_size=4)
balances = st.fixed_dictionaries(
    {(DAI, SUBMITTER): st.integers(0, 3_000), (DAI, PROVIDERS[0]): st.integers(0, 3_000)}
)
deposits = st.dictionaries(st.sampled_from([(DAI, each) for each in PROVIDERS]), st.integers(-5, 60))


@settings(max_examples=200, deadline=None)
@given(jobs, asks, taken, balances, deposits, st.integers(NOW, NOW + 60))
def test_whatever_is_asked_nothing_is_given_twice_and_nobody_is_left_without_a_word(
    jobs: list[OpenJob],
    asks: list[Ask],
    taken: list[Taken],
    balances: dict[tuple[Address, Address], Wei],
    deposits: dict[tuple[Address, Address], Wei],
    now: int,
) -> None:
    matching = run(jobs, asks, now, taken=taken, balances=balances, deposits=deposits)
    by_id, by_provider = {job.id: job for job in jobs}, {each.provider: each for each in asks}

    # Each job once: matched, or with a reason of one line.
    matched = [each.job for each in matching.matches]
    assert sorted([*matched, *matching.reasons]) == sorted(by_id)
    assert all(said and "\n" not in said for said in matching.reasons.values())

    # Nothing double-booked: what was given, one by one, still fitted.
    def held(provider: str, *, ended: bool) -> list[Resources]:
        return [each.resources for each in taken if (each.provider, each.ended) == (provider, ended)]

    free = {
        each.provider: remaining(
            each.capacity, held(each.provider, ended=False), held(each.provider, ended=True)
        )
        for each in asks
    }
    spent: dict[Address, int] = {}
    locked: dict[Address, int] = {}
    for each in matching.matches:
        job, offer = by_id[each.job], by_provider[each.provider]
        assert fits(job.resources, free[each.provider]) is None
        free[each.provider] = without(free[each.provider], job.resources)

        # Never above the ramp, never but the ask's own quote, never to oneself, never beyond the balance.
        assert each.price == quote(offer.prices[job.job.token], job.resources, job.max_seconds)
        assert each.price <= ramp(job.job, Timestamp(now))
        assert now < job.job.award_by
        assert each.provider != job.job.submitter
        assert job.job.bond <= offer.max_bond[job.job.token]
        locked[each.provider] = locked.get(each.provider, 0) + job.job.bond
        spent[job.job.submitter] = spent.get(job.job.submitter, 0) + job.job.price_cap
    assert all(amount <= deposits.get((DAI, provider), 0) for provider, amount in locked.items() if amount)
    assert all(amount <= balances[DAI, submitter] for submitter, amount in spent.items())

    # The same in any order; but the first of those whose run has ended hold least.
    again = run(
        jobs[::-1],
        asks[::-1],
        now,
        taken=sorted(taken, key=lambda each: each.ended),
        balances=balances,
        deposits=deposits,
    )
    assert (again.matches, again.reasons) == (matching.matches, matching.reasons)


@given(
    start=st.integers(0, 1_000),
    rise=st.integers(0, 1_000),
    span=st.integers(1, 500),
    price=st.integers(0, 2_100),
)
def test_reached_is_the_first_second_whose_ramp_allows_the_price(
    start: int, rise: int, span: int, price: int
) -> None:
    job = open_job(price_start=Wei(start), price_cap=Wei(start + rise), award_by=Timestamp(NOW + span)).job
    allowed = [at for at in range(NOW, NOW + span) if ramp(job, Timestamp(at)) >= price]
    assert reached(job, Wei(price)) == (allowed[0] if allowed else None)


def placed(
    provider: Address = PROVIDERS[1], price: int = 50, expires_at: int = NOW + 1
) -> dict[JobId, list[Bid]]:
    """A bid on chain for `open_job()`."""
    job = open_job().id
    bid = Bid(job=job, provider=provider, price=Wei(price), expires_at=Timestamp(expires_at))
    return {job: [bid]}


@pytest.mark.parametrize(("price", "winner"), [(49, 1), (50, 1), (51, 0)])
def test_a_bid_on_chain_wins_over_an_ask_that_is_no_cheaper(price: int, winner: int) -> None:
    (found,) = run([open_job()], [ask()], placed=placed(price=price)).matches
    assert (found.provider, found.bid is not None) == (PROVIDERS[winner], winner == 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"placed": placed(expires_at=NOW)},
        {"placed": placed(price=101)},
        {"placed": placed(SUBMITTER), "deposits": {(DAI, SUBMITTER): Wei(10**9)}},
        {"placed": placed(), "deposits": {(DAI, PROVIDERS[1]): Wei(9)}},
        {"placed": placed(), "skipped": {(open_job().id, PROVIDERS[1])}},
    ],
    ids=["expired", "above the ramp", "the submitter's own", "no bond", "let go just now"],
)
def test_a_bid_on_chain_that_would_be_refused_is_no_match(fields: dict[str, Any]) -> None:
    assert run([open_job()], [], placed=placed()).matches
    assert run([open_job()], [], **fields).matches == ()
