"""Read labels that people give: in tables, by words, row by row."""

from __future__ import annotations

import math
from typing import Any

from ecluse.apps.fraud.tables.meaning import answers, plain
from ecluse.errors import InvalidInput
from ecluse.sentences import _


def read_labels(table: Any, most: int) -> dict[int, int]:
    """{row from 1: 0 or 1} of a table with the columns row and label; rows without a label are left out.

    Raises InvalidInput for other columns, other values, two labels of one row that differ, or more than `most` labels.
    """
    if not {"row", "label"} <= set(table.columns):
        raise InvalidInput(
            _(
                "%(file)s needs the columns row and label. Its columns: %(columns)s.",
                file=table.filename,
                columns=", ".join(table.columns[:30]),
            )
        )
    labels: dict[int, int] = {}
    given = 0
    for batch in table.batches():
        for row, label in batch.select("row", "label").iter_rows():
            if label is None or str(label).strip() == "":
                continue
            given += 1
            if given <= most:
                add_label(labels, _row(row), label_of(str(label)))
    if given > most:
        raise InvalidInput(
            _(
                "%(count)s labels are more than %(most)s, which are kept of a table. Add them as a "
                "column and train a model.",
                count=given,
                most=most,
            )
        )
    return labels


def add_label(labels: dict[int, int | None] | dict[int, int], row: int, label: Any) -> None:
    """Note what is said of a row. Raises InvalidInput where something else was said of it before."""
    if labels.setdefault(row, label) != label:
        raise InvalidInput(
            _("Row %(row)s has two labels that contradict each other. Leave one of them.", row=row)
        )


def label_of(text: str) -> int:
    """Return what a word says of a row: 1 fraud, 0 legitimate. Raises InvalidInput for any other word."""
    # F and L are the keys that answer questions; elsewhere an F alone is short for false.
    word = {"f": "fraud", "l": "legitimate", "1.0": "1", "0.0": "0"}.get(plain(text), text)
    yes, no = answers([word])
    if yes or no:
        return 1 if yes else 0
    raise InvalidInput(_('"%(value)s" is no label. Use 1 or fraud, 0 or legitimate.', value=text))


def _row(value: Any) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if not math.isfinite(number) or number < 1 or number != int(number):
        raise InvalidInput(_('"%(value)s" is no number of a row; rows count from 1.', value=value))
    return int(number)
