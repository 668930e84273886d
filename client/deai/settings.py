"""Settings: one frozen object per process, read once from the environment; all that is missing is reported together."""

from pathlib import Path
from typing import TypeVar

import platformdirs
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from deai.errors import WrongRequest

S = TypeVar("S", bound=BaseSettings)


class Settings(BaseSettings):
    """What `deai` needs to know. Each is an environment variable: `DEAI_RPC`, `DEAI_MARKET`, and so on."""

    model_config = SettingsConfigDict(env_prefix="DEAI_", frozen=True)

    rpc: str
    """The URL of a chain's node (JSON-RPC)."""
    deployment: Path
    """The deployment file: chain id, escrow, tokens."""
    market: str
    """The URL of a market."""
    store: Path
    """The folder of the content store."""
    home: Path = Field(default_factory=lambda: platformdirs.user_data_path("deai"))
    """Where keys, and copies of what was signed, are kept."""
    key: str = "default"
    """The name of the key to sign with, as in `deai keys list`."""
    password_file: Path | None = None
    """A file with the key's password; without it the password is asked for."""

    @property
    def keys(self) -> Path:
        """The folder of the keystore files."""
        return self.home / "keys"


def load(settings: type[S]) -> S:
    """Reads the settings from the environment. Raises WrongRequest that names every variable that is missing or wrong."""
    try:
        return settings()
    except ValidationError as error:
        prefix = settings.model_config.get("env_prefix", "")
        problems = [
            f"{prefix}{'_'.join(str(part) for part in each['loc'])}".upper()
            + (" is not set" if each["type"] == "missing" else f"={each['input']!r}: {each['msg']}")
            for each in error.errors(include_url=False)
        ]
        raise WrongRequest("settings: " + "; ".join(problems)) from error
