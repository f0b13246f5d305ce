"""Half a character (`\\ud800`), which JSON can say and no encoding has, is refused at every door: no fault of ours."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from tests.web.test_predict import TABLE, publish, trained_on
from tests.web.within import Within

HALF: Final = "a\ud800"
NOTHING: Final = "x" * 16
METHODS: Final = ("post", "put", "patch", "delete")


def test_no_door_of_json_fails_at_half_a_character(web: Within) -> None:
    description = web.app.openapi()
    tried, wrong = 0, []
    for path, method, body in bodies(description):
        answer = web.ask(
            method.upper(),
            filled(path),
            content=json.dumps(body),
            headers={"content-type": "application/json"},
        )
        tried += 1
        if answer.status_code >= 500 or not is_said(answer):
            wrong.append((method, path, json.dumps(body)[:100], answer.status_code, answer.text[:200]))
    assert wrong == []
    assert tried > 100


def is_said(answer: Any) -> bool:
    """What is refused is refused in the one shape of errors."""
    if answer.status_code < 400:
        return True
    body = answer.json()
    return isinstance(body.get("error"), str | dict)


def test_no_address_fails_at_half_a_character(web: Within) -> None:
    wrong = []
    for path, operations in web.app.openapi()["paths"].items():
        for method in operations:
            if "{" not in path or method not in ("get", *METHODS):
                continue
            answer = web.ask(method.upper(), filled(path, "%ED%A0%80"))
            if answer.status_code >= 500:
                wrong.append((method, path, answer.status_code, answer.text[:200]))
    assert wrong == []


#: Requests with half a character in each place where one may stand: a column, a value, an id, an output, an input.
PREDICT: Final = [
    {"rows": [{HALF: 1}]},
    {"rows": [{"age": HALF, "income": 1.0, "member": True}]},
    {"rows": [[HALF]]},
]
AGE: Final = {"name": "age", "shape": [1], "datatype": "INT64", "data": [41]}
INPUTS: Final = [
    AGE,
    {"name": "income", "shape": [1], "datatype": "FP64", "data": [1.5]},
    {"name": "member", "shape": [1], "datatype": "BOOL", "data": [True]},
]
INFER: Final = [
    {"inputs": [AGE | {"data": [HALF]}, *INPUTS[1:]]},
    {"inputs": [AGE | {"name": HALF}, *INPUTS[1:]]},
    {"inputs": INPUTS, "outputs": [{"name": HALF}]},
    {"inputs": INPUTS, "outputs": [{"name": "prediction", "parameters": "x"}]},
    {"inputs": [AGE | {"shape": [0, 10**30], "data": []}, *INPUTS[1:]]},
    {"inputs": [AGE | {"shape": [1] * 100}, *INPUTS[1:]]},
    {"inputs": [AGE | {"shape": [0], "data": []}]},
    {"inputs": [AGE | {"parameters": [1]}, *INPUTS[1:]]},
]


def test_a_model_is_asked_with_half_a_character(web: Within) -> None:
    table = TABLE.with_columns(pl.col("income").fill_null(0.5))
    publish(web, trained_on(table), table)
    for body in PREDICT:
        answer = send(web, "/api/models/churn/predict", body)
        assert (answer.status_code, set(answer.json()["error"])) == (422, {"code", "message"}), body
    row = {"age": 41, "income": 1.5, "member": True}
    warned = send(web, "/api/models/churn/predict", {"rows": [row | {HALF: 1}]})
    assert (warned.status_code, "a?" in warned.json()["warnings"][0]) == (200, True)
    for body in INFER:
        answer = send(web, "/v2/models/churn/infer", body)
        assert answer.status_code in (200, 422), (body, answer.text)
    echoed = send(web, "/v2/models/churn/infer", {"id": HALF, "inputs": INPUTS})
    assert (echoed.status_code, echoed.json()["id"]) == (200, "a?")


def send(web: Within, address: str, body: Any) -> Any:
    """Send JSON as it is escaped, as no client can send half a character otherwise."""
    return web.ask("POST", address, content=json.dumps(body), headers={"content-type": "application/json"})


def filled(path: str, value: str = NOTHING) -> str:
    """The address with a value for each name in it."""
    parts = [value if part.startswith("{") else part for part in path.split("/")]
    return "/".join(parts)


def bodies(description: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield a body for each text of each operation that takes JSON, with half a character as that text."""
    for path, operations in description["paths"].items():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema")
            if method not in METHODS or schema is None:
                continue
            for body in variants(schema, description, 0):
                yield path, method, body


def variants(schema: dict[str, Any], description: dict[str, Any], depth: int) -> Iterator[Any]:
    """Yield plausible values of a schema, each with half a character in one place: a text, or a name."""
    schema = resolved(schema, description)
    for each in schema.get("anyOf", schema.get("oneOf", [])):
        yield from variants(each, description, depth)
    kind = schema.get("type")
    if depth > 4:
        return
    if kind == "string" or (kind is None and "anyOf" not in schema and "properties" not in schema):
        yield HALF
    elif kind == "array":
        for each in variants(schema.get("items", {}), description, depth + 1):
            yield [each]
    elif "properties" in schema:
        usual = {name: plausible(each, description, 0) for name, each in schema["properties"].items()}
        yield {**usual, HALF: 1}
        for name, each in schema["properties"].items():
            for value in variants(each, description, depth + 1):
                yield {**usual, name: value}
    elif kind == "object":
        yield {HALF: HALF}
        yield {"a": HALF}
        yield {HALF: 1}


def plausible(schema: dict[str, Any], description: dict[str, Any], depth: int) -> Any:
    """A value that may be taken."""
    schema = resolved(schema, description)
    if "default" in schema:
        return schema["default"]
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    for each in schema.get("anyOf", schema.get("oneOf", []))[:1]:
        return plausible(each, description, depth + 1)
    kind = schema.get("type")
    if kind == "array":
        return [plausible(schema.get("items", {}), description, depth + 1)] if depth < 4 else []
    if kind == "object" or "properties" in schema:
        inside = schema.get("properties", {}) if depth < 4 else {}
        return {name: plausible(each, description, depth + 1) for name, each in inside.items()}
    return (
        text_of(schema)
        if kind == "string"
        else {"integer": 1, "number": 0.5, "boolean": True}.get(str(kind), "a")
    )


def text_of(schema: dict[str, Any]) -> str:
    if "64" in schema.get("pattern", ""):
        return "0" * 64
    return {"date": "2026-01-31", "date-time": "2026-01-31T08:00:00Z"}.get(
        schema.get("format", ""), "plain-name"
    )


def resolved(schema: dict[str, Any], description: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    return description["components"]["schemas"][reference.rpartition("/")[2]] if reference else schema
