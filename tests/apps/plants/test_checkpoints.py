"""A checkpoint comes back as it was kept; anything else is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import numpy as safetensors

from ecluse.apps.plants.checkpoints import Checkpoint, from_bytes, to_bytes
from ecluse.apps.plants.errors import UnusableCheckpoint
from ecluse.apps.plants.recipe import Epoch

HISTORY = tuple(Epoch(number, 0.5, 0.75, 0.4 / number, 0.8, 1e-3, 1.5) for number in (1, 2))


def checkpoint(best_epoch: int = 1) -> Checkpoint:
    draw = np.random.default_rng(0)
    weights = {
        "conv.weight": draw.normal(size=(2, 3, 1, 1)).astype(np.float32),
        "bias": np.zeros(2, np.float32),
    }
    best = weights if best_epoch == 2 else {name: values + 1 for name, values in weights.items()}
    moments = {f"exp_avg:{name}": values * 2 for name, values in weights.items()} | {
        "step:bias": np.float32(7) * np.ones((), np.float32)
    }
    return Checkpoint(
        {"threads": 2, "plan": {"seed": 1}}, HISTORY, best_epoch, weights, best, moments, {"scale": 2.0}
    )


@pytest.mark.parametrize("best_epoch", [1, 2])
def test_a_checkpoint_comes_back_bit_for_bit(best_epoch: int) -> None:
    kept = checkpoint(best_epoch)
    found = from_bytes(to_bytes(kept))
    assert (found.about, found.history, found.best_epoch, found.scaler) == (
        kept.about, kept.history, kept.best_epoch, kept.scaler,
    )  # fmt: skip
    assert found.epoch == 2
    for part in ("weights", "best", "optimiser"):
        one, other = getattr(kept, part), getattr(found, part)
        assert one.keys() == other.keys()
        assert all(one[name].tobytes() == other[name].tobytes() for name in one)
        assert all(one[name].shape == other[name].shape for name in one)


def test_the_best_weights_are_kept_once_when_they_are_the_last() -> None:
    assert len(to_bytes(checkpoint(2))) < len(to_bytes(checkpoint(1)))


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(UnusableCheckpoint):
        from_bytes(data)


@given(st.data())
def test_a_part_of_a_checkpoint_is_refused(data: st.DataObject) -> None:
    whole = to_bytes(checkpoint())
    with pytest.raises(UnusableCheckpoint):
        from_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "another", "figures": "{}"},
        {"format": "ecluse-checkpoint-1"},
        {"format": "ecluse-checkpoint-1", "figures": "{}"},
        {"format": "ecluse-checkpoint-1", "figures": json.dumps({"about": {}, "history": [{"a": 1}]})},
        {"format": "ecluse-checkpoint-1", "figures": json.dumps({"about": {}, "history": 3})},
    ],
)
def test_safetensors_that_are_no_checkpoint_are_refused(metadata: dict[str, str] | None) -> None:
    with pytest.raises(UnusableCheckpoint):
        from_bytes(safetensors.save({"weights/a": np.zeros(2, np.float32)}, metadata=metadata))
