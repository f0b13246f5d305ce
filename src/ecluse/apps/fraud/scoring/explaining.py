"""Say in words why rows have their score: the features that move it most, with their effect."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.features.encoders import LevelEncoder
from ecluse.apps.fraud.features.features import Feature, Matrix
from ecluse.apps.fraud.scoring.columns import REASONS
from ecluse.apps.fraud.scoring.model import FraudModel
from ecluse.apps.fraud.scoring.reasons import reason_columns
from ecluse.sentences import N_, _, ngettext, num


def explain(
    model: FraudModel, parsed: pl.DataFrame, matrix: Matrix, explained: NDArray[np.bool_]
) -> pl.DataFrame:
    """Return the three raw columns that move each explained row most, in words and log-odds."""
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
    strongest = np.full((len(matrix), REASONS), np.nan)
    for rank in range(order.shape[1]):
        owner_of_row = order[:, rank]
        strongest[:, rank] = np.take_along_axis(effects, owner_of_row[:, None], axis=1)[:, 0]
        spoken = np.take_along_axis(speaker, owner_of_row[:, None], axis=1)[:, 0]
        for position in np.unique(spoken):
            chosen = np.flatnonzero(spoken == position)
            words[chosen, rank] = _words(model, features[position], parsed[chosen], matrix[chosen, position])
    silent = strongest == 0
    words[silent], strongest[silent] = None, np.nan
    return words, strongest


def _words(
    model: FraudModel, feature: Feature, parsed: pl.DataFrame, values: NDArray[np.float32]
) -> NDArray[np.object_]:
    """Return what to say of each row, (rows,) text. Rows that are alike are put into words once."""
    raw = parsed[feature.column]
    if raw.dtype.is_float():
        raw = raw + 0.0  # -0.0 counts as 0.0 below, and must read like it
    if len(raw) == 1:
        return np.array(_say_each(model, feature, raw, (values + np.float32(0)).tolist()), dtype=object)
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
