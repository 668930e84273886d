"""Content ids: CIDv1 in base32 with sha2-256, and CIDv0 read as the dag-pb CIDv1 it stands for. Pure.

Source: the CID, multibase, multihash and multicodec specifications of multiformats.
"""

import base64
import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Self

from deai.errors import BadField

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_SHA2_256 = b"\x12\x20"
_MAX_TEXT = 128


class Codec(IntEnum):
    """How a block's bytes are read; multicodec's numbers."""

    RAW = 0x55
    DAG_PB = 0x70


@dataclass(frozen=True, slots=True)
class Cid:
    """A content id: a codec and a sha2-256 digest of 32 bytes. `str()` gives CIDv1 in base32."""

    codec: Codec
    digest: bytes

    def __post_init__(self) -> None:
        if len(self.digest) != 32:
            raise BadField("cid", self.digest.hex(), "a sha2-256 digest has 32 bytes")

    @classmethod
    def of(cls, data: bytes, codec: Codec) -> Self:
        """The CID of one block."""
        return cls(codec, hashlib.sha256(data).digest())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads CIDv1 in base32 and CIDv0 (`Qm…`). Raises BadField for all else, odd spellings included."""
        if len(text) > _MAX_TEXT:
            raise BadField("cid", text[:_MAX_TEXT] + "…", "is too long for a CID")
        if text.startswith("Qm") and len(text) == 46:
            cid = cls(Codec.DAG_PB, _multihash_digest(text, _from_base58(text)))
            spelled = cid.v0()
        elif text.startswith("b"):
            cid = cls._from_bytes(text, _from_base32(text))
            spelled = str(cid)
        else:
            raise BadField("cid", text, "is neither a CIDv1 in base32 (`bafy…`, `bafk…`) nor a CIDv0 (`Qm…`)")
        if spelled != text:
            raise BadField("cid", text, f"is not spelled canonically; `{spelled}` is")
        return cid

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Reads a binary CIDv1, or a bare multihash (CIDv0), as links in blocks hold it. Raises BadField."""
        if len(data) == 34 and data.startswith(_SHA2_256):
            return cls(Codec.DAG_PB, data[2:])
        return cls._from_bytes(data.hex(), data)

    @classmethod
    def _from_bytes(cls, shown: str, data: bytes) -> Self:
        if len(data) < 2 or data[0] != 1:
            raise BadField("cid", shown, "is not a CIDv1")
        if data[1] not in (Codec.RAW, Codec.DAG_PB):
            raise BadField("cid", shown, "has a codec other than raw and dag-pb")
        return cls(Codec(data[1]), _multihash_digest(shown, data[2:]))

    def __bytes__(self) -> bytes:
        return bytes((1, self.codec)) + _SHA2_256 + self.digest

    def __str__(self) -> str:
        return "b" + base64.b32encode(bytes(self)).decode().rstrip("=").lower()

    def v0(self) -> str:
        """The CIDv0 spelling of a dag-pb CID. Raises BadField for a raw one, which has none."""
        if self.codec is not Codec.DAG_PB:
            raise BadField("cid", str(self), "has no CIDv0, as it is not dag-pb")
        number, text = int.from_bytes(_SHA2_256 + self.digest), ""
        while number:
            number, rest = divmod(number, 58)
            text = _BASE58[rest] + text
        return text


def _multihash_digest(shown: str, multihash: bytes) -> bytes:
    if not multihash.startswith(_SHA2_256) or len(multihash) != 34:
        raise BadField("cid", shown, "is not a sha2-256 CID")
    return multihash[2:]


def _from_base58(text: str) -> bytes:
    number = 0
    for character in text:
        value = _BASE58.find(character)
        if value < 0:
            raise BadField("cid", text, f"has {character!r}, which base58 does not know")
        number = number * 58 + value
    if number.bit_length() > 34 * 8:
        raise BadField("cid", text, "is not a sha2-256 CID")
    return number.to_bytes(34)


def _from_base32(text: str) -> bytes:
    body = text[1:]
    if body != body.lower():
        raise BadField("cid", text, "has upper-case letters")
    try:
        return base64.b32decode(body.upper() + "=" * (-len(body) % 8))
    except ValueError as error:
        raise BadField("cid", text, "is not base32") from error
