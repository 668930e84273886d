"""The job spec: what to run, on what, with how much. Canonical JSON, named by its CID; the chain holds only the digest. Pure."""

import json
import re
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from deai.cid import Cid, Codec
from deai.errors import BadField

MAX_SPEC_BYTES = 1 << 20
"""A spec is one block."""

MAX_ARGUMENT_BYTES = 65_536
"""Of one argument, or of one environment variable's value. Linux starts no program with one of 128 KiB or more."""

MAX_PATH_BYTES, MAX_PATH_DEPTH = 255, 17

INPUT_NAMES = re.compile(r"[a-z0-9_]{1,32}")
_DIGEST_REFERENCE = re.compile(r"[a-z0-9._:/-]{1,255}@sha256:[0-9a-f]{64}")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def _cid(text: str) -> str:
    return str(Cid.parse(text))


def _output_path(text: str) -> str:
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or not text.isprintable():
        raise ValueError("must be an absolute path without `..` and control characters")
    if len(text.encode()) > MAX_PATH_BYTES or len(path.parts) > MAX_PATH_DEPTH:
        raise ValueError(f"has at most {MAX_PATH_BYTES} bytes and {MAX_PATH_DEPTH - 1} folders")
    return "/" + "/".join(path.parts[1:])


def _argument(text: str) -> str:
    if len(text.encode()) > MAX_ARGUMENT_BYTES:
        raise ValueError(f"has at most {MAX_ARGUMENT_BYTES} bytes")
    return text


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has control characters")
    return text


Argument = Annotated[str, AfterValidator(_argument)]
CidText = Annotated[str, AfterValidator(_cid)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Image(_Strict):
    """A container image, pinned: either `cid`, an image archive as `docker save` writes it, or `digest`, `name@sha256:…`."""

    cid: CidText | None = None
    digest: str | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.cid is None) == (self.digest is None):
            raise ValueError("has either a cid or a digest")
        if self.digest is not None and not _DIGEST_REFERENCE.fullmatch(self.digest):
            raise ValueError("the digest is of the form name@sha256:<64 hex digits>")
        return self

    def __str__(self) -> str:
        return self.cid or self.digest or ""


class Resources(_Strict):
    """What a run may use, at most; and of GPUs, what it needs. Memory and disk in MiB, processors in thousandths of a core."""

    cpu_millis: int = Field(default=1_000, ge=100, le=1_024_000)
    memory_mib: int = Field(default=1_024, ge=16, le=1 << 24)
    disk_mib: int = Field(default=1_024, ge=16, le=1 << 26)
    """Room for /outputs and for scratch."""
    gpus: int = Field(default=0, ge=0, le=1_024)
    vram_mib: int = Field(default=0, ge=0, le=1 << 24)
    """Memory of each GPU."""
    gpu_model: str | None = Field(default=None, min_length=1, max_length=64)
    """A word that the GPU's name must contain, whatever the case: `a100`."""


class Spec(_Strict):
    """All that a provider must know to run a job. Everything in it is public."""

    version: Literal[1] = 1
    name: Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_printable)]
    image: Image
    command: tuple[Argument, ...] = Field(min_length=1, max_length=1_024)
    env: dict[str, Argument] = Field(default_factory=dict, max_length=256)
    inputs: dict[str, CidText] = Field(default_factory=dict, max_length=32)
    """Name to CID: each appears read-only as /inputs/<name>, a file or a folder as its CID says."""
    output_path: Annotated[str, Field(min_length=1), AfterValidator(_output_path)] = "/"
    """The folder of the result under which /outputs appears."""
    resources: Resources = Resources()
    max_seconds: int = Field(default=3_600, ge=1, le=30 * 86_400)
    """The run is stopped after this time, and delivered as timed out."""
    verification: Literal["none", "optimistic"] = "none"
    """`none`: whatever is delivered in time is paid. `optimistic`: a re-run must give the same result, byte by byte; the submitter may dispute one
    that does not."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        for name in self.inputs:
            if not INPUT_NAMES.fullmatch(name):
                raise ValueError(f"input name {name!r} is not of a-z, 0-9 and _")
        for name in self.env:
            if not _ENV_NAME.fullmatch(name):
                raise ValueError(f"env name {name!r} is not a variable name")
        if any("\0" in text for text in (*self.command, *self.env.values())):
            raise ValueError("command and env have no NUL characters")
        return self

    def canonical(self) -> bytes:
        """The one spelling of this spec: JSON with sorted keys, no spaces, UTF-8, nulls left out."""
        value = self.model_dump(mode="json", exclude_none=True)
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def cid(self) -> Cid:
        """The spec's CID: a raw block. Its digest is `Job.spec`."""
        return Cid.of(self.canonical(), Codec.RAW)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Reads a spec in its canonical spelling. Raises BadField that names the field, unknown ones included."""
        if len(data) > MAX_SPEC_BYTES:
            raise BadField("spec", f"{len(data)} bytes", f"a spec has at most {MAX_SPEC_BYTES} bytes")
        try:
            spec = cls.model_validate_json(data)
        except ValidationError as error:
            raise bad_field("spec", error) from error
        if spec.canonical() != data:
            raise BadField("spec", str(Cid.of(data, Codec.RAW)), "is not spelled canonically")
        return spec

    @classmethod
    def build(cls, **fields: object) -> Self:
        """A spec from fields, checked. Raises BadField that names the field."""
        try:
            return cls.model_validate_json(json.dumps(fields))
        except ValidationError as error:
            raise bad_field("spec", error) from error


def bad_field(root: str, error: ValidationError) -> BadField:
    """The first complaint of pydantic as one of ours."""
    first = error.errors(include_url=False)[0]
    field = ".".join((root, *(str(part) for part in first["loc"])))
    value = first.get("input")
    shown = value if isinstance(value, str | int | float | None) else type(value).__name__
    return BadField(field, shown, first["msg"].removeprefix("Value error, "))
