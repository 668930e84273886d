"""What a submitter keeps on its own disk: copies of the orders it signed, and names it gave to image archives."""

import json
import os
import re
import tarfile
from pathlib import Path

from pydantic import ValidationError

from deai.cid import Cid
from deai.errors import BadField
from deai.job import Address, JobId
from deai.wire import Order

_FULL_ID = re.compile(r"0x[0-9a-f]{64}")


class Home:
    """A folder, `settings.home`. Files appear whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save_order(self, job: JobId, order: Order) -> None:
        """Keeps a copy of a signed order, durably, before it is sent anywhere: whoever holds it can submit it again."""
        write_whole(self.folder / "orders" / f"{job}.json", order.model_dump_json(indent=1))

    def order(self, job: JobId) -> Order:
        """The copy of an order. Raises BadField if there is none."""
        path = self.folder / "orders" / f"{job}.json"
        try:
            return Order.model_validate_json(path.read_bytes())
        except OSError as error:
            raise BadField(
                "job", job, "was not signed here (no copy of its order in deai's home folder)"
            ) from error
        except ValidationError as error:
            raise BadField("order", str(path), "is not a copy of an order") from error

    def forget_order(self, job: JobId) -> None:
        """Removes the copy of an order that nobody else got."""
        (self.folder / "orders" / f"{job}.json").unlink(missing_ok=True)

    def orders(self) -> list[JobId]:
        """The ids of all orders signed here, newest first."""
        files = sorted(
            (self.folder / "orders").glob("0x*.json"), key=lambda path: path.stat().st_mtime, reverse=True
        )
        return [JobId(path.stem) for path in files]

    def find(self, prefix: str) -> JobId:
        """The order whose id starts with `prefix` (at least 6 hex digits). A full id need not be known here. Raises BadField."""
        if _FULL_ID.fullmatch(prefix.lower()):
            return JobId(prefix.lower())
        found = [job for job in self.orders() if len(prefix) >= 8 and job.startswith(prefix.lower())]
        if len(found) != 1:
            raise BadField(
                "job",
                prefix,
                "is neither a job's full id nor the start of exactly one order signed here; `deai jobs` lists them",
            )
        return found[0]

    def remember_result(self, job: JobId, provider: Address, result: Cid) -> None:
        """Notes whose result was fetched, so that an approval can mean that one and no other."""
        write_whole(self.folder / "results" / f"{job}.json", json.dumps([provider, str(result)]))

    def seen_result(self, job: JobId) -> tuple[Address, Cid] | None:
        """The provider and the CID of the result that was fetched last, or None."""
        path = self.folder / "results" / f"{job}.json"
        if not path.exists():
            return None
        try:
            provider, result = json.loads(path.read_text())
            return Address(provider), Cid.parse(result)
        except (ValueError, TypeError) as error:
            raise BadField("results", str(path), "is not a note of a fetched result") from error

    def name_image(self, name: str, cid: Cid) -> None:
        """Remembers that `--docker-image NAME` means the image archive `cid`."""
        write_whole(
            self.folder / "images.json",
            json.dumps(self.images() | {name: str(cid)}, indent=1, sort_keys=True),
        )

    def images(self) -> dict[str, str]:
        """The names given to image archives, and their CIDs."""
        path = self.folder / "images.json"
        if not path.exists():
            return {}
        try:
            names: dict[str, str] = json.loads(path.read_text())
        except ValueError as error:
            raise BadField("images", str(path), "is not JSON") from error
        return names


def is_image_archive(path: Path) -> bool:
    """Whether the file looks like what `docker save` writes: a tar archive with a manifest. The provider checks the rest."""
    try:
        with tarfile.open(path) as archive:
            return "manifest.json" in archive.getnames()
    except (OSError, tarfile.TarError):
        return False


def write_whole(path: Path, text: str) -> None:
    """Writes a file that only its owner reads, durably; it appears whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    # Orders carry secrets: nobody else reads them, whatever the umask.
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
