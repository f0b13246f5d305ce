"""Whatever is run, killed and rolled back in whatever order: rows are all old or all new, and nothing is lost."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from ecluse import migration
from ecluse.catalog import Catalog, Transaction
from ecluse.catalog.journal import SILENCE
from ecluse.catalog.tables import Migration
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.migrating import Sizes, all_pointers, check_rows, contents, fill

Verb = Literal["run", "rollback", "verify"]


class Killed(BaseException):
    """The process ends here."""


class MortalCatalog(Catalog):
    """The catalog as a process sees it that is killed at its n-th transaction: from then on it writes nothing."""

    def __init__(self, url: str, life: int) -> None:
        super().__init__(url)
        self.life = life

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        self.life -= 1
        if self.life < 0:
            raise Killed
        with super().write() as transaction:
            yield transaction
            if self.life == 0:
                self.life = -1
                raise Killed  # just before it would have been committed


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a few things in it; copied for each example to where it was made."""
    folder = tmp_path_factory.mktemp("sequences")
    home = folder / "home"
    with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
        fill(runtime, Sizes(models=2, files=2, file_bytes=100, tables=6))
    shutil.copytree(home, folder / "template")
    return folder


@contextmanager
def fresh(folder: Path) -> Iterator[Runtime]:
    shutil.rmtree(folder / "home")
    shutil.rmtree(folder / "elsewhere", ignore_errors=True)
    shutil.copytree(folder / "template", folder / "home")
    with Runtime.open(Settings.from_environment({}, home=folder / "home"), migrate=False) as runtime:
        yield runtime


@pytest.mark.nightly
@given(
    memory=st.booleans(),
    steps=st.lists(
        st.tuples(st.sampled_from(["run", "rollback", "verify"]), st.integers(0, 20)),
        min_size=1,
        max_size=6,
    ),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_runs_kills_and_rollbacks_keeps_the_law(
    template: Path, memory: bool, steps: list[tuple[Verb, int | None]]
) -> None:
    with fresh(template) as runtime:
        before, old = contents(runtime.data), all_pointers(runtime)
        destination = "memory://there" if memory else f"file://{template}/elsewhere"
        migration_id = plan(runtime, destination)
        for verb, life in [*steps, ("run", None)]:
            migration_id = step(runtime, verb, life, migration_id, destination)
            now = all_pointers(runtime)
            switched = {pointer.url.startswith(destination) for pointer in now}
            assert len(switched) == 1, "some rows are old, and some are new"
            assert switched == {True} or now == old
            check_rows(runtime)
            assert contents(runtime.data) == before
        state = migration.find(runtime.catalog, migration_id).state
        there = contents(runtime.stores.folder(destination))
        if state == "done":
            assert there == before
            assert migration.verify(runtime.catalog, runtime.stores, migration_id).passed
            migration.rollback(runtime.catalog, runtime.stores, migration_id)
            there = contents(runtime.stores.folder(destination))
        else:
            assert state == "rolling_back"
            migration.rollback(runtime.catalog, runtime.stores, migration_id)
            there = contents(runtime.stores.folder(destination))
        assert all_pointers(runtime) == old
        assert there == {}


def plan(runtime: Runtime, destination: str) -> str:
    made = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(source="data", destination=destination, switch_rows=True),
    )
    return made.id or ""


def step(runtime: Runtime, verb: Verb, life: int | None, migration_id: str, destination: str) -> str:
    """One process that may be killed; the migration that is at work after it."""
    if migration.find(runtime.catalog, migration_id).state == "rolled_back":
        migration_id = plan(runtime, destination)
    catalog = MortalCatalog(runtime.settings.database_url, 10**9 if life is None else life)
    work = {"run": migration.run, "rollback": migration.rollback, "verify": migration.verify}[verb]
    try:
        work(catalog, runtime.stores, migration_id)
        event(f"{verb} ended")
    except Killed:
        event(f"{verb} killed")
    except InvalidInput:
        event(f"{verb} refused: it is being rolled back")
    finally:
        catalog.close()
    let_time_pass(runtime, migration_id)
    return migration_id


def let_time_pass(runtime: Runtime, migration_id: str) -> None:
    """Until a process that was killed is taken for dead."""
    with runtime.catalog.write() as transaction:
        row = transaction.get_one(Migration, migration_id)
        if row.beat_at is not None:
            row.beat_at -= 2 * SILENCE
