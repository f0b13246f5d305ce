"""Graphs beside the same tables run by torch, and beside the implementation the weights come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from ecluse.apps.plants.architectures import TAPS, Convolution, Network, lite0, network, network_of, resnet18
from ecluse.apps.plants.errors import PlantsError
from ecluse.apps.plants.features import LITE0
from ecluse.apps.plants.graphs import build_graph, extractor
from ecluse.apps.plants.pictures import read_picture
from ecluse.apps.plants.weights import lite0_file, lite0_state
from ecluse.errors import InvalidInput

#: Numbers of ImageNet's classes.
DAISY, PALACE = 985, 698


@pytest.mark.parametrize("table", [lite0(), resnet18(8)], ids=lambda table: table.name)
def test_a_graph_gives_what_torch_gives(table: Network) -> None:
    torch = pytest.importorskip("torch")
    state = some_state(table, labels=3)
    images = np.random.default_rng(1).normal(size=(2, 3, 96, 96)).astype(np.float32)
    logits, features, maps = run(build_graph(table, state, 96), images)
    expected = _with_torch(torch, table, state, images)
    np.testing.assert_allclose(features, expected.mean((2, 3)), rtol=1e-4, atol=1e-4)
    weight, bias = state["classifier.weight"], state["classifier.bias"]
    np.testing.assert_allclose(logits, expected.mean((2, 3)) @ weight.T + bias, rtol=1e-4, atol=1e-4)
    assert maps.shape == (2, 3, 3, 3)
    np.testing.assert_allclose(maps, np.einsum("kd,ndhw->nkhw", weight, expected), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(maps.mean((2, 3)) + bias, logits, rtol=1e-4, atol=1e-4)
    assert len({round(float(value), 3) for value in logits.ravel()}) > 3


def test_lite0_gives_what_its_reference_implementation_gives() -> None:
    torch = pytest.importorskip("torch")
    reference = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    reference.load_state_dict(torch.load(lite0_file(), weights_only=True))
    images = np.random.default_rng(0).uniform(-1, 1, size=(2, 3, 224, 224)).astype(np.float32)
    with torch.no_grad():
        expected = reference.eval()(torch.from_numpy(images)).numpy()
    logits, _, _ = run(build_graph(lite0(), lite0_state()), images)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize(("name", "expected"), [("flower.jpg", DAISY), ("china.jpg", PALACE)])
def test_lite0_recognises_a_photograph(name: str, expected: int) -> None:
    spec = find_spec("sklearn")
    assert spec is not None
    assert spec.origin is not None
    data = (Path(spec.origin).parent / "datasets" / "images" / name).read_bytes()
    image = LITE0(read_picture(data).image)
    logits, _, _ = run(build_graph(lite0(), lite0_state()), image[None])
    assert logits[0].argmax() == expected


def test_the_same_weights_give_the_same_bytes() -> None:
    table = resnet18(4)
    state = some_state(table, labels=2)
    assert build_graph(table, state, 64) == build_graph(table, dict(reversed(state.items())), 64)


def test_an_extractor_needs_no_classifier_and_gives_the_same_features() -> None:
    table = resnet18(4)
    state = some_state(table, labels=2)
    images = np.random.default_rng(1).normal(size=(3, 3, 64, 64)).astype(np.float32)
    _, features, _ = run(build_graph(table, state, 64), images)
    bare = {name: values for name, values in state.items() if not name.startswith("classifier.")}
    (found,) = run(extractor(table, bare, 64), images)
    np.testing.assert_array_equal(found, features)


def test_a_graph_says_its_sizes() -> None:
    table = resnet18(4)
    graph = onnx.load_from_string(build_graph(table, some_state(table, labels=5), 64)).graph
    dims = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert dims == {
        "images": ["n", 3, 64, 64],
        "logits": ["n", 5],
        "features": ["n", 32],
        "maps": ["n", 5, 2, 2],
    }


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: state.pop("layer1.0.conv1.weight"), "layer1.0.conv1.weight"),
        (lambda state: state.update({"bn1.bias": np.zeros(3, np.float32)}), "bn1.bias"),
        (lambda state: state["bn1.bias"].fill(np.nan), "finite"),
        (lambda state: state.pop("classifier.weight"), "classifier.weight"),
    ],
)
def test_weights_that_do_not_fit_are_refused(spoil: Any, message: str) -> None:
    table = resnet18(4)
    state = some_state(table, labels=2)
    spoil(state)
    with pytest.raises(PlantsError, match=message):
        build_graph(table, state, 64)


def test_a_size_that_does_not_fit_is_refused() -> None:
    table = resnet18(4)
    with pytest.raises(PlantsError, match="multiple of 32"):
        build_graph(table, some_state(table, labels=2), 100)


@pytest.mark.parametrize(
    "table", [lite0(), lite0(TAPS), resnet18(), resnet18(8)], ids=lambda table: f"{table.name} {table.inputs}"
)
def test_the_table_of_weights_is_found_by_their_shapes(table: Network) -> None:
    state = {name: np.zeros(shape, np.float32) for name, shape in table.shapes(2).items()}
    assert network_of(table.name, state) == table


def test_an_unknown_architecture_is_refused() -> None:
    assert network("lite0") == lite0()
    assert network("resnet18") == resnet18()
    assert network("resnet18", 8) == replace(resnet18(8))
    with pytest.raises(InvalidInput, match="vgg"):
        network("vgg")


def some_state(table: Network, labels: int) -> dict[str, NDArray[np.float32]]:
    """Weights that keep numbers of the size of 1 from layer to layer."""
    rng = np.random.default_rng(0)
    state = {}
    for name, shape in table.shapes(labels).items():
        if name.endswith("running_var"):
            values = rng.uniform(0.5, 2, shape)
        elif len(shape) == 1:
            values = rng.normal(1.0 if name.endswith("weight") else 0.0, 0.2, shape)
        else:
            values = rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape)
        state[name] = values.astype(np.float32)
    return state


def run(graph: bytes, images: NDArray[np.float32]) -> list[Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"images": images}))


def _with_torch(
    torch: Any, table: Network, state: Mapping[str, NDArray[np.float32]], images: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The last feature maps, from torch's functions and batch norms that are not folded."""
    functional = torch.nn.functional
    weights = {name: torch.from_numpy(values) for name, values in state.items()}

    def activated(kind: str | None, at: Any) -> Any:
        return at if kind is None else getattr(functional, kind)(at)

    def convolved(one: Convolution, at: Any) -> Any:
        padded = functional.pad(at, (*one.padding, *one.padding))
        at = functional.conv2d(padded, weights[f"{one.name}.weight"], stride=one.stride, groups=one.groups)
        mean, variance, gamma, beta = (
            weights[f"{one.norm}.{entry}"] for entry in ("running_mean", "running_var", "weight", "bias")
        )
        at = functional.batch_norm(at, mean, variance, gamma, beta, eps=table.epsilon)
        return activated(one.activation, at)

    at = convolved(table.stem, torch.from_numpy(images))
    if table.max_pooled:
        at = functional.max_pool2d(at, 3, 2, 1)
    for block in table.blocks:
        start = at
        for step in block.steps:
            at = convolved(step, at)
        if isinstance(block.shortcut, Convolution):
            at = at + convolved(block.shortcut, start)
        elif block.shortcut == "identity":
            at = at + start
        at = activated(block.activation, at)
    if table.head is not None:
        at = convolved(table.head, at)
    return np.asarray(at.numpy())
