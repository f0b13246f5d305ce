"""Does matching recognise a table under other names, refuse unrelated ones, and how fast?

    python -m benchmarks.matching [--data ../shared/data/fraud] [--tables 40 10000 100000]

Quality: each real table is split in two by turns; one half is the reference (importance: gain of a LightGBM model),
the other half is matched against all references after a change: case and separators, abbreviations and French words
(written by hand, `renamed_columns.txt`), opaque names, dropped columns, rescaled numbers, a split by order instead of
by turns. Refusals: every table against all others, with its names and with opaque ones, and tables of principal
components made here. Weights and gates were chosen on the tables marked "tune"; both parts are printed.

Time: CPU milliseconds of `match_table` and `match_names` on synthetic libraries, the index's megabytes and seconds
to build.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from ecluse.apps.fraud.references import institutions
from ecluse.apps.fraud.references.domains import DOMAINS
from ecluse.apps.fraud.references.facts import MatchResult, ReferenceFacts
from ecluse.apps.fraud.references.index import ReferenceIndex
from ecluse.apps.fraud.references.matching import match_names, match_table
from ecluse.apps.fraud.tables.columns import ColumnSpec, infer_columns, parse_columns
from ecluse.apps.fraud.tables.names import dictionary, is_anonymous, split_words
from ecluse.apps.fraud.tables.sketches import ColumnSketch, sketch_columns
from ecluse.tabular.dataset import open_table

RENAMED = Path(__file__).with_name("renamed_columns.txt")
TARGETS = ["FraudFound_P", "fraud_reported", "FLAG", "class", "Class", "default.payment.next.month", "BAD"]
TARGETS += ["loan_status", "isFraud", "isFradulent", "label"]


@dataclass(frozen=True)
class Renaming:
    tune: bool
    short: dict[str, str]
    french: dict[str, str]


@dataclass(frozen=True)
class Case:
    """A real table: the reference of one half, and the parsed rows of the other half."""

    name: str
    facts: ReferenceFacts
    rows: pl.DataFrame
    later: pl.DataFrame
    earlier: ReferenceFacts
    specs: tuple[ColumnSpec, ...]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data/fraud"))
    parser.add_argument("--tables", type=int, nargs="*", default=[40, 10_000, 100_000])
    arguments = parser.parse_args()
    if arguments.data.is_dir():
        quality(arguments.data)
    else:
        print(f"{arguments.data} is not here: no real tables")
    institutions_matched()
    for tables in arguments.tables:
        timing(tables)


# Quality


def quality(folder: Path) -> None:
    renamed = renamings()
    cases = [prepared(path) for path in sorted(folder.glob("*.csv"))]
    parts = {
        "tune": [case for case in cases if renamed.get(case.name, _UNNAMED).tune],
        "report": [case for case in cases if not renamed.get(case.name, _UNNAMED).tune],
    }
    index = ReferenceIndex.of(case.facts for case in cases)
    for part, some in parts.items():
        print(f"\n{part}: {', '.join(case.name for case in some)}")
        print("| change | tables recognised | columns right | wrong | importance right | least similarity |")
        print("|---|---|---|---|---|---|")
        for change, rename in changes(renamed).items():
            print(recognised(change, some, rename, index))
        later = ReferenceIndex.of(case.earlier for case in cases)
        print(recognised("second half of the file", some, lambda case: (case.later, {}), later))
        print("| refused | right refusals | highest similarity |")
        print("|---|---|---|")
        print(refused("other tables", some, cases, lambda case: (case.rows, {})))
        for kind in ("opaque col_n", "opaque col_n, 200 rows"):
            print(refused(f"other tables, {kind}", some, cases, changes(renamed)[kind]))
    print(components_refused())


FEW = 200
"""Rows of the small tables."""
_UNNAMED = Renaming(False, {}, {})
Change = Callable[[Case], "tuple[pl.DataFrame, dict[str, str]] | None"]


def renamings() -> dict[str, Renaming]:
    found: dict[str, Renaming] = {}
    name = ""
    for line in RENAMED.read_text("utf-8").splitlines():
        if line.startswith("["):
            name, part = line[1:].split("] ")
            found[name] = Renaming(part == "tune", {}, {})
        elif line and not line.startswith("#"):
            column, short, french = (piece.strip() for piece in line.split(" | "))
            found[name].short[column] = short
            found[name].french[column] = french
    return found


def prepared(path: Path) -> Case:
    with open_table(path) as table:
        raw = table.sample(20_000)
    target = next(name for name in TARGETS if name in raw.columns)
    label = raw[target].str.strip_chars().is_in(["1", "Y", "Yes", "1.0", "True"])
    raw = raw.drop(target)
    specs = infer_columns(raw)
    parsed = parse_columns(raw, specs)
    half = parsed.height // 2
    whole = facts_of(path.stem, parsed.gather_every(2), specs, label.gather_every(2))
    first = facts_of(path.stem, parsed.head(half), specs, label.head(half))
    return Case(path.stem, whole, parsed.gather_every(2, 1), parsed.tail(half), first, specs)


def facts_of(name: str, rows: pl.DataFrame, specs: Sequence[ColumnSpec], label: pl.Series) -> ReferenceFacts:
    return ReferenceFacts(name, "", sketch_columns(rows, specs), importance(rows, specs, label), rows.height)


def importance(rows: pl.DataFrame, specs: Sequence[ColumnSpec], label: pl.Series) -> dict[str, float]:
    """Gain of a small LightGBM model by column; identifiers and texts have none."""
    from lightgbm import LGBMClassifier

    used = [spec for spec in specs if spec.kind in ("number", "category", "datetime")]
    columns = []
    for spec in used:
        series = rows[spec.name]
        codes = series.cast(pl.Categorical).to_physical() if series.dtype == pl.String else series
        columns.append(codes.cast(pl.Float64).fill_null(float("nan")).to_numpy())
    model = LGBMClassifier(
        n_estimators=60, num_leaves=15, verbose=-1, importance_type="gain", n_jobs=1, seed=0
    )
    model.fit(np.stack(columns, axis=1), label.to_numpy().astype(int))
    return {spec.name: float(gain) for spec, gain in zip(used, model.feature_importances_, strict=True)}


def changes(renamed: dict[str, Renaming]) -> dict[str, Change]:
    def named(way: str) -> Change:
        return lambda case: (case.rows, getattr(renamed[case.name], way)) if case.name in renamed else None

    def rescaled(case: Case) -> tuple[pl.DataFrame, dict[str, str]]:
        draw = random.Random(case.name)
        factors = {
            s.name: draw.choice([0.01, 0.15, 6.5, 100, 1000]) for s in case.specs if s.kind == "number"
        }
        return case.rows.with_columns(pl.col(name) * by for name, by in factors.items()), {}

    def french_rescaled(case: Case) -> tuple[pl.DataFrame, dict[str, str]] | None:
        if case.name not in renamed:
            return None
        return rescaled(case)[0], renamed[case.name].french

    def dropped(case: Case) -> tuple[pl.DataFrame, dict[str, str]]:
        kept = [name for name in case.rows.columns if random.Random(case.name + name).random() < 0.75]
        return case.rows.select(kept or case.rows.columns[:1]), {}

    return {
        "none": lambda case: (case.rows, {}),
        "case and separators": lambda case: (case.rows, {n: recased(n) for n in case.rows.columns}),
        "abbreviations": named("short"),
        "French words": named("french"),
        "opaque col_n": lambda case: (case.rows, opaque(case.rows)),
        "opaque col_n, 200 rows": lambda case: (some_rows(case), opaque(case.rows)),
        "a quarter of the columns dropped": dropped,
        "numbers rescaled": rescaled,
        "French words and numbers rescaled": french_rescaled,
    }


def opaque(rows: pl.DataFrame) -> dict[str, str]:
    return {name: f"col_{place}" for place, name in enumerate(rows.columns)}


def some_rows(case: Case) -> pl.DataFrame:
    return case.rows.sample(FEW, seed=0)


def recased(name: str) -> str:
    words = split_words(name)
    way = random.Random(name).choice(["camel", "upper", "kebab", "spaced"])
    if way == "camel":
        return "".join(word.capitalize() for word in words)
    return {"upper": "_".join(words).upper(), "kebab": "-".join(words), "spaced": " ".join(words).title()}[
        way
    ]


def sketched(rows: pl.DataFrame, specs: Iterable[ColumnSpec], names: dict[str, str]) -> list[ColumnSketch]:
    """In an order of its own, under the new names."""
    kept = [spec for spec in specs if spec.name in rows.columns]
    random.Random(7).shuffle(kept)
    return [
        replace(sketch, name=names.get(sketch.name, sketch.name)) for sketch in sketch_columns(rows, kept)
    ]


def recognised(change: str, cases: Sequence[Case], rename: Change, index: ReferenceIndex) -> str:
    tables = found = right = wrong = columns = 0
    shares, least = [], 1.0
    for case in cases:
        changed = rename(case)
        if changed is None:
            continue
        rows, names = changed
        result = match_table(sketched(rows, case.specs, names), index)
        tables += 1
        columns += len(rows.columns)
        best = result.matches[0] if result.matches else None
        good = best is not None and best.reference == case.name
        found += not result.abstain and good
        least = min(least, best.similarity if best is not None and good else 0.0)
        pairs = {pair.ours: pair.theirs for pair in best.columns} if best is not None and good else {}
        hits = {ours for ours, theirs in pairs.items() if names.get(ours, ours) == theirs}
        right += len(hits)
        wrong += len(pairs) - len(hits)
        weights = case.facts.importance
        possible = sum(weights.get(name, 0.0) for name in rows.columns)
        shares.append(sum(weights.get(name, 0.0) for name in hits) / possible)
    return (
        f"| {change} | {found} of {tables} | {right / columns:.0%} | {wrong / columns:.0%} | "
        f"{statistics.mean(shares):.0%} | {least:.2f} |"
    )


def refused(title: str, cases: Sequence[Case], references: Sequence[Case], rename: Change) -> str:
    pairs = right = 0
    highest, which = 0.0, ""
    for case in cases:
        changed = rename(case)
        if changed is None:
            continue
        sketches = sketched(changed[0], case.specs, changed[1])
        for reference in references:
            if reference.name == case.name:
                continue
            result = match_table(sketches, ReferenceIndex.of([reference.facts]))
            pairs += 1
            right += result.abstain
            similarity = nearest(result)
            if similarity > highest:
                highest, which = similarity, f"{case.name} on {reference.name}"
    return f"| {title} | {right} of {pairs} | {highest:.2f} ({which}) |"


def nearest(result: MatchResult) -> float:
    return result.matches[0].similarity if result.matches else 0.0


def components_refused(tables: int = 12) -> str:
    """Tables of 12 principal components each, with another's, and with their own other half: bells, which
    should be refused even there, and components of skewed sources, which have shapes of their own."""
    draw = np.random.default_rng(5)
    lines = []
    for kind in ("bells", "skewed"):
        halves = [components(draw, kind, standard=number % 3 == 0) for number in range(tables)]
        refusals = own = 0
        highest = 0.0
        for i, (mine, _) in enumerate(halves):
            for j, (_, theirs) in enumerate(halves):
                facts = ReferenceFacts(str(j), "", theirs, {s.name: 13.0 - k for k, s in enumerate(theirs)})
                result = match_table(mine, ReferenceIndex.of([facts]))
                if i == j:
                    own += not result.abstain
                else:
                    refusals += result.abstain
                    highest = max(highest, nearest(result))
        lines.append(
            f"Principal components, {kind}: {refusals} of {tables * (tables - 1)} unrelated pairs refused "
            f"(highest {highest:.2f}); {own} of {tables} recognised in their other half"
        )
    return "\n" + "\n".join(lines)


def components(draw: np.random.Generator, kind: str, *, standard: bool) -> list[tuple[ColumnSketch, ...]]:
    """Both halves of 6,000 rows of 12 components."""
    if kind == "bells":
        sources = draw.standard_t(df=draw.uniform(3, 30), size=(6_000, 12)) * draw.uniform(0.3, 3, 12)
        mixing = np.linalg.qr(draw.normal(size=(12, 12)))[0]
    else:
        # A few sources a component, skewed as amounts and counts are.
        sources = np.exp(draw.normal(size=(6_000, 12)) * draw.uniform(0.2, 1.2, 12))
        mixing = draw.normal(size=(12, 12)) * (draw.random((12, 12)) < 0.25) + np.eye(12)
    mixed = sources @ mixing
    values, axes = np.linalg.eigh(np.cov(mixed.T))
    scores = (mixed - mixed.mean(axis=0)) @ axes[:, np.argsort(-values)]
    if standard:
        scores /= scores.std(axis=0)
    frame = pl.DataFrame({f"V{i + 1}": scores[:, i] for i in range(12)})
    specs = [ColumnSpec(name, "number") for name in frame.columns]
    return [sketch_columns(frame.gather_every(2, part), specs) for part in (0, 1)]


# Simulated institutions


def institutions_matched() -> None:
    """Each institution of the demonstration library, and each outsider, against the library without itself.

    Their names were written without looking at the dictionary; the first four domains served to extend it.
    """
    everyone = [*institutions.library(), *institutions.outsiders()]
    found = {one.name: institution_sketches(one) for one in everyone}
    facts = {
        one.name: ReferenceFacts(
            one.name, one.domain, found[one.name][0], {c.name: 1.0 for c in found[one.name][0]}
        )
        for one in institutions.library()
    }
    print("\n| simulated domains | tables matched | columns right | wrong | highest of another domain |")
    print("|---|---|---|---|---|")
    for title, domains in (("tune", TUNED_DOMAINS), ("report", set(DOMAINS) - TUNED_DOMAINS)):
        some = [one for one in everyone if one.domain in domains]
        print(one_library(title, some, found, facts))


TUNED_DOMAINS = {"cards", "mobile_money", "insurance_claims", "loans"}
Sketched = tuple[tuple[ColumnSketch, ...], dict[str, str]]


def institution_sketches(one: institutions.Institution) -> Sketched:
    """Sketches, and by column what it is in every institution of the domain."""
    raw = institutions.simulate(one).cast(pl.String).drop(one.target)
    specs = infer_columns(raw)
    columns = DOMAINS[one.domain].columns.items()
    return sketch_columns(parse_columns(raw, specs), specs), {
        c.names[one.place] or "": key for key, c in columns
    }


def one_library(
    title: str,
    some: Sequence[institutions.Institution],
    found: dict[str, Sketched],
    facts: dict[str, ReferenceFacts],
) -> str:
    matched = right = wrong = columns = 0
    highest = 0.0
    for one in some:
        sketches, meanings = found[one.name]
        others = [f for f in facts.values() if f.name != one.name]
        relatives = [f for f in others if f.domain == one.domain]
        result = match_table(sketches, ReferenceIndex.of(others))
        matched += not result.abstain and result.matches[0].domain == one.domain
        strangers = ReferenceIndex.of(f for f in others if f.domain != one.domain)
        highest = max(highest, nearest(match_table(sketches, strangers)))
        theirs = {key: name for name, key in meanings.items()}
        for relative in relatives:
            matches = match_table(sketches, ReferenceIndex.of([relative])).matches
            pairs = {pair.ours: pair.theirs for pair in matches[0].columns} if matches else {}
            for name, key in found[relative.name][1].items():
                if name in {column.name for column in relative.columns} and key in theirs and theirs[key]:
                    columns += 1
                    right += pairs.get(name) == theirs[key]
                    wrong += name in pairs and pairs[name] != theirs[key]
    return f"| {title} | {matched} of {len(some)} | {right / columns:.0%} | {wrong / columns:.0%} | {highest:.2f} |"


# Time


def timing(tables: int) -> None:
    library = (synthetic(number) for number in range(tables))
    started = time.process_time()
    for _ in (synthetic(number) for number in range(min(tables, 1_000))):
        pass
    making = (time.process_time() - started) * max(1.0, tables / 1_000)
    started = time.process_time()
    index = ReferenceIndex.of(library)
    built = time.process_time() - started - making
    started = time.process_time()
    more = index.updated([replace(synthetic(20_000_000), name="one more")])
    added = time.process_time() - started
    assert len(more) == tables + 1
    del more
    tables_to_match = [synthetic(10_000_000 + n).columns for n in range(10)]
    tables_to_match += [
        tuple(replace(c, name=f"col_{i}") for i, c in enumerate(t)) for t in tables_to_match[:3]
    ]
    match_table(tables_to_match[0], index)
    whole = [cpu_ms(lambda t=t: match_table(t, index)) for t in tables_to_match]
    search = [cpu_ms(lambda t=t: index.search(t, 20)) for t in tables_to_match]
    names = [cpu_ms(lambda t=t: match_names([c.name for c in t], index)) for t in tables_to_match[:10]]
    print(
        f"{tables:,} references: built in {built:.1f} s, one more in {added:.2f} s, "
        f"{index.nbytes / 1e6:.0f} MB of arrays; "
        f"search {statistics.median(search):.1f} ms (at most {max(search):.1f}), "
        f"match_table {statistics.median(whole):.1f} ms (at most {max(whole):.1f}), "
        f"match_names {statistics.median(names):.1f} ms"
    )


def cpu_ms(work: Callable[[], object]) -> float:
    runs = []
    for _ in range(3):
        started = time.process_time()
        work()
        runs.append((time.process_time() - started) * 1e3)
    return statistics.median(runs)


#: So many names of columns are in use among a hundred thousand tables.
NAMES = 20_000
_FORMS = [form for form in sorted(dictionary().forms) if len(form) > 2 and not is_anonymous(form)]


def synthetic(number: int) -> ReferenceFacts:
    """8 to 30 columns of one to three known words each, of all kinds and shapes."""
    draw = random.Random(number)
    columns: dict[str, ColumnSketch] = {}
    for _ in range(draw.randint(8, 30)):
        pick = random.Random(draw.randrange(NAMES))
        name = "_".join(pick.choice(_FORMS).replace(" ", "_") for _ in range(pick.randint(1, 3)))
        kind = draw.choice(["number", "number", "number", "category", "datetime", "identifier"])
        quantiles: tuple[float, ...] = ()
        top: tuple[tuple[str, float], ...] = ()
        if kind in ("number", "datetime"):
            scale, spread = 10 ** draw.uniform(-1, 6), draw.uniform(0.1, 2)
            quantiles = tuple(sorted(scale * draw.lognormvariate(0, spread) for _ in range(21)))
        elif kind == "category":
            levels = draw.randint(2, 12)
            top = tuple((f"{draw.choice(_FORMS)}", 1 / levels) for _ in range(levels))
        columns[name] = ColumnSketch(
            name, kind, draw.random() / 10, 0.1, draw.choice([0.0, 1.0]), 0.0, draw.random(), quantiles, top
        )
    weights = {name: draw.random() ** 3 for name in columns}
    return ReferenceFacts(f"reference {number}", "synthetic", tuple(columns.values()), weights)


if __name__ == "__main__":
    main()
