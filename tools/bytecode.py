"""Compile what Écluse imports, also where the environment forbids Python to write that (PYTHONDONTWRITEBYTECODE).

    .venv/bin/python tools/bytecode.py

Without it every start there reads and compiles two thousand files again. All of `src` is compiled, and of other
packages what pages and workers import at a start, and what most jobs do: the rest is larger by far.
"""

from __future__ import annotations

import compileall
import importlib
import sys
from pathlib import Path
from typing import Final

SOURCES: Final = Path(__file__).resolve().parents[1] / "src"
#: What pages and workers import by the time that they answer.
OF_STARTS: Final = (
    "ecluse.cli.serve",
    "ecluse.web.app",
    "ecluse.serving",
    "uvicorn.lifespan.on",
    "uvicorn.loops.asyncio",
    "alembic.command",
)
#: What jobs and requests import first.
OF_WORK: Final = (
    "polars",
    "obstore",
    "sklearn.ensemble",
    "xgboost",
    "lightgbm",
    "onnxruntime",
    "skops.io",
    "httpx",
)


def main() -> int:
    """Compile, and return 0; what cannot be compiled is said, and found again by who imports it."""
    sys.dont_write_bytecode = False
    is_whole = compileall.compile_dir(SOURCES, quiet=1, workers=0)
    for name in (*OF_STARTS, *OF_WORK):
        try:
            importlib.import_module(name)  # noqa: TID251 (names in this file)
        except (ImportError, OSError) as error:
            print(f"{name} is not compiled: {type(error).__name__}: {error}")
    import_applications()
    return 0 if is_whole else 1


def import_applications() -> None:
    """Import what applications bring to pages and to workers."""
    from ecluse.web import api, pages
    from ecluse.work import kinds

    api.make_router()
    pages.make_router()
    kinds()


if __name__ == "__main__":
    sys.exit(main())
