"""Keys in encrypted keystore files (Web3 Secret Storage, version 3). A key's plain value is never in a file, a setting or an argument."""

import json
import os
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address

from deai.errors import BadField, KeyUnusable
from deai.job import Address

# What eth-account raises for a wrong password, or a file that is no keystore.
_UNOPENED = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    NotImplementedError,  # a version of a keystore that it does not know
)


def new(folder: Path, name: str, password: str) -> Address:
    """Makes a key and keeps it, encrypted with `password`, as `folder/<name>.json` (mode 0600). Raises BadField if the name is taken."""
    account: LocalAccount = Account.create()
    save(account, folder, name, password)
    return Address(account.address)


def save(account: LocalAccount, folder: Path, name: str, password: str, *, light: bool = False) -> Path:
    """Keeps `account`, encrypted with `password`, as `folder/<name>.json`. Never overwrites.

    `light` makes it open quickly, and so be guessed quickly: only for keys that everybody knows anyhow.
    """
    path = free(folder, name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = json.dumps(account.encrypt(password, iterations=2 if light else None))
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise _taken(path) from error
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return path


def free(folder: Path, name: str) -> Path:
    """Where a key of this name would be kept. Raises BadField if it is taken, or no name."""
    if not name or not name.replace("-", "").replace("_", "").isalnum():
        raise BadField("key", name, "is a name of letters, digits, - and _")
    path = folder / f"{name}.json"
    if path.exists():
        raise _taken(path)
    return path


def _taken(path: Path) -> BadField:
    return BadField("key", path.stem, f"exists already: {path}")


def listing(folder: Path) -> list[tuple[str, Address]]:
    """The names and addresses of the keys in `folder`, without opening them."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append((path.stem, Address(to_checksum_address(json.loads(path.read_text())["address"]))))
        except (ValueError, KeyError, TypeError) as error:
            raise KeyUnusable(f"{path} is not a keystore file") from error
    return found


def unlock(path: Path, password: str) -> LocalAccount:
    """Opens a keystore file. Raises KeyUnusable for a file that is missing, is not a keystore, or does not open."""
    try:
        account: LocalAccount = Account.from_key(Account.decrypt(path.read_text(), password))
    except OSError as error:
        raise KeyUnusable(
            f"key {path}: {error.strerror}; make one with `deai keys new {path.stem}`"
        ) from error
    except _UNOPENED as error:
        raise KeyUnusable(
            f"key {path}: does not open with this password, or is not a keystore file"
        ) from error
    return account
