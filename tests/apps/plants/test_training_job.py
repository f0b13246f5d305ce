"""A training is a job that outlives its worker: it learns, measures, publishes once, and leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from ecluse import models
from ecluse.apps.plants import rows as images
from ecluse.apps.plants import training
from ecluse.apps.plants.callbacks import RunCallbacks
from ecluse.apps.plants.errors import UnusableImages
from ecluse.apps.plants.jobs import training as training_work
from ecluse.apps.plants.prediction import Predictor
from ecluse.apps.plants.recipe import Callbacks, Epoch, Options, TrainedClassifier, TrainingData
from ecluse.apps.plants.training import TrainingRequest
from ecluse.catalog import jobs, runs
from ecluse.catalog.tables import ModelVersion, Run, User
from ecluse.cli.session import finish
from ecluse.errors import InvalidInput, JobCancelled, JobFailed, NotFound
from ecluse.jobs import Task
from ecluse.runtime import Runtime
from ecluse.sentences import unpack
from ecluse.settings import Settings
from ecluse.work import cancel_job, finish_job
from tests.application import KEPT
from tests.apps.plants.sets import LABELS, add_set, learn_last_layer
from tests.servers import ObjectServer
from tests.support.jobs import ended_job
from tests.support.wait import slow_for, wait_until

REQUEST = TrainingRequest("shapes", options=Options(epochs=3))


@pytest.fixture
def user(runtime: Runtime) -> User:
    return runtime.accounts.local_administrator()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each recipe is the one that learns in a second."""
    monkeypatch.setattr(training_work, "recipe", lambda name: learn_last_layer)


def recipe_is(
    monkeypatch: pytest.MonkeyPatch, recipe: Callable[[TrainingData, Options, Callbacks], TrainedClassifier]
) -> None:
    monkeypatch.setattr(training_work, "recipe", lambda name: recipe)


def trained(runtime: Runtime, user: User, request: TrainingRequest = REQUEST) -> tuple[Run, ModelVersion]:
    run = training.start_training(runtime, user.id, "shapes", request)
    finish(runtime, user, run.job_id or "", "Training")
    return ended(runtime, run), models.resolve(runtime, user.id, request.model_name)


def ended(runtime: Runtime, run: Run) -> Run:
    with runtime.catalog.read() as transaction:
        return runs.run_of(transaction, run.user_id, run.id)


def checkpoints(runtime: Runtime, user: User, *, of_the_run: bool = False) -> list[str]:
    """What is kept to go on from: of the run, what its recipe has learned; of its job, what was seen of images too."""
    keys = [info.key for info in runtime.data.list(f"user_data/{user.id}/checkpoints")]
    return [key for key in keys if key.endswith(".safetensors") or not of_the_run]


def test_a_training_publishes_a_version_with_its_files_and_figures(
    quick: None, runtime: Runtime, user: User, tmp_path: Path
) -> None:
    add_set(runtime, user.id)
    run, row = trained(runtime, user)
    report = row.report
    files = tmp_path / "files"
    models.download(runtime, row, files)
    assert sorted(path.name for path in files.iterdir()) == sorted(
        ["best_model.safetensors", "known.safetensors", "labels.json", "metrics.json", "model.onnx",
         "model_card.md", "split.json", "training_history.json", "transform.json"]
    )  # fmt: skip
    assert unpack(json.loads((files / "metrics.json").read_text())) == report
    assert json.loads((files / "labels.json").read_text())["labels"] == list(LABELS) == report["labels"]
    assert row.application == report["application"] == "plants"
    assert (run.status, run.version, run.url) == ("done", row.version, row.url)
    assert run.metrics["test_accuracy"] == report["metrics"]["accuracy"] > 0.6
    assert {one["name"]: one["sha256"] for one in run.artifacts} == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files.iterdir()
    }
    with runtime.catalog.read() as transaction:
        curves = runs.curves_of(transaction, run.id)
        split = images.split_of(transaction, user.id, run.subject["split_id"])
    assert [point.step for point in curves["validation_loss"]] == [1, 2, 3]
    assert report["split"]["sha256"] == split.sha256
    assert row.details["test_accuracy"] == report["metrics"]["accuracy"]
    assert sum(report["images"]["test"].values()) == report["interval"]["of"] == 6
    assert checkpoints(runtime, user) == []
    assert "checkpoint" not in run.tags
    # What the report says of the test part is what the served files answer.
    manifest = json.loads((files / "split.json").read_text())
    tested = [sha256 for sha256, part in manifest["parts"].items() if part == "test"]
    with runtime.catalog.read() as transaction:
        rows = images.images_by_digest(transaction, split.set_id, tested)
    predictor = Predictor.open(files)
    answers = [
        (predictor.predict(runtime.data.get(runtime.stores.locate(rows[one].url).key)), rows[one].label)
        for one in tested
    ]
    assert sum(said.nearest == label for said, label in answers) == report["interval"]["right"]
    assert np.mean([said.known for said, _ in answers]) == report["none_of_these"]["accepted_test"]
    assert np.mean([-np.log(said.probabilities[label]) for said, label in answers]) == pytest.approx(
        report["metrics"]["log_loss"]
    )


@pytest.mark.nightly
def test_the_same_seed_gives_the_same_weights_from_the_same_split(
    quick: None, runtime: Runtime, user: User
) -> None:
    add_set(runtime, user.id)
    first, one = trained(runtime, user)
    second, two = trained(runtime, user)
    assert one.version != two.version
    assert first.subject == second.subject
    assert weights(runtime, one) == weights(runtime, two)


def weights(runtime: Runtime, row: ModelVersion) -> str:
    """The digest of a version's weights."""
    manifest = models.manifest_of(runtime, row)
    return next(file.sha256 for file in manifest.files if file.path == "best_model.safetensors")


def test_a_training_that_is_cancelled_publishes_nothing_and_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch, runtime: Runtime, user: User
) -> None:
    add_set(runtime, user.id)

    def cancelled(training_data: TrainingData, options: Options, callbacks: Callbacks) -> TrainedClassifier:
        callbacks.save(b"all there is")
        assert len(checkpoints(runtime, user, of_the_run=True)) == 1
        cancel_job(runtime, user.id, run.job_id or "")
        while True:
            callbacks.report("learning", 0.5)
            slow_for(0.05)

    recipe_is(monkeypatch, cancelled)
    run = training.start_training(runtime, user.id, "shapes", REQUEST)
    with pytest.raises(JobFailed):
        finish(runtime, user, run.job_id or "", "Training")
    wait_until(lambda: not checkpoints(runtime, user), "an end of the checkpoints")
    assert ended(runtime, run).status == "cancelled"
    assert runtime.registry(user.id).versions("shapes") == []


def test_a_training_that_is_to_finish_publishes_the_best_so_far(
    monkeypatch: pytest.MonkeyPatch, runtime: Runtime, user: User
) -> None:
    add_set(runtime, user.id)

    class Finishing(RunCallbacks):
        def epoch(self, epoch: Epoch) -> None:
            super().epoch(epoch)
            if epoch.epoch == 2:
                finish_job(runtime, user.id, run.job_id or "")
                self._looked_at = float("-inf")

    monkeypatch.setattr(training_work, "RunCallbacks", Finishing)
    recipe_is(monkeypatch, learn_last_layer)
    request = TrainingRequest("shapes", options=Options(epochs=500))
    run = training.start_training(runtime, user.id, "shapes", request)
    finish(runtime, user, run.job_id or "", "Training")
    row = models.resolve(runtime, user.id, "shapes")
    assert row.report["epochs"] == 2
    assert ended(runtime, run).finish_early_at is not None


def test_an_image_that_was_changed_in_the_store_fails_the_training_by_name(
    quick: None, runtime: Runtime, user: User
) -> None:
    row = add_set(runtime, user.id)
    with runtime.catalog.read() as transaction:
        first, second = images.list_images(transaction, user.id, row.id, limit=2)
    runtime.data.put(runtime.stores.locate(first.url).key, b"something else")
    run = training.start_training(runtime, user.id, "shapes", REQUEST)
    with pytest.raises(JobFailed, match=rf"{first.origin.rpartition('/')[2]}.*exclude SET {first.id}"):
        finish(runtime, user, run.job_id or "", "Training")
    assert ended(runtime, run).status == "failed"
    with runtime.catalog.write() as transaction:
        images.set_state(transaction, user.id, row.id, [first.id], "excluded")
    runtime.data.delete(runtime.stores.locate(second.url).key)
    runtime.cache.clear()  # the training that failed may have fetched it
    run = training.start_training(runtime, user.id, "shapes", REQUEST)
    with pytest.raises(JobFailed, match="is gone"):
        finish(runtime, user, run.job_id or "", "Training")


class Reporting:
    """A task of a job that no engine runs."""

    def __init__(self, run: Run) -> None:
        self.job_id, self.user_id = run.job_id or "", run.user_id

    def step(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    def report(self, stage: str, fraction: float, message: str = "") -> None: ...


def test_two_attempts_at_one_training_publish_once(quick: None, runtime: Runtime, user: User) -> None:
    add_set(runtime, user.id)
    run = training.start_training(runtime, user.id, "shapes", REQUEST)
    task = cast(Task, Reporting(run))
    split_id = training_work._split(runtime, task, run.id)
    one, two = (training_work._learn(runtime, task, run.id, split_id) for _ in range(2))
    training_work.publish(runtime, task, run.id, two)
    with pytest.raises(JobCancelled):
        training_work.publish(runtime, task, run.id, one)
    training_work.publish(runtime, task, run.id, two)
    assert [two["url"].rpartition("/")[2]] == runtime.registry(user.id).versions("shapes")
    assert ended(runtime, run).version == two["url"].rpartition("/")[2]


def test_a_version_that_was_committed_before_its_worker_died_ends_its_run_as_done(
    quick: None, runtime: Runtime, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_set(runtime, user.id)
    run = training.start_training(runtime, user.id, "shapes", REQUEST)
    task = cast(Task, Reporting(run))
    trained = training_work._learn(runtime, task, run.id, training_work._split(runtime, task, run.id))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training_work, "_compare_with_repeated", die)
    with pytest.raises(KeyboardInterrupt):
        training_work.publish(runtime, task, run.id, trained)
    monkeypatch.undo()
    assert len(checkpoints(runtime, user, of_the_run=True)) == 1
    assert runtime.jobs.cancel(user.id, run.job_id or "").status == "queued", "it is publishing"
    with runtime.catalog.write() as transaction:
        (claim,) = jobs.claim_one(transaction, "worker", {training.KIND: 1}, run.job_id or "")
        jobs.finish(transaction, claim.job_id, claim.fence, "failed", "It was given up.")
    assert models.settle_ended(runtime) == 1
    assert models.settle_ended(runtime) == 0
    assert training_work.reconcile(runtime) == 1
    assert checkpoints(runtime, user, of_the_run=True) == []
    row = models.resolve(runtime, user.id, "shapes")
    assert (ended(runtime, run).status, ended(runtime, run).version) == ("done", row.version)
    assert training_work.reconcile(runtime) == 0


def test_a_checkpoint_is_read_back_as_it_was_kept_and_a_damaged_one_is_left_aside(
    runtime: Runtime, user: User
) -> None:
    add_set(runtime, user.id)
    run = training.start_training(runtime, user.id, "shapes", REQUEST)
    callbacks = RunCallbacks(runtime, cast(Task, Reporting(run)), run, 0.0, 1.0)
    assert callbacks.saved() is None
    for content in (b"first", b"second", b"second"):
        callbacks.save(content)
        assert len(checkpoints(runtime, user, of_the_run=True)) == 1
        assert callbacks.saved() == content
    runtime.data.put(checkpoints(runtime, user)[0], b"torn")
    assert callbacks.saved() is None
    assert "damaged" in ended(runtime, run).tags["checkpoint.lost"]
    callbacks.save(b"third")
    runtime.data.delete(checkpoints(runtime, user)[0])
    callbacks.save(b"fourth")
    assert callbacks.saved() == b"fourth"
    runtime.data.delete_prefix(f"user_data/{user.id}/checkpoints")
    assert callbacks.saved() is None
    assert "gone" in ended(runtime, run).tags["checkpoint.lost"]


def test_an_epoch_told_again_replaces_the_first_and_a_report_stays_within_its_share(
    runtime: Runtime, user: User
) -> None:
    add_set(runtime, user.id)
    run = training.start_training(runtime, user.id, "shapes", REQUEST)
    told: list[tuple[str, float]] = []
    task = SimpleNamespace(report=lambda stage, fraction, message: told.append((stage, fraction)))
    callbacks = RunCallbacks(runtime, cast(Task, task), run, 0.2, 0.8)
    for loss in (0.9, 0.7):
        callbacks.epoch(Epoch(1, loss, 0.5, loss, 0.5))
    for fraction in (-1.0, 0.5, 2.0):
        callbacks.report("whatever", fraction)
    assert told == [("learn", 0.2), ("learn", 0.5), ("learn", pytest.approx(0.8))]
    with runtime.catalog.read() as transaction:
        curves = runs.curves_of(transaction, run.id)
    assert [(point.step, point.value) for point in curves["train_loss"]] == [(1, 0.7)]
    assert "learning_rate" not in curves


@pytest.mark.parametrize(
    "request_",
    [
        TrainingRequest("no name!"),
        TrainingRequest("m", options=Options(epochs=0)),
        TrainingRequest("m", options=Options(seed=-1)),
        TrainingRequest("m", "finetune", Options(learning_rate=float("nan"))),
        TrainingRequest("m", options=Options(learning_rate=0.1)),
        TrainingRequest("m", options=Options(device="cuda")),
        TrainingRequest("m", options=Options(batch_size=100_000)),
        TrainingRequest("m", options=Options(architecture="resnet18")),
        TrainingRequest("m", cast(Any, "magic")),
    ],
)
def test_a_choice_that_cannot_be_used_is_refused_before_anything_is_queued(
    runtime: Runtime, user: User, request_: TrainingRequest
) -> None:
    add_set(runtime, user.id, each=1)
    with pytest.raises(InvalidInput):
        training.start_training(runtime, user.id, "shapes", request_)
    assert runtime.jobs.list(user.id) == []


def test_a_set_of_one_label_and_a_set_of_another_person_cannot_be_trained_on(
    runtime: Runtime, user: User
) -> None:
    row = add_set(runtime, user.id, each=3)
    with runtime.catalog.write() as transaction:
        found = images.list_images(transaction, user.id, row.id)
        images.set_label(transaction, user.id, row.id, [image.id for image in found], "disc")
    with pytest.raises(UnusableImages, match='shapes has "disc"'):
        training.start_training(runtime, user.id, row.id, REQUEST)
    other = runtime.accounts.sign_up("other@example.org", "a long password")
    with pytest.raises(NotFound):
        training.start_training(runtime, other.id, row.id, REQUEST)


def test_what_was_asked_for_is_read_back_from_the_run(runtime: Runtime, user: User) -> None:
    add_set(runtime, user.id, each=3)
    request = TrainingRequest("m", "finetune", Options(7, 5, "resnet18", 0.01, 8, "cpu"))
    run = training.start_training(runtime, user.id, "shapes", request)
    assert training.request_of(ended(runtime, run)) == request
    plain = training.start_training(runtime, user.id, "shapes", TrainingRequest("m"))
    assert training.request_of(ended(runtime, plain)) == TrainingRequest("m")


# Killed


WORKER = """
import signal
from dataclasses import replace
from ecluse.apps.plants import finetune
from ecluse.apps.plants.jobs import training as training_work
from ecluse.apps.plants.pictures import Transform
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Settings
from ecluse.work import kinds

finetune.PLANS["resnet18"] = replace(
    finetune.PLANS["resnet18"], width=4, transform=Transform(36, 32), patience=100, batch_size=8
)
finetune._threads = lambda: 1
with Runtime.open(Settings.from_environment()) as runtime:
    worker = Worker(runtime, kinds(), training_work.reconcile)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    worker.start()
    worker.run_until_stopped()
    worker.close()
"""


class Workers:
    """Worker processes on one installation, started and killed one after another."""

    def __init__(self, environ: dict[str, str]) -> None:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        self._environ = kept | environ
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self._running.append(subprocess.Popen([sys.executable, "-c", WORKER], env=self._environ))

    def kill(self) -> None:
        for process in self._running:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self._running.clear()


@pytest.fixture
def served(
    object_server: ObjectServer, postgresql_url: str, tmp_path: Path
) -> Iterator[tuple[Runtime, Workers]]:
    """An installation on SeaweedFS and PostgreSQL."""
    environ = object_server.environment(tmp_path.name) | {
        "DATABASE_URL": postgresql_url, "ECLUSE_HOME": str(tmp_path / "served"),
    }  # fmt: skip
    workers = Workers(environ)
    with Runtime.open(Settings.from_environment(environ)) as runtime:
        yield runtime, workers
    workers.kill()


def steps(runtime: Runtime, run: Run) -> int:
    with runtime.catalog.read() as transaction:
        return len(runs.curves_of(transaction, run.id).get("train_loss", []))


def outcome(runtime: Runtime, user: User, workers: Workers, name: str, kills: list[int]) -> tuple[str, Any]:
    """What a training publishes whose worker is killed once it has told so many epochs: weights, and figures."""
    options = Options(epochs=12, architecture="resnet18", device="cpu")
    run = training.start_training(runtime, user.id, "shapes", TrainingRequest(name, "finetune", options))
    for step in kills:
        wait_until(lambda step=step: steps(runtime, run) >= step, f"{step} epochs", 120)  # type: ignore[misc]
        workers.kill()
        assert ended(runtime, run).status == "running"
        assert checkpoints(runtime, user)
        workers.start()
    ended_job(runtime, user.id, run.job_id or "")
    job = runtime.jobs.get(user.id, run.job_id or "")
    assert (job.status, job.error) == ("done", None)
    wait_until(lambda: not checkpoints(runtime, user), "an end of the checkpoints")
    row = models.resolve(runtime, user.id, name)
    assert runtime.registry(user.id).versions(name) == [row.version]
    assert steps(runtime, run) == 12
    trained = [{**line, "seconds": None} for line in row.report["history"]]
    return weights(runtime, row), (trained, row.report["metrics"], row.report["confusion"])


@pytest.mark.nightly
def test_a_training_killed_twice_gives_the_weights_of_one_that_was_not(
    served: tuple[Runtime, Workers],
) -> None:
    pytest.importorskip("torch", reason="torch is not installed: ./test installs it")
    runtime, workers = served
    user = runtime.accounts.sign_up("person@example.org", "a long password")
    add_set(runtime, user.id)
    workers.start()
    killed = outcome(runtime, user, workers, "killed", [2, 6])
    assert killed == outcome(runtime, user, workers, "left-alone", [])
