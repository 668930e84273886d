"""`deai keys`: encrypted keystore files."""

import click

from deai.cli.root import main
from deai.terminal import command, emit, password, say


@main.group()
def keys() -> None:
    """Make and list keys; each is an encrypted keystore file."""


@command(keys, "new")
@click.argument("name", default="default")
def keys_new(name: str, as_json: bool) -> None:
    """Make a key and keep it encrypted with a password."""
    from deai import keys as keystore
    from deai.settings import HomeSettings, load

    settings = load(HomeSettings).model_copy(update={"key": name})
    keystore.free(settings.keys, name)
    address = keystore.new(settings.keys, name, password(settings, confirm=True))
    emit({"name": name, "address": address}) if as_json else say(
        f"{name}  {address}  {settings.keys / name}.json"
    )


@command(keys, "list")
def keys_list(as_json: bool) -> None:
    """List the keys and their addresses."""
    from deai import keys as keystore
    from deai.settings import HomeSettings, load

    for name, address in keystore.listing(load(HomeSettings).keys):
        emit({"name": name, "address": address}) if as_json else say(f"{name}  {address}")
