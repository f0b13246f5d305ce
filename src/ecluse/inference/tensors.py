"""Read and write rows as tensors of the Open Inference Protocol, in JSON and by the extension for binary tensors.

The protocol: https://github.com/kserve/open-inference-protocol, `specification/protocol/inference_rest.md`. Binary
tensors: https://github.com/triton-inference-server/server, `docs/protocol/extension_binary_data.md`.

A version whose example is a matrix has one input, `input` of the shape [rows, columns]; any other has an input for each
column, of the shape [rows]. Each column of an answer is an output of the shape [rows].
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ecluse.errors import InvalidInput
from ecluse.inference.loaded import Loaded
from ecluse.inference.rows import Read, expect_count, from_columns
from ecluse.later import Later
from ecluse.sentences import _

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
else:
    np = Later("numpy")
    pl = Later("polars")

#: The one input of a version whose example is a matrix.
MATRIX: Final = "input"
#: The length of the JSON before the tensors, in the headers of a request or an answer.
HEADER: Final = "Inference-Header-Content-Length"
_NUMPY: Final[Mapping[str, str]] = {
    "BOOL": "?", "INT8": "i1", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8",
    "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip
#: The type of a tensor by that of a column.
_OF_COLUMN: Final = {"integer": "INT64", "number": "FP64", "boolean": "BOOL"}
#: Elements of all tensors of a request together, and dimensions of one.
_MOST_ELEMENTS: Final = 5_000_000
_MOST_DIMENSIONS: Final = 8
_LENGTH: Final = re.compile("[0-9]{1,12}")


@dataclass(frozen=True)
class Tensor:
    """A tensor as metadata describe it; -1 is the number of rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def described(self) -> dict[str, Any]:
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


def inputs_of(model: Loaded) -> list[Tensor]:
    """List the tensors that a version takes."""
    columns = model.schema["columns"]
    types = [_OF_COLUMN.get(column["type"], "BYTES") for column in columns]
    if model.schema.get("form") == "numpy":
        return [Tensor(MATRIX, types[0] if len(set(types)) == 1 else "FP64", (-1, len(columns)))]
    return [Tensor(column["name"], kind, (-1,)) for column, kind in zip(columns, types, strict=True)]


def outputs_of(answers: pl.DataFrame) -> list[Tensor]:
    """List the tensors that answers are written as."""
    return [Tensor(series.name, _datatype(series.dtype), (-1,)) for series in answers.iter_columns()]


def _datatype(dtype: pl.DataType) -> str:
    if dtype.is_integer():
        return "INT64"
    if dtype.is_float():
        return "FP32" if dtype == pl.Float32 else "FP64"
    return "BOOL" if dtype == pl.Boolean else "BYTES"


# Requests


@dataclass(frozen=True)
class Asked:
    """A request: its rows, its id, and which outputs are wanted, by name with whether as bytes; all where none is."""

    read: Read
    id: str | None
    outputs: Mapping[str, bool]
    is_binary: bool


def read_request(content: bytes, json_length: str | None, model: Loaded) -> Asked:
    """Read a request for an inference.

    Raises:
        InvalidInput: it is none, or its tensors are none of this version.
    """
    if json_length is not None and (not _LENGTH.fullmatch(json_length) or int(json_length) > len(content)):
        raise _no_request(_("the header %(name)s is no length of its JSON", name=HEADER))
    end = len(content) if json_length is None else int(json_length)
    try:
        body = json.loads(content[:end])
    except (ValueError, RecursionError) as error:
        raise _no_request(_("it is no JSON")) from error
    if not isinstance(body, dict) or not _are_objects(body.get("inputs")):
        raise _no_request(_("it has no list of inputs"))
    arrays = _arrays(body["inputs"], content[end:])
    outputs, parameters = body.get("outputs") or [], body.get("parameters") or {}
    if not _are_objects(outputs) or not isinstance(parameters, dict):
        raise _no_request(_("its outputs are no list of objects"))
    chosen = {str(each.get("name")): bool(_parameters(each).get("binary_data", False)) for each in outputs}
    id_ = body.get("id")
    read = from_columns(_columns(arrays, model), model.schema, model.dtypes)
    return Asked(
        read, id_ if isinstance(id_, str) else None, chosen, parameters.get("binary_data_output") is True
    )


def _no_request(reason: str) -> InvalidInput:
    return InvalidInput(
        _(
            "The request cannot be read: %(reason)s. Send what the Open Inference Protocol says: "
            '{"inputs": [{"name", "shape", "datatype", "data"}]}.',
            reason=reason,
        )
    )


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, dict) for each in value)


def _parameters(of: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the parameters of a tensor or an output; none where it has none, or something else in their place."""
    given = of.get("parameters")
    return given if isinstance(given, dict) else {}


def _arrays(inputs: Sequence[Mapping[str, Any]], tail: bytes) -> dict[str, np.ndarray[Any, Any]]:
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    at = elements = 0
    for tensor in inputs:
        name, shape, datatype = tensor.get("name"), tensor.get("shape"), tensor.get("datatype")
        if not isinstance(name, str) or not isinstance(datatype, str) or datatype not in (*_NUMPY, "BYTES"):
            raise _no_request(_("an input has no name, or a datatype that is none"))
        if (
            not isinstance(shape, list)
            or not all(type(size) is int and 0 <= size <= _MOST_ELEMENTS for size in shape)
            or not 0 < len(shape) <= _MOST_DIMENSIONS
        ):
            raise _no_request(_("the input %(name)s has no shape", name=name))
        count = 1
        for size in shape:
            count *= size
        elements += count
        if elements > _MOST_ELEMENTS:
            raise _no_request(_("its tensors have more than %(count)s elements", count=_MOST_ELEMENTS))
        length = _parameters(tensor).get("binary_data_size")
        if length is None:
            values = _from_list(tensor.get("data"), datatype, name)
        else:
            if type(length) is not int or not 0 <= length <= len(tail) - at:
                raise _no_request(_("the input %(name)s has fewer bytes than it says", name=name))
            values = _from_bytes(tail[at : at + length], datatype, count, name)
            at += length
        if values.size != count:
            raise _no_request(
                _(
                    "the input %(name)s has %(count)s values, and its shape says %(number)s",
                    name=name,
                    count=values.size,
                    number=count,
                )
            )
        arrays[name] = values.reshape(shape)
    return arrays


def _from_list(data: Any, datatype: str, name: str) -> np.ndarray[Any, Any]:
    """Return the values, which may be nested as the shape is; what they are is checked by the schema."""
    flat: list[Any] = []
    waiting = [data]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(reversed(value))
        else:
            flat.append(value)
    if not isinstance(data, list):
        raise _no_request(_("the input %(name)s has no data", name=name))
    array = np.empty(len(flat), dtype=object)
    array[:] = flat
    return array


def _from_bytes(content: bytes, datatype: str, count: int, name: str) -> np.ndarray[Any, Any]:
    if datatype != "BYTES":
        kind = np.dtype(_NUMPY[datatype])
        if len(content) != kind.itemsize * count:
            raise _no_request(_("the input %(name)s has not the bytes of its shape", name=name))
        return np.frombuffer(content, kind)
    texts: list[Any] = []
    at = 0
    try:
        while at < len(content):
            (length,) = struct.unpack_from("<I", content, at)
            if at + 4 + length > len(content):
                raise _no_request(_("the input %(name)s has not the bytes of its shape", name=name))
            texts.append(content[at + 4 : at + 4 + length].decode("utf-8"))
            at += 4 + length
    except (struct.error, UnicodeDecodeError) as error:
        raise _no_request(_("the input %(name)s holds no texts", name=name)) from error
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array


def _columns(arrays: Mapping[str, np.ndarray[Any, Any]], model: Loaded) -> dict[str, list[Any]]:
    expected = inputs_of(model)
    names = [column["name"] for column in model.schema["columns"]]
    unknown = [name for name in arrays if name not in {tensor.name for tensor in expected}]
    optional = {column["name"] for column in model.schema["columns"] if column.get("optional")}
    lacking = [
        tensor.name for tensor in expected if tensor.name not in arrays and tensor.name not in optional
    ]
    if unknown or lacking:
        raise InvalidInput(
            _(
                "The inputs are not those of the version: it takes %(columns)s.",
                columns=", ".join(f"{tensor.name} {tensor.datatype}" for tensor in expected[:20]),
            )
        )
    if model.schema.get("form") == "numpy":
        matrix = arrays[MATRIX]
        if matrix.ndim != 2 or matrix.shape[1] != len(names):
            raise _no_request(
                _("the input %(name)s has not the shape [rows, %(count)s]", name=MATRIX, count=len(names))
            )
        expect_count(matrix.shape[0])
        return {name: matrix[:, at].tolist() for at, name in enumerate(names)}
    rows = {name: array.shape[0] for name, array in arrays.items()}
    if len(set(rows.values())) != 1 or any(array.size != array.shape[0] for array in arrays.values()):
        raise _no_request(_("its inputs have not one value for each row, or not as many rows each"))
    height = next(iter(rows.values()))
    expect_count(height)
    return {name: arrays[name].reshape(-1).tolist() if name in arrays else [None] * height for name in names}


# Answers


def write_answer(
    asked: Asked, answers: pl.DataFrame, model_name: str, version: str
) -> tuple[bytes, int | None]:
    """Return the body of an answer, and the length of its JSON where tensors follow it as bytes.

    Raises:
        InvalidInput: an output is wanted that the version has not.
    """
    unknown = [name for name in asked.outputs if name not in answers.columns]
    if unknown:
        raise InvalidInput(
            _(
                "The version has no output %(name)s. It has: %(columns)s.",
                name=unknown[0],
                columns=", ".join(answers.columns),
            )
        )
    outputs: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for tensor in outputs_of(answers):
        if asked.outputs and tensor.name not in asked.outputs:
            continue
        output: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": [answers.height],
        }
        if asked.outputs.get(tensor.name, asked.is_binary):
            content = _to_bytes(answers[tensor.name], tensor.datatype)
            output["parameters"] = {"binary_data_size": len(content)}
            tail.append(content)
        else:
            output["data"] = _to_list(answers[tensor.name], tensor.datatype)
        outputs.append(output)
    body: dict[str, Any] = {"model_name": model_name, "model_version": version, "outputs": outputs}
    if asked.id is not None:
        body["id"] = asked.id
    if asked.read.warnings:
        body["parameters"] = {"warnings": "\n".join(str(warning) for warning in asked.read.warnings)}
    head = json.dumps(body, ensure_ascii=False, allow_nan=False).encode(errors="replace")
    return b"".join([head, *tail]), len(head) if tail else None


def _to_list(series: pl.Series, datatype: str) -> list[Any]:
    if series.dtype.is_float():  # JSON has no word for what is no number
        return (
            series.to_frame().select(pl.when(pl.first().is_finite()).then(pl.first())).to_series().to_list()
        )
    return (
        [None if value is None else str(value) for value in series]
        if datatype == "BYTES"
        else series.to_list()
    )


def _to_bytes(series: pl.Series, datatype: str) -> bytes:
    """Return the values as bytes; a text that is missing is empty."""
    if datatype != "BYTES":
        return series.to_numpy().astype(_NUMPY[datatype]).tobytes()
    texts = [("" if value is None else str(value)).encode(errors="replace") for value in series]
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)
