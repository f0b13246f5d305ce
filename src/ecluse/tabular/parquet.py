"""Open a Parquet file, once it is known not to unpack to more than a reader can bear."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import polars as pl

from ecluse.errors import UnreadableTable
from ecluse.sentences import _, num
from ecluse.tabular.layout import Layout
from ecluse.tabular.source import (
    MAX_RATIO,
    Compression,
    Scratch,
    Source,
    TableFormat,
    damaged,
    refuse_width,
)

#: Bytes of all texts of a file, unless it is nearly as large itself.
MAX_TEXT: Final = 1 << 30


def open_parquet(
    path: Path, shown: str, scratch: Scratch, compression: Compression, layout: Layout
) -> Source:
    """Open a Parquet file, which says its columns and types itself.

    Raises UnreadableTable when it is damaged, has no rows or no plain column, or unpacks to too much text.
    """
    try:
        schema = pl.scan_parquet(path, glob=False).collect_schema()
        rows = pl.scan_parquet(path, glob=False).select(pl.len()).collect().item()
    except pl.exceptions.PolarsError as error:
        raise damaged(shown, error) from error
    except OSError as error:
        raise UnreadableTable(
            _("%(file)s is no complete Parquet file. Export it again.", file=shown)
        ) from error
    refuse_width(len(schema), shown)
    if rows == 0:
        raise UnreadableTable(
            _("%(file)s has a header and no rows. Add rows, or pick another file.", file=shown)
        )
    flat = tuple(name for name, dtype in schema.items() if not dtype.is_nested())
    notes = tuple(
        _("Column %(name)s holds lists or records and is left out.", name=repr(name))
        for name in schema
        if name not in flat
    )
    if not flat:
        raise UnreadableTable(
            _("%(file)s has no plain column, only lists or records. Flatten it first.", file=shown)
        )
    _refuse_parquet_bomb(path, [name for name in flat if schema[name] in (pl.String, pl.Binary)], shown)
    return Source(path, TableFormat("parquet", compression=compression), flat, notes)


def _refuse_parquet_bomb(path: Path, names: list[str], shown: str) -> None:
    """Refuse a table too large in memory. A value stored once may stand in every row: count the bytes of all texts
    before they are laid out.
    """
    lengths = [pl.col(name).cast(pl.Binary).bin.size().cast(pl.UInt64).sum() for name in names]
    if not lengths:
        return
    unpacked = int(
        pl.scan_parquet(path, glob=False)
        .select(pl.sum_horizontal(lengths))
        .collect(engine="streaming")
        .item()
    )
    if unpacked > MAX_TEXT and unpacked > MAX_RATIO * path.stat().st_size:
        raise UnreadableTable(
            _(
                "%(file)s unpacks to %(size)s of text, more than this reads. Leave the long texts out.",
                file=shown,
                size=_("%(count)s GB", count=num(unpacked / 1e9, ".1f")),
            )
        )
