"""Keep documents in MongoDB: two collections, each read by its `_id` alone.

An `_id` is the kind, a separator below every character of a kind, and the key; its order is that of the bytes. So
the index every collection has anyway serves every question, and all ranges are half-open: `$gte` and `$lt`.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

from bson.codec_options import CodecOptions, TypeDecoder, TypeRegistry
from bson.int64 import Int64
from pymongo import ASCENDING, DESCENDING, MongoClient, ReplaceOne
from pymongo.collection import Collection
from pymongo.errors import (
    BulkWriteError,
    CollectionInvalid,
    OperationFailure,
    PyMongoError,
)
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from ecluse.documents.backend import REPORTS, Document, Range, is_report
from ecluse.documents.canonical import Body, Entry
from ecluse.errors import DocumentsMissing, DocumentsUnavailable, SettingsError
from ecluse.limits import WORKING, Limits
from ecluse.sentences import _
from ecluse.settings import MongoDBSettings

Record = dict[str, Any]

METRICS: Final = "metrics"
COLLECTIONS: Final = (METRICS, REPORTS)
#: MongoDB makes a database with its first write; `create` writes this collection to make one.
MARK: Final = "layout"
_MARKED: Final = {"_id": "documents", "version": 1}
_SEPARATOR: Final = "\x1f"
_JUST_ABOVE: Final = "\x20"

#: Milliseconds until a server must be found. An address may say otherwise, and also until when an answer must be there.
FOUND_MS: Final = 5_000
TURNS: Final = 5
#: Codes of the server: not signed in, wrong password, not permitted.
_REFUSED: Final = (13, 18, 8000)
_DUPLICATE: Final = 11000
_EXISTS: Final = 48


class _PlainInt(TypeDecoder):
    """An int of 64 bits as the int it is."""

    bson_type = Int64

    def transform_bson(self, value: Any) -> int:
        return int(value)


class MongoDocuments:
    """The collections `metrics` and `reports` of a database."""

    def __init__(self, settings: MongoDBSettings, limits: Limits = WORKING) -> None:
        self._place = f"{settings.hosts}/{settings.database}"
        answered_ms = int(limits.answer * 1000)
        self._client = _client(settings, answered_ms)
        self._database = self._client.get_database(
            settings.database,
            codec_options=CodecOptions(type_registry=TypeRegistry([_PlainInt()])),
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern(w="majority", wtimeout=answered_ms),
        )
        self._is_marked = False

    def put(self, entries: Sequence[Entry]) -> None:
        with self._asking():
            for name, some in _by_collection((entry.kind, entry) for entry in entries).items():
                self._write(
                    self._database[name],
                    [
                        ReplaceOne(
                            {"_id": (place := _id(entry.kind, entry.key))},
                            {"_id": place, "body": entry.body},
                            True,
                        )
                        for entry in some
                    ],
                )

    def get(self, keys: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Body]:
        bodies: dict[tuple[str, str], Body] = {}
        with self._asking():
            for name, some in _by_collection((kind, (kind, key)) for kind, key in keys).items():
                query = {"_id": {"$in": [_id(kind, key) for kind, key in some]}}
                for record in self._database[name].find(query):
                    kind, _rest, key = record["_id"].partition(_SEPARATOR)
                    bodies[kind, key] = record["body"]
        return bodies

    def delete(self, kind: str, keys: Sequence[str]) -> None:
        with self._asking():
            self._collection(kind).delete_many({"_id": {"$in": [_id(kind, key) for key in keys]}})

    def range(self, bounds: Range) -> list[Document]:
        return [
            Document(bounds.kind, record["_id"].partition(_SEPARATOR)[2], record["body"])
            for record in self._find(bounds, {"body": True})
        ]

    def keys(self, bounds: Range) -> list[str]:
        return [record["_id"].partition(_SEPARATOR)[2] for record in self._find(bounds, {"_id": True})]

    def kinds(self) -> Iterator[str]:
        yield from heapq.merge(*map(self._kinds_of, COLLECTIONS))

    def create(self) -> list[str]:
        created: list[str] = []
        with self._reported():
            existing = set(self._database.list_collection_names())
            for name in COLLECTIONS:
                if name not in existing and self._make(name):
                    created.append(name)
            if self._database[MARK].find_one({"_id": _MARKED["_id"]}) is None:
                self._write(self._database[MARK], [ReplaceOne({"_id": _MARKED["_id"]}, _MARKED, True)])
                created.append(MARK)
        return created

    def check(self) -> None:
        self._is_marked = False
        with self._asking():
            self._database[METRICS].find_one({"_id": ""})

    def close(self) -> None:
        self._client.close()

    def _collection(self, kind: str) -> Collection[Record]:
        return self._database[_collection_of(kind)]

    def _find(self, bounds: Range, fields: Mapping[str, bool]) -> list[Record]:
        low = bounds.kind + _SEPARATOR + (bounds.low or "")
        high = bounds.kind + (_JUST_ABOVE if bounds.high is None else _SEPARATOR + bounds.high)
        order = DESCENDING if bounds.newest_first else ASCENDING
        with self._asking():
            records = self._collection(bounds.kind).find({"_id": {"$gte": low, "$lt": high}}, fields)
            return list(records.sort("_id", order).limit(bounds.limit))

    def _kinds_of(self, name: str) -> Iterator[str]:
        """Yield the kinds with one query of the index each, however many documents a kind has."""
        behind = ""
        while True:
            with self._asking():
                following = self._database[name].find({"_id": {"$gte": behind}}, {"_id": True})
                record = next(following.sort("_id", ASCENDING).limit(1), None)
            if record is None:
                return
            kind = record["_id"].partition(_SEPARATOR)[0]
            yield kind
            behind = kind + _JUST_ABOVE

    def _make(self, name: str) -> bool:
        """Make a collection; whether it was missing."""
        try:
            self._database.create_collection(name)
        except CollectionInvalid:
            return False
        except OperationFailure as error:
            if error.code != _EXISTS:
                raise
            return False
        return True

    def _write(self, collection: Collection[Record], writes: list[ReplaceOne[Record]]) -> None:
        """Write each. Of two writers that both make a document, one is told to replace the other's."""
        for turn in range(TURNS):
            try:
                collection.bulk_write(writes, ordered=False)
            except BulkWriteError as error:
                failed = error.details.get("writeErrors", [])
                if (
                    not failed
                    or any(failure["code"] != _DUPLICATE for failure in failed)
                    or turn == TURNS - 1
                ):
                    raise
                writes = [writes[failure["index"]] for failure in failed]
                time.sleep(0.01 * 2**turn)
            else:
                return

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Errors of the driver as ours; the first time, and until it is there, the mark is looked for."""
        with self._reported():
            if not self._is_marked:
                if self._database[MARK].find_one({"_id": _MARKED["_id"]}) is None:
                    raise DocumentsMissing(
                        _(
                            "The documents in %(value)s were never made. Make them: ecluse documents create",
                            value=self._place,
                        )
                    )
                self._is_marked = True
            yield

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except PyMongoError as error:
            self._raise(error)

    def _raise(self, error: PyMongoError) -> NoReturn:
        if isinstance(error, OperationFailure) and error.code in _REFUSED:
            raise DocumentsUnavailable(
                _(
                    "%(value)s refuses what was asked of it: the name or the password is wrong, or may "
                    "not do this. Give the user of MONGODB_URL the role readWrite on the database.",
                    value=self._place,
                )
            ) from error
        said = str(error).splitlines()[0].partition(", Timeout:")[0][:300].rstrip(". ")
        raise DocumentsUnavailable(
            _(
                "The documents in %(value)s do not answer: %(error)s. See: ecluse doctor",
                value=self._place,
                error=said,
            )
        ) from error


def _collection_of(kind: str) -> str:
    return REPORTS if is_report(kind) else METRICS


def _by_collection(items: Any) -> dict[str, list[Any]]:
    """Group pairs of a kind and a thing by the collection that holds them."""
    items_of: dict[str, list[Any]] = defaultdict(list)
    for kind, item in items:
        items_of[_collection_of(kind)].append(item)
    return items_of


def _id(kind: str, key: str) -> str:
    return f"{kind}{_SEPARATOR}{key}"


def _client(settings: MongoDBSettings, answered_ms: int) -> MongoClient[Record]:
    """Make a client that connects with the first question.

    What the driver says of an address is not shown: it may quote a password.
    """
    url = settings.url or ""
    defaults = {"serverselectiontimeoutms": FOUND_MS, "connecttimeoutms": FOUND_MS, "timeoutms": answered_ms}
    query = url.partition("?")[2].lower()
    options: dict[str, Any] = {name: value for name, value in defaults.items() if f"{name}=" not in query}
    try:
        return MongoClient(str(url), appname="ecluse", **options)
    except (PyMongoError, ValueError) as error:
        raise SettingsError(
            _(
                "The address of %(value)s cannot be used (%(word)s). Check the options of MONGODB_URL "
                "and, in its password, write @ as %%40, : as %%3A, / as %%2F and %% as %%25.",
                value=settings.hosts,
                word=type(error).__name__,
            )
        ) from None
