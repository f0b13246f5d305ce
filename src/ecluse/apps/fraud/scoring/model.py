"""Load a trained model, and check a table's columns against those it needs."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.errors import ColumnsMissing
from ecluse.apps.fraud.evaluation.calibration import Calibration
from ecluse.apps.fraud.families import FittedModel, loader
from ecluse.apps.fraud.features.features import Feature, FeatureEngineer
from ecluse.apps.fraud.features.selection import FeatureSelector
from ecluse.apps.fraud.risk import Thresholds
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.errors import InvalidInput, ModelUnreadable
from ecluse.sentences import _, listing
from ecluse.tabular.dataset import Table

FORMAT = 1
#: Missing columns that are named.
LISTED: Final = 20
MOSTLY = 0.5
CHECKED_ROWS = 20_000


@dataclass(frozen=True)
class FraudModel:
    """A loaded model with all that turns raw rows into scores."""

    engineer: FeatureEngineer
    positions: NDArray[np.int64]
    fitted: FittedModel
    calibration: Calibration
    thresholds: Thresholds
    specs: tuple[ColumnSpec, ...]
    passed_on: tuple[str, ...]
    target: str
    info: dict[str, Any] = field(repr=False)

    @property
    def required_columns(self) -> tuple[str, ...]:
        """Return the raw columns a table must have."""
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
    info = read_json(directory / "model.json")
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
        inputs = read_json(directory / "features.json")
        engineer, selector = FeatureEngineer.load(directory), FeatureSelector.load(directory)
        name = Path(str(info["model_file"])).name
        if tuple(inputs["features"]) != selector.features:
            raise ModelUnreadable(
                _("features.json and feature_selector.json do not belong together. Train again.")
            )
        return FraudModel(
            engineer=engineer,
            positions=selector.positions(engineer.features),
            fitted=loader(str(info["family"])).load(directory / name),
            calibration=Calibration.from_dict(info["calibration"]),
            thresholds=Thresholds.read(info),
            specs=tuple(ColumnSpec.from_dict(column) for column in inputs["columns"]),
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
    """Return the closest of the extra columns for each missing one that has such."""
    folded = {name.lower().replace("_", " ").strip(): name for name in extra}
    near: dict[str, str] = {}
    for name in missing:
        close = difflib.get_close_matches(name.lower().replace("_", " ").strip(), list(folded), 1, 0.6)
        if close:
            near[name] = folded[close[0]]
    return near


def named_as_ours(raw: pl.DataFrame, mapping: Mapping[str, str]) -> pl.DataFrame:
    """Return the rows with each mapped column under the model's name for it, too."""
    return raw.with_columns(raw[theirs].alias(ours) for ours, theirs in mapping.items()) if mapping else raw


def missing_message(filename: str, check: ColumnCheck) -> str:
    """Return the sentence that lists the missing columns of a table."""
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


def refuse_other_kinds(model: FraudModel, table: Table, mapping: Mapping[str, str]) -> None:
    """Refuse a table in which a number or date column mostly holds something else."""
    head = named_as_ours(table.head(CHECKED_ROWS), mapping)
    wrong = []
    for spec in model.specs:
        if spec.kind not in ("number", "datetime"):
            continue
        unread = _unread(spec, head[spec.name])
        # Hardly a column holds any: only then it is counted how many values there are.
        if len(unread) and len(unread) > MOSTLY * len(_texts(head[spec.name])):
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


def _unread(spec: ColumnSpec, raw: pl.Series) -> pl.Series:
    """Return the values of a column that are there and are no number, or no date, as text."""
    return _texts(raw.filter(spec.read(raw).is_null()))


def _texts(raw: pl.Series) -> pl.Series:
    """Return the values of a column that are there, as text."""
    return ColumnSpec(raw.name, "category").read(raw).drop_nulls()


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnreadable(
            _(
                "%(file)s is missing or damaged: %(error)s. Fetch the version again.",
                file=path.name,
                error=getattr(error, "strerror", None) or error,  # no path of the server
            )
        ) from error
    if not isinstance(content, dict):
        raise ModelUnreadable(
            _("%(file)s is not a model's description. Fetch the version again.", file=path.name)
        )
    return content
