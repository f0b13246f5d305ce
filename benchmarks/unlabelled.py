"""Rank tables without labels: by matching references, by anomaly detection alone, and by a model with labels.

    python -m benchmarks.unlabelled [--data FOLDER] [--tables hmeq,paysim] [--domains cards,loans] [--budget 10]

FOLDER is described in `benchmarks.tables`. `--budget` is seconds of work of each training.

Institutions: references are trained on the simulated institutions of each domain; the institution that is in no library
is matched and scored. Real tables: a reference is trained on one half of the rows of each; the other half is matched
and scored as it is and changed as in `benchmarks.matching`. A table without its own reference must be refused.

Printed is average precision on rows that no model has seen: of the ensemble, of anomaly detection alone, and of a model
that was trained on other labelled rows of the same table (the ceiling); and of the means, how far the ensemble comes
from anomaly detection to the ceiling.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import tables
from benchmarks.matching import changes, read_renamings
from benchmarks.measuring import DATA, options, print_table, say
from ecluse.apps.fraud.ensembles.anomaly import fit_anomaly
from ecluse.apps.fraud.ensembles.building import EnsemblePlan, Reference, build_ensemble
from ecluse.apps.fraud.measures import average_precision
from ecluse.apps.fraud.performance.reports import read_training_report
from ecluse.apps.fraud.profiling.profile import TableProfile, profile_table
from ecluse.apps.fraud.references.describing import describe
from ecluse.apps.fraud.references.domains import DOMAINS
from ecluse.apps.fraud.references.facts import MatchResult, ReferenceFacts
from ecluse.apps.fraud.references.index import ReferenceIndex
from ecluse.apps.fraud.references.institutions import institution, library, simulate
from ecluse.apps.fraud.references.matching import match_table
from ecluse.apps.fraud.scorers import load_scorer
from ecluse.apps.fraud.scoring.model import load_model
from ecluse.apps.fraud.tables.columns import parse_columns
from ecluse.apps.fraud.tables.sketches import ColumnSketch
from ecluse.apps.fraud.training.training import TrainingPlan, train
from ecluse.tabular.dataset import open_table

TARGET = "__target__"


#: A trained reference, and the folder of its model.
Made = tuple[ReferenceFacts, Path]
#: A table, the nearest reference where it was not refused, and average precision of ensemble, anomaly, ceiling.
Row = tuple[str, str | None, float, float, float]


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--data", type=Path, default=DATA / "fraud")
    parser.add_argument("--tables", default="", help="all by default")
    parser.add_argument("--domains", default=",".join(DOMAINS))
    parser.add_argument("--budget", type=float, default=10.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        institutions(arguments.domains.split(","), arguments.budget, Path(name))
        frames = {}
        for table, target in tables.targets(arguments.data, arguments.tables).items():
            rows, labels = tables.read(arguments.data / f"{table}.csv", target)
            frames[table] = rows.with_columns(labels.alias(TARGET))
        real_tables(frames, arguments.budget, Path(name))


def institutions(domains: Sequence[str], budget: float, folder: Path) -> None:
    known, rows = {}, []
    for one in library():
        if one.domain in domains:
            frame = simulate(one).rename({one.target: TARGET})
            known[one.name] = reference(frame, one.name, one.domain, folder / one.name, budget)
    for domain in domains:
        outsider = institution(domain)
        frame = simulate(outsider).rename({outsider.target: TARGET})
        learned, held = halves(frame)
        fit(frame[learned], folder / outsider.name, budget)
        ceiling = supervised(frame, folder / outsider.name)
        rows.append(judged(outsider.name, frame, held, known, ceiling))
    print_rows("Institutions that are in no library", rows)


def real_tables(frames: Mapping[str, pl.DataFrame], budget: float, folder: Path) -> None:
    known, others, refused = {}, {}, []
    for name, frame in frames.items():
        learned, held = halves(frame)
        known[name], others[name] = reference(frame[learned], name, name, folder / name, budget), frame[held]
    found: dict[str, list[Row]] = {}
    for name, frame in others.items():
        every, ceiling = np.arange(frame.height), supervised(frame, known[name][1])
        for what, rows in changes(frame.drop(TARGET), read_renamings().get(name)).items():
            if rows.height == frame.height:
                row = judged(name, rows.hstack(frame.select(TARGET)), every, known, ceiling)
                found.setdefault(what, []).append(row)
        strangers = {other: made for other, made in known.items() if other != name}
        with opened(frame.drop(TARGET)) as table:
            refused += [matched(table, strangers).abstain] if strangers else []
    for what, rows in found.items():
        print_rows(f"Real tables, change: {what}", rows)
    print(f"Tables without a reference of their own: {sum(refused)} of {len(refused)} refused")


def halves(frame: pl.DataFrame) -> tuple[Any, Any]:
    """The rows to learn from and the others, drawn."""
    order = np.random.default_rng(0).permutation(frame.height)
    return np.sort(order[: frame.height // 2]), np.sort(order[frame.height // 2 :])


# One table


@contextmanager
def opened(frame: pl.DataFrame) -> Iterator[Any]:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "table.csv"
        frame.write_csv(path)
        with open_table(path) as table:
            yield table


def fit(frame: pl.DataFrame, folder: Path, budget: float) -> None:
    """Train as the page proposes it."""
    say(f"training {folder.name}")
    with opened(frame) as table:
        plan = TrainingPlan(target=TARGET, budget_s=budget, **roles(profile_table(table)))
        train(table, plan, folder, lambda stage, share, message: None)


def roles(profile: TableProfile) -> dict[str, Any]:
    guesses = profile.guesses
    return {
        "time_column": guesses.timestamp.column if guesses.timestamp else None,
        "customer_column": guesses.customer.column if guesses.customer else None,
        "identifier_columns": tuple(one.column for one in guesses.identifiers if one.column != TARGET),
    }


def reference(frame: pl.DataFrame, name: str, domain: str, folder: Path, budget: float) -> Made:
    """Trained and described as the library does it."""
    fit(frame, folder, budget)
    report = read_training_report(json.loads((folder / "performance.json").read_text()))
    with opened(frame) as table:
        told = describe(table, load_model(folder).specs, TARGET, report.positive_value, report.importances)
    sketches = tuple(ColumnSketch.from_dict(one) for one in told.sketches)
    importance = {str(one["name"]): float(one["importance"]) for one in told.sketches}
    return ReferenceFacts(name, domain, sketches, importance, told.rows, told.fraud_rate), folder


def matched(table: Any, known: Mapping[str, Made]) -> MatchResult:
    index = ReferenceIndex.of([facts for facts, _ in known.values()])
    return match_table(profile_table(table).sketches, index)


def judged(name: str, frame: pl.DataFrame, held: Any, known: Mapping[str, Made], ceiling: Any) -> Row:
    """Match and score a table whose label is hidden; `ceiling` are the scores of the model with labels."""
    say(f"scoring {name}")
    with opened(frame.drop(TARGET)) as table, tempfile.TemporaryDirectory() as folder:
        result = matched(table, known)
        ensemble = ensemble_scores(table, result, known, Path(folder))
        anomaly = anomaly_scores(table)
    labels = tables.labels_of(frame[TARGET].cast(pl.String)).to_numpy()[held]
    figures = [average_precision(labels, one[held]) for one in (ensemble, anomaly, ceiling)]
    return (name, None if result.abstain else result.matches[0].reference, figures[0], figures[1], figures[2])


def supervised(frame: pl.DataFrame, model: Path) -> Any:
    with opened(frame.drop(TARGET)) as table:
        return scores(model, table)


def ensemble_scores(table: Any, result: MatchResult, known: Mapping[str, Made], folder: Path) -> Any:
    references = [
        Reference(match, known[match.reference][0], "v0", known[match.reference][1])
        for match in (() if result.abstain else result.matches)
    ]
    profile = profile_table(table)
    plan = EnsemblePlan(**roles(profile))
    build_ensemble(table, profile.specs, plan, result, references, folder, lambda *_: None)
    return scores(folder, table)


def scores(model: Path, table: Any) -> Any:
    scorer = load_scorer(model)
    return scorer.scores_of(pl.concat(list(scorer.score_table(table, reasons_for=None))))


def anomaly_scores(table: Any) -> Any:
    profile = profile_table(table)
    parsed = parse_columns(pl.concat(list(table.batches())), profile.specs)
    left_out = [guess.column for guess in profile.guesses.identifiers]
    return fit_anomaly(parsed, profile.specs, left_out=left_out).scores(parsed)


def print_rows(title: str, rows: Sequence[Row]) -> None:
    ensemble, anomaly, ceiling = (statistics.mean(row[place] for row in rows) for place in (2, 3, 4))
    mean = ("mean", f"{sum(row[1] is not None for row in rows)} of {len(rows)}", ensemble, anomaly, ceiling)
    way = (ensemble - anomaly) / (ceiling - anomaly)
    print(f"\n{title}; {way:.0%} of the way between\n")
    print_table(("table", "matched", "ensemble", "anomaly alone", "ceiling"), [*rows, mean])


if __name__ == "__main__":
    main()
