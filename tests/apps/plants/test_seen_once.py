"""What the frozen network sees of an image is computed once, whoever needs it: audits, trainings, and those after."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ecluse import models
from ecluse.apps.plants import features, training
from ecluse.apps.plants.array_cache import LocalArrays
from ecluse.apps.plants.audit import start_audit
from ecluse.apps.plants.prediction import Graph
from ecluse.apps.plants.recipe import Options
from ecluse.apps.plants.training import TrainingRequest
from ecluse.catalog.tables import User
from ecluse.cli.session import finish
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.apps.plants.sets import add_set

EACH = 8
CORNERS = len(features.CORNERS)


@pytest.fixture
def squares(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many squares of images the frozen network has looked at, and how many the files that are served."""
    looked_at = Counter[str]()
    session, run = features._session, Graph.run

    class Counting:
        def __init__(self, threads: int) -> None:
            self.session = session(threads)

        def run(self, outputs: Any, inputs: Any) -> Any:
            looked_at["network"] += len(inputs["images"])
            return self.session.run(outputs, inputs)

    def counted(graph: Graph, pixels: Any) -> Any:
        looked_at["served"] += len(pixels)
        return run(graph, pixels)

    monkeypatch.setattr(features, "_session", Counting)
    monkeypatch.setattr(Graph, "run", counted)
    return looked_at


def train(runtime: Runtime, user: User, seed: int = 0) -> dict[str, dict[str, int]]:
    """Train as a job does; how many images of each label each part has."""
    request = TrainingRequest("shapes", options=Options(seed, epochs=2))
    run = training.start_training(runtime, user.id, "shapes", request)
    finish(runtime, user, run.job_id or "", "Training")
    images: dict[str, dict[str, int]] = models.resolve(runtime, user.id, "shapes").report["images"]
    return images


def counted(parts: dict[str, dict[str, int]], name: str) -> int:
    return sum(parts[name].values())


@pytest.mark.nightly
def test_an_audit_trainings_and_a_restart_look_at_each_view_of_an_image_once(
    home: Path, squares: Counter[str]
) -> None:
    with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
        user = runtime.accounts.local_administrator()
        row = add_set(runtime, user.id, each=EACH)
        finish(runtime, user, start_audit(runtime, user.id, row.id), "Audit")
        assert squares == {"network": 2 * EACH}
        parts = train(runtime, user)
        # The test part is looked at by the file that is served, and by nothing else.
        assert squares["network"] == 2 * EACH + CORNERS * counted(parts, "train")
        assert squares["served"] == counted(parts, "test")
        finish(runtime, user, start_audit(runtime, user.id, row.id), "Audit")
    with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
        parts = train(runtime, user)
        assert squares["network"] == 2 * EACH + CORNERS * counted(parts, "train")
        assert squares["served"] == 2 * counted(parts, "test")
        train(runtime, user, seed=1)
        assert squares["network"] <= 2 * EACH * (1 + CORNERS)


@pytest.mark.nightly
def test_a_training_before_any_audit_leaves_it_only_the_test_part_to_look_at(
    runtime: Runtime, squares: Counter[str]
) -> None:
    user = runtime.accounts.local_administrator()
    row = add_set(runtime, user.id, each=EACH)
    parts = train(runtime, user)
    before = squares["network"]
    finish(runtime, user, start_audit(runtime, user.id, row.id), "Audit")
    assert squares["network"] - before == counted(parts, "test")


def test_an_array_that_is_not_kept_yet_is_none_and_no_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = LocalArrays(tmp_path, "network-1")
    cache.save("0" * 64, features=np.ones(3, np.float32))
    assert cache.load("0" * 64, "features", "corners") is None
    assert not caplog.records
    cache.save("0" * 64, features=np.ones(3, np.float32), corners=np.ones(12, np.float32))
    assert cache.load("0" * 64, "corners") is not None
