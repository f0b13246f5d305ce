"""Recognise tables under other names, refuse unrelated ones, and say how long a match takes.

    python -m benchmarks.matching [--data FOLDER] [--tables hmeq,paysim]

FOLDER is described in `benchmarks.tables`. The rows of each table are divided by turns: one half is the reference
(importance of columns: gain of a LightGBM model), the other half is changed and matched against the references of all
tables. Abbreviated and French names are written by hand (`renamed_columns.txt`). Weights and gates were chosen on the
tables that are marked "tune" there; the figures of the others ("report") are those that count.

Printed are, for each change, tables recognised; shares of their columns that are mapped right and wrong; the share of
importance that is mapped right. Then unrelated pairs that are refused and the highest similarity among them (1: equal),
and milliseconds of a processor for one match.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from lightgbm import LGBMClassifier

from benchmarks import tables
from benchmarks.measuring import DATA, options, print_table, spread, timed
from ecluse.apps.fraud.references.facts import ReferenceFacts
from ecluse.apps.fraud.references.index import ReferenceIndex
from ecluse.apps.fraud.references.matching import match_table
from ecluse.apps.fraud.tables.columns import ColumnSpec, infer_columns, parse_columns
from ecluse.apps.fraud.tables.names import split_words
from ecluse.apps.fraud.tables.sketches import ColumnSketch, sketch_columns

FEW_ROWS: Final = 200


@dataclass(frozen=True)
class Case:
    """A table: the references of every second row and of the first half, and the rows of the other halves, as text."""

    name: str
    reference: ReferenceFacts
    rows: pl.DataFrame
    earlier: ReferenceFacts
    later: pl.DataFrame


@dataclass
class Renaming:
    """Other names of a table's columns, by hand."""

    tune: bool = False
    short: dict[str, str] = field(default_factory=dict)
    french: dict[str, str] = field(default_factory=dict)


#: Whether a table was recognised, its columns, those mapped right and wrong, the importance mapped right.
Recognised = tuple[bool, int, int, int, float]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=DATA / "fraud")
    parser.add_argument("--tables", default="", help="all by default")
    arguments = parser.parse_args()
    wanted = tables.targets(arguments.data, arguments.tables)
    cases = [prepared(arguments.data / f"{name}.csv", target) for name, target in wanted.items()]
    renamings = read_renamings()
    for tune in (True, False):
        some = [case for case in cases if renamings.get(case.name, Renaming()).tune == tune]
        if some:
            print(f"\n{'tune' if tune else 'report'}: {', '.join(case.name for case in some)}\n")
            print_recognised(some, cases, renamings)
            print_refused(some, cases)
    index = ReferenceIndex.of(case.reference for case in cases)
    sketches = [sketched(case.rows) for case in cases]
    times = [timed(lambda one=one: match_table(one, index)).processor * 1000 for one in sketches]
    print(f"one match against {len(cases)} references: {spread(times)} ms of a processor")


def prepared(path: Path, target: str) -> Case:
    raw, labels = tables.read(path, target)
    specs, half = infer_columns(raw), raw.height // 2

    def facts(some: pl.DataFrame, labels: pl.Series) -> ReferenceFacts:
        rows = parse_columns(some, specs)
        gains = importance(rows, specs, labels)
        return ReferenceFacts(path.stem, "", sketch_columns(rows, specs), gains, rows.height)

    whole = facts(raw.gather_every(2), labels.gather_every(2))
    earlier = facts(raw.head(half), labels.head(half))
    return Case(path.stem, whole, raw.gather_every(2, 1), earlier, raw.tail(half))


def importance(rows: pl.DataFrame, specs: Sequence[ColumnSpec], labels: pl.Series) -> dict[str, float]:
    """Gain of a small LightGBM model by column; identifiers and texts have none."""
    used = [spec.name for spec in specs if spec.kind in ("number", "category", "datetime")]
    codes = [
        rows[name].cast(pl.Categorical).to_physical() if rows[name].dtype == pl.String else rows[name]
        for name in used
    ]
    values = np.stack(
        [column.cast(pl.Float64).fill_null(float("nan")).to_numpy() for column in codes], axis=1
    )
    model = LGBMClassifier(
        n_estimators=60, num_leaves=15, verbose=-1, importance_type="gain", n_jobs=1, seed=0
    )
    model.fit(values, labels.to_numpy())
    return {name: float(gain) for name, gain in zip(used, model.feature_importances_, strict=True)}


def read_renamings() -> dict[str, Renaming]:
    found: dict[str, Renaming] = {}
    name = ""
    for line in Path(__file__).with_name("renamed_columns.txt").read_text().splitlines():
        if line.startswith("["):
            name, part = line[1:].split("] ")
            found[name] = Renaming(part == "tune")
        elif line and not line.startswith("#"):
            column, found[name].short[column], found[name].french[column] = line.split(" | ")
    return found


def changes(rows: pl.DataFrame, by_hand: Renaming | None) -> dict[str, pl.DataFrame]:
    """A table as others may have it; columns stay in their order, but for those that are dropped."""
    few = rows.sample(min(FEW_ROWS, rows.height), seed=0)
    recased = {name: "-".join(split_words(name) or [name]).upper() for name in rows.columns}
    opaque = {name: f"col_{place}" for place, name in enumerate(rows.columns)}
    found = {"none": rows, "case and separators": rows.rename(recased)}
    if by_hand:
        found["abbreviations"] = rows.rename(by_hand.short, strict=False)
        found["French words"] = rows.rename(by_hand.french, strict=False)
        found["French words, numbers rescaled"] = rescaled(rows).rename(by_hand.french, strict=False)
    kept = [name for name in rows.columns if random.Random(name).random() < 0.75]
    return found | {
        "a quarter of the columns dropped": rows.select(kept or rows.columns[:1]),
        "opaque names": rows.rename(opaque),
        f"opaque names, {FEW_ROWS} rows": few.rename(opaque),
        "numbers rescaled": rescaled(rows),
    }


def rescaled(rows: pl.DataFrame) -> pl.DataFrame:
    numbers = [spec.name for spec in infer_columns(rows) if spec.kind == "number"]
    factors = {name: random.Random(name).choice([0.01, 0.15, 6.5, 100, 1000]) for name in numbers}
    values = {name: rows[name].cast(pl.Float64, strict=False) * by for name, by in factors.items()}
    return rows.with_columns(column.round(9).cast(pl.String).alias(name) for name, column in values.items())


def sketched(rows: pl.DataFrame) -> list[ColumnSketch]:
    """Sketches of the columns, in another order."""
    specs = list(infer_columns(rows))
    random.Random(7).shuffle(specs)
    return list(sketch_columns(parse_columns(rows, specs), specs))


# What is printed


def print_recognised(some: Sequence[Case], cases: Sequence[Case], renamings: Mapping[str, Renaming]) -> None:
    index = ReferenceIndex.of(case.reference for case in cases)
    found: dict[str, list[Recognised]] = {}
    for case in some:
        for change, rows in changes(case.rows, renamings.get(case.name)).items():
            found.setdefault(change, []).append(recognised(case, rows, index))
    earlier = ReferenceIndex.of(case.earlier for case in cases)
    found["the second half of the file"] = [recognised(case, case.later, earlier) for case in some]
    lines = []
    for change, all_ in found.items():
        recognised_, columns, right, wrong, importances = zip(*all_, strict=True)
        shares = sum(right) / sum(columns), sum(wrong) / sum(columns), statistics.mean(importances)
        count = f"{sum(recognised_)} of {len(all_)}"
        lines.append((change, count, *(f"{share:.0%}" for share in shares)))
    print_table(("change", "tables recognised", "columns right", "wrong", "importance right"), lines)


def recognised(case: Case, rows: pl.DataFrame, index: ReferenceIndex) -> Recognised:
    """A table whose nearest reference is another counts with no column. Its columns hold the values of `case.rows`."""
    result = match_table(sketched(rows), index)
    best = result.matches[0] if result.matches and result.matches[0].reference == case.name else None
    names = dict(zip(rows.columns, case.rows.columns, strict=False)) if rows.width == case.rows.width else {}
    pairs = {pair.ours: names.get(pair.theirs, pair.theirs) for pair in best.columns} if best else {}
    hits = [ours for ours, theirs in pairs.items() if ours == theirs]
    weights = case.reference.importance
    whole = sum(weights.get(names.get(column, column), 0.0) for column in rows.columns)
    share = sum(weights.get(column, 0.0) for column in hits) / whole if whole else 0.0
    found = best is not None and not result.abstain
    return found, rows.width, len(hits), len(pairs) - len(hits), share


def print_refused(some: Sequence[Case], cases: Sequence[Case]) -> None:
    lines = []
    for change in ("none", "opaque names", f"opaque names, {FEW_ROWS} rows"):
        similarities, refused = [0.0], 0
        for case in some:
            sketches = sketched(changes(case.rows, None)[change])
            for other in (other for other in cases if other.name != case.name):
                result = match_table(sketches, ReferenceIndex.of([other.reference]))
                refused += result.abstain
                similarities += [match.similarity for match in result.matches[:1]]
        lines.append((change, f"{refused} of {len(some) * (len(cases) - 1)}", max(similarities)))
    print_table(("unrelated tables, change", "refused", "highest similarity"), lines)


if __name__ == "__main__":
    main()
