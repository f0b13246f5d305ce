"""Make the tables of the documents, list and show what is there, and copy it to another database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, progress, reports, say
from ecluse.cli.session import home_option
from ecluse.documents import Documents, open_documents
from ecluse.documents.copying import Comparison, compare, copy
from ecluse.errors import DocumentsMissing, InvalidInput
from ecluse.settings import DocumentsSettings, Settings


@click.group(cls=Group)
def documents() -> None:
    """Make the tables of the documents of a city, list and show what is there, and copy it.

    A PLACE is sql, mongodb or dynamodb, as the settings configure it, or an address: sqlite:///file,
    postgresql://host/name, mongodb://host/name, dynamodb://region/metrics,reports. Keys for AWS are those of the
    environment.
    """


@documents.command("create")
@click.argument("place", required=False)
@home_option
@reports
def create(place: str | None, home: Path | None) -> Record:
    """Make the tables and indexes that are missing at PLACE; without one, in the database of the settings."""
    with _opened(_settings(home, place)) as there:
        made = there.create()
        text = f"Made in {there.place}: {', '.join(made)}" if made else f"{there.place} has all it needs."
        return Record({"place": there.place, "made": made}, text)


@documents.command("list")
@click.argument("kind", required=False)
@click.option("--from", "start", help="Only keys from this one on, such as 2025-10-01")
@click.option("--to", "stop", help="Only keys before this one")
@home_option
@reports
def list_documents(kind: str | None, start: str | None, stop: str | None, home: Path | None) -> Rows:
    """List the kinds of documents, how many there are of each, their first and last key; or the keys of KIND."""
    with _opened(_settings(home)) as there:
        if kind is not None:
            keys = there.keys(kind, start, stop)
            return Rows(
                [{"kind": kind, "key": key} for key in keys], ("key",), "There are no such documents."
            )
        columns = ("kind", "documents", "first", "last")
        keys_of = [(kind_name, there.keys(kind_name, start, stop)) for kind_name in there.kinds()]
        rows = [(kind_name, len(keys), keys[0], keys[-1]) for kind_name, keys in keys_of if keys]
        return Rows(
            [dict(zip(columns, row, strict=True)) for row in rows], columns, "There are no documents."
        )


@documents.command("show")
@click.argument("kind")
@click.argument("key")
@home_option
@reports
def show(kind: str, key: str, home: Path | None) -> Record:
    """Show the document KIND KEY, as JSON."""
    with _opened(_settings(home)) as there:
        body = there.get(kind, key)
    return Record(body, json.dumps(body, indent=2, ensure_ascii=False))


@documents.command("copy")
@click.argument("source")
@click.argument("destination")
@click.option("--dry-run", "is_dry", is_flag=True, help="Count what would be copied; write nothing.")
@click.option(
    "--verify",
    "is_verified",
    is_flag=True,
    help="Compare both ways; exit 1 where they differ. Writes nothing.",
)
@home_option
@reports
def copy_documents(
    source: str, destination: str, is_dry: bool, is_verified: bool, home: Path | None
) -> Record:
    """Copy every document from the PLACE SOURCE to the PLACE DESTINATION.

    What is there already is not written again, so the same command goes on where it was stopped. A document of the
    same kind and key is replaced; the others of the destination stay, and are counted as extra.
    """
    if is_dry and is_verified:
        raise click.UsageError("--dry-run and --verify both write nothing. Choose one.")
    given = Settings.from_environment(home=home).documents
    ours, theirs = given.at("SOURCE", source), given.at("DESTINATION", destination)
    if ours.place == theirs.place:
        raise InvalidInput(f"Source and destination are both {ours.place}. Name two places.")
    walk, title = (compare, "Comparing documents") if is_dry or is_verified else (copy, "Copying documents")
    with _opened(ours) as here, _opened(theirs) as there:
        _check(here, source)
        _check(there, destination)
        try:
            with progress(title) as report:
                comparison = walk(
                    here, there, lambda at, n, kind: report(at / n, f"{at} of {n} kinds: {kind}")
                )
        except KeyboardInterrupt:
            say("Stopped. What was copied stays; the same command goes on from there.")
            raise
    fields: dict[str, Any] = {"source": here.place, "destination": there.place, "kinds": comparison.kinds}
    return Record(
        fields | comparison.counts | {"named": comparison.named},
        _text(comparison, here, there, is_dry, is_verified),
        failed=is_verified and not comparison.is_same,
    )


def _text(comparison: Comparison, here: Documents, there: Documents, is_dry: bool, is_verified: bool) -> str:
    count = comparison.counts
    differing = count["missing"] + count["other"]
    if is_verified:
        first = f"{count['same']} documents are the same in {here.place} and {there.place}"
        first += "." if comparison.is_same else f", {differing + count['extra']} are not."
    else:
        verb = "would be copied" if is_dry else "copied"
        first = f"{differing} documents {verb} from {here.place} to {there.place}"
        first += f": {count['missing']} new, {count['other']} replaced; {count['same']} were the same."
    lines = [first]
    if count["extra"]:
        lines.append(f"{count['extra']} documents are at the destination alone; they stay.")
    if is_verified:
        lines += [
            f"  {state:<7}  {kind} {key}" for state, names in comparison.named.items() for kind, key in names
        ]
    return "\n".join(lines)


def _check(place: Documents, argument: str) -> None:
    """Raise DocumentsMissing with the command that makes the tables of this very place."""
    try:
        place.check()
    except DocumentsMissing as error:
        # An address with a password is not repeated.
        raise DocumentsMissing(f"{error} {place.place if '@' in argument else argument}") from error


def _settings(home: Path | None, place: str | None = None) -> DocumentsSettings:
    given = Settings.from_environment(home=home).documents
    return given if place is None else given.at("PLACE", place)


@contextmanager
def _opened(settings: DocumentsSettings) -> Iterator[Documents]:
    opened = open_documents(settings)
    try:
        yield opened
    finally:
        opened.close()
