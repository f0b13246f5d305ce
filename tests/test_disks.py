"""A folder whose disk is not mounted is a store that is away, not an empty one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecluse import migration, models
from ecluse.catalog import models as rows
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import MigrationStopped, StoreUnavailable
from ecluse.runtime import Runtime
from ecluse.settings import Settings


def opened(home: Path, **environ: str) -> Runtime:
    return Runtime.open(Settings.from_environment(environ, home=home))


def published(runtime: Runtime, tmp_path: Path) -> ModelVersion:
    (tmp_path / "weights.bin").write_bytes(b"x" * 1000)
    user = runtime.accounts.local_administrator()
    return models.publish(runtime, user.id, "payments", [tmp_path / "weights.bin"], metadata={})


def test_a_version_on_a_disk_that_is_not_mounted_is_neither_damaged_nor_deleted(tmp_path: Path) -> None:
    home, disk = tmp_path / "home", tmp_path / "disk"
    with opened(home, ECLUSE_STORE_URL=f"file://{disk}/store") as runtime:
        row = published(runtime, tmp_path)
    with opened(home, ECLUSE_STORE_URL=f"file://{tmp_path}/new") as runtime:
        disk.rename(tmp_path / "away")
        with pytest.raises(StoreUnavailable, match="Mount its disk again"):
            models.verify(runtime, row)
        assert models.resolve(runtime, row.user_id, row.name).damaged_at is None
        with pytest.raises(StoreUnavailable, match="Mount its disk again"):
            models.remove(runtime, row.user_id, row.name, row.version)
        with runtime.catalog.read() as transaction:
            assert rows.find_version(transaction, row.user_id, row.name, row.version) is not None
        assert not disk.exists()
        (tmp_path / "away").rename(disk)
        models.verify(runtime, row)
        assert models.resolve(runtime, row.user_id, row.name).damaged_at is None


def test_the_folder_of_an_area_is_made_only_while_no_row_points_into_it(tmp_path: Path) -> None:
    home, store = tmp_path / "home", tmp_path / "disk" / "store"
    environ = {"ECLUSE_STORE_URL": f"file://{store}"}
    with opened(home, **environ) as runtime:
        assert store.is_dir()
    (tmp_path / "disk").rename(tmp_path / "away")
    with opened(home, **environ) as runtime:
        row = published(runtime, tmp_path)
    (tmp_path / "disk").rename(tmp_path / "filled")
    with opened(home, **environ) as runtime:
        assert not store.exists()
        with pytest.raises(StoreUnavailable, match="Mount its disk again"):
            models.verify(runtime, row)
        (tmp_path / "filled").rename(tmp_path / "disk")
        models.verify(runtime, row)


def test_planning_a_migration_makes_no_folder_and_running_it_makes_that_of_the_destination(
    tmp_path: Path,
) -> None:
    with opened(tmp_path / "home") as runtime:
        published(runtime, tmp_path)
        there = f"file://{tmp_path}/there/deep"
        ends = {"source": "data", "destination": there}
        dry = migration.plan(runtime.catalog, runtime.stores, migration.Request(**ends, dry_run=True))
        plan = migration.plan(runtime.catalog, runtime.stores, migration.Request(**ends))
        assert dry.to_copy == plan.to_copy
        assert not (tmp_path / "there").exists()
        with pytest.raises(StoreUnavailable, match="Mount its disk again"):
            migration.plan(
                runtime.catalog,
                runtime.stores,
                migration.Request(source=f"file://{tmp_path}/typo/a", destination=there),
            )
        assert not (tmp_path / "typo").exists()
        migration.run(runtime.catalog, runtime.stores, str(plan.id))
        (tmp_path / "there").rename(tmp_path / "away")
        with pytest.raises(StoreUnavailable, match="Mount its disk again"):
            migration.verify(runtime.catalog, runtime.stores, str(plan.id))
        with pytest.raises((StoreUnavailable, MigrationStopped), match="Mount its disk again"):
            migration.run(runtime.catalog, runtime.stores, str(plan.id))
        assert not (tmp_path / "there").exists()
