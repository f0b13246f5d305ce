"""Put the rows of a file away by day while it is read, in bounded memory, and take each day out in file order.

Rows wait in memory until there are `HELD` of them; then they are sorted by day and written to a passing file,
column after column, in which the rows of a day lie together.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import numpy as np
from numpy.typing import NDArray

#: So many rows wait in memory: about 80 MB, and as much again while they are sorted.
HELD: Final = 3_000_000
#: `day`: days since 1970. `at`: minutes since 1970, UTC. A missing number is NaN, a missing state `MISSING`.
COLUMNS: Final[dict[str, np.dtype[Any]]] = {
    "day": np.dtype(np.uint16),
    "arc": np.dtype(np.int32),
    "at": np.dtype(np.int32),
    "flow": np.dtype(np.float64),
    "occupancy": np.dtype(np.float64),
    "state": np.dtype(np.uint8),
    "arc_state": np.dtype(np.uint8),
}
MISSING: Final = 255
_KEPT: Final = tuple(name for name in COLUMNS if name != "day")

Rows = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class _SortedFile:
    """A sorted file: row `starts[day]` is the first of a day, `starts[day + 1]` the first of the next."""

    handle: BinaryIO
    rows: int
    starts: NDArray[np.int64]


class SortBuffers:
    """Rows by day, below `folder`; closed, nothing of them is left."""

    def __init__(self, folder: Path, memory: int = HELD) -> None:
        self._folder = folder
        self._held = memory
        self._waiting: list[Rows] = []
        self._count = 0
        self._sorted: Rows = {}
        self._starts = np.zeros(2**16 + 1, np.int64)
        self._files: list[_SortedFile] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.handle.close()

    def add(self, rows: Rows) -> None:
        """Put rows away, each column an array as `COLUMNS` names it; they come behind all before them."""
        self._waiting.append(rows)
        self._count += len(rows["day"])
        if self._count >= self._held:
            self._spill()

    def finish(self) -> list[int]:
        """End the adding: the days that there are rows of, in order."""
        self._sorted, self._starts = self._sort()
        filled = np.diff(self._starts) > 0
        for file in self._files:
            filled |= np.diff(file.starts) > 0
        return np.flatnonzero(filled).tolist()

    def take(self, day: int) -> dict[str, NDArray[Any]]:
        """Return the rows of a day, in the order in which they were added. From any thread, once it is finished."""
        parts = [self._cut(file, day) for file in self._files]
        here = slice(self._starts[day], self._starts[day + 1])
        parts.append({name: self._sorted[name][here] for name in _KEPT})
        return {name: np.concatenate([part[name] for part in parts]) for name in _KEPT}

    def _sort(self) -> tuple[Rows, NDArray[np.int64]]:
        """Return what waits, sorted by day, and where each day begins."""
        joined = {
            name: np.concatenate([np.empty(0, kind), *(rows[name] for rows in self._waiting)])
            for name, kind in COLUMNS.items()
        }
        self._waiting, self._count = [], 0
        order = np.argsort(joined["day"], kind="stable")  # of 16 bits: a radix sort
        starts = np.zeros(2**16 + 1, np.int64)
        np.cumsum(np.bincount(joined.pop("day"), minlength=2**16), out=starts[1:])
        for name in _KEPT:
            joined[name] = joined[name][order]
        return joined, starts

    def _spill(self) -> None:
        rows, starts = self._sort()
        file = (self._folder / f"rows-{id(self):x}-{len(self._files)}").open("w+b", buffering=0)
        self._files.append(_SortedFile(file, len(rows["arc"]), starts))
        Path(file.name).unlink()  # the disk has it back when the file is closed, or the process killed
        for name in _KEPT:
            _write_all(file, rows[name].view(np.uint8).data)

    def _cut(self, file: _SortedFile, day: int) -> dict[str, NDArray[Any]]:
        first, count = int(file.starts[day]), int(file.starts[day + 1] - file.starts[day])
        parts, begin = {}, 0
        for name in _KEPT:
            kind = COLUMNS[name]
            parts[name] = _read_at(file.handle, begin + first * kind.itemsize, count, kind)
            begin += file.rows * kind.itemsize
        return parts


def _write_all(file: BinaryIO, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _read_at(file: BinaryIO, offset: int, count: int, kind: np.dtype[Any]) -> NDArray[Any]:
    data = os.pread(file.fileno(), count * kind.itemsize, offset)
    return np.frombuffer(data, kind)
