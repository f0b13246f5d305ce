"""What the catalog keeps on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, literal, select, text, update
from sqlalchemy.orm import Session

from ecluse import catalog as catalog_package
from ecluse.apps.fraud.rows import datasets, predictions, training
from ecluse.apps.fraud.rows.tables import Dataset, Prediction
from ecluse.catalog import Catalog, audit, files, jobs, journal, models, runs, users
from ecluse.catalog.database import HEAD
from ecluse.catalog.tables import Base, Migration, ModelVersion, User, now
from ecluse.errors import (
    CatalogError,
    CatalogUnavailable,
    EmailTaken,
    MigrationHeld,
    ModelNotFound,
    NotFound,
    VersionNotFound,
)
from ecluse.migration.hold import Hold
from ecluse.sentences import Sentence, _, num
from tests.servers import free_port


def add_user(catalog: Catalog, email: str) -> User:
    with catalog.write() as transaction:
        return users.add_user(transaction, email=email, name="", password_hash=None, role="member")


def add_dataset(catalog: Catalog, user: User) -> Dataset:
    row = Dataset(
        user_id=user.id,
        filename="a.csv",
        key=f"k/{user.id}",
        url=f"s3://b/{user.id}",
        size_bytes=5_000_000_000,
        sha256="0",
    )
    with catalog.write() as transaction:
        return datasets.add_dataset(transaction, row)


def test_the_migrations_make_the_tables_the_code_describes(catalog: Catalog) -> None:
    with catalog.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, Base.metadata) == []


def test_the_newest_migration_is_the_one_the_code_asks_for() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(catalog_package.__file__).parent / "migrations"))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_rows_from_before_addresses_were_kept_get_that_of_the_configured_stores(catalog: Catalog) -> None:
    owner = add_user(catalog, "a@b.c")
    with catalog.write() as transaction:
        models.add_version(transaction, model_version(owner, "v1"))
        predictions.add_prediction(
            transaction, Prediction(user_id=owner.id, model_name="m", version="v1", key="k/1")
        )
        predictions.add_prediction(transaction, Prediction(user_id=owner.id, model_name="m", version="v1"))
    with catalog.engine.execution_options(ecluse_write=True).begin() as connection:
        downgrade(connection)
    catalog.migrate()
    with catalog.read() as transaction:
        assert files.lacks_addresses(transaction)
    with catalog.write() as transaction:
        files.fill_addresses(transaction, "file:///{}/{}".format)
    with catalog.read() as transaction:
        assert not files.lacks_addresses(transaction)
        version = models.version_of(transaction, owner.id, "m", "v1")
        assert (version.url, version.details) == ("file:///models/p/v1", {})
        found = predictions.list_predictions(transaction, owner.id)
    assert {row.url for row in found} == {None, "file:///data/k/1"}


def downgrade(connection: Connection, version: str = "0001") -> None:
    """Back to the tables of a version, by itself to those before addresses were kept."""
    config = Config()
    config.set_main_option("script_location", str(Path(catalog_package.__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.downgrade(config, version)


def test_a_sentence_is_kept_with_its_values_in_columns_and_documents(catalog: Catalog) -> None:
    owner = add_user(catalog, "a@b.c")
    said = _(
        "%(file)s is damaged: %(reason)s",
        file="a\x00\ud800\\u0000é",
        reason=_("%(count)s bytes", count=num(1204)),
    )
    with catalog.write() as transaction:
        row = model_version(owner, "v1")
        row.damage, row.report = said, {"warnings": [said, "plain"]}
        models.add_version(transaction, row)
    with catalog.read() as transaction:
        kept = models.version_of(transaction, owner.id, "m", "v1")
        damage, warnings = kept.damage, kept.report["warnings"]
    assert isinstance(damage, Sentence)
    assert damage == "a?\\u0000é is damaged: 1,204 bytes"  # what databases do not keep of a name is left out
    assert damage.message == "%(file)s is damaged: %(reason)s"
    assert isinstance(damage.values["reason"], Sentence)
    assert isinstance(warnings[0], Sentence)
    assert warnings == [said, "plain"]


@pytest.mark.parametrize("before", ["It broke.", '{"message": "x"}', '"quoted"', "7", "null", "é\\u0000"])
def test_texts_of_before_are_shown_as_they_were_written(catalog: Catalog, before: str) -> None:
    owner = add_user(catalog, "a@b.c")
    with catalog.write() as transaction:
        row = model_version(owner, "v1")
        row.damage = _("%(count)s bytes", count=num(1204))
        models.add_version(transaction, row)
        models.add_version(transaction, model_version(owner, "v2"))
        models.add_version(transaction, model_version(owner, "v3"))
    with catalog.engine.execution_options(ecluse_write=True).begin() as connection:
        downgrade(connection, "0012")
        connection.execute(text("UPDATE model_versions SET damage = :d WHERE version = 'v2'"), {"d": before})
        english = connection.execute(
            text("SELECT damage FROM model_versions WHERE version = 'v1'")
        ).scalar_one()
    assert english == "1,204 bytes"
    catalog.migrate()
    with catalog.read() as transaction:
        found = {v: models.version_of(transaction, owner.id, "m", v).damage for v in ("v1", "v2", "v3")}
    assert found == {"v1": "1,204 bytes", "v2": before, "v3": None}


def test_many_processes_may_migrate_at_once(catalog: Catalog) -> None:
    with catalog.engine.execution_options(ecluse_write=True).begin() as connection:
        Base.metadata.drop_all(connection)
        connection.execute(text("DROP TABLE alembic_version"))
    errors: list[Exception] = []

    def migrate() -> None:
        try:
            catalog.migrate()
        except Exception as error:  # noqa: BLE001 (reported below)
            errors.append(error)

    threads = [threading.Thread(target=migrate) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert catalog.version() == HEAD


def test_a_catalog_of_a_newer_release_that_took_things_away_is_not_touched(catalog: Catalog) -> None:
    with catalog.engine.execution_options(ecluse_write=True).begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        connection.execute(text("UPDATE compatibility SET oldest = '9999'"))
    with pytest.raises(CatalogError, match="newer"):
        catalog.migrate()


def test_what_raises_is_rolled_back(catalog: Catalog) -> None:
    with pytest.raises(RuntimeError), catalog.write() as transaction:
        users.add_user(transaction, email="a@b.c", name="", password_hash=None, role="member")
        raise RuntimeError
    with catalog.read() as transaction:
        assert users.count_users(transaction) == 0


def test_an_address_has_one_account(catalog: Catalog) -> None:
    add_user(catalog, "a@b.c")
    with pytest.raises(EmailTaken):
        add_user(catalog, "a@b.c")


def test_times_come_back_in_utc(catalog: Catalog) -> None:
    added = add_user(catalog, "a@b.c")
    with catalog.read() as transaction:
        found = users.user_by_id(transaction, added.id)
    assert found.created_at.utcoffset() is not None
    assert abs((found.created_at - now()).total_seconds()) < 60


def test_another_persons_rows_do_not_exist(catalog: Catalog) -> None:
    owner, other = add_user(catalog, "a@b.c"), add_user(catalog, "d@e.f")
    dataset = add_dataset(catalog, owner)
    with catalog.write() as transaction:
        run = training.add_run(
            transaction,
            training.NewTraining(user_id=owner.id, model_name="m", plan={}, dataset_id=dataset.id),
        )
        prediction = predictions.add_prediction(
            transaction, Prediction(user_id=owner.id, model_name="m", version="v", key="k")
        )
        models.add_version(transaction, model_version(owner, "v1"))
    with catalog.read() as transaction:
        assert datasets.dataset_of(transaction, owner.id, dataset.id).size_bytes == 5_000_000_000
        with pytest.raises(NotFound):
            datasets.dataset_of(transaction, other.id, dataset.id)
        with pytest.raises(NotFound):
            datasets.dataset_by_url(transaction, other.id, dataset.url)
        with pytest.raises(NotFound):
            training.run_of(transaction, other.id, run.id)
        with pytest.raises(NotFound):
            predictions.prediction_by_key(transaction, other.id, prediction.key or "")
        with pytest.raises(ModelNotFound):
            models.version_of(transaction, other.id, "m")


def test_the_latest_version_of_each_model_is_the_highest_a_page_at_a_time(catalog: Catalog) -> None:
    owner, other = (add_user(catalog, f"{who}@example.org") for who in "ab")
    with catalog.write() as transaction:
        for who in (owner, other):
            for name in ("m1", "m2", "m3"):
                for version in ("v20251121_000000_9", f"v2025112{name[1]}_000000_10", "v20251120_235959"):
                    row = model_version(who, version)
                    row.name = name
                    transaction.add(row)
    with catalog.read() as transaction:
        latest = models.list_latest(transaction, owner.id)
        assert [(row.name, row.version) for row in latest] == [
            (f"m{n}", f"v2025112{n}_000000_10") for n in (3, 2, 1)
        ]
        page = models.list_latest(transaction, owner.id, limit=1, offset=1)
        assert [row.id for row in page] == [latest[1].id]
        assert models.count_models(transaction, owner.id) == 3


def test_a_version_is_recorded_once_and_a_missing_one_names_the_latest(catalog: Catalog) -> None:
    owner = add_user(catalog, "a@b.c")
    for version in ("v1", "v2", "v2"):
        with catalog.write() as transaction:
            models.add_version(transaction, model_version(owner, version))
    with catalog.read() as transaction:
        assert [v.version for v in models.list_versions(transaction, owner.id, "m")] == ["v2", "v1"]
        with pytest.raises(VersionNotFound, match="v2"):
            models.version_of(transaction, owner.id, "m", "v9")


def test_only_the_rows_that_are_asked_for_are_read(catalog: Catalog) -> None:
    owner = add_user(catalog, "a@b.c")
    with catalog.write() as transaction:
        for second in range(30):
            transaction.add(model_version(owner, f"v20251121_0000{second:02}"))
    reads: list[tuple[Callable[[Session], object], int]] = [
        (lambda t: models.version_of(t, owner.id, "m"), 1),
        (lambda t: models.version_of(t, owner.id, "m", "v20251121_000007"), 1),
        (lambda t: models.list_latest(t, owner.id), 1),
        (lambda t: models.versions_page(t, owner.id, "m", limit=5), 5),
        (lambda t: models.hold_versions(t, owner.id, "m"), 0),
    ]
    for read, expected in reads:
        with catalog.write() as transaction:
            found = read(transaction)
            assert sum(isinstance(row, ModelVersion) for row in transaction.identity_map.values()) == expected
            del found


def test_a_training_that_is_done_stays_done(catalog: Catalog) -> None:
    owner = add_user(catalog, "a@b.c")
    with catalog.write() as transaction:
        run = training.add_run(transaction, training.NewTraining(user_id=owner.id, model_name="m", plan={}))
        runs.set_done(transaction, run.id, version="v1", url="p")
        runs.set_ended(transaction, run.id, "cancelled", None)
    with catalog.read() as transaction:
        assert training.list_runs(transaction, owner.id, status="done")[1] == 1


def test_of_two_attempts_at_a_training_one_publishes_and_none_after_a_cancel(catalog: Catalog) -> None:
    owner = add_user(catalog, "a@b.c")
    with catalog.write() as transaction:
        first, second = (
            training.add_run(
                transaction, training.NewTraining(user_id=owner.id, job_id=f"j{n}", model_name="m", plan={})
            )
            for n in range(2)
        )
    with catalog.write() as transaction:
        for job_id in ("j0", "j1"):
            jobs.add(transaction, job_id, "train", "train", owner.id, "m", {})
        assert runs.begin_publishing(transaction, first.id, "v1")
        assert runs.begin_publishing(transaction, first.id, "v1")
        assert not runs.begin_publishing(transaction, first.id, "v2")
        assert not jobs.cancel(transaction, "j0")
        assert jobs.cancel(transaction, "j1")
        assert not runs.begin_publishing(transaction, second.id, "v3")


def test_history_is_paged_and_counted(catalog: Catalog) -> None:
    owner = add_user(catalog, "a@b.c")
    with catalog.write() as transaction:
        for number in range(5):
            training.add_run(
                transaction, training.NewTraining(user_id=owner.id, model_name=f"m{number}", plan={})
            )
    with catalog.read() as transaction:
        page, total = training.list_runs(transaction, owner.id, limit=2, offset=4)
    assert (len(page), total) == (1, 5)


def test_writers_wait_for_each_other_and_lose_nothing(catalog: Catalog) -> None:
    def write(number: int) -> None:
        for round_ in range(10):
            with catalog.write() as transaction:
                audit.record(transaction, None, "test", f"{number}-{round_}")

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with catalog.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM audit_log")).scalar_one() == 60


def test_a_database_that_is_away_is_named_without_its_password() -> None:
    gone = Catalog(f"postgresql+psycopg://u:hush@127.0.0.1:{free_port()}/x")
    with pytest.raises(CatalogUnavailable, match=r"127\.0\.0\.1") as caught, gone.read() as transaction:
        users.count_users(transaction)
    assert "hush" not in str(caught.value)
    gone.close()


def model_version(owner: User, version: str) -> ModelVersion:
    return ModelVersion(
        user_id=owner.id,
        name="m",
        version=version,
        prefix=f"p/{version}",
        size_bytes=1,
        manifest_digest="0",
        report={},
    )


def test_of_many_migrations_of_the_same_objects_one_begins(catalog: Catalog) -> None:
    with catalog.write() as transaction:
        ids = [
            journal.add_migration(
                transaction, Migration(source="s3://a/b", destination=f"s3://c/{n}", prefix="x")
            ).id
            for n in range(6)
        ]
    begun, refused, ready = list[Hold](), list[str](), threading.Barrier(len(ids))

    def begin(migration_id: str) -> None:
        hold = Hold(catalog, migration_id)
        ready.wait()
        try:
            begun.append(hold.take("running"))
        except MigrationHeld as error:
            refused.append(str(error))

    threads = [threading.Thread(target=begin, args=(migration_id,)) for migration_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for hold in begun:
        hold.release("stopped", None)
    assert (len(begun), len(refused)) == (1, 5)
    assert all(f"Migration {begun[0].migration_id} is at work" in message for message in refused)


def test_a_look_sees_what_is_committed_and_changes_and_holds_nothing(catalog: Catalog) -> None:
    user = add_user(catalog, "looks@example.org")
    with catalog.look() as transaction:
        assert transaction.scalars(select(User.email).where(User.id == user.id)).one() == user.email
        with pytest.raises(TypeError, match=r"Catalog\.write"):
            transaction.execute(update(User).where(User.id == user.id).values(name="changed"))
        with pytest.raises(TypeError, match=r"Catalog\.write"):
            transaction.scalars(select(User).where(User.id == user.id).with_for_update()).all()
        row = transaction.scalars(select(User).where(User.id == user.id)).one()
        row.name = "changed"
        assert (
            transaction.scalars(select(User.name).where(User.id == user.id)).one() == ""
        )  # nothing is flushed
        with pytest.raises(TypeError, match=r"Catalog\.write"):
            transaction.flush()
    with catalog.read() as transaction:
        assert users.user_by_id(transaction, user.id).name == ""


def test_a_connection_that_its_server_ended_is_replaced_before_it_is_used(postgresql_url: str) -> None:
    catalog = Catalog(postgresql_url)
    question = select(func.pg_backend_pid())
    try:
        for look in (catalog.look, catalog.read):
            with look() as transaction:
                ended = transaction.scalar(question)
            with psycopg.connect(postgresql_url.replace("+psycopg", ""), autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s, 5000)", [ended])
            with look() as transaction:  # within the second, in which it is not asked whether it is there
                assert transaction.scalar(question) != ended
    finally:
        catalog.close()


def test_a_connection_that_answered_lately_is_used_without_being_asked_again(postgresql_url: str) -> None:
    catalog = Catalog(postgresql_url)
    asked: list[object] = []
    do_ping = catalog.engine.dialect.do_ping
    try:
        with mock.patch.object(
            catalog.engine.dialect, "do_ping", lambda each: asked.append(each) or do_ping(each)
        ):
            for _ in range(2):
                with catalog.look() as transaction:
                    transaction.execute(select(literal(1)))
            assert asked == []
            with mock.patch("ecluse.connections._ANSWERED_LATELY", 0.0), catalog.look() as transaction:
                transaction.execute(select(literal(1)))
            assert len(asked) == 1
    finally:
        catalog.close()
