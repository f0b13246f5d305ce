"""Keep documents in DynamoDB: two tables, partitioned by kind and sorted by key.

Reads are consistent and by key; only `kinds`, which copies ask for, reads a whole table.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from ecluse.documents.backend import Document, Range, is_report
from ecluse.documents.canonical import LARGEST_INT, Body, Entry
from ecluse.errors import DocumentsMissing, DocumentsUnavailable
from ecluse.limits import WORKING, Limits
from ecluse.pauses import growing_pauses
from ecluse.sentences import _
from ecluse.settings import DynamoDBSettings

Item = dict[str, Any]

#: What one request of DynamoDB takes.
WRITES: Final = 25
READS: Final = 100
#: How often the items that DynamoDB left undone are sent again without any progress; about 20 s in all.
TURNS: Final = 12
LONGEST_PAUSE: Final = 3.0
_FIRST_PAUSE: Final = 0.05
READY_SECONDS: Final = 120.0
#: The partition key and the sort key, as expressions call them: "key" is a word of theirs.
_NAMES: Final = {"#p": "kind", "#s": "key"}
_SCHEMA: Final = (("kind", "HASH"), ("key", "RANGE"))


class DynamoDocuments:
    """The two tables of a region."""

    def __init__(self, settings: DynamoDBSettings, limits: Limits = WORKING) -> None:
        self._settings = settings
        self._tables = (settings.metrics_table, settings.reports_table)
        self._client = _client(settings, limits)

    def put(self, entries: Sequence[Entry]) -> None:
        by_table: dict[str, list[Item]] = defaultdict(list)
        for entry in entries:
            item = _name(entry.kind, entry.key) | {"body": written(entry.body)}
            by_table[self._table(entry.kind)].append({"PutRequest": {"Item": item}})
        for table, requests in by_table.items():
            self._write(table, requests)

    def get(self, keys: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Body]:
        by_table: dict[str, list[Item]] = defaultdict(list)
        for kind, key in keys:
            by_table[self._table(kind)].append(_name(kind, key))
        bodies: dict[tuple[str, str], Body] = {}
        for table, names in by_table.items():
            for at in range(0, len(names), READS):
                for item in self._read(table, names[at : at + READS]):
                    bodies[item["kind"]["S"], item["key"]["S"]] = read(item["body"])
        return bodies

    def delete(self, kind: str, keys: Sequence[str]) -> None:
        self._write(self._table(kind), [{"DeleteRequest": {"Key": _name(kind, key)}} for key in keys])

    def range(self, bounds: Range) -> list[Document]:
        return [Document(bounds.kind, item["key"]["S"], read(item["body"])) for item in self._query(bounds)]

    def keys(self, bounds: Range) -> list[str]:
        return [item["key"]["S"] for item in self._query(bounds, ProjectionExpression="#s")]

    def kinds(self) -> Iterator[str]:
        kinds: set[str] = set()
        with self._reported():
            for table in self._tables:
                pages = self._client.get_paginator("scan").paginate(
                    TableName=table,
                    ProjectionExpression="#p",
                    ExpressionAttributeNames={"#p": _NAMES["#p"]},
                    ConsistentRead=True,
                )
                kinds |= {item["kind"]["S"] for page in pages for item in page["Items"]}
        yield from sorted(kinds)

    def create(self) -> list[str]:
        with self._reported():
            created = [table for table in self._tables if self._make(table)]
            for table in self._tables:
                self._wait_until_ready(table)
        return created

    def check(self) -> None:
        with self._reported():
            for table in self._tables:
                self._client.get_item(TableName=table, Key=_name("check", "check"), ConsistentRead=True)

    def close(self) -> None:
        self._client.close()

    def _table(self, kind: str) -> str:
        return self._settings.reports_table if is_report(kind) else self._settings.metrics_table

    def _query(self, bounds: Range, **projection: str) -> list[Item]:
        """Return the items of a range; DynamoDB's own are closed at both ends, so that at `high` is left out here."""
        conditions, values = ["#p = :p"], {":p": {"S": bounds.kind}}
        if bounds.low is not None:
            values[":a"] = {"S": bounds.low}
        if bounds.high is not None:
            values[":z"] = {"S": bounds.high}
        if bounds.low is not None and bounds.high is not None:
            conditions.append("#s BETWEEN :a AND :z")
        elif bounds.low is not None:
            conditions.append("#s >= :a")
        elif bounds.high is not None:
            conditions.append("#s < :z")
        query: dict[str, Any] = {
            "TableName": self._table(bounds.kind),
            "KeyConditionExpression": " AND ".join(conditions),
            # DynamoDB refuses a name that no expression uses.
            "ExpressionAttributeNames": {
                short: name for short, name in _NAMES.items() if short in f"{conditions} {projection}"
            },
            "ExpressionAttributeValues": values,
            "ScanIndexForward": not bounds.newest_first,
            "ConsistentRead": True,
            **projection,
        }
        items: list[Item] = []
        with self._reported():
            while True:
                answer = self._client.query(**query, Limit=bounds.limit - len(items) + 1)
                items += [item for item in answer["Items"] if item["key"]["S"] != bounds.high]
                if len(items) >= bounds.limit or "LastEvaluatedKey" not in answer:
                    return items[: bounds.limit]
                query["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _write(self, table: str, requests: Sequence[Item]) -> None:
        def send(pending: Mapping[str, Any]) -> tuple[list[Item], Mapping[str, Any]]:
            return [], self._client.batch_write_item(RequestItems=pending).get("UnprocessedItems", {})

        for at in range(0, len(requests), WRITES):
            self._until_done(send, {table: list(requests[at : at + WRITES])}, len)

    def _read(self, table: str, names: list[Item]) -> list[Item]:
        def send(pending: Mapping[str, Any]) -> tuple[list[Item], Mapping[str, Any]]:
            answer = self._client.batch_get_item(RequestItems=pending)
            return answer["Responses"].get(table, []), answer.get("UnprocessedKeys", {})

        return self._until_done(
            send, {table: {"Keys": names, "ConsistentRead": True}}, lambda pending: len(pending["Keys"])
        )

    def _until_done(
        self,
        send: Callable[[Mapping[str, Any]], tuple[list[Item], Mapping[str, Any]]],
        pending: Mapping[str, Any],
        count: Callable[[Any], int],
    ) -> list[Item]:
        """Send a batch, and again what was left undone, more slowly while nothing of it is done."""
        items: list[Item] = []
        turns, pauses = 0, growing_pauses(_FIRST_PAUSE, LONGEST_PAUSE)
        while pending:
            before = sum(map(count, pending.values()))
            with self._reported():
                some, pending = send(pending)
            items += some
            if sum(map(count, pending.values())) < before:
                turns, pauses = 0, growing_pauses(_FIRST_PAUSE, LONGEST_PAUSE)
            else:
                turns += 1
            if turns == TURNS:
                raise DocumentsUnavailable(
                    _(
                        "DynamoDB takes no more requests for %(value)s at this rate. Try again later, or "
                        "raise the table's limits.",
                        value=", ".join(pending),
                    )
                )
            if pending:
                time.sleep(next(pauses))
        return items

    def _make(self, table: str) -> bool:
        """Make a table; whether it was missing."""
        try:
            self._client.create_table(
                TableName=table,
                AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name, _ in _SCHEMA],
                KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in _SCHEMA],
                BillingMode="PAY_PER_REQUEST",
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceInUseException":
                raise
            return False
        return True

    def _wait_until_ready(self, table: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            description = self._client.describe_table(TableName=table)["Table"]
            schema = tuple(
                (element["AttributeName"], element["KeyType"]) for element in description["KeySchema"]
            )
            if schema != _SCHEMA:
                raise DocumentsMissing(
                    _(
                        "The DynamoDB table %(value)s has other keys than kind and key. Name another in "
                        "DYNAMODB_METRICS_TABLE or DYNAMODB_REPORTS_TABLE, and make it: ecluse documents "
                        "create",
                        value=table,
                    )
                )
            if description["TableStatus"] != "CREATING":
                return
            if time.monotonic() > deadline:
                raise DocumentsUnavailable(
                    _(
                        "The DynamoDB table %(value)s is still being made. Try again later: ecluse documents "
                        "create",
                        value=table,
                    )
                )
            time.sleep(0.25)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise DocumentsUnavailable(
                _(
                    "There are no AWS credentials for DynamoDB. Set AWS_ACCESS_KEY_ID and "
                    "AWS_SECRET_ACCESS_KEY, or give this machine a role; a DynamoDB of your own takes any."
                )
            ) from error
        except ClientError as error:
            self._raise(error)
        except BotoCoreError as error:
            raise DocumentsUnavailable(
                _(
                    "DynamoDB at %(value)s does not answer: %(error)s. See: ecluse doctor",
                    value=self._settings.endpoint or self._settings.region,
                    error=str(error).rstrip(". "),
                )
            ) from error

    def _raise(self, error: ClientError) -> NoReturn:
        code, said = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        tables = " and ".join(self._tables)
        if code == "ResourceNotFoundException":
            raise DocumentsMissing(
                _(
                    "The DynamoDB tables %(value)s are not both there. Make them: ecluse documents create",
                    value=tables,
                )
            ) from error
        if code in ("AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException"):
            raise DocumentsUnavailable(
                _(
                    "DynamoDB refuses what was asked of %(value)s (%(word)s). Check the credentials, and "
                    "that they may read and write these tables.",
                    value=tables,
                    word=code,
                )
            ) from error
        raise DocumentsUnavailable(
            _(
                "DynamoDB could not do what was asked of %(value)s (%(word)s): %(error)s. See: ecluse doctor",
                value=tables,
                word=code,
                error=said.rstrip(". "),
            )
        ) from error


def written(value: Any) -> dict[str, Any]:
    """Convert a value to DynamoDB's notation. A float becomes its shortest decimal digits, which no other float has."""
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case str():
            return {"S": value}
        case int() | float():
            return {"N": repr(value)}
        case dict():
            return {"M": {name: written(item) for name, item in value.items()}}
    return {"L": [written(item) for item in value]}


def read(attribute: Mapping[str, Any]) -> Any:
    """Convert a value back from DynamoDB's notation, the inverse of `written`; the order of names is not kept."""
    ((kind, value),) = attribute.items()
    match kind:
        case "M":
            return {name: read(value[name]) for name in sorted(value)}
        case "L":
            return [read(item) for item in value]
        case "N":
            return _number(value)
        case "NULL":
            return None
    return value


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() and abs(number) <= LARGEST_INT else number


def _name(kind: str, key: str) -> Item:
    return {"kind": {"S": kind}, "key": {"S": key}}


def _client(settings: DynamoDBSettings, limits: Limits) -> Any:
    """Make a client that connects with the first request; keys that the settings lack are found as AWS tools do."""
    return boto3.session.Session().client(
        "dynamodb",
        region_name=settings.region,
        endpoint_url=settings.endpoint,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        aws_session_token=settings.session_token,
        config=Config(
            connect_timeout=5,
            read_timeout=limits.answer,
            retries={"mode": "standard", "total_max_attempts": 4},
            max_pool_connections=32,
        ),
    )
