"""Build the networks of `architectures` in torch, to be learned with. Importing this imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from ecluse.apps.plants.architectures import CLASSIFIER, Activation, Block, Convolution, Network
from ecluse.apps.plants.errors import PlantsError
from ecluse.sentences import _


class Classifier(nn.Module):  # type: ignore[misc]
    """A network of the tables. Its state has the names of the table, and `num_batches_tracked` of torch's norms."""

    def __init__(self, network: Network, labels: int) -> None:
        super().__init__()
        self.network = network
        self._at: dict[str, tuple[nn.Conv2d, nn.BatchNorm2d]] = {}
        for convolution in network.convolutions():
            before, after = convolution.padding
            layer = nn.Conv2d(
                convolution.inputs, convolution.outputs, convolution.kernel, convolution.stride,
                before if before == after else 0,
                groups=convolution.groups, bias=False,
            )  # fmt: skip
            norm = nn.BatchNorm2d(convolution.outputs, network.epsilon, network.momentum)
            self._at[convolution.name] = layer, norm
            _place(self, convolution.name, layer)
            _place(self, convolution.norm, norm)
        _place(self, CLASSIFIER, nn.Linear(network.inputs, labels))

    def forward(self, images: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (n, labels) of `images` (n, 3, side, side); `keep` (n, features) is what dropout leaves of each."""
        features = self.features(images)
        logits: torch.Tensor = self.classifier(features if keep is None else features * keep)
        return logits

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(n, inputs): the mean over height and width of what the last convolution sees, then of the tapped blocks."""
        at = self._convolved(self.network.stem, images)
        if self.network.max_pooled:
            at = functional.max_pool2d(at, 3, 2, 1)
        tapped = list[torch.Tensor]()
        for number, block in enumerate(self.network.blocks):
            at = self._through(block, at)
            if number in self.network.taps:
                tapped.append(at.mean((2, 3)))
        if self.network.head is not None:
            at = self._convolved(self.network.head, at)
        return torch.cat((at.mean((2, 3)), *tapped), 1) if tapped else at.mean((2, 3))

    def _through(self, block: Block, start: torch.Tensor) -> torch.Tensor:
        at = start
        for step in block.steps:
            at = self._convolved(step, at)
        if block.shortcut == "identity":
            at = at + start
        elif block.shortcut != "none":
            at = at + self._convolved(block.shortcut, start)
        return _activated(block.activation, at)

    def _convolved(self, convolution: Convolution, start: torch.Tensor) -> torch.Tensor:
        layer, norm = self._at[convolution.name]
        before, after = convolution.padding
        if before != after:
            start = functional.pad(start, (before, after, before, after))
        return _activated(convolution.activation, norm(layer(start)))


def initialise(classifier: Classifier, seed: int) -> None:
    """Random weights by He's rule for what follows each convolution; the same for the same seed."""
    draw = torch.Generator().manual_seed(seed % 2**63)
    for module in classifier.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=draw)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01, generator=draw)
            nn.init.zeros_(module.bias)


def state_of(classifier: Classifier) -> dict[str, NDArray[np.float32]]:
    """Return a copy of the weights by the names of the table."""
    return {
        name: values.detach().cpu().contiguous().numpy().copy()
        for name, values in classifier.state_dict().items()
        if not name.endswith(".num_batches_tracked")
    }


def set_state(classifier: Classifier, state: Mapping[str, NDArray[Any]]) -> None:
    """Take over weights by name, all of them.

    Raises:
        PlantsError: some are missing, too many or of another shape.
    """
    own = {
        name: v for name, v in classifier.state_dict().items() if not name.endswith(".num_batches_tracked")
    }
    wrong = [
        name
        for name in sorted({*own, *state})
        if name not in own or name not in state or tuple(own[name].shape) != state[name].shape
    ]
    if wrong:
        raise PlantsError(
            _(
                "Weights do not fit %(name)s: %(values)s.",
                name=classifier.network.name,
                values=", ".join(wrong[:3]),
            )
        )
    with torch.no_grad():
        for name, values in own.items():
            values.copy_(torch.from_numpy(np.ascontiguousarray(state[name])))


def _place(root: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module where its dotted name says."""
    *parents, last = name.split(".")
    for parent in parents:
        if parent not in root._modules:
            root.add_module(parent, nn.Module())
        root = root.get_submodule(parent)
    root.add_module(last, module)


def _activated(activation: Activation | None, at: torch.Tensor) -> torch.Tensor:
    if activation == "relu6":
        return functional.relu6(at, inplace=True)
    return functional.relu(at, inplace=True) if activation == "relu" else at
