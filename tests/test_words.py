"""Names in code say what a thing is (docs/concepts/words.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ecluse

SOURCE = Path(ecluse.__file__).parent
#: The parts whose names have been gone through; add a part here once its names have been.
PARTS = (
    "accounts",
    "application.py",
    "checkpoints.py",
    "confined",
    "disks.py",
    "jobs",
    "people.py",
    "registry",
    "runtime.py",
    "settings",
    "shapes.py",
    "upkeep.py",
    "work.py",
    "apps/city",
    "apps/fraud",
    "apps/plants",
    "documents",
    "migration",
    "models",
    "moving",
    "servers",
    "serving",
    "storage",
)
#: Names that tell how a value was come by, and not what it is.
SAY_NOTHING = frozenset({"told", "_told", "found", "one", "wanted", "taken", "spells", "shelves"})


def names_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every name that a module gives to a function, a parameter or a variable, with its line.

    Fields of classes are left out: their names stand in stored JSON and in the API, and stay.
    """
    fields = {
        id(each.target)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for each in node.body
        if isinstance(each, ast.AnnAssign)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and id(node) not in fields:
            yield node.id, node.lineno


@pytest.mark.parametrize("part", PARTS)
def test_a_name_says_what_a_thing_is(part: str) -> None:
    place = SOURCE / part
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place]
    assert files
    unclear = [
        f"{file.relative_to(SOURCE)}:{line} {name}"
        for file in files
        for name, line in names_of(ast.parse(file.read_text(encoding="utf-8")))
        if name in SAY_NOTHING
    ]
    assert not unclear, "name these for what they hold, see docs/concepts/words.md"
