"""Settings: one frozen object per process, read once from the environment; all that is missing is reported together."""

import ast
import inspect
import json
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

import platformdirs
from pydantic import Field, ValidationError
from pydantic_core import PydanticUndefined
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from deai.errors import WrongRequest

S = TypeVar("S", bound=BaseSettings)


class HomeSettings(BaseSettings):
    """Where this user's own things are."""

    model_config = SettingsConfigDict(env_prefix="DEAI_", frozen=True)

    home: Path = Field(default_factory=lambda: platformdirs.user_data_path("deai"))
    """Keys, copies of what was signed, and names given to images."""
    key: str = "default"
    """The name of the key to sign with, as in `deai keys list`."""
    password_file: Path | None = None
    """A file with the key's password; without it the password is asked for."""
    local: Path | None = None
    """The folder of the market that `deai up` runs on this machine; without it `local` in the home folder."""

    @property
    def keys(self) -> Path:
        """The folder of the keystore files."""
        return self.home / "keys"

    @property
    def local_folder(self) -> Path:
        """The folder of the market that `deai up` runs."""
        return (self.local or self.home / "local").absolute()


class ChainSettings(BaseSettings):
    """What an auditor needs: a node and the escrow's place."""

    model_config = SettingsConfigDict(env_prefix="DEAI_", frozen=True)

    rpc: str
    """The URL of a chain's node (JSON-RPC)."""
    deployment: Path
    """The deployment file: chain id, escrow, tokens."""


class StoreSettings(BaseSettings):
    """Where content is."""

    model_config = SettingsConfigDict(env_prefix="DEAI_", frozen=True)

    store: str
    """The content store: a folder, or the address of a Kubo node's API (`http://127.0.0.1:5001`, `/ip4/127.0.0.1/tcp/5001`)."""


class ContentSettings(StoreSettings):
    """Where content is, where else it is looked for, and whether others get it."""

    gateways: tuple[str, ...] = ()
    """URLs of trustless gateways to read from, beside the market's own (a JSON list)."""
    share: Literal["market", "no"] | None = None
    """Whether what others need is handed to the market. Otherwise: `market` for a folder, which only this machine can read, and `no` for a
    Kubo node."""


class Settings(HomeSettings, ChainSettings, ContentSettings):
    """All that a submitter needs. Each is an environment variable: `DEAI_RPC`, `DEAI_MARKET`, and so on."""

    market: str
    """The URL of a market."""


def described(settings: type[BaseSettings]) -> str:
    """Every environment variable of `settings`: what it is where it is not set, and below it what its class says of it."""
    words = dict[str, str]()
    for each in settings.__mro__:
        if issubclass(each, BaseSettings) and each is not BaseSettings:
            words = _docstrings(each) | words
    lines = list[str]()
    for name, field in settings.model_fields.items():
        usual = "needed" if field.is_required() else field.default or None
        shown = (
            ""
            if usual in (None, PydanticUndefined)
            else f" [{usual if isinstance(usual, str) else json.dumps(usual)}]"
        )
        lines.append(f"{settings.model_config.get('env_prefix', '')}{name}".upper() + shown)
        lines.extend([f"    {words[name]}"] if name in words else [])
    return "\n".join(lines)


def _docstrings(settings: type[BaseSettings]) -> dict[str, str]:
    """The strings that follow the fields in the class' source, by field."""
    found = {}
    body = [each for each in ast.walk(ast.parse(inspect.getsource(settings))) if isinstance(each, ast.stmt)]
    for pair in pairwise(body):
        match pair:
            case (ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text)))):
                found[name] = " ".join(text.split())
    return found


def load(settings: type[S], **given: Any) -> S:
    """Reads the settings from the environment; what is `given` goes first.

    Raises WrongRequest that names every variable that is missing or wrong.
    """
    prefix = settings.model_config.get("env_prefix", "")
    try:
        return settings(**given)
    except SettingsError as error:
        # Its sentence names the field and nothing else: the value may be long, and is not JSON.
        named = next((name for name in settings.model_fields if f'"{name}"' in str(error)), "")
        raise WrongRequest(f"settings: {prefix}{named.upper()}: must be JSON") from error
    except ValidationError as error:
        problems = [
            f"{prefix}{'_'.join(str(part) for part in each['loc'])}".upper()
            + (" is not set" if each["type"] == "missing" else f"={each['input']!r}: {each['msg']}")
            for each in error.errors(include_url=False)
        ]
        raise WrongRequest("settings: " + "; ".join(problems)) from error
