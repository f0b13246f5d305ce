"""Keep all that a training needs to go on after it was killed: one safetensors file, its figures as JSON metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors

from ecluse.apps.plants.errors import UnusableCheckpoint
from ecluse.apps.plants.recipe import Epoch
from ecluse.sentences import _

FORMAT: Final = "ecluse-checkpoint-1"
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """A training after a whole epoch. What comes next depends on these, the images, and nothing else.

    `about` says what was being done: a training that does something else does not go on from here.
    """

    about: Mapping[str, Any]
    history: Sequence[Epoch]
    best_epoch: int
    weights: Arrays
    best: Arrays
    #: The optimiser's values by the name of the weight: `exp_avg:layer1.0.conv1.weight`.
    optimiser: Arrays
    #: What mixed precision has learned of its scale.
    scaler: Mapping[str, float] = field(default_factory=dict)

    @property
    def epoch(self) -> int:
        return self.history[-1].epoch


def to_bytes(checkpoint: Checkpoint) -> bytes:
    parts = {"weights": checkpoint.weights, "optimiser": checkpoint.optimiser}
    if checkpoint.best_epoch != checkpoint.epoch:
        parts["best"] = checkpoint.best
    figures = {
        "about": checkpoint.about,
        "history": [asdict(epoch) for epoch in checkpoint.history],
        "best_epoch": checkpoint.best_epoch,
        "scaler": checkpoint.scaler,
    }
    return pack(
        FORMAT,
        figures,
        {f"{part}/{name}": array for part, arrays in parts.items() for name, array in arrays.items()},
    )


def from_bytes(data: bytes) -> Checkpoint:
    """Raise UnusableCheckpoint for bytes that are no checkpoint, or of another format."""
    figures, arrays = unpack(FORMAT, data)
    parts: dict[str, dict[str, NDArray[Any]]] = {"weights": {}, "optimiser": {}}
    for name, array in arrays.items():
        part, _rest, rest = name.partition("/")
        parts.setdefault(part, {})[rest] = array
    try:
        return Checkpoint(
            about=figures["about"],
            history=history_of(figures),
            best_epoch=figures["best_epoch"],
            weights=parts["weights"],
            best=parts.get("best", parts["weights"]),
            optimiser=parts["optimiser"],
            scaler=figures["scaler"],
        )
    except KeyError as error:
        raise UnusableCheckpoint(_("The checkpoint is damaged.")) from error


def history_of(figures: Mapping[str, Any]) -> tuple[Epoch, ...]:
    """Return the epochs that figures tell of; raises as `from_bytes` does."""
    try:
        return tuple(Epoch(**epoch) for epoch in figures["history"])
    except (KeyError, TypeError) as error:
        raise UnusableCheckpoint(_("The checkpoint is damaged.")) from error


def pack(format_: str, figures: Mapping[str, Any], arrays: Arrays) -> bytes:
    """Arrays by name as one safetensors file, with figures as JSON beside them."""
    tensors = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return safetensors.save(tensors, metadata={"format": format_, "figures": json.dumps(figures)})


def unpack(format_: str, data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the figures and arrays of `pack`; raises as `from_bytes` does."""
    try:
        metadata = _metadata(data)
        if metadata.get("format") != format_:
            raise UnusableCheckpoint(_("The checkpoint is of another format."))
        return json.loads(metadata["figures"]), safetensors.load(data)
    except (SafetensorError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UnusableCheckpoint(_("The checkpoint is damaged.")) from error


def _metadata(data: bytes) -> dict[str, str]:
    """Return the file begins with the length of its header, 8 bytes little-endian, then the header as JSON."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    return dict(header["__metadata__"])
