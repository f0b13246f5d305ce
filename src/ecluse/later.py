"""Import a library once something of it is used, in modules that pages and workers import when they start."""

from __future__ import annotations

from importlib import import_module  # noqa: TID251 (a library that a module of ours names)
from typing import Any, Final

#: Those that modules which are imported may ask for something.
_named: Final[set[str]] = set()


class Later:
    """A library that is imported when it is first asked for something: `pl = Later("polars")`.

    Type checkers read the import beside it: `if TYPE_CHECKING: import polars as pl`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        _named.add(name)

    def __getattr__(self, attribute: str) -> Any:
        value = getattr(import_module(self._name), attribute)
        setattr(self, attribute, value)
        return value


def bring() -> None:
    """Import now what modules that are imported would later: before a process forks, or may read fewer files."""
    for name in sorted(_named):
        import_module(name)
