"""Publish, find, download, verify, alias, sign and delete models, import existing ones, and clean up."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, progress, reports, transfer
from ecluse.cli.remote import (
    alias_there,
    aliased,
    at_server,
    download_there,
    local_option,
    publish_there,
    score_there,
    with_dates,
)
from ecluse.cli.session import acting, home_option, user_option
from ecluse.cli.sharing import add_sharing
from ecluse.client.server import split_reference
from ecluse.conditions import GRAMMAR, parse_condition
from ecluse.errors import Forbidden, InvalidInput
from ecluse.registry import checked_alias, gathered
from ecluse.storage import LONG_PATIENCE

if TYPE_CHECKING:  # what a command at a server does without
    from ecluse import models as published
    from ecluse.catalog.tables import ModelVersion, User
    from ecluse.runtime import Runtime

COLUMNS: Final = ("name", "version", "aliases", "state", "figures", "size_bytes", "created_at")
#: How many figures a list shows of each model.
FIGURES: Final = 2
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}
_key = click.option(
    "--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Key in PEM (elliptic curve)."
)


@click.group(cls=Group)
def models() -> None:
    """Publish, find, download, verify, alias, sign and delete models.

    MODEL is NAME (its latest version), NAME@VERSION or NAME@ALIAS; of an organisation of yours, or shared with you,
    @OWNER/NAME and so on.
    """


add_sharing(models, "models", "MODEL")


@models.command("publish")
@click.argument("name")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--meta", multiple=True, help="Metadata as KEY=VALUE, such as val_accuracy=0.93; repeatable.")
@click.option("--alias", "aliases", multiple=True, help="Alias to point at the new version; repeatable.")
@local_option
@user_option
@home_option
@reports
def publish(
    name: str,
    paths: tuple[Path, ...],
    meta: tuple[str, ...],
    aliases: tuple[str, ...],
    local: bool,
    email: str | None,
    home: Path | None,
) -> Record:
    """Publish files, and what folders hold, as a new version of NAME: all of it, or nothing at all.

    @ORGANISATION/NAME is a model of an organisation in which you are owner or member.
    At the server that was signed in to (ecluse login URL), else in the folder of this machine.
    """
    metadata = dict(_meta(text) for text in meta)
    for alias in aliases:
        checked_alias(alias)
    total = sum(file.stat().st_size for file in gathered(paths).values())
    with at_server(home, email, local) as server:
        if server is not None:
            body = publish_there(server, name, paths, metadata, aliases, total)
            text = f"{name}@{body['version']}: {body['size_bytes']} bytes at {server.address}"
            return Record(_row_there(body), text)
    from ecluse import models as published

    own = published.own_metadata(metadata)
    with acting(home, email, patience=LONG_PATIENCE) as (runtime, user):
        place = published.place_to_make(runtime, user.id, name)
        with transfer(f"Publishing {name}", total) as progress:
            row = published.publish(
                runtime, place.owner_id, place.name, paths, metadata=own, progress=progress
            )
        for alias in aliases:
            published.set_alias(runtime, place.owner_id, place.name, alias, row.version)
        fields = _row(row, list(aliases)) | {"name": place.address}
    return Record(fields, f"{place.address}@{row.version}: {row.size_bytes} bytes at {row.url}")


@models.command(
    "list",
    help="The user's models, every version of one, or the versions that fulfil every condition.\n\n"
    + GRAMMAR,
)
@click.argument("name", required=False)
@click.option(
    "--where",
    multiple=True,
    help="Such as val_accuracy>0.9, or name=leaves and (damaged=false or alias=production); repeatable.",
)
@local_option
@user_option
@home_option
@reports
def list_models(
    name: str | None, where: tuple[str, ...], local: bool, email: str | None, home: Path | None
) -> Rows:
    """List the user's models, every version of one, or the versions that fulfil every condition."""
    conditions = [parse_condition(text) for text in where]
    with at_server(home, email, local) as server:
        if server is not None:
            there = [_row_there(body) for body in server.list_models(where, name)]
            empty = (
                "No version fulfils that."
                if where
                else "No models there yet. Publish one: ecluse models publish"
            )
            return Rows(there, COLUMNS, empty)
    from ecluse import models as published
    from ecluse.catalog import models as model_rows

    with acting(home, email, reads=True) as (runtime, user):
        owner_id = user.id
        if name is not None and name.startswith("@"):
            with runtime.catalog.read() as transaction:
                place = published.place_of(transaction, user.id, name)
            owner_id, name = place.owner_id, place.name
        if name or conditions:
            versions = published.search(runtime, owner_id, conditions, name)
        else:
            with runtime.catalog.read() as transaction:
                versions = model_rows.list_latest(transaction, user.id)
        unknown = published.unknown_keys(runtime, user.id, conditions) if not versions else []
        rows = _with_aliases(runtime, user, versions)
    empty = "No version fulfils that." if conditions else "No models yet. Publish one: ecluse models publish"
    if unknown:
        empty += f" None has {', '.join(unknown)}. What can be asked: ecluse models list --help"
    return Rows(rows, COLUMNS, empty)


@models.command("show")
@click.argument("model")
@local_option
@user_option
@home_option
@reports
def show(model: str, local: bool, email: str | None, home: Path | None) -> Record:
    """One version: what is known of it, its figures, and its files with their digests."""
    with at_server(home, email, local) as server:
        if server is not None:
            body = server.described(model)
            fields, files, metadata = _row_there(body), body["files"], body["metadata"]
            return Record(
                fields | {"report": body["report"], "files": files}, _shown(fields, metadata, files)
            )
    from ecluse import models as published

    with acting(home, email, reads=True) as (runtime, user):
        row = published.resolve_readable(runtime, user.id, model)
        manifest = published.manifest_of(runtime, row)
        (fields,) = _with_aliases(runtime, user, [row])
    files = [asdict(file) for file in manifest.files]
    return Record(
        fields | {"report": row.report, "files": files, "created_by": manifest.created_by},
        _shown(fields, manifest.metadata, files),
    )


def _shown(fields: Mapping[str, Any], metadata: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> str:
    """Write a version as people read it: what is known of it, then its files."""
    listed = [f"  {f['sha256'][:12]}  {f['size']:>10}  {f['path']}" for f in files]
    shown = {
        name: value
        for name, value in fields.items()
        if value is not None and name not in ("metadata", "figures")
    }
    lines = [f"{name.replace('_', ' '):<18} {_text(value)}" for name, value in shown.items()]
    lines += [f"{name:<18} {_text(value)}" for name, value in metadata.items() if name != "plan"]
    return "\n".join([*lines, "files", *listed])


@models.command("download")
@click.argument("model")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@local_option
@user_option
@home_option
@reports
def download(model: str, directory: Path, local: bool, email: str | None, home: Path | None) -> Record:
    """Write every file of a version, verified, into DIRECTORY; works without the store where all is cached.

    From the server that was signed in to (ecluse login URL), else from the folder of this machine.
    """
    with at_server(home, email, local) as server:
        if server is not None:
            version = download_there(server, model, directory)
            there = {"name": version.name, "version": version.version, "directory": directory}
            text = f"{version.reference}: {version.size_bytes} bytes in {directory}, all as published."
            return Record(there | {"bytes": version.size_bytes, "server": server.address}, text)
    from ecluse import models as published

    with acting(home, email) as (runtime, user):
        row = published.resolve_readable(runtime, user.id, model)
        with transfer(f"Fetching {row.name}", row.size_bytes) as progress:
            got = published.download(runtime, row, directory, progress)
    fields = {"name": row.name, "version": row.version, "directory": directory} | asdict(got)
    text = f"{row.name}@{row.version}: {got.files} files, {got.bytes} bytes in {directory}, all as published."
    return Record(fields, f"{text} From the cache: {got.from_cache}.")


@models.command("score")
@click.argument("model")
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The scored table: a .csv or a .parquet.",
)
@local_option
@user_option
@home_option
@reports
def score(model: str, table: Path, out: Path, local: bool, email: str | None, home: Path | None) -> Record:
    """Score a table by a version that was published with an example: its rows with the answers beside them.

    TABLE is delimited text, a workbook or Parquet. At the server that was signed in to, which keeps no table, or here.
    """
    if out.suffix not in (".csv", ".parquet"):
        raise click.UsageError("Name a file that ends in .csv or .parquet: --out scores.csv")
    with at_server(home, email, local) as server:
        if server is not None:
            made = score_there(server, model, table, out)
            return _scored(f"{made['model']}@{made['version']}", out, made["rows"], made["warnings"])
    from ecluse import models as published
    from ecluse.inference.scoring import score_to

    with acting(home, email) as (runtime, user):
        row = published.resolve_readable(runtime, user.id, model)
        with progress(f"Scoring {table.name}") as report:
            rows, warnings = score_to(
                runtime, row, table, out, lambda done, total: report(done / total, f"{done} / {total}")
            )
    return _scored(f"{row.name}@{row.version}", out, rows, warnings)


def _scored(version: str, out: Path, rows: int, warnings: Sequence[str]) -> Record:
    fields = {"model": version, "file": out, "rows": rows, "warnings": [str(warning) for warning in warnings]}
    lines = [f"{rows} rows scored by {version}: {out}", *(f"Note: {warning}" for warning in warnings)]
    return Record(fields, "\n".join(lines))


@models.command("verify")
@click.argument("model")
@click.option("--signature", is_flag=True, help="Check the signature too; needs --key.")
@_key
@local_option
@user_option
@home_option
@reports
def verify(
    model: str, signature: bool, key: Path | None, local: bool, email: str | None, home: Path | None
) -> Record:
    """Read every stored file again and compare it with its digest; exit 1 names the file that differs.

    At the server that was signed in to, it is the server that reads them; a signature is checked where the store is.
    """
    if signature != (key is not None):
        raise click.UsageError("A signature is checked with --signature --key FILE, the public key.")
    with at_server(home, email, local) as server:
        if server is not None:
            if signature:
                raise InvalidInput(
                    "A server does not check signatures. Check it on the machine of the server, or here: --local"
                )
            version = server.version(model)
            return _verified(version.name, version.version, server.verify(version), signed=False)
    from ecluse import models as published

    with acting(home, email) as (runtime, user):
        row = published.resolve_changeable(runtime, user.id, model)
        with transfer(f"Verifying {row.name}", row.size_bytes) as progress:
            manifest = published.verify(runtime, row, progress)
        if key is not None:
            published.verify_signature(runtime, row, key)
    return _verified(row.name, row.version, [asdict(file) for file in manifest.files], signed=signature)


def _verified(name: str, version: str, files: Sequence[Mapping[str, Any]], *, signed: bool) -> Record:
    """Say that every file of a version is as it was published."""
    size = sum(file["size"] for file in files)
    text = f"{name} {version}: {len(files)} files, {size} bytes, all as published"
    fields = {"name": name, "version": version, "files": len(files), "bytes": size, "signed": signed}
    return Record(fields, f"{text}, and signed with this key." if signed else f"{text}.")


@models.command("alias")
@click.argument("model")
@click.argument("alias")
@click.option("--remove", is_flag=True, help="Forget the alias; the version stays.")
@local_option
@user_option
@home_option
@reports
def alias(model: str, alias: str, remove: bool, local: bool, email: str | None, home: Path | None) -> Record:
    """Point ALIAS, such as production, at a version, from wherever it pointed."""
    with at_server(home, email, local) as server:
        if server is not None:
            return alias_there(server, model, alias, remove=remove)
    from ecluse import models as published

    with acting(home, email) as (runtime, user):
        if remove:
            name = split_reference(model)[0]
            place = published.place_to_change(runtime, user.id, name)
            published.remove_alias(runtime, place.owner_id, place.name, alias)
            return Record({"removed": f"{name}@{alias}"})
        row = published.resolve_changeable(runtime, user.id, model)
        published.set_alias(runtime, row.user_id, row.name, alias, row.version)
        name = published.address_of(runtime, user.id, row)
    return aliased(name, alias, row.version)


@models.command("delete")
@click.argument("model")
@click.option("--yes", is_flag=True, help="Do not ask.")
@local_option
@user_option
@home_option
@reports
def delete(model: str, yes: bool, local: bool, email: str | None, home: Path | None) -> Record:
    """Delete one version: NAME@VERSION. Predictions made with it stay."""
    if not split_reference(model)[1]:
        raise click.UsageError("Name the version to delete: NAME@VERSION. See: ecluse models list NAME")
    with at_server(home, email, local) as server:
        if server is not None:
            version = server.version(model)
            _confirm(version.name, version.version, version.size_bytes, yes=yes)
            server.delete(version)
            return Record({"deleted": version.reference})
    from ecluse import models as published

    with acting(home, email) as (runtime, user):
        row = published.resolve_changeable(runtime, user.id, model)
        name = published.address_of(runtime, user.id, row)
        _confirm(name, row.version, row.size_bytes, yes=yes)
        published.remove(runtime, row.user_id, row.name, row.version)
    return Record({"deleted": f"{name}@{row.version}"})


def _confirm(name: str, version: str, size: int, *, yes: bool) -> None:
    if not yes:
        click.confirm(f"Delete {name} {version} ({size} bytes)?", abort=True, err=True)


@models.command("gc")
@click.option("--delete", "removes", is_flag=True, help="Remove what was found; otherwise it is only shown.")
@click.option(
    "--older-than", default="24h", show_default=True, help="Age from which it counts: 90m, 24h or 7d."
)
@user_option
@home_option
@reports
def gc(removes: bool, older_than: str, email: str | None, home: Path | None) -> Rows:
    """Show, or remove, what interrupted publications and deletions left in the store. For administrators."""
    from ecluse import models as published

    age = _age(older_than)
    with acting(home, email) as (runtime, user):
        if user.role != "admin":
            raise Forbidden("Only administrators clean up. Ask one of yours.")
        leftovers = published.gc(runtime, delete=removes, older_than=age)
    rows = [asdict(each) | {"age": round(each.age.total_seconds()), "removed": removes} for each in leftovers]
    return Rows(rows, ("url", "kind", "objects", "size", "age"), "Nothing was left behind.")


@models.command("import")
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--prefix", help="Make reference models for all, under this prefix: automl_models/.")
@click.option(
    "--trust", is_flag=True, help="Read pickles once, which runs what they say, and publish .skops beside."
)
@user_option
@home_option
@reports
def import_models(
    directory: Path, prefix: str | None, trust: bool, email: str | None, home: Path | None
) -> Record:
    """Publish every folder in DIRECTORY as a model of its name; exit 1 if something could not be done.

    Run again, it leaves out what has not changed. Pickles (.joblib, .pkl …) are stored as they are and
    are never read without --trust.
    """
    from ecluse import models as published

    total = sum(path.stat().st_size for path in directory.glob("*/**/*") if path.is_file())
    with (
        acting(home, email, patience=LONG_PATIENCE) as (runtime, user),
        transfer(f"Importing {directory}", total) as progress,
    ):
        done = published.import_folder(
            runtime, user, directory, prefix=prefix, trust=trust, progress=progress
        )
    problems = [f"{imported.name}: {problem}" for imported in done for problem in imported.problems]
    lines = [_imported(imported) for imported in done] + [f"Problem: {problem}" for problem in problems]
    return Record(
        {"models": [asdict(imported) for imported in done]}, "\n".join(lines), failed=bool(problems)
    )


@models.command("sign")
@click.argument("model")
@_key
@click.option("--ask-password", is_flag=True, help="Ask for the password of the key.")
@user_option
@home_option
@reports
def sign(model: str, key: Path | None, ask_password: bool, email: str | None, home: Path | None) -> Record:
    """Sign a version with a private key of yours; the signature is stored beside it."""
    if key is None:
        raise click.UsageError("Name the private key to sign with: --key FILE")
    password = click.prompt("Password of the key", hide_input=True, err=True) if ask_password else None
    from ecluse import models as published

    with acting(home, email) as (runtime, user):
        row = published.resolve_changeable(runtime, user.id, model)
        published.sign(runtime, row, key, password)
    text = f"{row.name} {row.version} is signed. Check it: ecluse models verify {row.name}@{row.version}"
    return Record({"signed": f"{row.name}@{row.version}"}, f"{text} --signature --key PUBLIC")


def _row(version: ModelVersion, aliases: list[str]) -> dict[str, Any]:
    metrics = version.report.get("metrics") or version.details.get("metrics")
    metrics = metrics if isinstance(metrics, dict) else {}
    return {
        "name": version.name,
        "version": version.version,
        "aliases": ", ".join(aliases) or None,
        "state": _state(version.damaged_at, version.verified_at),
        "figures": _figures(metrics or version.details),
        "average_precision": metrics.get("average_precision"),
        "roc_auc": metrics.get("roc_auc"),
        "size_bytes": version.size_bytes,
        "created_at": version.created_at,
        "verified_at": version.verified_at,
        "damaged_at": version.damaged_at,
        "damage": version.damage,
        "url": version.url,
        "metadata": version.details,
    }


def _row_there(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a version of a server as `_row` does one of this machine."""
    known = with_dates(body)
    metrics = known["metrics"]
    return {
        "name": known["name"],
        "version": known["version"],
        "aliases": ", ".join(known["aliases"]) or None,
        "state": _state(known["damaged_at"], known["verified_at"]),
        "figures": _figures(metrics or known["metadata"]),
        "average_precision": metrics.get("average_precision"),
        "roc_auc": metrics.get("roc_auc"),
        **{
            name: known[name]
            for name in ("size_bytes", "created_at", "verified_at", "damaged_at", "damage", "url")
        },
        "metadata": known["metadata"],
    }


def _state(damaged_at: datetime | None, verified_at: datetime | None) -> str:
    """Say what the last verification found: damaged since a day, verified on one, or that there was none."""
    if damaged_at is not None:
        return f"DAMAGED since {damaged_at:%Y-%m-%d}"
    return f"verified {verified_at:%Y-%m-%d}" if verified_at is not None else "not verified"


def _figures(measured: Mapping[str, Any]) -> str | None:
    """Say the first of what was measured, in a few words; the rest is in `show` and in JSON."""
    numbers = [(k, v) for k, v in measured.items() if isinstance(v, int | float) and not isinstance(v, bool)]
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers[:FIGURES]) or None


def _with_aliases(runtime: Runtime, user: User, versions: list[ModelVersion]) -> list[dict[str, Any]]:
    """Describe versions by the names that the user has for them, with their aliases."""
    from ecluse import models as published

    pointed: dict[tuple[str, str, str], list[str]] = {}
    for owner in {version.user_id for version in versions}:
        for alias in published.aliases(runtime, owner):
            pointed.setdefault((owner, alias.name, alias.version), []).append(alias.alias)
    return [
        _row(version, pointed.get((version.user_id, version.name, version.version), []))
        | {"name": published.address_of(runtime, user.id, version)}
        for version in versions
    ]


def _meta(text: str) -> tuple[str, Any]:
    """KEY=VALUE; a value that reads as JSON, such as a number, is that, and any other a text."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise click.UsageError(f"{text!r} is no metadata. Write KEY=VALUE: --meta val_accuracy=0.93")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
    except RecursionError as error:
        raise InvalidInput(
            f"The value of {key[:200]!r} is nested too deep to be read. Use fewer levels."
        ) from error


def _age(text: str) -> timedelta:
    match = re.fullmatch(r"(\d+)([mhd])", text)
    if match is None:
        raise InvalidInput(f"{text!r} is no age. Write minutes, hours or days: 90m, 24h, 7d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _imported(imported: published.Imported) -> str:
    if imported.outcome == "failed":
        return f"{imported.name}: not imported"
    line = f"{imported.name}@{imported.version}: {imported.outcome}, {imported.files} files, {imported.bytes} bytes"
    if imported.converted:
        line += f"; as .skops too: {', '.join(imported.converted)}"
    if imported.pickles:
        line += f"; stored unread: {', '.join(imported.pickles)}"
    return line


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
