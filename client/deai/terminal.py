"""How commands talk to a terminal: lines, JSON, errors as one line and an exit code, passwords, and text of strangers."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from deai.errors import BadField, ContractError, DeaiError, WrongRequest
from deai.job import Address, JobId
from deai.words import nearest

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from deai.settings import HomeSettings
    from deai.submitter import Submitter


INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def say(text: str = "") -> None:
    """A line for people."""
    click.echo(text)


def emit(value: dict[str, Any]) -> None:
    """A line for programs."""
    click.echo(json.dumps(value))


@contextmanager
def errors(as_json: bool) -> Iterator[None]:
    """Turns our errors into one line and their exit code."""
    try:
        yield
    except DeaiError as error:
        name, detail = type(error).__name__, safe_line(" ".join(_told(error).split()))
        notes = getattr(error, "__notes__", [])
        if as_json:
            emit({"error": name, "detail": detail, "notes": notes})
        for text in (f"error: {detail}", *notes):
            click.echo(text, err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort) as stop:
        # A question that met the end of its input was not answered; all else is Ctrl-C.
        unanswered = isinstance(stop.__context__, EOFError)
        detail = "no answer: nothing was done; `--yes` does not ask" if unanswered else "interrupted"
        notes = getattr(stop, "__notes__", [])
        if as_json:
            emit({"error": "Interrupted", "detail": detail, "notes": notes})
        for text in (detail, *notes):
            click.echo(text, err=True)
        sys.exit(WrongRequest.exit_code if unanswered else INTERRUPTED)


def _told(error: DeaiError) -> str:
    """The error in words: amounts in the tokens that the command has read about."""
    if not isinstance(error, ContractError):
        return str(error)
    from deai.refusals import told

    context = click.get_current_context(silent=True)
    return told(error, context.obj or () if context else ())


def command(group: click.Group, *args: Any, **kwargs: Any) -> Callable[[Callable[..., None]], click.Command]:
    """A command with `--json`, whose errors become one line and an exit code."""

    def wrap(function: Callable[..., None]) -> click.Command:
        @wraps(function)
        def run(**given: Any) -> None:
            with errors(given["as_json"]):
                function(**given)

        option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
        made: click.Command = group.command(*args, **kwargs)(option(run))
        return made

    return wrap


def confirmed(question: str) -> bool:
    """Whether a person at this terminal says yes. Nobody is asked who cannot answer."""
    return sys.stdin.isatty() and click.confirm(question, default=False, err=True)


def password(settings: "HomeSettings", confirm: bool = False) -> str:
    """The key's password, from its file or typed."""
    if settings.password_file is not None:
        try:
            return settings.password_file.read_text().rstrip("\n")
        except OSError as error:
            raise WrongRequest(f"DEAI_PASSWORD_FILE: {settings.password_file}: {error.strerror}") from error
    if not sys.stdin.isatty():
        # Nobody is there to type it; a script may send it.
        sent = sys.stdin.readline().rstrip("\n")
        if not sent:
            raise WrongRequest(
                f"the password of key {settings.key!r}: no terminal to ask at; set DEAI_PASSWORD_FILE"
            )
        return sent
    typed: str = click.prompt(
        f"Password of key {settings.key!r}", hide_input=True, confirmation_prompt=confirm, err=True
    )
    return typed


def account(settings: "HomeSettings") -> "LocalAccount":
    """The key, unlocked. Nobody is asked for the password of a key that is not there."""
    from deai import keys as keystore

    path = settings.keys / f"{settings.key}.json"
    if not path.exists():
        return keystore.unlock(path, "")
    return keystore.unlock(path, password(settings))


def own_address(settings: "HomeSettings") -> Address:
    """The key's address, without its password."""
    from deai import keys as keystore

    found = dict(keystore.listing(settings.keys)).get(settings.key)
    if found is None:
        known = nearest(settings.key, [name for name, _ in keystore.listing(settings.keys)])
        raise BadField("key", settings.key, f"is no key in {settings.keys}; {known}")
    return found


def open_submitter() -> "Submitter":
    """The SDK with the settings' parts and the key unlocked. Its connections close with the command."""
    from deai.content import opened
    from deai.deployment import Deployment
    from deai.home import Home
    from deai.journal import Journal
    from deai.market_api import MarketApi
    from deai.panel_contract import PanelContract
    from deai.settings import Settings, load
    from deai.submitter import Submitter
    from deai.web3_chain import Web3Chain

    settings = load(Settings)
    deployment = Deployment.load(settings.deployment)
    market = MarketApi(settings.market, deployment.domain)
    context, signer = click.get_current_context(), account(settings)
    context.obj = deployment.tokens
    context.call_on_close(market.close)
    journal = Journal(settings.home / "journal")
    return Submitter(
        signer,
        deployment,
        Web3Chain(settings.rpc, deployment, journal=journal),
        market,
        context.with_resource(opened(settings, market, signer)),
        Home(settings.home),
        PanelContract(settings.rpc, deployment, journal=journal) if deployment.panel else None,
    )


def open_job(job: str) -> tuple["Submitter", JobId]:
    """The SDK, and the job that a full id or the start of one names."""
    submitter = open_submitter()
    return submitter, submitter.home.find(job)


def safe_line(text: str) -> str:
    """Text of strangers on one line: it cannot drive the terminal, nor look like a line of ours."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def safe_lines(text: str) -> str:
    """The same, but line breaks and tabs stay."""
    return "".join(c if c in "\n\t" else safe_line(c) for c in text)
