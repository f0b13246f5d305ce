"""An exception that is dropped says why where it is dropped."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import ecluse

SOURCE = Path(ecluse.__file__).parent
#: A function whose name or docstring says what it returns instead of raising.
PREDICATE = re.compile(r"_?(is|has|can|exists)(_|$)")
SAYS_OTHERWISE = re.compile(
    r"\bNone\b|\bfalse\b|\bnothing\b|\bunless\b|\bwhether\b|\bempty\b|\{\}", re.IGNORECASE
)


def test_an_exception_that_is_dropped_says_why() -> None:
    """A handler that only passes, goes on or returns nothing has a comment, or stands in a function that says so."""
    silent = []
    for file in sorted(SOURCE.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        silent += [
            f"{file.relative_to(SOURCE)}:{handler.lineno} {function}"
            for function, documentation, handler in handlers_of(ast.parse(text))
            if drops(handler)
            and not has_comment(handler, text.splitlines())
            and not PREDICATE.match(function)
            and not SAYS_OTHERWISE.search(documentation)
        ]
    assert not silent, "say it behind the `except`, or log what a fault hides"


def handlers_of(
    tree: ast.AST, function: str = "", documentation: str = ""
) -> Iterator[tuple[str, str, ast.ExceptHandler]]:
    """Yield each handler of exceptions with the name and the docstring of the function that it stands in."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from handlers_of(node, node.name, ast.get_docstring(node) or "")
            continue
        if isinstance(node, ast.ExceptHandler):
            yield function, documentation, node
        yield from handlers_of(node, function, documentation)


def drops(handler: ast.ExceptHandler) -> bool:
    if len(handler.body) != 1:
        return False
    (only,) = handler.body
    if isinstance(only, ast.Return):
        return only.value is None or ast.unparse(only.value) in {"None", "False", "()", "[]", "{}", "''", "0"}
    return isinstance(only, ast.Pass | ast.Continue)


def has_comment(handler: ast.ExceptHandler, lines: list[str]) -> bool:
    end = handler.body[-1].end_lineno or handler.lineno
    return any("#" in line for line in lines[handler.lineno - 1 : end])
