"""What a busy DynamoDB leaves undone is sent again; what it refuses is told."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ecluse.documents import Document, Documents, open_documents
from ecluse.documents.copying import copy
from ecluse.errors import DocumentsUnavailable
from ecluse.settings import Settings
from tests.documents.throttling import Gate, throttling


@pytest.fixture
def gate(dynalite_url: str) -> Iterator[Gate]:
    with throttling(dynalite_url) as opened:
        yield opened


@pytest.fixture
def documents(gate: Gate) -> Iterator[Documents]:
    name = uuid.uuid4().hex
    environ = {
        "USE_DYNAMODB": "true",
        "DYNAMODB_ENDPOINT": gate.url,
        "DYNAMODB_METRICS_TABLE": f"m_{name}",
        "DYNAMODB_REPORTS_TABLE": f"r_{name}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests",
    }
    with closing(open_documents(Settings.from_environment(environ).documents)) as opened:
        opened.create()
        yield opened


def numbered(count: int) -> list[Document]:
    return [Document("metrics/x" if n % 3 else "reports", f"{n:03}", {"n": n}) for n in range(count)]


@pytest.mark.parametrize(("share", "count"), [(0.4, 60), (0.0, 12)])
def test_the_part_of_a_batch_that_is_left_undone_is_sent_again(
    gate: Gate, documents: Documents, share: float, count: int
) -> None:
    gate.share = share
    items = numbered(count)
    documents.put_many(items)
    assert gate.seen.count("BatchWriteItem") > 4
    names = [(one.kind, one.key) for one in items]
    assert documents.get_many(names) == {(one.kind, one.key): one.body for one in items}
    assert gate.seen.count("BatchGetItem") > 4
    assert documents.delete_kind("metrics/x") == count * 2 // 3
    assert documents.keys("metrics/x") == []
    assert len(documents.keys("reports")) == count // 3


def test_a_copy_that_is_refused_on_the_way_goes_on_and_writes_only_what_is_missing(
    gate: Gate, documents: Documents, tmp_path: Path
) -> None:
    items = numbered(400)
    with closing(
        open_documents(
            Settings.from_environment({"DATABASE_URL": f"sqlite:///{tmp_path / 'a.db'}"}).documents
        )
    ) as source:
        source.create()
        source.put_many(items)
        gate.writes_left = 6
        with pytest.raises(DocumentsUnavailable, match="AccessDeniedException"):
            copy(source, documents, lambda done, kinds, kind: None)
        gate.writes_left = None
        there = len(documents.keys("metrics/x")) + len(documents.keys("reports"))
        assert there == 6 * 25
        found = copy(source, documents, lambda done, kinds, kind: None)
        assert found.counts == {"same": there, "missing": 400 - there, "other": 0, "extra": 0}
    assert [one.body for one in documents.all("metrics/x")] == [
        one.body for one in items if one.kind == "metrics/x"
    ]
