"""Clients of the Open Inference Protocol ask models: that of Triton, and plain requests by the protocol's own words."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

import ecluse
from tests.application import Application, running
from tests.web.test_predict import MATRIX, TABLE, predict, publish, trained, trained_on
from tests.web.within import Within


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with running(tmp_path_factory.mktemp("home") / "home", role="web") as application:
        yield application


def headers(site: Application) -> dict[str, str]:
    return {"authorization": f"Bearer {site.token()}"}


def infer(web: Within, body: dict[str, Any], place: str = "churn") -> httpx.Response:
    return web.ask("POST", f"/v2/models/{place}/infer", json=body)


def test_a_matrix_is_one_tensor_and_every_column_of_the_answer_another(web: Within) -> None:
    row = publish(web, trained("xgboost"), MATRIX)
    described = web.ask("GET", "/v2/models/churn").raise_for_status().json()
    assert described["inputs"] == [{"name": "input", "datatype": "FP64", "shape": [-1, 3]}]
    assert [output["name"] for output in described["outputs"]] == [
        "prediction",
        "probability_0",
        "probability_1",
    ]
    assert described["versions"] == [row.version]
    tensor = {"name": "input", "shape": [40, 3], "datatype": "FP64", "data": MATRIX.reshape(-1).tolist()}
    answer = infer(web, {"id": "7", "inputs": [tensor]}).raise_for_status().json()
    expected = predict(web, "churn", MATRIX.tolist()).json()["answers"]
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "churn", row.version)
    by_name = {output["name"]: output for output in answer["outputs"]}
    assert by_name["prediction"]["shape"] == [40]
    assert by_name["prediction"]["data"] == [each["prediction"] for each in expected]
    assert by_name["probability_1"]["data"] == [each["probability_1"] for each in expected]
    nested = tensor | {"data": MATRIX.tolist()}
    some = infer(
        web, {"inputs": [nested], "outputs": [{"name": "prediction"}]}, f"churn/versions/{row.version}"
    ).json()
    assert [output["name"] for output in some["outputs"]] == ["prediction"]


def test_a_table_has_a_tensor_for_each_column(web: Within) -> None:
    table = TABLE.with_columns(pl.col("income").fill_null(0.5))
    publish(web, trained_on(table), table)
    inputs = [
        {"name": "age", "shape": [2], "datatype": "INT64", "data": [41, 22]},
        {"name": "income", "shape": [2, 1], "datatype": "FP64", "data": [[1.5], [2.5]]},
        {"name": "member", "shape": [2], "datatype": "BOOL", "data": [True, False]},
    ]
    described = web.ask("GET", "/v2/models/churn").json()["inputs"]
    assert [(each["name"], each["datatype"]) for each in described] == [
        ("age", "INT64"), ("income", "FP64"), ("member", "BOOL"),
    ]  # fmt: skip
    answer = infer(web, {"inputs": inputs}).raise_for_status().json()
    expected = predict(web, "churn", table.head(2).to_dicts()).json()["answers"]
    assert answer["outputs"][0]["data"] == [each["prediction"] for each in expected]
    inputs[0]["data"] = [41, 22.5]
    refused = infer(web, {"inputs": inputs})
    assert refused.status_code == 422
    assert refused.json()["error"].startswith("Row 2, column age: 22.5")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shape": [2, 3]}, "values"),
        ({"shape": [-1]}, "shape"),
        ({"datatype": "FLOAT"}, "datatype"),
        ({"name": "rows"}, "input FP64"),
        ({"data": None}, "no data"),
        ({"parameters": {"binary_data_size": 10**9}}, "fewer bytes"),
        ({"shape": [10**6, 10**6]}, "elements"),
    ],
)
def test_a_tensor_that_is_none_is_refused_in_the_protocols_own_shape(
    web: Within, change: dict[str, Any], said: str
) -> None:
    publish(web, trained("lightgbm"), MATRIX)
    tensor = {"name": "input", "shape": [1, 3], "datatype": "FP64", "data": [0.0, 1.0, 2.0]}
    refused = infer(web, {"inputs": [tensor | change]})
    assert refused.status_code == 422
    assert said in refused.json()["error"]


def test_texts_as_bytes_have_their_length_before_them(web: Within) -> None:
    from ecluse.inference.tensors import _from_bytes, _to_bytes

    content = _to_bytes(pl.Series(["é", None, "abc"]), "BYTES")
    assert (
        content == struct.pack("<I", 2) + "é".encode() + struct.pack("<I", 0) + struct.pack("<I", 3) + b"abc"
    )
    assert _from_bytes(content, "BYTES", 3, "t").tolist() == ["é", "", "abc"]


def test_the_client_of_triton_asks_a_model_of_its_own(site: Application, tmp_path: Path) -> None:
    model = trained("catboost")
    with ecluse.Client(site.address, site.token()) as client:
        version = client.publish(model, "churn", example=MATRIX, alias="production")
        answers = client.predict("churn@production", MATRIX)
    assert answers["prediction"].to_list() == model.predict(MATRIX).tolist()
    asked = triton.InferenceServerClient(site.address.removeprefix("http://"))
    assert asked.is_server_live()
    assert asked.is_server_ready()
    assert asked.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    assert asked.is_model_ready("churn", "production", headers=headers(site))
    assert not asked.is_model_ready("churn", "production")
    described = asked.get_model_metadata("churn", headers=headers(site))
    assert described["inputs"][0]["name"] == "input"
    for binary in (True, False):
        tensor = triton.InferInput("input", list(MATRIX.shape), "FP64")
        tensor.set_data_from_numpy(MATRIX, binary_data=binary)
        outputs = [triton.InferRequestedOutput("probability_1", binary_data=binary)]
        for chosen in (outputs, None):
            result = asked.infer(
                "churn", [tensor], model_version="production", outputs=chosen, headers=headers(site)
            )
            assert result.as_numpy("probability_1").tolist() == answers["probability_1"].to_list()
            assert result.get_response()["model_version"] == version.version
    with pytest.raises(InferenceServerException, match='No model "other"'):
        asked.infer("other", [tensor], headers=headers(site))
    asked.close()
