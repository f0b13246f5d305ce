"""Show what the first page says of the application: a card, and the newest classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ecluse.apps.plants import rows
from ecluse.apps.plants.report import read_classifier_report
from ecluse.catalog import Transaction
from ecluse.catalog.tables import ModelVersion, User
from ecluse.web.i18n import Words
from ecluse.web.pages.home import Result


def card(transaction: Transaction, user: User) -> dict[str, Any]:
    """Gather what `_home.html` needs."""
    return {"image_sets": rows.count_sets(transaction, user.id)}


def latest(
    transaction: Transaction, user_id: str, versions: Sequence[ModelVersion], limit: int, say: Words
) -> list[Result]:
    """List these classifiers."""
    return [_model(row, say) for row in versions]


def _model(row: ModelVersion, say: Words) -> Result:
    accuracy = read_classifier_report(row.report).metrics.get("accuracy")
    return Result(
        href=f"/models/{row.name}/{row.version}",
        title=say._("Model %(name)s", name=row.name),
        source=say._("images"),
        figure=say._("accuracy %(value)s", value=say.percent(accuracy, 0)),
        at=row.created_at,
    )
