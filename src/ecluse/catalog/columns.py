"""Give every table of the catalog its base class, the types of its columns, its ids and its clock."""

from __future__ import annotations

import json
import re
import secrets
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, String, Text, TypeDecorator
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeEngine

from ecluse.sentences import from_json, to_json

_ALPHABET = "23456789abcdefghjkmnpqrstvwxyz"


def new_id() -> str:
    """16 characters of an alphabet without look-alikes: 78 random bits."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(16))


def now() -> datetime:
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC on every database; SQLite forgets the zone, so it is put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC) if value.tzinfo is None else value


class SentenceText(TypeDecorator[str]):
    """A sentence by its message and values, as JSON; other text as a string of JSON.

    What a name of a file may hold and a database does not keep is left out: null characters and half characters.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        text = _NULL.sub(r"\1", json.dumps(to_json(value), ensure_ascii=False))
        return text.encode("utf-8", "replace").decode("utf-8")

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None:
            return None
        try:
            return from_json(json.loads(value))
        except ValueError:
            return value  # plain text, as a worker of the release before writes during an upgrade


#: A null character as JSON writes it, behind whole pairs of backslashes, which are characters themselves.
_NULL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def by_bytes(limit: int) -> TypeEngine[str]:
    """Text whose order is that of its bytes, as SQLite's is anyway."""
    return String(limit).with_variant(String(limit, collation="C"), "postgresql")


class Base(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy reads it so)
        datetime: UtcDateTime(),
        dict[str, Any]: JSON(),
        list[Any]: JSON(),
        int: BigInteger(),
    }
