"""Search model versions by conditions; what these are: `ecluse.conditions`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from ecluse.catalog import aliases as alias_rows
from ecluse.catalog import models as rows
from ecluse.catalog.tables import ModelVersion
from ecluse.conditions import CONDITIONS, FIELDS, Query, values_of
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import _


def search(
    runtime: Runtime, user_id: str, conditions: Sequence[Query] = (), name: str | None = None
) -> list[ModelVersion]:
    """Return the user's versions, of one model or of all, that fulfil every condition; newest first.

    Raises:
        ModelNotFound: the user has no model of this name.
        InvalidInput: there are more than `CONDITIONS`.
    """
    count = sum(1 for query in conditions for _each in query.conditions())
    if count > CONDITIONS:
        raise InvalidInput(
            _(
                "%(count)s conditions are too many: a search takes at most %(number)s. Leave some out.",
                count=count,
                number=CONDITIONS,
            )
        )
    pointing: dict[tuple[str, str], list[str]] = defaultdict(list)
    with runtime.catalog.read() as transaction:
        if name is not None:
            rows.count_versions(transaction, user_id, name)
        versions = rows.list_all(transaction, user_id, name)
        for alias in alias_rows.list_aliases(transaction, user_id, name):
            pointing[alias.name, alias.version].append(alias.alias)
    return [
        row
        for row in versions
        if all(query.holds(row, pointing.get((row.name, row.version), ())) for query in conditions)
    ]


def unknown_keys(runtime: Runtime, user_id: str, conditions: Sequence[Query]) -> list[str]:
    """Return the keys asked for that no version of the user has: most often misspelt."""
    keys = dict.fromkeys(condition.key for query in conditions for condition in query.conditions())
    with runtime.catalog.read() as transaction:
        versions = rows.list_all(transaction, user_id)
    return [
        key
        for key in keys
        if key not in FIELDS and not any(True for row in versions for _each in values_of(row, key))
    ]
