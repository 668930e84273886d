"""Words that a person mistyped. Pure."""

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word nearest to a mistyped one, or all of them."""
    words = sorted(known)
    lower = {each.lower(): each for each in words}
    close = difflib.get_close_matches(word.lower(), list(lower), n=1)
    return f"did you mean {lower[close[0]]}?" if close else f"known: {', '.join(words) or 'none'}"
