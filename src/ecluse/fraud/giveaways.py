"""Find the columns that give a label away: filled in once the outcome is known, or another name for it.

A model that reads one is right about every row of the table and about none in use. Trainings leave such columns out
unless a person keeps them, and say so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

Labels = NDArray[np.int8]
Codes = NDArray[np.int64]

#: From this ROC AUC on a column alone tells the label: no measurement of before the outcome does that.
LEAK_AUC: Final = 0.995
#: Two columns that tell it together, where neither does nearly so alone, are a code for it.
PAIR_AUC: Final = 0.999
ALONE_AUC: Final = 0.98
#: Of each class there must be so many rows, and so large a share of a class must be filled, to speak of it.
LEAST_ROWS: Final = 20
FILLED_SHARE: Final = 0.2
LOOKED_AT: Final = 20_000
#: Values beyond so many are grouped by size; pairs are looked at of columns with few values, and of so many columns.
BINS: Final = 64
PAIR_LEVELS: Final = 12
PAIR_COLUMNS: Final = 24
NOT_READ: Final = frozenset({"text", "constant", "identifier"})


@dataclass(frozen=True)
class Giveaway:
    """A column that gives the label away, and how that shows."""

    column: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def find_giveaways(frame: pl.DataFrame, kinds: Mapping[str, str], labels: Labels) -> tuple[Giveaway, ...]:
    """The columns of parsed rows that give their labels (0 and 1) away; `kinds`: column -> kind, of those to look at.

    At most 20,000 rows are looked at, the frauds before all; of each class there must be twenty.
    """
    rows = _sample(labels)
    frame, truth = frame.select(list(kinds))[rows], labels[rows] == 1
    if min(truth.sum(), (~truth).sum()) < LEAST_ROWS:
        return ()
    found: dict[str, str] = {}
    alone: dict[str, float] = {}
    codes: dict[str, Codes] = {}
    for name, kind in kinds.items():
        if kind in NOT_READ:
            continue
        one_sided = _filled_for_one(frame[name], truth)
        codes[name] = _codes(frame[name])
        alone[name] = max(_ranked_auc(frame[name], truth), _auc_of_codes(codes[name], truth))
        if frame[name].dtype == pl.String:
            alone[name] = max(alone[name], _auc_of_codes(_codes(_shapes(frame[name])), truth))
        if one_sided is not None:
            found[name] = one_sided
        elif alone[name] >= LEAK_AUC:
            found[name] = f"it alone separates the two classes (ROC AUC {alone[name]:.3f})"
    found |= _pairs({name: codes[name] for name in codes if name not in found}, alone, truth)
    return tuple(Giveaway(name, reason) for name, reason in found.items())


def say_left_out(giveaways: Sequence[Giveaway]) -> list[str]:
    """What to say of columns that were left out for it."""
    return [
        f"{one.column} gives the label away and was left out: {one.reason}. If it is known before the outcome, keep it."
        for one in giveaways
    ]


def say_kept(giveaways: Sequence[Giveaway]) -> list[str]:
    """What to say of columns that a person kept all the same."""
    return [
        f"{one.column} seems to give the label away and was kept: {one.reason}. If it is filled in after the outcome, "
        "every figure promises too much."
        for one in giveaways
    ]


def _sample(labels: Labels) -> NDArray[np.int64]:
    """Every row of few; else every fraud up to half the sample, and other rows spread evenly."""
    if len(labels) <= LOOKED_AT:
        return np.arange(len(labels))
    fraud, rest = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    parts = [part[:: 1 + len(part) // (LOOKED_AT // 2)] for part in (fraud, rest)]
    return np.sort(np.concatenate(parts))


def _filled_for_one(values: pl.Series, truth: NDArray[np.bool_]) -> str | None:
    present = values.is_not_null().to_numpy()
    filled = float(present[truth].mean()), float(present[~truth].mean())
    if min(filled) > 0 or max(filled) < FILLED_SHARE or present.sum() < LEAST_ROWS:
        return None
    if filled[0] > 0:
        return "it is filled for fraud only"
    return "it is filled for legitimate rows only"


def _ranked_auc(values: pl.Series, truth: NDArray[np.bool_]) -> float:
    """ROC AUC of the values as they are, in the better direction; missing ones rank lowest."""
    if values.dtype == pl.String:
        return 0.5
    numbers = values.to_physical().cast(pl.Float64).fill_null(float("-inf"))
    return _auc(numbers.rank("average").to_numpy(), truth)


def _codes(values: pl.Series) -> Codes:
    """Each value as a number; of many numbers the groups of their size. Missing ones are a value of their own."""
    if values.dtype != pl.String and values.n_unique() > BINS:
        numbers = values.to_physical().cast(pl.Float64).to_numpy()
        present = numbers[~np.isnan(numbers)]
        edges = np.unique(np.quantile(present, np.linspace(0, 1, BINS)[1:-1], method="nearest"))
        return np.where(np.isnan(numbers), -1, np.digitize(numbers, edges)).astype(np.int64)
    return (values.rank("dense").cast(pl.Int64).fill_null(0)).to_numpy()


def _shapes(values: pl.Series) -> pl.Series:
    """Texts with every number as the same sign: F0012 and F7 are both `F#`."""
    return values.str.replace_all(r"\d+", "#")


def _auc_of_codes(codes: Codes, truth: NDArray[np.bool_]) -> float:
    """ROC AUC of the share of fraud of each value, learned on other rows.

    A value that never comes back says nothing.
    """
    odd = np.zeros(len(truth), dtype=np.bool_)
    for of_class in (truth, ~truth):
        odd[np.flatnonzero(of_class)[::2]] = True
    values, codes = np.unique(codes, return_inverse=True)
    scores = np.empty(len(truth))
    for learned, scored in ((odd, ~odd), (~odd, odd)):
        rows = np.bincount(codes[learned], minlength=len(values))
        frauds = np.bincount(codes[learned], weights=truth[learned], minlength=len(values))
        rate = truth[learned].mean()
        scores[scored] = ((frauds + rate) / (rows + 1))[codes[scored]]
    return _auc(pl.Series(scores).rank("average").to_numpy(), truth)


def _auc(ranks: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    positives = int(truth.sum())
    negatives = len(truth) - positives
    auc = (ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    return float(max(auc, 1 - auc))


def _pairs(
    codes: Mapping[str, Codes], alone: Mapping[str, float], truth: NDArray[np.bool_]
) -> dict[str, str]:
    """The columns of few values of which two tell the label together, and neither nearly so alone."""
    few = [name for name, values in codes.items() if len(np.unique(values)) <= PAIR_LEVELS]
    few = [name for name in few if alone[name] < ALONE_AUC][:PAIR_COLUMNS]
    found: dict[str, str] = {}
    for one, other in combinations(few, 2):
        auc = _auc_of_codes(codes[one] * 1_000 + codes[other], truth)
        if auc >= PAIR_AUC:
            for name, partner in ((one, other), (other, one)):
                found.setdefault(
                    name,
                    f"with {partner} it separates the two classes (ROC AUC {auc:.3f}), alone it does not",
                )
    return found
