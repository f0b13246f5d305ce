"""Laws of what a program asks a model with: it is read, or refused in our words, whatever it is."""

from __future__ import annotations

import json
import struct
from types import SimpleNamespace
from typing import Any, Final, cast

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ecluse.errors import InvalidInput
from ecluse.inference import from_csv, from_json, read_request, write_answer
from ecluse.inference.ordinary import Reader
from ecluse.inference.rows import Read
from ecluse.inference.tensors import Asked

COLUMNS: Final = [
    {"name": "n", "type": "number", "missing": True, "minimum": 0.0, "maximum": 1.0},
    {"name": "i", "type": "integer", "missing": False, "minimum": 0, "maximum": 9},
    {"name": "b", "type": "boolean", "missing": False},
    {"name": "t", "type": "text", "missing": True, "categories": ["a", "b"]},
    {"name": "d", "type": "date", "missing": True},
    {"name": "m", "type": "datetime", "missing": True},
]
DTYPES: Final[dict[str, Any]] = {
    "n": pl.Float64(), "i": pl.Int32(), "b": pl.Boolean(), "t": pl.String(), "d": pl.Date(), "m": pl.Datetime("us"),
}  # fmt: skip
TABLE: Final = SimpleNamespace(schema={"columns": COLUMNS}, dtypes=DTYPES)
MATRIX: Final = SimpleNamespace(
    schema={"columns": [COLUMNS[0] | {"name": name} for name in "xy"], "form": "numpy"},
    dtypes={"x": pl.Float32(), "y": pl.Float32()},
)
TYPES: Final = ["BOOL", "INT8", "INT64", "UINT64", "FP16", "FP32", "FP64", "BYTES", "TEXT", "", None, 5]

#: Values as a program may send them; texts may have halves of characters and NUL.
texts = st.text(st.characters(), max_size=8) | st.sampled_from(
    [
        "\ud800",
        "a\ud800b",
        "\0",
        "a",
        "1",
        "nan",
        "2026-01-31",
        "2026-01-31T08:00:00+02:00",
        "9999-99-99",
        "1" * 5000,
    ]
)
plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([1e308, -1e308, 2**63, -(2**63) - 1, 10**400]),
    texts,
)
values = st.recursive(
    plain,
    lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(texts, deeper, max_size=3),
    max_leaves=8,
)
names = st.sampled_from([*"nibtdmxy", "input", "\ud800"]) | texts
sizes = st.integers(-2, 4) | st.sampled_from([10**30, 2**63, 5_000_001, True, 1.5, "1", None])
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": names | values,
        "shape": st.lists(sizes, max_size=3) | st.just([1] * 100) | st.just([0, 10**30]) | values,
        "datatype": st.sampled_from(TYPES),
        "data": values,
        "parameters": st.fixed_dictionaries({"binary_data_size": st.integers(-1, 40)}) | values,
    },
)
requests = st.fixed_dictionaries(
    {"inputs": st.lists(tensors, max_size=4) | values},
    optional={
        "id": values,
        "outputs": st.lists(st.fixed_dictionaries({"name": names}, optional={"parameters": values})) | values,
        "parameters": values,
    },
)


@given(values | st.lists(st.dictionaries(names, values) | st.lists(values), max_size=4))
@example([{"n": 1, "i": 1, "b": True, "t": "\ud800", "d": None, "m": None}])
@example([{"n": 1, "i": 1, "b": True, "t": "a", "d": None, "m": None, "\ud800": 1}])
@example([[float("nan"), float("inf"), True, "a", None, None]])
@example([[10**400, 10**400, True, "a", None, None]])
def test_rows_of_json_are_read_or_refused(sent: Any) -> None:
    rows = Reader(TABLE.schema, DTYPES).read(sent)
    if rows is None:
        expect_read_or_refused(lambda: from_json(sent, TABLE.schema, DTYPES))


@given(st.fixed_dictionaries(dict.fromkeys("nibtdm", values)))
def test_each_value_of_a_row_is_read_or_refused(row: dict[str, Any]) -> None:
    expect_read_or_refused(lambda: from_json([row, row], TABLE.schema, DTYPES))


@given(
    st.binary(max_size=80)
    | texts.map(lambda text: f"n,i,b,t,d,m\n{text},1,true,a,,\n".encode(errors="replace"))
)
@example(b"n,i,b,t,d,m\n" + b"9" * 5000 + b",1,true,a,,\n")
@example(b"n,n,n,n\n1,2,3,4\n")
@example(b"n,i,b,t,d,m\n1,nan,true,a,,\n")
@example(b"n,i,b,t,d,m\n1,inf,true,a,,\n")
def test_rows_of_a_table_of_text_are_read_or_refused(content: bytes) -> None:
    expect_read_or_refused(lambda: from_csv(content, TABLE.schema, DTYPES))


@given(requests, st.binary(max_size=40), st.sampled_from([TABLE, MATRIX]))
def test_tensors_are_read_or_refused(request: dict[str, Any], tail: bytes, model: Any) -> None:
    head = json.dumps(request).encode()
    for length in (None, str(len(head))):
        expect_read_or_refused(lambda length=length: read_request(head + tail, length, model))


@given(st.lists(st.lists(values, min_size=2, max_size=2) | values, max_size=3), st.sampled_from(TYPES[:8]))
def test_a_matrix_is_read_or_refused(rows: list[Any], datatype: str) -> None:
    sent = {"inputs": [{"name": "input", "shape": [len(rows), 2], "datatype": datatype, "data": rows}]}
    expect_read_or_refused(lambda: read_request(json.dumps(sent).encode(), None, cast(Any, MATRIX)))


@given(
    st.binary(max_size=64), st.sampled_from(TYPES[:8]), st.lists(st.integers(0, 4), min_size=1, max_size=2)
)
def test_bytes_of_a_tensor_are_read_or_refused(tail: bytes, datatype: str, shape: list[int]) -> None:
    for model, name in ((TABLE, "n"), (MATRIX, "input")):
        tensor = {
            "name": name,
            "shape": shape,
            "datatype": datatype,
            "parameters": {"binary_data_size": len(tail)},
        }
        head = json.dumps({"inputs": [tensor]}).encode()
        expect_read_or_refused(
            lambda head=head, model=model: read_request(head + tail, str(len(head)), cast(Any, model))
        )


@pytest.mark.parametrize("length", ["\u00b2", "\u0662", "9" * 5000, "-1", "", " 3", "1e3", "99"])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    with pytest.raises(InvalidInput, match="no length"):
        read_request(b"{}", length, cast(Any, TABLE))


@given(
    st.none() | texts,
    st.booleans(),
    st.lists(st.floats() | st.none(), min_size=1),
    st.lists(texts, max_size=2),
)
def test_an_answer_is_written_whatever_was_sent(
    id_: str | None, is_binary: bool, numbers: list[float | None], warnings: list[str]
) -> None:
    answers = pl.DataFrame(
        {"p": pl.Series(numbers, dtype=pl.Float64), "t": ["a"] * len(numbers), "i": [1] * len(numbers)}
    )
    asked = Asked(Read(answers, tuple(warnings)), id_, {}, is_binary)
    body, length = write_answer(asked, answers, "m", "v")
    said = json.loads(body[:length])
    assert said["outputs"][0]["shape"] == [len(numbers)]
    if is_binary:
        assert length is not None
        sent = np.frombuffer(body[length : length + 8 * len(numbers)], "<f8")
        assert sent[0] == numbers[0] or np.isnan(sent[0])
        (size,) = struct.unpack_from("<I", body, length + 8 * len(numbers))
        assert size == 1


def expect_read_or_refused(read: Any) -> None:
    """Nothing is raised but our own error, whose words can be sent."""
    try:
        result = read()
    except InvalidInput as error:
        assert str(error)
        return
    rows = result.read if isinstance(result, Asked) else result
    assert 0 < rows.rows.height <= 10_000
