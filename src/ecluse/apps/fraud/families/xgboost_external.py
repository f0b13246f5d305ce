"""Fit gradient-boosted trees of XGBoost on rows that come in batches, and need not fit into memory together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, TypeVar

import numpy as np
import xgboost
from numpy.typing import NDArray

from ecluse.apps.fraud.families import OWN_PARAMS, Matrix, Params
from ecluse.apps.fraud.families.xgboost import FIXED

Batch = tuple[Matrix, NDArray[np.int8]]
#: Begins a pass over all rows: the same batches of (rows, features) and (rows,) labels of 0 and 1 each time.
Batches = Callable[[], Iterable[Batch]]
#: Called twice a second and after each round with the rounds that are fitted; may raise to cancel.
Rounds = Callable[[int], None]

#: Bytes that a binned value takes at most, on disk or in memory, and each row besides. Measured with 256 bins: 2.2 in a
#: table without a missing value, whose bins XGBoost numbers in one byte; 5.3 where 2 % are missing.
BYTES_A_VALUE: Final = 5.5
BYTES_A_ROW: Final = 8
WAITED_S: Final = 0.5
T = TypeVar("T")


def most_bytes(rows: int, columns: int) -> float:
    """Return the bytes that the bins of so many rows take at most."""
    return rows * (BYTES_A_ROW + BYTES_A_VALUE * columns)


def fit_batches(
    batches: Batches, params: Params, *, rounds: int, folder: Path | None, tick: Rounds
) -> xgboost.Booster:
    """Boost so many rounds on all batches.

    Values are binned in several passes over the batches. The bins are kept in a folder of their own within `folder`,
    which is gone when this returns or raises, and read anew for each level of a tree; with None they stay in memory.
    `params` are XGBoost's own, with seed, base score and threads. Where `tick` raises, the batch or round at hand is
    waited for. The same rows, batches and `params` give the same trees.
    """
    with TemporaryDirectory(prefix="ecluse-rows-", dir=folder) as cache, ThreadPoolExecutor(1, "fit") as pool:
        over = threading.Event()
        pages = None if folder is None else str(Path(cache) / "bins")
        rows = _BatchIterator(batches, pages, over)
        matrix: xgboost.DMatrix | None = None
        try:
            matrix = _awaited(pool.submit(_bin, rows, params), tick, 0)
            booster = xgboost.Booster(_settings(params), [matrix])
            for number in range(rounds):
                _awaited(pool.submit(booster.update, matrix, number), tick, number)
                tick(number + 1)
            # A copy lets go of the matrix, and of its files.
            return booster[:rounds]
        finally:
            over.set()
            del matrix


class _Abandoned(Exception):
    """Ends a pass over rows that are no longer wanted."""


class _BatchIterator(xgboost.DataIter):
    """Hands batches to XGBoost, which keeps their bins in files that begin with `cache`, or in memory where it is
    None. Once `over` is set it ends with an error.
    """

    def __init__(self, batches: Batches, cache: str | None, over: threading.Event) -> None:
        self._batches, self._over = batches, over
        self.is_paged = cache is not None
        super().__init__(cache_prefix=cache, release_data=True)
        self._pass = iter(batches())

    def reset(self) -> None:
        self._pass = iter(self._batches())

    def next(self, input_data: Callable[..., None]) -> bool:
        if self._over.is_set():
            raise _Abandoned
        batch = next(self._pass, None)
        if batch is None:
            return False
        matrix, labels = batch
        input_data(data=matrix, label=labels)
        return True


def _bin(rows: _BatchIterator, params: Params) -> xgboost.DMatrix:
    make = xgboost.ExtMemQuantileDMatrix if rows.is_paged else xgboost.QuantileDMatrix
    return make(rows, max_bin=FIXED["max_bin"], nthread=params["nthread"])


def _settings(params: Params) -> dict[str, object]:
    return {**FIXED, **{name: params[name] for name in params if name not in OWN_PARAMS}}


def _awaited(work: Future[T], tick: Rounds, fitted: int) -> T:
    """Return what the work returns or raises, with `tick` called twice a second until then."""
    while not wait([work], timeout=WAITED_S).done:
        tick(fitted)
    return work.result()
