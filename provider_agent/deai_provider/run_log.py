"""What a run printed, as a file with a cap: bytes once served stay the same, whatever the engine throws away later."""

from collections.abc import Iterable, Iterator
from pathlib import Path

_HEADER_BYTES = 8
_CUT = b"\n[deai: the log was cut here: it reached its limit]\n"


def append(path: Path, stream: Iterable[bytes], cap: int) -> None:
    """Writes `stream`, which is the log from its beginning, to `path`, less what is there already. Ends with the stream, or at `cap` bytes."""
    with path.open("ab", buffering=0) as file:
        there = file.tell()
        if there >= cap:
            return
        skip = there
        for piece in stream:
            fresh = piece[skip:]
            skip = max(0, skip - len(piece))
            file.write(fresh[: cap - there])
            there += len(fresh)
            if there >= cap:
                file.write(_CUT)
                return


def read(path: Path, offset: int) -> bytes:
    """The bytes of the log from `offset` on; none if there is no log yet."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        return b""


def demultiplex(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The payloads of the engine's stream: frames of a kind, three zeros, a length (big-endian, 4 bytes) and as many bytes."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        start, payloads = 0, []
        while len(buffer) - start >= _HEADER_BYTES:
            end = start + _HEADER_BYTES + int.from_bytes(buffer[start + 4 : start + _HEADER_BYTES])
            if len(buffer) < end:
                break
            payloads.append(bytes(buffer[start + _HEADER_BYTES : end]))
            start = end
        del buffer[:start]
        yield b"".join(payloads)
