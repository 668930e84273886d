"""`deai logs`: what a run prints."""

import click

from deai.cli.root import main
from deai.job import JobState
from deai.terminal import command, emit, open_job, safe_lines

FOLLOW_SECONDS = 20.0


@command(main, "logs")
@click.argument("job")
@click.option("--follow", is_flag=True, help="Keep printing until the run ends.")
def logs(job: str, follow: bool, as_json: bool) -> None:
    """Print a job's output. Only its submitter can. Control characters are shown, not obeyed."""
    submitter, found = open_job(job)
    offset = 0
    while True:
        chunk = submitter.market.logs(submitter.account, found, offset, FOLLOW_SECONDS if follow else 0.0)
        offset += len(chunk.data)
        if as_json:
            emit(chunk.model_dump(mode="json"))
        elif chunk.data:
            click.echo(safe_lines(chunk.data.decode(errors="replace")), nl=False)
        closed = submitter.chain.state(found)[0] is JobState.CLOSED
        if chunk.end or (not chunk.data and (not follow or closed)):
            return
