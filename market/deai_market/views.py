"""Rows as the bodies that HTTP shows. Pure."""

from collections.abc import Callable, Iterable, Sequence

from deai.cid import Cid, Codec
from deai.clock import utc
from deai.errors import BadField
from deai.job import Address, JobId, JobState, Outcome, Timestamp, Wei
from deai.wire import HistoryLine, JobJson, JobView, Match, Matches
from deai_market import events
from deai_market.queries import Known
from deai_market.tables import CancellationRow, EventRow, MatchRow, MatchStep, ObservationRow, OrderRow

_SIGNED = "Signed"

_STATES: dict[str, tuple[JobState, Outcome]] = {
    _SIGNED: (JobState.UNKNOWN, Outcome.NONE),
    **{
        state.name.capitalize(): (state, Outcome.NONE)
        for state in JobState
        if state not in (JobState.UNKNOWN, JobState.CLOSED)
    },
    **{
        outcome.name.capitalize(): (JobState.CLOSED, outcome)
        for outcome in Outcome
        if outcome != Outcome.NONE
    },
}


def state_of(text: str) -> tuple[JobState, Outcome]:
    """What a state's name stands for. Raises BadField that names the known ones."""
    if text not in _STATES:
        raise BadField("state", text[:80], f"is one of {', '.join(_STATES)}")
    return _STATES[text]


def job_view(known: Known, note: str, history: Iterable[HistoryLine] = ()) -> JobView:
    """A job, and where it is."""
    state, chain_job = _SIGNED, known.chain_job
    provider = price = result = token = since = rule_by = None
    if chain_job is not None and chain_job.state != JobState.UNKNOWN:
        closed = chain_job.state == JobState.CLOSED
        state = (Outcome(chain_job.outcome) if closed else JobState(chain_job.state)).name.capitalize()
        provider, price, result = chain_job.provider, chain_job.price, chain_job.result
        token, since, rule_by = chain_job.token, chain_job.since, chain_job.rule_by
    if known.order is not None:
        token = known.order.token
        since = known.order.received // 1_000 if known.order.signature else since
    return JobView(
        id=known.id,
        name=known.order.name if known.order else "",
        submitter=known.submitter,
        state=state,
        note=note,
        provider=Address(provider) if provider else None,
        price=Wei(int(price)) if price else None,
        token=Address(token) if token else None,
        since=since,
        result_cid=str(Cid(Codec.DAG_PB, result)) if result else None,
        rule_by=rule_by,
        history=tuple(history),
    )


def note(known: Known, match: MatchRow | None, waiting: str | None, epoch: int, now: Timestamp) -> str:
    """Why the job is where it is. `waiting` is what was said of it last; `epoch` is its submitter's in its token."""
    chain_job, order = known.chain_job, known.order
    if chain_job is None or chain_job.state in (JobState.UNKNOWN, JobState.OPEN):
        if order is not None and order.epoch < epoch:
            return "its submitter ended all its jobs of that epoch; nobody can award it any more"
        if match is not None and match.step == MatchStep.WAITING:
            return f"matched with {match.provider}, which has yet to bid"
        if match is not None:
            return f"{match.provider} bid; its award is on its way to the chain"
        award_by = order.award_by if order else chain_job.award_by if chain_job else None
        if award_by is not None and award_by <= now:
            return "nobody was found before its award_by; sign a new job"
        return waiting or "waiting to be matched"
    deliver_by, window_end = Timestamp(chain_job.deliver_by or 0), Timestamp(chain_job.window_end or 0)
    rule_by = Timestamp(chain_job.rule_by or 0)
    match JobState(chain_job.state):
        case JobState.AWARDED if deliver_by > now:
            return f"awarded to {chain_job.provider}, which has to deliver by {utc(deliver_by)}"
        case JobState.AWARDED:
            return f"{chain_job.provider} missed the deadline; anyone may reclaim the price for the submitter"
        case JobState.DELIVERED if window_end > now:
            return f"delivered; paid when its submitter approves, or when anyone settles it from {utc(window_end)} on"
        case JobState.DELIVERED:
            return "delivered, and its window is over; anyone may settle it"
        case JobState.DISPUTED if rule_by > now:
            return f"disputed; {chain_job.arbiter} has until {utc(rule_by)} to rule"
        case JobState.DISPUTED:
            return f"disputed, and {chain_job.arbiter} did not rule in time; anyone may let the case lapse"
        case _:
            return "closed"


def history(
    rows: Sequence[EventRow],
    observed: Sequence[ObservationRow],
    cancellation: CancellationRow | None = None,
    *,
    token: str | None,
    final: int,
    show: Callable[[Address, Wei], str],
) -> list[HistoryLine]:
    """The job's life in order of time. Blocks up to `final` are deep enough not to be undone."""
    of_chain = [
        HistoryLine(
            at=row.time,
            event=row.kind,
            text=events.text(events.load(row), Address(token) if token else None, show),
            block=row.block,
            tx=row.tx,
            final=row.block <= final,
        )
        for row in rows
    ]
    if cancellation is not None:
        of_chain.append(
            HistoryLine(
                at=cancellation.time,
                event="AllCancelled",
                text=f"{cancellation.account} ended all its jobs in this token that were not awarded",
                block=cancellation.block,
                tx=cancellation.tx,
                final=cancellation.block <= final,
            )
        )
    of_others = [HistoryLine(at=row.at, event=row.event, text=row.text) for row in observed]
    # Stable: what the chain did in one second stays in the chain's order.
    return sorted(of_chain + of_others, key=lambda line: line.at)


def matches(found: Sequence[tuple[MatchRow, OrderRow]], after: int) -> Matches:
    """The matches, and the cursor to wait for more."""
    return Matches(
        cursor=max((row.number for row, _ in found), default=after),
        matches=tuple(
            Match(id=JobId(order.id), job=JobJson.model_validate_json(order.job), signature=order.signature)
            for _, order in found
        ),
    )
