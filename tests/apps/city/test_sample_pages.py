"""The city's sample, from the home page to days that can be opened."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ecluse.apps.city.demo import write_demo
from ecluse.apps.city.sample import ARCS, DAYS, FIRST, run_of, start_sample
from ecluse.catalog.tables import User
from ecluse.errors import Forbidden
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import Application, running
from tests.web.test_pages import browser


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """An application of its own, for the days of the city are the same for everyone."""
    with running(tmp_path_factory.mktemp("city") / "home") as started:
        yield started


@pytest.fixture(scope="module")
def owner(idle: Application) -> Iterator[httpx.Client]:
    with Runtime.open(Settings.from_environment(idle.environ, home=idle.home)) as runtime:
        email = runtime.accounts.local_administrator().email
    with idle.client(email) as opened:
        yield opened


@pytest.fixture
def user(runtime: Runtime) -> User:
    return runtime.accounts.sign_up("owner@example.org", "a long password")


def start(idle: Application, *, days: int, arcs: int) -> str:
    with Runtime.open(Settings.from_environment(idle.environ, home=idle.home)) as runtime:
        return start_sample(runtime, runtime.accounts.local_administrator(), days=days, arcs=arcs)


def test_the_sample_is_written_and_its_days_are_computed(idle: Application, owner: httpx.Client) -> None:
    job = start(idle, days=2, arcs=20)
    assert idle.wait_for_job(owner, job)["status"] == "done"
    assert "the city&#39;s sample" in owner.get(f"/jobs/{job}").text
    run = run_of(job)
    assert idle.wait_for_job(owner, run)["status"] == "done"
    for day in ("2025-09-01", "2025-09-02"):
        assert idle.wait_for_job(owner, f"{run}-{day}")["status"] == "done"
        assert owner.get(f"/city/{day}").status_code == 200
    assert 'href="/city/2025-09-02"' in owner.get("/city").text
    assert "jobs-days" not in owner.get("/").text
    left = owner.get("/jobs/days")
    assert left.headers["HX-Refresh"] == "true"


def test_the_home_page_offers_the_sample_with_its_size_to_administrators(
    tmp_path: Path, runtime: Runtime
) -> None:
    first, second = (
        runtime.accounts.sign_up(f"{name}@example.org", "a long password") for name in ("a", "b")
    )
    said = browser(runtime, first).get("/").text.replace("\u00a0", "")
    assert f"Sample: {DAYS} invented days of a city like Paris, with {ARCS} road sensors" in said
    assert 'action="/city/sample"' in said
    said = browser(runtime, second).get("/").text
    assert 'action="/city/sample"' not in said
    assert 'href="/city"' in said


def test_asked_for_twice_the_sample_is_written_once_and_can_be_stopped(runtime: Runtime, user: User) -> None:
    client = browser(runtime, user)
    answers = [client.post("/city/sample", follow_redirects=False) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [303, 303]
    where = {answer.headers["location"] for answer in answers}
    assert len(where) == 1
    (place,) = where
    page = client.get(place).text
    assert re.search(r"Write\s*</li>|Write<", page)
    client.post(f"{place}/cancel")
    assert runtime.jobs.get(user.id, place.rpartition("/")[2]).status == "cancelled"


def test_days_of_the_city_are_told_together_and_stopped_together(runtime: Runtime, user: User) -> None:
    from ecluse.apps.city import jobs as work

    for day in ("2025-09-01", "2025-09-02", "2025-09-03"):
        runtime.jobs.enqueue(
            work.DAY, work.QUEUE, user.id, day, {"day": day, "raw": None, "run": "r"}, job_id=f"r-{day}"
        )
    client = browser(runtime, user)
    for page in ("/", "/jobs", "/jobs/days"):
        said = client.get(page).text
        assert "3 days are left to compute." in said
        assert "/jobs/r-2025-09-02" not in said
    client.post("/jobs/days/cancel")
    assert {runtime.jobs.get(user.id, f"r-2025-09-0{n}").status for n in (1, 2, 3)} == {"cancelled"}


def test_who_is_no_administrator_cannot_write_the_sample(runtime: Runtime) -> None:
    runtime.accounts.sign_up("first@example.org", "a long password")
    second = runtime.accounts.sign_up("second@example.org", "a long password")
    with pytest.raises(Forbidden, match="Only administrators"):
        start_sample(runtime, second)
    assert browser(runtime, second).post("/city/sample", follow_redirects=False).status_code == 403


def test_other_data_fails_the_job_with_the_way_out(idle: Application, owner: httpx.Client) -> None:
    with Runtime.open(Settings.from_environment(idle.environ, home=idle.home)) as runtime:
        raw = runtime.stores.area("raw")
        write_demo(raw, FIRST, 1, arcs=20)
        raw.put("batch/comptages-routiers-permanents-2025.csv", b"mine")
    job = start(idle, days=1, arcs=20)
    body = idle.wait_for_job(owner, job)
    assert body["status"] == "failed"
    page = owner.get(f"/jobs/{job}", headers={"Accept-Language": "fr"}).text
    assert "Écrivez l’exemple ailleurs" in page


def test_the_home_page_is_there_while_the_database_of_the_city_is_away(tmp_path: Path) -> None:
    with socket.socket() as taken:  # bound, and not listening
        taken.bind(("127.0.0.1", 0))
        url = f"mongodb://127.0.0.1:{taken.getsockname()[1]}"
        environ = {"DATABASE_TYPE": "mongodb", "MONGODB_URL": url}
        with Runtime.open(Settings.from_environment(environ, home=tmp_path / "home")) as runtime:
            user = runtime.accounts.sign_up("owner@example.org", "a long password")
            answer = browser(runtime, user).get("/")
    assert answer.status_code == 200
    assert 'action="/city/sample"' in answer.text
