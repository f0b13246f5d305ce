"""A network of torch is published as its graph and its weights; it answers without torch, and no code comes with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import ecluse
from ecluse.client.kinds.torch import TOLERANCE, WEIGHTS, Network
from ecluse.client.package import CARD, pack, read_card, unpack
from ecluse.errors import ModelRefused, ModelUnreadable

torch = pytest.importorskip("torch", reason="torch is not installed: ./test installs it")

MATRIX = np.random.default_rng(0).normal(size=(60, 3))


class Tied(torch.nn.Module):  # type: ignore[misc,name-defined]
    """What training changes (drop-out, running means), two names of one tensor, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, 3)
        self.again = self.first
        self.scaled = torch.nn.Sequential(
            torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.9), torch.nn.Linear(3, 2)
        )

    def forward(self, rows: Any) -> Any:
        scores = self.scaled(torch.relu(self.again(self.first(rows))))
        return {"scores": scores, "best": scores.argmax(dim=1)}


class Words(torch.nn.Module):  # type: ignore[misc,name-defined]
    """It takes whole numbers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.nn.EmbeddingBag(10, 1, mode="sum")

    def forward(self, rows: Any) -> Any:
        return self.table(rows)


class Branching(torch.nn.Module):  # type: ignore[misc,name-defined]
    """No graph says this for every number of rows: what it does depends on the values."""

    def forward(self, rows: Any) -> Any:
        return rows if rows.sum().item() > 0 else -rows


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with ecluse.Client(home=tmp_path_factory.mktemp("torch")) as client:
        yield client


@pytest.fixture(scope="module")
def network(client: ecluse.Client) -> Any:
    """A network that is published, still in training."""
    torch.manual_seed(0)
    network = Tied()
    network(torch.tensor(MATRIX, dtype=torch.float32))  # moves the running means
    client.publish(network, "tied", example=MATRIX, alias="production")
    return network


def test_it_answers_as_before_and_gives_its_weights_to_a_network_of_the_class(
    client: ecluse.Client, network: Any
) -> None:
    assert network.training
    assert network.scaled[1].training
    loaded = client.load("tied@production")
    assert isinstance(loaded, Network)
    again = Tied()
    again.load_state_dict(loaded.state_dict())
    assert {name: tensor.tolist() for name, tensor in again.state_dict().items()} == {
        name: tensor.tolist() for name, tensor in network.state_dict().items()
    }
    with torch.no_grad():
        expected = again.eval()(torch.tensor(MATRIX, dtype=torch.float32))
    answers = client.predict("tied@production", MATRIX)
    assert answers.columns == ["scores_0", "scores_1", "best"]
    assert np.allclose(answers[:, :2].to_numpy(), expected["scores"], rtol=TOLERANCE, atol=TOLERANCE)
    assert answers["best"].to_list() == expected["best"].tolist()
    assert client.predict("tied", MATRIX[:1]).height == 1  # any number of rows


def test_no_code_comes_with_it_and_none_is_needed_to_answer(
    client: ecluse.Client, network: Any, tmp_path: Path
) -> None:
    client.load("tied", to=tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "answers.parquet", "ecluse.json", "example.parquet", "model.onnx", "weights.safetensors",
    ]  # fmt: skip
    script = (
        "import sys; sys.modules['torch'] = sys.modules['onnxscript'] = None\n"
        "from pathlib import Path\nfrom ecluse.client.package import differences, unpack\n"
        "folder = Path(sys.argv[1]); print(differences(folder, unpack(folder)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("None\n", "")
    (tmp_path / "again").mkdir()
    packed = pack(client.load("tied"), tmp_path / "again", MATRIX)  # as it was loaded
    assert packed.metadata["kind"] == "torch"
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / WEIGHTS).read_bytes()


def test_a_version_that_was_tampered_with_is_said_to_be(
    client: ecluse.Client, network: Any, tmp_path: Path
) -> None:
    client.load("tied", to=tmp_path)
    (tmp_path / WEIGHTS).write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(ModelUnreadable, match=WEIGHTS):
        unpack(tmp_path).model.state_dict()
    (tmp_path / WEIGHTS).write_bytes(b"")
    with pytest.raises(ModelUnreadable, match=WEIGHTS):
        unpack(tmp_path)
    card = (tmp_path / CARD).read_text()
    (tmp_path / CARD).write_text(card.replace('"same": {', '"some": {'))
    with pytest.raises(ModelUnreadable, match=WEIGHTS):
        unpack(tmp_path)


def test_whole_numbers_are_given_to_embeddings_as_they_are(tmp_path: Path) -> None:
    words = Words()
    rows = pl.DataFrame({"first": [1, 2, 9], "second": [3, 3, 0]})
    pack(words, tmp_path, rows)
    weight = words.table.weight.detach().numpy()
    expected = [float(weight[a, 0] + weight[b, 0]) for a, b in rows.rows()]
    assert np.allclose(unpack(tmp_path).model.predict(rows).reshape(-1), expected, atol=TOLERANCE)
    assert read_card(tmp_path)["schema"]["columns"][1]["type"] == "integer"


@pytest.mark.parametrize(
    ("make", "example", "way_out"),
    [
        (Tied, None, r"example=X.*torch\.onnx\.export"),
        (Branching, MATRIX, r"torch cannot write it as a graph"),
        (lambda: torch.zeros(2), MATRIX, "is no network"),
        (Tied, ["a text"], "takes numbers"),
        (lambda: torch.nn.GRU(3, 2), MATRIX, "not one answer for each row"),
    ],
    ids=["no example", "branching", "tensor", "texts", "outputs"],
)
def test_what_no_graph_says_is_refused_with_the_way_out(
    make: Any, example: Any, way_out: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelRefused, match=way_out):
        pack(make(), tmp_path, example)
    assert list(tmp_path.iterdir()) == []
