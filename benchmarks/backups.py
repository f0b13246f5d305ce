"""Back up and restore a home of many rows and objects, encrypted and not, on SQLite and PostgreSQL.

    python -m benchmarks.backups [--database postgresql|sqlite] [--scale 1.0] [--objects 2000] [--bytes 100000]

The rows are those of `benchmarks.lists`; each object is a table of a person, of random bytes. Printed are the seconds
of a first backup with all objects, of a second one, which writes what is new (nothing), of reading it again, and of
restoring it into an empty place of the same kind; rows and megabytes a second; and the memory at most, in MB.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from benchmarks.lists import Sizes, database, fill
from ecluse import backups
from ecluse.backups import Keys
from ecluse.catalog.tables import UserTable
from ecluse.runtime import Runtime
from ecluse.settings import Settings

T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--database", choices=("postgresql", "sqlite"), default="postgresql")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--objects", type=int, default=2_000)
    parser.add_argument("--bytes", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, database(arguments.database) as environ:
        folder = Path(name)
        settings = Settings.from_environment(environ, home=folder / "home")
        with Runtime.open(settings) as runtime:
            reader = runtime.accounts.add("reader@example.org").id
            fill(runtime, reader, Sizes(arguments.scale))
            _store(runtime, reader, arguments.objects, arguments.bytes)
            public = backups.new_identity(folder / "identity")
            for title, keys in (
                ("plain", Keys()),
                ("encrypted", Keys(recipient=public, identity=folder / "identity")),
            ):
                print(f"{arguments.database}, {title}")
                _measure(runtime, folder / title, keys, arguments.database)


def _store(runtime: Runtime, reader: str, number: int, size: int) -> None:
    for at in range(number):
        key = f"user_data/{reader}/tables/big{at}/table.parquet"
        stored = runtime.data.put(key, os.urandom(size))
        with runtime.catalog.write() as transaction:
            values = {"url": runtime.data.url_of(key), "sha256": stored.sha256, "size_bytes": stored.size}
            transaction.add(UserTable(id=f"big{at}", user_id=reader, name="t", rows=1, columns=[], **values))


def _measure(runtime: Runtime, shelf: Path, keys: Keys, kind: str) -> None:
    with backups.open_place(runtime, shelf.as_uri(), keys, make=True) as place:
        made = _timed("first", lambda: backups.create(runtime, place, contents=True))
        _timed("second", lambda: backups.create(runtime, place, contents=True))
        verified = _timed("read again", lambda: backups.verify(place, place.open("latest")))
        assert verified.passed, verified.findings
    with database(kind) as environ:
        settings = Settings.from_environment(environ, home=shelf.with_name(f"{shelf.name}-restored"))
        with (
            Runtime.open(settings, moves=True) as there,
            backups.open_place(there, shelf.as_uri(), keys) as place,
        ):
            outside = ["memory://"]  # where the rows that are filled in point
            taken = place.open("latest")
            _timed("restored", lambda: backups.restore(there, place, taken, outside=outside))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rows = sum(made.rows.values())
    print(
        f"  {rows:,} rows, {made.objects:,} objects of {made.object_bytes / 1e6:,.0f} MB; {peak:,.0f} MB at most"
    )


def _timed(title: str, act: Callable[[], T]) -> T:
    began = time.perf_counter()
    result = act()
    print(f"  {title:12}{time.perf_counter() - began:8.1f} s", flush=True)
    return result


if __name__ == "__main__":
    main()
