"""`deai completion`, and the words it completes: from files of this machine alone, so that a shell never waits for a network."""

import json
import os
from pathlib import Path

import click
from click.shell_completion import ShellComplete, get_completion_class

from deai.cli.root import main
from deai.terminal import command, emit

_SHOWN_DIGITS = 12
_HINTS = {
    "bash": "# deai completion bash > ~/.local/share/bash-completion/completions/deai",
    "zsh": "# deai completion zsh > a folder of $fpath, as _deai",
}


@command(main, "completion")
@click.argument("shell", type=click.Choice(list(_HINTS)))
def completion(shell: str, as_json: bool) -> None:
    """Print what makes a shell complete commands, options, jobs, keys, profiles and tokens: source it, or keep it where the shell looks."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    # Not its own `source`, which starts a shell to ask for its version.
    script = ShellComplete.source(kind(main, {}, "deai", "_DEAI_COMPLETE"))
    emit({"shell": shell, "script": script}) if as_json else click.echo(f"{script.rstrip()}\n{_HINTS[shell]}")


def jobs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """The jobs signed here, the newest first: by their first digits, or whole once more than those were typed."""
    files = sorted((_home() / "orders").glob("0x*.json"), key=_age)
    ids = [path.stem if len(incomplete) > _SHOWN_DIGITS else path.stem[:_SHOWN_DIGITS] for path in files]
    return [each for each in ids if each.startswith(incomplete.lower())]


def profiles(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """The compute profiles."""
    from deai.errors import BadField
    from deai.profiles import table

    try:
        return [name for name in sorted(table(_home())) if name.startswith(incomplete)]
    except BadField:
        return []


def images(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """The names given to image archives."""
    return [name for name in _json(_home() / "images.json", {}) if name.startswith(incomplete)]


def tokens(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:  # noqa: ARG001
    """The symbols of the deployment's tokens."""
    found = _json(Path(os.environ.get("DEAI_DEPLOYMENT", "")), {}).get("tokens", [])
    return [each["symbol"] for each in found if each["symbol"].lower().startswith(incomplete.lower())]


def _home() -> Path:
    named = os.environ.get("DEAI_HOME")
    if named:
        return Path(named)
    import platformdirs

    return platformdirs.user_data_path("deai")


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0


def _json(path: Path, otherwise: dict[str, list[dict[str, str]]]) -> dict[str, list[dict[str, str]]]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return otherwise
    return found if isinstance(found, dict) else otherwise
