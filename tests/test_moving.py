"""A whole home moves to another database and other stores and back: everything is there, whatever is killed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ecluse import moving
from ecluse.catalog import rows
from ecluse.catalog.tables import Base
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.homes import Made, fill_home, objects_of, place, settings_of
from tests.servers import ObjectServer


def moved(source: Settings, destination: Settings) -> moving.Outcome:
    with moving.opened(source, destination) as both:
        return moving.run(both)


def differences(one: Runtime, other: Runtime) -> list[str]:
    """What of the rows, the documents and the records of jobs of two homes is not the same."""
    found = []
    for table in rows.tables():
        told = rows.compare(one.catalog.engine, other.catalog.engine, table)
        assert told.rows, f"{table.name} is empty, and shows nothing"
        found += told.named
    kinds = list(one.documents.kinds())
    assert list(other.documents.kinds()) == kinds
    found += [kind for kind in kinds if list(one.documents.all(kind)) != list(other.documents.all(kind))]
    with one.jobs.records() as (ours, tables), other.jobs.records() as (theirs, _):
        for table in tables:
            found += rows.compare(ours, theirs, table).named
    return found


@pytest.fixture
def laptop(runtime: Runtime, tmp_path: Path) -> tuple[Runtime, Made]:
    return runtime, fill_home(runtime, tmp_path / "made")


def test_every_table_is_a_part_of_the_home_or_left_for_a_reason() -> None:
    names = {table.name for table in Base.metadata.sorted_tables}
    assert {table.name for table in rows.tables()} == names - rows.LEFT
    assert names >= rows.LEFT


def test_everything_moves_to_postgresql_and_an_object_store_and_back(
    laptop: tuple[Runtime, Made], object_server: ObjectServer, postgresql_url: str, tmp_path: Path
) -> None:
    source, made = laptop
    environment = object_server.environment(tmp_path.name)
    cloud = settings_of(
        place(tmp_path / "cloud.env", DATABASE_URL=postgresql_url, **environment), tmp_path / "scratch"
    )
    outcome = moved(source.settings, cloud)
    assert outcome.left == ()
    with Runtime.open(cloud) as there:
        assert objects_of(there) == objects_of(source)
        assert there.jobs.get(made.user_id, made.job).message == "all was done"
    home = source.settings.home
    kept = home.rename(tmp_path / "kept")
    moved(cloud, Settings.from_environment({}, home=home))
    with (
        Runtime.open(source.settings) as back,
        Runtime.open(Settings.from_environment({}, home=kept)) as before,
    ):
        assert objects_of(back) == objects_of(before)
        assert differences(before, back) == []
