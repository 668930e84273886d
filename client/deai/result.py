"""A result: how the folder that a provider delivers is laid out, and the exit record in it. Pure.

exit.json           how the run ended: an ExitRecord
log.txt             the run's output, stdout and stderr as they came, capped
<output_path>/…     what the run left in /outputs; with the path `/`, beside the two above
"""

import json
from pathlib import PurePosixPath
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deai.spec import bad_field

EXIT_NAME = "exit.json"
LOG_NAME = "log.txt"
MAX_EXIT_BYTES = 1 << 20
"""A longer exit record is none."""
RESERVED_NAMES = frozenset({EXIT_NAME, LOG_NAME})
"""An output of such a name at the result's root is refused, and so is an `output_path` that begins with
one.
"""

MAX_REFUSED = 1_000
"""Refused outputs are named up to this many."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RefusedOutput(_Strict):
    """Something in /outputs that is not part of the result, and why. The name is printable: odd characters
    are escaped.
    """

    name: str
    reason: str


class ExitRecord(_Strict):
    """How a run ended. A run that failed, timed out or ran out of memory is delivered all the same; this
    says so.
    """

    version: Literal[1] = 1
    exit_code: int | None
    """Of the command; None when the engine knows of none."""
    timed_out: bool
    """The agent stopped it after the spec's `max_seconds`."""
    oom_killed: bool
    """The kernel killed some process of the run for memory. The exit code alone says whether the job
    failed.
    """
    seconds: int = Field(ge=0)
    """How long it ran, rounded up."""
    image: str
    """The id of the image that ran: the digest of its config."""
    refused: tuple[RefusedOutput, ...] = Field(default=(), max_length=MAX_REFUSED)
    refused_count: int = Field(default=0, ge=0)
    """How many outputs were refused; more than are named, after a flood."""

    @property
    def succeeded(self) -> bool:
        """Whether the command ended by itself with exit code 0."""
        return self.exit_code == 0 and not self.timed_out

    def canonical(self) -> bytes:
        """The one spelling of this record: JSON with sorted keys, no spaces, UTF-8."""
        return json.dumps(
            self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        ).encode()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads an exit record. Raises BadField that names the field."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            raise bad_field("exit", error) from error

    def __str__(self) -> str:
        said = "timed out" if self.timed_out else f"exit code {self.exit_code}"
        memory = ", out of memory" if self.oom_killed else ""
        refused = f", {self.refused_count} outputs refused" if self.refused_count else ""
        return f"{said} after {self.seconds} s{memory}{refused}"


def output_folder(output_path: str) -> PurePosixPath:
    """The folder of the outputs, relative to the result's root, for a spec's `output_path`."""
    return PurePosixPath(output_path).relative_to("/")


def reserved(output_path: str) -> bool:
    """Whether `output_path` would put the outputs where the exit record or the log is."""
    return output_folder(output_path).parts[:1] in {(name,) for name in RESERVED_NAMES}
