"""Show what the first page says of the application: a card, and the newest models and scores."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Final

from ecluse.apps.fraud.rows import datasets, predictions
from ecluse.apps.fraud.rows.tables import Prediction
from ecluse.apps.fraud.sample import FRAUD_SHARE, write_sample
from ecluse.catalog import Transaction
from ecluse.catalog.tables import ModelVersion, User
from ecluse.web.i18n import Words
from ecluse.web.pages.home import Result

#: How many rows the sample's two tables have: what `write_sample` writes unless told otherwise.
SAMPLE: Final = {
    name: int(inspect.signature(write_sample).parameters[name].default) for name in ("rows", "score_rows")
}


def card(transaction: Transaction, user: User) -> dict[str, Any]:
    """Return what `_home.html` needs."""
    return {
        **SAMPLE,
        "fraud_share": FRAUD_SHARE,
        "datasets": datasets.count_datasets(transaction, user.id),
    }


def latest(
    transaction: Transaction, user_id: str, versions: Sequence[ModelVersion], limit: int, say: Words
) -> list[Result]:
    """List these models and the newest scored tables."""
    scored = predictions.list_predictions(transaction, user_id, status="done", limit=limit)
    sources = [row.dataset_id for row in versions] + [row.dataset_id for row in scored]
    names = datasets.filenames(transaction, user_id, sources)
    return [_model(row, say, names) for row in versions] + [_scores(row, say, names) for row in scored]


def _model(row: ModelVersion, say: Words, names: dict[str, str]) -> Result:
    precision = (row.report.get("metrics") or {}).get("average_precision")
    return Result(
        href=f"/models/{row.name}/{row.version}",
        title=say._("Model %(name)s", name=row.name),
        source=names.get(row.dataset_id or "", say._("a removed table")),
        figure=say._("average precision %(value)s", value=say.num(precision, 2)),
        at=row.created_at,
    )


def _scores(row: Prediction, say: Words, names: dict[str, str]) -> Result:
    return Result(
        href=f"/fraud/p/{row.id}",
        title=say._("Scores of %(file)s", file=names.get(row.dataset_id or "", say._("a removed table"))),
        source=row.model_name,
        figure=say.ngettext("%(count)s flagged", "%(count)s flagged", row.flagged or 0),
        at=row.finished_at or row.created_at,
    )
