"""Room on this machine's disk: whether a failure is for want of it, and what may go to make some."""

import errno
import sqlite3

from deai_provider.ledger import BUSY, UPLOADING, Ledger, Step
from deai_provider.workshop import Workshop

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_WORDS = ("no space left", "disk quota exceeded")
"""What an engine says, which passes on the machine's errors as text only."""


def is_short(error: BaseException) -> bool:
    """Whether the disk was full when this failed, or what made it fail."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return True
        if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            return True
        if any(words in str(cause).lower() for words in _WORDS):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def needed_images(ledger: Ledger) -> set[str]:
    """The pinned ids of the images that jobs wait for, or may have to begin anew from: not all could be had a second time."""
    return {entry.image for entry in ledger.entries(BUSY - UPLOADING) if entry.image is not None}


def make_room(shop: Workshop) -> None:
    """Drops what could be fetched again: image archives, and images of ours that no container uses and no job needs. Raises EngineUnavailable."""
    # A job that was not begun yet loads its archive once more if the engine lost its image meanwhile.
    waiting = BUSY - UPLOADING - {Step.RUNNING}
    shop.images.trim(0, {str(entry.spec.image.cid) for entry in shop.ledger.entries(waiting) if entry.spec})
    shop.executor.spare()
