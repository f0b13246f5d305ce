"""Open the documents of any database: SQL, MongoDB or DynamoDB, by the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Final

from ecluse.documents.backend import Backend
from ecluse.documents.store import Documents
from ecluse.errors import SettingsError
from ecluse.limits import WORKING, Limits
from ecluse.sentences import _
from ecluse.settings import DatabaseType, DocumentsSettings


@dataclass(frozen=True)
class _Kind:
    """A database: the package it needs, and what opens it. The package is imported when it is opened."""

    package: str
    extra: str | None
    open: Callable[[DocumentsSettings, Limits], Backend]


def open_documents(
    settings: DocumentsSettings, expect_open: Callable[[], None] = lambda: None, limits: Limits = WORKING
) -> Documents:
    """Return the documents that the settings choose; nothing is asked of the database yet.

    `expect_open` is called before each change, and raises where nothing may be changed. `limits`: how long an answer
    may take.

    Raises:
        SettingsError: the package for this database is not installed.
    """
    kind = BACKENDS[settings.database]
    if find_spec(kind.package) is None:
        raise SettingsError(
            _(
                "Documents in %(value)s need %(word)s, which is not installed. Install it: pip "
                "install 'ecluse[%(name)s]'",
                value=settings.place,
                word=kind.package,
                name=kind.extra,
            )
        )
    return Documents(settings.place, partial(kind.open, settings, limits), expect_open)


def _sql(settings: DocumentsSettings, limits: Limits) -> Backend:
    from ecluse.documents.sql import SqlDocuments

    return SqlDocuments(settings.sql_url, limits)


def _mongodb(settings: DocumentsSettings, limits: Limits) -> Backend:
    from ecluse.documents.mongodb import MongoDocuments

    return MongoDocuments(settings.mongodb, limits)


def _dynamodb(settings: DocumentsSettings, limits: Limits) -> Backend:
    from ecluse.documents.dynamodb import DynamoDocuments

    return DynamoDocuments(settings.dynamodb, limits)


BACKENDS: Final[dict[DatabaseType, _Kind]] = {
    "sql": _Kind("sqlalchemy", None, _sql),
    "mongodb": _Kind("pymongo", "mongodb", _mongodb),
    "dynamodb": _Kind("boto3", "dynamodb", _dynamodb),
}
