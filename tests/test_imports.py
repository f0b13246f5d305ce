"""What starts imports nothing that only work needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

LEARNING = {"sklearn", "scipy", "xgboost", "lightgbm", "optuna", "torch", "onnxruntime", "pyarrow"}
READING = {"fastexcel", "charset_normalizer"}
#: What a notebook that imports the package waits for only once it uses it.
EVERYTHING = LEARNING | READING | {
    "numpy", "polars", "pandas", "fastapi", "sqlalchemy", "httpx", "rich", "obstore", "pydantic", "ecluse.client",
}  # fmt: skip
#: Pages and API of a new home, once they have answered that they are ready.
READY = """
import asyncio, sys, tempfile
from pathlib import Path

from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app

async def receive():
    return {"type": "http.request", "body": b"", "more_body": False}

async def send(message):
    if message["type"] == "http.response.start":
        assert message["status"] == 200, message

scope = {"type": "http", "method": "GET", "path": "/readyz", "root_path": "", "query_string": b"", "headers": []}
with tempfile.TemporaryDirectory() as folder:
    with Runtime.open(Settings.from_environment({}, home=Path(folder))) as runtime:
        asyncio.run(make_app(runtime)(scope, receive, send))
"""


@pytest.mark.parametrize(
    ("starting", "left"),
    [
        (
            "from ecluse.work import kinds; assert kinds()",
            LEARNING | READING | {"numpy", "polars", "PIL", "fastapi", "http.client"},
        ),
        (READY, LEARNING | READING | {"numpy", "polars"}),
        ("import ecluse; assert 'Client' in dir(ecluse)", EVERYTHING),
        (
            "import ecluse; assert ecluse.Client",
            EVERYTHING - {"ecluse.client"} | {"httpx", "ecluse.runtime", "ecluse.models"},
        ),
        ("import ecluse.cli", LEARNING | READING | {"numpy", "polars", "fastapi", "sqlalchemy"}),
    ],
    ids=["worker", "web", "package", "client", "command"],
)
def test_what_starts_imports_no_library_that_only_work_needs(starting: str, left: set[str]) -> None:
    script = f"{starting}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "ecluse" in imported
    assert imported & left == set()
