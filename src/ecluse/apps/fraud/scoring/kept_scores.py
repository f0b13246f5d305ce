"""Keep the scores of a large table on the way, so that the next worker scores only what is left."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import polars as pl

from ecluse.apps.fraud.training.kept import code_digest, digest_of_values
from ecluse.apps.fraud.training.record import library_versions
from ecluse.checkpoints import Checkpoints, from_bytes, to_bytes

#: Folders whose code decides scores.
CODE: Final = (
    "",
    "tables",
    "evaluation",
    "features",
    "performance",
    "training",
    "families",
    "scoring",
    "ensembles",
    "labelling",
)

#: Batches that follow each other, by the number of the first.
_NAME: Final = re.compile(r"scores_(\d{9})")
Score = Callable[[pl.DataFrame], pl.DataFrame]


def identity(deciding: Sequence[Any]) -> str:
    """SHA-256 of all that decides what is scored: `deciding` (plain JSON), the code and the libraries."""
    return digest_of_values([*deciding, code_digest(*CODE), library_versions()])


class KeptScores:
    """The scores of the batches of one table, kept in `store` and there `of` the same work."""

    def __init__(self, store: Checkpoints, of: str) -> None:
        self._store, self._of = store, of
        self._stored = {int(match[1]): name for name in store.names() if (match := _NAME.fullmatch(name))}
        self._loaded: dict[int, pl.DataFrame] = {}
        self._unsaved: list[pl.DataFrame] = []
        self._first = 0

    def batch(self, number: int, rows: int) -> pl.DataFrame | None:
        """Return the scores of a batch of so many rows; None where they are to be made."""
        if number in self._stored:
            self._loaded = self._load(number)
        scores = self._loaded.pop(number, None)
        return scores if scores is not None and scores.height == rows else None

    def add(self, number: int, scores: pl.DataFrame) -> None:
        """Keep the scores of a batch that were made; with those of the next while the store was asked a moment ago."""
        if not self._unsaved:
            self._first = number
        self._unsaved.append(scores)
        if self._store.is_due():
            self.flush()

    def flush(self) -> None:
        """Keep what is not kept yet. What the store does not take is made again by the next worker."""
        if self._unsaved and self._store.is_worthwhile():
            file = io.BytesIO()
            pl.concat(self._unsaved).write_parquet(file)
            data = to_bytes(
                {"heights": [frame.height for frame in self._unsaved]},
                {"parquet": np.frombuffer(file.getvalue(), np.uint8)},
            )
            self._store.save(f"scores_{self._first:09}", data, of=self._of, force=True)
        self._unsaved = []

    def _load(self, number: int) -> dict[int, pl.DataFrame]:
        content = from_bytes(self._store.load(self._stored[number], of=self._of))
        if content is None:
            return {}
        scores = pl.read_parquet(io.BytesIO(content[1]["parquet"].tobytes()))
        ends = np.cumsum(content[0]["heights"]).tolist()
        starts = [0, *ends[:-1]]
        parts = zip(starts, ends, strict=True)
        return {number + at: scores[start:end] for at, (start, end) in enumerate(parts)}


def scored_in_order(
    batches: Iterator[pl.DataFrame], score: Score, threads: int, kept: KeptScores | None
) -> Iterator[pl.DataFrame]:
    """Return each batch scored, in their order, `threads` of them at a time: the libraries below let go of the GIL.

    What is `kept` is not scored again, and what is scored is kept.
    """
    waiting: deque[tuple[int, bool, Future[pl.DataFrame]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="scoring")

    def next_done() -> pl.DataFrame:
        number, is_new, future = waiting.popleft()
        scores = future.result()
        if kept is not None and is_new:
            kept.add(number, scores)
        return scores

    try:
        for number, batch in enumerate(batches):
            before = None if kept is None else kept.batch(number, batch.height)
            future: Future[pl.DataFrame] = Future()
            if before is None:
                future = pool.submit(score, batch)
            else:
                future.set_result(before)
            waiting.append((number, before is None, future))
            if len(waiting) >= threads + (threads > 1):
                yield next_done()
        while waiting:
            yield next_done()
    finally:
        pool.shutdown(cancel_futures=True)
        if kept is not None:
            kept.flush()
