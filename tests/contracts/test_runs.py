"""What the catalog keeps of runs, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config

from ecluse import catalog as catalog_package
from ecluse.apps.fraud.rows import inspections, training
from ecluse.apps.fraud.rows.tables import Inspection
from ecluse.catalog import Catalog, runs, users, work
from ecluse.catalog.runs import RunFilter
from ecluse.catalog.tables import Run, User, now
from ecluse.errors import InvalidInput, NotFound
from ecluse.run_values import SORTED_BY


def add_user(catalog: Catalog, email: str = "a@b.c") -> User:
    with catalog.write() as transaction:
        return users.add_user(transaction, email=email, name="", password_hash=None, role="member")


def add_run(catalog: Catalog, user: User, name: str = "leaves", **values: Any) -> Run:
    row = Run(user_id=user.id, name=name, **({"application": "plants", "kind": "features"} | values))
    with catalog.write() as transaction:
        return runs.add_run(transaction, row)


def found(catalog: Catalog, user: User, wanted: RunFilter | None = None, **how: Any) -> list[str]:
    with catalog.read() as transaction:
        return [run.name for run in runs.list_runs(transaction, user.id, wanted, **how)[0]]


def test_a_metric_told_again_at_its_step_is_replaced_and_the_last_step_is_the_runs(catalog: Catalog) -> None:
    run = add_run(catalog, add_user(catalog))
    with catalog.write() as transaction:
        runs.log_metrics(transaction, run.id, 0, {"train_loss": 0.7, "train_accuracy": 0.5})
        runs.log_metrics(transaction, run.id, 1, {"train_loss": 0.6})
        runs.log_metrics(transaction, run.id, 0, {"train_loss": 0.65})
    with catalog.read() as transaction:
        curves = runs.curves_of(transaction, run.id)
        kept = runs.run_of(transaction, run.user_id, run.id)
    assert {name: [(p.step, p.value) for p in points] for name, points in curves.items()} == {
        "train_accuracy": [(0, 0.5)],
        "train_loss": [(0, 0.65), (1, 0.6)],
    }
    assert kept.metrics == {"train_loss": 0.6, "train_accuracy": 0.5}
    assert curves["train_loss"][0].at.tzinfo is not None


def test_a_metric_that_is_not_finite_is_a_tag_and_no_point(catalog: Catalog) -> None:
    run = add_run(catalog, add_user(catalog))
    with catalog.write() as transaction:
        runs.log_metrics(transaction, run.id, 3, {"loss": math.nan, "accuracy": 0.5})
        runs.log_metrics(transaction, run.id, 4, {"loss": math.inf})
    with catalog.read() as transaction:
        kept = runs.run_of(transaction, run.user_id, run.id)
        assert list(runs.curves_of(transaction, run.id)) == ["accuracy"]
    assert kept.tags == {"loss.not_finite": 3}
    assert kept.metrics == {"accuracy": 0.5}


@pytest.mark.parametrize(
    ("step", "metrics"),
    [(0, {"a/b": 1.0}), (0, {"": 1.0}), (0, {"a": "x"}), (0, {"a": True}), (-1, {"a": 1.0})],
)
def test_a_metric_that_is_no_number_of_a_flat_name_is_refused(
    catalog: Catalog, step: int, metrics: dict[str, Any]
) -> None:
    run = add_run(catalog, add_user(catalog))
    with pytest.raises(InvalidInput), catalog.write() as transaction:
        runs.log_metrics(transaction, run.id, step, metrics)
    with catalog.read() as transaction:
        assert runs.curves_of(transaction, run.id) == {}


def test_another_persons_run_is_not_found(catalog: Catalog) -> None:
    owner, other = add_user(catalog), add_user(catalog, "x@y.z")
    run = add_run(catalog, owner)
    with catalog.read() as transaction:
        assert runs.list_runs(transaction, other.id) == ([], 0)
        with pytest.raises(NotFound):
            runs.run_of(transaction, other.id, run.id)
        with pytest.raises(NotFound):
            runs.runs_of(transaction, other.id, [run.id])


def test_runs_are_sorted_by_a_metric_and_those_without_it_come_last(catalog: Catalog) -> None:
    user = add_user(catalog)
    for name, metrics in (
        ("a", {"accuracy": 0.8}),
        ("b", {}),
        ("c", {"accuracy": 0.95}),
        ("d", {"other": 1.0}),
    ):
        add_run(catalog, user, name, metrics=metrics)
    assert found(catalog, user, sort="accuracy")[:2] == ["c", "a"]
    assert found(catalog, user, sort="accuracy", direction="ascending")[:2] == ["a", "c"]
    with pytest.raises(InvalidInput):
        found(catalog, user, sort="x'); DROP TABLE runs; --")


def test_runs_are_sorted_by_every_column(catalog: Catalog) -> None:
    user, begun = add_user(catalog), now()
    for name, seconds in (("a", 100), ("b", 20), ("c", None)):
        end = None if seconds is None else begun + timedelta(seconds=seconds)
        add_run(catalog, user, name, started_at=begun, finished_at=end)
    assert found(catalog, user, sort="duration") == ["a", "b", "c"]
    assert found(catalog, user, sort="name", direction="ascending") == ["a", "b", "c"]
    for column in SORTED_BY:
        assert sorted(found(catalog, user, sort=column)) == ["a", "b", "c"]


def test_runs_are_found_by_what_they_are_and_by_what_they_were_told(catalog: Catalog) -> None:
    user = add_user(catalog)
    add_run(catalog, user, "a", parameters={"rate": 1e-05, "epochs": 5, "flip": True}, tags={"who": "Zoé"})
    add_run(
        catalog, user, "b", application="fraud", kind="search", parameters={"rate": "fast"}, status="done"
    )
    wanted = [
        (RunFilter(parameters={"rate": "0.00001"}), ["a"]),
        (RunFilter(parameters={"rate": "fast"}), ["b"]),
        (RunFilter(parameters={"epochs": "5.0", "flip": "true"}), ["a"]),
        (RunFilter(parameters={"epochs": "6"}), []),
        (RunFilter(parameters={"epochs": "9" * 400}), []),
        (RunFilter(parameters={"epochs": "[" * 5000}), []),
        (RunFilter(tags={"who": "Zoé"}), ["a"]),
        (RunFilter(application="fraud"), ["b"]),
        (RunFilter(status="queued"), ["a"]),
        (RunFilter(kind="search", name="b"), ["b"]),
    ]
    assert [found(catalog, user, which) for which, _ in wanted] == [names for _, names in wanted]


def test_pages_of_runs_miss_none_and_say_how_many_there_are(catalog: Catalog) -> None:
    user = add_user(catalog)
    for number in range(5):
        add_run(catalog, user, f"m{number}")
    with catalog.read() as transaction:
        pages = [runs.list_runs(transaction, user.id, limit=2, offset=offset) for offset in (0, 2, 4)]
    assert {total for _, total in pages} == {5}
    assert sorted(run.name for page, _ in pages for run in page) == [f"m{n}" for n in range(5)]


def test_a_run_whose_publication_began_cannot_be_cancelled_and_a_cancelled_one_not_published(
    catalog: Catalog,
) -> None:
    user = add_user(catalog)
    first, second = (add_run(catalog, user, job_id=job) for job in ("j1", "j2"))
    with catalog.write() as transaction:
        runs.set_running(transaction, first.id)
        assert runs.ask_to_finish(transaction, "j1")
        assert runs.is_to_finish(transaction, first.id)
        assert runs.begin_publishing(transaction, first.id, "v1")
        assert not runs.begin_publishing(transaction, first.id, "v2")
        assert not work.may_cancel(transaction, "j1")
        assert work.may_cancel(transaction, "j2")
        work.end_job(transaction, "j2", "cancelled", None)
        assert not runs.begin_publishing(transaction, second.id, "v1")
        files = [{"name": "model.onnx", "url": "s3://b/m", "sha256": "0" * 64, "size": 3}]
        runs.set_done(
            transaction, first.id, version="v1", url="s3://b", metrics={"accuracy": 0.9}, artifacts=files
        )
        runs.set_ended(transaction, first.id, "failed", "late")
    with catalog.read() as transaction:
        done, cancelled = (runs.run_of(transaction, user.id, run.id) for run in (first, second))
        assert not any(run.status in runs.ACTIVE for run in runs.list_runs(transaction, user.id)[0])
        made = runs.run_of_version(transaction, user.id, "leaves", "v1")
    assert (done.status, done.version, done.metrics, done.artifacts) == (
        "done",
        "v1",
        {"accuracy": 0.9},
        files,
    )
    assert done.started_at is not None
    assert done.finished_at is not None
    assert (cancelled.status, cancelled.version) == ("cancelled", None)
    assert made is not None
    assert made.id == first.id


def test_a_run_names_its_newest_checkpoint_and_takes_none_once_it_has_ended(catalog: Catalog) -> None:
    run = add_run(catalog, add_user(catalog))
    with catalog.write() as transaction:
        assert runs.set_checkpoint(transaction, run.id, "one") is None
        assert runs.set_checkpoint(transaction, run.id, "one") is None
        assert runs.set_checkpoint(transaction, run.id, "two") == "one"
        assert runs.ended_with_checkpoint(transaction) == []
        runs.set_ended(transaction, run.id, "failed", "It was stopped.")
    with catalog.write() as transaction:
        assert runs.set_checkpoint(transaction, run.id, "three") == "three"
        assert [one.tags for one in runs.ended_with_checkpoint(transaction)] == [{"checkpoint": "two"}]
        runs.set_tags(transaction, run.id, {"checkpoint": None})
        assert runs.ended_with_checkpoint(transaction) == []


def add_training(catalog: Catalog, user: User, job: str, plan: dict[str, Any]) -> training.TrainingRun:
    with catalog.write() as transaction:
        return training.add_run(
            transaction, training.NewTraining(user_id=user.id, job_id=job, model_name="payments", plan=plan)
        )


def test_what_the_history_says_of_a_training_its_run_says_too(catalog: Catalog) -> None:
    user = add_user(catalog)
    plan = {"target": "fraud", "goal": {"kind": "f1"}, "identifier_columns": ["id", "card"], "seed": 0}
    done, cancelled, failed = (add_training(catalog, user, job, plan) for job in ("j1", "j2", "j3"))
    with catalog.write() as transaction:
        metrics = {"average_precision": 0.8, "roc_auc": None}
        assert runs.begin_publishing(transaction, done.id, "v1", metrics=metrics)
        assert not runs.begin_publishing(transaction, done.id, "v2")
        assert runs.set_done(transaction, done.id, url="s3://b/m/v1")
        work.end_job(transaction, "j2", "cancelled", None)
        assert runs.ask_to_finish(transaction, "j3")
        runs.set_ended(transaction, failed.id, "failed", "it broke")
    with catalog.read() as transaction:
        shown = [training.run_of(transaction, user.id, run.id) for run in (done, cancelled, failed)]
        assert training.run_by_job(transaction, "j3") == shown[2]
        told = [runs.run_of(transaction, user.id, run.id) for run in (done, cancelled, failed)]
    assert [(run.status, run.version, run.error) for run in told] == [
        ("done", "v1", None),
        ("cancelled", None, None),
        ("failed", None, "it broke"),
    ]
    assert [(run.status, run.version, run.error) for run in shown] == [
        (run.status, run.version, run.error) for run in told
    ]
    assert shown[0].metrics == dict.fromkeys(training.SUMMARY) | {"average_precision": 0.8}
    assert (shown[0].model_path, shown[1].metrics) == ("s3://b/m/v1", None)
    assert (told[0].metrics, told[0].url) == ({"average_precision": 0.8}, "s3://b/m/v1")
    assert told[0].parameters == {
        "target": "fraud",
        "goal.kind": "f1",
        "identifier_columns": "id, card",
        "seed": 0,
    }
    assert told[2].finish_early_at is not None


def test_a_training_that_waited_for_its_table_has_the_parameters_of_its_plan_alone(catalog: Catalog) -> None:
    user = add_user(catalog)
    row = add_training(
        catalog, user, "j1", {"request": {"model_name": "payments", "goal": "f1", "excluded": []}}
    )
    with catalog.read() as transaction:
        assert runs.run_of(transaction, user.id, row.id).parameters == {
            "model_name": "payments",
            "goal": "f1",
        }
    with catalog.write() as transaction:
        training.set_plan(transaction, row.id, {"target": "fraud", "goal": {"kind": "f1"}})
    with catalog.read() as transaction:
        kept = runs.run_of(transaction, user.id, row.id)
    assert kept.parameters == {"target": "fraud", "goal.kind": "f1"}


def test_trainings_from_before_runs_were_kept_have_one(catalog: Catalog) -> None:
    user = add_user(catalog)
    row = add_training(catalog, user, "j1", {"target": "fraud", "goal": {"kind": "f1"}, "excluded": ["x"]})
    with catalog.write() as transaction:
        figures = {"average_precision": 0.8, "f1": None}
        runs.set_done(transaction, row.id, version="v1", metrics=figures, url="s3://b")
    config = Config()
    config.set_main_option("script_location", str(Path(catalog_package.__file__).parent / "migrations"))
    with catalog.engine.execution_options(ecluse_write=True).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
    catalog.migrate()
    with catalog.read() as transaction:
        kept = runs.run_of(transaction, user.id, row.id)
    assert (kept.application, kept.kind, kept.status, kept.version) == ("fraud", "search", "done", "v1")
    assert (kept.metrics, kept.url) == ({"average_precision": 0.8}, "s3://b")
    assert kept.parameters == {"target": "fraud", "goal.kind": "f1", "excluded": "x"}
    assert kept.created_at == row.created_at


def test_learning_from_labels_is_a_run_and_looking_is_none(catalog: Catalog) -> None:
    user = add_user(catalog)
    looks = [
        Inspection(
            user_id=user.id, kind=kind, job_id=f"j-{kind}", model_name="m", version="v1", request={"seed": 0}
        )
        for kind in ("learning", "monitor")
    ]
    with catalog.write() as transaction:
        for look in looks:
            inspections.add_inspection(transaction, look)
            assert inspections.set_done(transaction, look.id, {}, other_version="v2", url="s3://b")
    with catalog.read() as transaction:
        kept, total = runs.list_runs(transaction, user.id)
    assert total == 1
    assert (kept[0].id, kept[0].kind, kept[0].status) == (looks[0].id, "learning", "done")
    assert (kept[0].version, kept[0].parent_version, kept[0].url) == ("v2", "m@v1", "s3://b")


def test_work_done_anew_forgets_the_metrics_of_the_attempt_before(catalog: Catalog) -> None:
    run = add_run(catalog, add_user(catalog), metrics={"given": 1.0})
    with catalog.write() as transaction:
        runs.log_metrics(transaction, run.id, 7, {"loss": 0.5})
        runs.forget_metrics(transaction, run.id)
    with catalog.read() as transaction:
        assert runs.curves_of(transaction, run.id) == {}
        assert runs.run_of(transaction, run.user_id, run.id).metrics == {"given": 1.0}


def test_work_that_goes_on_from_a_step_forgets_what_came_after(catalog: Catalog) -> None:
    run = add_run(catalog, add_user(catalog), metrics={"given": 1.0})
    with catalog.write() as transaction:
        for step in (1, 2, 3):
            runs.log_metrics(
                transaction, run.id, step, {"loss": 1 / step} | ({"late": 1.0} if step == 3 else {})
            )
        runs.forget_metrics(transaction, run.id, after=2)
    with catalog.read() as transaction:
        curves = runs.curves_of(transaction, run.id)
        assert {name: [point.step for point in points] for name, points in curves.items()} == {"loss": [1, 2]}
        assert runs.run_of(transaction, run.user_id, run.id).metrics == {"given": 1.0, "loss": 0.5}
