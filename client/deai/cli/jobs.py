"""`deai status` and `deai history`: where a job stands, and how it came there."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from deai.cli.root import main
from deai.errors import BadField, Unavailable, WrongRequest
from deai.job import JobId, JobState, Timestamp
from deai.terminal import command, emit, open_submitter, safe_line, say

if TYPE_CHECKING:
    from deai.submitter import Submitter


@command(main, "status")
@click.argument("job", required=False)
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
    try:
        view, note = submitter.view(job), ""
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
                "history": history,
            }
        )
    say(f"{job if details else job[:12]}  {state:<10} {safe_line(note)}")
    if details:
        for line in view.history if view else ():
            say(f"  {utc(Timestamp(line.at))}  {safe_line(line.event):<12} {safe_line(line.text)}")
        if result:
            say(f"  result {result}")
    return None


@command(main, "history")
@click.argument("job", required=False)
@click.option("--rpc", help="The node to ask, instead of DEAI_RPC.")
@click.option(
    "--deployment", type=click.Path(path_type=Path), help="The deployment file, instead of DEAI_DEPLOYMENT."
)
def history(job: str | None, rpc: str | None, deployment: Path | None, as_json: bool) -> None:
    """Show jobs, bids, awards, deliveries and payments from the chain's events alone; asks no server but the node."""
    from deai.deployment import Deployment
    from deai.history import history as lines
    from deai.home import Home
    from deai.settings import ChainSettings, HomeSettings, load
    from deai.web3_chain import Web3Chain

    given = {key: value for key, value in (("rpc", rpc), ("deployment", deployment)) if value is not None}
    settings = load(ChainSettings, **given)
    found = Deployment.load(settings.deployment)
    wanted = Home(load(HomeSettings).home).find(job) if job else None
    told = False
    for line in lines(Web3Chain(settings.rpc, found), found, wanted):
        told = True
        if as_json:
            emit(line.as_json())
        else:
            say(str(line))
    if not told and not as_json:
        say("the chain tells nothing of it")
