"""Match a table without labels with the reference library, and make an ensemble for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ecluse.apps.fraud.actions import ensembles as workflows
from ecluse.apps.fraud.commands.tables import add_table, layout_options, say_layout
from ecluse.apps.fraud.performance.ensemble import EnsembleReport, Merits
from ecluse.apps.fraud.performance.reports import read_ensemble_report
from ecluse.apps.fraud.references import library
from ecluse.catalog import models
from ecluse.cli.output import Record, progress, reports
from ecluse.cli.session import acting, finish, home_option, user_option
from ecluse.errors import InvalidInput
from ecluse.tabular.layout import Layout

if TYPE_CHECKING:
    from ecluse.apps.fraud.references.facts import MatchResult

_file = click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))


@click.command()
@_file
@click.option("--limit", default=3, show_default=True, type=click.IntRange(1, 20), help="References to show.")
@layout_options
@user_option
@home_option
@reports
def match(file: Path, limit: int, email: str | None, home: Path | None, layout: Layout) -> Record:
    """Show the references that FILE means the same as, column by column, or why none does.

    Nothing is stored; corrections kept for a table that was uploaded do not count.
    """
    from ecluse.apps.fraud.actions.uploads import profile_upload
    from ecluse.apps.fraud.references.matching import match_table

    with acting(home, email) as (runtime, _):
        index = library.reference_index(runtime)
    with progress(f"Reading {file.name}") as report:
        profile, stands = profile_upload(file, layout=layout, heard=report)
    say_layout(file.name, stands)
    result = match_table(profile.sketches, index, limit=limit)
    return Record(result.to_dict(), _match_text(file.name, result))


@click.command()
@_file
@click.option("--name", required=True, help="Name of the model.")
@click.option(
    "--fraud-rate",
    default=workflows.FRAUD_RATE,
    show_default=True,
    help="Share of the rows taken to be fraud.",
)
@click.option(
    "--reference", multiple=True, help="Use this reference only; may be repeated. Default: the best."
)
@click.option(
    "--map",
    "mapped",
    multiple=True,
    metavar="REFERENCE:THEIRS=OURS",
    help='Correct the mapping: column THEIRS of FILE stands for OURS; nothing before "=" for no column.',
)
@layout_options
@user_option
@home_option
@reports
def ensemble(
    file: Path,
    name: str,
    fraud_rate: float,
    reference: tuple[str, ...],
    mapped: tuple[str, ...],
    email: str | None,
    home: Path | None,
    layout: Layout,
) -> Record:
    """Make an ensemble for FILE, which has no labels, from references that match it, or from how unusual rows are."""
    corrections = _corrections(mapped)
    with acting(home, email) as (runtime, user):
        dataset_id = add_table(runtime, user, file, layout)
        run = workflows.start_ensemble(
            runtime,
            user.id,
            dataset_id,
            name,
            fraud_rate=fraud_rate,
            references=reference or None,
            corrections=corrections,
        )
        finish(runtime, user, run.job_id or "", f"Making {name}")
        with runtime.catalog.read() as transaction:
            row = models.version_of(transaction, user.id, name)
    fields = {"name": row.name, "version": row.version, "dataset": dataset_id, "report": row.report}
    return Record(fields, _ensemble_text(row.name, row.version, read_ensemble_report(row.report)))


def _corrections(mapped: Sequence[str]) -> dict[str, dict[str, str | None]]:
    corrections: dict[str, dict[str, str | None]] = {}
    for given in mapped:
        reference, colon, columns = given.partition(":")
        theirs, equals, ours = columns.partition("=")
        if not (reference and colon and ours and equals):
            raise InvalidInput(
                f'"{given}" is no mapping. Write REFERENCE:THEIRS=OURS, such as cards:montant=amount.'
            )
        corrections.setdefault(reference, {})[ours] = theirs or None
    return corrections


def _match_text(filename: str, result: MatchResult) -> str:
    from ecluse.apps.fraud.references.matching import GATE

    lines = [f"{filename}: {'no match' if result.abstain else 'matched'}. {result.reason}"]
    for match in result.matches:
        lines.append(f"\n{match.reference} ({match.domain}), similarity {match.similarity:.2f}")
        lines.append("  your column → reference's column (why, score)")
        lines += [
            f"  {pair.theirs:<28} → {pair.ours:<28} ({pair.why}, {pair.score:.2f})" for pair in match.columns
        ]
        if match.missing:
            lines.append(f"  missing: {', '.join(match.missing)}")
    if result.below:
        lines.append("\nNot used:" if not result.abstain else "\nFurther off:")
        lines += [
            f"  {match.reference:<28} ({match.domain}) similarity {match.similarity:.2f}"
            f"{', not usable' if match.similarity < GATE else ''}"
            for match in result.below
        ]
    if result.abstain:
        lines.append(
            "\nNext: `ecluse fraud ensemble` ranks its rows by how unusual they are; it uses a reference where --map\n"
            "settles the columns. `ecluse fraud references import` builds references from labelled tables of yours."
        )
    return "\n".join(lines)


def _merits_text(merits: Merits | None) -> list[str]:
    """Say why a reference weighs what it does; nothing for a version that kept no reasons."""
    if merits is None:
        return []
    home = "unknown" if merits.home is None else f"{merits.home:.2f}"
    away = "not measured" if merits.away is None else f"{merits.away:.2f} (tables: {merits.tables})"
    return [
        f"    because: fit {merits.fit:.2f}, worth {merits.worth:.2f} (at home {home}, elsewhere {away}), "
        f"accord {merits.accord:.2f}"
    ]


def _ensemble_text(name: str, version: str, report: EnsembleReport) -> str:
    lines = [f"{name}@{version}: {report.reason}"]
    for member in report.members:
        lines.append(
            f"  {member.reference:<28} weight {member.weight:>6.1%}, similarity {member.similarity:.2f}, "
            f"{member.lacking:.0%} of what it looks at missing"
        )
        lines += _merits_text(member.merits)
    lines.append(f"  {'how unusual a row is':<28} weight {report.weights.anomaly:>6.1%}")
    rate = report.fraud_rate
    estimated = f"; the references suggest {rate.estimated:.2%}" if rate.estimated is not None else ""
    lines.append(f"  alerts: the top {rate.stated:.2%}, as stated{estimated}")
    return "\n".join([*lines, *(f"Check: {warning}" for warning in report.warnings)])
