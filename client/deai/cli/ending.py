"""The verbs that end a job, or lead to its end: approve, settle, dispute, lapse, cancel, reclaim."""

from typing import TYPE_CHECKING

import click

from deai.cli import completion
from deai.cli.root import main
from deai.errors import WrongRequest, WrongState
from deai.job import ZERO_ADDRESS, JobId, JobState, Terms
from deai.terminal import command, emit, open_job, open_submitter, say

if TYPE_CHECKING:
    from deai.submitter import Submitter


def _act(verb: str, job: str, as_json: bool) -> None:
    _acted(*open_job(job), verb, as_json)


def _acted(submitter: "Submitter", job: JobId, verb: str, as_json: bool) -> None:
    try:
        receipt = getattr(submitter, verb)(job)
    except WrongState as error:
        progress = submitter.progress(job)
        if progress.state is JobState.CLOSED:
            error.add_note(f"it is {progress.name} already")
        raise
    progress = submitter.progress(job)
    if as_json:
        emit({"job": job, "state": progress.name, "tx": receipt.tx, "gas": receipt.gas_used})
    else:
        say(f"{job}  {progress.name}  ({receipt.gas_used} gas)")


@command(main, "approve")
@click.argument("job", shell_complete=completion.jobs)
def approve(job: str, as_json: bool) -> None:
    """Pay the provider for what it delivered, now."""
    _act("approve", job, as_json)


@command(main, "settle")
@click.argument("job", shell_complete=completion.jobs)
def settle(job: str, as_json: bool) -> None:
    """Pay the provider once the window is over. Anyone may."""
    _act("settle", job, as_json)


@command(main, "dispute")
@click.argument("job", shell_complete=completion.jobs)
@click.option("--yes", is_flag=True, help="Do not ask.")
def dispute(job: str, yes: bool, as_json: bool) -> None:
    """Let the panel judge what was delivered. Shows what it costs, and asks. Once more, it opens a case that is not open yet."""
    submitter, found = open_job(job)
    terms = submitter.terms(found)
    possible = terms.window_end and not terms.rule_by and terms.arbiter != ZERO_ADDRESS
    if possible and not as_json:
        _show_dispute(submitter, terms)
    if possible and not yes and not click.confirm("Proceed?", default=False, err=as_json):
        raise WrongRequest("not disputed: nothing was sent")
    _acted(submitter, found, "dispute", as_json)
    if not as_json and submitter.panel is not None:
        say(f"`deai status {found}` shows how its case stands, `deai history {found}` who voted what")


def _show_dispute(submitter: "Submitter", terms: Terms) -> None:
    from deai.clock import utc
    from deai.job import BASIS_POINTS, ruled

    token = submitter.deployment.token(terms.token)
    balance = submitter.chain.balance(terms.token, submitter.address)
    opened = terms.disputed(submitter.address, terms.window_end)
    wrong, right = ruled(opened, 0), ruled(opened, BASIS_POINTS)
    rows = [
        ("costs", f"{token.show(terms.dispute_fee)}, prepaid now; you have {token.show(balance)} in the escrow"),
        ("if it is wrong", f"you get {token.show(wrong.to_submitter)}, the fee included, and {token.show(wrong.burned)} of the bond are burned"),
        ("if it is right", f"the provider gets {token.show(right.to_provider)}, its bond included, and the panel your fee"),
        ("if re-runs differ", "from each other, the provider is paid as if it were right"),
        ("if nobody rules", f"within {terms.ruling_seconds} s, half the price comes back, and the fee is burned"),
        ("when", f"it may be disputed before {utc(terms.window_end)}"),
    ]  # fmt: skip
    for name, text in rows:
        say(f"  {name:<20}{text}")


@command(main, "lapse")
@click.argument("job", shell_complete=completion.jobs)
def lapse(job: str, as_json: bool) -> None:
    """End a dispute whose panel was silent: half the price each. Anyone may."""
    _act("lapse", job, as_json)


@command(main, "cancel")
@click.argument("job", required=False, metavar="JOB", shell_complete=completion.jobs)
@click.option(
    "--all",
    "everything",
    is_flag=True,
    help="All that was not awarded, in the token that JOB names then, or in all.",
)
def cancel(job: str | None, everything: bool, as_json: bool) -> None:
    """End a job that was not awarded yet; with --all, every job of yours, signed or posted, wherever it is."""
    if not everything:
        if job is None:
            raise WrongRequest("name a job, or give --all")
        return _act("cancel", job, as_json)
    submitter = open_submitter()
    tokens = [submitter.deployment.token(job)] if job else submitter.deployment.tokens
    for token in tokens:
        receipt = submitter.cancel_all(token.address)
        if as_json:
            emit({"token": token.symbol, "tx": receipt.tx, "gas": receipt.gas_used})
        else:
            say(
                f"no job in {token.symbol} that you signed or posted until now can be awarded any more  ({receipt.gas_used} gas)"
            )
    return None


@command(main, "reclaim")
@click.argument("job", shell_complete=completion.jobs)
def reclaim(job: str, as_json: bool) -> None:
    """Take the price back from a provider that missed its deadline. Anyone may."""
    _act("reclaim", job, as_json)
