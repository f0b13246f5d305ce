"""A version whose files were made to harm ends its own process: no request of others, no job and no page notices."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import catboost
import lightgbm
import numpy as np
import onnx
import polars as pl
import pytest
from onnx import TensorProto, helper

from ecluse import models
from ecluse.catalog.tables import ModelVersion
from ecluse.client.package import pack
from ecluse.confined import nursery_of
from ecluse.confined.companion import Companion
from ecluse.errors import ModelStopped, ModelUnreadable, Overloaded
from ecluse.inference import isolated, open_version, scoring
from ecluse.inference.isolated import Isolated
from ecluse.inference.loads import OF_ONE_OWNER, WAITING, Loads
from tests.support.wait import wait_until
from tests.web.test_predict import MATRIX, predict, publish, trained
from tests.web.within import Within

RNG = np.random.default_rng(1)
ROWS = RNG.normal(size=(400, 3))
GOOD = ROWS[ROWS[:, 0] > 0.1][:20]
#: A row that leads to the first branch, which the rows of the example do not take; and one to count to.
BAD = [-3.0, 0.0, 0.0]
ENDLESS = [1e15, 0.0, 0.0]

#: A column far beyond what is there.
OUTSIDE = 2_000_000_000


def damaged(folder: Path, *, is_whole: bool) -> list[Path]:
    """Write the files of a model with a tree that looks at `OUTSIDE`, and return their paths.

    `is_whole`: for every row, and in the first tree, so that it is not even loaded; else for rows like `BAD`.
    """
    model = lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=2, max_depth=2, verbose=-1, n_jobs=1)
    pack(model.fit(ROWS, (ROWS[:, 0] > 0).astype(int)), folder, GOOD)
    file = folder / "model.txt"
    head, *trees = re.split(r"(?m)^(?=Tree=|end of trees)", file.read_text())
    head = re.sub(
        r"tree_sizes=.*\n", "", head
    )  # the sizes of trees in bytes; without it they are read one by one
    at = 0 if is_whole else 1
    features, branches = (_line(trees[at], name).split() for name in ("split_feature", "left_child"))
    features[0 if is_whole else int(branches[0])] = str(OUTSIDE)
    trees[at] = re.sub(r"(?m)^split_feature=.*$", f"split_feature={' '.join(features)}", trees[at])
    file.write_text("".join([head, *trees]))
    return sorted(folder.iterdir())


def _line(tree: str, name: str) -> str:
    match = re.search(rf"(?m)^{name}=(.*)$", tree)
    assert match is not None
    return match[1]


def busy(folder: Path) -> list[Path]:
    """Write the files of a graph that counts to the largest number of its first column, and return their paths."""
    count = helper.make_tensor_value_info("count", TensorProto.INT64, [])
    goes_on = helper.make_tensor_value_info("goes_on", TensorProto.BOOL, [])
    carried = helper.make_tensor_value_info("carried", TensorProto.FLOAT, [])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["goes_on"], ["goes_on_then"]),
            helper.make_node("Identity", ["carried"], ["carried_then"]),
        ],
        "body",
        [count, goes_on, carried],
        [
            helper.make_tensor_value_info("goes_on_then", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried_then", TensorProto.FLOAT, []),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", ["rows"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["times"], to=TensorProto.INT64),
        helper.make_node("Loop", ["times", "yes", "zero"], ["end"], body=body),
        helper.make_node("Add", ["rows", "end"], ["same"]),
    ]
    graph = helper.make_graph(
        nodes,
        "counts",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, ["n", 3])],
        [
            helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
            helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]),
        ],
    )
    model = onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    pack(model, folder, GOOD)
    return sorted(folder.iterdir())


def greedy(folder: Path) -> list[Path]:
    """Write the files of a graph that fills as many numbers as its first column says, and return their paths."""
    nodes = [
        helper.make_node("ReduceMax", ["rows"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["length"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["length", "axis"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["filled"]),
        helper.make_node("ReduceSum", ["filled"], ["sum"], keepdims=0),
        helper.make_node("Add", ["rows", "sum"], ["same"]),
    ]
    graph = helper.make_graph(
        nodes,
        "fills",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("same", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor("axis", TensorProto.INT64, [1], [0])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    pack(model, folder, np.abs(GOOD))
    return sorted(folder.iterdir())


def publish_files(web: Within, write: Callable[[Path], list[Path]], name: str = "trap") -> ModelVersion:
    folder = web.folder / f"{len(list(web.folder.iterdir()))}"
    folder.mkdir()
    return models.publish(web.runtime, web.user_id, name, write(folder), metadata={})


def answers(web: Within, reference: str, rows: Any) -> tuple[int, str, str]:
    answer = predict(web, reference, rows)
    message = answer.json().get("error", {})
    return answer.status_code, message.get("code", ""), message.get("message", "")


def process_of(web: Within, row: ModelVersion) -> Isolated:
    model = web.app.state.inference.load(row).model
    assert isinstance(model, Isolated)
    return model


def children_of(parent: int) -> set[int]:
    """Return the processes that a process has begun and that go on."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return {int(child) for child in children}


def wait_until_gone(processes: set[int]) -> None:
    wait_until(lambda: not any(_goes_on(process) for process in processes), f"an end of {processes}")


def _goes_on(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_file_that_kills_what_reads_it_is_refused_and_the_server_goes_on(
    web: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, begin = [], isolated.Companion

    def counted(*arguments: Any, **options: Any) -> Any:
        begun.append(arguments)
        return begin(*arguments, **options)

    monkeypatch.setattr(isolated, "Companion", counted)
    publish(web, trained("xgboost"), MATRIX, "good")
    publish_files(web, lambda folder: damaged(folder, is_whole=True))
    status, code, message = answers(web, "trap", [BAD])
    assert (status, code) == (422, "model_unreadable"), message
    assert "trap@v" in message
    assert "end the process" in message
    # It is not tried again.
    tried = len(begun)
    assert tried
    assert answers(web, "trap", [BAD])[1] == "model_unreadable"
    assert len(begun) == tried
    predict(web, "good", MATRIX[:2].tolist()).raise_for_status()


def test_a_row_that_kills_the_process_is_said_and_the_version_is_loaded_again(
    web: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_files(web, lambda folder: damaged(folder, is_whole=False))
    expected = predict(web, "trap", GOOD[:1].tolist()).raise_for_status().json()["answers"]
    status, code, message = answers(web, "trap", [BAD])
    assert (status, code) == (503, "model_stopped"), message
    assert "ended its own process" in message
    resting = predict(web, "trap", GOOD[:1].tolist())
    assert resting.status_code == 503
    assert 0 < int(resting.headers["retry-after"]) <= isolated.PAUSE
    monkeypatch.setattr("ecluse.inference.served.PAUSE", 0.0)
    assert predict(web, "trap", GOOD[:1].tolist()).raise_for_status().json()["answers"] == expected


def test_a_version_without_an_answer_is_ended(web: Within, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_files(web, busy)
    monkeypatch.setattr(isolated, "WORK", 2.0)
    predict(web, "trap", GOOD[:1].tolist()).raise_for_status()
    status, code, message = answers(web, "trap", [ENDLESS])
    assert (status, code) == (503, "model_stopped"), message
    assert "after 2 seconds" in message


def test_a_version_that_takes_all_memory_is_ended(web: Within) -> None:
    publish(web, trained("xgboost"), MATRIX, "good")
    publish_files(web, greedy)
    predict(web, "trap", [[1000.0, 1.0, 1.0]]).raise_for_status()
    status, code, message = answers(web, "trap", [[1e10, 0.0, 0.0]])  # 40 GB
    assert (status, code) in {(503, "model_stopped"), (422, "model_refused")}, message
    predict(web, "good", MATRIX[:1].tolist()).raise_for_status()


@pytest.mark.nightly
def test_others_are_answered_while_a_version_is_busy_for_ever(
    web: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(web, trained("xgboost"), MATRIX, "good")
    publish_files(web, busy)
    monkeypatch.setattr(isolated, "WORK", 8.0)
    predict(web, "good", MATRIX[:1].tolist()).raise_for_status()
    predict(web, "trap", GOOD[:1].tolist()).raise_for_status()

    async def both() -> tuple[int, list[int]]:
        async with web.client() as client:
            hangs = asyncio.create_task(client.post("/api/models/trap/predict", json={"rows": [ENDLESS]}))
            others = []
            while len(others) < 5:
                body = {"rows": MATRIX[:1].tolist()}
                others.append((await client.post("/api/models/good/predict", json=body)).status_code)
            assert not hangs.done()
            return (await hangs).status_code, others

    assert asyncio.run(both()) == (503, [200] * 5)


def test_a_process_that_the_system_ends_is_begun_anew(web: Within, monkeypatch: pytest.MonkeyPatch) -> None:
    row = publish(web, trained("lightgbm"), MATRIX)
    expected = predict(web, "churn", MATRIX[:3].tolist()).raise_for_status().json()["answers"]
    monkeypatch.setattr("ecluse.inference.served.PAUSE", 0.0)
    model = process_of(web, row)
    nursery = model._companion._nursery.pid
    assert nursery is not None
    children = children_of(nursery)
    os.kill(nursery, signal.SIGKILL)
    wait_until_gone(children)
    status, code, message = answers(web, "churn", MATRIX[:3].tolist())
    assert (status, code) == (503, "model_stopped"), message
    assert predict(web, "churn", MATRIX[:3].tolist()).raise_for_status().json()["answers"] == expected


def test_a_job_goes_on_with_fewer_rows_and_is_not_blamed_for_what_ended_its_process(
    web: Within, tmp_path: Path
) -> None:
    row = publish(web, trained("lightgbm"), MATRIX)
    table = tmp_path / "table.parquet"
    pl.from_numpy(RNG.normal(size=(1000, 3)), schema=list("012"), orient="row").write_parquet(table)
    whole, resumed = tmp_path / "whole.parquet", tmp_path / "resumed.parquet"
    scoring.score_file(web.runtime, row, table, whole)

    def tell(done: int, total: int) -> None:
        if 0 < done < total and not killed:
            pid = nursery_of("ecluse.model_process.serving", "ecluse.client.kinds.lightgbm").pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    killed: list[int] = []
    scoring.score_file(web.runtime, row, table, resumed, tell)
    assert killed
    assert pl.read_parquet(resumed).equals(pl.read_parquet(whole))


def test_a_job_whose_rows_end_every_process_says_so(web: Within, tmp_path: Path) -> None:
    row = publish_files(web, lambda folder: damaged(folder, is_whole=False))
    table = tmp_path / "table.parquet"
    pl.DataFrame([BAD] * 3, schema=list("012"), orient="row").write_parquet(table)
    with pytest.raises(ModelStopped, match="trap@v"):
        scoring.score_file(web.runtime, row, table, tmp_path / "never.parquet")
    assert not (tmp_path / "never.parquet").exists()


def test_a_process_has_no_secret_of_ours_and_little_memory(
    web: Within, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECLUSE_SECRET_KEY", "hidden")
    row = publish(web, trained("xgboost"), MATRIX)
    open_version(web.runtime, row).close()
    nursery = nursery_of("ecluse.model_process.serving", "ecluse.client.kinds.xgboost").pid
    assert nursery is not None
    before = children_of(nursery)
    model = open_version(web.runtime, row)
    children = children_of(nursery) - before
    assert len(children) == 1
    for child in children:
        environment = Path(f"/proc/{child}/environ").read_bytes()
        assert b"ECLUSE" not in environment
        limits = Path(f"/proc/{child}/limits").read_text()
        assert re.search(r"Max data size\s+\d+", limits), limits
    model.close()
    wait_until_gone(children)


@pytest.mark.parametrize(
    "described",
    [
        "text",
        {},
        {"kind": "lightgbm", "schema": {"columns": []}, "types": [["a", ["Float64"]]], "joins": True},
        {"kind": "x", "schema": {"columns": []}, "types": [["a", ["Object"]]], "joins": True},
        {"kind": "x", "schema": [], "types": [], "joins": True},
        {
            "kind": ["x"],
            "schema": {"columns": []},
            "types": [],
            "joins": 1,
            "sample": {"rows": 1, "columns": [{}]},
        },
        {
            "kind": "x",
            "schema": {"columns": []},
            "types": [],
            "joins": 1,
            "sample": {"rows": 10**18, "columns": []},
        },
    ],
)
def test_what_a_process_says_is_checked(described: Any) -> None:
    class Taken:
        """Stands for a process that its files took over."""

        value = json.loads(json.dumps(described))
        data = b""

    with pytest.raises(ModelUnreadable):
        Isolated(Taken(), "trap@1", "lightgbm")  # type: ignore[arg-type]


def test_answers_that_are_none_are_refused() -> None:
    from ecluse.model_process.frames import from_wire

    column = {"name": "a", "type": ["Float64"]}
    for table in (
        None,
        {"rows": 3, "columns": [column | {"at": 0}]},
        {"rows": 1, "columns": [column | {"at": -8}]},
        {"rows": 2, "columns": [column | {"values": [1.0]}]},
        {"rows": 1, "columns": [column | {"values": ["x"]}]},
        {"rows": 1, "columns": [{"name": "a", "type": ["Enum", [["x"]]], "values": ["y"]}]},
        {"rows": -1, "columns": []},
    ):
        with pytest.raises(ModelUnreadable):
            from_wire(table, b"\0" * 16)


def test_rows_that_cannot_be_written_are_refused_and_are_nobody_elses_fault(web: Within) -> None:
    rng = np.random.default_rng(2)
    table = pl.DataFrame({"word": [f"w{n}" for n in range(60)], "x": rng.normal(size=60)}).to_pandas()
    model = catboost.CatBoostRegressor(
        iterations=3, verbose=False, allow_writing_files=False, thread_count=1, cat_features=["word"]
    )
    publish(web, model.fit(table, table["x"]), table)
    good, bad = [{"word": "w1", "x": 1.0}], [{"word": "\\ud800", "x": 1.0}]

    async def at_once() -> list[int]:
        async with web.client() as client:

            async def ask(rows: Any) -> int:
                content = json.dumps({"rows": rows}).replace("\\\\", "\\")
                sent = {"content": content, "headers": {"content-type": "application/json"}}
                return (await client.post("/api/models/churn/predict", **sent)).status_code

            return await asyncio.gather(*(ask(rows) for rows in (good, bad, good, bad, good)))

    assert asyncio.run(at_once()) == [200, 422, 200, 422, 200]


def test_one_owner_loads_so_many_at_once_and_others_load_beside() -> None:
    loads, go_on, inside = Loads(), threading.Event(), threading.Barrier(3)

    def load(owner: str) -> str:
        with loads.place(owner):
            if not go_on.is_set():
                inside.wait(60)
            assert go_on.wait(60)
        return owner

    with ThreadPoolExecutor(16) as pool:
        first = [pool.submit(load, "anna") for _ in range(OF_ONE_OWNER)]
        inside.wait(60)
        waiting = [pool.submit(load, "anna") for _ in range(WAITING)]
        wait_until(lambda: loads._waiting["anna"] == WAITING, "those who wait")
        with pytest.raises(Overloaded):
            load("anna")
        with loads.place("ben"):
            go_on.set()
        assert {each.result(60) for each in first + waiting} == {"anna"}
    assert not loads._loading
    assert not loads._waiting


def test_a_companion_is_over_when_it_is_forgotten(web: Within) -> None:
    row = publish(web, trained("lightgbm"), MATRIX)
    model = open_version(web.runtime, row)
    assert isinstance(model, Isolated)
    companion: Companion = model._companion
    finish = companion._finish
    del model, companion
    assert not finish.alive
