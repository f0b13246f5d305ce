"""Look for what makes the figures of a split promise too much: rows on both sides, labels that contradict, drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.evaluation.drift import DriftCounter, reference_of
from ecluse.apps.fraud.measures import Floats, Labels
from ecluse.apps.fraud.performance.parts import ColumnDrift, LabelSuspects, Repeated
from ecluse.sentences import _, num

Rows = NDArray[np.int64]

#: Drift is counted on so many rows of each part, spread evenly.
COUNTED_ROWS: Final = 50_000
#: Rows are called nearly equal only where this many numbers have this many values: else they are so by chance.
SPREAD_COLUMNS, SPREAD_VALUES = 3, 100
#: Shares of the test rows, or of the frauds, below which a few repeated rows are no news.
REPEATED_SHARE, CONTRADICTED_SHARE = 0.01, 0.01
NAMED: Final = 5
HOW_SUSPECTED: Final = _(
    "legitimate rows that score as high as the mean fraud, and frauds that score as low "
    "as the mean legitimate row"
)


def repeats(frame: pl.DataFrame, kinds: Mapping[str, str], learned: Rows, test: Rows) -> Repeated:
    """Count the rows `test` of parsed rows that stand among the rows `learned`, too. `kinds`: column -> kind."""
    keys = _keys(frame.select(list(kinds)))
    equal = _among(keys[test], keys[learned])
    if not _is_spread(frame, kinds):
        return Repeated(int(equal.sum()), 0, len(test))
    rounded = [
        pl.col(name).round_sig_figs(2) if kind == "number" else pl.col(name) for name, kind in kinds.items()
    ]
    keys = _keys(frame.select(rounded))
    nearly = _among(keys[test], keys[learned]) & ~equal
    return Repeated(int(equal.sum()), int(nearly.sum()), len(test))


def contradictions(frame: pl.DataFrame, names: Sequence[str], labels: Labels) -> int:
    """Frauds that equal, in every column named, a row that is labelled legitimate."""
    if not names:
        return 0
    keys = _keys(frame.select(names))
    return int(_among(keys[labels == 1], keys[labels == 0]).sum())


def drifts(before: pl.DataFrame, now: pl.DataFrame, kinds: Mapping[str, str]) -> tuple[ColumnDrift, ...]:
    """Return how far each column of parsed rows has moved, the farthest first; texts and identifiers are left out."""
    first, second = (part.gather_every(step_to(part.height)) for part in (before, now))
    references = (reference_of(first[name], kind) for name, kind in kinds.items())
    counter = DriftCounter(reference for reference in references if reference is not None)
    counter.add(second)
    return counter.drifts()


def step_to(rows: int) -> int:
    """Of so many rows each how-manieth is counted, so that they are `COUNTED_ROWS` at most."""
    return max(1, -(-rows // COUNTED_ROWS))


def label_suspects(labels: Labels, probabilities: Floats) -> LabelSuspects:
    """Return how many labels the scores speak against, and how that was found (confident learning, Northcutt 2021).

    Counts, not verdicts: a fraud that the model cannot see is among them.
    """
    fraud, legitimate = probabilities[labels == 1], probabilities[labels == 0]
    above, below = legitimate >= fraud.mean(), fraud <= legitimate.mean()
    return LabelSuspects(int(above.sum()), int(below.sum()), len(labels), HOW_SUSPECTED)


def warn_of_repeats(repeats: Repeated) -> list[str]:
    """Return what to say of rows on both sides of a split."""
    warnings = []
    if repeats.equal > REPEATED_SHARE * repeats.of:
        warnings.append(
            _(
                "%(count)s of %(rows)s test rows equal a row that was learned from, but for "
                "identifiers and time: the figures may promise too much.",
                count=num(repeats.equal, ","),
                rows=num(repeats.of, ","),
            )
        )
    if repeats.nearly > REPEATED_SHARE * repeats.of:
        warnings.append(
            _(
                "%(count)s of %(rows)s test rows nearly equal a row that was learned from (numbers "
                "rounded to two digits): the figures may promise too much.",
                count=num(repeats.nearly, ","),
                rows=num(repeats.of, ","),
            )
        )
    return warnings


def warn_of_contradictions(count: int, frauds: int) -> list[str]:
    """Return what to say of frauds with a legitimate twin."""
    if count <= CONTRADICTED_SHARE * frauds:
        return []
    return [
        _(
            "%(count)s of %(total)s frauds equal a row that is labelled legitimate, but for "
            "identifiers and time: look for wrong labels, or for what tells them apart.",
            count=num(count, ","),
            total=num(frauds, ","),
        )
    ]


def warn_of_drift(drifts: Sequence[ColumnDrift]) -> list[str]:
    """Return what to say of columns that moved far from the earliest to the latest rows."""
    far = [drift for drift in drifts if drift.verdict == "far"]
    if not far:
        return []
    names, index = ", ".join(drift.column for drift in far[:NAMED]), num(far[0].index, ".2f")
    if len(far) <= NAMED:
        return [
            _(
                "%(columns)s: the latest rows differ much from the earliest (population stability "
                "index up to %(number)s). Expect more of it in use, and watch the model.",
                columns=names,
                number=index,
            )
        ]
    return [
        _(
            "%(columns)s and %(count)s more: the latest rows differ much from the earliest (population stability "
            "index up to %(number)s). Expect more of it in use, and watch the model.",
            columns=names,
            count=len(far) - NAMED,
            number=index,
        )
    ]


def _keys(frame: pl.DataFrame) -> NDArray[np.uint64]:
    return frame.hash_rows(seed=1).to_numpy()


def _among(keys: NDArray[np.uint64], known: NDArray[np.uint64]) -> NDArray[np.bool_]:
    # A hash table; numpy would sort the keys, ten times as long for a million.
    return pl.Series(keys).is_in(pl.Series(known).implode()).to_numpy()


def _is_spread(frame: pl.DataFrame, kinds: Mapping[str, str]) -> bool:
    some = frame.gather_every(step_to(frame.height))
    numbers = (name for name, kind in kinds.items() if kind == "number")
    return sum(some[name].n_unique() > SPREAD_VALUES for name in numbers) >= SPREAD_COLUMNS
