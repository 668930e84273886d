"""Which job goes to which ask, and why the others wait. Pure: what is known goes in, matches and reasons come out.

Jobs oldest first; for each the cheapest ask that fits, or the bid placed on chain that is no dearer; ties to the older ask, then to the
lower address. What is matched or awarded already counts as taken, so no capacity is given away twice. No match asks for more than the
job's ramp allows now.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from deai.ask import Ask, Capacity, Gpu, fits, quote, remaining, without
from deai.clock import utc
from deai.job import Address, Bid, Job, JobId, Timestamp, Wei, ramp
from deai.spec import Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenJob:
    """An order that may still be awarded. `received` orders the jobs: older ones are served first."""

    id: JobId
    job: Job
    resources: Resources
    max_seconds: int
    received: int


@dataclass(frozen=True, slots=True)
class Taken:
    """What a job that is matched or awarded takes of its provider's capacity."""

    provider: Address
    resources: Resources
    ended: bool = False
    """Its run is over, as the provider says, and its delivery has yet to come."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A job and the provider it should go to, at the price that provider asks."""

    job: JobId
    provider: Address
    price: Wei
    bid: Bid | None = None
    """Where the provider placed it on chain already: nothing is left but the award."""


@dataclass(frozen=True, slots=True)
class Matching:
    """The outcome. Every job is in exactly one of the two."""

    matches: tuple[Suggestion, ...]
    reasons: dict[JobId, str]


class _Hurdle(IntEnum):
    """How far an ask came with a job; the farthest names what lacks."""

    OWN = 0
    TOKEN = 1
    HARDWARE = 2
    BOND = 3
    CAP = 4
    DEPOSIT = 5
    SKIPPED = 6
    BUSY = 7
    RAMP = 8


_UNPRICED = Wei(0)


@dataclass(frozen=True, slots=True)
class _Miss:
    hurdle: _Hurdle
    ask: Ask
    price: Wei = _UNPRICED


def match(
    jobs: Iterable[OpenJob],
    asks: Iterable[Ask],
    *,
    taken: Iterable[Taken],
    balances: Mapping[tuple[Address, Address], Wei],
    deposits: Mapping[tuple[Address, Address], Wei],
    placed: Mapping[JobId, Collection[Bid]],
    skipped: Collection[tuple[JobId, Address]],
    now: Timestamp,
    matcher: Address,
    show: Callable[[Address, Wei], str],
) -> Matching:
    """Matches `jobs` with `asks` at `now`, as the market whose awards `matcher` sends.

    `taken` is what asks have promised already; `balances` is what a submitter has free of a token, by (token, submitter), net of the jobs
    that wait for their award; `deposits` is the same of providers, net of the bonds they promised; `placed` are bids on chain, by job;
    `skipped` are pairs of job and provider not to try now; `show` spells an amount of a token.
    """
    offers = [ask for ask in asks if ask.expires_at > now]
    held = defaultdict[str, tuple[list[Resources], list[Resources]]](lambda: ([], []))
    for each in taken:
        held[each.provider][each.ended].append(each.resources)
    free = {ask.provider: remaining(ask.capacity, *held[ask.provider]) for ask in offers}
    funds, bonds = dict(balances), dict(deposits)
    matches: list[Suggestion] = []
    reasons: dict[JobId, str] = {}

    for open_job in sorted(jobs, key=lambda each: (each.received, each.id)):
        job, purse = open_job.job, (open_job.job.token, open_job.job.submitter)
        why_not = _closed(job, now, matcher)
        if why_not is None and funds.get(purse, 0) < job.price_cap:
            left = show(job.token, Wei(max(0, funds.get(purse, 0))))
            why_not = f"the submitter has {left} free, which does not cover the cap of {show(job.token, job.price_cap)}"
        if why_not is not None:
            reasons[open_job.id] = why_not
            continue
        # Reserved whether matched or not: one balance never makes providers stage for two jobs.
        funds[purse] = Wei(funds[purse] - job.price_cap)
        found = [
            _try(
                open_job,
                ask,
                free=free[ask.provider],
                deposit=bonds.get((job.token, Address(ask.provider)), Wei(0)),
                skipped=skipped,
                now=now,
            )
            for ask in offers
        ]
        fitting = [each for each in found if isinstance(each, Suggestion)]
        fitting += [
            Suggestion(open_job.id, bid.provider, bid.price, bid)
            for bid in placed.get(open_job.id, ())
            if (open_job.id, bid.provider) not in skipped
            and _stands(bid, job, bonds.get((job.token, bid.provider), Wei(0)), now)
        ]
        if not fitting:
            reasons[open_job.id] = _reason(
                open_job, [each for each in found if isinstance(each, _Miss)], now, show
            )
            continue
        issued: dict[str, int] = {ask.provider: ask.issued_at for ask in offers}
        best = min(
            fitting,
            key=lambda each: (each.price, each.bid is None, issued.get(each.provider, 0), each.provider),
        )
        if best.provider in free:
            free[best.provider] = without(free[best.provider], open_job.resources)
        if job.bond:
            bonds[job.token, best.provider] = Wei(bonds[job.token, best.provider] - job.bond)
        matches.append(best)
    return Matching(tuple(matches), reasons)


def reached(job: Job, price: Wei) -> Timestamp | None:
    """When the job's ramp first allows `price`, in chain seconds; None if it does not before `award_by`."""
    if price <= job.price_start:
        return job.open_at
    if price > job.price_cap:
        return None
    rise, span = job.price_cap - job.price_start, job.award_by - job.open_at
    at = job.open_at - (-(price - job.price_start) * span // rise)
    return Timestamp(at) if at < job.award_by else None


def _closed(job: Job, now: Timestamp, matcher: Address) -> str | None:
    if now >= job.award_by:
        return f"it could be awarded only before {utc(job.award_by)}"
    if now < job.open_at and job.matcher != matcher:
        return f"only {job.matcher} may award it before {utc(job.open_at)}"
    return None


def _stands(bid: Bid, job: Job, deposit: Wei, now: Timestamp) -> bool:
    """Whether a bid placed on chain could be awarded at `now`."""
    is_party = bid.provider in (job.submitter, job.arbiter)
    return (
        not is_party and now < bid.expires_at and bid.price <= ramp(job, now) and job.bond <= max(0, deposit)
    )


def _try(
    open_job: OpenJob,
    ask: Ask,
    *,
    free: Capacity,
    deposit: Wei,
    skipped: Collection[tuple[JobId, Address]],
    now: Timestamp,
) -> Suggestion | _Miss:
    job, provider = open_job.job, Address(ask.provider)
    if provider == job.submitter:
        return _Miss(_Hurdle.OWN, ask)
    prices = ask.prices.get(job.token)
    if prices is None:
        return _Miss(_Hurdle.TOKEN, ask)
    if fits(open_job.resources, ask.capacity) is not None:
        return _Miss(_Hurdle.HARDWARE, ask)
    if job.bond > ask.max_bond.get(job.token, 0):
        return _Miss(_Hurdle.BOND, ask)
    price = quote(prices, open_job.resources, open_job.max_seconds)
    if reached(job, price) is None:
        return _Miss(_Hurdle.CAP, ask, price)
    if job.bond > max(0, deposit):
        return _Miss(_Hurdle.DEPOSIT, ask, price)
    if (open_job.id, provider) in skipped:
        return _Miss(_Hurdle.SKIPPED, ask, price)
    if fits(open_job.resources, free) is not None:
        return _Miss(_Hurdle.BUSY, ask, price)
    if price > ramp(job, now):
        return _Miss(_Hurdle.RAMP, ask, price)
    return Suggestion(open_job.id, provider, price)


def _reason(
    open_job: OpenJob, misses: list[_Miss], now: Timestamp, show: Callable[[Address, Wei], str]
) -> str:
    job = open_job.job
    farthest = max((miss.hurdle for miss in misses), default=None)
    there = [miss for miss in misses if miss.hurdle == farthest]
    match farthest:
        case None:
            return "no provider offers anything now"
        case _Hurdle.OWN:
            return "the only offer is the submitter's own"
        case _Hurdle.TOKEN:
            return f"no ask takes the token {job.token}"
        case _Hurdle.HARDWARE:
            return _lacking(open_job.resources, [miss.ask.capacity for miss in there])
        case _Hurdle.BOND:
            most = max(miss.ask.max_bond.get(job.token, 0) for miss in there)
            return f"no fitting ask locks a bond of {show(job.token, job.bond)}; the most is {show(job.token, Wei(most))}"
        case _Hurdle.CAP:
            cheapest = show(job.token, min(miss.price for miss in there))
            return f"the cheapest fitting ask costs {cheapest}, which the ramp up to {show(job.token, job.price_cap)} never reaches"
        case _Hurdle.DEPOSIT:
            cheapest_ask = min(there, key=lambda miss: (miss.price, miss.ask.provider)).ask
            return f"{cheapest_ask.provider}, the cheapest that fits, has not deposited the bond of {show(job.token, job.bond)}"
        case _Hurdle.SKIPPED:
            return "every fitting provider let it go; they are asked again in a while"
        case _Hurdle.BUSY:
            return "every fitting provider is busy"
        case _:
            price = min(miss.price for miss in there)
            when = reached(job, price)
            return (
                f"the cheapest free ask costs {show(job.token, price)}; the ramp stands at {show(job.token, ramp(job, now))}"
                f" and reaches it at {utc(when or job.award_by)}"
            )


def _lacking(wanted: Resources, capacities: list[Capacity]) -> str:
    for name, unit, size in (
        ("cpu_millis", "cores", 1_000),
        ("memory_mib", "MiB of memory", 1),
        ("disk_mib", "MiB of disk", 1),
    ):
        most = max(getattr(capacity, name) for capacity in capacities)
        if getattr(wanted, name) > most:
            return f"no ask has {getattr(wanted, name) / size:.10g} {unit}; the most is {most / size:.10g}"
    if wanted.gpus:
        most = max(_gpus(wanted, capacity) for capacity in capacities)
        if wanted.gpus > most:
            with_what = " and ".join(
                filter(None, (wanted.gpu_model, f"{wanted.vram_mib} MiB" if wanted.vram_mib else None))
            )
            count = f"{wanted.gpus} GPU{'s' if wanted.gpus > 1 else ''}"
            return f"no ask has {count}{' with ' + with_what if with_what else ''}; the best has {most or 'none'}"
    return "no single ask has all that it needs"


def _gpus(wanted: Resources, capacity: Capacity) -> int:
    """How many GPUs of the wanted kind there are."""
    one = wanted.model_copy(update={"gpus": 1})
    return sum(fits(one, _with_one(gpu, wanted)) is None for gpu in capacity.gpus)


def _with_one(gpu: Gpu, room: Resources) -> Capacity:
    return Capacity(
        cpu_millis=room.cpu_millis, memory_mib=room.memory_mib, disk_mib=room.disk_mib, gpus=(gpu,)
    )
