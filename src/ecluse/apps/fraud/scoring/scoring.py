"""Score a table of any size with a saved model, with reasons a person can read."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.clock import with_heartbeat
from ecluse.apps.fraud.evaluation.calibration import Calibration
from ecluse.apps.fraud.families import FittedModel, loader
from ecluse.apps.fraud.features.encoders import LevelEncoder
from ecluse.apps.fraud.features.features import Feature, FeatureEngineer, Matrix
from ecluse.apps.fraud.features.selection import FeatureSelector
from ecluse.apps.fraud.scoring.columns import PROBABILITY, REASONS, kept_names
from ecluse.apps.fraud.scoring.kept_scores import KeptScores, scored_in_order
from ecluse.apps.fraud.tables.columns import ColumnSpec, parse_columns
from ecluse.apps.fraud.tables.dataset import Table
from ecluse.errors import ColumnsMissing, InvalidInput, ModelUnreadable

ReasonsFor = Literal["risky", "all"]

FORMAT = 1
MOSTLY = 0.5
CHECKED_ROWS = 20_000
EXPLAINED_ROWS = 5_000
RISKY_ROWS = 20_000
# Batches that are scored side by side; more would hold more rows in memory than two cores can use.
THREADS = min(2, os.cpu_count() or 1)


@dataclass(frozen=True)
class FraudModel:
    """A loaded model with all that turns raw rows into scores."""

    engineer: FeatureEngineer
    positions: NDArray[np.int64]
    fitted: FittedModel
    calibration: Calibration
    threshold: float
    medium_threshold: float
    specs: tuple[ColumnSpec, ...]
    passed_on: tuple[str, ...]
    target: str
    info: dict[str, Any] = field(repr=False)

    @property
    def required_columns(self) -> tuple[str, ...]:
        """The raw columns a table must have."""
        return tuple(spec.name for spec in self.specs)

    @property
    def features(self) -> tuple[Feature, ...]:
        """In the order of the model's matrix."""
        available = self.engineer.features
        return tuple(available[position] for position in self.positions)


@dataclass(frozen=True)
class ColumnCheck:
    """How a table's columns meet a model's: `near` gives the closest name for each missing one."""

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    near: dict[str, str]


def load_model(directory: Path) -> FraudModel:
    """Read a model that `train` has written. Raises ModelUnreadable for damaged or foreign files."""
    info = _read_json(directory / "model.json")
    if info.get("format") != FORMAT:
        raise ModelUnreadable(f"model.json has format {info.get('format')!r}; this version reads {FORMAT}.")
    try:
        wanted = _read_json(directory / "features.json")
        engineer, selector = FeatureEngineer.load(directory), FeatureSelector.load(directory)
        name = Path(str(info["model_file"])).name
        if tuple(wanted["features"]) != selector.features:
            raise ModelUnreadable(
                "features.json and feature_selector.json do not belong together. Train again."
            )
        return FraudModel(
            engineer=engineer,
            positions=selector.positions(engineer.features),
            fitted=loader(str(info["family"])).load(directory / name),
            calibration=Calibration.from_dict(info["calibration"]),
            threshold=float(info["threshold"]),
            medium_threshold=float(info["medium_threshold"]),
            specs=tuple(ColumnSpec.from_dict(column) for column in wanted["columns"]),
            passed_on=tuple(info["passed_on"]),
            target=str(info["target"]),
            info=info,
        )
    except (KeyError, TypeError, InvalidInput) as error:
        raise ModelUnreadable(f"model.json or features.json is damaged: {error!r}. Train again.") from error


def check_columns(
    model: FraudModel, columns: Iterable[str], mapping: Mapping[str, str] | None = None
) -> ColumnCheck:
    """Compare a table's columns with those the model needs, by exact name, or as `mapping` {ours: theirs} says.

    Raises InvalidInput where the mapping names a column that the model, or the table, does not have.
    """
    present, mapped = tuple(columns), mapping or {}
    known = {*model.required_columns, *model.passed_on}
    for ours, theirs in mapped.items():
        if ours not in known:
            raise InvalidInput(
                f'The model reads no column "{ours}". It reads: {", ".join(model.required_columns)}.'
            )
        if theirs not in present:
            raise InvalidInput(
                f'The table has no column "{theirs}" to read as "{ours}". Correct the mapping.'
            )
    missing = tuple(name for name in model.required_columns if name not in present and name not in mapped)
    known |= {model.target, *mapped.values()}
    extra = tuple(name for name in present if name not in known)
    return ColumnCheck(missing, extra, near_columns(missing, extra))


def near_columns(missing: Iterable[str], extra: Iterable[str]) -> dict[str, str]:
    """The closest of the extra columns for each missing one that has such."""
    folded = {name.lower().replace("_", " ").strip(): name for name in extra}
    near: dict[str, str] = {}
    for name in missing:
        close = difflib.get_close_matches(name.lower().replace("_", " ").strip(), list(folded), 1, 0.6)
        if close:
            near[name] = folded[close[0]]
    return near


def score_table(
    model: FraudModel,
    table: Table,
    *,
    batch_rows: int = 50_000,
    reasons: bool = True,
    reasons_for: ReasonsFor = "risky",
    columns: Mapping[str, str] | None = None,
    threads: int = THREADS,
    progress: Callable[[int], None] | None = None,
    kept: KeptScores | None = None,
) -> Iterator[pl.DataFrame]:
    """The scores of a table, batch by batch in its order; the same whatever the batches and the threads.

    Each frame holds the identifiers, customer and time of the input as they were (and the number of each `row`
    from 1, where the input has no identifier), then `fraud_probability`
    (six decimals), `risk_level`, `is_fraud` (0 or 1), and with `reasons` `reason_1` to `reason_3` in words with
    `reason_1_effect`… in log-odds. A column of the input with one of these names comes back as name_input.
    `reasons_for="risky"` explains the rows of HIGH and MEDIUM risk only: it costs tens of times the score.
    `columns` {ours: theirs} says under which name the table has a column of the model.
    `progress` is told the number of rows done, and may raise to cancel. What is `kept` is not scored again.

    Raises ColumnsMissing before the first batch when columns lack, or mostly hold another kind of value;
    InvalidInput for a mapping of columns that do not exist.
    """
    mapping = dict(columns or {})
    check = check_columns(model, table.columns, mapping)
    if check.missing:
        raise ColumnsMissing(missing_message(table.filename, check))
    _refuse_other_kinds(model, table, mapping)
    wanted: ReasonsFor | None = reasons_for if reasons else None
    score = partial(score_frame, model, reasons_for=wanted, columns=mapping)
    rows = _batch_rows(batch_rows, wanted)
    return _score_batches(model, table, score, rows, mapping, threads, progress, kept)


def score_frame(
    model: FraudModel,
    raw: pl.DataFrame,
    *,
    reasons_for: ReasonsFor | None = "risky",
    columns: Mapping[str, str] | None = None,
) -> pl.DataFrame:
    """The scores of raw rows (strings or native values), in the columns of `score_table`."""
    mapping = columns or {}
    check = check_columns(model, raw.columns, mapping)
    if check.missing:
        raise ColumnsMissing(missing_message("The table", check))
    parsed = parse_columns(_named_as_ours(raw, mapping), model.specs)
    matrix = model.engineer.transform(parsed)
    if len(model.positions) != matrix.shape[1] or (np.diff(model.positions) != 1).any():
        matrix = np.ascontiguousarray(matrix[:, model.positions])
    probability = model.calibration.probabilities(model.fitted.predict_margin(matrix))
    high, medium = probability >= model.threshold, probability >= model.medium_threshold
    level = pl.Series(PROBABILITY.level, ["LOW", "MEDIUM", "HIGH"])[medium.astype(np.int8) + high]
    kept = _passed_on(model, raw, mapping)
    scores = [
        pl.Series(PROBABILITY.score, probability),
        level,
        pl.Series(PROBABILITY.flag, high.astype(np.int8)),
    ]
    scored = pl.DataFrame([*kept.get_columns(), *scores])
    if reasons_for is None:
        return scored
    explained = np.ones(len(raw), dtype=np.bool_) if reasons_for == "all" else medium | high
    return scored.hstack(_reasons(model, parsed, matrix, explained))


# Scoring


def _score_batches(
    model: FraudModel,
    table: Table,
    score: Callable[[pl.DataFrame], pl.DataFrame],
    batch_rows: int,
    mapping: Mapping[str, str],
    threads: int,
    progress: Callable[[int], None] | None,
    kept: KeptScores | None,
) -> Iterator[pl.DataFrame]:
    done = 0
    if progress is not None:
        with_heartbeat(table.validate, partial(progress, 0))
    for scores in scored_in_order(table.batches(batch_rows), score, threads, kept):
        yield scores if _has_identifier(model, table.columns, mapping) else _numbered(scores, done)
        done += scores.height
        if progress is not None:
            progress(done)


def _batch_rows(batch_rows: int, reasons_for: ReasonsFor | None) -> int:
    """Explaining takes a hundred times longer than scoring: smaller batches keep the progress moving."""
    most = {"all": EXPLAINED_ROWS, "risky": RISKY_ROWS, None: batch_rows}
    return min(batch_rows, most[reasons_for])


def _named_as_ours(raw: pl.DataFrame, mapping: Mapping[str, str]) -> pl.DataFrame:
    """The rows with each mapped column under the model's name for it, too."""
    return raw.with_columns(raw[theirs].alias(ours) for ours, theirs in mapping.items()) if mapping else raw


def _passed_on(model: FraudModel, raw: pl.DataFrame, mapping: Mapping[str, str]) -> pl.DataFrame:
    """The columns that come back as they were; one named like a score is renamed, such as risk_level_input."""
    wanted = dict.fromkeys(mapping.get(name, name) for name in model.passed_on)
    kept = raw.select([name for name in wanted if name in raw.columns])
    return kept.rename(kept_names(kept.columns))


def _has_identifier(model: FraudModel, columns: Iterable[str], mapping: Mapping[str, str]) -> bool:
    roles = {model.info.get("customer_column"), model.info.get("time_column")}
    return any(mapping.get(name, name) in columns for name in model.passed_on if name not in roles)


def _numbered(scores: pl.DataFrame, before: int) -> pl.DataFrame:
    """Scores with the number of each row in its table, from 1, where no column says which row it is."""
    return scores if "row" in scores.columns else scores.with_row_index("row", before + 1)


def missing_message(filename: str, check: ColumnCheck) -> str:
    """The sentence that lists the missing columns of a table."""
    listed = [f"{name} (near: {check.near[name]})" if name in check.near else name for name in check.missing]
    shown = ", ".join(listed[:20]) + (f" and {len(listed) - 20} more" if len(listed) > 20 else "")
    return f"{filename} lacks {len(listed)} column(s) of the model: {shown}. Add, rename or map them."


def _refuse_other_kinds(model: FraudModel, table: Table, mapping: Mapping[str, str]) -> None:
    """Refuse a table in which a number or date column mostly holds something else."""
    head = _named_as_ours(table.head(CHECKED_ROWS), mapping)
    wrong = []
    for spec in model.specs:
        if spec.kind not in ("number", "datetime"):
            continue
        text = ColumnSpec(spec.name, "category").read(head[spec.name])
        unread = text.filter(text.is_not_null() & spec.read(head[spec.name]).is_null())
        if len(unread) > MOSTLY * max(len(text) - text.null_count(), 1):
            name = mapping.get(spec.name, spec.name)
            wrong.append(f'{name} should hold a {spec.kind}, and holds "{unread[0][:40]}"')
    if wrong:
        raise ColumnsMissing(
            f"{table.filename} does not fit the model: {'; '.join(wrong[:10])}. Correct the columns."
        )


# Reasons


def _reasons(
    model: FraudModel, parsed: pl.DataFrame, matrix: Matrix, explained: NDArray[np.bool_]
) -> pl.DataFrame:
    """The three raw columns that move each explained row most, in words and log-odds."""
    rows = np.flatnonzero(explained)
    words = np.full((len(matrix), REASONS), None, dtype=object)
    effects = np.full((len(matrix), REASONS), np.nan)
    if len(rows):
        part = np.ascontiguousarray(matrix[rows])
        shares = model.fitted.contributions(part)[:, :-1]
        words[rows], effects[rows] = _top_reasons(model, parsed[rows], part, shares)
    columns: list[pl.Series] = []
    for rank in range(REASONS):
        columns.append(pl.Series(f"reason_{rank + 1}", words[:, rank].tolist(), dtype=pl.String))
        effect = pl.Series(f"reason_{rank + 1}_effect", effects[:, rank]).fill_nan(None)
        columns.append(effect)
    return pl.DataFrame(columns)


def _top_reasons(
    model: FraudModel, parsed: pl.DataFrame, matrix: Matrix, shares: NDArray[np.float64]
) -> tuple[NDArray[np.object_], NDArray[np.float64]]:
    features = model.features
    owners = list(dict.fromkeys(feature.column for feature in features))
    by_owner = np.zeros((len(matrix), len(owners)))
    speaker = np.zeros((len(matrix), len(owners)), dtype=np.int64)
    loudest = np.full((len(matrix), len(owners)), -1.0)
    for position, feature in enumerate(features):
        owner = owners.index(feature.column)
        by_owner[:, owner] += shares[:, position]
        louder = np.abs(shares[:, position]) > loudest[:, owner]
        loudest[louder, owner] = np.abs(shares[louder, position])
        speaker[louder, owner] = position
    effects = np.round(by_owner * model.calibration.slope, 2) + 0.0
    order = np.argsort(-np.abs(effects), axis=1, kind="stable")[:, :REASONS]
    words = np.full((len(matrix), REASONS), None, dtype=object)
    found = np.full((len(matrix), REASONS), np.nan)
    for rank in range(order.shape[1]):
        owner_of_row = order[:, rank]
        found[:, rank] = np.take_along_axis(effects, owner_of_row[:, None], axis=1)[:, 0]
        spoken = np.take_along_axis(speaker, owner_of_row[:, None], axis=1)[:, 0]
        for position in np.unique(spoken):
            chosen = np.flatnonzero(spoken == position)
            words[chosen, rank] = _words(model, features[position], parsed[chosen], matrix[chosen, position])
    silent = found == 0
    words[silent], found[silent] = None, np.nan
    return words, found


def _words(
    model: FraudModel, feature: Feature, parsed: pl.DataFrame, values: NDArray[np.float32]
) -> NDArray[np.object_]:
    """What to say of each row, (rows,) text. Rows that are alike are put into words once."""
    raw = parsed[feature.column]
    if raw.dtype.is_float():
        raw = raw + 0.0  # -0.0 counts as 0.0 below, and must read like it
    rows = pl.DataFrame({"raw": raw, "value": values + np.float32(0)})
    alike = rows.unique(maintain_order=True)
    said = pl.Series("said", _say_each(model, feature, alike["raw"], alike["value"].to_list()), pl.String)
    spoken = rows.join(
        alike.with_columns(said), on=["raw", "value"], how="left", nulls_equal=True, maintain_order="left"
    )
    return np.array(spoken["said"].to_list(), dtype=object)


def _say_each(model: FraudModel, feature: Feature, raw: pl.Series, values: list[float]) -> list[str]:
    name, kind = feature.column, feature.kind
    customer = model.info.get("customer_column")
    said: list[str] = []
    known_levels = _levels(model, name) if kind == "level" else frozenset()
    for cell, value in zip(raw.to_list(), values, strict=True):
        gone, text = cell is None, _shown(cell)
        if kind == "missing":
            said.append(f"{value:.0f} values missing")
        elif kind in ("sum", "ratio"):
            name = feature.name
            said.append(f"{name} missing" if np.isnan(value) else f"{name} {_shown(float(value))}")
        elif feature.detail and kind in ("count", "rate") and np.isnan(value):
            said.append(f"{name} × {feature.detail} missing")
        elif feature.detail and kind == "rate":
            said.append(f"{name} × {feature.detail} ({value:.1%} fraud in training)")
        elif gone and kind not in ("history_rows", "history_since"):
            said.append(f"{name} missing")
        elif kind == "level" and text not in known_levels:
            said.append(f'{name} "{text}" rare or unseen in training')
        elif kind in ("level", "rate"):
            said.append(
                f'{name} "{text}"' if kind == "level" else f'{name} "{text}" ({value:.1%} fraud in training)'
            )
        elif kind == "count":
            name = f"{feature.column} × {feature.detail}" if feature.detail else feature.column
            said.append(
                f"{name} not seen in training" if value == 0 else f"{name} seen {value:.0f} times in training"
            )
        elif kind == "date":
            said.append(_date_words(name, feature.detail, value))
        elif kind == "gap":
            said.append(f"{name} {_duration(value)} {'after' if value >= 0 else 'before'} {feature.detail}")
        elif kind == "text":
            said.append(f"{name}: {feature.detail} {value:.4g}")
        elif kind.startswith("history"):
            said.append(_history_words(kind, name, str(customer), text, value))
        else:
            said.append(f"{name} {text}")
    return said


def _levels(model: FraudModel, column: str) -> frozenset[str]:
    encoders = [e for e in model.engineer.encoders if isinstance(e, LevelEncoder) and e.column == column]
    return frozenset(encoders[0].levels)


def _history_words(kind: str, name: str, customer: str, text: str, value: float) -> str:
    if np.isnan(value):
        return (
            f"{customer} not seen in training"
            if kind != "history_ratio"
            else f"{name} {text}, no usual known"
        )
    if kind == "history_rows":
        return (
            f"{customer} not seen in training"
            if value == 0
            else f"{customer} has {value:.0f} rows in training"
        )
    if kind == "history_since":
        return f"{_duration(value)} since the last row of this {customer} in training"
    if kind == "history_new":
        return (
            f"{name} not seen for this customer in training"
            if value
            else f"{name} known for this customer from training"
        )
    if kind == "history_ratio":
        return f"{name} {value:.2g} × usual" if value < 10 else f"{name} {value:,.0f} × usual"
    return f"{name} {text}, {abs(value):.1f} deviations {'above' if value >= 0 else 'below'} usual"


WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def _date_words(name: str, part: str, value: float) -> str:
    if part == "weekday" and value >= 1:
        return f"{name}: {WEEKDAYS[int(value) - 1]}"
    return f"{name}: {part} {value:.0f}"


def _duration(seconds: float) -> str:
    size = abs(seconds)
    for unit, length in (("days", 86_400.0), ("h", 3_600.0), ("min", 60.0)):
        if size >= 2 * length:
            return f"{size / length:.0f} {unit}"
    return f"{size:.0f} s"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:,.6g}"
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnreadable(
            f"{path.name} is missing or damaged: {error}. Fetch the version again."
        ) from error
    if not isinstance(content, dict):
        raise ModelUnreadable(f"{path.name} is not a model's description. Fetch the version again.")
    return content
