"""The recipe that learns a linear layer, on small drawings."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import onnxruntime
import pytest
from PIL import Image, ImageDraw

from ecluse.apps.plants import features as recipe
from ecluse.apps.plants.architectures import TAPS, lite0
from ecluse.apps.plants.array_cache import ArrayCache
from ecluse.apps.plants.errors import UnreadableImage, UnusableImages
from ecluse.apps.plants.features import CORNERS, LITE0, SEEN, extract_features, features
from ecluse.apps.plants.graphs import build_graph
from ecluse.apps.plants.pictures import read_picture
from ecluse.apps.plants.recipe import Epoch, Example, Options, TrainingData
from ecluse.apps.plants.weights import lite0_state
from ecluse.checkpoints import Checkpoints
from ecluse.errors import InvalidInput, JobCancelled
from tests.apps.plants.training_images import Memory

LABELS = ("disc", "square", "stripes")


class Told:
    """What a recipe says; `finish_after` epochs it is asked to end, at `cancel_at` of the work it is cancelled."""

    def __init__(
        self, finish_after: int | None = None, cancel_at: float = 2.0, before: Told | None = None
    ) -> None:
        self.epochs: list[Epoch] = []
        self.fractions: list[float] = []
        self.messages: list[str] = []
        self.finish_after, self.cancel_at = finish_after, cancel_at
        self.memory, self.kept = Memory(), None if before is None else before.kept
        if before is not None:
            self.memory = before.memory

    def report(self, stage: str, fraction: float, message: str = "") -> None:
        self.fractions.append(fraction)
        self.messages.append(message)
        if fraction >= self.cancel_at:
            raise JobCancelled("The job was cancelled.")

    def epoch(self, epoch: Epoch) -> None:
        self.epochs.append(epoch)

    def asked_to_finish(self) -> bool:
        return self.finish_after is not None and len(self.epochs) >= self.finish_after

    def save(self, checkpoint: bytes) -> None:
        self.kept = checkpoint

    def saved(self) -> bytes | None:
        return self.kept

    def cache(self, meaning: str) -> ArrayCache:
        return ArrayCache(meaning, checkpoints=cast(Checkpoints, self.memory))


def drawing(label: int, seed: int) -> bytes:
    rng = np.random.default_rng((label, seed))
    ground, ink = (tuple(int(value) for value in rng.integers(0, 256, 3)) for _ in range(2))
    image = Image.new("RGB", (72, 56), ground)
    draw = ImageDraw.Draw(image)
    left, top = (int(value) for value in rng.integers(2, 20, 2))
    if label == 0:
        draw.ellipse((left, top, left + 32, top + 32), fill=ink)
    elif label == 1:
        draw.rectangle((left, top, left + 32, top + 32), fill=ink)
    else:
        for at in range(left, 72, 12):
            draw.line((at, 0, at, 56), fill=ink, width=5)
    into = io.BytesIO()
    image.save(into, "PNG")
    return into.getvalue()


def examples(each: int, labels: int, start: int = 0) -> list[Example]:
    found = []
    for label in range(labels):
        for seed in range(start, start + each):
            data = drawing(label, seed)
            found.append(
                Example(f"{label}-{seed}", hashlib.sha256(data).hexdigest(), label, lambda data=data: data)
            )
    return found


def training_data(labels: int = 2, each: int = 6) -> TrainingData:
    return TrainingData(LABELS[:labels], examples(each, labels), examples(4, labels, start=100))


def served(learned_state: object, of: Sequence[Example]) -> list[int]:
    session = onnxruntime.InferenceSession(learned_state, providers=["CPUExecutionProvider"])
    pixels = np.stack([LITE0(read_picture(one.read(), side=LITE0.resize).image) for one in of])
    return [int(label) for label in session.run(["logits"], {"images": pixels})[0].argmax(axis=1)]


@pytest.mark.parametrize("labels", [2, 3])
def test_a_linear_layer_learns_drawings_it_has_not_seen(labels: int) -> None:
    told = Told()
    trained_model = training_data(labels)
    trained = features(trained_model, Options(), told)
    assert {name: values.shape for name, values in trained.state.items()} == lite0(TAPS).shapes(labels)
    unseen = examples(4, labels, start=200)
    found = served(build_graph(lite0(TAPS), trained.state), unseen)
    assert np.mean([label == one.label for label, one in zip(found, unseen, strict=True)]) >= 0.75
    assert list(trained.history) == told.epochs
    losses = [epoch.validation_loss for epoch in told.epochs]
    assert trained.best_epoch == told.epochs[int(np.argmin(losses))].epoch
    assert told.fractions == sorted(told.fractions)
    assert told.fractions[-1] == pytest.approx(1)


def test_the_history_is_what_the_layer_says_of_the_parts() -> None:
    trained_model = training_data(2, 3)
    trained = features(trained_model, Options(epochs=4), Told())
    best = trained.history[trained.best_epoch - 1]
    for part, loss, accuracy in (
        (trained_model.train, best.train_loss, best.train_accuracy),
        (trained_model.validation, best.validation_loss, best.validation_accuracy),
    ):
        seen = extract_features([one.read for one in part])
        logits = seen @ trained.state["classifier.weight"].T + trained.state["classifier.bias"]
        logs = logits - np.logaddexp(*logits.T)[:, None]
        truth = np.array([one.label for one in part])
        assert -logs[np.arange(len(truth)), truth].mean() == pytest.approx(loss, abs=1e-4)
        assert (logits.argmax(axis=1) == truth).mean() == accuracy
    assert len(trained.details["strengths"]) == 4


def test_the_same_lesson_teaches_the_same_weights() -> None:
    first, second = (features(training_data(2, 3), Options(epochs=3), Told()) for _ in range(2))
    for name in ("classifier.weight", "classifier.bias"):
        np.testing.assert_array_equal(first.state[name], second.state[name])


def test_it_ends_with_the_best_so_far_when_asked() -> None:
    trained = features(training_data(2, 3), Options(), Told(finish_after=2))
    assert len(trained.history) == 2
    assert trained.best_epoch <= 2


def test_cancelling_ends_it_while_it_looks_at_images() -> None:
    told = Told(cancel_at=0.2)
    with pytest.raises(JobCancelled):
        features(training_data(2, 6), Options(), told)
    assert told.epochs == []


def test_the_layer_before_the_last_stays_as_it_was_pretrained() -> None:
    trained = features(training_data(2, 3), Options(epochs=1), Told())
    for name, values in lite0_state().items():
        if not name.startswith("classifier."):
            np.testing.assert_array_equal(trained.state[name], values)


def test_features_of_one_image_do_not_depend_on_the_others() -> None:
    reads = [one.read for one in examples(4, 2)]
    together = extract_features(reads, views=(LITE0, *CORNERS))
    alone = np.concatenate([extract_features([read], views=(LITE0, *CORNERS)) for read in reads[:2]])
    assert together.shape == (8, 5 * SEEN)
    np.testing.assert_allclose(together[:2], alone, rtol=1e-3, atol=1e-4)


def test_progress_is_told_and_no_images_are_no_features() -> None:
    told: list[tuple[int, int]] = []
    extract_features([one.read for one in examples(10, 2)], progress=lambda done, of: told.append((done, of)))
    assert told[-1] == (20, 20)
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert extract_features([]).shape == (0, SEEN)


def test_a_damaged_image_is_told() -> None:
    with pytest.raises(UnreadableImage):
        extract_features([lambda: drawing(0, 0)[:200]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(architecture="resnet18"), "cannot learn with resnet18"),
        (Options(device="cuda"), "GPU"),
        (Options(learning_rate=0.1), "learning rate"),
    ],
)
def test_options_that_mean_nothing_to_it_are_refused(options: Options, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        features(training_data(2, 2), options, Told())


def test_a_lesson_without_images_of_a_label_or_of_validation_is_refused() -> None:
    whole = training_data(2, 2)
    with pytest.raises(UnusableImages, match="square"):
        features(replace(whole, train=[one for one in whole.train if one.label == 0]), Options(), Told())
    with pytest.raises(UnusableImages, match="validation"):
        features(replace(whole, validation=[]), Options(), Told())


def test_a_recipe_that_is_interrupted_goes_on_where_it_was_and_ends_with_the_same_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learned_from, options = training_data(3, 2), Options(epochs=5)
    whole = features(learned_from, options, Told())
    looked_at, fitted = list[int](), list[float]()
    seen, at = recipe._seen, recipe._Path.at
    monkeypatch.setattr(recipe, "_seen", lambda read, views: looked_at.append(1) or seen(read, views))
    monkeypatch.setattr(
        recipe._Path, "at", lambda path, strength: fitted.append(strength) or at(path, strength)
    )
    told = None
    for cancel_at in (0.3, 0.6, 0.955, 0.98):
        told = Told(cancel_at=cancel_at, before=told)
        with pytest.raises(JobCancelled):
            features(learned_from, options, told)
        assert told.fractions == sorted(told.fractions)
    last = Told(before=told)
    again = features(learned_from, options, last)
    assert len(looked_at) == len(learned_from.train) + len(learned_from.validation)
    assert len(fitted) == 5
    assert last.fractions[0] > 0.97
    assert [replace(one, seconds=None) for one in again.history] == [
        replace(one, seconds=None) for one in whole.history
    ]
    assert all(np.array_equal(values, whole.state[name]) for name, values in again.state.items())
    assert again.details == whole.details


@pytest.mark.parametrize("other", ["images", "labels", "strengths", "damaged"])
def test_a_checkpoint_of_another_training_is_not_gone_on_from(other: str) -> None:
    first = Told(cancel_at=0.97)
    learned_from, options = training_data(3, 2), Options(epochs=5)
    with pytest.raises(JobCancelled):
        features(learned_from, options, first)
    if other == "images":
        learned_from = replace(learned_from, train=learned_from.train[1:])
    elif other == "labels":
        learned_from = replace(learned_from, labels=learned_from.labels[::-1])
    elif other == "strengths":
        options = Options(epochs=6)
    else:
        assert first.kept is not None
        first.kept = first.kept[:-10]
    again = Told(before=first)
    trained = features(learned_from, options, again)
    assert [one.epoch for one in again.epochs] == [one.epoch for one in trained.history]
    assert any("begins again" in message for message in again.messages)
