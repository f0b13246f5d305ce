"""Écluse: machine-learning applications that run on a laptop and, unchanged, in the cloud.

In a notebook or a program, `import ecluse` offers what `OFFERED` names (see `ecluse.client`): nothing of it is imported
before it is used.
"""

import sys
from importlib import import_module  # noqa: TID251 (names in this file)
from types import ModuleType
from typing import Any, Final

__version__ = "0.1.0"

#: What a client offers. `models` and `tables` are what is so called here as well; see `ListingPackage`.
OFFERED: Final = (
    "Client", "job", "load", "log", "login", "models", "predict", "publish", "run", "runs", "table", "tables", "upload",
)  # fmt: skip


class ListingPackage(ModuleType):
    """A package that can be called: `ecluse.models()` lists models, and `ecluse.models.publish` is a function in it."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """List what it is called after, as `Client.models` and `Client.tables` do."""
        listing = getattr(import_module("ecluse.client"), self.__name__.rpartition(".")[2])
        return listing(*args, **kwargs)


def __getattr__(name: str) -> Any:
    """Return what the client offers under a name; `ecluse.models` and `ecluse.tables` are imported where they are."""
    if name in ("models", "tables"):
        try:
            return import_module(f"ecluse.{name}")
        except ModuleNotFoundError:  # the client alone is installed
            return getattr(import_module("ecluse.client"), name)
    if name in OFFERED:
        return getattr(import_module("ecluse.client"), name)
    raise AttributeError(f"module 'ecluse' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List what is offered beside what was imported, for the completion of a notebook."""
    return sorted({*vars(sys.modules[__name__]), *OFFERED})
