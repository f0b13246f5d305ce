"""A whole network learns from a few small drawn images: alike each time, also when it was killed on its way."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecluse.apps.plants import checkpoints
from ecluse.apps.plants.errors import TrainingDiverged, UnreadableImage, UnusableImages
from ecluse.apps.plants.finetune import finetune, plan_for, train_by
from ecluse.apps.plants.pictures import Transform
from ecluse.apps.plants.plan import Plan
from ecluse.apps.plants.recipe import Options, TrainedClassifier, TrainingData
from ecluse.errors import InvalidInput, JobCancelled
from tests.apps.plants.training_images import LABELS, Notes, example, training_data

pytestmark = pytest.mark.nightly

torch = pytest.importorskip("torch", reason="torch is not installed: ./test installs it")
trainer = pytest.importorskip("ecluse.apps.plants.trainer")

#: A ResNet of a thirty-second of the weights, on images of 32 pixels.
SMALL = Plan(
    "resnet18",
    pretrained=False,
    epochs=3,
    learning_rate=3e-3,
    below=1.0,
    batch_size=5,
    width=8,
    transform=Transform(36, 32),
)


@pytest.fixture(autouse=True)
def one_thread_that_reports_at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(trainer, "REPORTED_EVERY", 0.0)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def same(one: TrainedClassifier, other: TrainedClassifier) -> bool:
    return one.state.keys() == other.state.keys() and all(
        np.array_equal(one.state[name], other.state[name]) for name in one.state
    )


def trained_model(
    plan: Plan = SMALL, notes: Notes | None = None, of: TrainingData | None = None
) -> TrainedClassifier:
    return trainer.train(plan, of or training_data(), notes or Notes(), threads=1)


def test_it_learns_to_tell_a_disc_from_stripes() -> None:
    notes = Notes()
    trained = trained_model(replace(SMALL, epochs=8), notes, training_data(24, 8))
    best = notes.epochs[trained.best_epoch]
    assert best.validation_loss == min(one.validation_loss for one in trained.history)
    assert best.validation_accuracy == 1.0
    assert (
        [one.epoch for one in trained.history] == list(notes.epochs) == list(range(1, len(notes.epochs) + 1))
    )
    assert all(array.dtype == np.float32 for array in trained.state.values())
    assert trained.state["classifier.weight"].shape == (2, 64)
    fractions = [fraction for _, fraction, _ in notes.reports]
    assert fractions == sorted(fractions)
    assert fractions[-1] <= 1.0


def test_the_same_seed_gives_the_same_weights_and_another_gives_others() -> None:
    before = torch.get_rng_state()
    first = trained_model()
    torch.manual_seed(7)
    assert same(first, trained_model())
    assert not same(first, trained_model(replace(SMALL, seed=1)))
    torch.set_rng_state(before)


def test_one_that_was_stopped_after_each_epoch_goes_on_to_the_same_weights() -> None:
    whole = trained_model()
    notes = Notes(cancelled=lambda notes: len(notes.epochs) == 1)
    with pytest.raises(JobCancelled):
        trained_model(notes=notes)
    notes.cancelled = lambda notes: len(notes.epochs) == 2
    with pytest.raises(JobCancelled):
        trained_model(notes=notes)
    notes.cancelled = lambda notes: False
    resumed = trained_model(notes=notes)
    assert same(whole, resumed)
    assert [replace(one, seconds=None) for one in whole.history] == [
        replace(one, seconds=None) for one in resumed.history
    ]


def test_one_that_was_killed_twice_ends_with_the_same_weights(tmp_path: Path) -> None:
    """Real processes, ended by SIGKILL in the middle of an epoch."""
    from tests.apps.plants.killed import train

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "tests.apps.plants.killed"])
    for reports, ends in ((8, -signal.SIGKILL), (4, -signal.SIGKILL), (10_000, 0)):
        process = context.Process(target=train, args=(SMALL, tmp_path, reports))
        process.start()
        process.join(120)
        assert process.exitcode == ends
    whole = trained_model()
    with np.load(tmp_path / "learned.npz") as found:
        assert set(found) == set(whole.state)
        assert all(np.array_equal(found[name], whole.state[name]) for name in whole.state)


def test_a_checkpoint_of_other_images_or_options_is_told_of_and_left_aside() -> None:
    first = Notes()
    whole = trained_model(notes=first)
    for plan, of in ((replace(SMALL, seed=1), training_data()), (SMALL, training_data(train=10))):
        notes = Notes(first.kept)
        trained_model(plan, notes, of)
        assert any("of other images or options" in message for _, _, message in notes.reports)
        assert list(notes.epochs) == [1, 2, 3]
    assert first.kept is not None
    notes = Notes(first.kept[:-1])
    assert same(whole, trained_model(notes=notes))
    assert any("damaged" in message for _, _, message in notes.reports)


def test_it_can_be_stopped_in_the_middle_of_an_epoch() -> None:
    notes = Notes(cancelled=lambda notes: len(notes.reports) == 2)
    with pytest.raises(JobCancelled):
        trained_model(notes=notes)
    assert not notes.epochs
    assert notes.kept is None


def test_asked_to_finish_it_ends_with_the_best_so_far() -> None:
    at_once = Notes(finish=lambda notes: True)
    trained = trained_model(notes=at_once)
    assert len(trained.history) == trained.best_epoch == 1
    later = Notes(finish=lambda notes: len(notes.epochs) == 2)
    assert len(trained_model(notes=later).history) == 2


def test_it_ends_early_when_validation_no_longer_gets_better() -> None:
    unlearnable = [replace(one, label=1 - one.label) for one in training_data().validation]
    trained = trained_model(
        replace(SMALL, epochs=30, patience=2), of=TrainingData(LABELS, training_data(24).train, unlearnable)
    )
    assert len(trained.history) == trained.best_epoch + 2 < 30
    assert trained.details["ended_early"]


def test_a_loss_that_is_no_number_says_what_to_change() -> None:
    with pytest.raises(TrainingDiverged, match="learning rate smaller than 1e\\+30"):
        trained_model(replace(SMALL, learning_rate=1e30, epochs=5))


def test_an_image_that_is_damaged_meanwhile_is_named() -> None:
    broken = replace(example(0, 99), read=lambda: b"no image")
    with pytest.raises(UnreadableImage, match="round-99"):
        trained_model(of=TrainingData(LABELS, [*training_data().train, broken], training_data().validation))


def test_without_images_there_is_nothing_to_learn() -> None:
    for of in (
        TrainingData(LABELS, [], training_data().validation),
        TrainingData(LABELS, training_data().train, []),
    ):
        with pytest.raises(UnusableImages):
            finetune(of, Options(device="cpu"), Notes())


@pytest.mark.parametrize(
    "options", [Options(epochs=0), Options(learning_rate=float("nan")), Options(batch_size=-1)]
)
def test_an_option_that_cannot_be_is_refused(options: Options) -> None:
    with pytest.raises(InvalidInput):
        plan_for(options)


def test_what_is_chosen_goes_into_the_plan() -> None:
    plan = plan_for(
        Options(seed=3, epochs=2, architecture="resnet18", learning_rate=0.1, batch_size=4, device="cpu")
    )
    assert (plan.seed, plan.epochs, plan.learning_rate, plan.batch_size) == (3, 2, 0.1, 4)
    assert not plan.pretrained
    assert plan_for(Options()).pretrained
    if not torch.cuda.is_available():
        with pytest.raises(InvalidInput, match="no GPU"):
            plan_for(Options(device="cuda"))


def test_lite0_goes_on_from_imagenet_and_leaves_its_first_blocks_alone() -> None:
    from ecluse.apps.plants.weights import lite0_state

    plan = replace(
        plan_for(Options(epochs=2, device="cpu")), transform=Transform(36, 32), batch_size=8, patience=9
    )
    notes = Notes()
    trained = trainer.train(plan, training_data(), notes, threads=1)
    known = lite0_state()
    moved = {name for name in known if not np.array_equal(known[name], trained.state[name])}
    assert not [name for name in moved if name.startswith(("_conv_stem", "_bn0", "_blocks.0."))]
    assert {"_conv_head.weight", "_blocks.15._bn1.bias", "classifier.weight"} <= moved
    assert not [name for name in moved if "running" in name]
    assert trained.history[0].learning_rate is None
    finished = Notes(finish=lambda notes: True)
    assert len(trainer.train(plan, training_data(), finished, threads=1).history) == 1
    resumed = Notes(notes.kept)
    assert same(trained, trainer.train(plan, training_data(), resumed, threads=1))
    assert not resumed.epochs


def test_a_plan_says_all_of_itself_as_json() -> None:
    assert Plan.from_dict(SMALL.to_dict()) == SMALL


def test_a_training_by_the_recipe_ends_with_a_checkpoint_of_its_last_epoch() -> None:
    notes = Notes()
    trained = train_by(SMALL, training_data(), notes)
    assert notes.kept is not None
    kept = checkpoints.from_bytes(notes.kept)
    assert kept.epoch == 3
    assert kept.best_epoch == trained.best_epoch
    assert all(np.array_equal(kept.best[name], trained.state[name]) for name in trained.state)
