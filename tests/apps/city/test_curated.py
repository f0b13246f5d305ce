"""The curated layer: written whole, read by day, on a folder and in an object store, by several at once."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from ecluse.apps.city import curated as layer
from ecluse.apps.city.curated import Batch, Curated, RejectedRecord
from ecluse.apps.city.sources import curated_tables
from ecluse.apps.city.tables import ROADS, ZONES
from ecluse.settings import Settings
from ecluse.storage import Cache, ObjectStore, open_store
from tests.servers import ObjectServer

DAY = date(2022, 10, 30)


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return open_store((tmp_path / "curated").as_uri())
    server: ObjectServer = request.getfixturevalue("object_server")
    settings = Settings.from_environment(server.environment(uuid.uuid4().hex))
    return open_store(settings.store_url, settings.access)


@pytest.fixture
def opened(store: ObjectStore, tmp_path: Path) -> Callable[[], Curated]:
    """Opens the layer as another process does: nothing is remembered."""

    def open_layer() -> Curated:
        scratch = tmp_path / uuid.uuid4().hex
        scratch.mkdir()
        return Curated(store, Cache(tmp_path / "cache", 10**9), scratch, curated_tables())

    return open_layer


def rows(*flows: tuple[int, float | None], day: date = DAY) -> pl.DataFrame:
    at = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    facts = [(arc, at, flow, None, "Inconnu", "Ouvert") for arc, flow in flows]
    return pl.DataFrame(facts, schema=ROADS, orient="row")


def test_what_was_written_is_read_in_the_order_of_its_key(opened: Callable[[], Curated]) -> None:
    part = opened().write(
        "roads",
        DAY,
        "file",
        rows((9, 1.0), (2, None)),
        fingerprint="f",
        modified="2024",
        records=5,
        files=["raw/a.csv"],
        rejected={"bad": 3},
        examples=[RejectedRecord("raw/a.csv", 7, "flow", "bad", "x")] * 30,
    )
    curated = opened()
    assert curated.read("roads", DAY, DAY).equals(rows((2, None), (9, 1.0)))
    assert curated.days("roads") == [DAY]
    (expected,) = curated.parts("roads", DAY)
    assert expected == part
    assert (expected.rows, expected.records, expected.rejected, len(expected.examples)) == (
        2,
        5,
        {"bad": 3},
        20,
    )


def test_an_origin_written_again_replaces_its_rows_and_leaves_no_file(
    opened: Callable[[], Curated], store: ObjectStore
) -> None:
    opened().write("roads", DAY, "file", rows((1, 1.0), (2, 2.0)), fingerprint="a")
    before = opened()
    assert before.read("roads", DAY, DAY).height == 2
    opened().write("roads", DAY, "file", rows((1, 5.0)), fingerprint="b")
    assert before.read("roads", DAY, DAY).equals(rows((1, 5.0)))
    assert len(list(store.list())) == 2


def test_equal_rows_of_two_origins_do_not_share_their_fate(
    opened: Callable[[], Curated], store: ObjectStore
) -> None:
    curated = opened()
    for origin in ("one", "two"):
        curated.write("roads", DAY, origin, rows((1, 1.0)), fingerprint="a")
    curated.remove("roads", DAY, "one")
    assert opened().read("roads", DAY, DAY).equals(rows((1, 1.0)))
    curated.write("roads", DAY, "one", rows((1, 1.0)), fingerprint="a")
    curated.write("roads", DAY, "two", rows((7, 7.0)), fingerprint="b")
    assert opened().read("roads", DAY, DAY).equals(rows((1, 1.0), (7, 7.0)))
    for origin in ("one", "two", "three"):
        curated.remove("roads", DAY, origin)
    assert list(store.list()) == []


def test_of_one_record_in_two_parts_that_of_the_later_part_is_taken(opened: Callable[[], Curated]) -> None:
    curated = opened()
    curated.write("roads", DAY, "a-later", rows((1, 2.0), (2, 2.0)), fingerprint="a", modified="2024-02-02")
    curated.write("roads", DAY, "b-earlier", rows((1, 1.0), (3, 1.0)), fingerprint="b", modified="2024-01-01")
    assert opened().read("roads", DAY, DAY).equals(rows((1, 2.0), (2, 2.0), (3, 1.0)))


def test_a_range_holds_its_first_and_last_day_alone(opened: Callable[[], Curated]) -> None:
    curated = opened()
    days = [DAY + timedelta(days=n) for n in range(6)]
    for n, day in enumerate(days):
        if n != 3:
            curated.write("roads", day, "file", rows((n, 1.0), day=day), fingerprint="a")
    curated.note_batch("roads", Batch("a-file", "raw/a.csv"))
    curated.note_batch("roads", Batch("z-file", "raw/z.csv"))
    read = opened().read
    assert read("roads", days[1], days[4])["arc"].to_list() == [1, 2, 4]
    assert read("roads", days[3], days[3]).schema == ROADS
    assert read("roads", days[3], days[3]).is_empty()
    assert read("roads", days[0] - timedelta(days=400), days[0])["arc"].to_list() == [0]
    assert read("roads", days[5], days[5] + timedelta(days=400))["arc"].to_list() == [5]
    assert opened().days("roads") == [day for day in days if day != days[3]]


def test_readers_see_the_old_rows_or_the_new_ones_while_writers_replace_them(
    opened: Callable[[], Curated],
) -> None:
    curated, other = opened(), opened()
    curated.write("roads", DAY, "file", rows((1, 0.0), (2, 0.0)), fingerprint="0")
    done = threading.Event()

    def write(writer: Curated, start: int) -> None:
        for n in range(start, start + 15):
            writer.write("roads", DAY, "file", rows((1, float(n)), (2, float(n))), fingerprint=str(n))

    def read_once() -> int:
        reader, looks = opened(), 0
        while not done.is_set() or not looks:
            first, second = reader.read("roads", DAY, DAY)["flow"]
            assert first == second
            looks += 1
        return looks

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read_once) for _ in range(2)]
        writers = [pool.submit(write, curated, 100), pool.submit(write, other, 200)]
        for writer in writers:
            writer.result()
        done.set()
        assert all(reader.result() for reader in readers)
    assert opened().read("roads", DAY, DAY)["flow"].to_list() in ([114.0] * 2, [214.0] * 2)


def test_what_a_killed_writer_left_is_removed_when_it_is_old(
    opened: Callable[[], Curated], store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = f"roads/dt={DAY}/file-0123456789abcdef.parquet"
    others = f"roads/dt={DAY}/file-b-0123456789abcdef.parquet"
    for key in (left, others):
        store.put(key, b"PAR1")
    opened().write("roads", DAY, "file", rows((1, 1.0)), fingerprint="a")
    assert store.exists(left)  # its writer may be at work
    monkeypatch.setattr(layer, "LEFT_BEHIND", timedelta(seconds=-60))
    opened().write("roads", DAY, "file", rows((1, 1.0)), fingerprint="a")
    assert not store.exists(left)
    assert store.exists(others)
    assert opened().read("roads", DAY, DAY).height == 1


def test_a_whole_table_is_replaced_at_once(opened: Callable[[], Curated], store: ObjectStore) -> None:
    assert opened().whole("zones") is None
    assert opened().read_whole("zones").schema == ZONES
    table = pl.DataFrame([(2, "B", 1.0, "{}"), (1, "A", 1.0, "{}")], schema=ZONES, orient="row")
    opened().write_whole("zones", table, fingerprint="a", modified="2024")
    before = opened()
    assert before.read_whole("zones")["zone"].to_list() == [1, 2]
    opened().write_whole("zones", table[:1], fingerprint="b", examples=[RejectedRecord("f", 1, None, "bad")])
    assert before.read_whole("zones")["zone"].to_list() == [2]
    part = opened().whole("zones")
    assert part is not None
    assert (part.fingerprint, part.examples[0]["reason"]) == ("b", "bad")
    assert len(list(store.list())) == 2


def test_a_batch_is_known_as_it_was_noted(opened: Callable[[], Curated]) -> None:
    assert opened().batch("roads", "file") is None
    noted = Batch("file", "raw/a.csv", "f", ("2022-10-30",), (1, 2), records=3, rejected={"bad": 1})
    opened().note_batch("roads", noted)
    assert opened().batch("roads", "file") == noted
    assert opened().days("roads") == []


def test_what_another_layout_wrote_is_not_read_and_gives_way(
    opened: Callable[[], Curated], store: ObjectStore
) -> None:
    part = opened().write("roads", DAY, "file", rows((1, 1.0)), fingerprint="a")
    key = f"roads/dt={DAY}/file.json"
    store.put(key, json.dumps(vars(part) | {"layout": 0, "forgotten": 1}).encode())
    assert opened().parts("roads", DAY) == []
    assert opened().read("roads", DAY, DAY).is_empty()
    opened().write("roads", DAY, "file", rows((2, 2.0)), fingerprint="a")
    assert opened().read("roads", DAY, DAY).equals(rows((2, 2.0)))


@pytest.mark.parametrize("origin", ["", "a/b", "A", "x" * 65, ".."])
def test_a_bad_name_of_an_origin_is_refused(opened: Callable[[], Curated], origin: str) -> None:
    with pytest.raises(ValueError, match="no name of an origin"):
        opened().write("roads", DAY, origin, rows(), fingerprint="a")
    with pytest.raises(ValueError, match="no name of an origin"):
        opened().note_batch("roads", Batch(origin, "f"))
