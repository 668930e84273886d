"""The verbs that end a job: approve, settle, cancel, reclaim."""

import click

from deai.cli import completion
from deai.cli.root import main
from deai.terminal import command, emit, open_job, say


def _act(verb: str, job: str, as_json: bool) -> None:
    submitter, found = open_job(job)
    receipt = getattr(submitter, verb)(found)
    progress = submitter.progress(found)
    if as_json:
        emit({"job": found, "state": progress.name, "tx": receipt.tx, "gas": receipt.gas_used})
    else:
        say(f"{found}  {progress.name}  ({receipt.gas_used} gas)")


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


@command(main, "cancel")
@click.argument("job", shell_complete=completion.jobs)
def cancel(job: str, as_json: bool) -> None:
    """End a job that was not awarded yet."""
    _act("cancel", job, as_json)


@command(main, "reclaim")
@click.argument("job", shell_complete=completion.jobs)
def reclaim(job: str, as_json: bool) -> None:
    """Take the price back from a provider that missed its deadline. Anyone may."""
    _act("reclaim", job, as_json)
