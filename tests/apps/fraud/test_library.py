"""The library of reference models: built by real workers, matched, fetched, moved, removed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ecluse import migration, models
from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.jobs import reference_evaluation as evaluation
from ecluse.apps.fraud.jobs import references as building
from ecluse.apps.fraud.jobs.references import Recipe
from ecluse.apps.fraud.profiling.profile import profile_table
from ecluse.apps.fraud.references import library
from ecluse.apps.fraud.references.institutions import institution, simulate, write_labelled, write_unlabelled
from ecluse.apps.fraud.references.published import (
    DESCRIPTION_FILE,
    REFERENCES,
    SKETCH_KINDS,
    SKETCH_QUANTILES,
)
from ecluse.apps.fraud.rows import datasets, references
from ecluse.apps.fraud.rows.tables import Dataset, ReferenceModel
from ecluse.apps.fraud.scoring.model import load_model
from ecluse.apps.fraud.scoring.scoring import score_frame
from ecluse.apps.fraud.tables import sketches
from ecluse.catalog.tables import User
from ecluse.errors import DigestMismatch, Forbidden, InvalidInput, NotFound
from ecluse.jobs import Job
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Settings
from ecluse.storage import read_chunks
from ecluse.tabular.dataset import open_table
from ecluse.work import cancel_job, kinds, reconcile
from tests.application import KEPT
from tests.servers import ObjectServer
from tests.support.jobs import ended_job
from tests.support.wait import wait_until

pytestmark = pytest.mark.nightly

NAMES = ("harbour_bank_cards", "kestrel_cards", "banque_du_canal")
BUDGET = 2.0


@contextmanager
def working(runtime: Runtime) -> Iterator[None]:
    worker = Worker(runtime, kinds(), reconcile)
    worker.start()
    beating = threading.Thread(target=worker.run_until_stopped)
    beating.start()
    try:
        yield
    finally:
        worker.stop()
        beating.join()
        worker.close()


def ended(runtime: Runtime, user: User, job_ids: Sequence[str | None]) -> list[Job]:
    return [ended_job(runtime, user.id, job_id or "", 300) for job_id in job_ids]


def recipe(name: str, budget_s: float = BUDGET) -> Recipe:
    one = institution(name)
    return Recipe(
        name, one.domain, f"simulation of {name}", institution=name, target=one.target, budget_s=budget_s
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions of three references of one domain as folders: what a library of the same is imported from."""
    place = tmp_path_factory.mktemp("built")
    with Runtime.open(Settings.from_environment({}, home=place / "home")) as runtime, working(runtime):
        user = runtime.accounts.local_administrator()
        started = building.start_building(runtime, user, [recipe(name) for name in NAMES])
        assert [job.status for job in ended(runtime, user, [one.job_id for one in started])] == ["done"] * 3
        for row in library.find_all(runtime):
            copied = place / "folders" / row.name
            library.checkout(runtime, row, copied)
        again = building.start_building(runtime, user, [recipe(name) for name in NAMES])
        assert [one.job_id for one in again] == [None] * 3, "what is built is not built again"
    return place / "folders"


@pytest.fixture
def admin(runtime: Runtime) -> User:
    return runtime.accounts.local_administrator()


@pytest.fixture
def filled(runtime: Runtime, admin: User, folders: Path) -> Runtime:
    """A library of three references, imported from folders."""
    done = models.import_folder(runtime, admin, folders, prefix=REFERENCES)
    assert [(one.outcome, one.problems) for one in done] == [("published", ())] * 3
    return runtime


def unlabelled(runtime: Runtime, user: User, folder: Path) -> Dataset:
    """The table of an institution that is in no library, read without a worker."""
    path = write_unlabelled(institution("cards"), folder).table
    dataset = workflows.add_table(runtime, user.id, path.name, read_chunks(path))
    with open_table(path) as table:
        profile = profile_table(table)
    with runtime.catalog.write() as transaction:
        datasets.set_profile(transaction, dataset.id, profile.to_dict(), profile.rows)
        return datasets.dataset_of(transaction, user.id, dataset.id)


def reference(runtime: Runtime, name: str) -> ReferenceModel:
    return library.find(runtime, name)


# Build


def test_a_reference_says_what_its_table_was_and_what_its_model_does(filled: Runtime, tmp_path: Path) -> None:
    row = reference(filled, "kestrel_cards")
    table = simulate(institution("kestrel_cards"))
    assert (row.domain, row.target, row.rows) == ("cards", "fraud_flg", table.height)
    assert row.fraud_rate == pytest.approx((table["fraud_flg"] == "Y").mean())
    assert sum(one["importance"] for one in row.sketches) == pytest.approx(1, abs=1e-4)
    assert {one["name"] for one in row.sketches} == set(row.columns) <= set(table.columns) - {"fraud_flg"}
    assert row.performance["roc_auc"] > 0.8
    low, high = row.performance["intervals"]["average_precision"]
    assert low <= row.performance["average_precision"] <= high
    checked = library.checkout(filled, row, tmp_path / "model")
    assert checked.bytes == row.size_bytes
    scored = score_frame(load_model(tmp_path / "model"), table.head(50), reasons_for=None)
    assert scored["fraud_probability"].is_between(0, 1).all()


def test_a_sample_holds_labels_and_enough_frauds_and_no_name_of_anyone(
    filled: Runtime, tmp_path: Path
) -> None:
    row = reference(filled, "kestrel_cards")
    library.checkout(filled, row, tmp_path)
    sample = pl.read_parquet(tmp_path / library.SAMPLE_FILE)
    table = simulate(institution("kestrel_cards"))
    assert sample.height == 2_000
    assert sample[library.SAMPLE_LABEL].sum() == (table["fraud_flg"] == "Y").sum() < 100
    for personal in {"tx_id", "card_no"} & set(sample.columns):
        assert not set(sample[personal].to_list()) & set(table[personal].to_list())
    assert set(sample["tx_amt"].cast(pl.Float64)) <= set(table["tx_amt"])


def test_a_reference_remembers_no_customer_and_no_value_of_its_table(folders: Path) -> None:
    for name in NAMES:
        tables = [path for path in (folders / name).glob("*.parquet") if path.name != library.SAMPLE_FILE]
        assert tables
        assert {pl.read_parquet(path).height for path in tables} == {0}


def test_only_administrators_change_the_library(filled: Runtime) -> None:
    member = filled.accounts.sign_up("member@example.org", "a long password")
    for change in (
        lambda: building.start_demo(filled, member),
        lambda: building.start_building(filled, member, [recipe("marlowe_pay")]),
        lambda: evaluation.start_evaluation(filled, member),
        lambda: library.remove(filled, member, "kestrel_cards"),
    ):
        with pytest.raises(Forbidden, match="Only administrators"):
            change()
    assert len(library.find_all(filled)) == 3
    assert library.match_columns(filled, ["tx_amt", "mcc_grp"]).matches


def test_what_cannot_be_built_is_refused_before_anything_is_queued(runtime: Runtime, admin: User) -> None:
    with pytest.raises(InvalidInput, match="mobile_money"):
        building.start_demo(runtime, admin, domains=["cards", "gambling"])
    with pytest.raises(InvalidInput, match="out of range"):
        building.start_building(runtime, admin, [replace(recipe("marlowe_pay"), budget_s=1.0)])
    with pytest.raises(InvalidInput, match="cannot be a model name"):
        building.start_building(runtime, admin, [replace(recipe("marlowe_pay"), name="a/b")])
    assert runtime.jobs.list(admin.id) == []


def test_the_same_reference_is_queued_once_and_cancelled_without_a_trace(
    runtime: Runtime, admin: User
) -> None:
    first = building.start_building(runtime, admin, [recipe("marlowe_pay")])
    assert building.start_building(runtime, admin, [recipe("marlowe_pay")]) == first
    cancel_job(runtime, admin.id, first[0].job_id or "")
    with working(runtime):
        assert [job.status for job in ended(runtime, admin, [first[0].job_id])] == ["cancelled"]
    assert library.find_all(runtime) == []
    assert building.start_building(runtime, admin, [recipe("marlowe_pay")]) != first


def test_a_stored_table_becomes_a_reference_without_a_sample_and_is_not_kept(
    runtime: Runtime, admin: User, tmp_path: Path
) -> None:
    path = write_labelled(institution("kestrel_cards"), tmp_path / "payments_2.csv")
    dataset = workflows.add_table(runtime, admin.id, path.name, read_chunks(path))
    wanted = Recipe(
        "payments_2",
        building.domain_of("payments_2"),
        dataset.sha256,
        dataset_id=dataset.id,
        keeps_table=False,
        budget_s=BUDGET,
        with_sample=False,
    )
    with working(runtime):
        (started,) = building.start_building(runtime, admin, [wanted])
        assert [job.status for job in ended(runtime, admin, [started.job_id])] == ["done"]
    row = reference(runtime, "payments_2")
    assert (row.domain, row.target) == ("payments", "fraud_flg")
    files = {file.path for file in library.manifest_of(runtime, row).files}
    assert DESCRIPTION_FILE in files
    assert library.SAMPLE_FILE not in files
    with runtime.catalog.read() as transaction:
        assert datasets.list_datasets(transaction, admin.id) == []
    assert building.is_built(runtime, replace(wanted, dataset_id=None, keeps_table=True))
    assert not building.is_built(runtime, replace(wanted, with_sample=True))


def test_a_table_that_cannot_be_learned_fails_its_own_job_and_says_why(
    runtime: Runtime, admin: User, tmp_path: Path
) -> None:
    path = tmp_path / "plain.csv"
    path.write_text("a,b\n" + "\n".join(f"{n},{n % 7}" for n in range(600)))
    dataset = workflows.add_table(runtime, admin.id, path.name, read_chunks(path))
    wanted = Recipe("plain", "plain", dataset.sha256, dataset_id=dataset.id, target="c", budget_s=BUDGET)
    with working(runtime):
        (started,) = building.start_building(runtime, admin, [wanted])
        (job,) = ended(runtime, admin, [started.job_id])
    assert job.status == "failed"
    assert "no column 'c'" in (job.error or "")
    assert library.find_all(runtime) == []


def test_the_table_of_a_failed_import_stays_until_a_later_one_builds_its_reference(
    runtime: Runtime, admin: User, tmp_path: Path
) -> None:
    path = write_labelled(institution("kestrel_cards"), tmp_path / "payments.csv")
    dataset = workflows.add_table(runtime, admin.id, path.name, read_chunks(path))
    failing = Recipe(
        "payments",
        "cards",
        dataset.sha256,
        dataset_id=dataset.id,
        keeps_table=False,
        target="none",
        budget_s=BUDGET,
    )
    with working(runtime):
        (started,) = building.start_building(runtime, admin, [failing])
        assert [job.status for job in ended(runtime, admin, [started.job_id])] == ["failed"]
        with runtime.catalog.read() as transaction:
            assert [row.id for row in datasets.list_datasets(transaction, admin.id)] == [dataset.id]
        # The next import finds the table stored, and takes it for one that was there before.
        again = replace(failing, target="fraud_flg", keeps_table=True)
        (started,) = building.start_building(runtime, admin, [again])
        assert [job.status for job in ended(runtime, admin, [started.job_id])] == ["done"]
    with runtime.catalog.read() as transaction:
        assert datasets.list_datasets(transaction, admin.id) == []


@pytest.mark.nightly
@pytest.mark.parametrize("stage", ["search", "save"])
def test_a_killed_worker_loses_no_reference_and_doubles_none(
    runtime: Runtime, admin: User, stage: str
) -> None:
    names = ["marlowe_pay", "credit_riverain"]
    started = building.start_building(runtime, admin, [recipe(name, 8.0) for name in names])
    first = worker_process(runtime)
    try:
        first_id = started[0].job_id or ""

        def has_come() -> bool:
            job = runtime.jobs.get(admin.id, first_id)
            return job.stage == stage or not job.active

        wait_until(has_come, f"a job in {stage}", 120)
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    with working(runtime):
        jobs = ended(runtime, admin, [one.job_id for one in started])
    assert [job.status for job in jobs] == ["done", "done"]
    registry = runtime.registry_in(REFERENCES)
    for name in names:
        row = reference(runtime, name)
        assert registry.versions(name) == [row.version]
        assert registry.verify(name, row.version, digest=row.manifest_digest)
    assert len(library.find_all(runtime)) == 2
    models.gc(runtime, delete=True, older_than=timedelta(0))
    assert registry.leftovers() == []
    again = building.start_building(runtime, admin, [recipe(name, 8.0) for name in names])
    assert [one.job_id for one in again] == [None, None]


@pytest.mark.nightly
def test_two_workers_build_two_references_side_by_side(runtime: Runtime, admin: User) -> None:
    started = building.start_building(runtime, admin, [recipe(name) for name in NAMES[:2]])
    workers = [worker_process(runtime) for _ in range(2)]
    try:
        first, second = ended(runtime, admin, [one.job_id for one in started])
    finally:
        for worker in workers:
            worker.terminate()
            worker.wait(30)
    assert (first.status, second.status) == ("done", "done")
    begun = [job.started_at for job in (first, second) if job.started_at]
    over = [job.finished_at for job in (first, second) if job.finished_at]
    assert max(begun) < min(over), "both were at work at one time"
    assert len(library.find_all(runtime)) == 2


def worker_process(runtime: Runtime) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "ecluse", "worker", "--home", str(runtime.settings.home)],
        env={name: os.environ[name] for name in KEPT if name in os.environ},
        stderr=subprocess.DEVNULL,
    )


# Match


def test_a_table_of_an_institution_that_no_one_knows_is_recognised(
    filled: Runtime, admin: User, tmp_path: Path
) -> None:
    found = library.match_dataset(filled, unlabelled(filled, admin, tmp_path))
    assert not found.abstain
    assert {match.domain for match in found.matches} == {"cards"}
    pairs = {pair.theirs: pair.ours for pair in found.matches[0].columns}
    assert "txn_amount" in pairs
    names_only = library.match_columns(filled, list(pairs))
    assert set(names_only.to_dict()) == {"abstain", "reason", "matches", "below"}


def test_a_table_that_is_not_read_yet_or_could_not_be_is_not_matched(filled: Runtime, admin: User) -> None:
    row = Dataset(user_id=admin.id, filename="a.csv", key="k", url="u", size_bytes=1, sha256="0")
    for state, profile, told in (
        ("profiling", None, "still being read"),
        ("failed", None, "could not be read"),
        ("ready", {"columns": []}, "upload it again"),
    ):
        row.state, row.profile, row.error = state, profile, "damaged"
        with pytest.raises(InvalidInput, match=told):
            library.match_dataset(filled, row)


def test_the_index_follows_the_library(filled: Runtime, admin: User, folders: Path, tmp_path: Path) -> None:
    assert set(library.reference_index(filled).names) == set(NAMES)
    assert library.reference_index(filled) is library.reference_index(filled)
    shutil.copytree(folders / "kestrel_cards", tmp_path / "more" / "a_copy")
    models.import_folder(filled, admin, tmp_path / "more", prefix=REFERENCES)
    assert set(library.reference_index(filled).names) == {*NAMES, "a_copy"}
    library.remove(filled, admin, "a_copy")
    assert set(library.reference_index(filled).names) == set(NAMES)
    with filled.catalog.write() as transaction:
        references.withdraw_reference(transaction, "kestrel_cards")
    assert set(library.reference_index(filled).names) == set(NAMES) - {"kestrel_cards"}


# Measure


def test_each_reference_is_measured_on_the_tables_of_the_others(filled: Runtime, admin: User) -> None:
    started = evaluation.start_evaluation(filled, admin)
    assert evaluation.start_evaluation(filled, admin) == started, "what is queued is not queued again"
    with working(filled):
        jobs = ended(filled, admin, [one.job_id for one in started])
    assert [job.status for job in jobs] == ["done"] * 3, [job.error for job in jobs]
    measured = {row.name: row.transfer for row in library.find_all(filled)}
    assert all(name not in transfer["tables"] for name, transfer in measured.items())
    scored = [one for transfer in measured.values() for one in transfer["tables"].values()]
    assert len(scored) >= 3
    found = [one["roc_auc"] for one in scored]
    assert min(found) > 0.5
    assert sum(found) / len(found) > 0.7
    assert all(0.5 <= one["similarity"] <= 1 for one in scored)
    assert library.facts(reference(filled, "kestrel_cards")).transfer["count"] >= 1


def sketch(**told: Any) -> dict[str, Any]:
    shares = dict.fromkeys(("missing", "zeros", "whole", "negative"), 0.0)
    return {"name": "tx_amt", "kind": "number", "importance": 1.0, "distinct": 1.0, **shares} | {
        "quantiles": list(range(21)), "top": []} | told  # fmt: skip


MALFORMED = {
    "kind": {"sketches": [sketch(kind="xyz")]},
    "quantiles": {"sketches": [sketch(quantiles=[1, 2])]},
    "bare": {"sketches": [{"name": "tx_amt", "importance": 1}]},
    "top": {"sketches": [sketch(top="x")]},
    "share": {"sketches": [sketch(missing="a lot")]},
    "infinite": {"sketches": [sketch(importance=float("inf"))]},
    "nul": {"sketches": [sketch(name="tx\0amt")]},
    "surrogate": {"sketches": [sketch(name="\ud800")]},
    "intervals": {"sketches": [sketch()], "performance": {"intervals": "no"}},
    "bounds": {"sketches": [sketch()], "performance": {"intervals": {"roc_auc": "no"}}},
    "unknown": {"sketches": [sketch()], "performance": {"roc_auc": float("nan")}},
    "words": {"sketches": [sketch()], "performance": {"roc_auc": "<b>"}},
    "rate": {"sketches": [sketch()], "fraud_rate": 2.0},
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_description_that_nothing_could_be_matched_with_is_refused_at_its_import(
    runtime: Runtime, admin: User, tmp_path: Path, case: str
) -> None:
    well = {
        "format": 1, "domain": "cards", "columns": ["tx_amt"], "performance": {}, "target": "y",
        "rows": 10, "fraud_rate": 0.1, "sketches": [],
    }  # fmt: skip
    folder = tmp_path / "more" / "odd_cards"
    folder.mkdir(parents=True)
    (folder / DESCRIPTION_FILE).write_text(json.dumps(well | MALFORMED[case]))
    (done,) = models.import_folder(runtime, admin, folder.parent, prefix=REFERENCES)
    assert "reference.json cannot be read, so no table is matched" in done.problems[0]
    assert reference(runtime, "odd_cards").sketches == []
    assert library.match_columns(runtime, ["tx_amt"]).abstain


@pytest.mark.parametrize("case", ["kind", "bare", "top", "infinite", "intervals"])
def test_one_reference_that_cannot_be_read_keeps_no_table_from_being_matched_with_the_others(
    filled: Runtime, admin: User, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    with filled.catalog.write() as transaction:
        row = references.reference_of(transaction, "banque_du_canal")
        row.sketches = MALFORMED[case]["sketches"]
        row.performance = MALFORMED[case].get("performance", {})
        row.updated_at = row.created_at + timedelta(days=1)
    names = [str(one["name"]) for one in reference(filled, "kestrel_cards").sketches]
    assert library.match_columns(filled, names).matches[0].reference == "kestrel_cards"
    assert len(library.reference_index(filled)) == 2
    assert "banque_du_canal is left out" in caplog.text
    assert not library.is_readable(reference(filled, "banque_du_canal"))
    assert len(evaluation.start_evaluation(filled, admin)) == 2


def test_what_a_sketch_may_say_is_what_sketches_say() -> None:
    assert (SKETCH_KINDS, SKETCH_QUANTILES) == (sketches.KINDS, sketches.QUANTILES)


def test_a_reference_without_sketches_is_listed_and_neither_matched_nor_measured(
    runtime: Runtime, admin: User, folders: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "more" / "kestrel_cards"
    shutil.copytree(folders / "kestrel_cards", copied)
    (copied / DESCRIPTION_FILE).unlink()
    (copied / DESCRIPTION_FILE).write_text(json.dumps({"format": 1}))
    (done,) = models.import_folder(runtime, admin, copied.parent, prefix=REFERENCES)
    assert done.outcome == "published"
    assert "no table is matched" in done.problems[0]
    assert [row.name for row in library.find_all(runtime)] == ["kestrel_cards"]
    assert library.match_columns(runtime, ["tx_amt"]).abstain
    with pytest.raises(InvalidInput, match="no reference to measure"):
        evaluation.start_evaluation(runtime, admin)


# Fetch, move and remove


def test_a_reference_that_was_changed_in_the_store_is_not_fetched(filled: Runtime, tmp_path: Path) -> None:
    row = reference(filled, "kestrel_cards")
    located = filled.stores.locate(f"{row.url}/model.json")
    located.store.put(located.key, b"{}")
    with pytest.raises(DigestMismatch):
        library.checkout(filled, row, tmp_path / "model")


def test_a_library_that_moved_to_another_store_is_matched_and_fetched_as_before(
    filled: Runtime, admin: User, object_server: ObjectServer, tmp_path: Path
) -> None:
    environ = object_server.environment(uuid.uuid4().hex)
    with Runtime.open(Settings.from_environment(environ, home=tmp_path / "other")) as elsewhere:
        destination = elsewhere.stores.area("models").url
    keys = {name: value for name, value in environ.items() if name != "ECLUSE_STORE_URL"}
    home = filled.settings.home
    before = {row.name: row.manifest_digest for row in library.find_all(filled)}
    with Runtime.open(Settings.from_environment(keys, home=home)) as moving:
        plan = migration.plan(
            moving.catalog,
            moving.stores,
            migration.Request(source="models", destination=destination, switch_rows=True),
        )
        migration.run(moving.catalog, moving.stores, plan.id or "")
        shutil.rmtree(home / "store" / REFERENCES)
        assert not (home / "cache").exists(), "nothing of the library was fetched before"
        rows = library.find_all(moving)
        assert {row.name: row.manifest_digest for row in rows} == before
        assert all(row.url.startswith("s3://") for row in rows)
        dataset = unlabelled(moving, admin, tmp_path)
        match = library.match_dataset(moving, dataset).matches[0]
        fetched = library.checkout(moving, reference(moving, match.reference), tmp_path / "fetched")
        assert fetched.from_cache == 0
        assert load_model(tmp_path / "fetched").required_columns
        library.remove(moving, admin, match.reference)
        with pytest.raises(NotFound):
            reference(moving, match.reference)


def test_a_removed_reference_is_gone_with_every_version(
    filled: Runtime, admin: User, folders: Path, tmp_path: Path
) -> None:
    shutil.copytree(folders / "kestrel_cards", tmp_path / "more" / "kestrel_cards")
    (tmp_path / "more" / "kestrel_cards" / "readme.md").write_text("new")
    models.import_folder(filled, admin, tmp_path / "more", prefix=REFERENCES)
    registry = filled.registry_in(REFERENCES)
    assert len(registry.versions("kestrel_cards")) == 2
    library.remove(filled, admin, "kestrel_cards")
    assert registry.versions("kestrel_cards") == []
    assert set(registry.names()) == {row.name for row in library.find_all(filled)}
    with pytest.raises(NotFound):
        library.remove(filled, admin, "kestrel_cards")
