"""The escrow's job events as rows, and back; what they make of a job; and how a person reads them. Pure."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from deai.chain import (
    BidPlaced,
    JobAwarded,
    JobCancelled,
    JobClosed,
    JobDelivered,
    JobDisputed,
    JobEvent,
    JobPosted,
)
from deai.cid import Cid, Codec
from deai.clock import utc
from deai.job import ZERO_ADDRESS, Address, Bid, Job, JobState, Outcome, Payout, Terms, Wei
from deai_market.tables import ChainJobRow, EventRow

KINDS: dict[str, type[JobEvent]] = {
    kind.__name__: kind
    for kind in (JobPosted, BidPlaced, JobCancelled, JobAwarded, JobDelivered, JobDisputed, JobClosed)
}
"""The events about jobs, by name."""

_VALUES: dict[str, type[Any]] = {"job": Job, "bid": Bid, "terms": Terms, "payout": Payout}
_PLACE = ("block", "block_hash", "tx", "index")


def dump(event: JobEvent, time: int) -> EventRow:
    """The row of an event in a block of that time."""
    body = {name: value for name, value in asdict(event).items() if name not in _PLACE}
    return EventRow(
        block=event.block,
        index=event.index,
        block_hash=event.block_hash,
        time=time,
        tx=event.tx,
        job=event.id,
        kind=type(event).__name__,
        body=json.dumps(body, default=lambda value: {"hex": value.hex()}),
    )


def load(row: EventRow) -> JobEvent:
    """The event of a row."""
    fields = json.loads(
        row.body, object_hook=lambda read: bytes.fromhex(read["hex"]) if read.keys() == {"hex"} else read
    )
    values = {name: _VALUES[name](**value) if name in _VALUES else value for name, value in fields.items()}
    if "outcome" in values:
        values["outcome"] = Outcome(values["outcome"])
    return KINDS[row.kind](**values, **{name: getattr(row, name) for name in _PLACE})


def bids(rows: Iterable[EventRow]) -> list[Bid]:
    """The bids that were placed on chain, among these events."""
    found = (load(row) for row in rows if row.kind == BidPlaced.__name__)
    return [event.bid for event in found if isinstance(event, BidPlaced)]


def fold(rows: Iterable[EventRow]) -> ChainJobRow | None:
    """A job's row from all its events in chain order; None when nothing moved its state."""
    job: ChainJobRow | None = None
    for row in rows:
        event = load(row)
        if isinstance(event, BidPlaced):
            continue
        if job is None:
            job = ChainJobRow(
                id=event.id, submitter="", state=JobState.UNKNOWN, outcome=Outcome.NONE, since=row.time
            )
        match event:
            case JobPosted():
                job.submitter, job.token, job.state = event.job.submitter, event.job.token, JobState.OPEN
                job.award_by = event.job.award_by
            case JobCancelled():
                job.submitter, job.state, job.outcome = event.submitter, JobState.CLOSED, Outcome.CANCELLED
            case JobAwarded(terms=terms):
                job.submitter, job.token, job.provider = terms.submitter, terms.token, terms.provider
                job.price, job.deliver_by, job.state = str(terms.price), terms.deliver_by, JobState.AWARDED
                job.arbiter = terms.arbiter if terms.arbiter != ZERO_ADDRESS else None
            case JobDelivered():
                job.result, job.window_end, job.state = event.result, event.window_end, JobState.DELIVERED
            case JobDisputed():
                job.rule_by, job.state = event.rule_by, JobState.DISPUTED
            case JobClosed():
                job.outcome, job.state = event.outcome, JobState.CLOSED
    return job


def text(event: JobEvent, token: Address | None, show: Callable[[Address, Wei], str]) -> str:
    """One sentence on what happened; `show` spells an amount of `token`, the job's."""

    def amount(wei: Wei) -> str:
        return show(token, wei) if token else str(wei)

    match event:
        case JobPosted(job=job):
            return f"posted by {job.submitter}, for at most {show(job.token, job.price_cap)}"
        case BidPlaced(bid=bid):
            return f"{bid.provider} placed a bid of {amount(bid.price)}"
        case JobCancelled(submitter=submitter):
            return f"cancelled by {submitter}"
        case JobAwarded(terms=terms):
            return f"awarded to {terms.provider} for {amount(terms.price)}, bond {amount(terms.bond)}"
        case JobDelivered(result=result):
            return f"delivered {Cid(Codec.DAG_PB, result)}"
        case JobDisputed(disputer=disputer, fee=fee, rule_by=rule_by):
            prepaid = f" and prepaid {amount(fee)}" if fee else ""
            return f"disputed by {disputer}{prepaid}; the arbiter may rule before {utc(rule_by)}"
        case JobClosed(outcome=outcome, payout=payout):
            parts = (
                (payout.to_provider, "to the provider"),
                (payout.to_submitter, "to the submitter"),
                (payout.to_matcher, "to the matcher"),
                (payout.to_arbiter, "to the arbiter"),
                (payout.burned, "burned"),
            )
            moved = ", ".join(f"{amount(wei)} {whither}" for wei, whither in parts if wei)
            return outcome.name.capitalize() + (f": {moved}" if moved else "")
