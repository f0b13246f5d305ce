"""Names in code say what a thing is (docs/concepts/words.md)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ecluse

SOURCE = Path(ecluse.__file__).parent
PARTS = tuple(
    sorted(
        str(place.relative_to(SOURCE))
        for place in (*SOURCE.iterdir(), *(SOURCE / "apps").iterdir())
        if (place.suffix == ".py" or any(place.glob("*.py"))) and place.name not in {"apps", "__init__.py"}
    )
)
#: Names that tell how a value was come by, and not what it is.
SAY_NOTHING = frozenset(
    {
        "told",
        "_told",
        "found",
        "_found",
        "one",
        "_one",
        "_known",
        "wanted",
        "taken",
        "spells",
        "shelves",
    }
)
#: Such names that a part has still.
STILL: dict[str, set[str]] = {}


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
    assert files, place
    unclear = [
        f"{file.relative_to(SOURCE)}:{line} {name}"
        for file in files
        for name, line in names_of(ast.parse(file.read_text(encoding="utf-8")))
        if name in SAY_NOTHING - STILL.get(part, set())
    ]
    assert not unclear, "name these for what they hold, see docs/concepts/words.md"


#: How a docstring begins that names what comes back, and not what the function does.
NO_VERB = frozenset(
    {
        "The",
        "What",
        "Whether",
        "A",
        "An",
        "Every",
        "Each",
        "Those",
        "These",
        "How",
        "Why",
        "Which",
        "Where",
        "All",
    }
)


@pytest.mark.parametrize("part", PARTS)
def test_the_docstring_of_a_function_begins_with_what_it_does(part: str) -> None:
    place = SOURCE / part
    nouns = [
        f"{file.relative_to(SOURCE)}:{node.lineno} {node.name}"
        for file in (sorted(place.rglob("*.py")) if place.is_dir() else [place])
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (documentation := ast.get_docstring(node))
        and documentation.split(maxsplit=1)[0] in NO_VERB
    ]
    assert not nouns, "begin with a verb, such as Return, List, Find or Count"


#: Parameters that a function may have, beside `self`.
MOST_PARAMETERS = 7


def test_only_functions_of_a_framework_take_many_parameters() -> None:
    """A page takes what its address holds, a command its options: FastAPI and Click ask for one parameter each."""
    long = [
        f"{file.relative_to(SOURCE)}:{node.lineno} {node.name}"
        for file in sorted(SOURCE.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and not any(ast.unparse(each).startswith(FRAMEWORKS) for each in node.decorator_list)
        and len([name for name in parameters_of(node) if name not in ("self", "cls")]) > MOST_PARAMETERS
    ]
    assert not long, "group what belongs together in one typed value"


#: How the decorators of pages, calls of the API and commands begin.
FRAMEWORKS = ("router.", "click.")


def parameters_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    arguments = function.args
    return [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
