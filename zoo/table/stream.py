"""Parquet tables larger than memory, read part by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from zoo.table.files import existing, is_url
from zoo.table.size import fits
from zoo.table.typed import from_arrow

PART = 1 << 16
"""Rows that are in memory at a time."""
SOME = 100_000
"""Rows, drawn at random, that a schema, a start and the choices of a streamed fit are made from."""
TOGETHER = 4
"""Row groups that a shuffled part is drawn from."""


@dataclass(frozen=True)
class Stream:
    """A Parquet file, or a folder of such files, of `rows` rows; a row's position in it is its index.

    without   positions (sorted) that are passed over
    """

    files: tuple[Path, ...]
    rows: int
    columns: int
    without: np.ndarray

    @classmethod
    def of(cls, source: str | Path) -> Stream:
        path = existing(source)
        files = tuple(sorted(path.rglob("*.parquet"))) if path.is_dir() else (path,)
        heads = [pq.read_metadata(file) for file in files]
        rows = sum(head.num_rows for head in heads)
        return cls(files, rows, heads[0].num_columns, np.zeros(0, dtype=np.int64))

    def leaving_out(self, positions: np.ndarray) -> Stream:
        """The same rows but for those at these positions."""
        return replace(self, without=np.union1d(self.without, positions))

    def __len__(self) -> int:
        return self.rows - len(self.without)

    def parts(self, seed: int | None = None, size: int = PART) -> Iterator[pd.DataFrame]:
        """Frames of about `size` rows, in the table's order, or shuffled by a seed.

        Shuffled parts mix rows of a few row groups, which come in random order.
        """
        groups = self._groups()
        if seed is None:
            for group in groups:
                yield from self._frames(group, size)
            return
        rng = np.random.default_rng(seed)
        waiting = [groups[i] for i in rng.permutation(len(groups))]
        running: list[Iterator[pd.DataFrame]] = []
        while waiting or running:
            while waiting and len(running) < TOGETHER:
                running.append(self._frames(waiting.pop(), max(1, size // TOGETHER)))
            frames = [(reader, next(reader, None)) for reader in running]
            running = [reader for reader, frame in frames if frame is not None]
            drawn = [frame for _, frame in frames if frame is not None and len(frame)]
            if drawn:
                mixed = pd.concat(drawn)
                yield mixed.iloc[rng.permutation(len(mixed))]

    def some(self, n: int, seed: int) -> pd.DataFrame:
        """n rows drawn at random (all where there are no more), in the table's order."""
        chosen = np.sort(np.random.default_rng(seed).choice(self.rows, min(n, self.rows), replace=False))
        return pd.concat([part[np.isin(part.index, chosen, assume_unique=True)] for part in self.parts()])

    def _groups(self) -> list[tuple[Path, int, int, int]]:
        """Every row group: its file, its number there, the position of its first row, its rows."""
        out, first = [], 0
        for file in self.files:
            head = pq.read_metadata(file)
            for number in range(head.num_row_groups):
                rows = head.row_group(number).num_rows
                out.append((file, number, first, rows))
                first += rows
        return out

    def _frames(self, group: tuple[Path, int, int, int], size: int) -> Iterator[pd.DataFrame]:
        file, number, first, _ = group
        with pq.ParquetFile(file, memory_map=True) as reader:
            for batch in reader.iter_batches(size, row_groups=[number], use_threads=False):
                frame = from_arrow(pa.Table.from_batches([batch]).replace_schema_metadata(None))
                frame.index = pd.RangeIndex(first, first + len(frame))
                first += len(frame)
                if len(self.without):
                    frame = frame[~np.isin(frame.index, self.without)]
                yield frame


def streamed(source: object) -> Stream | None:
    """The stream of a Parquet table that had better not be read whole; none for every other table."""
    if not isinstance(source, str | Path) or str(source) == "-" or is_url(source):
        return None
    path = Path(source).expanduser()
    if path.suffix.lower() != ".parquet" and not path.is_dir():
        return None
    stream = Stream.of(source)
    return None if fits(stream.rows, stream.columns) else stream
