"""`deai-provider`: offers this machine to a market until it is told to stop, shows what it has promised, and judges other
providers' results.
"""

import fcntl
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NoReturn

import click
from eth_account.signers.local import LocalAccount

from deai import keys
from deai.clock import ChainClock, chain_now
from deai.content import opened
from deai.deployment import Deployment
from deai.errors import BadField, DeaiError, WrongRequest
from deai.job import Address, Wei
from deai.journal import Journal
from deai.market_api import MarketApi
from deai.panel_contract import PanelContract
from deai.settings import described, load
from deai.web3_chain import Web3Chain
from deai_provider import hardware, ledger, room, stakes
from deai_provider.agent import Agent
from deai_provider.archives import Archives
from deai_provider.docker_executor import DockerExecutor
from deai_provider.hearing import Bench
from deai_provider.image_archive import ImageLimits
from deai_provider.ledger import Ledger
from deai_provider.settings import PlaceSettings, Settings
from deai_provider.staging import Depot
from deai_provider.verifier import Verifier
from deai_provider.votes import Votes
from deai_provider.workshop import Workshop

_MIB = 1 << 20
_log = logging.getLogger("deai_provider")


@click.group()
def cli() -> None:
    """Runs other people's jobs on this machine, for pay. Settings are environment variables,
    DEAI_PROVIDER_*.
    """


class _WithSettings(click.Command):
    """A command whose help ends with all settings, line by line."""

    def get_help(self, ctx: click.Context) -> str:
        return f"{super().get_help(ctx)}\n\n{described(Settings)}"


@cli.command(cls=_WithSettings)
def run() -> None:
    """Offers this machine and runs jobs until SIGTERM. Jobs that run then go on, and the next start takes
    them up.
    """
    settings = _started()
    deployment = Deployment.load(settings.deployment)
    account = keys.unlock(settings.key, _password(settings))
    rules = settings.rules(deployment, Address(account.address))
    journal = Journal(settings.work / "journal")
    chain = Web3Chain(settings.rpc, deployment, journal=journal)
    panel = PanelContract(settings.rpc, deployment, journal=journal) if deployment.panel else None
    settings.work.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        _alone(settings.work),
        Ledger(settings.ledger) as promises,
        MarketApi(settings.market, deployment.domain) as market,
        opened(settings, market, account) as content,
    ):
        shop = Workshop(
            account=account,
            chain=chain,
            market=market,
            store=content,
            executor=_executor(settings, settings.work, settings.name, lambda: room.needed_images(promises)),
            ledger=promises,
            rules=rules,
            measure=partial(hardware.capacity, settings.work, settings.slots, settings.reserve),
            capacity=hardware.capacity(settings.work, settings.slots, settings.reserve),
            work=settings.work,
            max_input_bytes=settings.max_input_mib * _MIB,
            max_image_bytes=settings.max_image_mib * _MIB,
            image_cache_bytes=settings.image_cache_mib * _MIB,
            look_back_blocks=settings.look_back_blocks,
            clock=ChainClock(),
            poll_seconds=settings.poll_seconds,
            panel=panel,
        )
        agent = Agent(shop, settings.ask_seconds)
        _until_told(agent.stop)
        _log.info("provider %s, market %s, escrow %s", account.address, settings.market, deployment.contract)
        agent.run()
    _log.info("stopped")


@cli.command(cls=_WithSettings)
def verify() -> None:
    """Judges disputed jobs until SIGTERM: where the panel draws a ticket of this key, the job is run again here, in the same
    box, and its result compared. Runs beside `run`, or alone.
    """
    settings = _started()
    deployment = Deployment.load(settings.deployment)
    account = keys.unlock(settings.key, _password(settings))
    journal = Journal(settings.work / "journal")
    work, name = settings.work / "verify", f"{settings.name}-verify"
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (
        _alone(work),
        MarketApi(settings.market, deployment.domain) as market,
        opened(settings, market, account) as content,
    ):
        depot = Depot(
            store=content,
            executor=_executor(settings, work, name, frozenset),
            images=Archives(work / "images"),
            max_input_bytes=settings.max_input_mib * _MIB,
            max_image_bytes=settings.max_image_mib * _MIB,
            image_cache_bytes=settings.image_cache_mib * _MIB,
        )
        bench = Bench(
            account=account,
            chain=Web3Chain(settings.rpc, deployment, journal=journal),
            panel=PanelContract(settings.rpc, deployment, journal=journal),
            depot=depot,
            votes=Votes(work / "votes"),
            measure=partial(hardware.capacity, work, settings.slots, settings.reserve),
            work=work,
            slots=settings.slots,
            first_block=deployment.block,
            look_back_blocks=settings.look_back_blocks,
            clock=ChainClock(),
            poll_seconds=settings.poll_seconds,
        )
        verifier = Verifier(bench)
        _until_told(verifier.stop)
        _log.info("verifier %s, panel %s", account.address, bench.panel.contract)
        verifier.run()
    _log.info("stopped")


_of_class = click.option(
    "--class", "number", type=click.IntRange(0, (1 << 16) - 1), default=0, show_default=True,
    help="The resource class: what this machine can re-run.",
)  # fmt: skip


@cli.command()
@click.argument("count", type=click.IntRange(1, 1_000))
@_of_class
def stake(count: int, number: int) -> None:
    """Buys COUNT tickets of the panel: each may be drawn to judge a job, and is lost by a silent or wrong vote."""
    panel, account = _panel()
    click.echo(stakes.stake(panel, account, number, count))


@cli.command()
@click.argument("count", type=click.IntRange(1, 1_000), required=False)
@_of_class
def unstake(count: int | None, number: int) -> None:
    """Takes back COUNT tickets of the panel, all unless given. They leave later than any case lasts: say it again then."""
    panel, account = _panel()
    settings = load(Settings)
    now = chain_now(Web3Chain(settings.rpc, Deployment.load(settings.deployment)))
    for line in stakes.unstake(panel, account, number, count, now):
        click.echo(line)


@cli.command()
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object, amounts in the token's smallest unit."
)
def status(as_json: bool) -> None:
    """Shows the jobs of this machine, their steps, and what they earned."""
    settings = load(PlaceSettings)
    deployment = Deployment.load(settings.deployment)
    with Ledger(settings.ledger, read_only=True) as promises:
        entries = promises.entries()
    earned = ledger.earnings(entries)
    if as_json:
        total = {token: str(amount) for token, amount in earned.items()}
        click.echo(json.dumps({"jobs": [ledger.show(entry) for entry in entries], "earned": total}))
        return
    for entry in entries:
        token = deployment.token(entry.job.token)
        at = datetime.fromtimestamp(entry.updated_at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        price = token.show(entry.price) if entry.price is not None else "-"
        name = entry.spec.name if entry.spec else "-"
        click.echo(f"{entry.id[:18]}…  {entry.step:<10}  {at}  {price:>16}  {name}  {entry.reason}".rstrip())
    for address, amount in earned.items():
        click.echo(f"earned {_signed(deployment, address, amount)}")
    if not entries:
        click.echo("no jobs yet")


def main() -> NoReturn:
    """Runs the command; exit code 2 for a wrong request, 3 for a part out of reach, with one line on
    stderr.
    """
    # What was imported stays to the end: nobody looks through it again, neither on the way nor, for half a second, at the exit.
    gc.freeze()
    try:
        cli(standalone_mode=False)
    except DeaiError as error:
        click.echo(f"deai-provider: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    sys.exit(0)


def _started() -> Settings:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # Inputs are read by the container's own user.
    os.umask(0o022)
    return load(Settings)


def _until_told(stop: Callable[[], None]) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())


def _executor(
    settings: Settings, work: Path, name: str, needed: Callable[[], Collection[str]]
) -> DockerExecutor:
    return DockerExecutor(
        work / "runs",
        agent=name,
        devices=hardware.devices(),
        image_limits=ImageLimits(archive=settings.max_image_mib * _MIB),
        image_budget_bytes=settings.image_cache_mib * _MIB,
        private_registries=settings.private_registries,
        needed=needed,
    )


def _panel() -> tuple[PanelContract, LocalAccount]:
    settings = load(Settings)
    deployment = Deployment.load(settings.deployment)
    journal = Journal(settings.work / "journal")
    account = keys.unlock(settings.key, _password(settings))
    return PanelContract(settings.rpc, deployment, journal=journal), account


@contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Keeps a second agent off the same folder. Raises WrongRequest."""
    with (work / "agent.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise WrongRequest(f"work {work}: another agent is at work there") from error
        yield


def _password(settings: Settings) -> str:
    try:
        return settings.password_file.read_text().rstrip("\n")
    except OSError as error:
        raise BadField(
            "password_file", str(settings.password_file), f"cannot be read: {error.strerror}"
        ) from error


def _signed(deployment: Deployment, address: str, amount: Wei) -> str:
    shown = deployment.token(address).show(Wei(abs(amount)))
    return f"-{shown}" if amount < 0 else shown


if __name__ == "__main__":
    main()
