"""Show, verify and clear the local cache of what was downloaded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ecluse.cli.groups import Group
from ecluse.cli.output import Record, progress, reports
from ecluse.cli.session import home_option
from ecluse.settings import Settings
from ecluse.storage import Cache, Entry


@click.group(cls=Group)
def cache() -> None:
    """Show, verify and clear the local cache of what was downloaded."""


@cache.command("show")
@home_option
@reports
def show(home: Path | None) -> Record:
    """List what is kept, least recently used first, and the bound. What is in use is not evicted."""
    folder, kept = _opened(home)
    entries, used = kept.entries(), kept.used_bytes
    fields = {
        "folder": folder,
        "used_bytes": used,
        "max_bytes": kept.max_bytes,
        "entries": [asdict(entry) for entry in entries],
    }
    summary = f"{len(entries)} objects, {used} of at most {kept.max_bytes} bytes in {folder}"
    return Record(fields, "\n".join([*map(_line, entries), summary]))


@cache.command("verify")
@home_option
@reports
def verify(home: Path | None) -> Record:
    """Hash every object and remove what is damaged; exit 1 names what was. It is downloaded again when needed."""
    _, kept = _opened(home)
    total, done = max(kept.used_bytes, 1), 0
    with progress("Hashing the cache") as report:

        def take(size: int) -> None:
            nonlocal done
            done += size
            report(min(done / total, 1.0), "")

        verification = kept.verify(take)
    lines = [f"{sha256} was damaged and is removed." for sha256 in verification.corrupt]
    lines.append(f"{verification.intact} objects, {verification.size} bytes, all as downloaded.")
    fields = {
        "intact": verification.intact,
        "bytes": verification.size,
        "corrupt": list(verification.corrupt),
    }
    return Record(fields, "\n".join(lines), failed=bool(verification.corrupt))


@cache.command("clear")
@home_option
@reports
def clear(home: Path | None) -> Record:
    """Remove everything that is not in use. It is downloaded again when needed."""
    _, kept = _opened(home)
    cleared = kept.clear()
    text = f"{cleared.removed} objects removed, {cleared.size} bytes."
    if cleared.pinned:
        text += f" In use and kept: {cleared.pinned}."
    return Record({"removed": cleared.removed, "bytes": cleared.size, "pinned": cleared.pinned}, text)


def _opened(home: Path | None) -> tuple[Path, Cache]:
    """Open the cache alone: it can be looked after while the store or the catalog is away."""
    settings = Settings.from_environment(home=home)
    folder = settings.home / "cache"
    return folder, Cache(folder, settings.cache_max_bytes)


def _line(entry: Entry) -> str:
    used = entry.last_used.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    return f"{entry.sha256[:12]}  {entry.size:>12}  {used}{'  in use' if entry.pinned else ''}"
