"""List, measure, copy, remove, sign, price and verify what is stored.

These commands act with the keys of the settings, for whoever holds the machine: they know no owner.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import click

from ecluse import checkpoints
from ecluse.catalog import files as file_rows
from ecluse.catalog import users as user_rows
from ecluse.catalog.tables import File
from ecluse.cli import copies
from ecluse.cli.addresses import Address, open_stores, read_address
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, Rows, counted, progress, reports, say, transfer
from ecluse.cli.session import home_option, opened
from ecluse.errors import (
    InvalidInput,
    ManifestInvalid,
    ObjectExists,
    ObjectNotFound,
    VersionNotFound,
)
from ecluse.registry import CLAIM, MANIFEST, SIGNATURE
from ecluse.runtime import Runtime
from ecluse.settings import AREAS, Area
from ecluse.settings.schemes import address_forms
from ecluse.storage import LONG_PATIENCE, Digest, ObjectInfo, is_within
from ecluse.storage.prices import load_prices, monthly_costs
from ecluse.storage.side_by_side import side_by_side

Tick = copies.Tick
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
#: What stands before a user's id in a key.
_OWNED: Final = ("user_data", "user_models")
#: Rows named when something is refused because of them.
ROWS_NAMED: Final = 5


class Duration(click.ParamType[timedelta]):
    """`30s`, `15m`, `2h` or `7d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"(\d{1,6})([smhd])", str(value))
        if not match:
            self.fail(f"{value!r} is no time such as 30s, 15m, 2h or 7d", param, ctx)
        return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


class Size(click.ParamType[int]):
    """A number of bytes, or `500MB`, `1.5TB`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"(\d{1,18}(?:\.\d{1,9})?)\s*(B|kB|MB|GB|TB|PB)?", str(value))
        if not match:
            self.fail(f"{value!r} is no size such as 1000000, 500MB or 1.5TB", param, ctx)
        return round(float(match[1]) * int(1000 ** _UNITS.index(match[2] or "B")))


_HELP: Final = f"""List, measure, copy, remove, sign, price and verify what is stored.

An ADDRESS is an area and a key, such as models:user_models/… (areas: {", ".join(AREAS)}), or a full address of one
of these forms: {address_forms()}. These commands act with the keys of the settings, for whoever holds the machine:
whose objects they are is not asked.
"""


@click.group(cls=Group, help=_HELP)
def storage() -> None: ...


@storage.command("ls")
@click.argument("address", required=False)
@click.option("--long", "-l", "is_long", is_flag=True, help="Size and time beside each.")
@click.option("--suffix", default="", help="Only keys that end so, such as .csv")
@click.option("--limit", default=1000, show_default=True, type=click.IntRange(1, 1_000_000))
@click.option("--after", help="Go on behind this key, where the last list ended.")
@home_option
@reports
def list_objects(
    address: str | None, is_long: bool, suffix: str, limit: int, after: str | None, home: Path | None
) -> Record | Rows:
    """List the objects at ADDRESS and below; without one, the areas and their stores."""
    with open_stores(home) as stores:
        if address is None:
            areas = [{"area": area, "url": store.url} for area, store in stores.areas().items()]
            return Rows(areas, ("area", "url"))
        place = read_address(address, stores)
        page = place.store.list_page(place.key, suffix=suffix, after=after, limit=limit)
        items: list[ObjectInfo] = list(page.items)
        if not items and after is None:
            items = place.objects(suffix)
        if page.next:
            say(f"There is more: ecluse storage ls {place} --after {page.next}")
    lines = [_line(place, info, is_long=is_long) for info in items]
    objects = [{"address": place.name_of(info.key)} | asdict(info) for info in items]
    return Record({"objects": objects, "next": page.next}, "\n".join(lines))


@storage.command("du")
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
@click.option("--depth", default=1, show_default=True, type=click.IntRange(0, 20), help="Levels of folders.")
@click.option("--by-user", is_flag=True, help="By owner instead, with the names of the catalog.")
@home_option
@reports
def usage(addresses: tuple[str, ...], depth: int, by_user: bool, home: Path | None) -> Rows:
    """Bytes and objects below each ADDRESS (default: every store), by folder or by user; the largest first."""
    with opened(home, patience=LONG_PATIENCE) as runtime:
        with runtime.catalog.read() as transaction:
            emails = {user.id: user.email for user in user_rows.list_users(transaction)}
        sizes: Counter[str] = Counter()
        counts: Counter[str] = Counter()
        owners: dict[str, str] = {}
        for place in _places(addresses, runtime):
            for info in place.store.list(place.key):
                owner = _owner(info.key, emails)
                group = (owner or "–") if by_user else _folder(place, info.key, depth)
                sizes[group] += info.size
                counts[group] += 1
                if owner and not by_user and set(group.split("/")) & emails.keys():
                    owners[group] = owner
    rows = [
        {
            "user" if by_user else "path": group,
            "objects": counts[group],
            "bytes": size,
            "size": size_text(size),
            **({} if by_user else {"user": owners.get(group)}),
        }
        for group, size in sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0]))
    ]
    total = sum(sizes.values())
    say(f"{sum(counts.values())} objects, {size_text(total)} ({total} bytes) in all")
    named = not by_user and any(row["user"] for row in rows)
    columns = (("user",) if by_user else ("path",)) + ("objects", "size") + (("user",) if named else ())
    return Rows(rows, columns, "Nothing is stored there.")


@storage.command("cp")
@click.argument("source")
@click.argument("destination")
@click.option("--force", is_flag=True, help="Replace what is there with another content.")
@home_option
@reports
def copy(source: str, destination: str, force: bool, home: Path | None) -> Record:
    """Copy a file or a tree up, down, or from store to store; either side may be a local path.

    A file goes to DESTINATION, or into it where that is a folder or ends in a slash; the files of a folder or a
    prefix go below DESTINATION. Folders are made. What is there with the same content is not copied; where another
    content is, nothing is copied without --force. Every copy is read back and compared. Stopped on the way, the same
    command goes on where it was.
    """
    with open_stores(home) as stores:
        pairs = copies.pairs(source, destination, stores)
        total = sum(pair.size for pair in pairs)
        with transfer("Comparing what is there", 2 * total) as tick:
            compared = side_by_side(copies.compare, pairs, tick)
        if not force:
            copies.check_free(compared)
        moved = 2 * sum(each.pair.size for each in compared if each.state != "same")
        with transfer("Copying, and reading back", moved) as tick:
            done = copies.copy_all(compared, tick)
    made = [each for each in done if each.state != "same"]
    same = len(done) - len(made)
    size = sum(each.size for each in made)
    text = f"{len(made)} copied and verified, {size_text(size)}." + (
        f" {same} were there already." if same else ""
    )
    return Record(
        {"copied": len(made), "bytes": size, "same": same, "files": [asdict(each) for each in done]}, text
    )


@storage.command("rm")
@click.argument("address")
@click.option("--recursive", "-r", is_flag=True, help="Everything below ADDRESS.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--force", is_flag=True, help="Remove also what rows of the catalog point at.")
@home_option
@reports
def remove(address: str, recursive: bool, yes: bool, force: bool, home: Path | None) -> Record:
    """Remove an object, or with --recursive everything below an address.

    What a row of the catalog points at is refused: a table, a result or a model version is deleted on its page or
    by its own command, which removes the row as well.
    """
    with opened(home, patience=LONG_PATIENCE) as runtime:
        runtime.catalog.expect_open()
        place = read_address(address, runtime.stores)
        whole = not place.is_folder and place.store.exists(place.key)
        if not whole and not recursive:
            place.objects()
            raise InvalidInput(f"{place} is no object but holds some. Remove them all with --recursive.")
        doomed = list(place.store.list(place.key)) if recursive else []
        doomed += [place.store.head(place.key)] if whole else []
        if not doomed:
            raise ObjectNotFound(f"Nothing is stored at {place}. See: ecluse storage ls")
        if not force:
            _refuse_pointed_at(runtime, place)
        size = sum(info.size for info in doomed)
        if not yes:
            what = f"{len(doomed)} objects below {place}" if len(doomed) > 1 else doomed[0].key
            click.confirm(f"Remove {what} ({size_text(size)}) from {place.store.url}?", abort=True, err=True)
        # Manifests first: a model version without one does not exist, and none is read while it goes.
        for manifests in (True, False):
            keys = [info.key for info in doomed if info.key.endswith(f"/{MANIFEST}") is manifests]
            side_by_side(lambda key, _: place.store.delete(key), keys)
    return Record({"removed": len(doomed), "bytes": size}, f"{len(doomed)} removed, {size_text(size)}.")


@storage.command("sign")
@click.argument("address")
@click.option("--method", type=click.Choice(["GET", "PUT"]), default="GET", show_default=True)
@click.option(
    "--expires", type=Duration(), default="15m", show_default=True, help="30s, 15m, 2h; 7d at most."
)
@home_option
@reports
def sign(address: str, method: Literal["GET", "PUT"], expires: timedelta, home: Path | None) -> Record:
    """Print a web address by which anyone may read (GET) or write (PUT) one object until it expires."""
    with open_stores(home) as stores:
        place = read_address(address, stores, writing=method == "PUT")
        if place.is_folder:
            raise InvalidInput(f"{place} is no object. Sign one: ecluse storage ls {place}")
        if method == "GET":
            place.store.head(place.key)
        url = place.store.sign(place.key, method, expires)
    ends = datetime.now(UTC) + expires
    say(f"Valid until {ends.astimezone():%Y-%m-%d %H:%M:%S}, for whoever has it.")
    return Record({"url": url, "method": method, "expires_at": ends}, url)


@storage.command("estimate")
@click.option(
    "--bytes", "size", type=Size(), help="Stored all month, such as 1.8GB. Default: what is stored now."
)
@click.option("--objects", type=click.IntRange(0), help="In how many objects. Default: as now, or 1.")
@click.option("--reads", type=click.IntRange(0), help="Reads a month. Default: ten for each object.")
@click.option("--writes", type=click.IntRange(0), help="Writes a month. Default: one for each object.")
@click.option("--egress", type=Size(), help="Sent out a month. Default: everything once.")
@home_option
@reports
def estimate(
    size: int | None,
    objects: int | None,
    reads: int | None,
    writes: int | None,
    egress: int | None,
    home: Path | None,
) -> Rows:
    """Estimate what a month costs at each provider, from dated list prices; the cheapest first."""
    if size is None:
        with open_stores(home) as stores:
            sizes = [info.size for store in stores.distinct() for info in store.list()]
        size, objects = sum(sizes), objects if objects is not None else len(sizes)
    objects = 1 if objects is None else objects
    reads = 10 * objects if reads is None else reads
    writes = objects if writes is None else writes
    egress = size if egress is None else egress
    prices = load_prices()
    costs = monthly_costs(size, objects=objects, gets=reads, puts=writes, egress_bytes=egress)
    say(
        f"Estimate from list prices of {prices.date}, in {prices.currency}: {size_text(size)} in "
        f"{counted(objects, 'object')}, {counted(reads, 'read')} and {counted(writes, 'write')} a month, "
        f"{size_text(egress)} sent out. {prices.about}"
    )
    parts = ("monthly", "storage", "requests", "egress", "retrieval")
    rows = [
        {"where": cost.offer.title, "kind": cost.kind}
        | {part: round(getattr(cost, part), 4) for part in parts}
        | {"currency": cost.currency, "minimum_days": cost.offer.minimum_days}
        | {"note": cost.note, "source": cost.offer.source, "source_url": cost.offer.source_url}
        for cost in costs
    ]
    decimals = 2 if costs and costs[-1].monthly >= 1 else 4
    return Rows(rows, ("where", "kind", *parts, "currency", "note"), decimals=dict.fromkeys(parts, decimals))


@storage.command("verify")
@click.option("--area", type=click.Choice(AREAS), help="Only the store of this area.")
@home_option
@reports
def verify(area: Area | None, home: Path | None) -> Record:
    """Read every object that the catalog knows and compare it with its digest; exit 1 if anything is amiss.

    Told are objects that are missing, that differ, and extra ones that no row knows: left behind by something that
    was killed, put there by hand, or being written right now. Raw data of a city is not in the catalog and is left
    out.
    """
    with opened(home, patience=LONG_PATIENCE) as runtime:
        with runtime.catalog.read() as transaction:
            files = [file for file in file_rows.files(transaction) if file.owned]
        if area:
            root = f"{runtime.stores.area(area).url.rstrip('/')}/"
            files = [file for file in files if file.url.startswith(root)]
        check = _check(runtime, files)
        stores = [runtime.stores.area(area)] if area else runtime.stores.distinct()
        kept = [runtime.data.url_of(prefix) for prefix in checkpoints.known_prefixes(runtime)]
        kept += [file.url for file in files if file.form == "folder"]
        extra = [
            store.url_of(info.key)
            for store in stores
            for info in store.list()
            if not _is_known(store.url_of(info.key), check.digests, runtime)
            and not any(is_within(store.url_of(info.key), folder) for folder in kept)
        ]
    amiss = {
        "missing": sorted(check.missing),
        "different": sorted(check.different),
        "extra": sorted(extra),
    }
    fields = {"objects": len(check.digests), "bytes": check.size} | amiss
    lines = [f"{name:<10} {url}" for name, urls in amiss.items() for url in urls]
    counts = ", ".join(f"{len(urls)} {name}" for name, urls in amiss.items())
    lines.append(
        f"{len(check.digests)} objects known to the catalog, {size_text(check.size)} read: {counts}."
    )
    return Record(fields, "\n".join(lines), failed=any(amiss.values()))


@dataclass
class _Check:
    """What verifying found: the address of every known object with its digest, and what is amiss."""

    digests: dict[str, str | None]
    missing: set[str]
    different: set[str]
    size: int = 0


def _check(runtime: Runtime, files: list[File]) -> _Check:
    check = _Check({}, set(), set())
    versions = [file for file in files if file.is_version]
    with progress("Reading manifests") as report:
        for number, file in enumerate(versions):
            report(number / len(versions), "")
            _read_manifest(runtime, file, check)
    check.digests |= {file.url: file.sha256 for file in files if file.form == "object"}
    readable = [url for url in check.digests if url not in check.missing | check.different]
    with transfer("Reading every object", sum(file.size_bytes or 0 for file in files)) as tick:
        for url, size in zip(
            readable, side_by_side(lambda url, done: _read(runtime, url, done), readable, tick), strict=True
        ):
            if size is None:
                check.missing.add(url)
            else:
                check.size += size[0]
                if size[1] != check.digests[url]:
                    check.different.add(url)
    return check


def _read_manifest(runtime: Runtime, file: File, check: _Check) -> None:
    """Take in the files of a model version."""
    url = file.url.rstrip("/")
    _, name, version = url.rsplit("/", 2)
    manifest_url = f"{url}/{MANIFEST}"
    try:
        manifest = runtime.registry_at(url).manifest(name, version)
    except VersionNotFound:
        check.digests[manifest_url] = file.sha256
        check.missing.add(manifest_url)
        return
    except ManifestInvalid:
        check.digests[manifest_url] = file.sha256
        check.different.add(manifest_url)
        return
    check.digests[manifest_url] = file.sha256 or manifest.digest
    check.digests |= {f"{url}/{file.path}": file.sha256 for file in manifest.files}


def _read(runtime: Runtime, url: str, tick: Tick) -> tuple[int, str] | None:
    """Size and SHA-256 of an object; None where it is missing."""
    located = runtime.stores.locate(url)
    digest = Digest()
    try:
        for chunk in digest.through(located.store.stream(located.key)):
            tick(len(chunk))
    except ObjectNotFound:
        return None
    stored = digest.stored(located.key)
    return stored.size, stored.sha256


def _is_known(url: str, digests: Mapping[str, str | None], runtime: Runtime) -> bool:
    """Say whether a row knows the object, or it is the registry's own: a name that stays taken, a signature."""
    folder, _, name = url.rpartition("/")
    return (
        url in digests
        or name == CLAIM
        or (name == SIGNATURE and f"{folder}/{MANIFEST}" in digests)
        or is_within(url, runtime.stores.area("raw").url.rstrip("/"))
    )


def _refuse_pointed_at(runtime: Runtime, place: Address) -> None:
    with runtime.catalog.read() as transaction:
        rows = file_rows.files_at(transaction, place.url, limit=ROWS_NAMED)
    if rows:
        named = ", ".join(row.row for row in rows)
        raise ObjectExists(
            f"Rows of the catalog point at {place}: {named}. Delete the table or the model version itself, or remove "
            "the objects under the row with --force."
        )


def _places(addresses: tuple[str, ...], runtime: Runtime) -> Iterator[Address]:
    if addresses:
        yield from (read_address(text, runtime.stores) for text in addresses)
    else:
        yield from (Address(store, "", None, is_folder=True) for store in runtime.stores.distinct())


def _folder(place: Address, key: str, depth: int) -> str:
    above = place.key.count("/") + 1 if place.key else 0
    folders = key.split("/")[:-1]
    return place.name_of("/".join(folders[: above + depth]))


def _owner(key: str, emails: Mapping[str, str]) -> str | None:
    """Return the e-mail address of whom a key belongs to; the id where the account is gone."""
    first, _, rest = key.partition("/")
    owner = rest.partition("/")[0]
    return emails.get(owner, owner) if first in _OWNED and owner else None


def _line(place: Address, info: ObjectInfo, *, is_long: bool) -> str:
    shown = place.name_of(info.key)
    if not is_long:
        return shown
    return f"{info.size:>15}  {info.last_modified.astimezone():%Y-%m-%d %H:%M:%S}  {shown}"


def size_text(size: int) -> str:
    """Write a size in decimal units: `1.8 GB`."""
    power = min(len(_UNITS) - 1, max(0, (len(str(size)) - 1) // 3))
    return f"{size} B" if power == 0 else f"{size / 1000**power:.1f} {_UNITS[power]}"
