"""Find every place of the source at which a key, a path or a member's name is put together of more than constants."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).parents[2] / "src" / "ecluse"
#: What makes keys, and names of files, of what it is given.
BUILDERS: Final = frozenset(
    {
        "join_key",
        "checked_key",
        "safe_filename",
        "scoped",
        "checked_path",
        "ZipInfo",
        "TarInfo",
        "extractall",
        "writestr",
    }
)
#: Methods of a store, to which a key is given.
METHODS: Final = frozenset(
    [
        "put",
        "put_stream",
        "put_stream_async",
        "upload",
        "upload_tree",
        "copy",
        "delete",
        "delete_prefix",
        "get",
        "stream",
        "download",
        "download_tree",
        "head",
        "attributes",
        "exists",
        "list",
        "list_page",
        "list_names",
        "local_path",
        "sign",
        "url_of",
        "locate",
    ]
)
#: Folders that hold what is of people, as their names begin.
OWNED: Final = ("user_data", "user_models", "automl_models")
#: What stands for an owner, and for what lies in the folder of a version, in a key that an f-string makes.
IN_KEYS: Final = frozenset({"user_id", "owner_id", "CLAIM", "MANIFEST", "SIGNATURE", "PARTS"})
#: How what a path is joined to is called.
FOLDERS: Final = (
    "folder",
    "path",
    "root",
    "home",
    "scratch",
    "destination",
    "directory",
    "target",
    "partial",
    "into",
)


def places() -> Iterator[str]:
    """Yield `module.py qualified.name` of each, sorted; several of one function once."""
    every = set()
    for path in SOURCE.rglob("*.py"):
        for node, names in _nodes(ast.parse(path.read_text(encoding="utf-8")), ()):
            if _builds(node):
                every.add(f"{path.relative_to(SOURCE).as_posix()} {'.'.join(names) or '-'}")
    yield from sorted(every)


def _nodes(node: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[ast.AST, tuple[str, ...]]]:
    for child in ast.iter_child_nodes(node):
        yield child, names
        is_named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        yield from _nodes(child, (*names, child.name) if is_named else names)


def _builds(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        left = ast.unparse(node.left).lower()
        return not _is_constant(node.right) and any(word in left for word in FOLDERS)
    if isinstance(node, ast.JoinedStr):
        text = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
        names = {_name_of(part.value) for part in node.values if isinstance(part, ast.FormattedValue)}
        return any(f"{word}/" in text for word in OWNED) or ("/" in text and bool(names & IN_KEYS))
    if not isinstance(node, ast.Call):
        return False
    called, name = node.func, _name_of(node.func)
    if name in BUILDERS:
        return True
    return (
        isinstance(called, ast.Attribute)
        and name in METHODS
        and any(_is_put_together(each) for each in node.args)
    )


def _is_put_together(node: ast.AST) -> bool:
    """Whether text is put together right where it is given: an f-string, a sum, a format."""
    is_sum = (
        isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod) and "/" in ast.unparse(node)
    )
    return is_sum or (isinstance(node, ast.JoinedStr) and "/" in ast.unparse(node))


def _is_constant(node: ast.AST) -> bool:
    """Whether it is a text, or a name in capitals."""
    return isinstance(node, ast.Constant) or _name_of(node).isupper()


def _name_of(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
