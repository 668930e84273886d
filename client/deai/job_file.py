"""A job as a person writes it: the flags of `deai submit job`, or the same words in a YAML file. Pure but for reading the file."""

import re
import shlex
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from deai.errors import BadField
from deai.spec import bad_field
from deai.words import nearest

_DURATION = re.compile(r"(\d+)\s*([smhd]?)", re.IGNORECASE)
_FRACTION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,18})?")
MAX_SECONDS = 366 * 86_400
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds(text: str, field: str) -> int:
    """`"90"`, `"90s"`, `"30m"`, `"2h"`, `"1d"` in seconds. Raises BadField."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise BadField(field, text, "must be a duration such as 90s, 30m or 2h")
    found = int(match[1]) * _SECONDS[match[2].lower()]
    if found > MAX_SECONDS:
        raise BadField(field, text, f"is more than {MAX_SECONDS // 86_400} days")
    return found


def fraction(text: str, field: str) -> Fraction:
    """`"0.2"` as a number from 0 to 1, exactly. Raises BadField."""
    if _FRACTION.fullmatch(text) is None or (found := Fraction(text)) > 1:
        raise BadField(field, text, "must be a decimal number from 0 to 1, such as 0.2")
    return found


def _text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _url(text: str) -> str:
    parts = urlsplit(text)
    named = all((parts.hostname or "").removesuffix(".").split("."))
    if parts.scheme not in ("https", "http") or not named or not text.isprintable():
        raise ValueError("must be an https:// or http:// URL")
    return text


def _command(value: object) -> object:
    return tuple(shlex.split(value)) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_text)]


class JobFile(BaseModel):
    """What `deai submit job` takes. Sizes, durations and amounts are text as people write it: `80GiB`, `2h`, `2.5`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    docker_image: str
    """A name in a registry (`python:3.12`, `ghcr.io/a/b@sha256:…`), an image archive's CID, or a name given by `deai add --image NAME`."""
    platform: str | None = None
    """Of an image that a registry has for several; linux/amd64 unless set."""
    payment_token: str
    payment_amount: Text
    """The most the job may cost: the cap of its price ramp."""
    compute_profile: str | None = None
    input_script_cid: str | None = None
    input_data_cid: str | None = None
    command: Annotated[tuple[str, ...], BeforeValidator(_command)] | None = None
    env: dict[str, Text] = Field(default_factory=dict)
    output_storage: Literal["ipfs"] = "ipfs"
    output_path: str = "/"
    callback_url: Annotated[str, AfterValidator(_url), Field(max_length=2_048)] | None = None
    timeout: Text = "1h"
    """The run's own time; it is stopped then, and delivered as timed out."""
    gpus: int | None = None
    gpu: str | None = None
    vram: Text | None = None
    cpu: Text | None = None
    memory: Text | None = None
    disk: Text | None = None
    bond: Text | None = None
    """What the provider must lock, and loses if it does not deliver or cheats. Without it: nothing where nobody judges, otherwise as much as makes
    cheating lose."""
    verification: Literal["none", "optimistic"] = "none"
    """`none`: whatever is delivered is paid. `optimistic`: you may dispute a result within the window, and a panel re-runs the job."""
    seats: int | None = Field(default=None, ge=1)
    """How many verifiers judge a dispute; odd."""
    resource_class: int | None = Field(default=None, ge=0, lt=1 << 16)
    """What those verifiers must have: the panel's classes by number."""
    check_rate: Text | None = None
    """How often you will check a result like this one, from 0 to 1: the bond must make cheating lose at that rate."""
    outside_gain: Text | None = None
    """What a wrong result may earn its provider elsewhere, in the payment token."""
    dispute_fee: Text | None = None
    """What a dispute costs its loser."""
    ruling: Text | None = None
    """How long the panel has for a dispute."""
    award_within: Text = "1h"
    """How long the job stays open for awards; the price ramp rises over this time."""
    window: Text = "1h"
    """How long after the delivery the payment waits for an approval before anyone may settle."""

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Self:
        """From flags or a file's mapping. Raises BadField that names the field and, for a mistyped one, the nearest."""
        for key, value in values.items():
            if key not in cls.model_fields:
                raise BadField(
                    key, value, f"is no field of a job; {nearest(str(key), list(cls.model_fields))}"
                )
        for key, field in cls.model_fields.items():
            if field.is_required() and values.get(key) is None:
                raise BadField(
                    key, None, f"is missing; give --{key.replace('_', '-')} or `{key}:` in the job file"
                )
        try:
            return cls.model_validate({key: value for key, value in values.items() if value is not None})
        except ValidationError as error:
            raise bad_field("job", error) from error

    @property
    def resources(self) -> dict[str, Any]:
        """The resources that were given one by one, in the words of a profile."""
        given = {
            "cpus": self.cpu,
            "memory": self.memory,
            "disk": self.disk,
            "gpus": self.gpus,
            "gpu": self.gpu,
            "vram": self.vram,
        }
        return {key: value for key, value in given.items() if value is not None}


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML job file. Raises BadField."""
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadField("file", str(path), f"cannot be read as YAML: {error}") from error
    if not isinstance(values, dict):
        raise BadField("file", str(path), "is a mapping of a job's fields to values")
    return values
