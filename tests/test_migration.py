"""Move objects and rows between stores: everything arrives, nothing is copied twice, rows are right at every moment."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from ecluse import migration, models
from ecluse.apps.fraud.actions.main import find_dataset, remove_dataset
from ecluse.catalog import Catalog, Transaction, journal
from ecluse.catalog import models as rows
from ecluse.catalog.tables import ModelVersion, Publication, Run, new_id, now
from ecluse.errors import InvalidInput, MigrationConflict, MigrationHeld, MigrationStopped, NotFound
from ecluse.migration.hold import Hold
from ecluse.registry import Registry
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.storage import ObjectStore, Stores
from tests.migrating import Sizes, add_table, all_pointers, check_rows, contents, fill
from tests.servers import ObjectServer


@pytest.fixture
def user_id(runtime: Runtime) -> str:
    return fill(runtime)


@pytest.fixture
def elsewhere(tmp_path: Path) -> str:
    return f"file://{tmp_path}/elsewhere"


def planned(runtime: Runtime, destination: str, prefix: str = "") -> str:
    """The id of a migration of everything, rows included."""
    plan = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(source="data", destination=destination, prefix=prefix, switch_rows=True),
    )
    assert plan.id
    return plan.id


def run(runtime: Runtime, migration_id: str) -> migration.Outcome:
    return migration.run(runtime.catalog, runtime.stores, migration_id)


def entries(runtime: Runtime, migration_id: str) -> dict[str, journal.Entry]:
    with runtime.catalog.read() as transaction:
        return {entry.key: entry for entry in journal.entries(transaction, migration_id)}


def replace_object(store: ObjectStore, key: str, data: bytes) -> None:
    store.put(key, data)


def test_everything_is_copied_and_every_row_switched(runtime: Runtime, user_id: str, elsewhere: str) -> None:
    before = contents(runtime.data)
    migration_id = planned(runtime, elsewhere)
    outcome = run(runtime, migration_id)
    assert contents(runtime.stores.open(elsewhere)) == before == contents(runtime.data)
    assert outcome.rows_switched == len(all_pointers(runtime)) == 3 + 3 + 3 + 3 + 1
    assert outcome.rows_left == ()
    assert outcome.copied.objects == outcome.verified.objects == len(before)
    assert {pointer.url.startswith(elsewhere) for pointer in all_pointers(runtime)} == {True}
    check_rows(runtime)
    assert migration.find(runtime.catalog, migration_id).state == "done"
    assert migration.verify(runtime.catalog, runtime.stores, migration_id).passed


def test_a_rollback_leaves_everything_as_it_was(runtime: Runtime, user_id: str, elsewhere: str) -> None:
    before, rows = contents(runtime.data), all_pointers(runtime)
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    back = migration.rollback(runtime.catalog, runtime.stores, migration_id)
    assert (back.rows_back, back.rows_kept, back.removed, back.kept) == (len(rows), (), len(before), ())
    assert all_pointers(runtime) == rows
    assert contents(runtime.data) == before
    assert contents(runtime.stores.open(elsewhere)) == {}
    check_rows(runtime)
    assert migration.find(runtime.catalog, migration_id).state == "rolled_back"
    with pytest.raises(InvalidInput, match="Plan a new one"):
        run(runtime, migration_id)


def test_a_plan_copies_nothing_and_says_what_would_be(runtime: Runtime, user_id: str, elsewhere: str) -> None:
    before = contents(runtime.data)
    same, other = sorted(before)[:2]
    runtime.stores.make_folder(elsewhere)
    there = runtime.stores.open(elsewhere)
    there.put(same, runtime.data.get(same))
    there.put(other, b"another")
    plan = migration.plan(
        runtime.catalog, runtime.stores, migration.Request(source="data", destination=elsewhere, dry_run=True)
    )
    assert (plan.id, plan.everything.objects) == (None, len(before))
    assert (plan.same.objects, plan.conflicting.objects, plan.conflicts) == (1, 1, (other,))
    assert plan.to_copy.objects == len(before) - 2
    assert {group.name for group in plan.groups} == {"user_data", "user_models", "automl_models"}
    assert sum(group.size for group in plan.groups) == plan.everything.size
    assert len(contents(there)) == 2
    assert migration.list_migrations(runtime.catalog) == []


def test_only_what_lies_under_the_prefix_is_moved(runtime: Runtime, user_id: str, elsewhere: str) -> None:
    migration_id = planned(runtime, elsewhere, prefix="user_models")
    outcome = run(runtime, migration_id)
    assert outcome.rows_switched == 6
    assert all(key.startswith("user_models/") for key in contents(runtime.stores.open(elsewhere)))
    check_rows(runtime)


def test_conflicts_stop_a_run_before_anything_is_copied(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    key = max(contents(runtime.data))
    runtime.stores.make_folder(elsewhere)
    there = runtime.stores.open(elsewhere)
    there.put(key, b"another")
    migration_id = planned(runtime, elsewhere)
    with pytest.raises(MigrationConflict, match="Nothing was copied") as caught:
        run(runtime, migration_id)
    assert key in str(caught.value)
    assert list(contents(there)) == [key]
    assert migration.summary(runtime.catalog, migration_id).conflicts == (key,)
    there.delete(key)
    run(runtime, migration_id)
    check_rows(runtime)


def test_what_was_there_before_is_not_copied_and_stays_after_a_rollback(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    key = max(contents(runtime.data))
    runtime.stores.make_folder(elsewhere)
    there = runtime.stores.open(elsewhere)
    there.put(key, runtime.data.get(key))
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    assert (entries(runtime, migration_id)[key].state, entries(runtime, migration_id)[key].times_copied) == (
        "same",
        0,
    )
    migration.rollback(runtime.catalog, runtime.stores, migration_id)
    assert list(contents(there)) == [key]


def test_a_damaged_object_is_reported_and_no_row_switched(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    rows = all_pointers(runtime)
    pointer = next(row for row in rows if row.table == "datasets")
    key = runtime.data.key_of(pointer.url) or ""
    good = runtime.data.get(key)
    replace_object(runtime.data, key, good[:-1] + b"?")
    migration_id = planned(runtime, elsewhere)
    with pytest.raises(MigrationStopped, match="damaged") as caught:
        run(runtime, migration_id)
    assert key in str(caught.value)
    assert f"ecluse migrate run {migration_id}" in str(caught.value)
    assert not runtime.stores.open(elsewhere).exists(key)
    assert all_pointers(runtime) == rows
    state = migration.summary(runtime.catalog, migration_id)
    assert (state.damaged, state.migration.state) == ((key,), "stopped")
    replace_object(runtime.data, key, good)
    run(runtime, migration_id)
    check_rows(runtime)


def test_a_damaged_file_of_a_model_is_known_by_its_manifest(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    key = next(key for key in contents(runtime.data, "user_models") if key.endswith(".bin"))
    replace_object(runtime.data, key, b"rust")
    migration_id = planned(runtime, elsewhere)
    with pytest.raises(MigrationStopped, match="damaged"):
        run(runtime, migration_id)
    assert migration.summary(runtime.catalog, migration_id).damaged == (key,)


def test_a_file_below_a_folder_named_as_that_of_the_probes_is_moved_with_its_version(
    runtime: Runtime, elsewhere: str
) -> None:
    key = "user_models/1/m/v1/.staging/weights.bin"
    runtime.data.put(key, b"weights")
    migration_id = planned(runtime, elsewhere)
    assert run(runtime, migration_id).copied.objects == 1
    assert runtime.stores.open(elsewhere).get(key) == b"weights"


def test_an_object_that_the_destination_would_clean_away_is_a_conflict(
    runtime: Runtime, tmp_path: Path
) -> None:
    runtime.data.put("a/.staging/b", b"x")
    plan = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(
            source=f"{runtime.data.url.rstrip('/')}/a", destination=f"file://{tmp_path}/elsewhere"
        ),
    )
    assert plan.conflicts == (".staging/b",)


def test_objects_that_arrive_during_a_run_are_moved_too(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    migration_id = planned(runtime, elsewhere)
    late = add_table(runtime, user_id, b"late")
    arrived: list[str] = []

    def progress(now: migration.Progress) -> None:
        if now.stage == "copy" and not arrived:
            arrived.append(add_table(runtime, user_id, b"later").id)

    migration.run(runtime.catalog, runtime.stores, migration_id, progress=progress)
    assert arrived
    assert {p.url.startswith(elsewhere) for p in all_pointers(runtime)} == {True}
    assert late.id in {pointer.row_id for pointer in all_pointers(runtime)}
    check_rows(runtime)


def test_what_was_uploaded_after_a_run_is_moved_by_the_next(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    add_table(runtime, user_id, b"late")
    check_rows(runtime)
    outcome = run(runtime, migration_id)
    assert (outcome.copied.objects, outcome.rows_switched) == (2, 2)
    check_rows(runtime)


def test_a_row_whose_object_is_gone_stays_and_is_named(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    pointer = next(row for row in all_pointers(runtime) if row.table == "datasets")
    runtime.data.delete(runtime.data.key_of(pointer.url) or "")
    migration_id = planned(runtime, elsewhere)
    outcome = run(runtime, migration_id)
    assert outcome.rows_left == (f"datasets {pointer.row_id}",)
    assert pointer in all_pointers(runtime)


def test_an_object_deleted_after_the_plan_is_counted_as_gone(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    migration_id = planned(runtime, elsewhere)
    pointer = next(row for row in all_pointers(runtime) if row.table == "predictions")
    runtime.data.delete(runtime.data.key_of(pointer.url) or "")
    assert run(runtime, migration_id).gone == 1


@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("data", "data"),
        ("data", "models"),
        ("file://{home}/store", "file://{home}/store/"),
        ("file://{home}/store", "file://{home}/store/inside"),
        ("file://{home}/store/inside", "file://{home}/store"),
        ("file://{home}/store", "file://{link}"),
        ("memory://a", "memory://a"),
        ("memory://a", "memory://a/b"),
    ],
)
def test_a_source_and_a_destination_that_share_a_part_are_refused(
    runtime: Runtime, tmp_path: Path, source: str, destination: str
) -> None:
    link = tmp_path / "link"
    link.symlink_to(runtime.settings.home / "store")
    named = [place.format(home=runtime.settings.home, link=link) for place in (source, destination)]
    with pytest.raises(InvalidInput, match="share a part"):
        migration.plan(
            runtime.catalog, runtime.stores, migration.Request(source=named[0], destination=named[1])
        )


@pytest.mark.parametrize(
    "place", ["somewhere", "ftp://host/x", "s3://key:secret@bucket", "s3://bucket?x=secret", ""]
)
def test_what_is_no_address_is_refused_without_showing_a_secret(runtime: Runtime, place: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        migration.plan(runtime.catalog, runtime.stores, migration.Request(source="data", destination=place))
    assert "secret" not in str(caught.value)


def test_a_migration_that_does_not_exist_is_not_found(runtime: Runtime) -> None:
    for verb in (migration.run, migration.verify, migration.rollback):
        with pytest.raises(NotFound, match="ecluse migrate list"):
            verb(runtime.catalog, runtime.stores, "nothing")


def test_two_processes_never_work_on_one_migration(runtime: Runtime, user_id: str, elsewhere: str) -> None:
    migration_id = planned(runtime, elsewhere)
    hold = Hold(runtime.catalog, migration_id).take("running")
    for verb in (migration.run, migration.rollback):
        with pytest.raises(MigrationHeld, match="at work on migration"):
            verb(runtime.catalog, runtime.stores, migration_id)
    hold.release("stopped", None)
    run(runtime, migration_id)


def test_a_holder_that_was_replaced_writes_nothing_more(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    migration_id = planned(runtime, elsewhere)
    first = Hold(runtime.catalog, migration_id).take("running")
    with runtime.catalog.write() as transaction:
        journal.migration_of(transaction, migration_id).beat_at = now() - 2 * journal.SILENCE
        transaction.flush()
        journal.take(transaction, migration_id, "another", "running")
    with pytest.raises(MigrationHeld, match="took migration"), first.write():
        pass
    first.release("stopped", "no")
    assert migration.find(runtime.catalog, migration_id).held_by == "another"


@pytest.mark.parametrize("work", [migration.run, migration.rollback])
def test_two_migrations_over_the_same_objects_do_not_work_at_once(
    runtime: Runtime, user_id: str, elsewhere: str, work: Callable[[Catalog, Stores, str], object]
) -> None:
    runtime.stores.make_folder(elsewhere)
    runtime.stores.open(elsewhere).put("user_data/x", b"x")
    first = planned(runtime, elsewhere)
    plan = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(source=elsewhere, destination=f"{elsewhere}-2", prefix="user_data"),
    )
    second = plan.id or ""
    for held, refused in ((first, second), (second, first)):
        hold = Hold(runtime.catalog, held).take("running")
        with pytest.raises(MigrationHeld, match=f"Migration {held} is at work on some of the same"):
            work(runtime.catalog, runtime.stores, refused)
        hold.release("stopped", None)
    work(runtime.catalog, runtime.stores, second)


def test_migrations_of_other_objects_work_at_once(runtime: Runtime, user_id: str, elsewhere: str) -> None:
    tables, versions = (planned(runtime, elsewhere, prefix) for prefix in ("user_data", "user_models"))
    hold = Hold(runtime.catalog, tables).take("running")
    run(runtime, versions)
    hold.release("stopped", None)
    run(runtime, tables)


def test_a_silent_migration_over_the_same_objects_writes_nothing_more(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    first, second = planned(runtime, elsewhere), planned(runtime, f"{elsewhere}-2")
    hold = Hold(runtime.catalog, first).take("running")
    with runtime.catalog.write() as transaction:
        journal.migration_of(transaction, first).beat_at = now() - 2 * journal.SILENCE
    run(runtime, second)
    with pytest.raises(MigrationHeld, match="took migration"), hold.write():
        pass
    hold.release("stopped", None)


def test_verify_tells_missing_different_and_extra_apart(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    runtime.stores.make_folder(elsewhere)
    there = runtime.stores.open(elsewhere)
    files = [key for key in contents(there) if key.endswith(".bin")]
    there.delete(files[0])
    replace_object(there, files[1], b"x" * there.head(files[1]).size)
    there.put("user_data/unknown", b"?")
    verification = migration.verify(runtime.catalog, runtime.stores, migration_id)
    assert (verification.missing, verification.different, verification.extra) == (
        (files[0],),
        (files[1],),
        ("user_data/unknown",),
    )
    assert not verification.passed


def test_what_was_uploaded_or_deleted_since_is_no_finding(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    runtime.stores.make_folder(elsewhere)
    there = runtime.stores.open(elsewhere)
    pointer = next(row for row in all_pointers(runtime) if row.table == "predictions")
    forget(runtime, pointer.row_id)
    there.delete(there.key_of(pointer.url) or "")
    assert migration.verify(runtime.catalog, runtime.stores, migration_id).passed
    outcome = run(runtime, migration_id)  # and another run does not bring it back
    assert outcome.copied.objects == 0
    assert there.key_of(pointer.url) not in contents(there)


def forget(runtime: Runtime, prediction_id: str) -> None:
    from ecluse.apps.fraud.rows.tables import Prediction

    with runtime.catalog.write() as transaction:
        transaction.delete(transaction.get_one(Prediction, prediction_id))


def test_a_rollback_leaves_what_changed_since_and_names_it(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    runtime.stores.make_folder(elsewhere)
    there = runtime.stores.open(elsewhere)
    changed = next(key for key in contents(there) if key.endswith("model.skops"))
    replace_object(there, changed, b"trained again")
    there.put("user_data/new", b"new")
    back = migration.rollback(runtime.catalog, runtime.stores, migration_id)
    assert back.kept == (changed,)
    assert set(contents(there)) == {changed, "user_data/new"}
    check_rows(runtime)


def test_a_row_goes_back_only_to_what_is_intact(runtime: Runtime, user_id: str, elsewhere: str) -> None:
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    damaged = next(key for key in contents(runtime.data, "user_models") if key.endswith(".bin"))
    replace_object(runtime.data, damaged, b"rust")
    back = migration.rollback(runtime.catalog, runtime.stores, migration_id)
    assert [name.partition(" ")[0] for name in back.rows_kept] == ["model_versions", "runs"]
    assert damaged in back.kept
    check_rows(runtime)


def test_a_row_that_was_moved_on_is_not_put_back(
    runtime: Runtime, user_id: str, elsewhere: str, tmp_path: Path
) -> None:
    first = planned(runtime, elsewhere)
    run(runtime, first)
    plan = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(source=elsewhere, destination=f"file://{tmp_path}/third", switch_rows=True),
    )
    run(runtime, plan.id or "")
    rows = all_pointers(runtime)
    back = migration.rollback(runtime.catalog, runtime.stores, first)
    assert (back.rows_back, back.rows_kept) == (0, ())
    assert all_pointers(runtime) == rows
    check_rows(runtime)


def test_a_run_stops_when_asked_and_goes_on_where_it_was(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    migration_id = planned(runtime, elsewhere)
    copied = {"objects": 0}

    def progress(now: migration.Progress) -> None:
        copied["objects"] = now.objects if now.stage == "copy" else 0

    with pytest.raises(MigrationStopped, match="stopped on request") as caught:
        migration.run(
            runtime.catalog,
            runtime.stores,
            migration_id,
            progress=progress,
            should_stop=lambda: copied["objects"] > 3,
        )
    assert f"ecluse migrate run {migration_id}" in str(caught.value)
    check_rows(runtime)
    before = entries(runtime, migration_id)
    settled = {key for key, entry in before.items() if entry.state == "verified"}
    assert settled
    run(runtime, migration_id)
    after = entries(runtime, migration_id)
    assert {after[key].times_copied for key in settled} == {1}
    check_rows(runtime)


@pytest.fixture
def remote(object_server: ObjectServer, tmp_path: Path) -> Callable[[str], Settings]:
    """The settings of a runtime whose keys open the server."""

    def settings(home: str) -> Settings:
        env = object_server.environment() | {"ECLUSE_STORE_URL": f"file://{tmp_path}/store"}
        return Settings.from_environment(env, home=tmp_path / home)

    return settings


def test_a_folder_moves_to_a_server_and_back(remote: Callable[[str], Settings], tmp_path: Path) -> None:
    with Runtime.open(remote("home")) as runtime:
        fill(runtime, Sizes(file_bytes=9_000_000, files=2))
        before, rows = contents(runtime.data), len(all_pointers(runtime))
        there = f"s3://models/{tmp_path.name}"
        first = planned(runtime, there)
        assert run(runtime, first).rows_switched == rows
        assert check_rows(runtime) == {"s3": rows}
        assert {entry.times_copied for entry in entries(runtime, first).values()} == {1}
        back = migration.plan(
            runtime.catalog,
            runtime.stores,
            migration.Request(source=there, destination=f"file://{tmp_path}/again", switch_rows=True),
        )
        assert run(runtime, back.id or "").rows_switched == rows
        assert check_rows(runtime) == {"file": rows}
        assert contents(runtime.stores.open(f"file://{tmp_path}/again")) == before
        removed = migration.rollback(runtime.catalog, runtime.stores, back.id or "")
        assert (removed.rows_back, removed.removed, removed.kept) == (rows, len(before), ())
        assert check_rows(runtime) == {"s3": rows}
        removed = migration.rollback(runtime.catalog, runtime.stores, first)
        assert (removed.rows_back, removed.removed, removed.kept) == (rows, len(before), ())
        assert check_rows(runtime) == {"file": rows}
        assert contents(runtime.stores.folder(there)) == {}


def test_a_migration_is_the_same_on_postgresql(postgresql_url: str, tmp_path: Path) -> None:
    settings = Settings.from_environment({"DATABASE_URL": postgresql_url}, home=tmp_path / "home")
    with Runtime.open(settings) as runtime:
        fill(runtime, Sizes(models=2, files=2, tables=10))
        before, rows = contents(runtime.data), all_pointers(runtime)
        migration_id = planned(runtime, f"file://{tmp_path}/elsewhere")
        hold = Hold(runtime.catalog, migration_id).take("running")
        with pytest.raises(MigrationHeld):
            run(runtime, migration_id)
        hold.release("stopped", None)
        assert run(runtime, migration_id).rows_switched == len(rows)
        assert {entry.times_copied for entry in entries(runtime, migration_id).values()} == {1}
        assert migration.verify(runtime.catalog, runtime.stores, migration_id).passed
        check_rows(runtime)
        back = migration.rollback(runtime.catalog, runtime.stores, migration_id)
        assert (back.rows_back, back.removed) == (len(rows), len(before))
        assert all_pointers(runtime) == rows


def test_the_address_of_an_upload_stays_valid_after_a_migration(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    dataset = add_table(runtime, user_id, b"uploaded")
    run(runtime, planned(runtime, elsewhere))
    row = find_dataset(runtime, user_id, dataset.url)
    assert (row.id, row.url.startswith(elsewhere)) == (dataset.id, True)
    with pytest.raises(NotFound):
        find_dataset(runtime, fill(runtime), dataset.url)


@pytest.mark.parametrize("root", ["file://{folder}/a", "memory://a", "memory://a/b", "s3://models/x/y"])
def test_a_folder_of_a_store_is_found_by_its_address(
    remote: Callable[[str], Settings], tmp_path: Path, root: str
) -> None:
    with Runtime.open(remote("home")) as runtime:
        address = f"{root.format(folder=tmp_path)}/{tmp_path.name}"
        runtime.stores.make_folder(address)
        store = runtime.stores.folder(address)
        store.put("inner/key", b"water")
        assert store.url.rstrip("/") == address
        assert runtime.stores.folder(f"{address}/").get("inner/key") == b"water"
        assert runtime.stores.folder(f"{address}/inner").get("key") == b"water"
        inside = runtime.stores.area("data").scoped("part")
        inside.put("key", b"own")
        assert runtime.stores.folder(inside.url).get("key") == b"own"


@pytest.mark.parametrize("server", ["seaweedfs", "azurite"])
def test_what_was_written_is_known_again_by_its_tag(
    server: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A second run reads nothing, and a rollback removes all, in one part or in several."""
    if server == "seaweedfs":
        environ = request.getfixturevalue("object_server").environment()
        there = f"s3://models/{tmp_path.name}"
    else:
        environ = request.getfixturevalue("azurite_server")
        there = f"az://c{uuid.uuid4().hex}/inner"
    environ |= {"ECLUSE_STORE_URL": f"file://{tmp_path}/store"}
    with Runtime.open(Settings.from_environment(environ, home=tmp_path / "home")) as runtime:
        runtime.stores.folder(there).ensure_bucket()
        fill(runtime, Sizes(models=2, files=1, file_bytes=20_000_000))
        rows, count = len(all_pointers(runtime)), len(contents(runtime.data))
        migration_id = planned(runtime, there)
        run(runtime, migration_id)
        compared: list[int] = []
        migration.run(
            runtime.catalog,
            runtime.stores,
            migration_id,
            progress=lambda now: compared.append(now.objects_total),
        )
        assert set(compared) == {0}
        assert sum(check_rows(runtime).values()) == rows
        back = migration.rollback(runtime.catalog, runtime.stores, migration_id)
        assert (back.rows_back, back.removed, back.kept) == (rows, count, ())
        assert contents(runtime.stores.folder(there)) == {}


@pytest.mark.parametrize("prefix", ["", "user_models"])
def test_a_source_where_nothing_lies_is_refused(runtime: Runtime, elsewhere: str, prefix: str) -> None:
    with pytest.raises(InvalidInput, match="Nothing lies at"):
        planned(runtime, elsewhere, prefix)


def test_a_source_that_vanished_after_the_plan_stops_the_run(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    migration_id = planned(runtime, elsewhere)
    (runtime.settings.home / "store").rename(runtime.settings.home / "unmounted")
    (runtime.settings.home / "store").mkdir()
    with pytest.raises(MigrationStopped, match="disk is mounted"):
        run(runtime, migration_id)
    (runtime.settings.home / "store").rmdir()
    (runtime.settings.home / "unmounted").rename(runtime.settings.home / "store")
    run(runtime, migration_id)
    check_rows(runtime)


def test_an_object_that_changes_at_the_source_is_copied_anew_over_its_own_copy(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    runtime.data.put("notes/readme", b"first")
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    runtime.data.put("notes/readme", b"second")
    run(runtime, migration_id)
    runtime.stores.make_folder(elsewhere)
    there = runtime.stores.open(elsewhere)
    assert there.get("notes/readme") == b"second"
    runtime.data.put("notes/readme", b"third")
    there.put("notes/readme", b"not ours")
    with pytest.raises(MigrationConflict, match="notes/readme"):
        run(runtime, migration_id)
    assert there.get("notes/readme") == b"not ours"


def reference_folder(runtime: Runtime) -> str:
    """The key of the folder of the one reference model."""
    pointer = next(row for row in all_pointers(runtime) if row.table == "reference_models")
    return runtime.data.key_of(pointer.url) or ""


@pytest.mark.parametrize("broken", ["manifest.json gone", "manifest.json", "model.skops"])
def test_a_reference_model_goes_back_only_to_a_whole_folder(
    runtime: Runtime, user_id: str, elsewhere: str, broken: str
) -> None:
    folder, whole = reference_folder(runtime), contents(runtime.data)
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    if broken.endswith(" gone"):
        runtime.data.delete(f"{folder}/manifest.json")
    else:
        replace_object(runtime.data, f"{folder}/{broken}", b"broken")
    back = migration.rollback(runtime.catalog, runtime.stores, migration_id)
    assert [name.partition(" ")[0] for name in back.rows_kept] == ["reference_models"]
    runtime.stores.make_folder(elsewhere)
    there = runtime.stores.open(elsewhere)
    assert contents(there) == {key: digest for key, digest in whole.items() if key.startswith(f"{folder}/")}
    check_rows(runtime)


def test_a_reference_model_that_is_not_whole_at_the_destination_stays(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    folder = reference_folder(runtime)
    manifest = runtime.data.get(f"{folder}/manifest.json")
    runtime.data.delete(f"{folder}/manifest.json")
    migration_id = planned(runtime, elsewhere)

    def commit_at_the_end(now: migration.Progress) -> None:
        if now.stage == "switch":
            runtime.data.put(f"{folder}/manifest.json", manifest)

    outcome = migration.run(runtime.catalog, runtime.stores, migration_id, progress=commit_at_the_end)
    assert [name.partition(" ")[0] for name in outcome.rows_left] == ["reference_models"]
    check_rows(runtime)


def version_folder(runtime: Runtime) -> str:
    """The key of the folder of one published version."""
    pointer = next(row for row in all_pointers(runtime) if row.table == "model_versions")
    return runtime.data.key_of(pointer.url) or ""


def test_a_prefix_that_is_a_version_switches_its_rows_and_gives_them_back(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    rows = all_pointers(runtime)
    migration_id = planned(runtime, elsewhere, prefix=version_folder(runtime))
    outcome = run(runtime, migration_id)
    assert (outcome.rows_switched, outcome.rows_left) == (2, ())
    assert migration.verify(runtime.catalog, runtime.stores, migration_id).passed
    check_rows(runtime)
    back = migration.rollback(runtime.catalog, runtime.stores, migration_id)
    assert (back.rows_back, back.kept) == (2, ())
    assert all_pointers(runtime) == rows


@pytest.mark.parametrize("part", ["", "/parts"])
@pytest.mark.parametrize("as_source", [False, True])
def test_a_rollback_keeps_what_another_migration_led_rows_to(
    runtime: Runtime, user_id: str, elsewhere: str, part: str, as_source: bool
) -> None:
    """The first brought a version, or a part of it, without its rows; the second found it there and switched them."""
    folder = version_folder(runtime) + part
    at, there = runtime.data.url_of(folder), runtime.stores.open(elsewhere).url_of(folder)
    first = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(
            source=at if as_source else "data",
            destination=there if as_source else elsewhere,
            prefix="" if as_source else folder,
            switch_rows=bool(part),
        ),
    )
    outcome = run(runtime, first.id or "")
    assert (outcome.rows_switched, len(outcome.rows_left)) == (0, 2 if part else 0)
    check_rows(runtime)
    run(runtime, planned(runtime, elsewhere))
    back = migration.rollback(runtime.catalog, runtime.stores, first.id or "")
    assert (back.removed, len(back.kept)) == (0, outcome.verified.objects)
    assert migration.verify(runtime.catalog, runtime.stores, first.id or "").extra == ()
    check_rows(runtime)


def test_a_version_is_not_switched_to_where_its_folder_has_another_name(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    model = version_folder(runtime).rpartition("/")[0]
    plan = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(source=runtime.data.url_of(model), destination=elsewhere, switch_rows=True),
    )
    outcome = run(runtime, plan.id or "")
    assert (outcome.rows_switched, len(outcome.rows_left)) == (0, 2)
    check_rows(runtime)


@pytest.mark.parametrize("at_source", ["gone", "another"])
def test_a_rollback_keeps_the_last_copy_of_what_no_row_knows(
    runtime: Runtime, user_id: str, elsewhere: str, at_source: str
) -> None:
    runtime.data.put("paris/trees.csv", b"trees")
    runtime.data.put("paris/benches.csv", b"benches")
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    if at_source == "gone":
        runtime.data.delete("paris/trees.csv")
    else:
        runtime.data.put("paris/trees.csv", b"dried")
    back = migration.rollback(runtime.catalog, runtime.stores, migration_id)
    assert back.kept == ("paris/trees.csv",)
    there = runtime.stores.open(elsewhere)
    assert list(contents(there)) == ["paris/trees.csv"]
    assert there.get("paris/trees.csv") == b"trees"


@pytest.fixture
def signed(runtime: Runtime, user_id: str, tmp_path: Path) -> list[ModelVersion]:
    """Two published versions, each with a signature."""
    (tmp_path / "w.bin").write_bytes(b"weights")
    rows = [
        models.publish(runtime, user_id, name, [tmp_path / "w.bin"], metadata={}) for name in ("kept", "left")
    ]
    for row in rows:
        runtime.registry_of(row).keep_signature(row.name, row.version, b"first")
    return rows


def test_models_are_deleted_signed_and_published_after_a_migration(
    runtime: Runtime, user_id: str, signed: list[ModelVersion], elsewhere: str, tmp_path: Path
) -> None:
    left = signed[1]
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    models.remove(runtime, user_id, left.name, left.version)
    moved = models.resolve(runtime, user_id, "kept")
    runtime.registry_of(moved).keep_signature(moved.name, moved.version, b"second")
    passing = runtime.registry_of(moved)
    version = passing.publish(
        "passing", {"w": tmp_path / "w.bin"}, created_by=user_id, nonce="n", metadata={}
    ).version
    passing.delete("passing", version)
    assert migration.verify(runtime.catalog, runtime.stores, migration_id).passed
    outcome = run(runtime, migration_id)
    assert outcome.copied.objects == 0
    assert runtime.registry_of(moved).signature(moved.name, moved.version) == b"second"
    assert models.verify(runtime, moved).version == moved.version


def test_a_signature_that_rots_is_different(
    runtime: Runtime, user_id: str, signed: list[ModelVersion], elsewhere: str
) -> None:
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    key = f"{signed[0].prefix}/model.sig"
    path = Path(elsewhere.removeprefix("file://")) / key
    seen = path.stat()
    path.write_bytes(b"fir5t")
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert migration.verify(runtime.catalog, runtime.stores, migration_id).different == (key,)


def test_a_version_that_moves_while_it_is_deleted_is_deleted_in_both_places(
    runtime: Runtime, user_id: str, signed: list[ModelVersion], elsewhere: str
) -> None:
    left, migration_id = signed[1], planned(runtime, elsewhere)

    class Moving(Runtime):
        """Moves everything just before a version is deleted in the store."""

        moved = False

        def registry_to_clear(self, url: str) -> Registry | None:
            if not self.moved:
                Moving.moved = True
                assert run(runtime, migration_id).rows_switched == len(all_pointers(runtime))
            return super().registry_to_clear(url)

    with Moving.open(runtime.settings) as other:
        models.remove(other, user_id, left.name, left.version)
    there = runtime.stores.open(elsewhere)
    for store in (runtime.data, there):
        assert list(contents(store, left.prefix)) == [f"{left.prefix}/.claim"]
    assert left.id not in {pointer.row_id for pointer in all_pointers(runtime)}
    assert migration.verify(runtime.catalog, runtime.stores, migration_id).passed
    check_rows(runtime)


def test_a_table_that_moves_while_it_is_deleted_is_deleted_where_it_is(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    table, migration_id = add_table(runtime, user_id, b"moving"), planned(runtime, elsewhere)

    class Moving(Catalog):
        """Moves everything just before a row is written."""

        moved = False

        @contextmanager
        def write(self) -> Iterator[Transaction]:
            if not self.moved:
                Moving.moved = True
                run(runtime, migration_id)
            with super().write() as transaction:
                yield transaction

    with Runtime.open(runtime.settings) as other:
        remove_dataset(replace(other, catalog=Moving(runtime.settings.database_url)), user_id, table.id)
    assert not runtime.stores.open(elsewhere).exists(table.key)
    assert runtime.data.exists(table.key)
    assert migration.verify(runtime.catalog, runtime.stores, migration_id).passed


def test_a_run_that_was_started_before_a_rollback_does_not_undo_it(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    waiting = Hold(runtime.catalog, migration_id)
    migration.rollback(runtime.catalog, runtime.stores, migration_id)
    with pytest.raises(InvalidInput, match="Plan a new one"):
        waiting.take("running")
    assert migration.find(runtime.catalog, migration_id).state == "rolled_back"


def test_a_training_whose_version_was_deleted_is_not_left(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    with runtime.catalog.read() as transaction:
        version = rows.list_all(transaction, user_id)[0]
    models.remove(runtime, user_id, version.name, version.version)
    assert run(runtime, planned(runtime, elsewhere)).rows_left == ()


def announced(runtime: Runtime, user_id: str, folder: Path, *, committed: bool) -> str:
    """A version whose publisher died before it could write its row; its name."""
    registry, nonce = runtime.registry(user_id), new_id()
    (folder / "w.bin").write_bytes(b"weights")
    version = registry.claim("late", nonce)
    files = registry.upload("late", version, {"w.bin": folder / "w.bin"})
    publication = Publication(
        user_id=user_id,
        name="late",
        version=version,
        url=registry.url_of("late", version),
        nonce=nonce,
        created_at=now() - timedelta(minutes=5),
    )
    with runtime.catalog.write() as transaction:
        models.announce(transaction, publication)
    if committed:
        registry.commit("late", version, files, created_by=user_id, nonce=nonce, metadata={})
    return version


def test_a_version_without_its_row_gets_it_where_it_was_moved_to(
    runtime: Runtime, user_id: str, elsewhere: str, tmp_path: Path
) -> None:
    announced(runtime, user_id, tmp_path, committed=True)
    migration_id = planned(runtime, elsewhere)
    assert run(runtime, migration_id).rows_left == ()
    assert models.reconcile(runtime) == 1
    row = models.resolve(runtime, user_id, "late")
    assert row.url.startswith(elsewhere)
    models.verify(runtime, row)
    (Path(elsewhere.removeprefix("file://")) / row.prefix / "w.bin").unlink()
    verification = migration.verify(runtime.catalog, runtime.stores, migration_id)
    assert verification.missing == (f"{row.prefix}/w.bin",)
    run(runtime, migration_id)
    models.verify(runtime, row)
    migration.rollback(runtime.catalog, runtime.stores, migration_id)
    models.verify(runtime, models.resolve(runtime, user_id, "late"))


def test_a_version_without_its_row_goes_back_with_the_others(
    runtime: Runtime, user_id: str, elsewhere: str, tmp_path: Path
) -> None:
    announced(runtime, user_id, tmp_path, committed=True)
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    assert migration.rollback(runtime.catalog, runtime.stores, migration_id).kept == ()
    assert models.reconcile(runtime) == 1
    models.verify(runtime, models.resolve(runtime, user_id, "late"))


def test_a_version_that_was_not_committed_is_not_left(
    runtime: Runtime, user_id: str, elsewhere: str, tmp_path: Path
) -> None:
    announced(runtime, user_id, tmp_path, committed=False)
    assert run(runtime, planned(runtime, elsewhere)).rows_left == ()


def test_a_pause_between_two_runs_is_no_part_of_the_measured_rate(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    runtime.data.put("raw/large", bytes(60_000_000))
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    with runtime.catalog.write() as transaction:
        row = journal.migration_of(transaction, migration_id)
        row.started_at = row.created_at - timedelta(days=3)
    plan = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(source="data", destination=f"{elsewhere}2", dry_run=True),
    )
    estimate = migration.estimate(runtime.catalog, plan)
    assert estimate.measured
    assert estimate.seconds < timedelta(hours=1).total_seconds()


def test_the_journal_holds_the_digest_of_every_object(runtime: Runtime, user_id: str, elsewhere: str) -> None:
    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    digests = {key: entry.sha256 for key, entry in entries(runtime, migration_id).items()}
    assert digests == contents(runtime.data)
    assert hashlib.sha256(b"").hexdigest() not in digests.values()


def test_the_files_that_a_run_refers_to_are_named_where_they_are(
    runtime: Runtime, user_id: str, elsewhere: str
) -> None:
    with runtime.catalog.write() as transaction:
        version = rows.list_latest(transaction, user_id, limit=1)[0]
        file = {"name": "a", "url": f"{version.url}/a", "sha256": "0", "size": 1}
        other = file | {"url": f"{version.url}_2/a"}
        tracked = Run(
            user_id=user_id,
            application="fraud",
            kind="search",
            name="m",
            url=version.url,
            artifacts=[file, other],
        )
        transaction.add(tracked)

    def addresses() -> list[str]:
        with runtime.catalog.read() as transaction:
            return [artifact["url"] for artifact in transaction.get_one(Run, tracked.id).artifacts]

    migration_id = planned(runtime, elsewhere)
    run(runtime, migration_id)
    with runtime.catalog.read() as transaction:
        there = transaction.get_one(Run, tracked.id).url
    assert there != version.url
    assert addresses() == [f"{there}/a", other["url"]]
    migration.rollback(runtime.catalog, runtime.stores, migration_id)
    assert addresses() == [file["url"], other["url"]]
