"""Single values: samples of one function alone, a table scored by its columns, nested answers, texts of several lines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import polars as pl
import pytest

from ecluse.apps.hosted.pages import _shown
from tests.application import Application, running

pytestmark = pytest.mark.nightly

WORDS = Path(__file__).parent / "words.py"


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with running(tmp_path_factory.mktemp("home"), {"ECLUSE_APPS": str(WORDS)}) as application:
        yield application


@pytest.fixture(scope="module")
def client(app: Application) -> Iterator[httpx.Client]:
    with app.client() as client:
        file = client.post("/api/words/files", files={"file": ("t.csv", b"text\na b\nc\n")}).json()["id"]
        assert done(app, client, "train", table=file)
        yield client


def done(app: Application, client: httpx.Client, verb: str, **body: str) -> dict[str, object]:
    queued = client.post(f"/api/words/{verb}", json=body)
    assert queued.status_code == 202, queued.text
    ended = app.wait_for_job(client, queued.json()["job"])
    assert ended["status"] == "done", ended
    return dict(ended["result"])  # type: ignore[call-overload]


def test_a_table_is_scored_by_its_columns_where_single_values_are_asked_for(
    app: Application, client: httpx.Client
) -> None:
    sent = client.post("/api/words/files", files={"file": ("t.csv", b"id,text,times\n1,a bb,1\n2,7,3\n")})
    made = done(app, client, "score", table=sent.json()["id"])
    (file,) = made["files"]  # type: ignore[misc]
    scored = pl.read_csv(client.get(f"/api/words/files/{file['id']}").content)
    assert scored.columns == ["id", "text", "times", "words", "lengths"]
    assert scored["words"].to_list() == [2, 3]
    assert scored["lengths"].to_list() == ['{"a": 1, "bb": 2}', '{"7": 1}']
    other = client.post("/api/words/files", files={"file": ("u.csv", b"id\n1\n")}).json()["id"]
    job = client.post("/api/words/score", json={"table": other}).json()["job"]
    failed = app.wait_for_job(client, job)
    assert failed["error"] == "The table has no column text, which @app.predict takes. It has: id."


def test_a_text_is_asked_for_in_several_lines_and_a_nested_answer_is_a_table(client: httpx.Client) -> None:
    page = client.post("/words/predict", data={"text": "one three"}, headers={"accept": "text/html"}).text
    assert '<textarea name="text"' in page
    assert "<dt>words</dt>" in page
    assert "&#34;three&#34;" not in page  # no JSON
    assert page.count("<td>") >= 2
    assert _shown({"a": [1, 2], "b": 3})[1] == {
        "kind": "table", "title": "a", "columns": ["a"], "rows": [[1], [2]], "count": 2,
    }  # fmt: skip


def test_samples_may_be_for_one_function_alone() -> None:
    command = [sys.executable, "-m", "ecluse", "apps", "check", str(WORDS)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=290, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "table, train: text, predict: text" in checked.stderr


def test_a_token_is_made_at_a_terminal_and_reaches_the_api(app: Application) -> None:
    app.token()  # so that there is such a person
    command = [
        sys.executable,
        "-m",
        "ecluse",
        "token",
        "--home",
        str(app.home),
        "--user",
        "person@example.org",
    ]
    made = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert made.stdout.startswith("ecluse_")
    assert made.stdout.count("\n") == 1
    headers = {"authorization": f"Bearer {made.stdout.strip()}"}
    assert (
        httpx.get(f"{app.address}/api/me", headers=headers, timeout=60).json()["email"]
        == "person@example.org"
    )
