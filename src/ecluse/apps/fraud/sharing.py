"""Say how tables and scored tables are shared.

Whoever reads a scored table sees its rows, their scores and reasons, and downloads them. Whoever reads a table sees
what was found in it, downloads it, and scores it; what its owner made of it, and said of its rows, is the owner's.
"""

from __future__ import annotations

from typing import Final

from ecluse.apps.fraud.rows import datasets
from ecluse.apps.fraud.rows.predictions import no_prediction
from ecluse.apps.fraud.rows.tables import Dataset, Prediction
from ecluse.catalog import Transaction
from ecluse.jobs import title_of
from ecluse.sentences import N_, _
from ecluse.shares import Kind


def _table_called(transaction: Transaction, row: Dataset) -> str:
    return row.filename


def _called(transaction: Transaction, row: Prediction) -> str:
    names = datasets.filenames(transaction, row.user_id, [row.dataset_id])
    return title_of(row.model_name, names.get(row.dataset_id or "", _("a removed table")))


RESULT_KIND: Final = Kind(
    row=Prediction,
    called=_called,
    missing=no_prediction,
    title=N_("Scored tables"),
    opened=N_("A scored table is shared with you"),
    shelf="/fraud/p",
    page="/fraud/p/{id}",
)
TABLE_KIND: Final = Kind(
    row=Dataset,
    called=_table_called,
    missing=datasets.no_dataset,
    title=N_("Fraud"),
    opened=N_("A table is shared with you"),
    shelf="/fraud",
    page="/fraud/d/{id}",
)
