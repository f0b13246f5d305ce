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

from ecluse.apps.fraud.measures import Floats, Labels, average_precision, roc_auc
from ecluse.sentences import _, num

Codes = NDArray[np.int64]

#: From this ROC AUC on a column alone is warned of.
LEAK_AUC: Final = 0.995
#: From both on it gives the label away. A strong column of before the outcome reaches one of them, where frauds are
#: rare the first and where they are not the second.
AWAY_AUC: Final = 0.998
AWAY_PRECISION: Final = 0.98
#: Two columns that tell the label together, where neither does nearly so alone, are a code for it.
ALONE_AUC: Final = 0.98
#: Of each class there must be so many rows, and so large a share of a class must be filled, to speak of it.
LEAST_ROWS: Final = 20
FILLED_SHARE: Final = 0.2
LOOKED_AT: Final = 20_000
#: Values beyond so many are grouped by size; pairs are looked at of columns with few values, and of so many columns.
BINS: Final = 256
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
    """Find the columns of parsed rows that give their labels (0 and 1) away; `kinds`: column -> kind, of those to look
    at.

    At most 20,000 rows are looked at, the frauds before all; of each class there must be twenty.
    """
    rows = _sample(labels)
    frame, truth = frame[rows], labels[rows] == 1
    if min(truth.sum(), (~truth).sum()) < LEAST_ROWS:
        return ()
    reasons: dict[str, str] = {}
    alone: dict[str, float] = {}
    codes: dict[str, Codes] = {}
    for name, kind in kinds.items():
        if kind in NOT_READ:
            continue
        one_sided = _filled_for_one(frame[name], truth)
        codes[name] = _codes(frame[name])
        written = frame[name].dtype == pl.String
        other = _by_code(_codes(_shapes(frame[name])), truth) if written else _by_value(frame[name])
        ranked = (_by_code(codes[name], truth), other)
        alone[name] = max(_auc(scores, truth) for scores in ranked)
        if one_sided is not None:
            reasons[name] = one_sided
        elif any(_tells(scores, truth) for scores in ranked):
            reasons[name] = _(
                "it alone separates the two classes (ROC AUC %(auc)s)", auc=num(alone[name], ".3f")
            )
    reasons |= _pairs({name: codes[name] for name in codes if name not in reasons}, alone, truth)
    return tuple(Giveaway(name, reason) for name, reason in reasons.items())


def say_left_out(giveaways: Sequence[Giveaway]) -> list[str]:
    """Return what to say of columns that were left out for it."""
    return [
        _(
            "%(column)s gives the label away and was left out: %(why)s. If it is known before the "
            "outcome, keep it.",
            column=giveaway.column,
            why=giveaway.reason,
        )
        for giveaway in giveaways
    ]


def say_kept(giveaways: Sequence[Giveaway]) -> list[str]:
    """Return what to say of columns that a person kept all the same."""
    return [
        _(
            "%(column)s seems to give the label away and was kept: %(why)s. If it is filled in "
            "after the outcome, every figure promises too much.",
            column=giveaway.column,
            why=giveaway.reason,
        )
        for giveaway in giveaways
    ]


def _sample(labels: Labels) -> NDArray[np.int64]:
    """Draw every row of few; else every fraud up to half the sample, and other rows spread evenly."""
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
        return _("it is filled for fraud only")
    return _("it is filled for legitimate rows only")


def _by_value(values: pl.Series) -> Floats:
    """Return the ranks of the values; missing ones rank lowest."""
    return values.to_physical().cast(pl.Float64).fill_null(float("-inf")).rank("average").to_numpy()


def _codes(values: pl.Series) -> Codes:
    """Return each value as a number; of many numbers the groups of their size. Missing ones are a value
    of their own.
    """
    if values.dtype != pl.String and values.n_unique() > BINS:
        numbers = values.to_physical().cast(pl.Float64).to_numpy()
        present = numbers[~np.isnan(numbers)]
        edges = np.unique(np.quantile(present, np.linspace(0, 1, BINS)[1:-1], method="nearest"))
        return np.where(np.isnan(numbers), -1, np.digitize(numbers, edges)).astype(np.int64)
    return (values.rank("dense").cast(pl.Int64).fill_null(0)).to_numpy()


def _shapes(values: pl.Series) -> pl.Series:
    """Texts with every number as the same sign: F0012 and F7 are both `F#`."""
    return values.str.replace_all(r"\d+", "#")


def _by_code(codes: Codes, truth: NDArray[np.bool_]) -> Floats:
    """Return the share of fraud of each value, learned on other rows: a value that never comes back says nothing."""
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
    return scores


def _auc(scores: Floats, truth: NDArray[np.bool_]) -> float:
    """ROC AUC in the better direction."""
    auc = roc_auc(truth.astype(np.int8), scores)
    return max(auc, 1 - auc)


def _tells(scores: Floats, truth: NDArray[np.bool_]) -> bool:
    """Tell whether scores tell fraud from what is not, in either direction, as only what knows the outcome does."""
    labels = truth.astype(np.int8)
    if _auc(scores, truth) < AWAY_AUC:
        return False
    return max(average_precision(labels, scores), average_precision(labels, -scores)) >= AWAY_PRECISION


def _pairs(
    codes: Mapping[str, Codes], alone: Mapping[str, float], truth: NDArray[np.bool_]
) -> dict[str, str]:
    """Return the columns of few values of which two tell the label together, and neither nearly so alone."""
    few = [name for name, values in codes.items() if len(np.unique(values)) <= PAIR_LEVELS]
    few = [name for name in few if alone[name] < ALONE_AUC][:PAIR_COLUMNS]
    reasons: dict[str, str] = {}
    for first, other in combinations(few, 2):
        scores = _by_code(codes[first] * 1_000 + codes[other], truth)
        if _tells(scores, truth):
            auc = _auc(scores, truth)
            for name, partner in ((first, other), (other, first)):
                reasons.setdefault(
                    name,
                    _(
                        "with %(column)s it separates the two classes (ROC AUC %(auc)s), alone it does not",
                        column=partner,
                        auc=num(auc, ".3f"),
                    ),
                )
    return reasons
