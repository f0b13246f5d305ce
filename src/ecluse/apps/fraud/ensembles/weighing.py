"""Weigh the references of an ensemble by all that is known of each before the table has a label.

A weight is in proportion to `fit ** SHARPNESS * worth ** KEENNESS * accord`:

- *fit* in (0, 1]: how far the table means the same as the reference's own (similarity, less where columns lack);
- *worth* in (0, 1]: how well it can be expected to rank here, as twice a ROC AUC less one. That is what was measured
  on tables of others, drawn towards what it does at home where few were: there, the share of the way from chance to
  a perfect order that the lower end of its average precision goes, on the scale of lift, so that an average
  precision of 0.2 counts for much where one row in a thousand is fraud and for little where one in five is;
- *accord* in (0, 1]: how alike it orders the sample's rows and the others do. Beside two that agree a third that
  contradicts both is more likely wrong; of two, nobody can say which.

Each part only ever raises the weight: a reference that is worse in everything never weighs more. What labels of the
table say is learned afterwards, in a version of its own, so that figures by those labels stay those of unseen rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.fraud.references.facts import ReferenceFacts
from ecluse.intervals import wilson

Floats = NDArray[np.float64]

#: A reference twice as similar counts 2^6 times as much: beside a true relative the others only dilute it.
SHARPNESS: Final = 6
#: And one of twice the worth 2^3 times: of 1, 2 and 3 what ranked best on 12 simulated tables of two domains. Where no
#: transfer was measured, average precision is .754 instead of .749 by transfer alone, and on 12 of two others .703
#: instead of .699; where it was, .750 instead of .749, and .701 instead of .6995.
KEENNESS: Final = 3
#: Of the way to a perfect order that a reference goes at home, so much is expected elsewhere.
KEPT: Final = 0.6
#: What is expected elsewhere counts as much as measurements on so many tables.
PRIOR_TABLES: Final = 2.0
#: The way at home of a reference of which nothing was kept: that of a middling one.
UNMEASURED: Final = 0.5
LEAST_WORTH: Final = 0.05
LEAST_ACCORD: Final = 0.05
#: A fraud rate that nobody kept.
USUAL_RATE: Final = 0.01


@dataclass(frozen=True)
class Merits:
    """What a weight is made of. `home` and `away` in [0, 1] are None where nothing was measured."""

    fit: float
    home: float | None
    away: float | None
    tables: int
    worth: float
    accord: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, rounded as they are shown."""
        return {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def merits_of(facts: ReferenceFacts, fit: float, accord: float = 1.0) -> Merits:
    """Return the merits of a reference for a table that it fits so well, and whose rows it orders so like the others
    do.
    """
    home = home_quality(facts)
    measured = _measured(facts)
    expected = KEPT * (UNMEASURED if home is None else home)
    worth = (sum(measured) + PRIOR_TABLES * expected) / (len(measured) + PRIOR_TABLES)
    return Merits(
        fit=fit,
        home=home,
        away=sum(measured) / len(measured) if measured else None,
        tables=len(measured),
        worth=min(max(worth, LEAST_WORTH), 1.0),
        accord=min(max((1 + accord) / 2, LEAST_ACCORD), 1.0),
    )


def weights_of(merits: Sequence[Merits]) -> list[float]:
    """In proportion to what each is worth here; together 1."""
    parts = [merit.fit**SHARPNESS * merit.worth**KEENNESS * merit.accord for merit in merits]
    total = sum(parts) or 1.0
    return [round(part / total, 6) for part in parts]


def home_quality(facts: ReferenceFacts) -> float | None:
    """Return the share of the way from chance to a perfect order, on rows of its own that it had not seen, in [0, 1].

    Of the lower end of the interval of its average precision: few frauds say little. None where none was kept.
    """
    value = facts.performance.get("average_precision")
    rate = facts.fraud_rate if 0 < facts.fraud_rate < 1 else USUAL_RATE
    if not isinstance(value, int | float):
        return None
    low = float(value)
    bounds = (facts.performance.get("intervals") or {}).get("average_precision")
    if bounds:
        low = min(low, float(bounds[0]))
    rows = facts.performance.get("test_rows")
    if isinstance(rows, int | float) and rows * rate >= 1:
        # Intervals kept by an earlier release may have been shut at the edge.
        low = min(low, wilson(float(value) * rows * rate, rows * rate)[0])
    return min(max(math.log(max(low, rate) / rate) / math.log(1 / rate), 0.0), 1.0)


def accords(margins: Sequence[Floats]) -> list[float]:
    """Return the mean rank correlation of each with the others, in [-1, 1]; 1 with fewer than three."""
    if len(margins) < 3:
        return [1.0] * len(margins)
    from scipy.stats import rankdata

    alike = np.corrcoef([rankdata(member) for member in margins])
    return [float((row.sum() - 1) / (len(margins) - 1)) for row in alike]


def _measured(facts: ReferenceFacts) -> list[float]:
    """Twice the ROC AUC less one on each table of others; of an imported mean the number that it says."""
    tables = facts.transfer.get("tables")
    if isinstance(tables, dict) and tables:
        return [2 * float(table["roc_auc"]) - 1 for table in tables.values()]
    mean = facts.transfer.get("roc_auc")
    if not isinstance(mean, int | float):
        return []
    return [2 * float(mean) - 1] * max(int(facts.transfer.get("count") or 1), 1)
