"""A small disk that can be full: a file system inside a file, mounted where a program keeps its own."""

import errno
import os
import subprocess
from pathlib import Path

_CHUNK = bytes(1 << 16)


class SmallDisk:
    """An ext4 of `mib` MiB at `mount`, none of it kept back for root."""

    def __init__(self, image: Path, mount: Path, mib: int) -> None:
        self._image, self._mount = image, mount
        image.parent.mkdir(parents=True, exist_ok=True)
        with image.open("xb") as file:
            file.truncate(mib << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], check=True)
        mount.mkdir(mode=0o700, parents=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
        (mount / "lost+found").rmdir()
        mount.chmod(0o700)

    @property
    def _filler(self) -> Path:
        return self._mount / "filler"

    def fill(self) -> None:
        """Leaves no byte free."""
        with self._filler.open("wb", buffering=0) as filler:
            for chunk in (_CHUNK, b"0"):
                while True:
                    try:
                        filler.write(chunk)
                    except OSError as error:
                        assert error.errno == errno.ENOSPC, error
                        break
            os.fsync(filler.fileno())

    def free(self) -> None:
        """Gives back what `fill` took."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Takes the disk away."""
        subprocess.run(["umount", str(self._mount)], check=True)
        self._image.unlink()
