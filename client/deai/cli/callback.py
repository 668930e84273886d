"""`deai callback`: what its owner needs to check a callback, and what became of it."""

from typing import TYPE_CHECKING

import click

from deai.cli import completion
from deai.cli.root import main
from deai.errors import BadField, DeaiError
from deai.terminal import command, emit, open_job, safe_line, say

if TYPE_CHECKING:
    from deai.wire import CallbackView


def told(view: "CallbackView") -> str:
    """A callback's fate in one line."""
    attempts = f" after {view.attempts} attempt{'s' * (view.attempts != 1)}" if view.attempts else ""
    reason = f": {view.error}" if view.error else ""
    waits = " for the job to close" if view.step == "waiting" else ""
    return safe_line(f"{view.step}{waits}{attempts}{reason}")


@command(main, "callback")
@click.argument("job", shell_complete=completion.jobs)
def callback(job: str, as_json: bool) -> None:
    """Show the secret that signs a job's callback, its URL, and what became of it. The secret is for the receiver alone."""
    submitter, found = open_job(job)
    order = submitter.home.order(found)
    if order.callback_url is None:
        raise BadField("job", found, "has no callback; give --callback-url when submitting")
    try:
        view, note = submitter.callback(found), ""
    except DeaiError as error:
        view, note = None, f"the market says nothing: {error}"
    if as_json:
        shown = view.model_dump(mode="json") if view else {"note": note}
        return emit({"job": found, "url": order.callback_url, "secret": order.callback_secret, **shown})
    say(f"url     {safe_line(order.callback_url)}")
    say(f"secret  {safe_line(order.callback_secret or '')}")
    say(f"fate    {told(view) if view else safe_line(note)}")
    return None
