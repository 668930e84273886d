"""`deai status` and `deai history`: where a job stands, and how it came there."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deai.cli import completion
from deai.cli.callback import told
from deai.cli.root import main
from deai.errors import BadField, Unavailable, WrongRequest
from deai.job import JobId, JobState, Outcome, Timestamp
from deai.terminal import command, emit, open_submitter, own_address, safe_line, say
from deai.words import nearest

if TYPE_CHECKING:
    from deai.cid import Cid
    from deai.submitter import Progress, Submitter
    from deai.wire import JobView


MOST_JOBS = 500
"""The most that a market lists."""
STATES = (
    "Signed",
    *(each.name.capitalize() for each in JobState if each not in (JobState.UNKNOWN, JobState.CLOSED)),
    *(each.name.capitalize() for each in Outcome if each is not Outcome.NONE),
)


_DEADLINES = {
    JobState.AWARDED: "to be delivered before",
    JobState.DELIVERED: "anyone may settle from",
    JobState.DISPUTED: "the panel rules before",
}


@command(main, "status")
@click.argument("job", required=False, shell_complete=completion.jobs)
def status(job: str | None, as_json: bool) -> None:
    """Show a job's state, or all jobs signed here."""
    submitter = open_submitter()
    wanted = [submitter.home.find(job)] if job else submitter.home.orders()
    for each in wanted:
        _status(submitter, each, as_json, details=job is not None)
    if not wanted and not as_json:
        say("no job was signed here")


def _status(submitter: "Submitter", job: JobId, as_json: bool, details: bool) -> None:
    from deai.cid import Cid
    from deai.clock import utc

    progress = submitter.progress(job)
    called = None
    try:
        view, note = submitter.view(job), ""
        called = submitter.callback(job) if details else None
    except (Unavailable, WrongRequest) as error:
        view, note = None, f"the market says nothing: {error}"
    on_chain = progress.state is not JobState.UNKNOWN
    if view is None and not on_chain and job not in submitter.home.orders():
        raise BadField("job", job, f"is known neither to the chain nor to this home folder, and {note}")
    # Of a job that the chain does not know, the market can tell no more than that it has the order.
    state = "Signed" if view is not None and not on_chain else progress.name
    note = view.note if view is not None else note
    result = (
        str(Cid.from_bytes(b"\x12\x20" + progress.terms.result))
        if progress.terms and any(progress.terms.result)
        else None
    )
    case = submitter.case(job) if details else None
    end = submitter.ends([Cid.parse(result)]).get(Cid.parse(result)) if result else None
    price = progress.terms.price if progress.terms else None
    if as_json:
        history = [line.model_dump(mode="json") for line in view.history] if view else []
        return emit(
            {
                "job": job,
                "state": state,
                "on_chain": on_chain,
                "note": note,
                "price": None if price is None else str(price),
                "result_cid": result,
                "end": end,
                "deadline": _deadline(progress),
                "case": case.as_json() if case else None,
                "history": history,
                "callback": called.model_dump(mode="json") if called else None,
            }
        )
    ended = f"{end}  " if end else ""
    say(f"{job if details else job[:12]}  {state:<10} {ended}{safe_line(note)}")
    if details:
        for line in view.history if view else ():
            say(f"  {utc(Timestamp(line.at))}  {safe_line(line.event):<12} {safe_line(line.text)}")
        if result:
            say(f"  result {result}{f', {end}' if end else ''}")
        deadline = _deadline(progress)
        if deadline is not None:
            say(f"  {_DEADLINES[progress.state]} {utc(Timestamp(deadline))}")
        if case is not None:
            say(f"  case {case}")
        elif progress.state is JobState.DISPUTED:
            say("  case: none is open at the panel")
        if called:
            say(f"  callback {told(called)}")
    return None


def _deadline(progress: "Progress") -> int | None:
    """When the job's state ends by time: chain seconds."""
    return progress.terms.deadline if progress.terms and progress.state in _DEADLINES else None


@command(main, "jobs")
@click.option(
    "--state",
    help="Only those in this state: Signed, Open, Awarded, Delivered, Disputed, Paid, Refunded, Split or Cancelled.",
)
@click.option("--all", "everybodys", is_flag=True, help="Everybody's jobs on this market, not only yours.")
def jobs(state: str | None, everybodys: bool, as_json: bool) -> None:
    """List your jobs on the market, the newest first: state, price, age."""
    import time
    from contextlib import closing

    from deai.deployment import Deployment
    from deai.endings import Endings
    from deai.gateway_store import GatewayStore
    from deai.market_api import MarketApi
    from deai.settings import Settings, load

    wanted = _state(state)
    settings = load(Settings)
    deployment = Deployment.load(settings.deployment)
    mine = None if everybodys else own_address(settings)
    with MarketApi(settings.market, deployment.domain) as market, closing(GatewayStore(market.url)) as store:
        views = market.jobs(submitter=mine, state=wanted, limit=MOST_JOBS)
        results = _results(views)
        # Of strangers' jobs the results are not looked at: anybody may fill a market with them.
        ends = Endings(store, settings.home).of(results.values()) if mine else {}
    symbols = {token.address: token for token in deployment.tokens}
    for view in views:
        end = ends.get(results[view.id], "") if view.id in results else ""
        if as_json:
            emit(view.model_dump(mode="json", exclude={"history"}) | {"end": end or None})
            continue
        token = symbols.get(view.token) if view.token else None
        price = "-" if view.price is None else token.show(view.price) if token else f"{view.price} units"
        age = "-" if view.since is None else _age(int(time.time()) - view.since)
        say(
            f"{view.id[:12]}  {safe_line(view.state):<10} {price:>14} {age:>5}  {end:<8}  {safe_line(view.name)}"
        )
    if not views and not as_json:
        say("no such jobs on this market" if wanted or everybodys else "you have no jobs on this market")


def _results(views: "list[JobView]") -> "dict[JobId, Cid]":
    from deai.cid import Cid

    found = {}
    for view in views:
        try:
            found[view.id] = Cid.parse(view.result_cid or "")
        except BadField:
            continue  # none yet; or a market's that does not know better
    return found


def _state(text: str | None) -> str | None:
    if text is None or text.capitalize() in STATES:
        return text and text.capitalize()
    raise BadField("state", text, f"is no state of a job; {nearest(text, STATES)}")


def _age(seconds: int) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{max(seconds, 0)}s"


@command(main, "history")
@click.argument("job", required=False, shell_complete=completion.jobs)
@click.option("--rpc", help="The node to ask, instead of DEAI_RPC.")
@click.option(
    "--deployment", type=click.Path(path_type=Path), help="The deployment file, instead of DEAI_DEPLOYMENT."
)
def history(job: str | None, rpc: str | None, deployment: Path | None, as_json: bool) -> None:
    """Show jobs, bids, awards, deliveries, votes and payments from the chain's events alone; asks no server but the node."""
    from deai.deployment import Deployment
    from deai.history import history as lines
    from deai.home import Home
    from deai.panel_contract import PanelContract
    from deai.settings import ChainSettings, HomeSettings, load
    from deai.web3_chain import Web3Chain

    given = {key: value for key, value in (("rpc", rpc), ("deployment", deployment)) if value is not None}
    settings = load(ChainSettings, **given)
    found = Deployment.load(settings.deployment)
    wanted = Home(load(HomeSettings).home).find(job) if job else None
    panel = PanelContract(settings.rpc, found) if found.panel else None
    told = False
    for line in lines(Web3Chain(settings.rpc, found), found, wanted, panel):
        told = True
        if as_json:
            emit(line.as_json())
        else:
            say(str(line))
    if not told and not as_json:
        say("the chain tells nothing of it")
