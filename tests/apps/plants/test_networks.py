"""The networks in torch do what their tables say, as others wrote them, and as ONNX Runtime computes them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from ecluse.apps.plants.architectures import TAPS, Network, lite0, resnet18
from ecluse.apps.plants.errors import PlantsError
from ecluse.apps.plants.graphs import build_graph

torch = pytest.importorskip("torch", reason="torch is not installed: ./test installs it")
networks = pytest.importorskip("ecluse.apps.plants.networks")

TABLES = {
    "lite0": lite0(),
    "tapped lite0": lite0(TAPS),
    "resnet18": resnet18(),
    "narrow resnet18": resnet18(8),
}


def random_state(table: Network, labels: int, seed: int = 3) -> dict[str, NDArray[np.float32]]:
    """Random weights, with norms that have seen noise, so that signals of every layer are of the same size."""
    network = networks.Classifier(table, labels)
    networks.initialise(network, seed)
    draw = np.random.default_rng(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            for values, low in ((module.weight, 0.5), (module.bias, -0.5)):
                values.data = torch.from_numpy(draw.uniform(low, low + 1, len(values)).astype(np.float32))
        elif isinstance(module, torch.nn.Linear):
            module.weight.data *= 10
    with torch.no_grad():
        network.train()(torch.from_numpy(noise(4)))
    state: dict[str, NDArray[np.float32]] = networks.state_of(network)
    return state


def noise(images: int, side: int = 64) -> NDArray[np.float32]:
    """Coarse and fine."""
    draw = np.random.default_rng(images)
    coarse = draw.uniform(-0.5, 0.5, (images, 3, side // 16, side // 16)).repeat(16, 2).repeat(16, 3)
    return (coarse + draw.uniform(-0.5, 0.5, (images, 3, side, side))).astype(np.float32)


def in_torch(table: Network, state: Mapping[str, NDArray[np.float32]], images: NDArray[np.float32]) -> Any:
    network = networks.Classifier(table, len(state["classifier.bias"])).eval()
    networks.set_state(network, state)
    with torch.no_grad():
        x = torch.from_numpy(images)
        return network(x).numpy(), network.features(x).numpy()


@pytest.mark.parametrize("name", TABLES)
def test_the_state_in_torch_has_the_names_and_shapes_of_the_table(name: str) -> None:
    table = TABLES[name]
    state = networks.state_of(networks.Classifier(table, 3))
    assert {entry: values.shape for entry, values in state.items()} == table.shapes(3)


@pytest.mark.nightly
@pytest.mark.parametrize("name", TABLES)
def test_onnx_runtime_computes_what_torch_does(name: str) -> None:
    table = TABLES[name]
    state = random_state(table, 3)
    images = noise(2)
    session = onnxruntime.InferenceSession(build_graph(table, state, 64), providers=["CPUExecutionProvider"])
    logits, features = session.run(["logits", "features"], {"images": images})
    expected = in_torch(table, state, images)
    scale = np.abs(expected[0]).max()
    difference = np.abs(logits - expected[0]).max()
    print(f"{name}: largest difference {difference:.2g} of logits up to {scale:.2g}")
    assert np.ptp(expected[0], axis=0).max() > 0.1
    np.testing.assert_allclose(logits, expected[0], atol=1e-4 * max(scale, 1))
    # What the blocks before saw is given to the last layer, and is no feature that images are compared by.
    last = expected[1][:, : table.features]
    np.testing.assert_allclose(features, last, atol=1e-4 * max(np.abs(last).max(), 1))
    maps = session.run(["maps"], {"images": images})[0]
    bias = state["classifier.bias"]
    np.testing.assert_allclose(maps.mean((2, 3)) + bias, logits, atol=1e-4 * max(scale, 1))


def test_lite0_computes_what_the_package_of_its_weights_was_made_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    package = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch, which draws torch, is in no lock"
    )
    theirs = package.EfficientNet.from_name("efficientnet-lite0").eval()
    state = random_state(lite0(), 1000)
    named = {name.replace("classifier.", "_fc."): torch.from_numpy(v) for name, v in state.items()}
    missing = theirs.load_state_dict(named, strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    images = noise(2, 224)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images)).numpy()
    difference = np.abs(in_torch(lite0(), state, images)[0] - expected).max()
    print(f"largest difference {difference:.2g} of logits up to {np.abs(expected).max():.2g}")
    assert difference <= 1e-4 * max(np.abs(expected).max(), 1)


def test_weights_that_do_not_fit_are_named_and_change_nothing() -> None:
    network = networks.Classifier(resnet18(8), 2)
    before = networks.state_of(network)
    changed = {name: values + 1 for name, values in before.items()}
    for wrong in (
        {name: values for name, values in changed.items() if name != "bn1.bias"},
        changed | {"bn1.bias": np.zeros(3, np.float32)},
        changed | {"bn9.bias": np.zeros(3, np.float32)},
    ):
        with pytest.raises(PlantsError, match=r"do not fit resnet18: bn\d\.bias"):
            networks.set_state(network, wrong)
    assert all(np.array_equal(before[name], values) for name, values in networks.state_of(network).items())


def test_torch_is_imported_only_when_something_is_learned() -> None:

    program = "import sys, ecluse.apps.plants.finetune, ecluse.apps.plants.augmentation, ecluse.apps.plants.checkpoints; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
