"""`import ecluse` in a notebook: kinds of models, the example and its schema, and the test in a fresh process."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import onnx
import pandas as pd
import polars as pl
import pytest
import xgboost
from onnx import TensorProto, helper
from skl2onnx.common.data_types import FloatTensorType
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

import ecluse
import ecluse.client
from ecluse.client import session
from ecluse.client.answering import answer
from ecluse.client.frames import given_back, table_of
from ecluse.client.kinds import conversion
from ecluse.client.package import ANSWERS, CARD, pack, read_card, unpack
from ecluse.client.schema import schema_of
from ecluse.client.selftest import problem_of, prove
from ecluse.errors import InvalidInput, ModelRefused, ModelUnreadable
from ecluse.runtime import Runtime
from ecluse.settings import Settings

pytestmark = pytest.mark.nightly

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.normal(size=(60, 3))
NUMBERS = MATRIX @ [1.0, -2.0, 0.5]
CLASSES = np.where(NUMBERS > 0.5, "high", np.where(NUMBERS < -0.5, "low", "middle"))
CODES = np.unique(CLASSES, return_inverse=True)[1]
TABLE = pd.DataFrame(
    {
        "age": np.arange(60),
        "town": pd.Categorical(["Paris", "Lyon", "Lille"] * 20),
        "paid": np.where(np.arange(60) % 7, 1.5, np.nan),
    }
)


def graph() -> onnx.ModelProto:
    """Twice what comes in."""
    node = helper.make_node("Add", ["x", "x"], ["twice"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])
    twice = helper.make_tensor_value_info("twice", TensorProto.FLOAT, [None, 3])
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(helper.make_graph([node], "g", [x], [twice]), ir_version=8, opset_imports=opset)


QUIET: dict[str, Any] = {"n_estimators": 3, "verbose": -1, "min_child_samples": 2}
CAT: dict[str, Any] = {"iterations": 3, "verbose": False, "allow_writing_files": False}


FRAME = pl.DataFrame(MATRIX, schema=["a", "b", "c"])
TEXTS = ["good day", "bad day", "good night", "bad night"]


def pipeline() -> Any:
    """A table with a column of words and one of numbers."""
    columns = make_column_transformer((OneHotEncoder(), ["town"]), (StandardScaler(), ["age"]))
    return make_pipeline(columns, LogisticRegression()).fit(TABLE, CODES > 0)


#: Models of every kind, each with rows as it takes them.
MODELS: dict[str, tuple[Callable[[], Any], Any]] = {
    "sklearn": (lambda: LogisticRegression().fit(MATRIX, CLASSES), MATRIX),
    "sklearn regression": (lambda: LinearRegression().fit(MATRIX, np.stack([NUMBERS, -NUMBERS], 1)), MATRIX),
    "sklearn scaler": (lambda: StandardScaler().fit(MATRIX), MATRIX),
    "sklearn pipeline": (pipeline, TABLE),
    "sklearn polars": (
        lambda: make_pipeline(StandardScaler(), LinearRegression()).fit(FRAME, NUMBERS),
        FRAME,
    ),
    "sklearn texts": (
        lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, [1, 0, 1, 0]),
        TEXTS,
    ),
    "xgboost": (lambda: xgboost.XGBClassifier(n_estimators=3).fit(MATRIX, CODES), MATRIX),
    "xgboost table": (
        lambda: xgboost.XGBRegressor(n_estimators=3, enable_categorical=True).fit(TABLE, NUMBERS),
        TABLE,
    ),
    "xgboost booster": (lambda: xgboost.train({}, xgboost.DMatrix(MATRIX, NUMBERS), 3), MATRIX),
    "lightgbm": (lambda: lightgbm.LGBMClassifier(**QUIET).fit(MATRIX, CLASSES), MATRIX),
    "lightgbm two": (lambda: lightgbm.LGBMClassifier(**QUIET).fit(TABLE, NUMBERS > 0), TABLE),
    "lightgbm regression": (lambda: lightgbm.LGBMRegressor(**QUIET).fit(TABLE, NUMBERS), TABLE),
    "lightgbm booster": (lambda: lightgbm.LGBMRegressor(**QUIET).fit(MATRIX, NUMBERS).booster_, MATRIX),
    "catboost": (lambda: catboost.CatBoostClassifier(**CAT).fit(MATRIX, CLASSES), MATRIX),
    "catboost table": (
        lambda: catboost.CatBoostRegressor(**CAT, cat_features=["town"]).fit(TABLE[["age", "town"]], NUMBERS),
        TABLE[["age", "town"]],
    ),
    "onnx": (graph, MATRIX),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_every_kind_comes_back_and_answers_as_before(name: str, tmp_path: Path) -> None:
    make, rows = MODELS[name]
    model = make()
    packed = pack(model, tmp_path, rows)
    assert packed.metadata["kind"] == name.split()[0]
    assert problem_of(tmp_path) is None  # as the fresh process asks it
    loaded = unpack(tmp_path)
    if name != "onnx":
        assert type(loaded.model) is type(model)
    answers = answer(loaded, rows)
    kept = pl.read_parquet(tmp_path / ANSWERS)
    assert answers.head(kept.height).equals(kept)
    assert not [path for path in tmp_path.iterdir() if path.suffix in (".pkl", ".joblib", ".pickle")]


def mixed(last: Any) -> Callable[[], Any]:
    """A table with a column of words and one of numbers, for a model of trees."""
    columns = make_column_transformer((OneHotEncoder(), ["town"]), (StandardScaler(), ["age", "paid"]))
    return lambda: make_pipeline(columns, last).fit(WHOLE, CODES > 0)


def prices(rows: int = 300) -> tuple[pd.DataFrame, Any]:
    """A table of cars, with a category and whole numbers that lie at the bounds of splits, and their prices."""
    drawn = np.random.default_rng(0)
    table = pd.DataFrame({"brand": drawn.choice(["Renault", "BMW", "Dacia"], rows), "year": drawn.integers(2005, 2025, rows),
                          "km": drawn.integers(1_000, 250_000, rows), "power": drawn.uniform(60, 250, rows)})  # fmt: skip
    price = (
        8_000
        + 700 * (table.year - 2005)
        - 0.03 * table.km
        + 60 * table.power
        + 6_000 * (table.brand == "BMW")
    )
    return table, price


def forest_of_prices() -> Any:
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["brand"]), remainder=StandardScaler()
    )
    table, price = prices()
    return make_pipeline(columns, RandomForestRegressor(n_estimators=250, random_state=0)).fit(table, price)


WHOLE = TABLE.assign(town=TABLE["town"].astype(str), paid=1.5)
#: Models that no machine would load as they are, each with rows as it takes them.
TREES: dict[str, tuple[Callable[[], Any], Any]] = {
    "forest": (lambda: RandomForestClassifier(n_estimators=5, random_state=0).fit(MATRIX, CLASSES), MATRIX),
    "regression": (lambda: GradientBoostingRegressor(n_estimators=5, random_state=0).fit(FRAME, NUMBERS), FRAME),
    "table": (mixed(DecisionTreeClassifier(random_state=0)), WHOLE),
    "prices": (forest_of_prices, prices()[0]),
    "neighbours": (lambda: make_pipeline(StandardScaler(), KNeighborsRegressor()).fit(MATRIX, NUMBERS), MATRIX),
    "truth values": (lambda: DecisionTreeClassifier(random_state=0).fit(MATRIX, NUMBERS > 0), MATRIX),
    "outliers": (lambda: IsolationForest(n_estimators=5, random_state=0).fit(MATRIX), MATRIX),
    "extra": (lambda: ExtraTreesRegressor(n_estimators=5, random_state=0).fit(MATRIX, NUMBERS), MATRIX),
}  # fmt: skip
LESS_COMMON = ("neighbours", "truth values", "outliers", "extra")


@pytest.mark.nightly(*LESS_COMMON)
@pytest.mark.parametrize("name", TREES)
def test_what_skops_would_not_load_is_published_as_a_graph_that_answers_alike(
    name: str, tmp_path: Path
) -> None:
    make, rows = TREES[name]
    model = make()
    packed = pack(model, tmp_path, rows)
    assert packed.metadata["kind"] == "onnx"
    assert packed.metadata["made_of"].endswith(type(model).__qualname__)
    assert packed.metadata["libraries"].keys() >= {"scikit-learn", "onnxruntime"}
    assert not list(tmp_path.glob("*.skops"))
    assert problem_of(tmp_path) is None
    loaded = unpack(tmp_path).model
    expected, given = model.predict(rows), loaded.predict(rows)
    assert given.shape == expected.shape
    if expected.dtype.kind == "f":
        assert np.allclose(given, expected, rtol=1e-6, atol=1e-6)
    else:
        assert given.tolist() == expected.tolist()
    if hasattr(model, "predict_proba"):
        assert loaded.classes_.tolist() == model.classes_.tolist()
        assert np.allclose(loaded.predict_proba(rows), model.predict_proba(rows), atol=1e-6)
    (tmp_path / "again").mkdir()
    pack(loaded, tmp_path / "again", rows)  # as it was loaded
    assert read_card(tmp_path / "again")["details"] == read_card(tmp_path)["details"]


def test_a_graph_that_answers_otherwise_is_not_published_in_the_place_of_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forest = RandomForestClassifier(n_estimators=5, random_state=0).fit(MATRIX, CODES)
    original = conversion._declared

    def of_another(graph: Any) -> Any:
        other = conversion._written(
            RandomForestClassifier(n_estimators=5, random_state=1).fit(MATRIX, CODES),
            [("X", FloatTensorType([None, 3]))],
        )
        return original(other)

    monkeypatch.setattr(conversion, "_declared", of_another)
    with pytest.raises(ModelRefused, match=r"of row \d+ is .*; before it was .*LightGBM"):
        pack(forest, tmp_path, MATRIX)
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ModelRefused, match=r"pip install \"ecluse\[graphs\]\""):
        pack(forest, tmp_path, MATRIX)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.nightly("lightgbm two", "onnx")
@pytest.mark.parametrize("name", ["sklearn pipeline", "lightgbm two", "onnx"])
def test_it_answers_so_in_a_fresh_process(name: str, tmp_path: Path) -> None:
    make, rows = MODELS[name]
    pack(make(), tmp_path, rows)
    prove(tmp_path)


def test_a_model_that_answers_otherwise_in_a_fresh_process_is_not_published(tmp_path: Path) -> None:
    with ecluse.Client(home=tmp_path / "home") as client:
        model = Doubled().fit(MATRIX, NUMBERS)
        with pytest.raises(ModelRefused, match="Doubled"):  # its class is of this file, and no one else's
            client.publish(model, "line", example=MATRIX)
        assert client.models().is_empty()
    (tmp_path / "version").mkdir()
    pack(LinearRegression().fit(MATRIX, NUMBERS), tmp_path / "version", MATRIX)
    answers = pl.read_parquet(tmp_path / "version" / ANSWERS)
    answers.with_columns(pl.col("prediction") + 1e-4).write_parquet(tmp_path / "version" / ANSWERS)
    with pytest.raises(ModelRefused, match=r"prediction of row 0 is .*Nothing was published"):
        prove(tmp_path / "version")
    answers.with_columns(pl.col("prediction") + 1e-8).write_parquet(tmp_path / "version" / ANSWERS)
    prove(tmp_path / "version")


class Doubled(LinearRegression):
    """A model whose class no other machine has."""

    def predict(self, X: Any) -> Any:  # noqa: N803 (as scikit-learn names it)
        return 2 * super().predict(X)


@pytest.mark.parametrize(
    ("model", "way_out"),
    [
        (lambda: RandomForestClassifier(n_estimators=2).fit(MATRIX, CODES), "Give an example, and it is pub"),
        (lambda: lambda rows: rows, "without a pickle"),
        (dict, "scikit-learn, XGBoost"),
        (type("Mine", (lightgbm.LGBMRegressor,), {}), "not one of Booster"),
    ],
    ids=["forest", "function", "dict", "derived"],
)
def test_what_cannot_be_kept_without_a_pickle_is_refused_with_the_way_out(
    model: Callable[[], Any], way_out: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelRefused, match=way_out):
        pack(model(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_example_says_names_types_missing_values_categories_and_ranges() -> None:
    columns = {each["name"]: each for each in schema_of(table_of(TABLE))["columns"]}
    assert columns["age"] == {"name": "age", "type": "integer", "missing": False, "minimum": 0, "maximum": 59}
    assert columns["town"]["categories"] == ["Lille", "Lyon", "Paris"]
    assert columns["paid"]["missing"] is True
    when = pl.DataFrame({"at": [date(2026, 1, 1)], "free": [True], "ids": [[1]]})
    assert [each["type"] for each in schema_of(table_of(when))["columns"]] == ["date", "boolean", "other"]
    many = pl.DataFrame({"id": [str(number) for number in range(51)]})
    assert "categories" not in schema_of(table_of(many))["columns"][0]


@pytest.mark.parametrize("rows", [TABLE, FRAME, MATRIX, MATRIX.astype(np.float32), TEXTS], ids=str)
def test_rows_come_back_in_the_form_they_were_given(rows: Any) -> None:
    back = given_back(table_of(rows))
    assert type(back) is type(rows)
    if isinstance(rows, pd.DataFrame):
        pd.testing.assert_frame_equal(back, rows)
    elif isinstance(rows, np.ndarray):
        assert back.dtype == rows.dtype
        assert np.array_equal(back, rows)
    else:
        assert back.equals(rows) if isinstance(rows, pl.DataFrame) else back == rows


def test_what_is_no_example_is_refused() -> None:
    bad: list[Any] = [
        pd.DataFrame({"a": [object()]}),
        pd.DataFrame({"a": [1, "b"]}),
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pl.DataFrame({"a": []}),
        np.array([[object()]]),
        "text",
        7,
    ]
    for rows in bad:
        with pytest.raises(InvalidInput):
            table_of(rows)


def test_rows_are_compared_with_the_example(tmp_path: Path) -> None:
    pack(pipeline(), tmp_path, TABLE)
    loaded = unpack(tmp_path)
    rows = [{"age": 7, "town": "Lyon", "paid": 1.5}, {"town": "Paris", "age": 9, "paid": None}]
    assert answer(loaded, rows).height == 2  # columns in any order, as objects of JSON are
    with pytest.raises(InvalidInput, match="columns town, which are missing"):
        answer(loaded, TABLE[["age", "paid"]])
    with pytest.raises(InvalidInput, match="age holds values of the type text"):
        answer(loaded, [{"age": "old", "town": "Lyon", "paid": 1.0}])
    with pytest.warns(UserWarning, match="age has 99"):
        answer(loaded, [{"age": 99, "town": "Lyon", "paid": 1.5}])
    pack(LinearRegression().fit(MATRIX, NUMBERS), tmp_path, MATRIX)
    with pytest.raises(InvalidInput, match="2 columns; the model takes 3"):
        answer(unpack(tmp_path), MATRIX[:, :2])


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "catboost"])
def test_a_native_file_that_is_cut_off_is_refused(name: str, tmp_path: Path) -> None:
    make, rows = MODELS[name]
    pack(make(), tmp_path, rows)
    (file,) = tmp_path.glob("model.*")
    whole = file.read_bytes()
    for size in range(0, len(whole) * 3 // 4, len(whole) // 20):
        file.write_bytes(whole[:size])
        with pytest.raises(ModelUnreadable):
            unpack(tmp_path)


def test_a_damaged_card_is_said_to_be(tmp_path: Path) -> None:
    pack(LinearRegression().fit(MATRIX, NUMBERS), tmp_path)
    card = read_card(tmp_path)
    for changed in ("[]", "{", json.dumps(card | {"kind": "os.system"}), json.dumps(card | {"format": 2})):
        (tmp_path / CARD).write_text(changed)
        with pytest.raises(ModelUnreadable):
            unpack(tmp_path)
    (tmp_path / CARD).write_text(json.dumps(card))
    (tmp_path / "model.skops").unlink()
    with pytest.raises(ModelUnreadable, match="missing"):
        unpack(tmp_path)


def test_names_are_offered_lazily_and_models_is_a_package_that_can_be_called(tmp_path: Path) -> None:
    script = (
        "import ecluse, sys\n"
        "assert set(ecluse.OFFERED) <= set(dir(ecluse))\n"
        "assert ecluse.models().height == 0 and callable(ecluse.models.publish)\n"
        "from ecluse import models as published\n"
        "assert published is ecluse.models\n"
        "try: ecluse.nothing\n"
        "except AttributeError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        env={"ECLUSE_HOME": str(tmp_path), "HOME": str(tmp_path), "PATH": ""},
    )
    assert (done.stdout, done.stderr) == ("module 'ecluse' has no attribute 'nothing'\n", "")


def test_the_examples_of_the_docstrings_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of a session: one after the other, with one client. That of `login` needs a server:
    test_client_http.py.
    """
    methods = (
        "__init__",
        "run",
        "publish",
        "load",
        "predict",
        "upload",
        "table",
        "tables",
        "models",
        "runs",
        "job",
    )
    parts = [
        session.Client,
        *(getattr(session.Client, name) for name in methods),
        ecluse.log,
        ecluse.client.Run.log,
    ]
    assert {*methods, "Client", "log", "login"} == {*ecluse.OFFERED, "__init__"}
    (tmp_path / "folder").mkdir()
    client = session.Client(home=tmp_path / "home")
    monkeypatch.setattr(session, "_clients", [client])
    with Runtime.open(Settings.from_environment(home=tmp_path / "home")) as runtime:
        job = runtime.jobs.enqueue(
            "doctor", "train", runtime.accounts.local_administrator().id, "A check", {}
        )
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    without = []
    for part in parts:
        places = {"ecluse": ecluse, "numpy": np, "folder": tmp_path / "folder", "job": job}
        tests = finder.find(part, getattr(part, "__name__", ""), globs=places)
        if not any(test.examples for test in tests):
            without.append(part.__name__)
        for test in tests:
            runner.run(test)
    client.close()
    assert runner.summarize(verbose=False).failed == 0, capsys.readouterr().out
    assert without in ([], ["__init__"])  # the example of the class is that of its beginning
