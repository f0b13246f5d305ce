"""Modules import each other in one direction, and what starts imports nothing that only work needs."""

from __future__ import annotations

import subprocess
import sys
from graphlib import TopologicalSorter

import grimp
import pytest


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = grimp.build_graph("ecluse")
    imported = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert len(imported) > 500
    order = list(TopologicalSorter(imported).static_order())  # raises CycleError, which names the circle
    assert set(order) == graph.modules


LEARNING = {"sklearn", "scipy", "xgboost", "lightgbm", "optuna", "torch", "onnxruntime", "pyarrow"}
READING = {"fastexcel", "charset_normalizer"}
#: What a notebook that imports the package waits for only once it uses it.
EVERYTHING = LEARNING | READING | {
    "numpy", "polars", "pandas", "fastapi", "sqlalchemy", "httpx", "rich", "obstore", "pydantic", "ecluse.client",
}  # fmt: skip


@pytest.mark.parametrize(
    ("starting", "left"),
    [
        (
            "from ecluse.work import kinds; assert kinds()",
            LEARNING | READING | {"numpy", "polars", "PIL", "fastapi", "http.client"},
        ),
        ("from ecluse.web import api, pages; api.make_router(); pages.make_router()", LEARNING | READING),
        ("import ecluse; assert 'Client' in dir(ecluse)", EVERYTHING),
        (
            "import ecluse; assert ecluse.Client",
            EVERYTHING - {"ecluse.client"} | {"httpx", "ecluse.runtime", "ecluse.models"},
        ),
    ],
    ids=["worker", "web", "package", "client"],
)
def test_what_starts_imports_no_library_that_only_work_needs(starting: str, left: set[str]) -> None:
    script = f"{starting}; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "ecluse" in imported
    assert imported & left == set()
