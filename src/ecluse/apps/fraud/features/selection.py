"""Leave out what cannot help a model, and say why."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.features.features import Feature, Matrix, Tick
from ecluse.apps.fraud.features.giveaways import LEAK_AUC
from ecluse.apps.fraud.measures import average_precision, roc_auc
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.errors import ModelUnreadable
from ecluse.sentences import _, num

STATE_FILE = "feature_selector.json"
FORMAT = 1

MOST_MISSING = 0.99
MAX_COLUMNS = 500
SAMPLE_ROWS = 20_000


@dataclass(frozen=True)
class Dropped:
    """A raw column or a feature that the model does not see."""

    column: str
    reason: str


@dataclass(frozen=True)
class FeatureSelector:
    """The features the model sees, in order, and what was left out."""

    features: tuple[str, ...]
    dropped: tuple[Dropped, ...] = ()

    def positions(self, available: tuple[Feature, ...]) -> NDArray[np.int64]:
        """Return where the chosen features stand among those available. Raises ModelUnreadable."""
        where = {feature.name: position for position, feature in enumerate(available)}
        lost = [name for name in self.features if name not in where]
        if lost:
            raise ModelUnreadable(
                _(
                    "%(file)s names features that are not made: %(values)s.",
                    file=STATE_FILE,
                    values=", ".join(lost[:5]),
                )
            )
        return np.array([where[name] for name in self.features], dtype=np.int64)

    def save(self, directory: Path) -> str:
        content = {
            "format": FORMAT,
            "features": list(self.features),
            "dropped": [asdict(item) for item in self.dropped],
        }
        (directory / STATE_FILE).write_text(
            json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8"
        )
        return STATE_FILE

    @classmethod
    def load(cls, directory: Path) -> FeatureSelector:
        """Raise ModelUnreadable when the file is missing or damaged."""
        try:
            content = json.loads((directory / STATE_FILE).read_text(encoding="utf-8"))
            dropped = tuple(Dropped(**item) for item in content["dropped"])
            return cls(tuple(content["features"]), dropped)
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise ModelUnreadable(
                _(
                    "%(file)s is missing or damaged: %(error)s. Train again.",
                    file=STATE_FILE,
                    error=repr(error),
                )
            ) from error


def choose_columns(
    frame: pl.DataFrame,
    specs: tuple[ColumnSpec, ...],
    labels: NDArray[np.int8],
    tick: Tick = lambda: None,
) -> tuple[tuple[ColumnSpec, ...], list[Dropped]]:
    """Choose the raw columns worth features, judged on the training rows, and the others with the reason."""
    kept: list[ColumnSpec] = []
    dropped: list[Dropped] = []
    twins: dict[tuple[int, str], str] = {}
    for spec in specs:
        tick()
        reason = _why_useless(frame[spec.name], spec) or _why_twin(frame[spec.name], frame, twins)
        if reason:
            dropped.append(Dropped(spec.name, reason))
        else:
            kept.append(spec)
    if len(kept) > MAX_COLUMNS:
        kept, weak = _strongest(frame, kept, labels, tick)
        dropped += weak
    return tuple(kept), dropped


def choose_features(matrix: Matrix, features: tuple[Feature, ...]) -> tuple[NDArray[np.int64], list[Dropped]]:
    """Positions of the features that vary and repeat no other, and the others with the reason."""
    kept: list[int] = []
    dropped: list[Dropped] = []
    known: dict[bytes, str] = {}
    for position, feature in enumerate(features):
        column = np.ascontiguousarray(matrix[:, position])
        present = column[~np.isnan(column)]
        if len(present) in (0, len(column)) and (not len(present) or present.min() == present.max()):
            dropped.append(Dropped(feature.name, "constant"))
            continue
        twin = known.setdefault(
            column.tobytes() if len(column) < SAMPLE_ROWS else _digest(column), feature.name
        )
        if twin != feature.name:
            dropped.append(Dropped(feature.name, _("duplicate of %(column)s", column=twin)))
            continue
        kept.append(position)
    return np.array(kept, dtype=np.int64), dropped


def leak_warnings(
    matrix: Matrix, features: tuple[Feature, ...], labels: NDArray[np.int8], tick: Tick = lambda: None
) -> list[str]:
    """One warning per raw column that almost gives the answer away alone."""
    sample = _sample(labels)
    warnings: dict[str, str] = {}
    for position, feature in enumerate(features):
        tick()
        column = matrix[sample, position].astype(np.float64)
        auc = separation(column, labels[sample])
        if auc >= LEAK_AUC:
            warnings.setdefault(
                feature.column,
                _(
                    "%(column)s alone separates fraud almost perfectly (ROC AUC %(auc)s). If it is filled "
                    "in after the fraud is known, leave it out.",
                    column=feature.column,
                    auc=num(auc, ".3f"),
                ),
            )
    return list(warnings.values())


def best_single(
    train: Matrix, train_labels: NDArray[np.int8], test: Matrix, test_labels: NDArray[np.int8]
) -> tuple[int, float]:
    """Return the feature that ranks the training rows best alone, and its average precision on the test rows."""
    sample = _sample(train_labels)
    best, direction, highest = 0, 1.0, -1.0
    for position in range(train.shape[1]):
        column = np.nan_to_num(train[sample, position].astype(np.float64), nan=-1e30)
        for sign in (1.0, -1.0):
            value = average_precision(train_labels[sample], sign * column)
            if value > highest:
                best, direction, highest = position, sign, value
    column = np.nan_to_num(test[:, best].astype(np.float64), nan=-1e30)
    return best, average_precision(test_labels, direction * column)


def separation(column: NDArray[np.float64], labels: NDArray[np.int8]) -> float:
    """ROC AUC of one column alone in its better direction, missing values lowest; in [0.5, 1]."""
    auc = roc_auc(labels, np.nan_to_num(column, nan=-1e30))
    return max(auc, 1 - auc)


def _why_useless(column: pl.Series, spec: ColumnSpec) -> str | None:
    known = column.drop_nulls()
    missing = 1 - len(known) / max(len(column), 1)
    distinct = known.n_unique()
    if distinct == 0 or (distinct == 1 and missing == 0):
        return "constant"
    if missing > MOST_MISSING:
        return _("%(share)s missing", share=num(missing, ".1%"))
    if spec.kind in ("identifier", "category") and distinct == len(known) and distinct > 20:
        return _("all distinct: cannot generalise")
    if spec.kind == "number" and distinct == len(known) > 20 and _counts_up(known):
        return _("a running number: cannot generalise")
    return None


def _counts_up(known: pl.Series) -> bool:
    values = known.to_numpy()
    steps = np.diff(np.sort(values))
    return bool(
        np.all(values == np.floor(values)) and np.median(steps) == 1 and np.mean(np.diff(values) > 0) > 0.99
    )


def _why_twin(column: pl.Series, frame: pl.DataFrame, twins: dict[tuple[int, str], str]) -> str | None:
    key = (int(column.hash(0).sum() or 0), str(column.dtype))
    twin = twins.setdefault(key, column.name)
    if twin != column.name and column.equals(frame[twin], null_equal=True):
        return _("duplicate of %(column)s", column=twin)
    return None


def _strongest(
    frame: pl.DataFrame, specs: list[ColumnSpec], labels: NDArray[np.int8], tick: Tick
) -> tuple[list[ColumnSpec], list[Dropped]]:
    """Of very wide tables the 500 columns that separate best alone, in the table's order."""
    sample = _sample(labels)
    part, truth = frame[sample], labels[sample]
    strength = []
    for spec in specs:
        tick()
        strength.append(separation(_rankable(part[spec.name]), truth))
    chosen = set(np.argsort(-np.array(strength), kind="stable")[:MAX_COLUMNS].tolist())
    reason = _("weaker alone than the %(count)s strongest columns", count=MAX_COLUMNS)
    weak = [Dropped(spec.name, reason) for at, spec in enumerate(specs) if at not in chosen]
    return [spec for at, spec in enumerate(specs) if at in chosen], weak


def _rankable(column: pl.Series) -> NDArray[np.float64]:
    if column.dtype == pl.String:
        sizes = column.to_frame().select(pl.len().over(column.name)).to_series()
        return sizes.cast(pl.Float64).to_numpy()
    return (
        column.cast(pl.Int64 if isinstance(column.dtype, pl.Datetime) else pl.Float64)
        .cast(pl.Float64)
        .to_numpy()
    )


def _sample(labels: NDArray[np.int8]) -> NDArray[np.int64]:
    """Draw every fraud up to half the sample, and evenly spaced other rows."""
    if len(labels) <= SAMPLE_ROWS:
        return np.arange(len(labels))
    fraud, rest = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    parts = [part[:: 1 + len(part) // (SAMPLE_ROWS // 2)] for part in (fraud, rest)]
    return np.sort(np.concatenate(parts))


def _digest(column: NDArray[np.float32]) -> bytes:
    import hashlib

    return hashlib.blake2b(column.tobytes(), digest_size=16).digest()
