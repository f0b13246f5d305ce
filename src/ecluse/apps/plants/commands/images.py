"""Import images, show the sets they are in, and put their labels right."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from ecluse.apps.plants import actions as workflows
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.rows import Filter
from ecluse.cli.output import Record, Rows, counted, progress, reports
from ecluse.cli.session import acting, finish, home_option, user_option
from ecluse.errors import InvalidInput
from ecluse.storage import LONG_PATIENCE

if TYPE_CHECKING:
    from ecluse.apps.plants.sources import File
    from ecluse.apps.plants.tables import Image, ImageSet
    from ecluse.catalog.tables import User
    from ecluse.runtime import Runtime

#: How many rejected files and images with other labels `show` lists.
LISTED: Final = 20
#: Of the reasons for which files were rejected, those an import tells.
REASONS: Final = 4
set_argument = click.argument("name", metavar="SET")


@click.command("import")
@click.argument("source")
@click.option("--set", "name", help="Name of the set. Default: that of the folder, archive, list or prefix.")
@click.option("--label", help="Label of files that are in no folder, or that a list gives none.")
@user_option
@home_option
@reports
def import_images(
    source: str, name: str | None, label: str | None, email: str | None, home: Path | None
) -> Record:
    """Import SOURCE into a set: a folder with a folder for each label, a .zip, .tar or .tar.gz of one, a .txt or .csv
    of URLs and labels, or an address in a store such as s3://bucket/photos.

    Importing again changes nothing, so that an import that was stopped is simply given again.
    """
    chosen_label = None if label is None else workflows.checked_label(label)
    workflows.checked_set_name(name or _name_of(source))
    with acting(home, email, patience=LONG_PATIENCE) as (runtime, user):
        if "://" not in source and not Path(source).exists():
            raise InvalidInput(f"There is no {source}. Name a folder, an archive, a list, or an address.")
        row = workflows.make_set(runtime, user.id, name or _name_of(source))
        done = _import(runtime, user, row, source, chosen_label)
        summary = workflows.summary_of(runtime, user.id, row)
        with runtime.catalog.read() as transaction:
            reasons = images.reasons(transaction, user.id, row.id)
    fields = {
        "set": row.name,
        "id": row.id,
        **done,
        "labels": dict(summary.counts.valid),
        "size_bytes": summary.size,
        "reasons": dict(reasons[:REASONS]) if done["rejected"] else {},
    }
    return Record(fields, _import_text(fields))


def _import(runtime: Runtime, user: User, row: ImageSet, source: str, label: str | None) -> dict[str, int]:
    """Import here, in the process of the command, what lies on this machine: a worker may run on another one, which
    sees none of its folders, and to send it the files first would store them twice. An import may be stopped and
    given again at any time, so nothing is lost with the terminal. What lies in a store in the network is a job.
    """
    if "://" in source and not source.startswith("file:"):
        job_id = workflows.start_import(
            runtime,
            user.id,
            row.id,
            workflows.Source(source, _name_of(source), at_terminal=True),
            label=label,
        )
        finish(runtime, user, job_id, f"Importing {source}")
        return dict(workflows.find_set(runtime, user.id, row.id).last_import)
    from ecluse.apps.plants.importing import import_images as take

    with progress(f"Importing {source}") as report, _opened(runtime, user, source) as files:
        return asdict(take(runtime, user.id, row.id, files, label=label, report=report))


@contextmanager
def _opened(runtime: Runtime, user: User, source: str) -> Iterator[Iterator[File]]:
    from ecluse.apps.plants.sources.archives import open_archive
    from ecluse.apps.plants.sources.folders import open_folder
    from ecluse.apps.plants.sources.lists import is_list_name, open_list
    from ecluse.apps.plants.sources.stores import importable, open_prefix

    path = Path(source)
    if "://" in source:
        place = importable(runtime, user.id, source, at_terminal=True)
        yield open_prefix(runtime.stores.folder(place))
    elif path.is_dir():
        yield open_folder(path)
    elif is_list_name(path.name):
        yield open_list(path.read_bytes(), path.name, allow_private=runtime.settings.fetch_private)
    else:
        yield open_archive(path, path.name)


def _name_of(source: str) -> str:
    """Return what a set is called unless a name is given: the last part of a path, without the endings of archives."""
    last = source.rstrip("/").rsplit("/", 1)[-1] if "://" in source else Path(source).resolve().name
    for ending in (".tar.gz", ".tgz", ".zip", ".tar", ".txt", ".csv"):
        last = last.removesuffix(ending)
    return last


@click.command()
@user_option
@home_option
@reports
def sets(email: str | None, home: Path | None) -> Rows:
    """List the sets of images, that which was imported last first."""
    with acting(home, email) as (runtime, user):
        summaries = workflows.list_sets(runtime, user.id)
    rows = [
        {
            "name": summary.row.name,
            "id": summary.row.id,
            "images": sum(summary.counts.valid.values()),
            "labels": len(summary.counts.valid),
            "excluded": sum(summary.counts.excluded.values()),
            "rejected": sum(summary.counts.rejected.values()),
            "size_bytes": summary.size,
            "imported_at": summary.row.imported_at,
        }
        for summary in summaries
    ]
    columns = ("name", "images", "labels", "excluded", "rejected", "size_bytes", "imported_at", "id")
    return Rows(rows, columns, "No images yet. Import some: ecluse plants import DIR")


@click.command()
@set_argument
@user_option
@home_option
@reports
def show(name: str, email: str | None, home: Path | None) -> Record:
    """Show the images of a set by label, what was rejected and why, and the same images under several labels."""
    with acting(home, email, reads=True) as (runtime, user):
        row = workflows.find_set(runtime, user.id, name)
        summary = workflows.summary_of(runtime, user.id, row)
        with runtime.catalog.read() as transaction:
            rejected = images.list_images(
                transaction, user.id, row.id, Filter(states=("rejected",)), limit=None
            )
            contested = images.list_images(transaction, user.id, row.id, Filter(contested=True), limit=None)
            alike = images.count_images(transaction, user.id, row.id, Filter(duplicates=True))
            suspects = images.count_images(transaction, user.id, row.id, Filter(suspects=True))
            splits = images.list_splits(transaction, user.id, row.id)
    fields = {
        "name": row.name,
        "id": row.id,
        "labels": dict(summary.counts.valid),
        "excluded": dict(summary.counts.excluded),
        "size_bytes": summary.size,
        "imported_at": row.imported_at,
        "audited_at": row.audited_at,
        "rejected": [{"origin": file.origin, "reason": file.reason} for file in rejected],
        "contested": [_contested(image) for image in contested],
        "near_duplicates": alike,
        "suspects": suspects,
        "splits": [
            {"id": division.id, "seed": division.seed, "counts": division.counts} for division in splits
        ],
    }
    return Record(fields, _show_text(fields))


@click.command()
@set_argument
@click.argument("image_names", metavar="IMAGE…", nargs=-1, required=True)
@click.option("--label", required=True, help="The label that is right.")
@user_option
@home_option
@reports
def relabel(
    name: str, image_names: tuple[str, ...], label: str, email: str | None, home: Path | None
) -> Record:
    """Give images another label. IMAGE is an id, the beginning of a SHA-256 (8 digits or more), or an origin."""
    with acting(home, email) as (runtime, user):
        row, chosen = _images(runtime, user, name, image_names)
        changed = workflows.relabel(runtime, user.id, row.id, [image.id for image in chosen], label)
    fields = {
        "set": row.name,
        "label": workflows.checked_label(label),
        "images": len(chosen),
        "changed": changed,
    }
    return Record(fields, f"Relabelled in {row.name}: {counted(changed, 'image')} of {len(chosen)}.")


@click.command()
@set_argument
@click.argument("image_names", metavar="IMAGE…", nargs=-1, required=True)
@user_option
@home_option
@reports
def exclude(name: str, image_names: tuple[str, ...], email: str | None, home: Path | None) -> Record:
    """Leave images out of use: nothing learns from them, and they are not exported. IMAGE is as for relabel."""
    return _set_state(name, image_names, "excluded", email, home)


@click.command()
@set_argument
@click.argument("image_names", metavar="IMAGE…", nargs=-1, required=True)
@user_option
@home_option
@reports
def include(name: str, image_names: tuple[str, ...], email: str | None, home: Path | None) -> Record:
    """Take excluded images back into use. IMAGE is as for relabel."""
    return _set_state(name, image_names, "valid", email, home)


@click.command()
@set_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@user_option
@home_option
@reports
def remove(name: str, yes: bool, email: str | None, home: Path | None) -> Record:
    """Remove a set with its images and splits. Models that learned from it stay."""
    with acting(home, email) as (runtime, user):
        row = workflows.find_set(runtime, user.id, name)
        summary = workflows.summary_of(runtime, user.id, row)
        if not yes:
            click.confirm(f"Remove {row.name} and its {summary.counts.total} images?", abort=True, err=True)
        removed = workflows.remove_set(runtime, user.id, row.id)
    return Record({"set": row.name, "objects": removed}, f"{row.name} is removed: {removed} objects.")


def _set_state(
    name: str,
    image_names: tuple[str, ...],
    state: Literal["valid", "excluded"],
    email: str | None,
    home: Path | None,
) -> Record:
    with acting(home, email) as (runtime, user):
        row, chosen = _images(runtime, user, name, image_names)
        changed = workflows.set_state(runtime, user.id, row.id, [image.id for image in chosen], state)
    fields = {"set": row.name, "state": state, "images": len(chosen), "changed": changed}
    outcome = "in use" if state == "valid" else "excluded"
    before = f" The other {len(chosen) - changed} had been so before." if changed < len(chosen) else ""
    return Record(fields, f"Now {outcome} in {row.name}: {counted(changed, 'image')}.{before}")


def _images(
    runtime: Runtime, user: User, name: str, image_names: tuple[str, ...]
) -> tuple[ImageSet, list[Image]]:
    row = workflows.find_set(runtime, user.id, name)
    with runtime.catalog.read() as transaction:
        return row, images.find_images(transaction, user.id, row.id, image_names)


def _contested(image: Image) -> dict[str, Any]:
    return {
        "id": image.id,
        "origin": image.origin,
        "label": image.label,
        "others": [place for place in image.seen_again if place["label"] != image.label],
    }


def _import_text(fields: dict[str, Any]) -> str:
    stored_before = fields["known"] + fields["duplicates"]
    lines = [
        f"{fields['set']}: {counted(fields['added'], 'image')} added, {stored_before} there before, "
        f"{counted(fields['rejected'], 'file')} rejected."
    ]
    lines += [f"  {label:<24} {count:>7}" for label, count in fields["labels"].items()]
    name = shlex.quote(fields["set"])
    lines += [f"Rejected: {reason} ({count})" for reason, count in fields["reasons"].items()]
    if fields["contested"]:
        lines.append(f"Check: {counted(fields['contested'], 'file')} came with another label too.")
    if fields["rejected"] or fields["contested"]:
        lines.append(f"See: ecluse plants show {name}")
    if fields["labels"]:
        lines.append(f"Next: ecluse plants audit {name}")
    return "\n".join(lines)


def _show_text(fields: dict[str, Any]) -> str:
    lines = [
        f"{fields['name']}: {sum(fields['labels'].values())} images, {fields['size_bytes'] / 1e6:.1f} MB"
    ]
    for label, count in fields["labels"].items():
        excluded = fields["excluded"].get(label)
        lines.append(f"  {label:<24} {count:>7}{f', {excluded} excluded' if excluded else ''}")
    if fields["rejected"]:
        lines.append(f"Rejected: {len(fields['rejected'])}")
        lines += [f"  {file['origin']}: {file['reason']}" for file in fields["rejected"][:LISTED]]
        lines += ["  …"] * (len(fields["rejected"]) > LISTED)
    for image in fields["contested"][:LISTED]:
        others = ", ".join(sorted({place["label"] for place in image["others"]})) or "a near duplicate"
        lines.append(f"Check: {image['origin']} is {image['label']}, and also {others}.")
    if fields["audited_at"] is None:
        lines.append("It was not audited yet: near duplicates and suspects are not known.")
    else:
        lines.append(f"Near duplicates: {fields['near_duplicates']}. Suspects: {fields['suspects']}.")
    lines += [
        f"Split {division['id']} (seed {division['seed']}): {_parts(division['counts'])}"
        for division in fields["splits"]
    ]
    return "\n".join(lines)


def _parts(counts: dict[str, dict[str, int]]) -> str:
    return ", ".join(f"{part} {sum(labels.values())}" for part, labels in counts.items())
