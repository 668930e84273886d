"""What is mounted below a folder."""

from pathlib import Path


def mounts_below(folder: Path) -> list[str]:
    """Where something is mounted below `folder`, the innermost first."""
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted((point for point in points if point.startswith(f"{folder}/")), reverse=True)
