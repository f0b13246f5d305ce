"""Migrations on pages and over HTTP: planned, followed, verified, rolled back, and by administrators only."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from ecluse import migration, upkeep
from ecluse import models as published
from ecluse.catalog import journal
from ecluse.catalog.journal import Amount
from ecluse.catalog.tables import Migration, User, now
from ecluse.migration import Summary
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.pages import models as model_pages
from ecluse.web.pages.migrations import copy_rate, places_of
from ecluse.work import cancel_job
from tests.migrating import all_pointers, check_rows, fill
from tests.test_upkeep import ended, working
from tests.web.test_pages import Browser, browser

JSON = {"accept": "application/json"}


@pytest.fixture
def admin(runtime: Runtime) -> User:
    """The first account, which administers; tables, results and models are stored."""
    user = runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")
    fill(runtime)
    return user


@pytest.fixture
def client(runtime: Runtime, admin: User) -> Browser:
    return browser(runtime, admin)


@pytest.fixture
def member(runtime: Runtime, admin: User) -> Browser:
    return browser(runtime, runtime.accounts.sign_up("other@example.org", "a long password"))


@pytest.fixture
def elsewhere(tmp_path: Path) -> str:
    return f"file://{tmp_path}/elsewhere"


@pytest.fixture
def runtime(home: Path, elsewhere: str) -> Iterator[Runtime]:
    """One whose raw data go elsewhere: the only other folder that pages reach."""
    settings = Settings.from_environment({"ECLUSE_RAW_URL": elsewhere}, home=home)
    with Runtime.open(settings) as opened:
        yield opened


@pytest.fixture
def planned(runtime: Runtime, admin: User, elsewhere: str) -> str:
    """A migration of all tables and results, planned."""
    made = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(source="data", destination=elsewhere, switch_rows=True, user_id=admin.id),
    )
    return str(made.id)


# Who may


def test_members_are_refused_everywhere_and_see_no_way_there(
    runtime: Runtime, member: Browser, client: Browser, planned: str, elsewhere: str
) -> None:
    form = {"source": "data", "destination": elsewhere}
    for path in (
        "/migrations",
        "/migrations/new",
        f"/migrations/{planned}",
        f"/migrations/{planned}/progress",
    ):
        assert member.get(path).status_code == 403, path
    for verb in ("run", "verify", "rollback", "stop"):
        assert member.post(f"/migrations/{planned}/{verb}").status_code == 403, verb
    assert member.post("/migrations", data=form).status_code == 403
    for path in ("/api/migrations", f"/api/migrations/{planned}"):
        assert member.get(path, JSON).status_code == 403, path
    assert member.post("/api/migrations", JSON, json=form).status_code == 403
    for verb in ("run", "verify", "rollback"):
        assert member.post(f"/api/migrations/{planned}/{verb}", JSON).status_code == 403, verb
    assert migration.find(runtime.catalog, planned).job_id is None
    for path in ("/storage", "/"):
        assert 'href="/migrations"' not in member.get(path).text
        assert 'href="/migrations"' in client.get(path).text


def test_a_visitor_is_sent_to_sign_in(runtime: Runtime, planned: str) -> None:
    for path in ("/migrations", f"/migrations/{planned}"):
        assert browser(runtime, None).get(path).headers["location"] == "/sign-in"


def test_a_migration_that_is_not_there_is_404(client: Browser) -> None:
    assert client.get("/migrations/none").status_code == 404
    assert client.get("/migrations/plans/none").status_code == 404
    assert client.get("/api/migrations/none", JSON).status_code == 404


# Plan


@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_page_is_drawn_in_both_languages(
    runtime: Runtime, admin: User, client: Browser, planned: str, elsewhere: str, language: str
) -> None:
    client.cookies.set("lang", language)
    job = upkeep.start_plan(runtime, admin.id, "data", f"{elsewhere}/2", "", False)
    for path in ("/migrations", "/migrations/new", f"/migrations/{planned}", f"/migrations/plans/{job}"):
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        assert f'<html lang="{language}"' in answer.text
        assert "%(" not in answer.text
        ids = re.findall(r'\sid="([^"]+)"', answer.text)
        assert len(ids) == len(set(ids)), path


def test_an_empty_list_leads_to_the_form_which_suggests_the_areas(runtime: Runtime, client: Browser) -> None:
    assert "No migrations yet" in client.get("/migrations").text
    page = client.get("/migrations/new?source=data&prefix=user_data&rows=false").text
    for area, url in places_of(runtime):
        assert f'<option value="{area}">{url}</option>' in page
    assert 'value="data"' in page
    assert 'value="user_data"' in page
    assert " checked" not in page


@pytest.mark.parametrize(
    ("source", "destination", "said"),
    [
        ("data", "data", "share a part"),
        ("data", "nowhere", "is no store"),
        ("", "data", "is no store"),
        ("data", "s3://key:hidden@bucket", "carries no keys"),
        ("data", "ftp://host", "are not known"),
    ],
)
def test_places_that_cannot_be_used_are_refused_at_once_and_the_form_is_kept(
    runtime: Runtime, admin: User, client: Browser, source: str, destination: str, said: str
) -> None:
    answer = client.post("/migrations", data={"source": source, "destination": destination, "prefix": "p"})
    assert answer.status_code == 422
    assert said in answer.text
    assert 'value="p" aria-invalid="true"' in answer.text
    assert runtime.jobs.list(admin.id) == []  # nothing that was typed is kept
    told = client.post("/api/migrations", JSON, json={"source": source, "destination": destination})
    assert told.json()["error"]["code"] == "invalid_input"
    assert "hidden" not in told.text


def test_a_plan_says_what_is_copied_what_is_there_and_what_is_in_the_way(
    runtime: Runtime, admin: User, client: Browser, elsewhere: str
) -> None:
    keys = [info.key for info in runtime.data.list()]
    runtime.stores.make_folder(elsewhere)
    there = runtime.stores.folder(elsewhere)
    there.put(keys[0], runtime.data.get(keys[0]))
    there.put(keys[1], b"another content <b>")
    made = migration.plan(
        runtime.catalog,
        runtime.stores,
        migration.Request(source="data", destination=elsewhere, user_id=admin.id),
    )
    page = client.get(f"/migrations/{made.id}").text
    for shown in ("There already, the same", "In conflict", keys[1], "Look again, and run", "no list price"):
        assert shown in page
    told = client.get(f"/api/migrations/{made.id}", JSON).json()
    assert told["conflicts"] == [keys[1]]
    assert told["amounts"]["same"]["objects"] == 1
    assert told["rest"]["objects"] == len(keys) - 2
    with working(runtime):
        client.post(f"/migrations/{made.id}/run")
        ended(runtime, admin.id, str(migration.find(runtime.catalog, str(made.id)).job_id))
    page = client.get(f"/migrations/{made.id}").text
    assert page.index("The source is untouched.") < page.index("is in the way")
    assert "Nothing was copied." in page
    assert f'action="/migrations/{made.id}/rollback"><button class="danger" data' not in page
    assert there.get(keys[1]) == b"another content <b>"


# Run, verify, roll back


def test_a_migration_is_planned_run_verified_and_rolled_back_on_pages(
    runtime: Runtime, admin: User, client: Browser, elsewhere: str
) -> None:
    before = {pointer.row_id: pointer.url for pointer in all_pointers(runtime)}
    form = {"source": "data", "destination": elsewhere, "switch_rows": "true"}
    with working(runtime):
        planning = client.post("/migrations", data=form).headers["location"]
        ended(runtime, admin.id, planning.rpartition("/")[2])
        where = client.get(planning).headers["location"]
        assert "Run the migration" in client.get(where).text
        assert all_pointers(runtime)
        steps = (
            ("run", "Everything is at the destination"),
            ("verify", "Every object at the destination is as it was recorded."),
            ("rollback", "Everything is read from the source again"),
        )
        for verb, said in steps:
            assert client.post(f"{where}/{verb}").headers["location"] == where
            row = migration.find(runtime.catalog, where.rpartition("/")[2])
            job = ended(runtime, admin.id, str(row.job_id))
            assert job.status == "done", job
            assert said in client.get(where).text, verb
            assert f'href="{where}"' in client.get(f"/jobs/{job.id}").text
            check_rows(runtime)
            moved = all(one.url.startswith(elsewhere) for one in all_pointers(runtime))
            assert moved is (verb != "rollback")
            assert client.get(planning).headers["location"] == where
        assert 'href="/migrations/new?source=' in client.get(where).text
        assert "point at the source again" in client.get(where).text
        assert "point there afterwards" not in client.get(where).text
    assert {pointer.row_id: pointer.url for pointer in all_pointers(runtime)} == before


def test_programs_do_the_same(runtime: Runtime, admin: User, client: Browser, elsewhere: str) -> None:
    body = {"source": "data", "destination": elsewhere, "switch_rows": True}
    with working(runtime):
        job = client.post("/api/migrations", JSON, json=body).json()
        ended(runtime, admin.id, job["job"])
        made = client.get(job["status_url"], JSON).json()["result"]["migration_id"]
        for verb, state in (("run", "done"), ("verify", "done"), ("rollback", "rolled_back")):
            answer = client.post(f"/api/migrations/{made}/{verb}", JSON)
            assert answer.status_code == 202
            assert ended(runtime, admin.id, answer.json()["job"]).status == "done"
            told = client.get(f"/api/migrations/{made}", JSON).json()
            assert (told["state"], told["active"]) == (state, False)
    listed = client.get("/api/migrations", JSON).json()
    assert (listed["total"], listed["items"][0]["id"]) == (1, made)


def test_what_a_verification_found_is_told_on_the_page(
    runtime: Runtime, admin: User, client: Browser, planned: str, elsewhere: str
) -> None:
    with working(runtime):
        ended(runtime, admin.id, upkeep.start_migration(runtime, admin.id, planned))
        runtime.stores.folder(elsewhere).put("stray", b"?")
        ended(runtime, admin.id, upkeep.start_verification(runtime, admin.id, planned))
    page = client.get(f"/migrations/{planned}").text
    assert "The destination is not as it was recorded." in page
    assert "stray" in page


def test_one_that_has_a_job_refuses_another_and_can_be_stopped_and_go_on(
    runtime: Runtime, admin: User, client: Browser, planned: str
) -> None:
    where = f"/migrations/{planned}"
    client.post(f"{where}/run")
    page = client.get(where).text
    assert f'hx-get="{where}/progress"' in page
    assert "place 1 in the queue" in page
    assert f'action="{where}/run"' not in page
    answer = client.post(f"{where}/rollback")
    assert answer.status_code == 409
    assert "has a job already" in answer.text
    fragment = client.get(f"{where}/progress", {"hx-request": "true"})
    assert fragment.text.lstrip().startswith("<section")
    assert "hx-refresh" not in fragment.headers
    client.post(f"{where}/stop")
    fragment = client.get(f"{where}/progress", {"hx-request": "true"})
    assert fragment.headers["hx-refresh"] == "true"
    assert "hx-get" not in fragment.text
    with working(runtime):
        client.post(f"{where}/run")
        job_id = str(migration.find(runtime.catalog, planned).job_id)
        assert ended(runtime, admin.id, job_id).status == "done"


def test_another_administrator_follows_and_stops_what_one_started(
    runtime: Runtime, admin: User, planned: str
) -> None:
    second = runtime.accounts.sign_up("second@example.org", "a long password")
    with runtime.catalog.write() as transaction:
        transaction.get_one(User, second.id).role = "admin"
    job_id = upkeep.start_migration(runtime, admin.id, planned)
    other = browser(runtime, second)
    assert "place 1 in the queue" in other.get(f"/migrations/{planned}").text
    assert other.get(f"/migrations/{planned}/progress").status_code == 200
    assert other.get(f"/jobs/{job_id}").status_code == 404
    other.post(f"/migrations/{planned}/stop")
    assert runtime.jobs.get(admin.id, job_id).status == "cancelled"


def test_a_run_by_a_command_is_followed_by_its_journal(
    runtime: Runtime, client: Browser, planned: str
) -> None:
    with runtime.catalog.write() as transaction:
        journal.take(transaction, planned, "process 7 on this-machine (x)", "running")
    page = client.get(f"/migrations/{planned}").text
    assert "run by a command" in page
    assert "hx-get" in page
    assert f'action="/migrations/{planned}/stop"' not in page


@pytest.mark.parametrize(
    ("state", "said"), [("stopped", "Its process ended."), ("rolling_back", "The rollback is not finished.")]
)
def test_what_ended_early_says_first_that_the_source_is_untouched(
    runtime: Runtime, client: Browser, planned: str, state: str, said: str
) -> None:
    with runtime.catalog.write() as transaction:
        row = journal.migration_of(transaction, planned)
        row.state, row.error = state, f"Its process ended. Go on: ecluse migrate run {planned}"
    page = client.get(f"/migrations/{planned}").text
    assert 0 < page.index("The source is untouched.") < page.index(said)


@pytest.mark.parametrize("place", ["file:///etc", "file://{area}/link", "file:///"])
def test_no_folder_of_the_server_is_reached_but_those_of_the_areas(
    runtime: Runtime, client: Browser, tmp_path: Path, place: str
) -> None:
    (tmp_path / "elsewhere" / "link").symlink_to("/etc")
    place = place.format(area=tmp_path / "elsewhere")
    for form in ({"source": place, "destination": "memory://x"}, {"source": "raw", "destination": place}):
        answer = client.post("/migrations", data=form)
        assert answer.status_code == 422
        assert "is no folder of an area" in answer.text or "share a part" in answer.text
        assert client.post("/api/migrations", JSON, json=form).status_code == 422


def test_a_plan_under_way_can_be_stopped(
    runtime: Runtime, admin: User, client: Browser, elsewhere: str
) -> None:
    where = client.post("/migrations", data={"source": "data", "destination": elsewhere}).headers["location"]
    assert "hx-get" in client.get(where).text
    assert "place 1 in the queue" in client.get("/migrations").text
    cancel_job(runtime, admin.id, where.rpartition("/")[2])
    page = client.get(where).text
    assert "Stopped on request" in page
    assert "/migrations/new?source=data" in page
    assert migration.list_migrations(runtime.catalog) == []


def found(copied: int, state: str = "running") -> Summary:
    row = Migration(id="m", state=state, started_at=now() - timedelta(seconds=10))
    amounts = {"verified": Amount(1, copied), "planned": Amount(1, 500)}
    total = Amount(2, copied + 500)
    return Summary(row, True, amounts, total, amounts["verified"], (), (), (), 0)


def test_a_rate_is_told_only_of_what_one_run_has_copied() -> None:
    assert copy_rate(found(1000), None, 10.0) == 100
    assert copy_rate(found(0), None, 10.0) is None
    assert copy_rate(found(1000, "rolling_back"), None, 10.0) is None
    assert copy_rate(found(1000), None, None) is None


def test_a_resumed_run_tells_no_rate(runtime: Runtime, admin: User, planned: str) -> None:
    job_id = upkeep.start_migration(runtime, admin.id, planned)
    with working(runtime):
        job = ended(runtime, admin.id, job_id)
    assert copy_rate(found(1000), job, 10.0) is None  # what is there was copied before this job began


# A model too large to verify while a page waits


def test_a_large_model_is_verified_in_the_background(
    runtime: Runtime, admin: User, client: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_pages, "AT_ONCE", 10)
    (tmp_path / "weights.bin").write_bytes(b"w" * 1000)
    row = published.publish(runtime, admin.id, "large", [tmp_path / "weights.bin"], metadata={})
    where = f"/models/large/{row.version}"
    assert client.post(f"{where}/verify").headers["location"] == where
    client.post(f"{where}/verify")
    jobs = [job for job in runtime.jobs.list(admin.id) if job.kind == "verify_model"]
    assert len(jobs) == 1  # the second finds the first
    page = client.get(where).text
    assert f'hx-get="/jobs/{jobs[0].id}/progress' in page
    assert f'action="{where}/verify"' not in page
    with working(runtime):
        assert ended(runtime, admin.id, jobs[0].id).status == "done"
        assert f'href="{where}"' in client.get(f"/jobs/{jobs[0].id}").text
        assert "verified " in client.get(where).text
        located = runtime.stores.locate(f"{row.url}/weights.bin")
        located.store.put(located.key, b"x" * 1000)
        client.post(f"{where}/verify")
        again = next(job for job in runtime.jobs.list(admin.id) if job.kind == "verify_model")
        assert ended(runtime, admin.id, again.id).status == "failed"
    assert "Damaged since" in client.get(where).text


def test_a_verification_that_waits_can_be_cancelled(runtime: Runtime, admin: User, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"w")
    row = published.publish(runtime, admin.id, "large", [tmp_path / "weights.bin"], metadata={})
    job_id = upkeep.start_model_verification(runtime, admin.id, row.name, row.version)
    cancel_job(runtime, admin.id, job_id)
    assert runtime.jobs.get(admin.id, job_id).status == "cancelled"
    assert upkeep.verification_of(runtime, admin.id, row.name, row.version) is None
