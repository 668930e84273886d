"""Where the escrow is on a chain, and which tokens are known there by name."""

from pathlib import Path
from typing import Annotated, Self

from eth_utils.address import is_checksum_address
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from deai.errors import BadField
from deai.job import ZERO_ADDRESS, Address, Wei
from deai.signing import Domain
from deai.spec import bad_field
from deai.words import nearest


def _checksummed(text: str) -> Address:
    if not is_checksum_address(text):
        raise ValueError("is not a checksummed address")
    return Address(text)


AddressField = Annotated[Address, AfterValidator(_checksummed)]


class Token(BaseModel):
    """A token that a deployment knows by its symbol. The chain's native coin is the one with the zero address."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    symbol: str
    address: AddressField
    decimals: int = Field(ge=0, le=36)

    def amount(self, text: str, field: str = "amount") -> Wei:
        """`"2.50"` in the token's smallest unit, exactly. Raises BadField for anything but a plain decimal that fits."""
        whole, _, part = text.partition(".")
        if not (
            whole.isascii() and whole.isdigit() and (part == "" or (part.isascii() and part.isdigit()))
        ) or text.endswith("."):
            raise BadField(field, text, "must be a plain decimal number such as 250 or 2.5")
        if len(part) > self.decimals:
            raise BadField(field, text, f"{self.symbol} has {self.decimals} decimals")
        amount = int(whole + part.ljust(self.decimals, "0"))
        if amount >= 1 << 96:
            raise BadField(field, text, "is more than an amount can hold")
        return Wei(amount)

    def show(self, amount: Wei) -> str:
        """The amount as a decimal number with the symbol, exactly: `2.5 DAI`."""
        whole, part = divmod(amount, 10**self.decimals)
        decimals = str(part).rjust(self.decimals, "0").rstrip("0") if part else ""
        return f"{whole}{'.' if decimals else ''}{decimals} {self.symbol}"


class Deployment(BaseModel):
    """One escrow. Written by scripts/deploy.py, read by everybody."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chain_id: int = Field(ge=1)
    contract: AddressField
    block: int = Field(ge=0)
    """The block the escrow was deployed in; its history starts there."""
    tokens: tuple[Token, ...] = ()

    panel: AddressField | None = None
    """The arbiter of jobs whose verification is `optimistic`; without one there are no such jobs."""
    panel_stake_token: AddressField | None = None
    """What the panel's verifiers stake."""

    @property
    def domain(self) -> Domain:
        """The EIP-712 domain of everything signed for this escrow."""
        return Domain(self.chain_id, self.contract)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a deployment file. Raises BadField that names the file or the field."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise BadField("deployment", str(path), f"cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise bad_field("deployment", error) from error

    @property
    def arbiters(self) -> frozenset[Address]:
        """Those that may judge a job signed here, and the zero address: nobody."""
        return frozenset({ZERO_ADDRESS, self.panel or ZERO_ADDRESS})

    def token(self, name: str) -> Token:
        """The token of that symbol or address. Raises BadField that names the known ones."""
        for token in self.tokens:
            if name.upper() == token.symbol.upper() or name.lower() == token.address.lower():
                return token
        known = ", ".join(token.symbol for token in self.tokens) or "none"
        close = nearest(name, [token.symbol for token in self.tokens])
        hint = f"{close} Known: {known}" if close.startswith("did") else close
        raise BadField("payment_token", name, f"is not known to this deployment; {hint}")
