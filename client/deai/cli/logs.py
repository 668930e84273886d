"""`deai logs`: what a run prints."""

import codecs
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deai.cli import completion
from deai.cli.root import main
from deai.errors import BadField, DeaiError, WrongRequest
from deai.job import JobId, JobState
from deai.log_lines import Lines, matcher
from deai.terminal import command, confirmed, emit, open_job, safe_lines, say

if TYPE_CHECKING:
    from deai.submitter import Submitter

FOLLOW_SECONDS = 20.0


@command(main, "logs")
@click.argument("job", shell_complete=completion.jobs)
@click.option("--follow", is_flag=True, help="Keep printing until the run ends.")
@click.option(
    "--filter", "wanted", metavar="TEXT", help="Only lines with this in them; /TEXT/ is a regular expression."
)
@click.option(
    "--export",
    type=click.Path(path_type=Path),
    help="Write to this file instead, byte by byte as the run did.",
)
@click.option("--force", is_flag=True, help="Replace the file of --export.")
def logs(job: str, follow: bool, wanted: str | None, export: Path | None, force: bool, as_json: bool) -> None:
    """Print a job's output. Only its submitter can. Control characters are shown, not obeyed."""
    lines = Lines(matcher(wanted))
    if export is not None and export.exists() and not force and not _may_replace(export, as_json):
        raise BadField("export", str(export), "exists already; --force replaces it")
    submitter, found = open_job(job)
    pieces = _pieces(submitter, found, lines, follow=follow)
    if export is not None:
        written = _export(export, pieces)
        emit({"job": found, "file": str(export), "bytes": written}) if as_json else say(
            f"{written} bytes in {export}"
        )
        return
    text = codecs.getincrementaldecoder("utf-8")("replace")
    for offset, data, end in pieces:
        if as_json:
            emit({"offset": offset, "data": "0x" + data.hex(), "end": end})
        else:
            click.echo(safe_lines(text.decode(data, final=end)), nl=False)


def _pieces(
    submitter: "Submitter", job: JobId, lines: Lines, *, follow: bool
) -> Iterator[tuple[int, bytes, bool]]:
    """What to show: where it starts, the bytes, and whether it is the end. Says where else output is, when the market has none."""
    offset = 0
    while True:
        try:
            chunk = submitter.market.logs(submitter.account, job, offset, FOLLOW_SECONDS if follow else 0.0)
        except DeaiError as error:
            if _is_delivered(submitter, job):
                error.add_note(_elsewhere(job))
            raise
        offset += len(chunk.data)
        for start, data in lines.feed(chunk.data):
            yield start, data, False
        closed = submitter.chain.state(job)[0] is JobState.CLOSED
        if chunk.end or (not chunk.data and (not follow or closed)):
            break
    for start, data in lines.rest():
        yield start, data, False
    if chunk.end:
        yield offset, b"", True
    if offset == 0 and _is_delivered(submitter, job):
        click.echo(f"the market has no output of this job; {_elsewhere(job)}", err=True)


def _is_delivered(submitter: "Submitter", job: JobId) -> bool:
    try:
        progress = submitter.progress(job)
    except DeaiError:  # what is being told already matters more
        return False
    return progress.terms is not None and any(progress.terms.result)


def _elsewhere(job: JobId) -> str:
    return f"log.txt in the result has what it printed: deai results {job[:12]} -o DIR"


def _may_replace(path: Path, as_json: bool) -> bool:
    return not as_json and confirmed(f"Replace {path}?")


def _export(path: Path, pieces: Iterator[tuple[int, bytes, bool]]) -> int:
    """Writes what comes, as it comes, for its owner's eyes. The file appears when all of it is there, or when the user has seen enough."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise BadField("export", str(path), "is no ordinary file")
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            try:
                file.writelines(data for _, data, _ in pieces)
            except KeyboardInterrupt:
                click.echo("interrupted: the file ends here", err=True)
            written = file.tell()
        partial.replace(path)
    except OSError as error:
        raise WrongRequest(f"{path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return written
