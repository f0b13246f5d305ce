"""What lies in a store names no code: every reader of a library's format is fed hostile files."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import skops.io
from onnx import TensorProto, helper
from safetensors.numpy import save_file

from ecluse.apps.fraud import scorers
from ecluse.apps.fraud.ensembles.anomaly import ARRAYS_FILE, STATE_FILE, AnomalyModel
from ecluse.apps.fraud.evaluation.ranking import Ranking
from ecluse.apps.fraud.families import FAMILIES, loader
from ecluse.apps.fraud.scoring.model import load_model
from ecluse.apps.plants.errors import PlantsError
from ecluse.apps.plants.prediction import KNOWN_FILE, METHOD, Predictor
from ecluse.client.kinds import KINDS, kind_named
from ecluse.client.kinds.onnx import Graph
from ecluse.client.package import CARD, unpack
from ecluse.errors import EcluseError, ModelUnreadable
from ecluse.skops_files import SAFE_TYPES
from tests.apps.plants.tiny import KNOWN, TRANSFORM, WEIGHTS, tiny_graph


def test_no_safe_type_keeps_memory_of_its_own() -> None:
    """Such a type reads its state by addresses, and a file of a stranger may crash it or worse."""
    memory = ("_tree", "_kd_tree", "booster", "predictor", "catboost", "xgboost", "lightgbm")
    assert not [name for name in SAFE_TYPES if any(word in name.lower() for word in memory)]


class Bomb:
    """A pickle that leaves a mark when it is read."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self._mark,))


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """What no reader may leave behind."""
    yield tmp_path / "mark"
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("family", [*FAMILIES, "blend"])
def test_no_family_reads_a_pickle_under_its_own_name(family: str, tmp_path: Path, mark: Path) -> None:
    for name in (
        "best_model.json",
        "best_model.txt",
        "best_model.cbm",
        "best_model.ubj",
        "best_model.txt.gz",
    ):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(mark)))
        with pytest.raises(ModelUnreadable):
            loader(family).load(tmp_path / name)


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "folder"])
def test_no_kind_of_a_client_reads_a_pickle_under_its_own_name(kind: str, tmp_path: Path, mark: Path) -> None:
    for details in (
        {},
        {"class": "Booster"},
        {"class": "CatBoost"},
        {"class": "os.system", "classes": ["a"]},
    ):
        for name in ("model.skops", "model.ubj", "model.txt", "model.cbm", "model.onnx"):
            (tmp_path / name).write_bytes(pickle.dumps(Bomb(mark)))
        (tmp_path / CARD).write_text(json.dumps({"format": 1, "kind": kind, "details": details}))
        with pytest.raises(ModelUnreadable):
            unpack(tmp_path)


@pytest.mark.parametrize(
    "named", ["os", "ecluse.client.kinds.sklearn", "../sklearn", "__init__", "", "estimators"]
)
def test_no_card_names_a_module(named: str) -> None:
    with pytest.raises(ModelUnreadable):
        kind_named(named)


def test_a_skops_that_asks_for_a_type_outside_our_list_is_not_loaded_by_a_client(
    tmp_path: Path, mark: Path
) -> None:
    content = skops.io.dumps(partial(Path.touch, mark))
    (tmp_path / "model.skops").write_bytes(content)
    (tmp_path / CARD).write_text(
        json.dumps({"format": 1, "kind": "sklearn", "details": {}, "types": ["pathlib.Path.touch"]})
    )
    with pytest.raises(ModelUnreadable, match=r"pathlib\.touch"):
        unpack(tmp_path)


@pytest.mark.parametrize("place", ["here.bin", "../secret.bin", "/proc/self/environ"])
def test_a_graph_of_a_client_reads_no_other_file(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    for file in (tmp_path / "inner" / "here.bin", tmp_path / "secret.bin"):
        file.write_bytes(bytes(4096))
    monkeypatch.chdir(tmp_path / "inner")
    with pytest.raises(ModelUnreadable):
        Graph(_outside(place))


@pytest.mark.parametrize(
    "named", ["os", "ecluse.apps.fraud.families.linear", "../linear", "__init__", "", "linear\0"]
)
def test_no_description_names_a_module(named: str, tmp_path: Path) -> None:
    with pytest.raises(ModelUnreadable):
        loader(named)
    blend = {"format": "ecluse blend 1", "members": [{"family": named, "file": "x", "weight": 1}]}
    (tmp_path / "best_model.json").write_text(json.dumps(blend))
    with pytest.raises(ModelUnreadable):
        loader("blend").load(tmp_path / "best_model.json")
    for reader in (load_model, scorers.load_scorer):
        (tmp_path / "model.json").write_text(
            json.dumps({"format": 1, "kind": named, "family": named, "model_file": "/x"})
        )
        with pytest.raises(EcluseError):
            reader(tmp_path)


def test_a_member_of_a_blend_lies_beside_it_whatever_path_it_names(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret.json").write_text(
        json.dumps({"format": "ecluse linear 1", "terms": [], "intercept": 0, "features": 0})
    )
    for file in ("../secret.json", str(tmp_path / "secret.json"), "/etc/passwd"):
        blend = {"format": "ecluse blend 1", "members": [{"family": "linear", "file": file, "weight": 1}]}
        (tmp_path / "inner" / "best_model.json").write_text(json.dumps(blend))
        with pytest.raises(ModelUnreadable):
            loader("blend").load(tmp_path / "inner" / "best_model.json")


def test_arrays_hold_no_objects(tmp_path: Path, mark: Path) -> None:
    bombs = np.array([Bomb(mark)], dtype=object)
    np.savez(tmp_path / ARRAYS_FILE, bombs=bombs, places=bombs, counts=bombs, labelled=bombs, frauds=bombs)
    (tmp_path / STATE_FILE).write_text(json.dumps({"format": 1}))
    with pytest.raises(ModelUnreadable):
        AnomalyModel.load(tmp_path)
    with pytest.raises(ValueError, match="allow_pickle"):
        Ranking.from_bytes((tmp_path / ARRAYS_FILE).read_bytes())


def _outside(location: str) -> bytes:
    """A graph whose numbers are said to lie in another file."""
    graph = onnx.load_from_string(tiny_graph(WEIGHTS))
    for tensor in graph.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.dims:
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (
                ("location", location),
                ("offset", "0"),
                ("length", str(4 * int(np.prod(tensor.dims)))),
            ):
                entry = tensor.external_data.add()
                entry.key, entry.value = key, value
    found: bytes = graph.SerializeToString()
    return found


@pytest.mark.parametrize("place", ["here.bin", "../secret.bin", "{folder}/secret.bin", "/proc/self/environ"])
def test_a_graph_of_images_reads_no_other_file(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even one beside it, or in the folder that the process stands in."""
    inner = tmp_path / "inner"
    inner.mkdir()
    for file in (inner / "here.bin", tmp_path / "secret.bin"):
        file.write_bytes(bytes(4096))
    monkeypatch.chdir(inner)
    _classifier(inner, _outside(place.format(folder=tmp_path)))
    with pytest.raises(PlantsError):
        Predictor.open(inner)


def test_a_graph_with_operators_of_elsewhere_and_damaged_tensors_are_refused(
    tmp_path: Path, mark: Path
) -> None:
    node = helper.make_node("Run", ["images"], ["logits"], domain="elsewhere")
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 2])
    foreign = helper.make_model(helper.make_graph([node], "g", [images], [logits]), ir_version=8)
    pickled = pickle.dumps(Bomb(mark))
    changes: list[Callable[[], object]] = [
        lambda: _classifier(tmp_path, foreign.SerializeToString()),
        lambda: _classifier(tmp_path, pickled),
        lambda: (_classifier(tmp_path), (tmp_path / KNOWN_FILE).write_bytes(pickled)),
        lambda: (_classifier(tmp_path), (tmp_path / "labels.json").write_bytes(pickled)),
        lambda: (
            _classifier(tmp_path),
            (tmp_path / "transform.json").write_text(json.dumps({"kind": "os.system"})),
        ),
    ]
    _classifier(tmp_path)
    Predictor.open(tmp_path)
    for change in changes:
        change()
        with pytest.raises(PlantsError):
            Predictor.open(tmp_path)


def _classifier(folder: Path, graph: bytes | None = None) -> None:
    (folder / "model.onnx").write_bytes(graph or tiny_graph(WEIGHTS))
    (folder / "transform.json").write_text(json.dumps(TRANSFORM.to_dict()))
    save_file({"means": KNOWN / np.linalg.norm(KNOWN, axis=1, keepdims=True)}, folder / KNOWN_FILE)
    told = {"labels": ["a", "b"], "temperature": 1.0, "none_of_these": {"method": METHOD, "threshold": 0.9}}
    (folder / "labels.json").write_text(json.dumps(told))
