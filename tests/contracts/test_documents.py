"""What the documents promise, held by every database: SQLite, PostgreSQL, MongoDB and DynamoDB."""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from pymongo import MongoClient

from ecluse.documents import TEXT_LIMIT, Document, Documents, open_documents
from ecluse.errors import (
    DocumentNotFound,
    DocumentsMissing,
    DocumentsUnavailable,
    InvalidDocument,
)
from ecluse.settings import DocumentsSettings, Settings
from tests.servers import free_port

#: What points the documents at a database of its own that is empty: no tables yet.
Fresh = Callable[[], dict[str, str]]
DATABASES = ["sqlite", "postgresql", "mongodb", "dynalite", "moto"]
#: A real MongoDB that the environment names is tested, too.
GIVEN = os.environ.get("MONGODB_URL")


def sqlite(request: pytest.FixtureRequest) -> Fresh:
    folder: Path = request.getfixturevalue("tmp_path_factory").mktemp("documents")
    return lambda: {"DATABASE_URL": f"sqlite:///{folder / uuid.uuid4().hex}.db"}


def postgresql(request: pytest.FixtureRequest) -> Fresh:
    make: Callable[[], str] = request.getfixturevalue("new_postgresql_url")
    return lambda: {"DATABASE_URL": make()}


def mongodb(request: pytest.FixtureRequest) -> Fresh:
    url = request.getfixturevalue("secantus_url")
    return lambda: {
        "DATABASE_TYPE": "mongodb",
        "MONGODB_URL": url,
        "MONGODB_DATABASE": f"test_{uuid.uuid4().hex}",
    }


def given_mongodb(request: pytest.FixtureRequest) -> Fresh:
    """Databases on the server that MONGODB_URL names; dropped afterwards."""
    assert GIVEN
    made: list[str] = []

    def drop() -> None:
        with MongoClient[dict[str, Any]](GIVEN) as client:
            for name in made:
                client.drop_database(name)

    def make() -> dict[str, str]:
        made.append(f"test_{uuid.uuid4().hex}")
        return {"DATABASE_TYPE": "mongodb", "MONGODB_URL": str(GIVEN), "MONGODB_DATABASE": made[-1]}

    request.addfinalizer(drop)
    return make


def dynalite(request: pytest.FixtureRequest) -> Fresh:
    return lambda: dynamodb(request.getfixturevalue("dynalite_url"))


def moto(request: pytest.FixtureRequest) -> Fresh:
    return lambda: dynamodb(request.getfixturevalue("moto_url"))


def dynamodb(endpoint: str) -> dict[str, str]:
    name = uuid.uuid4().hex
    return {
        "USE_DYNAMODB": "true",
        "DYNAMODB_ENDPOINT": endpoint,
        "DYNAMODB_METRICS_TABLE": f"metrics_{name}",
        "DYNAMODB_REPORTS_TABLE": f"reports_{name}",
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "hidden-word",
    }


def places(environment: dict[str, str]) -> DocumentsSettings:
    return Settings.from_environment(environment).documents


@pytest.fixture(scope="module", params=[*DATABASES, *(["given_mongodb"] if GIVEN else [])])
def fresh(request: pytest.FixtureRequest) -> Fresh:
    made: Fresh = globals()[request.param](request)
    return made


@pytest.fixture(scope="module")
def shared(fresh: Fresh) -> Iterator[Documents]:
    """The documents of a database, for all tests of this module; each keeps to kinds of its own."""
    opened = open_documents(places(fresh()))
    opened.create()
    yield opened
    opened.close()


@pytest.fixture
def kind() -> str:
    return f"test/{uuid.uuid4().hex}"


@pytest.fixture
def empty(fresh: Fresh) -> Iterator[Documents]:
    """A database without tables."""
    opened = open_documents(places(fresh()))
    yield opened
    opened.close()


def test_what_is_put_comes_back(shared: Documents, kind: str) -> None:
    body = {
        "date": "2025-10-14",
        "mean": 1.5,
        "count": 3,
        "none": None,
        "yes": True,
        "list": [1, [2.25, "é"], {}],
    }
    shared.put(kind, "2025-10-14", body)
    assert shared.get(kind, "2025-10-14") == body


def test_a_second_put_replaces_the_whole_body(shared: Documents, kind: str) -> None:
    shared.put(kind, "k", {"a": 1, "b": 2})
    shared.put(kind, "k", {"b": 3})
    assert shared.get(kind, "k") == {"b": 3}


def test_a_document_that_is_not_there_is_an_error_that_says_so(shared: Documents, kind: str) -> None:
    with pytest.raises(DocumentNotFound, match="2025-10-14"):
        shared.get(kind, "2025-10-14")


def test_deleting_one_leaves_its_neighbours_and_may_be_repeated(shared: Documents, kind: str) -> None:
    shared.put_many(Document(kind, key, {"k": key}) for key in ("a", "b", "c"))
    shared.delete(kind, "b")
    shared.delete(kind, "b")
    assert shared.keys(kind) == ["a", "c"]


def test_deleting_a_kind_counts_its_documents_and_leaves_kinds_that_begin_alike(
    shared: Documents, kind: str
) -> None:
    shared.put_many(Document(kind, f"{n:04}", {"n": n}) for n in range(130))
    shared.put_many(Document(other, "k", {}) for other in (f"{kind}/more", f"{kind}-2", f"{kind}0"))
    assert shared.delete_kind(kind) == 130
    assert shared.delete_kind(kind) == 0
    assert [shared.keys(other) for other in (kind, f"{kind}/more", f"{kind}-2", f"{kind}0")] == [
        [],
        ["k"],
        ["k"],
        ["k"],
    ]


def test_a_range_is_half_open_and_in_order_from_both_ends(shared: Documents, kind: str) -> None:
    days = [f"2025-10-{day:02}" for day in range(1, 11)]
    shared.put_many(Document(kind, day, {"day": day}) for day in reversed(days))
    page = shared.range(kind, "2025-10-03", "2025-10-07")
    assert [one.key for one in page.items] == days[2:6]
    assert [one.body for one in page.items] == [{"day": day} for day in days[2:6]]
    assert page.next is None
    newest = shared.range(kind, "2025-10-03", "2025-10-07", newest_first=True)
    assert [one.key for one in newest.items] == days[5:1:-1]
    assert shared.keys(kind, stop="2025-10-03") == days[:2]
    assert shared.keys(kind, start="2025-10-09") == days[8:]
    assert shared.keys(kind, start="2025-10-05", stop="2025-10-05") == []
    assert shared.keys(kind, start="2025-10-07", stop="2025-10-03") == []


@pytest.mark.parametrize("newest_first", [False, True])
def test_pages_follow_one_another_without_a_gap(shared: Documents, kind: str, newest_first: bool) -> None:
    keys = [f"{n:02}" for n in range(10)]
    shared.put_many(Document(kind, key, {"k": key}) for key in keys)
    for start, stop in ((None, None), ("02", "08"), ("025", "075")):
        wanted = [key for key in keys if (start or "") <= key < (stop or "~")]
        for limit in (1, 3, len(wanted), 50):
            seen: list[str] = []
            after = None
            while True:
                page = shared.range(kind, start, stop, after=after, limit=limit, newest_first=newest_first)
                assert len(page.items) <= limit
                seen += [one.key for one in page.items]
                if (after := page.next) is None:
                    break
            assert seen == (wanted[::-1] if newest_first else wanted)


def test_everything_of_a_range_is_found_over_many_pages(shared: Documents, kind: str) -> None:
    keys = [f"{n:05}" for n in range(250)]
    shared.put_many(Document(kind, key, {"n": int(key)}) for key in keys)
    assert [one.key for one in shared.all(kind)] == keys
    assert [one.body["n"] for one in shared.all(kind, "00100", "00205")] == list(range(100, 205))
    assert shared.keys(kind) == keys


def test_the_latest_is_the_one_with_the_highest_key(shared: Documents, kind: str) -> None:
    assert shared.latest(kind) is None
    shared.put_many(Document(kind, key, {"k": key}) for key in ("2025-10-02", "2025-12-01", "2025-10-31"))
    shared.put(f"{kind}/later", "2026-01-01", {})
    latest = shared.latest(kind)
    assert latest == Document(kind, "2025-12-01", {"k": "2025-12-01"})


def test_many_are_read_at_once_and_those_missing_are_left_out(shared: Documents, kind: str) -> None:
    other = f"reports/{uuid.uuid4().hex}"
    shared.put_many(Document(kind, f"{n:03}", {"n": n}) for n in range(150))
    shared.put(other, "001", {"report": True})
    wanted = [(kind, f"{n:03}") for n in range(200)] + [(other, "001"), (other, "002"), (kind, "001")]
    found = shared.get_many(wanted)
    assert found == {(kind, f"{n:03}"): {"n": n} for n in range(150)} | {(other, "001"): {"report": True}}
    assert shared.get_many([]) == {}


def test_of_several_puts_of_one_key_at_once_the_last_is_kept(shared: Documents, kind: str) -> None:
    shared.put_many(Document(kind, "k", {"n": n}) for n in range(3))
    assert shared.get(kind, "k") == {"n": 2}


def test_kinds_are_listed_in_order_with_those_of_reports_among_them(empty: Documents) -> None:
    empty.create()
    kinds = [
        "forecast/arcs",
        "metrics/arcs",
        "metrics/arcs/2025-10-14",
        "metrics/zones",
        "reports",
        "reports/x",
        "z",
    ]
    assert list(empty.kinds()) == []
    empty.put_many(Document(one, key, {}) for one in reversed(kinds) for key in ("a", "b"))
    assert list(empty.kinds()) == kinds


def test_keys_are_ordered_as_their_bytes_are(shared: Documents, kind: str) -> None:
    keys = ["B", "a", "Z", "é", "aa", "a b", "a-b", "0", "10", "9", "a/b", "|", "€", "ﬀ", "日", " a", "a "]
    shared.put_many(Document(kind, key, {"k": key}) for key in keys)
    assert shared.keys(kind) == sorted(keys, key=str.encode)
    assert [one.key for one in shared.range(kind, "a", "b").items] == ["a", "a ", "a b", "a-b", "a/b", "aa"]


def test_keys_beyond_the_first_plane_are_kept(shared: Documents, kind: str) -> None:
    shared.put(kind, "🚲", {"🚲": "🚲"})
    assert shared.get(kind, "🚲") == {"🚲": "🚲"}
    assert shared.keys(kind, start="é") == ["🚲"]


def test_text_at_the_limit_is_kept_and_one_byte_above_refused(shared: Documents, kind: str) -> None:
    room = TEXT_LIMIT - len('{"t":""}')
    shared.put(kind, "k", {"t": "é" * (room // 2)})
    assert len(shared.get(kind, "k")["t"]) == room // 2
    with pytest.raises(InvalidDocument, match="250001"):
        shared.put(kind, "more", {"t": "a" * (room + 1)})
    assert shared.keys(kind) == ["k"]


def test_digits_at_the_limit_which_weigh_most_in_dynamodb_are_kept(
    request: pytest.FixtureRequest, shared: Documents, kind: str
) -> None:
    # moto takes ten seconds for so many values; dynalite counts as DynamoDB does.
    values = 5_000 if "moto" in request.node.name else (TEXT_LIMIT - len('{"n":[]}') + 1) // 2
    digits = {"n": [n % 10 for n in range(values)]}
    shared.put(kind, "k", digits)
    assert shared.get(kind, "k") == digits


def test_a_page_of_large_documents_is_whole(shared: Documents, kind: str) -> None:
    bodies = {f"{n}": {"t": f"{n}" * 240_000} for n in range(6)}
    shared.put_many(Document(kind, key, body) for key, body in bodies.items())
    assert {one.key: one.body for one in shared.range(kind).items} == bodies
    assert [one.key for one in shared.range(kind, newest_first=True, limit=5).items] == [
        "5",
        "4",
        "3",
        "2",
        "1",
    ]
    assert shared.get_many([(kind, key) for key in bodies]) == {
        (kind, key): body for key, body in bodies.items()
    }


def test_writers_of_one_key_leave_one_of_their_bodies_whole(shared: Documents, kind: str) -> None:
    def write(writer: int) -> None:
        for turn in range(5):
            shared.put(kind, "k", {"writer": writer, "turn": turn, "more": [writer] * 50})
            shared.put_many(Document(kind, f"{n}", {"writer": writer}) for n in range(writer, writer + 4))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    last = shared.get(kind, "k")
    assert last["turn"] == 4
    assert last["more"] == [last["writer"]] * 50
    assert shared.keys(kind) == sorted([f"{n}" for n in range(9)] + ["k"])


VERBS: dict[str, Callable[[Documents], Any]] = {
    "put": lambda documents: documents.put("metrics/x", "k", {}),
    "put a report": lambda documents: documents.put("reports", "k", {}),
    "get": lambda documents: documents.get("metrics/x", "k"),
    "get many": lambda documents: documents.get_many([("reports", "k"), ("metrics/x", "k")]),
    "delete": lambda documents: documents.delete("metrics/x", "k"),
    "delete kind": lambda documents: documents.delete_kind("metrics/x"),
    "range": lambda documents: documents.range("metrics/x"),
    "keys": lambda documents: documents.keys("metrics/x"),
    "latest": lambda documents: documents.latest("metrics/x"),
    "kinds": lambda documents: list(documents.kinds()),
    "check": lambda documents: documents.check(),
}


def test_before_the_tables_are_made_every_verb_says_how_to_make_them(empty: Documents) -> None:
    for name, verb in VERBS.items():
        with pytest.raises(DocumentsMissing, match="ecluse documents create"):
            verb(empty)
            pytest.fail(f"{name} found something")


def test_tables_are_made_once(empty: Documents) -> None:
    made = empty.create()
    assert made
    assert all(isinstance(name, str) for name in made)
    assert empty.create() == []
    empty.check()
    empty.put("metrics/x", "k", {"a": 1})
    assert empty.create() == []
    assert empty.get("metrics/x", "k") == {"a": 1}


def test_documents_answer_again_after_they_were_closed(shared: Documents, kind: str) -> None:
    shared.put(kind, "k", {})
    shared.close()
    assert shared.get(kind, "k") == {}


numbers = st.one_of(
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x == 0 or 1e-130 <= abs(x) <= 9.9e125),
)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=10)
# dynalite is written in JavaScript and trips over its `__proto__`; DynamoDB is not.
names = texts.filter(
    lambda name: name not in ("", "__proto__") and not name.startswith("$") and "." not in name
)
bodies = st.dictionaries(
    names,
    st.recursive(
        st.none() | st.booleans() | numbers | texts,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=5,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies)
def test_any_body_comes_back_the_same_down_to_the_last_digit(shared: Documents, body: dict[str, Any]) -> None:
    shared.put("test/any", "k", body)
    found = shared.get("test/any", "k")
    assert found == body
    assert repr(found) == repr(canonical(body))


def canonical(value: Any) -> Any:
    """What is to come back: names in order, no float without a fraction."""
    if isinstance(value, dict):
        return {name: canonical(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [canonical(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53 else value


def test_every_magnitude_of_a_float_comes_back_identical(shared: Documents, kind: str) -> None:
    floats = [m * 10.0**e for e in range(-129, 126) for m in (1.0, -1.2345678901234567, 9.876543210987654)]
    shared.put(kind, "k", {"floats": floats})
    assert shared.get(kind, "k") == {"floats": floats}
    shared.put(kind, "k", {"floats": [math.pi, 5e-1, 1e20, -1e-130, 9.9e125, 0.1 + 0.2, -0.0, 2.0**53]})
    assert repr(shared.get(kind, "k")["floats"]) == repr(
        [math.pi, 0.5, 1e20, -1e-130, 9.9e125, 0.1 + 0.2, 0, 2**53]
    )


keys = st.text(st.sampled_from("ab01-/ é"), min_size=1, max_size=3)
kinds = st.sampled_from(["metrics/a", "metrics/a/b", "reports", "zz"])
small = st.dictionaries(st.sampled_from("xyz"), numbers, max_size=2)


@pytest.mark.nightly
def test_any_sequence_of_verbs_leaves_what_a_plain_dictionary_holds(shared: Documents) -> None:
    class Machine(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            self.prefix = f"run/{uuid.uuid4().hex}"
            self.model: dict[tuple[str, str], Any] = {}

        @rule(kind=kinds, key=keys, body=small)
        def put(self, kind: str, key: str, body: Any) -> None:
            shared.put(self._kind(kind), key, body)
            self.model[kind, key] = body

        @rule(items=st.lists(st.tuples(kinds, keys, small), max_size=30))
        def put_many(self, items: list[tuple[str, str, Any]]) -> None:
            shared.put_many(Document(self._kind(kind), key, body) for kind, key, body in items)
            self.model |= {(kind, key): body for kind, key, body in items}

        @rule(kind=kinds, key=keys)
        def delete(self, kind: str, key: str) -> None:
            shared.delete(self._kind(kind), key)
            self.model.pop((kind, key), None)

        @rule(kind=kinds)
        def delete_kind(self, kind: str) -> None:
            assert shared.delete_kind(self._kind(kind)) == len(self._keys(kind))
            self.model = {name: body for name, body in self.model.items() if name[0] != kind}

        @rule(
            kind=kinds,
            start=st.none() | keys,
            stop=st.none() | keys,
            after=st.none() | keys,
            limit=st.integers(1, 5),
            newest=st.booleans(),
        )
        def range(
            self, kind: str, start: str | None, stop: str | None, after: str | None, limit: int, newest: bool
        ) -> None:
            wanted = [
                key
                for key in self._keys(kind)
                if (start is None or key.encode() >= start.encode())
                and (stop is None or key.encode() < stop.encode())
            ]
            if newest:
                wanted.reverse()
            if after is not None:
                wanted = [
                    key
                    for key in wanted
                    if (key.encode() < after.encode() if newest else key.encode() > after.encode())
                ]
            page = shared.range(self._kind(kind), start, stop, after=after, limit=limit, newest_first=newest)
            assert [(one.key, one.body) for one in page.items] == [
                (key, self.model[kind, key]) for key in wanted[:limit]
            ]
            assert page.next == (wanted[limit - 1] if len(wanted) > limit else None)

        @invariant()
        def the_same_keys_are_there(self) -> None:
            for kind in {kind for kind, _ in getattr(self, "model", {})}:
                assert shared.keys(self._kind(kind)) == self._keys(kind)

        def teardown(self) -> None:
            for kind in {kind for kind, _ in getattr(self, "model", {})}:
                shared.delete_kind(self._kind(kind))

        def _kind(self, kind: str) -> str:
            return f"reports/{self.prefix}" if kind == "reports" else f"{self.prefix}/{kind}"

        def _keys(self, kind: str) -> list[str]:
            return sorted((key for one, key in self.model if one == kind), key=str.encode)

    run_state_machine_as_test(Machine, settings=settings(max_examples=12, stateful_step_count=15))


def away(database: str) -> dict[str, str]:
    """What points the documents at a port that no one listens on, with a password that no message may show."""
    port = free_port()
    return {
        "sqlite": {"DATABASE_URL": "sqlite:////proc/no/folder/documents.db"},
        "postgresql": {"DATABASE_URL": f"postgresql://me:hidden-word@127.0.0.1:{port}/db"},
        "mongodb": {
            "DATABASE_TYPE": "mongodb",
            "MONGODB_URL": f"mongodb://me:hidden-word@127.0.0.1:{port}/?serverSelectionTimeoutMS=500",
        },
        "dynalite": dynamodb(f"http://127.0.0.1:{port}"),
        "moto": dynamodb(f"http://127.0.0.1:{port}"),
    }[database]


@pytest.mark.parametrize("database", DATABASES)
def test_a_database_that_is_away_is_said_to_be_with_the_way_out_and_no_password(database: str) -> None:
    documents = open_documents(places(away(database)))
    try:
        if database == "sqlite":
            with pytest.raises(DocumentsMissing):
                documents.get("metrics/x", "k")
            return
        with pytest.raises(DocumentsUnavailable, match="ecluse doctor") as caught:
            documents.get("metrics/x", "k")
    finally:
        documents.close()
    assert "hidden-word" not in f"{caught.value} {documents.place} {documents!r}"
