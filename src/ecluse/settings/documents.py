"""Decide which database keeps the documents, and how to reach it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal, get_args

from ecluse.errors import SettingsError
from ecluse.sentences import _
from ecluse.settings.aws import IN_AWS, REGIONS, read_keys
from ecluse.settings.databases import with_driver
from ecluse.settings.values import Secret, first_set, flag, web_address, without_password

#: What keeps the documents.
DatabaseType = Literal["sql", "mongodb", "dynamodb"]
DATABASE_TYPES: Final[tuple[DatabaseType, ...]] = get_args(DatabaseType)
_TABLE_NAME: Final = re.compile(r"[a-zA-Z0-9_.-]{3,255}")


@dataclass(frozen=True)
class MongoDBSettings:
    """How to reach MongoDB. `hosts`: the address as it may be shown."""

    url: Secret | None = field(default=None, repr=False)
    database: str = "ecluse"

    @property
    def hosts(self) -> str:
        """Scheme and hosts: no name, no password and no option."""
        scheme, _, rest = (self.url or "mongodb://").partition("://")
        return f"{scheme}://{re.split('[/?]', rest)[0].rpartition('@')[2]}"


@dataclass(frozen=True)
class DynamoDBSettings:
    """How to reach DynamoDB, and its tables. Without keys: the ambient AWS credentials."""

    metrics_table: str = "ecluse_metrics"
    reports_table: str = "ecluse_reports"
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = field(default=None, repr=False)
    secret_key: Secret | None = field(default=None, repr=False)
    session_token: Secret | None = field(default=None, repr=False)


@dataclass(frozen=True)
class DocumentsSettings:
    """Which database keeps the documents, and how to reach each of them."""

    sql_url: Secret
    database: DatabaseType = "sql"
    mongodb: MongoDBSettings = MongoDBSettings()
    dynamodb: DynamoDBSettings = DynamoDBSettings()

    @property
    def place(self) -> str:
        """Return where the documents are, as it may be shown; an address that `ecluse documents copy` takes."""
        match self.database:
            case "sql":
                return without_password(self.sql_url)
            case "mongodb":
                return f"{self.mongodb.hosts}/{self.mongodb.database}"
            case "dynamodb":
                tables = self.dynamodb
                return f"dynamodb://{tables.region}/{tables.metrics_table},{tables.reports_table}"

    def at(self, name: str, place: str) -> DocumentsSettings:
        """Return the same for another place: sql, mongodb or dynamodb as configured, or an address; `name` is who gave
        it.

        Raises:
            SettingsError: this is no such place.
        """
        if place in DATABASE_TYPES:
            return _configured(replace(self, database=place))
        if place.startswith(("mongodb:", "mongodb+srv:")):
            url = _mongodb_url(name, place)
            database = _mongodb_database(name, url, None)
            return replace(self, database="mongodb", mongodb=MongoDBSettings(Secret(url), database))
        if place.startswith("dynamodb:"):
            return replace(self, database="dynamodb", dynamodb=_dynamodb_at(name, place, self.dynamodb))
        if "://" not in place:
            raise SettingsError(
                f"{name}: {place!r} is no database of documents. Write sql, mongodb or dynamodb, or an address: "
                "sqlite:///file, postgresql://host/name, mongodb://host/name or dynamodb://region/metrics,reports."
            )
        return replace(self, database="sql", sql_url=Secret(with_driver(name, place)))


def read_documents(env: Mapping[str, str], database: str) -> tuple[DocumentsSettings, str]:
    """Return which database keeps the documents, and what says so; `database` is that of the catalog."""
    chosen, reason = _database_type(env)
    url = _mongodb_url("MONGODB_URL", env["MONGODB_URL"]) if "MONGODB_URL" in env else None
    named = env.get("MONGODB_DATABASE")
    mongodb = MongoDBSettings(
        None if url is None else Secret(url), _mongodb_database("MONGODB_DATABASE", url or "", named)
    )
    documents = DocumentsSettings(Secret(database), chosen, mongodb, _dynamodb(env))
    return _configured(documents), reason


def _database_type(env: Mapping[str, str]) -> tuple[DatabaseType, str]:
    """Return what DATABASE_TYPE and USE_DYNAMODB say together, and else where this runs."""
    kind = env.get("DATABASE_TYPE", "").lower()
    types = {name: name for name in DATABASE_TYPES}
    if kind and kind not in types:
        raise SettingsError(
            f"DATABASE_TYPE={kind} is not known; use {', '.join(DATABASE_TYPES[:-1])} or {DATABASE_TYPES[-1]}."
        )
    by_flag = flag(env, "USE_DYNAMODB", default=None)
    if kind and by_flag is not None and by_flag != (kind == "dynamodb"):
        raise SettingsError(
            f"DATABASE_TYPE={kind} and USE_DYNAMODB={env['USE_DYNAMODB']} contradict each other. Unset one of them."
        )
    if kind:
        return types[kind], f"DATABASE_TYPE={kind}"
    if by_flag is not None:
        return "dynamodb" if by_flag else "sql", f"USE_DYNAMODB={env['USE_DYNAMODB']}"
    if IN_AWS in env:
        return "dynamodb", f"{IN_AWS}={env[IN_AWS]}"
    return "sql", _("default: the database of the catalog")


def _configured(documents: DocumentsSettings) -> DocumentsSettings:
    if documents.database == "mongodb" and documents.mongodb.url is None:
        raise SettingsError(
            "Documents are to be in MongoDB, and its address is not set. Set MONGODB_URL=mongodb://host:27017."
        )
    return documents


def _mongodb_url(name: str, url: str) -> str:
    """Return an address with one host or several, which `urlsplit` does not read; no message shows it."""
    scheme, _, rest = url.partition("://")
    place = re.split("[/?]", rest)[0]
    if scheme not in ("mongodb", "mongodb+srv") or not place.rpartition("@")[2]:
        raise SettingsError(
            f"{name} is no address of a MongoDB, such as mongodb://host:27017 or mongodb+srv://host."
        )
    if place.count("@") > 1 or "@" in rest[len(place) :].partition("?")[0]:
        raise SettingsError(
            f"{name} cannot be read as an address: where the password ends is not clear. In it, write @ as %40, "
            "/ as %2F, ? as %3F and # as %23."
        )
    return url


def _mongodb_database(name: str, url: str, given: str | None) -> str:
    """Return the database named, else that of the address."""
    path = url.partition("://")[2].partition("?")[0].partition("/")[2]
    database = given or path or "ecluse"
    if len(database) > 63 or re.search(r'[/\\. "$*<>:|?\x00]', database):
        raise SettingsError(f"{name}: {database!r} is no name of a database in MongoDB, such as ecluse.")
    return database


def _dynamodb(env: Mapping[str, str]) -> DynamoDBSettings:
    endpoint, named = first_set(env, ("DYNAMODB_ENDPOINT", "AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL"))
    region, _ = first_set(env, REGIONS)
    # The pair S3_ACCESS_KEY is that of a store, which need not be AWS; a database in AWS is not opened with it.
    access, secret, token = read_keys({name: env[name] for name in env if not name.startswith("S3_")})
    default = DynamoDBSettings()
    return _tables(
        "DYNAMODB_METRICS_TABLE or DYNAMODB_REPORTS_TABLE",
        DynamoDBSettings(
            metrics_table=env.get("DYNAMODB_METRICS_TABLE", default.metrics_table),
            reports_table=env.get("DYNAMODB_REPORTS_TABLE", default.reports_table),
            endpoint=None if endpoint is None else web_address(named, endpoint),
            region=region or default.region,
            access_key=access,
            secret_key=secret,
            session_token=token,
        ),
    )


def _dynamodb_at(name: str, place: str, there: DynamoDBSettings) -> DynamoDBSettings:
    """Return the tables and the region of an address; keys and endpoint are those of the settings."""
    match = re.fullmatch(r"dynamodb://([a-z0-9-]+)(?:/([^/,]+),([^/,]+))?", place)
    if match is None:
        raise SettingsError(
            f"{name} is no address of documents in DynamoDB. Write dynamodb://region/metrics,reports with the names of "
            "the two tables; keys are those of the environment."
        )
    metrics, reports = match[2] or there.metrics_table, match[3] or there.reports_table
    return _tables(name, replace(there, region=match[1], metrics_table=metrics, reports_table=reports))


def _tables(name: str, there: DynamoDBSettings) -> DynamoDBSettings:
    for table in (there.metrics_table, there.reports_table):
        if not _TABLE_NAME.fullmatch(table):
            raise SettingsError(
                f"{name}: {table!r} is no name of a table in DynamoDB: 3 to 255 letters, digits and _ . -"
            )
    if there.metrics_table == there.reports_table:
        raise SettingsError(f"{name}: both tables are {there.metrics_table!r}. Name two.")
    return there
