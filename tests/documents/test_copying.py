"""A copy between databases carries everything, goes on where it stopped, and can be proved."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ecluse.documents import Document, Documents, open_documents
from ecluse.documents.copying import compare, copy
from ecluse.settings import Settings
from tests.application import run_ecluse


def quiet(done: int, kinds: int, kind: str) -> None:
    assert done < kinds
    assert kind


def opened(environ: dict[str, str]) -> Documents:
    documents = open_documents(Settings.from_environment(environ).documents)
    documents.create()
    return documents


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Documents, Documents]]:
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(closing(opened({"DATABASE_URL": f"sqlite:///{tmp_path / name}.db"})))
            for name in "ab"
        )
        yield first, second


def sample() -> list[Document]:
    """Documents of several kinds, more than one batch of one of them."""
    arcs = [Document("metrics/arcs/2025-10-14", f"{n}", {"flow": [n, n / 7, None]}) for n in range(230)]
    days = [Document("metrics/zones", f"2025-10-{day:02}", {"mean": day / 3}) for day in range(1, 20)]
    return [*arcs, *days, Document("reports", "2025-10-14", {"title": "é", "parts": {"a": [True]}})]


def contents(documents: Documents) -> dict[tuple[str, str], Any]:
    return {(kind, one.key): one.body for kind in documents.kinds() for one in documents.all(kind)}


def test_documents_travel_through_every_database_and_come_back_the_same(
    tmp_path: Path, secantus_url: str, dynalite_url: str
) -> None:
    name = uuid.uuid4().hex
    tables = {"DYNAMODB_METRICS_TABLE": f"m_{name}", "DYNAMODB_REPORTS_TABLE": f"r_{name}"}
    keys = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests"}
    way = [
        {"DATABASE_URL": f"sqlite:///{tmp_path / 'a.db'}"},
        {"DATABASE_TYPE": "mongodb", "MONGODB_URL": secantus_url, "MONGODB_DATABASE": f"test_{name}"},
        {"USE_DYNAMODB": "true", "DYNAMODB_ENDPOINT": dynalite_url} | tables | keys,
        {"DATABASE_URL": f"sqlite:///{tmp_path / 'b.db'}"},
    ]
    with ExitStack() as stack:
        places = [stack.enter_context(closing(opened(environ))) for environ in way]
        places[0].put_many(sample())
        for source, destination in pairwise(places):
            assert copy(source, destination, quiet).counts["missing"] == len(sample())
            assert compare(source, destination, quiet).is_same
        assert contents(places[-1]) == contents(places[0]) == {(d.kind, d.key): d.body for d in sample()}


def test_a_copy_replaces_what_differs_and_leaves_what_is_there_alone(
    two: tuple[Documents, Documents],
) -> None:
    source, destination = two
    source.put_many(sample())
    destination.put("metrics/zones", "2025-10-02", {"mean": "another"})
    destination.put_many([Document("metrics/zones", "2024-01-01", {}), Document("zz", "k", {"z": 1})])
    found = copy(source, destination, quiet)
    assert found.counts == {"same": 0, "missing": len(sample()) - 1, "other": 1, "extra": 2}
    assert found.named["other"] == [("metrics/zones", "2025-10-02")]
    assert found.named["extra"] == [("metrics/zones", "2024-01-01"), ("zz", "k")]
    assert contents(destination) == contents(source) | {
        ("metrics/zones", "2024-01-01"): {},
        ("zz", "k"): {"z": 1},
    }
    assert copy(source, destination, quiet).counts == {
        "same": len(sample()),
        "missing": 0,
        "other": 0,
        "extra": 2,
    }


class Here:
    """A home folder, and `ecluse documents` in it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.other = f"sqlite:///{home.parent / 'other.db'}"
        self.run("create")
        documents = self.documents()
        documents.put_many(sample())
        documents.close()

    def documents(self) -> Documents:
        return open_documents(Settings.from_environment({}, home=self.home).documents)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = run_ecluse(self.home, {}, "documents", *arguments)
        assert "fault of ours" not in done.stderr, done.stderr
        return done


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path / "home")


def test_the_commands_list_show_and_copy(here: Here) -> None:
    kinds = json.loads(here.run("list", "--json").stdout)
    assert [(row["kind"], row["documents"], row["first"], row["last"]) for row in kinds] == [
        ("metrics/arcs/2025-10-14", 230, "0", "99"),
        ("metrics/zones", 19, "2025-10-01", "2025-10-19"),
        ("reports", 1, "2025-10-14", "2025-10-14"),
    ]
    listed = here.run("list", "metrics/zones", "--from", "2025-10-03", "--to", "2025-10-05", "--json")
    assert [row["key"] for row in json.loads(listed.stdout)] == ["2025-10-03", "2025-10-04"]
    assert json.loads(here.run("show", "reports", "2025-10-14").stdout) == {
        "title": "é",
        "parts": {"a": [True]},
    }
    absent = here.run("show", "reports", "2025-10-15")
    assert absent.returncode == 1
    assert "ecluse documents list reports" in absent.stderr

    missing = here.run("copy", "sql", here.other)
    assert missing.returncode == 1
    assert f"ecluse documents create {here.other}" in missing.stderr
    assert here.run("create", here.other).returncode == 0

    planned = here.run("copy", "sql", here.other, "--dry-run")
    assert "250 documents would be copied" in planned.stdout
    assert json.loads(here.run("copy", "sql", here.other, "--verify", "--json").stdout)["missing"] == 250
    assert "250 documents copied" in here.run("copy", "sql", here.other).stdout
    again = json.loads(here.run("copy", "sql", here.other, "--json").stdout)
    assert (again["same"], again["missing"]) == (250, 0)
    proved = here.run("copy", "sql", here.other, "--verify")
    assert (proved.returncode, "250 documents are the same" in proved.stdout) == (0, True)

    with closing(here.documents()) as documents:
        documents.delete("reports", "2025-10-14")
    differing = here.run("copy", "sql", here.other, "--verify")
    assert differing.returncode == 1
    assert "extra    reports 2025-10-14" in differing.stdout


def test_places_that_are_none_are_told_and_no_password_is_shown(here: Here) -> None:
    same = here.run("copy", "sql", "sql")
    assert "are both sqlite:" in same.stderr
    assert "Set MONGODB_URL" in here.run("copy", "sql", "mongodb").stderr
    assert "is no database of documents" in here.run("copy", "nothing", "sql").stderr
    away = here.run("copy", "sql", "mongodb://me:hidden-word@127.0.0.1:9/x?serverSelectionTimeoutMS=200")
    assert away.returncode == 1
    assert "mongodb://127.0.0.1:9/x do not answer" in away.stderr
    assert "hidden-word" not in away.stderr + away.stdout
