"""What a recipe learns from, what it is told, and what it gives back; `features` and `finetune` are recipes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from ecluse.errors import InvalidInput
from ecluse.sentences import _

if TYPE_CHECKING:  # pages and commands that only name a recipe read no images
    import numpy as np
    from numpy.typing import NDArray

    from ecluse.apps.plants.array_cache import ArrayCache
    from ecluse.apps.plants.pictures import Transform

RecipeName = Literal["features", "finetune"]
#: Neural networks by name: "lite0" is EfficientNet-Lite0 as learned on ImageNet, "resnet18" starts from nothing.
Architecture = Literal["lite0", "resnet18"]
ARCHITECTURES: Final[tuple[Architecture, ...]] = ("lite0", "resnet18")


@dataclass(frozen=True)
class Takes:
    """What a recipe can be told; the first of its networks is its own choice."""

    architectures: tuple[Architecture, ...]
    learning_rate: bool = True
    gpu: bool = True
    #: Whether it needs torch.
    torch: bool = True


#: The recipes, that which needs nothing first: the default.
RECIPES: Final[Mapping[RecipeName, Takes]] = {
    "features": Takes(("lite0",), learning_rate=False, gpu=False, torch=False),
    "finetune": Takes(ARCHITECTURES),
}


@dataclass(frozen=True)
class Example:
    """An image to learn from or to measure on. `label` counts from 0 in the order of the labels."""

    id: str
    sha256: str
    label: int
    read: Callable[[], bytes]


@dataclass(frozen=True)
class TrainingData:
    """The images of a split that a recipe may see: never those of the test part."""

    labels: tuple[str, ...]
    train: Sequence[Example]
    validation: Sequence[Example]


@dataclass(frozen=True)
class Options:
    """What a person may choose. None: the recipe's own default."""

    seed: int = 0
    epochs: int | None = None
    architecture: Architecture | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    #: "auto" takes CUDA where torch sees it.
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class Epoch:
    """One line of training_history.json; losses are mean cross-entropies in nats, accuracies 0 to 1."""

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float | None = None
    seconds: float | None = None


class Callbacks(Protocol):
    """What a recipe tells while it learns, and asks."""

    def report(self, stage: str, fraction: float, message: str = "") -> None:
        """Say how far it is; raises `JobCancelled` when it is to stop."""

    def epoch(self, epoch: Epoch) -> None:
        """Keep the metrics of an epoch; the same epoch told again replaces the first."""

    def asked_to_finish(self) -> bool:
        """Return whether to end with the best so far."""

    def save(self, checkpoint: bytes) -> None:
        """Keep all that is needed to go on after this epoch, in place of what was kept before."""

    def saved(self) -> bytes | None:
        """Return what was kept last, by this process or one that was killed."""

    def cache(self, meaning: str) -> ArrayCache:
        """Return what was seen of images in this way, by this process or one before it; more can be kept there."""


@dataclass(frozen=True)
class TrainedClassifier:
    """A classifier as a recipe leaves it.

    `state` are the weights by name, as the architecture in torch names them, the last layer being
    `classifier.weight` (labels, features) and `classifier.bias` (labels,).
    """

    architecture: Architecture
    state: Mapping[str, NDArray[np.float32]]
    transform: Transform
    history: Sequence[Epoch]
    best_epoch: int
    device: str
    #: What metrics.json says of it: optimiser, epochs, learning_rate, regularisation …
    details: Mapping[str, Any] = field(default_factory=dict)
    #: What the layer before the last sees of the images that were learned from and chosen by, (features,) by digest,
    #: where it was as it is now when they were seen; else empty.
    seen: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)


class Recipe(Protocol):
    """Learn from a training_data."""

    def __call__(
        self, training_data: TrainingData, options: Options, callbacks: Callbacks
    ) -> TrainedClassifier: ...


def check_choices(recipe: RecipeName, options: Options) -> None:
    """`InvalidInput` for what a person chose and the recipe cannot be told."""
    takes = RECIPES[recipe]
    if options.architecture is not None and options.architecture not in takes.architectures:
        architectures = " and ".join(takes.architectures)
        raise InvalidInput(
            _(
                "The recipe %(name)s cannot learn with %(word)s; it takes %(values)s. Choose another recipe.",
                name=recipe,
                word=options.architecture,
                values=architectures,
            )
        )
    if options.device == "cuda" and not takes.gpu:
        raise InvalidInput(_("The recipe %(name)s needs no GPU; take the device auto or cpu.", name=recipe))
    if options.learning_rate is not None and not takes.learning_rate:
        raise InvalidInput(_("The recipe %(name)s has no learning rate. Leave it out.", name=recipe))
