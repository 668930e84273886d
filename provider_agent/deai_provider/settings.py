"""The agent's settings: one frozen object, read once from the environment (`DEAI_PROVIDER_RPC`, and so on)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from deai.ask import Prices
from deai.deployment import AddressField, Deployment
from deai.errors import BadField
from deai.job import ZERO_ADDRESS, Address, Wei
from deai.settings import ContentSettings
from deai_provider.hardware import Reserve
from deai_provider.policy import Arbitration, Rules

_GWEI = 10**9


class PriceText(BaseModel):
    """Prices of one token, each a decimal number of tokens: per job, and per core, GiB of memory and GPU
    for a second.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    job: str = "0"
    core_second: str = "0"
    gib_second: str = "0"
    gpu_second: str = "0"


class PlaceSettings(BaseSettings):
    """Where an agent keeps what it promised."""

    model_config = SettingsConfigDict(env_prefix="DEAI_PROVIDER_", frozen=True)

    deployment: Path
    """The deployment file: chain id, escrow, tokens."""
    work: Path
    """The folder for the ledger, images, inputs and volumes. On this machine's own disk."""

    @property
    def ledger(self) -> Path:
        """The file of what was promised."""
        return self.work / "ledger.sqlite"


class Settings(PlaceSettings, ContentSettings):
    """What a provider must say before it offers its machine. Amounts are decimal numbers of tokens, by
    symbol: `{"DAI": "50"}`.
    """

    model_config = SettingsConfigDict(env_prefix="DEAI_PROVIDER_", frozen=True)

    rpc: str
    """The URL of a chain's node (JSON-RPC). Best your own: it tells the agent what was awarded."""
    market: str
    """The URL of a market."""
    key: Path
    """The keystore file of the account that locks bonds and is paid."""
    password_file: Path
    """A file with the key's password."""
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    """Tells this agent's containers from another's on the same Docker engine."""

    prices: dict[str, PriceText] = Field(min_length=1)
    """What it asks, per token. A token that is absent is not taken."""
    max_bond: dict[str, str] = Field(default_factory=dict)
    """The highest bond it locks for one job, per token. A token that is absent: none."""
    withdraw_above: dict[str, str] = Field(default_factory=dict)
    """The balance in the escrow above which it is withdrawn, but for the bonds of the next jobs. A token
    that is absent: never.
    """
    withdraw_to: AddressField | None = None
    """Where withdrawals go; the key's own account unless set."""
    slots: int = Field(default=1, ge=1, le=4_096)
    """How many jobs at the same time."""
    reserve_cpu_millis: int = Field(default=0, ge=0)
    reserve_memory_mib: int = Field(default=1_024, ge=0)
    reserve_disk_mib: int = Field(default=4_096, ge=0)
    """What the machine keeps for itself."""

    confirmations: int = Field(default=2, ge=0)
    """Blocks that must stand on an award before the run starts; more for more value. Zero only where the
    chain never undoes a block.
    """
    confirm_unit: dict[str, str] = Field(default_factory=dict)
    """The value from which each doubling asks for `confirmations` once more, per token; one token unless
    set.
    """
    min_gas_gwei: int = Field(default=1_000_000, ge=0)
    """It bids only while its account holds this much of the chain's coin, so that deliveries can be paid
    for.
    """
    deliver_margin_seconds: int = Field(default=120, ge=0)
    """Jobs must leave this much time to deliver, on top of their own `max_seconds`."""
    award_margin_seconds: int = Field(default=30, ge=0)
    """Jobs whose `award_by` is nearer are not staged."""
    max_challenge_seconds: int = Field(default=14 * 86_400, ge=0)
    """The longest it waits for its pay."""
    max_fee_bps: int = Field(default=500, ge=0, le=10_000)
    """The highest part of the price for the matcher, in 1/10,000."""
    arbiters: tuple[AddressField, ...] = ()
    """Who else may judge its work, beside the deployment's panel. Jobs with any other arbiter are not taken."""
    panel_classes: tuple[Annotated[int, Field(ge=0, lt=1 << 16)], ...] = (0,)
    """The panel's resource classes whose verifiers may judge its work. Anyone may stake in any class, also in an empty one."""
    max_disputed_bond: dict[str, str] = Field(default_factory=dict)
    """The highest bond, in tokens, where an arbiter judges; `max_bond` for a token that is absent. A job that looks at the clock can burn it."""
    min_ruling_seconds: int = Field(default=3_600, ge=0)
    """The shortest time to rule: an arbiter that has less falls silent, and half the price is lost."""
    max_ruling_seconds: int = Field(default=14 * 86_400, ge=0)
    """The longest its bond waits for a ruling."""
    max_dispute_fee_bps: int = Field(default=9_000, ge=0, le=10_000)
    """The highest part of the bond that a case may cost, in 1/10,000."""
    max_inputs: int = Field(default=32, ge=0)
    max_input_mib: int = Field(default=16_384, ge=1)
    """All inputs of one job together."""
    max_image_mib: int = Field(default=32_768, ge=1)
    """One image archive, or what a registry sends of one image."""
    private_registries: bool = False
    """Images may also come from registries on this machine and in local nets. Then whoever signs a job can make
    the agent call there.
    """
    image_cache_mib: int = Field(default=65_536, ge=0)
    """Image archives are kept for the next job up to this much; and as much of the images that the engine loaded."""
    look_back_blocks: int = Field(default=50_000, ge=0)
    """How far back an agent that starts looks for awards of its own that its ledger does not know: it may have been lost."""
    ask_seconds: int = Field(default=120, ge=10, le=86_400)
    """How long an ask stands when the agent falls silent."""
    poll_seconds: float = Field(default=0.25, ge=0.01, le=60)
    """How often the chain and the engine are looked at while something is awaited."""

    @property
    def reserve(self) -> Reserve:
        """What the machine keeps for itself."""
        return Reserve(
            cpu_millis=self.reserve_cpu_millis,
            memory_mib=self.reserve_memory_mib,
            disk_mib=self.reserve_disk_mib,
        )

    def rules(self, deployment: Deployment, provider: Address) -> Rules:
        """The rules that these settings make. Raises BadField for an unknown token or an amount that is
        none.
        """
        prices = {}
        for symbol, texts in self.prices.items():
            token = deployment.token(symbol)
            amounts = {
                name: token.amount(text, f"prices.{symbol}.{name}")
                for name, text in texts.model_dump().items()
            }
            prices[token.address] = Prices(**amounts)
        units = dict.fromkeys(self.prices, "1") | self.confirm_unit
        confirm_unit = _amounts("confirm_unit", units, deployment)
        if not all(confirm_unit.values()):
            raise BadField("confirm_unit", "0", "must be more than 0")
        return Rules(
            provider=provider,
            prices=prices,
            max_bond=_amounts("max_bond", self.max_bond, deployment),
            min_gas=Wei(self.min_gas_gwei * _GWEI),
            deliver_margin=self.deliver_margin_seconds,
            award_margin=self.award_margin_seconds,
            max_challenge_seconds=self.max_challenge_seconds,
            max_fee_bps=self.max_fee_bps,
            max_inputs=self.max_inputs,
            arbitration=Arbitration(
                arbiters=(deployment.arbiters | {*self.arbiters}) - {ZERO_ADDRESS},
                panel=deployment.panel,
                panel_classes=frozenset(self.panel_classes),
                max_bond=_amounts("max_disputed_bond", self.max_disputed_bond, deployment),
                min_ruling_seconds=self.min_ruling_seconds,
                max_ruling_seconds=self.max_ruling_seconds,
                max_fee_bps=self.max_dispute_fee_bps,
            ),
            confirmations=self.confirmations,
            confirm_unit=confirm_unit,
            withdraw_above=_amounts("withdraw_above", self.withdraw_above, deployment),
            withdraw_to=self.withdraw_to or provider,
            slots=self.slots,
        )


def _amounts(field: str, texts: Mapping[str, str], deployment: Deployment) -> dict[Address, Wei]:
    amounts = {}
    for symbol, text in texts.items():
        token = deployment.token(symbol)
        amounts[token.address] = token.amount(text, f"{field}.{symbol}")
    return amounts
