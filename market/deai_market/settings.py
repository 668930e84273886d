"""What the market's program needs to know, and the rules a market goes by."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from deai.settings import ChainSettings, StoreSettings
from deai.wire import UPLOAD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a market treats its guests. Times in seconds, sizes in bytes."""

    match_seconds: int = 30
    """How long a provider has to bid on a match, or to say that it is staging."""
    staging_seconds: int = 900
    """How long a provider may hold a match by saying so."""
    retry_seconds: int = 60
    """How long an ask is passed over for a job whose match it let go."""
    confirmations: int = 12
    """How many blocks deep history is called final."""
    poll_seconds: float = 0.25
    """How often the chain is asked for its head."""
    open_jobs: int = 1_000
    """How many open orders one account may have."""
    log_bytes: int = 16 << 20
    """How much log is kept of one job."""
    observations: int = 64
    """How many observations are kept of one job by one provider."""
    low_gas: int = 10**16
    """Below how much of the chain's coin, in wei, the key that sends awards is said to be low."""
    callback_private: bool = False
    """Whether callbacks may go to this machine and to local nets."""
    upload_account_bytes: int = 4 << 30
    """How much content one account may hold."""
    uploads_bytes: int = 64 << 30
    """How much content all accounts together may hold."""
    upload_days: int = 14
    """How long content is kept after its last upload, and after the last event of its account's jobs."""
    upload_bytes: int = 2 * UPLOAD_BYTES
    """The largest upload: one of many that make up large content."""
    upload_seconds: float = 120
    """How long one upload may take to arrive."""
    upload_places: int = 16
    """How many uploads are read at the same time; each takes its size of memory."""
    upload_wait_seconds: float = 20
    """How long an upload waits for a place."""
    disk_reserve_bytes: int = 256 << 20
    """What uploads leave free on the disk, for the market's own database."""
    body_bytes: int = 4 << 20
    """The largest body of a request."""


class Settings(ChainSettings, StoreSettings):
    """Each is an environment variable: `DEAI_MARKET_RPC`, `DEAI_MARKET_DEPLOYMENT`, and so on."""

    model_config = SettingsConfigDict(env_prefix="DEAI_MARKET_", frozen=True)

    data: Path
    """The folder of the market's own database."""
    key: Path
    """The keystore file of the key that sends awards. It needs gas and nothing else: it can move nobody's money."""
    password_file: Path
    """A file with that key's password."""
    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = Field(default=8420, ge=0, le=65_535)
    """The port to listen on; 0 takes a free one."""
    origins: tuple[str, ...] = ()
    """The URLs that clients know this market by: a signed request has to name one. Without any, the address it listens on, and localhost."""
    confirmations: int = Field(default=12, ge=0)
    """How many blocks deep history is called final."""
    match_seconds: int = Field(default=30, ge=1)
    """How long a provider has to bid on a match, or to say that it is staging."""
    staging_seconds: int = Field(default=900, ge=1)
    """How long a provider may hold a match by saying that it is staging."""
    retry_seconds: int = Field(default=60, ge=0)
    """How long an ask is passed over for a job whose match it let go."""
    poll_seconds: float = Field(default=0.25, ge=0.01, le=60)
    """How often the chain is asked for its head."""
    open_jobs: int = Field(default=1_000, ge=1)
    """How many open orders one account may have."""
    upload_mib: int = Field(default=4_096, ge=0)
    """How much content one account may hold."""
    uploads_mib: int = Field(default=65_536, ge=0)
    """How much content all accounts together may hold."""
    upload_days: int = Field(default=14, ge=0)
    """How long content is kept after its last upload, and after the last event of its account's jobs."""
    low_gas: int = Field(default=10**16, ge=0)
    """Below how much of the chain's coin, in wei, the key that sends awards is said to be low, in the log."""
    callback_private: bool = False
    """Whether callbacks may go to this machine and to local nets. Only where every submitter may reach those anyway."""

    @property
    def rules(self) -> Rules:
        """The rules among the settings."""
        return Rules(
            match_seconds=self.match_seconds,
            staging_seconds=self.staging_seconds,
            retry_seconds=self.retry_seconds,
            confirmations=self.confirmations,
            poll_seconds=self.poll_seconds,
            open_jobs=self.open_jobs,
            low_gas=self.low_gas,
            callback_private=self.callback_private,
            upload_account_bytes=self.upload_mib << 20,
            uploads_bytes=self.uploads_mib << 20,
            upload_days=self.upload_days,
        )
