"""A user's models: what the catalog says and what the registry holds are the same, whatever happens in between."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import select
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import joblib
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from ecluse import models, work
from ecluse.apps.fraud.rows import datasets, training
from ecluse.apps.fraud.rows import references as reference_rows
from ecluse.apps.fraud.rows.tables import Dataset, ReferenceModel
from ecluse.catalog import models as rows
from ecluse.catalog import runs
from ecluse.catalog import trust as trusts
from ecluse.catalog.tables import AuditEntry, ModelVersion, Publication, User
from ecluse.conditions import _WORD, parse_condition
from ecluse.errors import (
    AliasNotFound,
    DigestMismatch,
    Forbidden,
    InvalidInput,
    ManifestInvalid,
    ModelNotFound,
    ModelUnreadable,
    SettingsError,
    SignatureInvalid,
    StoreUnavailable,
    VersionInUse,
    VersionNotFound,
)
from ecluse.models import folders
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Settings
from tests.servers import ObjectServer
from tests.support.deaths import die_in_command


@pytest.fixture
def user(runtime: Runtime) -> User:
    return runtime.accounts.local_administrator()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "plots").mkdir(parents=True)
    (folder / "best_model.txt").write_text("tree\n" * 100)
    (folder / "plots" / "curve.json").write_text("{}")
    return folder


def publish(
    runtime: Runtime, user: User, model: Path, name: str = "payments", **metadata: Any
) -> ModelVersion:
    return models.publish(runtime, user.id, name, [model], metadata=metadata)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# Publish and resolve


def test_a_published_version_has_its_row_and_comes_back_as_it_was(
    runtime: Runtime, user: User, model: Path, tmp_path: Path
) -> None:
    extra = tmp_path / "notes.md"
    extra.write_text("notes")
    row = models.publish(runtime, user.id, "payments", [model, extra], metadata={"val": 0.9})
    assert row.details == {"val": 0.9}
    assert row.size_bytes == 507
    manifest = models.manifest_of(runtime, row)
    assert [file.path for file in manifest.files] == ["best_model.txt", "notes.md", "plots/curve.json"]
    assert manifest.digest == row.manifest_digest
    got = models.download(runtime, row, tmp_path / "out")
    assert (got.files, got.bytes, got.from_cache) == (3, 507, 0)
    assert contents(tmp_path / "out") == contents(model) | {"notes.md": b"notes"}


def test_a_reference_means_the_latest_a_version_or_an_alias(
    runtime: Runtime, user: User, model: Path
) -> None:
    first, second = publish(runtime, user, model), publish(runtime, user, model)
    models.set_alias(runtime, user.id, "payments", "production", first.version)
    meant = {
        reference: models.resolve(runtime, user.id, reference).version
        for reference in (
            "payments", "payments@latest", f"payments@{first.version}", "payments@production"
        )
    }  # fmt: skip
    assert list(meant.values()) == [second.version, second.version, first.version, first.version]


def test_what_is_not_there_is_told_with_the_way_out(runtime: Runtime, user: User, model: Path) -> None:
    row = publish(runtime, user, model)
    for reference, error, told in (
        ("nothing", ModelNotFound, "ecluse models list"),
        ("nothing@production", ModelNotFound, "ecluse models list"),
        ("payments@v20200101_000000", VersionNotFound, row.version),
        ("payments@staging", AliasNotFound, "ecluse models alias payments@VERSION staging"),
        ("payments@", InvalidInput, "NAME@ALIAS"),
        ("@production", InvalidInput, "NAME@ALIAS"),
    ):
        with pytest.raises(error, match=told):
            models.resolve(runtime, user.id, reference)


def test_another_persons_models_do_not_exist(runtime: Runtime, user: User, model: Path) -> None:
    row = publish(runtime, user, model)
    other = runtime.accounts.sign_up("other@example.org", "a long password")
    for attempt in (
        lambda: models.resolve(runtime, other.id, f"payments@{row.version}"),
        lambda: models.set_alias(runtime, other.id, "payments", "production", row.version),
        lambda: models.remove(runtime, other.id, "payments", row.version),
        lambda: models.search(runtime, other.id, [], "payments"),
    ):
        with pytest.raises(ModelNotFound):
            attempt()
    assert models.search(runtime, other.id) == []


def test_the_latest_version_is_the_highest_whoever_wrote_its_row_last(
    runtime: Runtime, user: User, model: Path
) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: publish(runtime, user, model).version, range(12)))
    assert len(set(made)) == 12
    latest = runtime.registry(user.id).latest("payments")
    assert models.resolve(runtime, user.id, "payments").version == latest
    assert [row.version for row in models.search(runtime, user.id)][::-1] == runtime.registry(
        user.id
    ).versions("payments")


def test_publishing_again_with_the_same_nonce_changes_nothing(
    runtime: Runtime, user: User, model: Path
) -> None:
    first = models.publish(
        runtime, user.id, "payments", [model], metadata={}, origin=models.Origin(nonce="one")
    )
    (model / "best_model.txt").write_text("another tree")
    again = models.publish(
        runtime, user.id, "payments", [model], metadata={}, origin=models.Origin(nonce="one")
    )
    assert (again.id, again.version) == (first.id, first.version)
    models.verify(runtime, again)
    other = models.publish(
        runtime, user.id, "payments", [model], metadata={}, origin=models.Origin(nonce="two")
    )
    assert other.version != first.version


def test_two_files_of_one_name_are_refused_and_nothing_is_claimed(
    runtime: Runtime, user: User, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "best_model.txt").write_text("another")
    with pytest.raises(InvalidInput, match=r"both be 'best_model\.txt'"):
        models.publish(runtime, user.id, "m", [model, tmp_path / "best_model.txt"], metadata={})
    with pytest.raises(InvalidInput, match="does not exist"):
        models.publish(runtime, user.id, "m", [tmp_path / "nowhere"], metadata={})
    assert runtime.registry(user.id).leftovers() == []


def test_a_version_whose_publisher_died_after_the_commit_gets_its_row(
    runtime: Runtime, user: User, model: Path
) -> None:
    publication = half_published(runtime, user, model)
    with pytest.raises(ModelNotFound):
        models.resolve(runtime, user.id, "payments")
    assert models.reconcile(runtime) == 0, "it is given time to write its row itself"
    made_older(runtime, timedelta(minutes=5))
    assert models.reconcile(runtime) == 1
    assert models.reconcile(runtime) == 0
    row = models.resolve(runtime, user.id, "payments")
    assert (row.version, row.report, row.details) == (publication.version, {"auc": 0.9}, {"val": 1})
    models.verify(runtime, row)


@pytest.mark.parametrize("url", ["az://gone/u/a/v20250101_000000", "file:///gone/u/a/v20250101_000000"])
def test_a_publication_in_a_store_that_cannot_be_asked_does_not_keep_others_from_their_rows(
    runtime: Runtime, user: User, model: Path, caplog: pytest.LogCaptureFixture, url: str
) -> None:
    publication = half_published(runtime, user, model)
    lost = Publication(user_id=user.id, name="a", version="v20250101_000000", url=url, nonce="x")
    with runtime.catalog.write() as transaction:
        rows.begin_publication(transaction, lost)
    made_older(runtime, timedelta(minutes=5))
    assert models.reconcile(runtime) == 1
    assert models.resolve(runtime, user.id, "payments").version == publication.version
    assert models.reconcile(runtime) == 0
    assert sum("a v20250101_000000" in record.message for record in caplog.records) <= 1


def test_what_one_part_of_the_upkeep_stumbles_over_does_not_stop_a_worker(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(_: Runtime) -> int:
        raise SettingsError("Set AZURE_STORAGE_ACCOUNT.")

    worker = Worker(runtime, {}, stumble)
    left = runtime.settings.home / "store" / ".ecluse-0-0.part"
    left.write_bytes(b"")
    os.utime(left, (0, 0))
    worker.stop()
    worker.run_until_stopped()
    assert not left.exists(), "the parts after it are done all the same"
    assert "Set AZURE_STORAGE_ACCOUNT." in caplog.text


def test_a_publisher_that_died_before_the_commit_is_forgotten_after_a_day(
    runtime: Runtime, user: User, model: Path
) -> None:
    publication = half_published(runtime, user, model, commits=False)
    made_older(runtime, timedelta(hours=1))
    assert models.reconcile(runtime) == 0
    assert pending(runtime) == [publication.version]
    made_older(runtime, timedelta(hours=25))
    assert models.reconcile(runtime) == 0
    assert pending(runtime) == []
    assert models.search(runtime, user.id) == []


def test_a_version_that_was_deleted_does_not_come_back(runtime: Runtime, user: User, model: Path) -> None:
    half_published(runtime, user, model)
    made_older(runtime, timedelta(minutes=5))
    models.reconcile(runtime)
    row = models.resolve(runtime, user.id, "payments")
    models.remove(runtime, user.id, "payments", row.version)
    assert models.reconcile(runtime) == 0
    assert models.search(runtime, user.id) == []


@pytest.mark.parametrize(("commits", "status"), [(True, "done"), (False, "failed")])
def test_a_training_whose_job_ended_is_done_if_its_version_was_committed(
    runtime: Runtime, user: User, model: Path, commits: bool, status: str
) -> None:
    """Its worker died between the commit and the row, and its job was given up."""
    report = {"metrics": {"average_precision": 0.7}, "threshold": 0.5}
    publication = half_published(runtime, user, model, commits=commits, report=report)
    with runtime.catalog.write() as transaction:
        run = training.add_run(
            transaction, training.NewTraining(user_id=user.id, job_id="gone", model_name="payments", plan={})
        )
        runs.begin_publishing(transaction, run.id, publication.version)
    assert work.reconcile(runtime) == 1
    with runtime.catalog.read() as transaction:
        ended = training.run_of(transaction, user.id, run.id)
    assert ended.status == status
    assert ended.version == (publication.version if commits else None)
    assert [row.version for row in models.search(runtime, user.id)] == [publication.version] * commits
    assert pending(runtime) == []
    assert work.reconcile(runtime) == 0


def half_published(
    runtime: Runtime,
    user: User,
    model: Path,
    *,
    commits: bool = True,
    report: dict[str, Any] | None = None,
) -> Publication:
    """What a publisher that was killed leaves: noted in the catalog, and committed or not."""
    registry = runtime.registry(user.id)
    version = registry.claim("payments", "n")
    files = registry.upload("payments", version, model)
    publication = Publication(
        user_id=user.id,
        name="payments",
        version=version,
        url=registry.url_of("payments", version),
        nonce="n",
        report=report or {"auc": 0.9},
    )
    with runtime.catalog.write() as transaction:
        models.announce(transaction, publication)
    if commits:
        registry.commit("payments", version, files, created_by=user.id, nonce="n", metadata={"val": 1})
    return publication


def pending(runtime: Runtime) -> list[str]:
    with runtime.catalog.read() as transaction:
        return [one.version for one in rows.open_publications(transaction, datetime.now(UTC))]


def made_older(runtime: Runtime, age: timedelta) -> None:
    with runtime.catalog.write() as transaction:
        for publication in rows.open_publications(transaction, datetime.now(UTC)):
            publication.created_at = datetime.now(UTC) - age


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_publisher_that_dies_at_a_point_shows_no_one_half_a_version(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Rows and manifests agree once both have been tidied."""
    environ = {}
    if kind == "s3":
        environ = request.getfixturevalue("object_server").environment(tmp_path.name)
    settings = Settings.from_environment(environ, home=tmp_path / "home")
    model = tmp_path / "model"
    model.mkdir()
    for n in range(8):
        (model / f"{n}.bin").write_bytes(random.Random(n).randbytes(300_000))
    with Runtime.open(settings) as runtime:
        user = runtime.accounts.local_administrator()
        for point in ("registry.uploaded", "registry.commit", "registry.committed"):
            die_in_command(point, settings.home, environ, "models", "publish", "m", str(model), "--local")
            assert models.search(runtime, user.id) == []
        (whole,) = runtime.registry(user.id).versions("m")
        assert len(runtime.registry(user.id).verify("m", whole).files) == 8
        made_older(runtime, timedelta(minutes=5))
        models.reconcile(runtime)
        assert [row.version for row in models.search(runtime, user.id)] == [whole]
        models.gc(runtime, delete=True, older_than=timedelta(0))
        assert runtime.registry(user.id).leftovers() == []
        assert runtime.registry(user.id).versions("m") == [whole]
        assert all(models.verify(runtime, row) for row in models.search(runtime, user.id))


# Fetch and verify


@pytest.fixture
def distant(object_server: ObjectServer, tmp_path: Path) -> Iterator[Runtime]:
    """A runtime with its models in SeaweedFS."""
    environ = object_server.environment(f"models-{random.random()}")
    with Runtime.open(Settings.from_environment(environ, home=tmp_path / "home")) as opened:
        yield opened


def test_what_is_cached_is_loaded_while_the_store_is_away(
    distant: Runtime, model: Path, tmp_path: Path
) -> None:
    user = distant.accounts.local_administrator()
    row = publish(distant, user, model)
    assert models.checkout(distant, row, tmp_path / "first").from_cache == 0
    away = {"ECLUSE_STORE_URL": "s3://models", "S3_ENDPOINT": "http://127.0.0.1:9"} | {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"
    }  # fmt: skip
    with Runtime.open(
        Settings.from_environment(away, home=tmp_path / "home"), patience=timedelta(seconds=0.5)
    ) as runtime:
        row = models.resolve(runtime, user.id, "payments")
        for take, folder in ((models.checkout, "second"), (models.download, "third")):
            got = take(runtime, row, tmp_path / folder)
            assert (got.files, got.from_cache) == (2, 2)
            assert contents(tmp_path / folder) == contents(model)
        with pytest.raises(StoreUnavailable):
            models.verify(runtime, row)
        assert models.resolve(runtime, user.id, "payments").damaged_at is None, "away is not damaged"


def test_a_checkout_shares_the_cache_and_a_download_is_ones_own(
    runtime: Runtime, user: User, model: Path, tmp_path: Path
) -> None:
    row = publish(runtime, user, model)
    models.checkout(runtime, row, tmp_path / "shared")
    models.download(runtime, row, tmp_path / "own")
    assert (tmp_path / "shared" / "best_model.txt").stat().st_nlink == 2
    assert (tmp_path / "own" / "best_model.txt").stat().st_nlink == 1
    (tmp_path / "own" / "best_model.txt").write_text("mine now")
    models.checkout(runtime, row, tmp_path / "again")
    assert contents(tmp_path / "again") == contents(model)


def test_a_damaged_version_is_noted_and_not_loaded_until_it_verifies(
    runtime: Runtime, user: User, model: Path, tmp_path: Path
) -> None:
    row = publish(runtime, user, model)
    models.verify(runtime, row)
    assert models.resolve(runtime, user.id, "payments").verified_at is not None
    key = runtime.stores.locate(f"{row.url}/best_model.txt")
    kept = key.store.get(key.key)
    key.store.put(key.key, b"x" * len(kept))
    with pytest.raises(DigestMismatch, match=r"best_model\.txt"):
        models.verify(runtime, row)
    damaged = models.resolve(runtime, user.id, "payments")
    assert damaged.damaged_at is not None
    assert "best_model.txt" in (damaged.damage or "")
    for take in (models.checkout, models.download):
        with pytest.raises(DigestMismatch, match="ecluse models verify payments@"):
            take(runtime, damaged, tmp_path / "out")
    with pytest.raises(DigestMismatch):
        models.set_alias(runtime, user.id, "payments", "production", row.version)
    key.store.put(key.key, kept)
    models.verify(runtime, damaged)
    repaired = models.resolve(runtime, user.id, "payments")
    assert (repaired.damaged_at, repaired.damage) == (None, None)
    models.checkout(runtime, repaired, tmp_path / "out")


def test_a_manifest_that_says_the_same_in_other_bytes_is_not_the_one_that_was_published(
    runtime: Runtime, user: User, model: Path
) -> None:
    row = publish(runtime, user, model)
    located = runtime.stores.locate(f"{row.url}/manifest.json")
    located.store.put(located.key, json.dumps(json.loads(located.store.get(located.key))).encode())
    with pytest.raises(ManifestInvalid, match="was replaced"):
        models.verify(runtime, row)
    assert models.resolve(runtime, user.id, "payments").damaged_at is not None


def test_a_manifest_that_was_replaced_is_noticed_past_and_without_the_cache(
    runtime: Runtime, user: User, model: Path
) -> None:
    row = publish(runtime, user, model)
    located = runtime.stores.locate(f"{row.url}/manifest.json")
    changed = json.loads(located.store.get(located.key)) | {"created_by": "someone"}
    located.store.put(located.key, json.dumps(changed).encode())
    with pytest.raises(ManifestInvalid, match="replaced"):
        models.manifest_of(runtime, row)
    with pytest.raises(ManifestInvalid, match="replaced"):
        models.verify(runtime, row)
    assert models.resolve(runtime, user.id, "payments").damaged_at is not None


# Aliases and deletion


def test_an_alias_moves_and_is_forgotten_and_that_is_on_record(
    runtime: Runtime, user: User, model: Path
) -> None:
    first, second = publish(runtime, user, model), publish(runtime, user, model)
    models.set_alias(runtime, user.id, "payments", "production", first.version)
    models.set_alias(runtime, user.id, "payments", "production", second.version)
    assert [(a.alias, a.version) for a in models.aliases(runtime, user.id, "payments")] == [
        ("production", second.version)
    ]
    models.remove_alias(runtime, user.id, "payments", "production")
    assert models.aliases(runtime, user.id) == []
    with pytest.raises(AliasNotFound):
        models.remove_alias(runtime, user.id, "payments", "production")


@pytest.mark.parametrize(
    "alias", ["latest", "v20251121_000000", "v20251121_000000_2", "", "Über", "a/b", "A"]
)
def test_what_could_be_taken_for_something_else_is_no_alias(
    runtime: Runtime, user: User, model: Path, alias: str
) -> None:
    row = publish(runtime, user, model)
    with pytest.raises(InvalidInput):
        models.set_alias(runtime, user.id, "payments", alias, row.version)


def test_many_who_set_an_alias_at_once_leave_one_that_points_at_a_version(
    runtime: Runtime, user: User, model: Path
) -> None:
    versions = [publish(runtime, user, model).version for _ in range(3)]
    with ThreadPoolExecutor(6) as pool:
        list(
            pool.map(
                lambda n: models.set_alias(runtime, user.id, "payments", "production", versions[n % 3]),
                range(12),
            )
        )
    (alias,) = models.aliases(runtime, user.id)
    assert alias.version in versions


def test_a_version_with_an_alias_is_not_deleted(runtime: Runtime, user: User, model: Path) -> None:
    row = publish(runtime, user, model)
    models.set_alias(runtime, user.id, "payments", "production", row.version)
    with pytest.raises(VersionInUse, match="the alias production") as refused:
        models.remove(runtime, user.id, "payments", row.version)
    assert "ecluse" not in str(refused.value), "a page shows it"
    assert refused.value.command == "ecluse models alias payments production --remove"
    assert refused.value.call == "DELETE /api/models/payments/aliases/production"
    models.verify(runtime, row)
    models.remove_alias(runtime, user.id, "payments", "production")
    models.remove(runtime, user.id, "payments", row.version)
    with pytest.raises(ModelNotFound):
        models.resolve(runtime, user.id, "payments")
    assert runtime.registry(user.id).leftovers() == []


def test_an_interrupted_deletion_leaves_a_row_that_says_so_and_can_be_deleted_again(
    runtime: Runtime, user: User, model: Path, tmp_path: Path
) -> None:
    row = publish(runtime, user, model)
    located = runtime.stores.locate(row.url)
    with runtime.catalog.write() as transaction:
        rows.set_damaged(transaction, row.id, "Its deletion was not finished; delete it again.")
    located.store.delete(f"{located.key}/manifest.json")
    half = models.resolve(runtime, user.id, "payments")
    with pytest.raises(DigestMismatch, match="deletion was not finished"):
        models.checkout(runtime, half, tmp_path / "out")
    models.remove(runtime, user.id, "payments", row.version)
    assert models.search(runtime, user.id) == []
    assert runtime.registry(user.id).leftovers() == []


def test_on_postgresql_versions_are_aliased_damaged_repaired_and_deleted_as_on_sqlite(
    postgresql_url: str, model: Path, tmp_path: Path
) -> None:
    settings = Settings.from_environment({"DATABASE_URL": postgresql_url}, home=tmp_path / "home")
    with Runtime.open(settings) as runtime:
        user = runtime.accounts.local_administrator()
        with ThreadPoolExecutor(4) as pool:
            versions = list(pool.map(lambda _: publish(runtime, user, model, val=0.5).version, range(4)))
            list(
                pool.map(
                    lambda n: models.set_alias(runtime, user.id, "payments", "production", versions[n % 4]),
                    range(16),
                )
            )
        (alias,) = models.aliases(runtime, user.id)
        row = models.resolve(runtime, user.id, "payments@production")
        assert (row.version, alias.version in versions) == (alias.version, True)
        with pytest.raises(VersionInUse):
            models.remove(runtime, user.id, "payments", row.version)
        located = runtime.stores.locate(f"{row.url}/best_model.txt")
        kept = located.store.get(located.key)
        located.store.delete(located.key)
        for _ in range(2):
            with pytest.raises(DigestMismatch, match="is missing"):
                models.verify(runtime, row)
        assert models.resolve(runtime, user.id, "payments@production").damaged_at is not None
        located.store.put(located.key, kept)
        models.verify(runtime, row)
        models.remove_alias(runtime, user.id, "payments", "production")
        models.remove(runtime, user.id, "payments", row.version)
        found = models.search(runtime, user.id, [parse_condition("val=0.5")])
        assert {one.version for one in found} == set(versions) - {row.version}


# Search


def test_versions_are_found_by_what_their_metadata_say(runtime: Runtime, user: User, model: Path) -> None:
    good = publish(
        runtime, user, model, val_accuracy=0.93, framework="torch", parameters={"depth": 3}, ok=True
    )
    poor = publish(
        runtime, user, model, val_accuracy=0.81, framework="sklearn", metrics={"test": {"f1": 0.5}}
    )
    other = publish(runtime, user, model, "other")
    assert other.name == "other"

    def found(*conditions: str, name: str | None = None) -> list[str]:
        parsed = [parse_condition(one) for one in conditions]
        return [row.version for row in models.search(runtime, user.id, parsed, name)]

    assert found("val_accuracy>0.9") == [good.version]
    assert found("val_accuracy >= 0.81") == [poor.version, good.version]
    assert found("val_accuracy<=0.93", "framework=torch") == [good.version]
    assert found("framework!=torch") == [poor.version]
    assert found("depth=3") == found("parameters.depth=3.0") == [good.version]
    assert found("test.f1<0.6") == found("metrics.test.f1<0.6") == [poor.version]
    assert found("ok=true") == [good.version]
    assert found("framework>0") == found("missing!=1") == []
    assert found("framework>a") == found("framework!=x") == [poor.version, good.version]
    assert found("val_accuracy!=high") == [poor.version, good.version]
    assert found("val_accuracy>0", name="payments") == [poor.version, good.version]
    with pytest.raises(ModelNotFound):
        found(name="nothing")


def test_versions_are_found_by_name_time_state_and_what_is_joined(
    runtime: Runtime, user: User, model: Path
) -> None:
    old = publish(runtime, user, model, "leaves", accuracy=0.7, note="salt and pepper")
    new = publish(runtime, user, model, "leaves", accuracy=0.9)
    other = publish(runtime, user, model, "other", accuracy=0.8)
    models.set_alias(runtime, user.id, "leaves", "production", new.version)
    with runtime.catalog.write() as transaction:
        row = rows.version_of(transaction, user.id, "leaves", old.version)
        row.created_at = datetime(2026, 11, 1, 12, 30, 20, tzinfo=UTC)
        rows.set_damaged(transaction, row.id, "gone")

    def found(text: str) -> set[str]:
        return {row.id for row in models.search(runtime, user.id, [parse_condition(text)])}

    everything = {old.id, new.id, other.id}
    assert found("name=leaves") == {old.id, new.id}
    assert found("name!=leaves") == {other.id}
    assert found("alias=production") == {new.id}
    assert found("alias!=production") == {old.id, other.id}
    assert found("damaged=true") == found("damaged_at>2020-01-01") == {old.id}
    assert found("created_at=2026-11-01") == found("created_at<=2026-11-01") == {old.id}
    assert found("created_at<2026-11-01") == found("created_at>2026-11-01T12:30 and name=leaves") - {new.id}
    assert found("created_at=2026-11-01T12:30") == found("created_at<2026-11-01T13:31+01:00") == {old.id}
    assert found("size_bytes>0") == everything
    assert found("name=leaves and accuracy>0.8") == {new.id}
    assert found("name=other or accuracy<0.8") == {old.id, other.id}
    assert found("name=other or name=leaves and accuracy>0.8") == {new.id, other.id}, "and binds closer"
    assert found("(name=other or name=leaves) AND accuracy<=0.8") == {old.id, other.id}
    assert found("((accuracy=0.7)or(accuracy=0.9))and name='leaves'") == {old.id, new.id}
    assert found("note='salt and pepper'") == found('(note = "salt and pepper")') == {old.id}
    query = [parse_condition("acuracy>0.5 or metadata.accuracy>2 or name=x")]
    assert models.unknown_keys(runtime, user.id, query) == ["acuracy"]


def test_a_fraud_version_is_found_by_the_metrics_of_its_report(
    runtime: Runtime, user: User, model: Path
) -> None:
    report = {"metrics": {"average_precision": 0.71}}
    row = models.publish(
        runtime, user.id, "m", [model], metadata={}, origin=models.Origin(application="fraud", report=report)
    )
    found = models.search(runtime, user.id, [parse_condition("average_precision>0.7")])
    assert [one.version for one in found] == [row.version]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "val_accuracy",
        "> 0.9",
        "a b > 1",
        "a>",
        "a ~ 1",
        "a and b",
        "a>1 and b",
        "a>1 or",
        "(a>1",
        "note=salt and pepper",
        "auc>>0.8",
        "auc> =0.8",
    ],
)
def test_what_is_no_condition_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"val_accuracy>0\.9"):
        parse_condition(text)


@pytest.mark.parametrize(
    "text", ["a." * 30_000 + "a>1", "a" * 201 + ">1", "a." * 20 + "a>1", "a=" + "1" * 1_001]
)
def test_a_condition_that_would_take_long_to_look_for_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"too long.*val_accuracy>0\.9"):
        parse_condition(text)
    (condition,) = parse_condition("a." * 19 + "a=" + "1" * 1_000).conditions()
    assert condition.value == "1" * 1_000


def test_a_time_that_is_none_is_refused_with_what_can_be_written() -> None:
    with pytest.raises(InvalidInput, match=r"created_at takes a date or a time .* created_at>=2026-11-01"):
        parse_condition("created_at>yesterday")


@pytest.mark.parametrize("time", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"])
def test_a_time_whose_offset_leads_out_of_the_calendar_is_refused(time: str) -> None:
    with pytest.raises(InvalidInput, match="created_at takes a date or a time"):
        parse_condition(f"created_at>{time}")


def test_spaces_in_a_value_are_read_once() -> None:
    """A search that reads all that follow, anew at each of them, takes the square of their number."""
    word = _WORD.search("x" + " " * 50 + "and")
    assert word is not None
    assert word.span() == (50, 54), "the space before the word alone"
    note, other = parse_condition("note=x" + " " * 3_900 + " and a=1").conditions()
    assert (note.value, other.value) == ("x", "1")


def test_parentheses_without_end_are_refused() -> None:
    with pytest.raises(InvalidInput, match="too long"):
        parse_condition("(" * 500 + "a>1" + ")" * 500)


def test_a_search_takes_twenty_conditions(runtime: Runtime, user: User, model: Path) -> None:
    row = publish(runtime, user, model, ok=True)
    conditions = [parse_condition("ok=true")] * 20
    assert [one.id for one in models.search(runtime, user.id, conditions)] == [row.id]
    for more in ("ok=true", "ok=true and ok=true"):
        with pytest.raises(InvalidInput, match=r"2[12] conditions"):
            models.search(runtime, user.id, [*conditions, parse_condition(more)])


_KEYS = st.from_regex(r"[a-z_]{1,8}(\.[a-z]{1,5})?", fullmatch=True)


@given(key=_KEYS, low=st.floats(-1e9, 1e9), high=st.floats(-1e9, 1e9))
def test_a_number_is_in_order_with_every_other(key: str, low: float, high: float) -> None:
    row = ModelVersion(details={key: low}, report={})
    for sign, holds in ((">", low > high), (">=", low >= high), ("<", low < high), ("=", low == high)):
        assert parse_condition(f"{key}{sign}{high!r}").holds(row) is holds
    assert parse_condition(f"{key} != {high!r}").holds(row) is (low != high)


# Clean up


def test_a_clean_up_shows_first_and_removes_only_what_no_version_holds(
    runtime: Runtime, user: User, model: Path
) -> None:
    kept = publish(runtime, user, model)
    gone = publish(runtime, user, model)
    models.remove(runtime, user.id, "payments", gone.version)
    registry = runtime.registry(user.id)
    registry.upload("payments", registry.claim("payments", "dead"), model)
    assert models.gc(runtime) == [], "it may still be under way"
    (found,) = models.gc(runtime, older_than=timedelta(0))
    assert (found.kind, found.objects) == ("unfinished", 3)
    assert len(registry.leftovers()) == 1, "nothing is removed unasked"
    assert [one.kind for one in models.gc(runtime, delete=True, older_than=timedelta(0))] == ["unfinished"]
    assert models.gc(runtime, older_than=timedelta(0)) == []
    models.verify(runtime, kept)
    tombstone = runtime.stores.locate(f"{gone.url}/.claim")
    assert tombstone.store.exists(tombstone.key), "its name stays taken"


def test_a_clean_up_shows_the_bytes_that_it_removes_uploads_of_dead_writers_included(
    runtime: Runtime, user: User, model: Path
) -> None:
    registry = runtime.registry(user.id)
    registry.upload("payments", registry.claim("payments", "dead"), model)
    folder = Path(urlsplit(runtime.stores.area("models").url).path) / "user_models" / user.id
    part = folder / ".ecluse-1-2.part"
    part.write_bytes(b"x" * 340_000)
    at_once = timedelta(seconds=-5)
    shown = models.gc(runtime, older_than=at_once)
    assert part.exists(), "nothing is removed unasked"
    assert ("uploads", 1, 340_000) in [(one.kind, one.objects, one.size) for one in shown]
    removed = models.gc(runtime, delete=True, older_than=at_once)
    assert [(one.url, one.kind, one.objects, one.size) for one in removed] == [
        (one.url, one.kind, one.objects, one.size) for one in shown
    ]
    assert not part.exists()
    assert models.gc(runtime, older_than=at_once) == []


def test_what_a_running_training_has_uploaded_is_not_cleaned_up(
    runtime: Runtime, user: User, model: Path
) -> None:
    with runtime.catalog.write() as transaction:
        table = Dataset(user_id=user.id, filename="t.csv", key="k", url="u", size_bytes=1, sha256="0")
        datasets.add_dataset(transaction, table)
        run = training.add_run(
            transaction,
            training.NewTraining(
                user_id=user.id, job_id="job1", dataset_id=table.id, model_name="m", plan={}
            ),
        )
    registry = runtime.registry(user.id)
    registry.upload("m", registry.claim("m", "job1 123"), model)
    assert models.gc(runtime, delete=True, older_than=timedelta(0)) == []
    with runtime.catalog.write() as transaction:
        runs.set_ended(transaction, run.id, "failed", "it failed")
    assert len(models.gc(runtime, delete=True, older_than=timedelta(0))) == 1


# Import


@pytest.fixture
def existing(tmp_path: Path) -> Path:
    """Two models as people keep them: a joblib with its figures, and a pickle under a name that hides it."""
    fitted = LogisticRegression().fit([[0.0], [1.0], [2.0], [3.0]], [0, 0, 1, 1])
    folder = tmp_path / "models"
    (folder / "dataset1").mkdir(parents=True)
    (folder / "dataset40" / "deep").mkdir(parents=True)
    joblib.dump(fitted, folder / "dataset1" / "model.joblib")
    (folder / "dataset1" / "metrics.json").write_text(
        json.dumps({"accuracy": 0.91, "per_class": {"f1": 0.8, "note": "text"}, "bad": "text"})
    )
    (folder / "dataset1" / "metadata.json").write_text(
        json.dumps({"rows": 1200, "domain": "credit", "columns": ["amount", "age"]})
    )
    (folder / "dataset40" / "deep" / "thing.bin").write_bytes(pickle.dumps(fitted))
    (folder / "dataset40" / "readme.md").write_text("notes")
    return folder


def test_every_folder_becomes_a_model_and_is_left_out_when_it_has_not_changed(
    runtime: Runtime, user: User, existing: Path, tmp_path: Path
) -> None:
    first = models.import_folder(runtime, user, existing)
    assert [(one.name, one.outcome, one.files) for one in first] == [
        ("dataset1", "published", 3),
        ("dataset40", "published", 2),
    ]
    assert [one.pickles for one in first] == [("model.joblib",), ("deep/thing.bin",)]
    row = models.resolve(runtime, user.id, "dataset1")
    assert row.details["metrics"] == {"accuracy": 0.91, "per_class": {"f1": 0.8}}
    assert row.details["rows"] == 1200
    models.download(runtime, row, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(existing / "dataset1")
    assert [one.outcome for one in models.import_folder(runtime, user, existing)] == [
        "unchanged",
        "unchanged",
    ]
    (existing / "dataset40" / "readme.md").write_text("more notes")
    assert [one.outcome for one in models.import_folder(runtime, user, existing)] == [
        "unchanged",
        "published",
    ]


def test_links_out_of_a_folder_and_what_is_no_file_are_refused_by_name(
    runtime: Runtime, user: User, existing: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_text("k")
    inner = existing / "dataset40"
    (inner / "same.md").symlink_to(inner / "readme.md")
    assert "same.md" in models.gathered([inner])
    (existing / "away").symlink_to(tmp_path / "secret")
    for target in (tmp_path / "secret" / "key", tmp_path / "secret", Path("/dev/null")):
        (inner / "link").symlink_to(target)
        with pytest.raises(InvalidInput, match="dataset40/link is a link that leads out"):
            models.publish(runtime, user.id, "payments", [inner], metadata={})
        told = {one.name: one for one in models.import_folder(runtime, user, existing)}
        assert told["dataset1"].outcome in ("published", "unchanged")
        assert told["away"].outcome == told["dataset40"].outcome == "failed"
        (inner / "link").unlink()
    os.mkfifo(tmp_path / "pipe")
    for special in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(InvalidInput, match="neither a file nor a folder"):
            models.publish(runtime, user.id, "payments", [special], metadata={})


@pytest.mark.parametrize(
    "text", ["[" * 300_000, '{"a":' * 400 + "1" + "}" * 400, '{"n": 1' + "0" * 400 + "}"]
)
def test_figures_that_cannot_be_kept_are_no_ones_crash(
    runtime: Runtime, user: User, existing: Path, text: str
) -> None:
    (existing / "dataset1" / "metrics.json").write_text(text)
    told = models.import_folder(runtime, user, existing)
    assert [one.outcome for one in told] == ["published", "published"]
    assert bool(told[0].problems) is ("n" not in text)


class Bomb:
    """A pickle that leaves a mark when it is read."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._mark,))


@pytest.mark.parametrize("name", ["model.joblib", "model.pkl", "model.pickle", "model.skl", "weights.bin"])
def test_a_pickle_is_never_read_without_trust(
    runtime: Runtime, user: User, tmp_path: Path, name: str
) -> None:
    mark, folder = tmp_path / "mark", tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(pickle.dumps(Bomb(mark)))
    (one,) = models.import_folder(runtime, user, tmp_path / "models")
    assert (one.outcome, one.pickles, one.converted) == ("published", (name,), ())
    row = models.resolve(runtime, user.id, "m")
    models.verify(runtime, row)
    models.checkout(runtime, row, tmp_path / "out")
    assert not mark.exists()
    pickle.loads((folder / name).read_bytes())  # noqa: S301 (written above)
    assert mark.exists(), "the pickle of this test does leave a mark"


@pytest.mark.nightly
def test_a_trusted_pickle_is_published_as_skops_beside_itself_and_says_who_trusted_it(
    runtime: Runtime, user: User, existing: Path, tmp_path: Path
) -> None:
    models.import_folder(runtime, user, existing)
    again = models.import_folder(runtime, user, existing, trust=True)
    assert [one.outcome for one in again] == ["published", "published"]
    assert [one.converted for one in again] == [("model.joblib",), ("deep/thing.bin",)]
    row = models.resolve(runtime, user.id, "dataset1")
    manifest = models.manifest_of(runtime, row)
    told = manifest.metadata["converted"]["model.joblib"]
    (source,) = (file for file in manifest.files if file.path == "model.joblib")
    assert (told["skops"], told["sha256"]) == ("model.skops", source.sha256)
    assert told["trusted_by"] == user.id
    assert datetime.fromisoformat(told["trusted_at"])
    models.checkout(runtime, row, tmp_path / "out")
    loaded = models.load_skops(runtime, tmp_path / "out" / "model.skops")
    assert loaded.predict([[0.0], [3.0]]).tolist() == [0, 1]
    for trust in (True, False):
        unchanged = models.import_folder(runtime, user, existing, trust=trust)
        assert [one.outcome for one in unchanged] == ["unchanged", "unchanged"]


def test_what_the_publisher_says_of_trust_is_no_trust(runtime: Runtime, user: User, tmp_path: Path) -> None:
    """Whoever can publish could write `converted` with the types that they would have made."""
    import skops.io

    folder = tmp_path / "m"
    folder.mkdir()
    skops.io.dump(Path("x"), folder / "model.skops")
    types = skops.io.get_untrusted_types(file=folder / "model.skops")
    said = {"model.pkl": {"skops": "model.skops", "types": types, "trusted_by": user.id}}
    row = models.publish(runtime, user.id, "m", [folder], metadata={"converted": said})
    assert models.manifest_of(runtime, row).metadata["converted"]["model.pkl"]["types"] == types
    with pytest.raises(ModelUnreadable, match=r"no one has trusted: pathlib.*--trust"):
        models.load_skops(runtime, folder / "model.skops")
    with runtime.catalog.write() as transaction:
        digest = hashlib.sha256((folder / "model.skops").read_bytes()).hexdigest()
        trusts.record(transaction, user.id, digest, types)
    assert models.load_skops(runtime, folder / "model.skops") == Path("x")
    skops.io.dump([Path("x"), Path("y")], folder / "model.skops")  # the same types, another file
    with pytest.raises(ModelUnreadable, match="no one has trusted"):
        models.load_skops(runtime, folder / "model.skops")
    (folder / "model.skops").write_bytes(b"no archive")
    with pytest.raises(ModelUnreadable, match=r"no \.skops that can be read"):
        models.load_skops(runtime, folder / "model.skops")


@pytest.mark.nightly
def test_trust_is_an_administrators_and_kept_in_the_catalog(
    runtime: Runtime, user: User, existing: Path
) -> None:
    member = runtime.accounts.add("member@example.org")
    with pytest.raises(Forbidden, match="Only administrators trust pickles"):
        models.import_folder(runtime, member, existing, trust=True)
    models.import_folder(runtime, user, existing, trust=True)
    manifest = models.manifest_of(runtime, models.resolve(runtime, user.id, "dataset1"))
    (digest,) = (file.sha256 for file in manifest.files if file.path == "model.skops")
    with runtime.catalog.write() as transaction:
        assert trusts.types_of(transaction, digest) is not None
        entries = list(transaction.query(AuditEntry).filter(AuditEntry.subject == digest))
        assert [(one.user_id, one.detail["model"]) for one in entries] == [(user.id, "dataset1")]
        transaction.delete(entries[0])  # as of a version that was converted before this was kept
    again = models.import_folder(runtime, user, existing, trust=True)
    assert [one.outcome for one in again] == ["published", "unchanged"]


@pytest.mark.nightly
def test_what_skops_cannot_hold_is_told_of_its_model_and_the_rest_goes_on(
    runtime: Runtime, user: User, existing: Path
) -> None:
    (existing / "broken").mkdir()
    (existing / "broken" / "model.pkl").write_bytes(b"\x80\x04 not a pickle")
    (existing / "dataset1" / "lambda.pkl").write_bytes(pickle.dumps(iter([1, 2])))
    (existing / "not a name").mkdir()
    (existing / "not a name" / "x").write_text("x")
    (existing / "empty").mkdir()
    told = {one.name: one for one in models.import_folder(runtime, user, existing, trust=True)}
    assert told["broken"].outcome == "published"
    assert "model.pkl could not be converted" in told["broken"].problems[0]
    assert told["dataset1"].converted == ("model.joblib",)
    assert "lambda.pkl could not be converted" in told["dataset1"].problems[0]
    assert (told["dataset40"].outcome, told["dataset40"].problems) == ("published", ())
    assert told["not a name"].outcome == "failed"
    assert "cannot be a model name" in told["not a name"].problems[0]
    assert told["empty"].outcome == "failed"
    again = {one.name: one for one in models.import_folder(runtime, user, existing, trust=True)}
    assert again["dataset1"].outcome == again["broken"].outcome == "unchanged"
    assert again["broken"].problems


@pytest.mark.nightly
def test_a_pickle_that_never_ends_or_kills_its_reader_is_given_up(
    runtime: Runtime, user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, call in (
        ("sleeps", (select.select, ([], [], [], 600))),
        ("dies", (__import__("os")._exit, (7,))),
    ):
        (tmp_path / name / "model").mkdir(parents=True)
        (tmp_path / name / "model" / "m.pkl").write_bytes(pickle.dumps(Calls(*call)))
    (dies,) = models.import_folder(runtime, user, tmp_path / "dies", trust=True)
    monkeypatch.setattr(folders, "READING", 3)
    (sleeps,) = models.import_folder(runtime, user, tmp_path / "sleeps", trust=True)
    assert "ended with code 7" in dies.problems[0]
    assert "more than 3 s" in sleeps.problems[0]
    assert {dies.outcome, sleeps.outcome} == {"published"}


class Calls:
    def __init__(self, *call: Any) -> None:
        self._call = call

    def __reduce__(self) -> tuple[Any, ...]:
        return self._call


def test_reference_models_are_for_all_and_made_by_administrators(
    runtime: Runtime, user: User, existing: Path
) -> None:
    member = runtime.accounts.sign_up("member@example.org", "a long password")
    with pytest.raises(Forbidden):
        models.import_folder(runtime, member, existing, prefix="automl_models/")
    done = models.import_folder(runtime, user, existing, prefix="automl_models/")
    assert [one.outcome for one in done] == ["published", "published"]
    known = references(runtime)
    one = known["dataset1"]
    assert (one.domain, known["dataset40"].domain) == ("credit", "dataset")
    assert one.prefix == f"automl_models/dataset1/{done[0].version}"
    assert one.url.endswith(one.prefix)
    assert one.columns == ["amount", "age"]
    assert one.performance == {"accuracy": 0.91, "per_class": {"f1": 0.8}}
    assert runtime.registry_at(one.url).verify("dataset1", done[0].version or "")
    assert models.search(runtime, user.id) == [], "they are no one's own"
    again = models.import_folder(runtime, user, existing, prefix="automl_models")
    assert [one.outcome for one in again] == ["unchanged", "unchanged"]
    (existing / "dataset1" / "readme.md").write_text("new")
    newer = models.import_folder(runtime, user, existing, prefix="automl_models")
    assert references(runtime)["dataset1"].url.endswith(newer[0].version or "-")
    assert len(references(runtime)) == 2
    registry = runtime.registry_in("automl_models")
    registry.claim("dataset1", "dead")
    assert [one.kind for one in models.gc(runtime, delete=True, older_than=timedelta(0))] == ["unfinished"]


def references(runtime: Runtime) -> dict[str, ReferenceModel]:
    with runtime.catalog.read() as transaction:
        return {one.name: one for one in reference_rows.list_references(transaction)}


@pytest.mark.parametrize(
    "prefix",
    [
        "user_models/someone",
        "User_Data",
        "a/../user_models",
        ".staging",
        ".STAGING/a",
        ".attributes",
        ".hidden",
        "raw",
        "RAW/a",
        "a/.ecluse-b",
    ],
)
def test_reference_models_lie_in_no_users_place(
    runtime: Runtime, user: User, existing: Path, prefix: str
) -> None:
    with pytest.raises(ValueError, match=r"belongs to users|has a part|keeps for itself"):
        models.import_folder(runtime, user, existing, prefix=prefix)


# Signatures


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return key_pair(tmp_path / "key")


def key_pair(path: Path) -> tuple[Path, Path]:
    private = ec.generate_private_key(ec.SECP256R1())
    secret, public = path.with_suffix(".pem"), path.with_suffix(".pub")
    pem = serialization.Encoding.PEM
    secret.write_bytes(
        private.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return secret, public


def test_a_signature_is_that_of_the_key_and_the_files(
    runtime: Runtime, user: User, model: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    row = publish(runtime, user, model)
    with pytest.raises(SignatureInvalid, match="has no signature"):
        models.verify_signature(runtime, row, keys[1])
    models.sign(runtime, row, keys[0])
    assert models.verify_signature(runtime, row, keys[1]).version == row.version
    assert models.verify(runtime, row), "the signature is no part of the version"
    with pytest.raises(SignatureInvalid, match="by this key"):
        models.verify_signature(runtime, row, key_pair(tmp_path / "other")[1])
    (model / "best_model.txt").write_text("another tree")
    other = publish(runtime, user, model)
    bundle = runtime.registry_of(row).signature("payments", row.version)
    assert bundle is not None
    runtime.registry_of(other).keep_signature("payments", other.version, bundle)
    with pytest.raises(SignatureInvalid, match=r"best_model\.txt"):
        models.verify_signature(runtime, other, keys[1])


def test_model_signing_itself_accepts_the_signature_of_a_downloaded_folder(
    runtime: Runtime, user: User, model: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    from model_signing import verifying

    (model / ".gitattributes").write_text("*.bin filter=lfs")
    (model / "été.txt").write_text("é")
    row = publish(runtime, user, model)
    bundle = models.sign(runtime, row, keys[0])
    out = tmp_path / "out"
    models.download(runtime, row, out)
    (out / "model.sig").write_bytes(bundle)
    verifying.Config().use_elliptic_key_verifier(public_key=keys[1]).verify(out, out / "model.sig")
    (out / "best_model.txt").write_text("tampered")
    with pytest.raises(ValueError, match="Hash mismatch"):
        verifying.Config().use_elliptic_key_verifier(public_key=keys[1]).verify(out, out / "model.sig")


def test_what_is_no_key_is_told_and_nothing_is_signed(
    runtime: Runtime, user: User, model: Path, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    row = publish(runtime, user, model)
    (tmp_path / "no.pem").write_text("no key")
    for path in (tmp_path / "no.pem", keys[1]):
        with pytest.raises(InvalidInput, match="cannot be used as a key"):
            models.sign(runtime, row, path)
    assert runtime.registry_of(row).signature("payments", row.version) is None
