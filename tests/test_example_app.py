"""Install an application of another distribution beside ours, and use all of it. No line of `src/ecluse` knows it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ecluse.catalog import Catalog
from tests.application import Application, running
from tests.support.wait import wait_until

pytestmark = pytest.mark.nightly

PACKAGE = Path(__file__).parent / "example_app"
EXAMPLES = [
    {"label": "weather", "text": "rain and wind tomorrow"},
    {"label": "food", "text": "soup with bread"},
    {"label": "weather", "text": "sun after the rain"},
    {"label": "food", "text": "bread and cheese"},
    {"label": "weather", "text": "a cold wind"},
    {"label": "food", "text": "cheese soup"},
]


def install(folder: Path) -> None:
    """Install the example as pip does, into a folder of its own."""
    installer = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", sys.executable]
    subprocess.run(
        [*installer, "--no-deps", "--no-build-isolation", "--offline", "--target", str(folder), str(PACKAGE)],
        check=True,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site") / "packages"
    install(folder)
    return folder


@pytest.fixture(scope="module")
def web(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with running(tmp_path_factory.mktemp("home"), {"PYTHONPATH": str(site)}, role="web") as application:
        yield application


def ecluse(web: Application, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = web.environ | {"ECLUSE_HOME": str(web.home)}
    command = [sys.executable, "-m", "ecluse", *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)


@contextmanager
def worker(web: Application) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "ecluse", "worker", "--home", str(web.home)]
    process = subprocess.Popen(command, env=web.environ, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def test_an_application_of_its_own_package_works_whole(web: Application) -> None:
    with web.client() as client, web.client("stranger@example.org") as stranger:
        use_pages(client)
        set_id = train(web, client)
        assert stranger.get(f"/texts/{set_id}").status_code == 404
    use_commands(web, set_id)


def use_pages(client: httpx.Client) -> None:
    """Find it in the menu, in both languages, with its own style."""
    home = client.get("/").text
    assert 'href="/texts"' in home
    assert 'id="i-texts"' in home
    assert ">Texts</a>" in home
    french = client.get("/texts?lang=fr").text
    assert "Entraîner sur ces textes" in french
    assert ">Textes</a>" in french
    client.cookies.clear()
    style = client.get("/static/texts/texts.css")
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")


def train(web: Application, client: httpx.Client) -> str:
    """Ask its API, documented as ours is, for a job that survives the death of its worker; the id of the set."""
    documented = client.get("/openapi.json").json()
    assert documented["paths"]["/api/texts"]["post"]["tags"] == ["texts"]
    assert {
        "name": "texts",
        "description": "Sets of labelled texts, and what the words of others say.",
    } in documented["tags"]
    asked = {"name": "notes", "examples": EXAMPLES, "pause": 1.0}
    queued = client.post("/api/texts", json=asked).raise_for_status().json()
    set_id, job = str(queued["set"]), queued["job"]
    with worker(web) as first:
        wait_until(lambda: client.get(f"/api/status/{job}").json()["fraction"] >= 0.2, "a count")
        os.kill(first.pid, signal.SIGKILL)
    with worker(web):
        assert web.wait_for_job(client, job)["status"] == "done"
    shown = client.get(f"/jobs/{job}").text
    assert "Train · notes" in shown
    assert "Count words" in shown
    assert f'href="/texts/{set_id}"' in shown
    assert "Compter les mots" in client.get(f"/jobs/{job}?lang=fr").text
    client.cookies.clear()
    said = client.post(f"/api/texts/{set_id}/classify", json={"text": "wind and rain"}).json()
    assert list(said) == ["weather", "food"]
    assert "weather: " in client.get(f"/texts/{set_id}?text=wind").text
    return set_id


def use_commands(web: Application, set_id: str) -> None:
    assert "Classify texts by those of a set." in ecluse(web, "--help").stdout
    answer = ecluse(web, "texts", "classify", set_id, "bread", "--user", "person@example.org", "--json")
    assert next(iter(json.loads(answer.stdout)["labels"])) == "food"
    assert "sets of texts: 1" in ecluse(web, "users", "remove", "person@example.org", "--yes").stderr
    proved = json.loads(ecluse(web, "doctor", "--json").stdout)
    assert "texts" in next(check for check in proved["checks"] if check["part"] == "applications")["detail"]


def test_its_tables_are_upgraded_where_the_catalog_has_older_ones(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.db'}"
    upgrade = "import sys; from ecluse.catalog import Catalog; Catalog(sys.argv[1]).migrate()"
    environ = dict(os.environ) | {"PYTHONPATH": str(site)}
    newer = site / "ecluse_texts" / "migrations" / "0002_model.py"
    later = newer.read_text()
    newer.unlink()
    try:
        subprocess.run([sys.executable, "-c", upgrade, url], env=environ, check=True)
        assert columns(url) == {"id", "user_id", "name", "examples", "created_at"}
    finally:
        newer.write_text(later)
    subprocess.run([sys.executable, "-c", upgrade, url], env=environ, check=True)
    assert "model" in columns(url)


def columns(url: str) -> set[str]:
    from sqlalchemy import inspect

    catalog = Catalog(url)
    try:
        return {column["name"] for column in inspect(catalog.engine).get_columns("texts_sets")}
    finally:
        catalog.close()
