"""Write scores to a file as they come, and sum them up so that a page need not read them again."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud import risk
from ecluse.apps.fraud.evaluation.ranking import PLACES, Ranking, RankingCounter
from ecluse.apps.fraud.scoring.columns import names_of
from ecluse.apps.fraud.scoring.formats import ResultName, result_format
from ecluse.apps.fraud.tables.labels import UNKNOWN, read_labels
from ecluse.errors import InvalidInput
from ecluse.formulas import neutralise_formulas
from ecluse.sentences import _
from ecluse.tabular.dataset import Table

Known = NDArray[np.int8]

TOP_ROWS = 100
BINS = 20
#: First two digits of the numbers of alerts that a budget is told for: those that people choose.
ROUND = (10, 11, 12, 13, 14, 15, 16, 18, 20, 22, 25, 30, 35, 40, 45, 50, 60, 70, 80, 90)
#: Riskiest rows that are written in the order of risk; more of them come in the order of the table.
SORTED_ROWS = 50_000


@dataclass(frozen=True)
class ScoreSummary:
    """What a page shows of a scored table, without reading it again.

    `levels` counts rows by the key of their level of risk; `to_dict` has each under that key.
    `histogram` counts rows in 20 equal bins of probability; `top` holds the 100 riskiest rows as dicts of
    the output's columns. `budgets` tells, for round numbers of alerts (`ROUND`), the lowest
    probability among them ("cut"), the sum of their probabilities ("expected"), how many of them have a known
    label ("labelled") and how many of those are fraud ("found"). `labelled` and `frauds` count known labels.
    `flagged_from` is the least score of a flagged row, None where none is flagged.
    `ranking` tells the same for any number of alerts; it is no part of `to_dict`.
    """

    rows: int
    flagged: int
    levels: dict[str, int]
    histogram: tuple[int, ...]
    top: tuple[dict[str, Any], ...]
    budgets: tuple[dict[str, Any], ...] = ()
    labelled: int = 0
    frauds: int = 0
    ranking: Ranking | None = field(default=None, repr=False, compare=False)
    #: The places in the table, from 0, of the rows in `top`; no part of `to_dict`.
    top_places: tuple[int, ...] = field(default=(), repr=False, compare=False)
    flagged_from: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        lists = {"histogram": list(self.histogram), "top": list(self.top), "budgets": list(self.budgets)}
        values = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("levels", "ranking", "top_places")
        }
        return values | self.levels | lists


def write_scores(
    batches: Iterable[pl.DataFrame],
    path: Path,
    format: ResultName,
    known: Known | None = None,
) -> ScoreSummary:
    """Write batches to one file as they come, and sum them up. Leaves no partial file behind on failure.

    `known` are the labels (rows,) of the table: 1 fraud, 0 legitimate, -1 not known. They are counted only.
    """
    written_as = result_format(format)
    tally = _Tally(known)
    try:
        written_as.write(tally.watch(batches), path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return tally.summary()


def write_riskiest(scores: Path, format: ResultName, alerts: int, destination: Path) -> int:
    """Write the `alerts` riskiest rows of a file of scores as CSV; how many they are.

    Of equal scores the earlier rows are taken.

    They come riskiest first, and where they are more than `SORTED_ROWS`, in the order of the table: the memory
    this takes does not grow with the file.
    """
    lazy = result_format(format).scan(scores)
    score = names_of(lazy.collect_schema().names()).score
    cut, below = _cut_for(lazy, score, alerts)
    written = 0
    chosen = _above(lazy.collect_batches(maintain_order=True), score, cut, below)
    if alerts <= SORTED_ROWS:
        order = pl.col(score).cast(pl.Float64)
        chosen = iter([pl.concat(chosen).sort(order, descending=True, maintain_order=True)])
    with destination.open("wb") as file:
        for number, batch in enumerate(chosen):
            neutralise_formulas(batch).write_csv(file, include_header=number == 0)
            written += batch.height
    return written


def scan_parquet(scores: Path) -> pl.LazyFrame:
    """Read a file of scores lazily."""
    return pl.scan_parquet(scores)


def scan_csv(scores: Path) -> pl.LazyFrame:
    """Read a file of scores lazily as text; its header is read here, as Polars leaves the quotes of names doubled."""
    with scores.open(encoding="utf-8", newline="") as file:
        names = next(csv.reader(file))
    return pl.scan_csv(scores, infer_schema=False, new_columns=names)


def known_labels(
    table: Table, target: str | None, positive: str | None, given: Mapping[int, int]
) -> Known | None:
    """Return the labels (rows,) of a table that holds the `target` a model has learned, and those `given` {row from 1:
    0, 1}.

    None where nothing is known. What a person said of a row counts before what the table says.
    """
    held = target is not None and positive is not None and target in table.columns
    if not held and not given:
        return None
    parts = [_labels_held(batch, target if held else None, positive) for batch in table.batches(50_000)]
    known = np.concatenate(parts) if parts else np.empty(0, dtype=np.int8)
    for row, label in given.items():
        if row <= len(known):
            known[row - 1] = label
    return known if (known != UNKNOWN).any() else None


def _place(score: str) -> pl.Expr:
    """Return the score of a row, read from text too, as a whole number of `PLACES`."""
    return (pl.col(score).cast(pl.Float64) * PLACES).round().cast(pl.Int64).alias("place")


def _cut_for(lazy: pl.LazyFrame, score: str, alerts: int) -> tuple[int, int]:
    """Return the place of the last of so many riskiest rows, and how many rows at that place are among them."""
    counts = lazy.select(_place(score)).group_by("place").len().sort("place", descending=True)
    counted = counts.collect(engine="streaming")
    reached = counted["len"].cum_sum().to_numpy()
    last = min(int(np.searchsorted(reached, alerts)), len(reached) - 1)
    before = int(reached[last - 1]) if last else 0
    return int(counted["place"][last]), alerts - before


def _above(batches: Iterable[pl.DataFrame], score: str, cut: int, at_cut: int) -> Iterator[pl.DataFrame]:
    """Return the rows above a place, and the first `at_cut` at it."""
    for batch in batches:
        place = batch.select(_place(score)).to_series().to_numpy()
        equal = place == cut
        chosen = (place > cut) | (equal & (np.cumsum(equal) <= at_cut))
        at_cut -= min(int(equal.sum()), at_cut)
        yield batch.filter(pl.Series(chosen))


def _labels_held(batch: pl.DataFrame, target: str | None, positive: str | None) -> Known:
    if target is None:
        return np.full(batch.height, UNKNOWN, dtype=np.int8)
    return read_labels(batch[target], positive)


#: The place of a row in its table, beside its scores while they are counted.
_PLACE = "ecluse place"


class _Tally:
    """Counts what passes by, and keeps the riskiest rows."""

    def __init__(self, known: Known | None) -> None:
        self._labels = known
        self._levels: dict[str, int] = {level.name: 0 for level in risk.LEVELS}
        self._flagged = 0
        self._flagged_from: float | None = None
        self._rows = 0
        self._bins = np.zeros(BINS, dtype=np.int64)
        self._ranked = RankingCounter()
        self._top: pl.DataFrame | None = None

    def watch(self, batches: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
        for batch in batches:
            self._add(batch)
            yield batch

    def summary(self) -> ScoreSummary:
        top = [] if self._top is None else self._top.drop(_PLACE).to_dicts()
        plain = tuple({name: _plain(value) for name, value in row.items()} for row in top)
        ranking = self._ranked.ranking()
        return ScoreSummary(
            rows=self._rows,
            flagged=self._flagged,
            levels={level.key: self._levels[level.name] for level in risk.LEVELS},
            histogram=tuple(self._bins.tolist()),
            top=plain,
            budgets=_round_cuts(ranking),
            labelled=len(ranking.labelled),
            frauds=int(ranking.frauds.sum()),
            ranking=ranking,
            flagged_from=self._flagged_from,
            top_places=() if self._top is None else tuple(self._top[_PLACE].to_list()),
        )

    def _add(self, batch: pl.DataFrame) -> None:
        names = names_of(batch.columns)
        for level, count in batch[names.level].value_counts().iter_rows():
            self._levels[level] += count
        self._flagged += int(batch[names.flag].sum())
        probability = batch[names.score].to_numpy()
        picked = probability[batch[names.flag].to_numpy() == 1]
        if len(picked):
            least = float(picked.min())
            self._flagged_from = least if self._flagged_from is None else min(self._flagged_from, least)
        # The last bin is closed: a probability of 1 belongs to it.
        self._bins += np.bincount(np.minimum((probability * BINS).astype(np.int64), BINS - 1), minlength=BINS)
        labels = None if self._labels is None else self._labels[self._rows : self._rows + batch.height]
        self._ranked.add(np.rint(probability * PLACES).astype(np.int32), labels, int(UNKNOWN))
        batch = batch.with_columns(pl.int_range(self._rows, self._rows + pl.len()).alias(_PLACE))
        self._rows += batch.height
        if self._top is not None and self._top.height == TOP_ROWS:
            batch = batch.filter(pl.col(names.score) > self._top[names.score][-1])
        merged = batch if self._top is None else pl.concat([self._top, batch])
        self._top = merged.sort(names.score, descending=True, maintain_order=True).head(TOP_ROWS)


def _round_cuts(ranking: Ranking) -> tuple[dict[str, Any], ...]:
    """From the riskiest rows down. Rows of one probability are taken together: nothing tells them apart."""
    if not ranking.rows:
        return ()
    at = np.unique(np.searchsorted(ranking.ends, _round_numbers(ranking.rows)))
    cuts = [asdict(ranking.cut(int(ranking.ends[place]))) for place in at]
    return tuple({name: value for name, value in cut.items() if name != "tied"} for cut in cuts)


def _round_numbers(most: int) -> NDArray[np.int64]:
    """1, 2 … 9, then twenty numbers of each power of ten, and `most` itself."""
    powers = range(len(str(most)) - 1)
    numbers = [*range(1, 10), *(digits * 10**power for power in powers for digits in ROUND)]
    return np.array([*(number for number in numbers if number < most), most], dtype=np.int64)


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: what is no number is none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (str, int, bool, type(None))) else str(value)


def write_csv(batches: Iterator[pl.DataFrame], path: Path) -> None:
    with path.open("wb") as file:
        for number, batch in enumerate(batches):
            neutralise_formulas(batch).write_csv(file, include_header=number == 0)


def write_parquet(batches: Iterator[pl.DataFrame], path: Path) -> None:
    first = next(batches, None)
    if first is None:
        raise InvalidInput(_("There are no scores to write."))

    def rows(
        with_columns: list[str] | None, predicate: pl.Expr | None, n_rows: int | None, batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        yield first
        try:
            yield from batches
        except BaseException as error:  # noqa: BLE001 (Polars would wrap it; it is raised below as it was)
            failed.append(error)

    failed: list[BaseException] = []
    pl.io.plugins.register_io_source(rows, schema=first.schema).sink_parquet(path)
    if failed:
        raise failed[0]
