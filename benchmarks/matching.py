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
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
from lightgbm import LGBMClassifier

from benchmarks import tables
from benchmarks.measuring import DATA, options, print_table, spread
from ecluse.apps.fraud.references.facts import ReferenceFacts
from ecluse.apps.fraud.references.index import ReferenceIndex
from ecluse.apps.fraud.references.matching import match_table
from ecluse.apps.fraud.tables.columns import ColumnSpec, infer_columns, parse_columns
from ecluse.apps.fraud.tables.names import split_words
from ecluse.apps.fraud.tables.sketches import ColumnSketch, sketch_columns

FEW_ROWS = 200


@dataclass(frozen=True)
class Case:
    """A table: the references of every second row and of the first half, and the rows of the other halves."""

    name: str
    specs: Sequence[ColumnSpec]
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


#: Rows, and new names of columns; None where a table has no names of that kind.
Changed = tuple[pl.DataFrame, dict[str, str]] | None


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
    times = [milliseconds(sketched(case, case.rows, {}), index) for case in cases]
    print(f"one match against {len(cases)} references: {spread(times)} ms of a processor")


def prepared(path: Path, target: str) -> Case:
    raw, labels = tables.read(path, target)
    specs = infer_columns(raw)
    rows, half = parse_columns(raw, specs), raw.height // 2

    def facts(some: pl.DataFrame, labels: pl.Series) -> ReferenceFacts:
        gains = importance(some, specs, labels)
        return ReferenceFacts(path.stem, "", sketch_columns(some, specs), gains, some.height)

    return Case(
        path.stem,
        specs,
        facts(rows.gather_every(2), labels.gather_every(2)),
        rows.gather_every(2, 1),
        facts(rows.head(half), labels.head(half)),
        rows.tail(half),
    )


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


def changes(renamings: Mapping[str, Renaming]) -> dict[str, Callable[[Case], Changed]]:
    """Each change of a case's rows and names."""

    def by_hand(case: Case, way: str) -> Changed:
        return (case.rows, getattr(renamings[case.name], way)) if case.name in renamings else None

    def french_rescaled(case: Case) -> Changed:
        return (rescaled(case), renamings[case.name].french) if case.name in renamings else None

    return {
        "none": lambda case: (case.rows, {}),
        "case and separators": lambda case: (case.rows, {name: recased(name) for name in case.rows.columns}),
        "abbreviations": lambda case: by_hand(case, "short"),
        "French words": lambda case: by_hand(case, "french"),
        "French words, numbers rescaled": french_rescaled,
        "a quarter of the columns dropped": dropped,
        "opaque names": lambda case: (case.rows, opaque(case)),
        f"opaque names, {FEW_ROWS} rows": lambda case: (case.rows.sample(FEW_ROWS, seed=0), opaque(case)),
        "numbers rescaled": lambda case: (rescaled(case), {}),
    }


def recased(name: str) -> str:
    words = split_words(name)
    forms = ("".join(word.title() for word in words), "_".join(words).upper(), "-".join(words))
    return random.Random(name).choice(forms)


def rescaled(case: Case) -> pl.DataFrame:
    draw, numbers = random.Random(case.name), [spec.name for spec in case.specs if spec.kind == "number"]
    factors = {name: draw.choice([0.01, 0.15, 6.5, 100, 1000]) for name in numbers}
    return case.rows.with_columns(pl.col(name) * factor for name, factor in factors.items())


def dropped(case: Case) -> Changed:
    names = case.rows.columns
    kept = [name for name in names if random.Random(case.name + name).random() < 0.75]
    return case.rows.select(kept or names[:1]), {}


def opaque(case: Case) -> dict[str, str]:
    return {name: f"col_{place}" for place, name in enumerate(case.rows.columns)}


def sketched(case: Case, rows: pl.DataFrame, names: Mapping[str, str]) -> list[ColumnSketch]:
    """Sketches of the columns under their new names, in another order."""
    specs = [spec for spec in case.specs if spec.name in rows.columns]
    random.Random(7).shuffle(specs)
    return [replace(one, name=names.get(one.name, one.name)) for one in sketch_columns(rows, specs)]


# What is printed


def print_recognised(some: Sequence[Case], cases: Sequence[Case], renamings: Mapping[str, Renaming]) -> None:
    index = ReferenceIndex.of(case.reference for case in cases)
    earlier = ReferenceIndex.of(case.earlier for case in cases)
    rows = [recognised(name, some, change, index) for name, change in changes(renamings).items()]
    rows.append(recognised("the second half of the file", some, lambda case: (case.later, {}), earlier))
    print_table(("change", "tables recognised", "columns right", "wrong", "importance right"), rows)


def recognised(
    name: str, cases: Sequence[Case], change: Callable[[Case], Changed], index: ReferenceIndex
) -> tuple[str, ...]:
    """One line: a table that is not recognised counts with no column."""
    found, right, wrong, columns, shares = 0, 0, 0, 0, []
    for case in cases:
        if (changed := change(case)) is None:
            continue
        rows, names = changed
        result = match_table(sketched(case, rows, names), index)
        best = result.matches[0] if result.matches and result.matches[0].reference == case.name else None
        found += best is not None and not result.abstain
        pairs = {pair.ours: pair.theirs for pair in best.columns} if best else {}
        hits = [ours for ours, theirs in pairs.items() if names.get(ours, ours) == theirs]
        columns += len(rows.columns)
        right, wrong = right + len(hits), wrong + len(pairs) - len(hits)
        weights = case.reference.importance
        whole = sum(weights.get(column, 0.0) for column in rows.columns)
        shares.append(sum(weights.get(column, 0.0) for column in hits) / whole)
    if not shares:
        return (name, "0 of 0", "", "", "")
    mapped = (right / columns, wrong / columns, statistics.mean(shares))
    return (name, f"{found} of {len(shares)}", *(f"{share:.0%}" for share in mapped))


def print_refused(some: Sequence[Case], cases: Sequence[Case]) -> None:
    lines = []
    for name in ("none", "opaque names", f"opaque names, {FEW_ROWS} rows"):
        change, similarities, refused = changes({})[name], [0.0], 0
        for case in some:
            rows, names = change(case) or (case.rows, {})
            sketches = sketched(case, rows, names)
            for other in (other for other in cases if other.name != case.name):
                result = match_table(sketches, ReferenceIndex.of([other.reference]))
                refused += result.abstain
                similarities += [match.similarity for match in result.matches[:1]]
        lines.append((name, f"{refused} of {len(some) * (len(cases) - 1)}", max(similarities)))
    print_table(("unrelated tables, change", "refused", "highest similarity"), lines)


def milliseconds(sketches: Sequence[ColumnSketch], index: ReferenceIndex) -> float:
    began = time.process_time()
    for _ in range(3):
        match_table(sketches, index)
    return (time.process_time() - began) * 1000 / 3


if __name__ == "__main__":
    main()
