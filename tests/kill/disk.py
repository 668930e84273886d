"""A small disk that can be full: a file system inside a file, mounted where a program keeps its own."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path


class SmallDisk:
    """An ext4 of `mib` MiB at `mount`, none of it kept back for root. Whoever stops the market unmounts it."""

    def __init__(self, image: Path, mount: Path, mib: int) -> None:
        self._mount = mount
        with image.open("xb") as file:
            file.truncate(mib << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)], check=True)
        mount.mkdir(mode=0o700, parents=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
        (mount / "lost+found").rmdir()
        mount.chmod(0o700)

    def fill(self) -> None:
        """Leaves no byte free."""
        with (self._mount / "filler").open("xb") as filler:
            end = 0
            for power in range(30, 9, -1):
                with suppress(OSError):
                    while True:
                        os.posix_fallocate(filler.fileno(), end, 1 << power)
                        end += 1 << power

    def free(self) -> None:
        """Gives back what `fill` took."""
        (self._mount / "filler").unlink(missing_ok=True)
