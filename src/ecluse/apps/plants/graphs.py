"""Write a network with its weights as an ONNX graph, batch norms folded into the convolutions.

One builder for what every recipe learned: what is served has no part that was not in the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.plants.architectures import CLASSIFIER, Block, Convolution, Network
from ecluse.apps.plants.errors import PlantsError
from ecluse.sentences import _

if TYPE_CHECKING:
    import onnx

#: What ONNX Runtime 1.14 and later read.
OPSET: Final = 17
_IR_VERSION: Final = 8
#: Names of what goes in and comes out.
IMAGES, LOGITS, FEATURES, MAPS = "images", "logits", "features", "maps"

State = Mapping[str, NDArray[np.float32]]


def build_graph(network: Network, state: State, crop: int = 224) -> bytes:
    """Return a classifier as an ONNX file.

    `images` (n, 3, crop, crop) float32, as `Transform` makes them, gives `logits` (n, labels), `features`
    (n, features), and `maps` (n, labels, crop / 32, crop / 32): what each place adds to a label's logit, times the
    number of places (a class activation map; Zhou et al., 2016). Of blocks in `taps`, which see more places, each
    place is the mean of those it covers.

    Raises:
        PlantsError: `state` has not the entries of the network, or `crop` is no size for it.
    """
    return _Writing(network, state, crop).classifier()


def extractor(network: Network, state: State, crop: int = 224) -> bytes:
    """Return the network without its last layer as an ONNX file: `images` in, `features` (n, inputs) out."""
    return _Writing(network, state, crop).extractor()


def folded(
    network: Network, convolution: Convolution, state: State
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and bias of a convolution that does what `one` and its batch norm do; computed in float64."""
    gamma, beta, mean, variance = (
        np.asarray(state[f"{convolution.norm}.{entry}"], np.float64)
        for entry in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + network.epsilon)
    weights = np.asarray(state[f"{convolution.name}.weight"], np.float64) * scale[:, None, None, None]
    return weights.astype(np.float32), (beta - mean * scale).astype(np.float32)


class _Writing:
    """One graph while it is written; a method gives the name of what its nodes put out."""

    def __init__(self, network: Network, state: State, crop: int) -> None:
        if crop <= 0 or crop % network.multiple:
            raise PlantsError(
                _(
                    "Images of %(count)s pixels do not fit %(name)s; take a multiple of %(number)s.",
                    count=crop,
                    name=network.name,
                    number=network.multiple,
                )
            )
        self.network, self.state, self.crop = network, state, crop
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        #: What the blocks in `taps` put out, by their numbers.
        self.tapped: dict[int, str] = {}

    def classifier(self) -> bytes:
        labels = len(self.state.get(f"{CLASSIFIER}.bias", ()))
        self._check(self.network.shapes(labels))
        weight = np.asarray(self.state[f"{CLASSIFIER}.weight"], np.float32)
        last = self._body()
        self._pooled(last, FEATURES)
        given = self._described() if self.tapped else FEATURES
        self._node("Gemm", [given, self._constant(f"{CLASSIFIER}.weight", weight),
                            self._constant(f"{CLASSIFIER}.bias", self.state[f"{CLASSIFIER}.bias"])],
                   LOGITS, transB=1)  # fmt: skip
        self._mapped(last, weight)
        side = self.crop // self.network.multiple
        shapes = {
            LOGITS: (labels,),
            FEATURES: (self.network.features,),
            MAPS: (labels, side, side),
        }
        return self._file(shapes)

    def extractor(self) -> bytes:
        shapes = self.network.shapes(0)
        self._check({name: shape for name, shape in shapes.items() if not name.startswith(f"{CLASSIFIER}.")})
        last = self._body()
        self._pooled(last, "pooled.last" if self.tapped else FEATURES)
        if self.tapped:
            self._described("pooled.last", FEATURES)
        return self._file({FEATURES: (self.network.inputs,)})

    def _check(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        for name, shape in shapes.items():
            actual = self.state[name].shape if name in self.state else None
            if actual != shape:
                raise PlantsError(
                    _(
                        "The weights %(key)s of %(name)s should have the shape %(word)s, not %(value)s.",
                        key=name,
                        name=self.network.name,
                        word=shape,
                        value=actual,
                    )
                )
            if not np.isfinite(self.state[name]).all():
                raise PlantsError(
                    _("The weights %(key)s of %(name)s are not all finite.", key=name, name=self.network.name)
                )

    def _body(self) -> str:
        at = self._convolution(self.network.stem, IMAGES)
        if self.network.max_pooled:
            at = self._node("MaxPool", [at], "stem", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        for number, block in enumerate(self.network.blocks):
            at = self._block(block, at, f"block{number}")
            if number in self.network.taps:
                self.tapped[number] = at
        return at if self.network.head is None else self._convolution(self.network.head, at)

    def _block(self, block: Block, start: str, name: str) -> str:
        at = start
        for step in block.steps:
            at = self._convolution(step, at)
        if block.shortcut != "none":
            beside = start if block.shortcut == "identity" else self._convolution(block.shortcut, start)
            at = self._node("Add", [at, beside], f"{name}.sum")
        return self._activated(block.activation, at)

    def _convolution(self, convolution: Convolution, start: str) -> str:
        weights, bias = folded(self.network, convolution, self.state)
        before, after = convolution.padding
        at = self._node(
            "Conv",
            [
                start,
                self._constant(f"{convolution.name}.weight", weights),
                self._constant(f"{convolution.name}.bias", bias),
            ],
            convolution.name,
            kernel_shape=[convolution.kernel, convolution.kernel],
            strides=[convolution.stride, convolution.stride],
            group=convolution.groups,
            pads=[before, before, after, after],
        )
        return self._activated(convolution.activation, at)

    def _activated(self, activation: str | None, start: str) -> str:
        if activation is None:
            return start
        if activation == "relu":
            return self._node("Relu", [start], f"{start}.relu")
        limits = [self._constant(name, np.float32(value)) for name, value in (("zero", 0), ("six", 6))]
        return self._node("Clip", [start, *limits], f"{start}.relu6")

    def _pooled(self, start: str, output: str) -> str:
        """Write the means over height and width, (n, channels)."""
        mean = self._node("GlobalAveragePool", [start], "pooled" if output == FEATURES else f"{output}.mean")
        return self._node("Flatten", [mean], output, axis=1)

    def _described(self, last: str = FEATURES, output: str = "described") -> str:
        """Write all that the last layer is given: what the last convolution sees, then the tapped blocks."""
        means = [self._pooled(start, f"block{number}.features") for number, start in self.tapped.items()]
        return self._node("Concat", [last, *means], output, axis=1)

    def _mapped(self, last: str, weight: NDArray[np.float32]) -> None:
        """Write the maps: the last layer in each place, in as many places as the last convolution has."""
        ends = np.cumsum([self.network.features, *(self.network.tapped(number) for number in self.tapped)])
        first, *others = np.split(weight[:, :, None, None], ends[:-1], axis=1)
        kernel = self._constant(f"{CLASSIFIER}.maps", first)
        output = "maps.last" if self.tapped else MAPS
        at = self._node("Conv", [last, kernel], output, kernel_shape=[1, 1])
        for (number, start), part in zip(self.tapped.items(), others, strict=True):
            fewer = self._in_fewer_places(number, start, part)
            output = MAPS if number == self.network.taps[-1] else f"maps.to{number}"
            at = self._node("Add", [at, fewer], output)

    def _in_fewer_places(self, number: int, start: str, weight: NDArray[np.float32]) -> str:
        """Write what a tapped block adds to each label where the last convolution has its places."""
        kernel = self._constant(f"{CLASSIFIER}.block{number}", weight)
        at = self._node("Conv", [start, kernel], f"maps.block{number}", kernel_shape=[1, 1])
        side = self.network.multiple // self.network.stride(number)
        if side == 1:
            return at
        return self._node("AveragePool", [at], f"{at}.mean", kernel_shape=[side, side], strides=[side, side])

    def _node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _constant(self, name: str, values: Any) -> str:
        from onnx import numpy_helper

        if all(constant.name != name for constant in self.constants):
            values = np.ascontiguousarray(values, np.float32) if np.ndim(values) else np.float32(values)
            self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def _file(self, outputs: Mapping[str, tuple[int, ...]]) -> bytes:
        from onnx import TensorProto, checker, helper

        images = helper.make_tensor_value_info(IMAGES, TensorProto.FLOAT, ["n", 3, self.crop, self.crop])
        results = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape])
            for name, shape in outputs.items()
        ]
        graph = helper.make_graph(self.nodes, self.network.name, [images], results, self.constants)
        model = helper.make_model(
            graph,
            producer_name="ecluse",
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))
