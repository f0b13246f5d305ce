"""How a network is taught: all that decides it, and what is taken where a person chooses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from ecluse.apps.plants.augmentation import Augmentation
from ecluse.apps.plants.pictures import Transform
from ecluse.apps.plants.recipe import Architecture


@dataclass(frozen=True)
class Plan:
    """All that decides how a network learns, beside the images and the number of threads."""

    architecture: Architecture
    #: Whether it starts from what was learned on ImageNet; else from nothing.
    pretrained: bool
    epochs: int
    #: Of the last layer, at the top of the schedule; that of the layers below is `below` times that.
    learning_rate: float
    below: float
    #: The stem and so many blocks stay as they are, and so do all batch norms' statistics, where it is pretrained.
    frozen: int = 0
    batch_size: int = 16
    seed: int = 0
    weight_decay: float = 0.02
    #: How much of each label is spread over all labels.
    smoothing: float = 0.1
    dropout: float = 0.2
    #: Epochs in which the learning rate rises, and those without a better validation loss after which it ends.
    warmup: float = 1.0
    patience: int = 6
    #: The longest gradient of a step, in the Euclidean norm.
    clipped: float = 5.0
    transform: Transform = field(default_factory=Transform)
    augmentation: Augmentation = field(default_factory=Augmentation)
    #: ResNet18's first channels; 64 is the published network.
    width: int | None = None
    device: Literal["cpu", "cuda"] = "cpu"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Plan:
        parts = {"transform": Transform.from_dict(data["transform"])}
        return cls(**data | parts | {"augmentation": Augmentation(**data["augmentation"])})


#: On three splits of 400 photographs, five epochs at most, the best validation losses were .098, .206 and .028; with
#: the last layer alone .127, .206 and .068. Half the rate, or four more blocks to learn, did no better. So few
#: images leave little to gain, which is why the first epoch is kept where nothing is better.
PRETRAINED: Final = Plan(
    "lite0", pretrained=True, epochs=8, learning_rate=5e-5, below=1.0, frozen=9, smoothing=0.0, patience=4
)
#: On small images: from nothing it takes many epochs.
FROM_NOTHING: Final = Plan(
    "resnet18",
    pretrained=False,
    epochs=30,
    learning_rate=1e-3,
    below=1.0,
    weight_decay=0.05,
    dropout=0.0,
    patience=10,
    transform=Transform(resize=146, crop=128),
)
#: How each network is taught where a person chooses nothing.
PLANS: Final[Mapping[Architecture, Plan]] = {"lite0": PRETRAINED, "resnet18": FROM_NOTHING}
