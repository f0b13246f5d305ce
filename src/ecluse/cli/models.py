"""List, show, download, verify and delete models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from ecluse import models as published
from ecluse.catalog import models as model_rows
from ecluse.catalog.tables import ModelVersion, User
from ecluse.cli.output import Record, Rows, reports
from ecluse.cli.session import acting, home_option, user_option
from ecluse.runtime import Runtime


@click.group()
def models() -> None:
    """List, show, download, verify and delete models.

    NAME is a model at its latest version; NAME@VERSION is one version.
    """


@models.command("list")
@click.argument("name", required=False)
@user_option
@home_option
@reports
def list_models(name: str | None, email: str | None, home: Path | None) -> Rows:
    """The user's models, or every version of one."""
    with acting(home, email) as (runtime, user), runtime.catalog.read() as transaction:
        found = (
            model_rows.list_versions(transaction, user.id, name)
            if name
            else model_rows.list_latest(transaction, user.id)
        )
        rows = [_row(runtime, version) for version in found]
    columns = ("name", "version", "average_precision", "roc_auc", "size_bytes", "created_at")
    return Rows(rows, columns, "No models yet. Train one: ecluse fraud train FILE --target COL --name NAME")


@models.command("show")
@click.argument("model")
@user_option
@home_option
@reports
def show(model: str, email: str | None, home: Path | None) -> Record:
    """One version: its figures on rows it had not seen, and its files with their digests."""
    with acting(home, email) as (runtime, user):
        row = find(runtime, user, model)
        manifest = published.manifest_of(runtime, row)
        files = [asdict(file) for file in manifest.files]
        fields = _row(runtime, row) | {"report": row.report, "files": files}
    listed = "\n".join(f"  {f['sha256'][:12]}  {f['size']:>10}  {f['path']}" for f in files)
    shown = {name: value for name, value in fields.items() if name not in ("report", "files")}
    lines = [f"{name.replace('_', ' '):<18} {value}" for name, value in shown.items()]
    return Record(fields, "\n".join([*lines, "files", listed]))


@models.command("download")
@click.argument("model")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@user_option
@home_option
@reports
def download(model: str, directory: Path, email: str | None, home: Path | None) -> Record:
    """Write every file of a version, verified, into DIRECTORY."""
    with acting(home, email) as (runtime, user):
        row = find(runtime, user, model)
        manifest = runtime.registry_of(row).download(row.name, row.version, directory)
    return Record(
        {"name": row.name, "version": row.version, "directory": directory, "files": len(manifest.files)}
    )


@models.command("verify")
@click.argument("model")
@user_option
@home_option
@reports
def verify(model: str, email: str | None, home: Path | None) -> Record:
    """Read every stored file again and compare it with its digest; exit 1 names the file that differs."""
    with acting(home, email) as (runtime, user):
        row = find(runtime, user, model)
        manifest = published.verify(runtime, row)
    text = f"{row.name} {row.version}: {len(manifest.files)} files, {manifest.size} bytes, all as published."
    fields = {"name": row.name, "version": row.version, "files": len(manifest.files), "bytes": manifest.size}
    return Record(fields, text)


@models.command("delete")
@click.argument("model")
@click.option("--yes", is_flag=True, help="Do not ask.")
@user_option
@home_option
@reports
def delete(model: str, yes: bool, email: str | None, home: Path | None) -> Record:
    """Delete one version: NAME@VERSION. Predictions made with it stay."""
    if "@" not in model:
        raise click.UsageError("Name the version to delete: NAME@VERSION. See: ecluse models list NAME")
    with acting(home, email) as (runtime, user):
        row = find(runtime, user, model)
        if not yes:
            click.confirm(f"Delete {row.name} {row.version} ({row.size_bytes} bytes)?", abort=True, err=True)
        published.remove(runtime, user.id, row.name, row.version)
    return Record({"deleted": f"{row.name}@{row.version}"})


def find(runtime: Runtime, user: User, model: str) -> ModelVersion:
    """The version that NAME or NAME@VERSION means."""
    name, _, version = model.partition("@")
    with runtime.catalog.read() as transaction:
        return model_rows.version_of(transaction, user.id, name, version or None)


def _row(runtime: Runtime, version: ModelVersion) -> dict[str, Any]:
    metrics = version.report.get("metrics", {})
    return {
        "name": version.name,
        "version": version.version,
        "average_precision": metrics.get("average_precision"),
        "roc_auc": metrics.get("roc_auc"),
        "size_bytes": version.size_bytes,
        "created_at": version.created_at,
        "url": version.url,
    }
