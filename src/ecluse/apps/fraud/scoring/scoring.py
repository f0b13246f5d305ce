"""Score a table of any size with a saved model, with reasons a person can read."""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.clock import with_heartbeat
from ecluse.apps.fraud.evaluation.calibration import Calibration
from ecluse.apps.fraud.families import FittedModel, loader
from ecluse.apps.fraud.features.encoders import LevelEncoder
from ecluse.apps.fraud.features.features import Feature, FeatureEngineer, Matrix
from ecluse.apps.fraud.features.selection import FeatureSelector
from ecluse.apps.fraud.risk import risk_levels
from ecluse.apps.fraud.scoring.columns import PROBABILITY, REASONS, kept_names
from ecluse.apps.fraud.scoring.kept_scores import KeptScores, scored_in_order
from ecluse.apps.fraud.scoring.reasons import reason_columns
from ecluse.apps.fraud.tables.columns import ColumnSpec, parse_columns
from ecluse.apps.fraud.tables.dataset import Table
from ecluse.errors import ColumnsMissing, InvalidInput, ModelUnreadable
from ecluse.sentences import N_, _, listing, ngettext, num

ReasonsFor = Literal["risky", "all"]

FORMAT = 1
#: Missing columns that are named.
LISTED: Final = 20
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
        raise ModelUnreadable(
            _(
                "%(file)s has format %(value)s; this version reads %(word)s.",
                file="model.json",
                value=repr(info.get("format")),
                word=FORMAT,
            )
        )
    try:
        wanted = _read_json(directory / "features.json")
        engineer, selector = FeatureEngineer.load(directory), FeatureSelector.load(directory)
        name = Path(str(info["model_file"])).name
        if tuple(wanted["features"]) != selector.features:
            raise ModelUnreadable(
                _("features.json and feature_selector.json do not belong together. Train again.")
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
        raise ModelUnreadable(
            _("model.json or features.json is damaged: %(error)s. Train again.", error=repr(error))
        ) from error


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
                _(
                    'The model reads no column "%(column)s". It reads: %(columns)s.',
                    column=ours,
                    columns=", ".join(model.required_columns),
                )
            )
        if theirs not in present:
            raise InvalidInput(
                _(
                    'The table has no column "%(column)s" to read as "%(name)s". Correct the mapping.',
                    column=theirs,
                    name=ours,
                )
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
        raise ColumnsMissing(missing_message(_("The table"), check))
    parsed = parse_columns(_named_as_ours(raw, mapping), model.specs)
    matrix = model.engineer.transform(parsed)
    if len(model.positions) != matrix.shape[1] or (np.diff(model.positions) != 1).any():
        matrix = np.ascontiguousarray(matrix[:, model.positions])
    probability = model.calibration.probabilities(model.fitted.predict_margin(matrix))
    high, medium = probability >= model.threshold, probability >= model.medium_threshold
    level = risk_levels(PROBABILITY.level, high, medium)
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
    listed = [
        _("%(name)s (near: %(value)s)", name=name, value=check.near[name]) if name in check.near else name
        for name in check.missing
    ]
    facts = {"file": filename, "count": len(listed), "missing": listing(listed[:LISTED])}
    if len(listed) <= LISTED:
        return _(
            "%(file)s lacks %(count)s column(s) of the model: %(missing)s. Add, rename or map them.", **facts
        )
    return _(
        "%(file)s lacks %(count)s column(s) of the model: %(missing)s and %(number)s more. Add, rename or map them.",
        number=len(listed) - LISTED,
        **facts,
    )


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
            wrong.append(
                _(
                    '%(column)s should hold a %(kind)s, and holds "%(value)s"',
                    column=name,
                    kind=spec.kind,
                    value=unread[0][:40],
                )
            )
    if wrong:
        raise ColumnsMissing(
            _(
                "%(file)s does not fit the model: %(problems)s. Correct the columns.",
                file=table.filename,
                problems=listing(wrong[:10], "; "),
            )
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
    return reason_columns(words, [pl.Series(effects[:, rank]).fill_nan(None) for rank in range(REASONS)])


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
    said = np.array(_say_each(model, feature, alike["raw"], alike["value"].to_list()), dtype=object)
    spoken = rows.join(
        alike.with_row_index("said"), on=["raw", "value"], how="left", nulls_equal=True, maintain_order="left"
    )
    words: NDArray[np.object_] = said[spoken["said"].to_numpy()]
    return words


def _say_each(model: FraudModel, feature: Feature, raw: pl.Series, values: list[float]) -> list[str]:
    name, kind = feature.column, feature.kind
    customer = model.info.get("customer_column")
    said: list[str] = []
    known_levels = _levels(model, name) if kind == "level" else frozenset()
    for cell, value in zip(raw.to_list(), values, strict=True):
        gone, text = cell is None, _shown(cell)
        if kind == "missing":
            said.append(ngettext("%(count)s value missing", "%(count)s values missing", int(value)))
        elif kind in ("sum", "ratio"):
            name = feature.name
            said.append(_("%(name)s missing", name=name) if np.isnan(value) else _amount(name, float(value)))
        elif feature.detail and kind in ("count", "rate") and np.isnan(value):
            said.append(_("%(name)s missing", name=f"{name} × {feature.detail}"))
        elif feature.detail and kind == "rate":
            said.append(
                _(
                    "%(name)s (%(share)s fraud in training)",
                    name=f"{name} × {feature.detail}",
                    share=num(value, ".1%"),
                )
            )
        elif gone and kind not in ("history_rows", "history_since"):
            said.append(_("%(name)s missing", name=name))
        elif kind == "level" and text not in known_levels:
            said.append(_('%(name)s "%(value)s" rare or unseen in training', name=name, value=text))
        elif kind in ("level", "rate"):
            said.append(
                _('%(name)s "%(value)s"', name=name, value=text)
                if kind == "level"
                else _(
                    '%(name)s "%(value)s" (%(share)s fraud in training)',
                    name=name,
                    value=text,
                    share=num(value, ".1%"),
                )
            )
        elif kind == "count":
            name = f"{feature.column} × {feature.detail}" if feature.detail else feature.column
            said.append(
                _("%(name)s not seen in training", name=name)
                if value == 0
                else ngettext(
                    "%(name)s seen %(count)s time in training",
                    "%(name)s seen %(count)s times in training",
                    int(value),
                    name=name,
                )
            )
        elif kind == "date":
            said.append(_date_words(name, feature.detail, value))
        elif kind == "gap":
            facts = {"name": name, "time": _duration(value), "column": feature.detail}
            said.append(
                _("%(name)s %(time)s after %(column)s", **facts)
                if value >= 0
                else _("%(name)s %(time)s before %(column)s", **facts)
            )
        elif kind == "text":
            said.append(_(_SHAPES[feature.detail], name=name, number=num(value, ".4g")))
        elif kind.startswith("history"):
            said.append(_history_words(kind, name, str(customer), text, value))
        else:
            said.append(_amount(name, cell))
    return said


#: What to say of the shape of a text, by what a feature tells of it.
_SHAPES: Final = {
    "characters": N_("%(name)s: characters %(number)s"),
    "words": N_("%(name)s: words %(number)s"),
    "digit share": N_("%(name)s: digit share %(number)s"),
}


def _amount(name: str, value: Any) -> str:
    return _("%(name)s %(number)s", name=name, number=_shown(value))


def _levels(model: FraudModel, column: str) -> frozenset[str]:
    encoders = [e for e in model.engineer.encoders if isinstance(e, LevelEncoder) and e.column == column]
    return frozenset(encoders[0].levels)


def _history_words(kind: str, name: str, customer: str, text: str, value: float) -> str:
    if np.isnan(value):
        return (
            _("%(name)s not seen in training", name=customer)
            if kind != "history_ratio"
            else _("%(name)s %(amount)s, no usual known", name=name, amount=text)
        )
    if kind == "history_rows":
        return (
            _("%(name)s not seen in training", name=customer)
            if value == 0
            else ngettext(
                "%(name)s has %(count)s row in training",
                "%(name)s has %(count)s rows in training",
                int(value),
                name=customer,
            )
        )
    if kind == "history_since":
        return _(
            "%(time)s since the last row of this %(name)s in training", time=_duration(value), name=customer
        )
    if kind == "history_new":
        return (
            _("%(name)s not seen for this customer in training", name=name)
            if value
            else _("%(name)s known for this customer from training", name=name)
        )
    if kind == "history_ratio":
        return (
            _("%(name)s %(times)s × usual", name=name, times=num(value, ".2g"))
            if value < 10
            else _("%(name)s %(times)s × usual", name=name, times=num(value, ",.0f"))
        )
    facts = {"name": name, "amount": text, "count": num(abs(value), ".1f")}
    if value >= 0:
        return _("%(name)s %(amount)s, %(count)s deviations above usual", **facts)
    return _("%(name)s %(amount)s, %(count)s deviations below usual", **facts)


_DAYS: Final = (
    N_("%(name)s: Monday"),
    N_("%(name)s: Tuesday"),
    N_("%(name)s: Wednesday"),
    N_("%(name)s: Thursday"),
    N_("%(name)s: Friday"),
    N_("%(name)s: Saturday"),
    N_("%(name)s: Sunday"),
)
_DATES: Final = {
    "hour": N_("%(name)s: hour %(number)s"),
    "weekday": N_("%(name)s: weekday %(number)s"),
    "day": N_("%(name)s: day %(number)s"),
    "month": N_("%(name)s: month %(number)s"),
}


def _date_words(name: str, part: str, value: float) -> str:
    if part == "weekday" and value >= 1:
        return _(_DAYS[int(value) - 1], name=name)
    return _(_DATES[part], name=name, number=num(value, ".0f"))


def _duration(seconds: float) -> str:
    size = abs(seconds)
    if size >= 2 * 86_400:
        return _("%(count)s days", count=num(size / 86_400, ".0f"))
    for unit, length in (("h", 3_600.0), ("min", 60.0)):
        if size >= 2 * length:
            return f"{size / length:.0f} {unit}"
    return f"{size:.0f} s"


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return num(value, ",.0f" if value == int(value) and abs(value) < 1e15 else ",.6g")
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnreadable(
            _(
                "%(file)s is missing or damaged: %(error)s. Fetch the version again.",
                file=path.name,
                error=error,
            )
        ) from error
    if not isinstance(content, dict):
        raise ModelUnreadable(
            _("%(file)s is not a model's description. Fetch the version again.", file=path.name)
        )
    return content
