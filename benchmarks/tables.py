"""Labelled tables of a folder, for the benchmarks of fraud.

A file `INDEX.md` holds a Markdown table with the columns `name` (a file NAME.csv beside it) and `target`.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl


def targets(folder: Path, names: str = "") -> dict[str, str]:
    """The target column of each table, of those in `names` (with commas) where that is not empty."""
    lines = [line.strip("|\n ") for line in (folder / "INDEX.md").open() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    found = {row[head.index("name")]: row[head.index("target")] for row in rows}
    wanted = names.split(",") if names else list(found)
    if missing := {*wanted} - {*found}:
        raise SystemExit(f"not in {folder / 'INDEX.md'}: {', '.join(sorted(missing))}")
    return {name: found[name] for name in wanted}


def read(path: Path, target: str) -> tuple[pl.DataFrame, pl.Series]:
    """The rows as text, without the target and without those that lack it or hold nothing else; and their labels."""
    frame = pl.read_csv(path, infer_schema=False)
    filled = pl.col(target).is_not_null() & ~pl.all_horizontal(pl.exclude(target).is_null())
    frame = frame.filter(filled)
    return frame.drop(target), labels_of(frame[target])


def labels_of(column: pl.Series) -> pl.Series:
    """1 where a column holds the rarer of its two values, else 0."""
    rarer = column.value_counts(sort=True)[column.name][-1]
    return (column == rarer).cast(pl.Int8)
