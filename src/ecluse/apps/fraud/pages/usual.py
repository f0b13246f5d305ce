"""Say what is usual in the columns of a table, from its profile, to show beside the values of one row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ecluse.web.i18n import Words

#: Columns of these roles name somebody or a row: their numbers have no middle that says anything.
NAMES_ONLY: Final = ("identifier", "customer")
#: Levels of a category that are named.
NAMED: Final = 3
#: A level is usual from this share on.
COMMON: Final = 0.05
#: Places of the quarters among the 21 quantiles of a sketch.
LOW, MIDDLE, HIGH = 5, 10, 15


def usual_values(profile: Mapping[str, Any] | None, say: Words) -> dict[str, str]:
    """{column: what is usual in it}, of the columns where something is: numbers that vary, and frequent values."""
    if profile is None:
        return {}
    texts = {}
    numbers = {
        str(sketch["name"]): sketch["quantiles"]
        for sketch in profile.get("sketches") or ()
        if sketch["kind"] == "number"
    }
    for column in profile.get("columns") or ():
        name = str(column["name"])
        if column.get("guess_role") in NAMES_ONLY:
            continue
        quantiles = numbers.get(name)
        text = _middle(quantiles, say) if quantiles else _frequent(column.get("top") or (), say)
        if text:
            texts[name] = text
    return texts


def _middle(quantiles: list[float], say: Words) -> str:
    low, middle, high = (say.as_given(float(quantiles[place])) for place in (LOW, MIDDLE, HIGH))
    if low == high:
        return say._("most rows: %(value)s", value=low)
    return say._(
        "half of the rows: %(low)s to %(high)s, median %(middle)s", low=low, high=high, middle=middle
    )


def _frequent(top: Any, say: Words) -> str:
    shown = [
        say._("%(value)s in %(share)s", value=value, share=say.percent(share, 0))
        for value, share in list(top)[:NAMED]
        if share >= COMMON
    ]
    return say._("often: %(values)s", values=", ".join(shown)) if shown else ""
