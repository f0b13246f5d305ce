"""Make the sample of leaves, look a set over, divide it, and give it out again."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ecluse.apps.plants import actions as workflows
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.rows import Filter
from ecluse.cli.output import Record, counted, progress, reports
from ecluse.cli.session import acting, finish, home_option, user_option
from ecluse.errors import InvalidInput

if TYPE_CHECKING:
    from ecluse.apps.plants.splits import Part
    from ecluse.apps.plants.tables import Image, ImageSet
    from ecluse.catalog.tables import User
    from ecluse.runtime import Runtime

#: The set that the sample is imported into.
SAMPLE: Final = "leaves"
#: How many suspects and groups a command lists; JSON has all.
LISTED: Final = 12
set_argument = click.argument("name", metavar="SET")


@click.command()
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--each", type=click.IntRange(20, 5000), default=150, show_default=True, help="Images per label."
)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the same seed: the same images."
)
@user_option
@home_option
@reports
def demo(folder: Path | None, each: int, seed: int, email: str | None, home: Path | None) -> Record:
    """Draw leaves, healthy and spotted, and import them into the set "leaves". With DIR they are written there instead.

    They are invented, and some things are wrong on purpose: copies, wrong labels, a file that broke off.
    """
    from ecluse.apps.plants.demo import write_demo

    if folder is not None:
        with progress("Drawing leaves") as report:
            count = write_demo(folder, each=each, seed=seed, report=report)
        following = f"ecluse plants import {shlex.quote(str(folder))}"
        text = f"{count} leaves in {folder}.\nNext: {following}"
        return Record({"folder": str(folder), "images": count, "next": following}, text)
    with acting(home, email) as (runtime, user):
        row = workflows.make_set(runtime, user.id, SAMPLE)
        with runtime.scratch() as scratch:
            _import_sample(runtime, user, row, scratch / "leaves", each, seed)
        _audit(runtime, user, row)
        fields = _audited(runtime, user, row)
    following = "ecluse plants train --name leaves"
    text = f"{_audit_text(fields)}\nNext: {following}"
    return Record(fields | {"next": following}, text)


def _import_sample(runtime: Runtime, user: User, row: ImageSet, folder: Path, each: int, seed: int) -> None:
    from ecluse.apps.plants.demo import WRONG, write_demo
    from ecluse.apps.plants.importing import import_images
    from ecluse.apps.plants.sources.folders import open_folder

    with progress("Drawing leaves") as report:
        write_demo(folder, each=each, seed=seed, report=report)
    (folder / WRONG).unlink()
    with progress("Importing them") as report:
        import_images(runtime, user.id, row.id, open_folder(folder), report=report)


@click.command()
@set_argument
@user_option
@home_option
@reports
def audit(name: str, email: str | None, home: Path | None) -> Record:
    """Look for images that look alike, for labels that are probably wrong, and for labels with too few images."""
    with acting(home, email) as (runtime, user):
        row = workflows.find_set(runtime, user.id, name)
        _audit(runtime, user, row)
        fields = _audited(runtime, user, row)
    return Record(fields, _audit_text(fields))


def _audit(runtime: Runtime, user: User, row: ImageSet) -> None:
    from ecluse.apps.plants.audit import start_audit

    finish(runtime, user, start_audit(runtime, user.id, row.id), f"Auditing {row.name}")


def _audited(runtime: Runtime, user: User, row: ImageSet) -> dict[str, Any]:
    from ecluse.apps.plants.audit import findings_of

    findings = findings_of(runtime, user.id, row.id)
    with runtime.catalog.read() as transaction:
        suspects = images.list_images(
            transaction,
            user.id,
            row.id,
            Filter(states=("valid",), suspects=True),
            order="suspicion",
            limit=None,
        )
        alike = images.list_images(
            transaction,
            user.id,
            row.id,
            Filter(states=("valid",), duplicates=True),
            order="group",
            limit=None,
        )
        counts = images.counts(transaction, user.id, [row.id])[row.id]
    groups: dict[str, list[str]] = {}
    for group in alike:
        groups.setdefault(group.group or group.id, []).append(group.origin)
    return {
        "set": row.name,
        "id": row.id,
        "labels": dict(counts.valid),
        **asdict(findings),
        "groups": list(groups.values()),
        "suspected": [_suspect(image) for image in suspects],
    }


def _suspect(row: Image) -> dict[str, Any]:
    return {
        "image": row.id,
        "origin": row.origin,
        "label": row.label,
        "suggested_label": row.suggested_label,
        "suspicion": row.suspicion,
    }


def _audit_text(fields: dict[str, Any]) -> str:
    name = shlex.quote(fields["set"])
    lines = [f"{fields['set']}: {sum(fields['labels'].values())} images."]
    lines += [f"  {label:<24} {count:>7}" for label, count in fields["labels"].items()]
    alike = f"{counted(fields['near_duplicates'], 'image')} in {counted(len(fields['groups']), 'group')}"
    lines.append(
        f"Near duplicates: {alike}. A group stays together in a split."
        if fields["groups"]
        else "Near duplicates: none"
    )
    lines += [f"  {' = '.join(group)}" for group in fields["groups"][:LISTED]]
    lines += ["  …"] * (len(fields["groups"]) > LISTED)
    lines.append(f"Suspect labels: {fields['suspects']}")
    lines += [
        f"  {suspect['image']}  {suspect['origin']}: {suspect['label']}, probably {suspect['suggested_label']}"
        for suspect in fields["suspected"][:LISTED]
    ]
    lines += ["  …"] * (len(fields["suspected"]) > LISTED)
    if fields["suspected"]:
        lines.append(f"  Put one right: ecluse plants relabel {name} IMAGE --label LABEL")
        lines.append("  One that is right leaves this list when it is relabelled with the label it has.")
    lines += [f"Check: {warning}" for warning in fields["warnings"]]
    return "\n".join(lines)


@click.command()
@set_argument
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Another seed: another split."
)
@click.option(
    "--shares",
    metavar="A/B/C",
    help="For training, validation and test.  [default: those of before, or 0.7/0.15/0.15]",
)
@user_option
@home_option
@reports
def split(name: str, seed: int, shares: str | None, email: str | None, home: Path | None) -> Record:
    """Divide a set into what is learned from, chosen by, and tested on; what looks alike stays together.

    The same seed gives the same split. Images that came since are added to it, and no other is moved.
    """
    from ecluse.apps.plants.looks import group_copies, usable
    from ecluse.apps.plants.splits import split_for

    chosen_shares = None if shares is None else _shares(shares)
    with acting(home, email) as (runtime, user):
        row = workflows.find_set(runtime, user.id, name)
        with progress(f"Comparing the images of {row.name}") as report:
            group_copies(runtime, row.id, usable(runtime, user.id, row.id), report)
        new_split = split_for(runtime, user.id, row.id, seed=seed, shares=chosen_shares)
    fields = {
        "split": new_split.id,
        "set": row.name,
        "seed": new_split.seed,
        "shares": new_split.shares,
        "counts": new_split.counts,
        "sha256": new_split.sha256,
        "url": new_split.url,
    }
    lines = [f"Split {new_split.id} of {row.name}, seed {new_split.seed}"]
    for part, labels in new_split.counts.items():
        each = ", ".join(f"{label} {count}" for label, count in labels.items())
        lines.append(f"  {part:<12} {sum(labels.values()):>6}  ({each})")
    return Record(fields, "\n".join(lines))


def _shares(text: str) -> dict[Part, float]:
    from ecluse.apps.plants.splits import PARTS, checked_shares

    try:
        values = [float(share) for share in text.split("/")]
    except ValueError:
        values = []
    if len(values) != len(PARTS):
        raise InvalidInput("Give a share above 0 for train, validation and test, such as 0.7/0.15/0.15.")
    return checked_shares(dict(zip(PARTS, values, strict=True)))


@click.command()
@set_argument
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@user_option
@home_option
@reports
def export(name: str, folder: Path, email: str | None, home: Path | None) -> Record:
    """Write the images in use to a new folder DIR: a folder for each label, and manifest.csv on all of them."""
    from ecluse.apps.plants.exporting import export_folder

    with acting(home, email) as (runtime, user):
        row = workflows.find_set(runtime, user.id, name)
        with progress(f"Exporting {row.name}") as report:
            count = export_folder(runtime, user.id, row.id, folder, report)
    return Record({"set": row.name, "folder": str(folder), "images": count}, f"{count} images in {folder}.")
