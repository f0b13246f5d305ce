"""Keep what `benchmarks.fraud` measured in a CSV file, and sum it up."""

from __future__ import annotations

import csv
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from ecluse.apps.fraud.clock import BUSY_SHARE

TIE: Final = 0.02
OURS: Final = "ecluse"


@dataclass
class Row:
    """One line of the results: a contender on a table, split, budget and seed. MB are of 10⁶ bytes."""

    table: str
    split: str
    budget: float
    seed: int
    contender: str
    status: str = ""
    average_precision: float = math.nan
    roc_auc: float = math.nan
    brier: float = math.nan
    train_s: float = math.nan
    cpu_s: float = math.nan
    peak_mb: float = math.nan
    model_mb: float = math.nan
    whole_mb: float = math.nan
    load_s: float = math.nan
    rows_per_s: float = math.nan
    frame_rows_per_s: float = math.nan
    score_peak_mb: float = math.nan
    rows_train: int = 0
    rows_test: int = 0
    positives_test: int = 0
    note: str = ""
    #: Processor time given of that asked for while training; nan of rows that were written before it was kept.
    processor_share: float = math.nan
    #: 1 where it stopped as its validation rows were ranked without a fault: with a tree or two.
    stopped_perfect: int = 0

    @property
    def case(self) -> tuple[str, str, float, int]:
        return self.table, self.split, self.budget, self.seed

    @property
    def key(self) -> tuple[str, str, float, int, str]:
        return (*self.case, self.contender)


class Results:
    """The rows of a CSV file, which is written anew, whole, at each row; the rows of `again` are forgotten."""

    def __init__(self, path: Path, again: Sequence[str] = ()) -> None:
        self.path = path
        self.rows = [row for row in read_results(path) if row.contender not in again] if path.exists() else []

    def has(self, key: tuple[str, str, float, int, str]) -> bool:
        return any(row.key == key for row in self.rows)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        partial = self.path.with_name(f"{self.path.name}.part")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [one.name for one in fields(Row)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in self.rows)
        partial.replace(self.path)


def read_results(path: Path) -> list[Row]:
    """The rows of a file, also of one that was written before a column was there."""
    kinds = {"int": int, "float": float, "str": str}
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    return [
        Row(**{one.name: kinds[str(one.type)](line[one.name]) for one in fields(Row) if one.name in line})
        for line in lines
    ]


def print_summary(rows: Sequence[Row], order: Iterable[str]) -> None:
    """A table of average precision for each budget, what it cost, and ours beside each, in the `order` of names."""
    for line in summary(rows, order):
        print(line)


def summary(rows: Sequence[Row], order: Iterable[str]) -> Iterator[str]:
    names = [name for name in order if any(row.contender == name for row in rows)]
    for budget in sorted({row.budget for row in rows}):
        cases = by_case(row for row in rows if row.budget == budget)
        yield f"\nAverage precision, {budget:g} s of training (seconds of processor it got; * best)"
        yield from drawn(
            ["table, split", *names], [precision_line(case, cases[case], names) for case in cases]
        )
        shared = [found for found in cases.values() if all(has_figures(found.get(name)) for name in names)]
        yield from busy_lines([row for found in cases.values() for row in found.values()])
        yield f"\nMeans over the {len(shared)} cases that every contender finished"
        if shared:
            yield from drawn(["", *names], [mean_line(what, title, shared, names) for what, title in MEANS])
            yield from perfect_lines(shared)
        failed = [row for found in cases.values() for row in found.values() if row.status != "ok"]
        yield from (f"{row.table}, {row.split}: {row.contender} {row.status}" for row in failed)
        for ours in (name for name in names if name.startswith(OURS)):
            yield f"\n{ours} beside each: wins, ties (within {TIE}), losses; ratios: geometric mean of ours / theirs"
            others = [name for name in names if not name.startswith(OURS)]
            lines = [duel_line(ours, [name], name, cases) for name in others]
            if others:
                lines.append(duel_line(ours, others, "best of all", cases))
            yield from drawn(["", "won", "tied", "lost", "mean difference", *RATIOS.values()], lines)


MEANS: Final = (
    ("average_precision", "average precision"),
    ("roc_auc", "ROC AUC"),
    ("brier", "Brier score"),
    ("train_s", "training, s"),
    ("cpu_s", "processor, s"),
    ("processor_share", "of the processor asked for"),
    ("peak_mb", "peak memory, MB"),
    ("model_mb", "model, MB"),
    ("whole_mb", "model whole, MB"),
    ("load_s", "load, s"),
    ("rows_per_s", "rows/s from a file"),
    ("frame_rows_per_s", "rows/s from memory"),
    ("score_peak_mb", "memory to score, MB"),
)
RATIOS: Final = {
    "train_s": "time",
    "peak_mb": "memory",
    "model_mb": "MB",
    "rows_per_s": "rows/s",
    "frame_rows_per_s": "rows/s memory",
}
Found = Mapping[str, Row]


def by_case(rows: Iterable[Row]) -> dict[tuple[str, str, float, int], dict[str, Row]]:
    cases: dict[tuple[str, str, float, int], dict[str, Row]] = {}
    for row in rows:
        cases.setdefault(row.case, {})[row.contender] = row
    return dict(sorted(cases.items()))


def has_figures(row: Row | None) -> bool:
    return row is not None and row.status == "ok"


def precision_line(case: tuple[str, str, float, int], found: Found, names: Sequence[str]) -> list[str]:
    figures = {name: row.average_precision for name, row in found.items() if has_figures(row)}
    best = max(figures.values(), default=math.nan)
    title = f"{case[0]}, {case[1]}" + (f", seed {case[3]}" if case[3] else "")
    shown = [
        "–"
        if name not in figures
        else f"{figures[name]:.3f}{'*' if figures[name] == best else ' '} {processor(found[name]):>6}"
        for name in names
    ]
    return [title, *shown]


def processor(row: Row) -> str:
    """The seconds of processor a training got, with a sign where others had the processor."""
    return "" if math.isnan(row.cpu_s) else f"({row.cpu_s:.0f}{'!' if was_busy(row) else ''})"


def was_busy(row: Row) -> bool:
    return row.processor_share < BUSY_SHARE


def busy_lines(rows: Sequence[Row]) -> Iterator[str]:
    """What to say of a run in which other programs had the processor."""
    busy = [row for row in rows if was_busy(row)]
    if busy:
        least = min(busy, key=lambda row: row.processor_share)
        yield (
            f"! A busy machine: {len(busy)} of {len(rows)} trainings got less than {BUSY_SHARE:.0%} of the processor "
            f"time they asked for, at worst {least.processor_share:.0%} "
            f"({least.contender}, {least.table}, {least.split}). "
            "Peers count the wall clock and did less than on a free machine: these figures do not compare."
        )


def compares_brier(found: Found) -> bool:
    """Tell whether no contender stopped at a perfect ranking, before its probabilities were worth anything."""
    return not any(row.stopped_perfect for row in found.values())


def perfect_lines(shared: Sequence[Found]) -> Iterator[str]:
    """What was left out of the mean Brier score."""
    for found in shared:
        perfect = [row for row in found.values() if row.stopped_perfect]
        if perfect:
            who = ", ".join(row.contender for row in perfect)
            yield f"Not in the Brier score: {perfect[0].table}, {perfect[0].split}, ranked without a fault by {who}"


def mean_line(what: str, title: str, shared: Sequence[Found], names: Sequence[str]) -> list[str]:
    if what == "brier":
        shared = [found for found in shared if compares_brier(found)]
        title = f"{title}, {len(shared)} cases"
    if not shared:
        return [title, *["–"] * len(names)]
    means = [statistics.fmean(getattr(found[name], what) for found in shared) for name in names]
    return [title, *("–" if math.isnan(mean) else figure(mean) for mean in means)]


def duel_line(
    ours: str, theirs: Sequence[str], title: str, cases: Mapping[tuple[str, str, float, int], Found]
) -> list[str]:
    """Ours beside the one of `theirs` that ranks best on each case."""
    pairs: list[tuple[Row, Row]] = []
    for found in cases.values():
        rivals = [found[name] for name in theirs if has_figures(found.get(name))]
        if has_figures(found.get(ours)) and rivals:
            pairs.append((found[ours], max(rivals, key=lambda row: row.average_precision)))
    if not pairs:
        return [title, *["–"] * (4 + len(RATIOS))]
    gains = [mine.average_precision - other.average_precision for mine, other in pairs]
    won, lost = sum(gain > TIE for gain in gains), sum(gain < -TIE for gain in gains)
    ratios = [geometric_mean(pairs, what) for what in RATIOS]
    counts = [str(won), str(len(gains) - won - lost), str(lost)]
    return [title, *counts, f"{statistics.fmean(gains):+.3f}", *ratios]


def geometric_mean(pairs: Sequence[tuple[Row, Row]], what: str) -> str:
    ratios = [getattr(mine, what) / getattr(other, what) for mine, other in pairs if getattr(other, what)]
    positive = [ratio for ratio in ratios if ratio > 0]
    return figure(statistics.geometric_mean(positive)) if positive else "–"


def figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 1 else f"{value:.3f}"


def drawn(head: Sequence[str], lines: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(line[place]) for line in [head, *lines]) for place in range(len(head))]
    for line in [head, *lines]:
        first, *others = (
            text.ljust(width) if place == 0 else text.rjust(width)
            for place, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        yield "  ".join([first, *others]).rstrip()
