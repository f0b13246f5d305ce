"""`ecluse plants train` and `ecluse plants predict`, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ecluse.apps.plants import actions as workflows
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.commands.training import percentile
from ecluse.apps.plants.jobs import training as training_work
from ecluse.catalog import runs
from ecluse.cli import cli
from ecluse.errors import NotFound
from ecluse.runtime import Runtime
from tests.apps.plants.sets import LABELS, add_set, drawn, learn_last_layer
from tests.web.test_pages import browser


@pytest.fixture
def place(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installation with a set of images, where a training takes a second."""
    monkeypatch.setattr(training_work, "recipe", lambda name: learn_last_layer)
    add_set(runtime, runtime.accounts.local_administrator().id)
    return str(runtime.settings.home)


def ran(home: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["plants", *arguments, "--home", home])


def parsed(result: Result) -> Any:
    return json.loads(result.stdout)


def test_a_model_is_trained_and_asked_and_unreadable_files_are_named(place: str, tmp_path: Path) -> None:
    trained = ran(place, "train", "--name", "shapes", "--epochs", "3", "--json")
    assert trained.exit_code == 0, trained.output
    said = parsed(trained)
    assert said["recipe"] == "features"
    assert said["set"] == "shapes"
    low, high = said["test_accuracy_interval"]
    assert low <= said["test_accuracy"] <= high
    assert said["tested"] == 6
    assert said["version"].startswith("v")
    assert {"run", "split", "seconds", "size_bytes", "export"} <= said.keys()
    assert "Training on shapes, the set imported last." in trained.stderr
    assert "Epoch 3: loss" in trained.stderr, "also when it ended between two looks"

    good, torn, missing = tmp_path / "good.png", tmp_path / "torn.png", tmp_path / "missing.png"
    good.write_bytes(drawn(1, 99))
    torn.write_bytes(drawn(1, 99)[:200])
    files = [str(path) for path in (torn, good, missing)]
    asked = ran(place, "predict", f"shapes@{said['version']}", *files, "--json")
    assert asked.exit_code == 1
    answer = parsed(asked)
    first, second, third = answer["images"]
    assert "damaged" in first["error"]
    assert second["nearest"] in LABELS
    assert sum(second["probabilities"].values()) == pytest.approx(1)
    assert "No such file" in third["error"]
    assert (answer["version"], answer["unreadable"]) == (said["version"], 2)
    assert answer["milliseconds"]["p50"] == answer["milliseconds"]["p95"] == second["milliseconds"]

    explained = ran(place, "predict", "shapes", str(good), "--explain", str(tmp_path / "why"))
    assert explained.exit_code == 0, explained.output
    assert f"shapes@{said['version']}: 1 images" in explained.stdout
    with Image.open(tmp_path / "why" / "good.png") as picture:
        assert picture.size == (448, 448)


@pytest.mark.nightly
def test_a_training_is_repeated_from_its_run_with_the_same_files(
    runtime: Runtime,
) -> None:
    owner = runtime.accounts.local_administrator()
    row = add_set(runtime, owner.id)
    home = str(runtime.settings.home)
    first = parsed(ran(home, "train", "--name", "shapes", "--epochs", "3", "--seed", "4", "--json"))
    served = first["as_served"]
    assert served["right"] + served["wrong"] + served["none"] == served["of"] == first["tested"]
    with runtime.catalog.read() as transaction:
        run = runs.run_of(transaction, owner.id, first["run"])
        curves = runs.curves_of(transaction, run.id)
        some = images.list_images(transaction, owner.id, row.id)[:3]
    published = {point.step: point.value for point in curves["validation_loss"]}[first["best_epoch"]]
    assert run.metrics["validation_loss"] == published, "that of the published epoch, not of the last"
    assert run.metrics["best_epoch"] == first["best_epoch"]
    assert run.metrics["served_accuracy"] == served["right"] / served["of"]
    kept = run.parameters
    assert (kept["seed"], kept["epochs"], kept["recipe"], kept["made.device"]) == (4, 3, "features", "cpu")
    assert kept["made.split_sha256"] == first["split_sha256"]
    assert {
        "made.set_sha256",
        "made.strength",
        "made.numpy",
        "made.onnxruntime",
        "made.ecluse",
    } <= kept.keys()
    workflows.relabel(
        runtime, owner.id, row.id, [one.id for one in some], "other"
    )  # the set goes on; the run does not
    again = ran(home, "train", "--repeat", first["run"], "--json")
    assert again.exit_code == 0, again.output
    said = parsed(again)
    assert (said["split"], said["version"] != first["version"], said["name"]) == (
        first["split"],
        True,
        "shapes",
    )
    assert {"best_model.safetensors", "model.onnx", "known.safetensors", "labels.json", "split.json"} <= set(
        said["same"]
    )
    assert set(said["different"]) <= {"metrics.json", "model_card.md", "training_history.json"}
    refused = ran(home, "train", "--repeat", first["run"], "--epochs", "5")
    assert refused.exit_code == 2
    assert "takes every setting from the run" in refused.output
    assert isinstance(ran(home, "train", "--repeat", "nothing").exception, NotFound)
    with runtime.catalog.read() as transaction:
        repeated = runs.run_of(transaction, owner.id, said["run"])
    assert repeated.tags["repeats"] == first["run"]
    assert repeated.tags["other_files"] == ", ".join(said["different"])
    page = browser(runtime, owner)
    assert "every file the same but metrics.json" in page.get(f"/runs/{repeated.id}").text
    assert page.post(f"/runs/{repeated.id}/repeat").status_code == 303


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0.01, 1))
def test_a_percentile_is_one_of_the_values_and_so_large_a_share_does_not_exceed_it(
    values: list[float], share: float
) -> None:
    found = percentile(values, share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert percentile([], share) is None
