"""How much memory a table needs, and how much there is."""

from __future__ import annotations

import os
from pathlib import Path

from zoo.errors import UserError

CELL = 100
"""Bytes that a cell takes while a model is fitted: as read, and as the tensors it becomes."""
CELL_OF_TEXT = 6
"""Bytes of a cell in a text file."""
SHARE = 0.5
"""Share of the free memory that a table may take."""


def needed(rows: int, columns: int) -> int:
    """Bytes that fitting a table takes."""
    return rows * columns * CELL


def available() -> int:
    """Bytes of memory that are free to this process: of the machine, or of its control group where that is less."""
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    for line in _lines(Path("/proc/meminfo")):
        if line.startswith("MemAvailable:"):
            free = int(line.split()[1]) * 1024
    limit, used = (_lines(Path(f"/sys/fs/cgroup/memory.{name}")) for name in ("max", "current"))
    if limit and used and limit[0].isdigit():
        free = min(free, int(limit[0]) - int(used[0]))
    return max(free, 0)


def fits(rows: int, columns: int) -> bool:
    """Whether a table can be held in memory whole."""
    return needed(rows, columns) <= SHARE * available()


def check_text(size: int, where: str) -> None:
    """Refuse a text file of `size` bytes that would not fit."""
    want, have = needed(size // CELL_OF_TEXT, 1), available()
    if want > have:
        raise UserError(
            f"{where} is {size / 2**30:.1f} GiB of text: that takes about {want / 2**30:.1f} GiB of memory, and "
            f"{have / 2**30:.1f} GiB are free",
            "write it as Parquet, which is read part by part, or keep fewer rows or columns",
        )


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []
