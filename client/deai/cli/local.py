"""`deai up` and `deai down`: a whole market on this machine."""

import click

from deai.cli.root import main
from deai.terminal import command, emit, say


@command(main, "up")
@click.option("--detach", is_flag=True, help="Leave it running in the background; `deai down` stops it.")
@click.option("--fresh", is_flag=True, help="Start over: a new chain, no jobs, no money but the test tokens.")
@click.option(
    "--verifiers",
    type=click.IntRange(0, 5),
    default=0,
    help="How many judge disputes: 3 for a panel of its usual size.",
)
def up(detach: bool, fresh: bool, verifiers: int, as_json: bool) -> None:
    """Run a market on this machine: a chain, the escrow, a market and a provider agent. Test money, real jobs in real containers.

    Goes on where the last one stopped. Ctrl-C, or `deai down` in another shell, stops all of it.
    """
    from deai.local_market import LocalMarket
    from deai.settings import HomeSettings, load
    from deai.watch import detached, watched

    market = LocalMarket(load(HomeSettings).local_folder)
    if detach:
        detached(market, fresh=fresh, verifiers=verifiers, as_json=as_json)
    else:
        watched(market, fresh=fresh, verifiers=verifiers, as_json=as_json)


@command(main, "down")
def down(as_json: bool) -> None:
    """Stop the market that `deai up` runs, and clean up after one that was killed. What it did is kept."""
    from deai.local_market import LocalMarket
    from deai.settings import HomeSettings, load

    market = LocalMarket(load(HomeSettings).local_folder)
    stopped = market.down(lambda text: None if as_json else say(text))
    if as_json:
        return emit({"stopped": stopped, "folder": str(market.folder)})
    return say("Stopped; `deai up` goes on from here" if stopped else "Nothing was up")
