"""Rank tables without labels: by matching references, by anomaly alone, and beside a model trained on their labels.

    python -m benchmarks.unlabelled [--tables ../shared/data/fraud] [--domains cards loans …] [--budget 10]

*Institutions*: references are trained on the simulated institutions of each domain. Then the institution of each
domain that is in no library, and each of the library with itself held out, is matched and scored.

*Real tables*: a reference is trained on the first half of a table; the other half is matched and scored as it is
and under other names (case and separators, abbreviations, French words, opaque), with columns dropped and with
columns in other units; a table with a time is cut by time besides. Tables that are no reference's must be refused.

Every figure is taken on rows that no model has seen: the ceiling is a model trained on other labelled rows of the
same table. Prints average precision and ROC AUC of each, the share of columns that were mapped rightly, and of
refusals that were right. With `--labels 30`, that many rows are asked about and answered by their true label; the last
two columns are the ensemble before and after, both on the rows that were not asked about.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from ecluse.apps.fraud.ensembles.anomaly import fit_anomaly
from ecluse.apps.fraud.ensembles.building import EnsemblePlan, Reference, build_ensemble
from ecluse.apps.fraud.labelling.asking import LabelledTable, ask_about, learn_about
from ecluse.apps.fraud.labelling.questions import QuestionSet
from ecluse.apps.fraud.labelling.scoring import save_learned
from ecluse.apps.fraud.measures import average_precision, roc_auc
from ecluse.apps.fraud.performance.reports import read_training_report
from ecluse.apps.fraud.profiling.profile import TableProfile, profile_table
from ecluse.apps.fraud.references.describing import describe
from ecluse.apps.fraud.references.domains import DOMAINS
from ecluse.apps.fraud.references.facts import MatchResult, ReferenceFacts
from ecluse.apps.fraud.references.index import ReferenceIndex
from ecluse.apps.fraud.references.institutions import Institution, institution, library, simulate
from ecluse.apps.fraud.references.matching import match_table
from ecluse.apps.fraud.scorers import load_scorer
from ecluse.apps.fraud.scoring.model import load_model
from ecluse.apps.fraud.scoring.scorer import AlertingScorer, Scorer
from ecluse.apps.fraud.tables.columns import parse_columns
from ecluse.apps.fraud.tables.sketches import ColumnSketch
from ecluse.apps.fraud.training.training import TrainingPlan, train
from ecluse.tabular.dataset import open_table

#: The label of each table of ../shared/data/fraud.
TARGETS = {
    "vehicle_claims": "FraudFound_P",
    "insurance_claims": "fraud_reported",
    "ethereum": "FLAG",
    "ecommerce_signup": "class",
    "creditcard_ulb": "Class",
    "credit_default_tw": "default.payment.next.month",
    "hmeq": "BAD",
    "credit_risk": "loan_status",
    "shill_bidding": "Class",
    "paysim": "isFraud",
    "card_merchant": "isFradulent",
    "ieee_cis_sample": "isFraud",
    "adb_mammography": "label",
}
FRENCH = {
    "account": "compte", "address": "adresse", "age": "age", "amount": "montant", "balance": "solde",
    "bill": "facture", "bids": "encheres", "browser": "navigateur", "card": "carte", "city": "ville",
    "claim": "sinistre", "country": "pays", "credit": "credit", "customer": "client", "date": "date",
    "day": "jour", "days": "jours", "device": "appareil", "employment": "emploi", "history": "historique",
    "home": "logement", "hour": "heure", "income": "revenu", "insured": "assure", "interest": "interet",
    "job": "metier", "length": "duree", "limit": "plafond", "loan": "pret", "make": "marque", "merchant": "marchand",
    "month": "mois", "months": "mois", "mortgage": "hypotheque", "number": "nombre", "old": "ancien",
    "new": "nouveau", "payment": "paiement", "percent": "pourcentage", "person": "personne", "policy": "police",
    "premium": "prime", "price": "prix", "purchase": "achat", "rate": "taux", "reason": "motif", "sex": "sexe",
    "signup": "inscription", "source": "source", "status": "statut", "time": "heure", "total": "total",
    "transaction": "transaction", "type": "type", "user": "utilisateur", "value": "valeur", "vehicle": "vehicule",
    "year": "annee", "years": "annees",
}  # fmt: skip


@dataclass
class Row:
    """What one table came to."""

    table: str
    matched: str
    similarity: float
    ensemble: tuple[float, float]
    anomaly: tuple[float, float]
    ceiling: tuple[float, float]
    columns: float | None = None
    unasked: tuple[float, float] = (float("nan"), float("nan"))
    labelled: tuple[float, float] = (float("nan"), float("nan"))


@dataclass
class Figures:
    rows: list[Row] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=Path, default=Path("../shared/data/fraud"))
    parser.add_argument("--domains", nargs="*", default=list(DOMAINS))
    parser.add_argument("--names", nargs="*", default=list(TARGETS))
    parser.add_argument("--budget", type=float, default=10.0)
    parser.add_argument("--held-out", action="store_true", help="each of the library's own, held out, too")
    parser.add_argument("--labels", type=int, default=30, help="questions to answer; 0 for none")
    parser.add_argument(
        "--cache", type=Path, help="folder in which trained references are kept for a next run"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.cache or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.domains:
            institutions(
                folder, arguments.domains, arguments.budget, arguments.labels, held_out=arguments.held_out
            )
        if arguments.names and arguments.tables.is_dir():
            real_tables(folder, arguments.tables, arguments.names, arguments.budget, arguments.labels)


# Simulated institutions


def institutions(folder: Path, domains: Sequence[str], budget: float, labels: int, *, held_out: bool) -> None:
    members = [one for one in library() if one.domain in domains]
    known = {}
    for one in members:
        progress(f"training {one.name}")
        known[one.name] = reference_of(simulate(one), one.target, one.name, one.domain, folder, budget)
    figures = Figures()
    outside = [institution(domain) for domain in domains]
    for one in [*outside, *(members if held_out else [])]:
        progress(f"scoring {one.name}")
        others = {name: made for name, made in known.items() if name != one.name}
        row = judge(simulate(one), one.target, one.name, others, folder, budget, truth_of(one), labels=labels)
        figures.rows.append(row)
    report("Institutions that are in no library", figures)


def truth_of(one: Institution) -> dict[str, dict[str, str]]:
    """{institution of the domain: {theirs: ours}} as the simulation has it."""
    columns = DOMAINS[one.domain].columns
    return {
        other.name: {
            str(column.names[one.place]): str(column.names[other.place])
            for column in columns.values()
            if column.names[one.place] is not None and column.names[other.place] is not None
        }
        for other in library()
        if other.domain == one.domain
    }


# Real tables


def real_tables(folder: Path, tables: Path, names: Sequence[str], budget: float, labels: int) -> None:
    wholes, halves, known = {}, {}, {}
    for name in names:
        progress(f"training {name}")
        frame = pl.read_csv(tables / f"{name}.csv", infer_schema=False)
        # As they are read everywhere: without lines of separators only, which would shift the labels.
        frame = frame.filter(~pl.all_horizontal(pl.exclude(TARGETS[name]).is_null()))
        order = np.random.default_rng(0).permutation(frame.height)
        first, second = frame[order[: frame.height // 2]], frame[order[frame.height // 2 :]]
        halves[name] = second
        wholes[name] = frame
        known[name] = reference_of(first, TARGETS[name], name, name, folder, budget)
    by_renaming: dict[str, Figures] = {}
    refusals: list[bool] = []
    for name, frame in halves.items():
        target = TARGETS[name]
        for what, changed, truth in changes(frame, target):
            progress(f"scoring {name}, {what}")
            row = judge(
                changed,
                target,
                f"{name}, {what}",
                known,
                folder,
                budget,
                {name: truth},
                wanted=name,
                original=frame,
                labels=labels if what == "as it is" else 0,
            )
            by_renaming.setdefault(what, Figures()).rows.append(row)
        others = {other: made for other, made in known.items() if other != name}
        result = match_table(profile_of(frame.drop(target)).sketches, index_of(others))
        refusals.append(result.abstain)
    for name, frame in wholes.items():
        parts = cut_by_time(frame)
        if parts is None:
            continue
        progress(f"scoring {name}, cut by time")
        earlier, later = parts
        made = reference_of(earlier, TARGETS[name], name, name, folder, budget, part="-earlier")
        truth = {column: column for column in frame.columns if column != TARGETS[name]}
        row = judge(
            later,
            TARGETS[name],
            f"{name}, later half",
            known | {name: made},
            folder,
            budget,
            {name: truth},
            wanted=name,
            original=later,
        )
        by_renaming.setdefault("the later half, the reference on the earlier", Figures()).rows.append(row)
    for what, figures in by_renaming.items():
        report(f"Real tables, {what}", figures)
    print(f"\nTables of another meaning refused: {statistics.mean(refusals):.0%} of {len(refusals)}")


def cut_by_time(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    """The earlier and the later half of the rows; None where the table has no time."""
    profile = profile_of(frame)
    if profile.guesses.timestamp is None:
        return None
    spec = next(one for one in profile.specs if one.name == profile.guesses.timestamp.column)
    order = spec.read(frame[spec.name]).arg_sort()
    return frame[order[: frame.height // 2]], frame[order[frame.height // 2 :]]


def changes(frame: pl.DataFrame, target: str) -> Iterator[tuple[str, pl.DataFrame, dict[str, str]]]:
    """The table as it is and under other names; with {theirs: ours}."""
    names = [name for name in frame.columns if name != target]
    yield "as it is", frame, {name: name for name in names}
    for what, rename in (
        ("case and separators", lambda at, name: "-".join(words(name)).upper()),
        ("abbreviations", lambda at, name: "_".join(word[:4] for word in words(name))),
        ("French words", lambda at, name: "_".join(FRENCH.get(word, word) for word in words(name))),
        ("opaque names", lambda at, name: f"col_{at}"),
    ):
        new = distinct([rename(at, name) for at, name in enumerate(names)])
        renamed = frame.rename(dict(zip(names, new, strict=True)))
        yield what, renamed, dict(zip(new, names, strict=True))
    kept = [name for at, name in enumerate(names) if at % 4 != 3]
    yield "a quarter of the columns dropped", frame.select([*kept, target]), {name: name for name in kept}
    yield "numbers × 100", rescaled(frame, names), {name: name for name in names}


def rescaled(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Columns of numbers with decimals in hundredths, as a bank that counts cents has them."""
    for name in names:
        numbers = frame[name].cast(pl.Float64, strict=False)
        if numbers.null_count() == frame[name].null_count() and (numbers.drop_nulls() % 1 != 0).any():
            frame = frame.with_columns((numbers * 100).round(6).cast(pl.String).alias(name))
    return frame


def words(name: str) -> list[str]:
    from ecluse.apps.fraud.tables.names import split_words

    return list(split_words(name)) or [name.lower()]


def distinct(names: Sequence[str]) -> list[str]:
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return unique


# One table


@dataclass
class Made:
    """A trained reference."""

    facts: ReferenceFacts
    folder: Path


def reference_of(
    frame: pl.DataFrame, target: str, name: str, domain: str, folder: Path, budget: float, part: str = ""
) -> Made:
    """Trained and described as the library does it; `part` names the rows it is made of, beside the default."""
    made = folder / f"{name}{part}-{budget:g}"
    profile = profile_of(frame)
    if not (made / "performance.json").exists():
        fit(frame, target, profile, made, budget)
    report = read_training_report(json.loads((made / "performance.json").read_text()))
    specs = load_model(made).specs
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "table.csv"
        frame.write_csv(path)
        with open_table(path) as table:
            told = describe(table, specs, target, report.positive_value, report.importances)
    sketches = tuple(ColumnSketch.from_dict(one) for one in told.sketches)
    importance = {str(one["name"]): float(one["importance"]) for one in told.sketches}
    return Made(ReferenceFacts(name, domain, sketches, importance, told.rows, told.fraud_rate), made)


def fit(frame: pl.DataFrame, target: str, profile: TableProfile, folder: Path, budget: float) -> None:
    guesses = profile.guesses
    plan = TrainingPlan(
        target=target,
        time_column=guesses.timestamp.column if guesses.timestamp else None,
        customer_column=guesses.customer.column if guesses.customer else None,
        identifier_columns=tuple(guess.column for guess in guesses.identifiers),
        budget_s=budget,
    )
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "table.csv"
        frame.write_csv(path)
        with open_table(path) as table:
            train(table, plan, folder, lambda stage, share, message: None)


def profile_of(frame: pl.DataFrame) -> TableProfile:
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "table.csv"
        frame.write_csv(path)
        with open_table(path) as table:
            return profile_table(table)


def index_of(known: Mapping[str, Made]) -> ReferenceIndex:
    return ReferenceIndex.of([made.facts for made in known.values()])


def judge(
    frame: pl.DataFrame,
    target: str,
    name: str,
    known: Mapping[str, Made],
    folder: Path,
    budget: float,
    truth: Mapping[str, Mapping[str, str]],
    wanted: str | None = None,
    original: pl.DataFrame | None = None,
    labels: int = 0,
) -> Row:
    """Match and score a table whose label is hidden; all are measured on the half the ceiling did not learn from."""
    truth_labels = labels_of(frame[target])
    order = np.random.default_rng(1).permutation(frame.height)
    learned, held = np.sort(order[: frame.height // 2]), np.sort(order[frame.height // 2 :])
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "table.csv"
        frame.drop(target).write_csv(path)
        with open_table(path) as table:
            profile = profile_table(table)
            result = match_table(profile.sketches, index_of(known))
            scored = ensemble_scores(table, profile, result, known, Path(scratch) / "ensemble")
            alone = anomaly_scores(table, profile)
            nothing = (float("nan"), float("nan"))
            before, taught = nothing, nothing
            if labels:
                before, taught = after_labels(table, Path(scratch) / "ensemble", truth_labels, held, labels)
    if wanted is not None and original is not None:
        supervised = known[wanted].folder
    else:
        supervised, half = folder / f"ceiling-{name}-{budget:g}", frame[learned]
        if not (supervised / "performance.json").exists():
            fit(half, target, profile_of(half), supervised, budget)
    rows = (frame if original is None else original)[held].cast(pl.String)
    ceiling = load_scorer(supervised).score_frame(rows, None)["fraud_probability"].to_numpy()
    best = result.matches[0] if result.matches and not result.abstain else None
    return Row(
        table=name,
        matched=best.reference if best else "none",
        similarity=result.matches[0].similarity if result.matches else 0.0,
        ensemble=figures_of(truth_labels[held], scored[held]),
        anomaly=figures_of(truth_labels[held], alone[held]),
        ceiling=figures_of(truth_labels[held], ceiling),
        columns=right_columns(result, truth, wanted),
        unasked=before,
        labelled=taught,
    )


def right_columns(
    result: MatchResult, truth: Mapping[str, Mapping[str, str]], wanted: str | None
) -> float | None:
    """Share of the columns that both tables have which were mapped rightly, in the best match."""
    if result.abstain or not result.matches:
        return 0.0 if wanted else None
    best = result.matches[0]
    if best.reference not in truth:
        return 0.0
    real = truth[best.reference]
    in_reference = {pair.ours for pair in best.columns} | set(best.missing)
    possible = {theirs: ours for theirs, ours in real.items() if ours in in_reference}
    right = sum(possible.get(pair.theirs) == pair.ours for pair in best.columns)
    return right / max(len(possible), 1)


def ensemble_scores(
    table: object, profile: TableProfile, result: MatchResult, known: Mapping[str, Made], folder: Path
) -> np.ndarray:
    references = [
        Reference(match, known[match.reference].facts, "v0", known[match.reference].folder)
        for match in (() if result.abstain else result.matches)
    ]
    guesses = profile.guesses
    plan = EnsemblePlan(
        identifier_columns=tuple(guess.column for guess in guesses.identifiers),
        customer_column=guesses.customer.column if guesses.customer else None,
        time_column=guesses.timestamp.column if guesses.timestamp else None,
    )
    build_ensemble(table, profile.specs, plan, result, references, folder, lambda *_: None)  # type: ignore[arg-type]
    scorer = load_scorer(folder)
    frames = scorer.score_table(table, reasons_for=None)  # type: ignore[arg-type]
    return scorer.scores_of(pl.concat(list(frames)))


def after_labels(
    table: object, folder: Path, truth: np.ndarray, held: np.ndarray, count: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """An ensemble before and after some rows are answered; figures of the rows that nobody was asked about."""
    scorer, threshold = load_scorer(folder), json.loads((folder / "model.json").read_text())["threshold"]
    asked = ask_about(table, AlertingScorer(scorer, threshold), count=count)  # type: ignore[arg-type]
    questions = QuestionSet.from_dict(asked)
    answers = {question.row: int(truth[question.row - 1]) for question in questions.questions}
    frauds = sum(answers.values())
    unasked = held[~np.isin(held + 1, list(answers))]
    before = probabilities(scorer, table)[unasked]
    if min(frauds, len(answers) - frauds) >= 3:
        made = learn_about(
            LabelledTable(table, answers, questions), AlertingScorer(scorer, threshold), fraud_rate=0.01
        )  # type: ignore[arg-type]
        taught = folder.parent / "taught"
        shutil.copytree(folder, taught)
        save_learned(taught, made.learned, made.thresholds)
        scorer = load_scorer(taught)
    after = probabilities(scorer, table)[unasked]
    return figures_of(truth[unasked], before), figures_of(truth[unasked], after)


def probabilities(scorer: Scorer, table: object) -> np.ndarray:
    frames = scorer.score_table(table, reasons_for=None)  # type: ignore[arg-type]
    return scorer.scores_of(pl.concat(list(frames)))


def anomaly_scores(table: object, profile: TableProfile) -> np.ndarray:
    raw = pl.concat(list(table.batches()))  # type: ignore[attr-defined]
    parsed = parse_columns(raw, profile.specs)
    left_out = [guess.column for guess in profile.guesses.identifiers]
    return fit_anomaly(parsed, profile.specs, left_out=left_out).scores(parsed)


def labels_of(column: pl.Series) -> np.ndarray:
    text = column.cast(pl.String)
    rarer = text.value_counts(sort=True)[column.name][-1]
    return (text == rarer).cast(pl.Int8).to_numpy()


def figures_of(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    return average_precision(labels, scores), roc_auc(labels, scores)


# Telling


def progress(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def report(title: str, figures: Figures) -> None:
    rows = figures.rows
    print(f"\n{title}\n")
    print(
        "| table | match | similarity | ensemble AP / AUC | anomaly alone | ceiling | columns right | with labels |"
    )
    print("|---|---|---:|---:|---:|---:|---:|---:|")
    for row in rows:
        columns = "" if row.columns is None else f"{row.columns:.0%}"
        print(
            f"| {row.table} | {row.matched} | {row.similarity:.2f} | {pair(row.ensemble)} | {pair(row.anomaly)} "
            f"| {pair(row.ceiling)} | {columns} | {pair(row.unasked)} | {pair(row.labelled)} |"
        )
    known = [row.columns for row in rows if row.columns is not None]
    print(
        f"| mean | {sum(row.matched != 'none' for row in rows)} of {len(rows)} | | {mean(rows, 'ensemble')} "
        f"| {mean(rows, 'anomaly')} | {mean(rows, 'ceiling')} | {statistics.mean(known) if known else 0:.0%} "
        f"| {mean(rows, 'unasked')} | {mean(rows, 'labelled')} |"
    )


def pair(figures: tuple[float, float]) -> str:
    return "" if np.isnan(figures[0]) else f"{figures[0]:.3f} / {figures[1]:.3f}"


def mean(rows: Sequence[Row], what: str) -> str:
    values = [getattr(row, what) for row in rows if not np.isnan(getattr(row, what)[0])]
    if not values:
        return ""
    return pair((statistics.mean(v[0] for v in values), statistics.mean(v[1] for v in values)))


if __name__ == "__main__":
    main()
