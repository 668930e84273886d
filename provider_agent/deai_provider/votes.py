"""A verifier's votes, written down before they are sealed: a vote whose salt is lost cannot be opened, and its seat is slashed."""

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from deai.comparison import Opinion
from deai.errors import Bug
from deai.job import JobId
from deai.panel import Verdict
from deai.unixfs import sync_folder

_SALT_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What will be revealed."""

    verdict: Verdict
    digest: bytes
    salt: bytes


class Votes:
    """A folder with a file for each case, which appears whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, case: JobId) -> Vote | None:
        """The vote in this case. Raises Bug for a file that is none."""
        try:
            told = json.loads(self._path(case).read_text())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise Bug(f"{self._path(case)}: is not a vote") from error
        digest, salt = (bytes.fromhex(told[name]) for name in ("digest", "salt"))
        return Vote(verdict=Verdict(told["verdict"]), digest=digest, salt=salt)

    def keep(self, case: JobId, opinion: Opinion) -> Vote:
        """Writes the vote down, durably, with a new salt; one that is there stays as it is. Raises OSError where the disk refuses."""
        kept = self.find(case)
        if kept is not None:
            return kept
        vote = Vote(verdict=opinion.verdict, digest=opinion.digest, salt=secrets.token_bytes(_SALT_BYTES))
        told = {"verdict": int(vote.verdict), "digest": vote.digest.hex(), "salt": vote.salt.hex()}
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = self._path(case).with_suffix(".partial")
        # Nobody else reads it: who knows a vote before it is revealed may copy it.
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            json.dump(told, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path(case))
        sync_folder(self._folder)
        return vote

    def cases(self) -> list[JobId]:
        """The cases that a vote is kept of."""
        return sorted(JobId(path.stem) for path in self._folder.glob("*.json"))

    def drop(self, case: JobId) -> None:
        """Forgets the vote in a case that is over."""
        self._path(case).unlink(missing_ok=True)

    def _path(self, case: JobId) -> Path:
        return self._folder / f"{case}.json"
