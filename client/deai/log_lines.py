"""A run's output on its way to a person: whole lines, those that match, as bytes. Pure."""

import re
from collections.abc import Callable, Iterator

from deai.errors import BadField

Matches = Callable[[bytes], bool]

MAX_LINE_BYTES = 1 << 20
"""A longer line is looked at in pieces of this size."""


def matcher(text: str | None) -> Matches | None:
    """What `--filter` means: a part of the line, or a regular expression between slashes. Raises BadField."""
    if text is None:
        return None
    if len(text) < 3 or not (text.startswith("/") and text.endswith("/")):
        part = text.encode()
        return lambda line: part in line
    try:
        pattern = re.compile(text[1:-1].encode())
    except re.error as error:
        raise BadField("filter", text, f"is not a regular expression: {error}") from error
    return lambda line: pattern.search(line) is not None


class Lines:
    """Cuts output that comes in pieces into lines, and lets through those that match; all of it as it comes where nothing has to match."""

    def __init__(self, matches: Matches | None) -> None:
        self._matches = matches
        self._held, self._offset = b"", 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """What is to be shown now, and where in the output it starts."""
        if self._matches is None:
            if data:
                yield self._cut(data)
            return
        data, self._held = self._held + data, b""
        start = 0
        while start < len(data):
            end = data.find(b"\n", start, start + MAX_LINE_BYTES) + 1
            if not end and len(data) - start < MAX_LINE_BYTES:
                break
            offset, line = self._cut(data[start : end or start + MAX_LINE_BYTES])
            start += len(line)
            if self._matches(line.rstrip(b"\r\n")):
                yield offset, line
        self._held = data[start:]

    def rest(self) -> Iterator[tuple[int, bytes]]:
        """The last line, if it had no end."""
        offset, line = self._cut(self._held)
        self._held = b""
        if line and self._matches is not None and self._matches(line):
            yield offset, line

    def _cut(self, data: bytes) -> tuple[int, bytes]:
        offset = self._offset
        self._offset += len(data)
        return offset, data
