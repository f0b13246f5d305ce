"""The log of a process: a line says when, how grave, of which process, and what it is about; nothing else gets in."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import copy_context
from pathlib import Path
from typing import Any

import httpx
import pytest

from ecluse import logs
from ecluse.errors import (
    BucketNotFound,
    CatalogTooSlow,
    CatalogUnavailable,
    CatalogUnwritable,
    DiskFull,
    DiskUnusable,
    DocumentsUnavailable,
    EcluseError,
    JobsUnavailable,
    SettingsError,
    StoreUnavailable,
)
from ecluse.jobs import JobKind, JobRunner, Task
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Settings
from ecluse.vitals import Readiness, checks_of_web
from ecluse.vitals.readiness import FAULT
from ecluse.web import outages
from tests.application import running
from tests.support.wait import wait_until
from tests.web.within import Within


def written(form: logs.Form, level: logs.Level = "info") -> io.StringIO:
    stream = io.StringIO()
    logs.set_up("web", form, level, stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_has_its_time_level_process_and_what_it_is_about() -> None:
    stream = written("json")
    with logs.about(request="r1"):
        logs.note(owner="u1")
        logging.getLogger("ecluse.x").warning("%s rows", 3, extra={"fields": {"rows": 3}})
        with logs.about(job="j1"):
            logging.getLogger("ecluse.x").info("within")
        logging.getLogger("ecluse.x").debug("not written")
    logging.getLogger("ecluse.x").error("outside")
    first, within, outside = lines(stream)
    assert first["time"].endswith("Z")
    assert len(first["time"]) == len("2026-11-24T00:00:00.000Z")
    assert first["process"].startswith("web ")
    assert {name: first[name] for name in ("level", "logger", "message", "request", "owner", "rows")} == {
        "level": "warning", "logger": "ecluse.x", "message": "3 rows", "request": "r1", "owner": "u1", "rows": 3,
    }  # fmt: skip
    assert (within["request"], within["job"]) == ("r1", "j1")
    assert "request" not in outside


def test_for_people_a_line_stays_one_and_steers_nothing() -> None:
    stream = written("people")
    with logs.about(request="r1"):
        logging.getLogger("ecluse.x").warning("a\nERROR forged\x1b[31m %s", "\u202ex")
    (line,) = stream.getvalue().splitlines()
    assert "warning" in line
    assert r"a\nERROR forged\x1b[31m \u202ex" in line
    assert line.endswith("[request=r1]")


@pytest.mark.parametrize("form", logs.FORMS)
def test_no_token_and_no_password_of_an_address_is_written(form: logs.Form) -> None:
    stream = written(form)
    token = f"ecluse_{'aB3_-' * 9}"
    try:
        raise ValueError(f"with {token} at postgresql://anna:hunter2@db/x")
    except ValueError:
        logging.getLogger("ecluse.x").exception("sent %s to s3://key:secret@host/b", token)
    text = stream.getvalue()
    assert token not in text
    assert "hunter2" not in text
    assert "key:secret" not in text
    assert "postgresql://anna:…@db/x" in text
    assert "ValueError" in text


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("postgresql://:secret@h/x", "postgresql://:…@h/x"),
        ("postgresql://u:p/ss@h/x", "postgresql://u:…@h/x"),
        ("postgresql://u:p@ss/w@h:5432/x", "postgresql://u:…@h:5432/x"),
        ("'mongodb://u:p%40s@h/x' and 'a@b'", "'mongodb://u:…@h/x' and 'a@b'"),
        ("http://localhost:8000/models/@org/name", "http://localhost:8000/models/@org/name"),
        ("http://localhost:8000, anna@example.org", "http://localhost:8000, anna@example.org"),
        ("postgresql://u@h/x, at 12:30 by b@c", "postgresql://u@h/x, at 12:30 by b@c"),
        (
            "https://h/k?X-Amz-Date=1&X-Amz-Signature=ab12&x=1",
            "https://h/k?X-Amz-Date=1&X-Amz-Signature=…&x=1",
        ),
        ("https://h/k?se=2026&sig=a%2Fb%3D&sv=1", "https://h/k?se=2026&sig=…&sv=1"),
        ("https://h/k?Expires=1&Signature=a%2Bb", "https://h/k?Expires=1&Signature=…"),
        ("SignedHeaders=host, Signature=ab12, more", "SignedHeaders=host, Signature=…, more"),
        ("a design=1 and config=2", "a design=1 and config=2"),
    ],
)
def test_what_lets_someone_in_is_left_out_of_addresses_and_nothing_else(text: str, written: str) -> None:
    assert logs.without_secrets(text) == written


def test_fields_of_a_line_hold_no_secret_and_replace_none_that_every_line_has() -> None:
    stream = written("json")
    fields = {
        "level": "debug",
        "place": "s3://key:secret@host/b",
        "tried": [{"at": Path("/a"), "url": "s3://key:secret@host/b"}],
        "rows": 3,
        "more": None,
    }
    logging.getLogger("ecluse.x").warning("said", extra={"fields": fields})
    (line,) = lines(stream)
    assert (line["level"], line["rows"], line["more"]) == ("warning", 3, None)
    assert line["place"] == "s3://key:…@host/b"
    assert line["tried"] == [{"at": "/a", "url": "s3://key:…@host/b"}]


def test_threads_that_copy_the_context_say_the_same() -> None:
    stream = written("json")
    with logs.about(request="r1"):
        thread = threading.Thread(
            target=copy_context().run, args=(logging.getLogger("ecluse.x").info, "said")
        )
        thread.start()
        thread.join()
    assert lines(stream)[0]["request"] == "r1"


@pytest.mark.parametrize(("name", "value"), [("ECLUSE_LOG", "xml"), ("ECLUSE_LOG_LEVEL", "loud")])
def test_what_is_no_form_or_level_is_refused(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}={value} is none of"):
        Settings.from_environment({name: value}, home=tmp_path)
    assert Settings.from_environment({"ECLUSE_LOG": "JSON"}, home=tmp_path).log_form == "json"


def test_a_request_has_a_line_with_its_route_and_owner_and_its_id_goes_back(web: Within) -> None:
    stream = written("json")
    mine = {"authorization": f"Bearer {web.token}"}
    given = web.ask("GET", "/api/models?secret=1", headers={**mine, "x-request-id": "from-the-proxy-1"})
    made = web.ask("GET", "/api/jobs/some-id-of-a-job/cancel", headers={**mine, "x-request-id": "bad id\n"})
    web.ask("GET", "/shared/a-secret-of-a-link")
    web.ask("GET", "/api/me", headers={"x-request-id": web.token})
    web.ask("GET", "/livez")
    assert given.headers["x-request-id"] == "from-the-proxy-1"
    assert len(made.headers["x-request-id"]) == 16
    by_request = {line["request"]: line for line in lines(stream) if line["logger"] == "ecluse.access"}
    line = by_request["from-the-proxy-1"]
    assert (line["method"], line["route"], line["status"], line["owner"]) == (
        "GET",
        "/api/models",
        200,
        web.user_id,
    )
    assert line["ms"] > 0
    assert "secret" not in stream.getvalue().replace("{secret}", "")
    assert web.token not in stream.getvalue()
    assert "livez" not in stream.getvalue()


def test_a_job_says_when_it_begins_and_how_it_ends(runtime: Runtime) -> None:
    stream = written("json")
    user = runtime.accounts.add("a@example.org")

    def work(context: Any, task: Task, *, fails: bool) -> None:
        logging.getLogger("ecluse.x").info("at work")
        if fails:
            raise SettingsError("nothing to do")

    kinds = {"work": JobKind(run=work, failed=lambda *_, **__: None, queue="profile", stages={"w": "Work"})}
    runner = JobRunner(runtime.catalog, "tests", kinds, None)
    runner.start()
    try:
        ids = [
            runtime.jobs.enqueue("work", "profile", user.id, "A", {"fails": fails}) for fails in (False, True)
        ]
        while any(runtime.jobs.get(user.id, each).active for each in ids):
            pass
    finally:
        runner.close()
    for job_id, outcome, words in zip(
        ids, ("done", "failed"), ("is done", "failed: nothing to do"), strict=True
    ):
        said = [line for line in lines(stream) if line.get("job") == job_id]
        assert [line["message"].partition(", after")[0] for line in said] == [
            "A job begins",
            "at work",
            f"The job {words}",
        ]
        assert {line["owner"] for line in said} == {user.id}
        assert said[-1]["outcome"] == outcome


def test_what_fails_again_and_again_is_said_when_it_begins_and_when_it_ends(runtime: Runtime) -> None:
    stream = written("json")
    worker, away = Worker(runtime, {}), [True]

    def look() -> None:
        if away[0]:
            raise SettingsError("the store does not answer")

    for is_away in (True, True, True, False, False, True, False):
        away[0] = is_away
        worker._attempt("look", look)
    assert [line["message"] for line in lines(stream)] == [
        "A part of the upkeep (look) is left for later: the store does not answer",
        "The upkeep goes on: look",
    ] * 2


def test_an_outage_of_the_catalog_has_two_lines_in_a_worker_whatever_meets_it(runtime: Runtime) -> None:
    stream = written("json")
    worker = Worker(runtime, {})

    def fail() -> None:
        raise CatalogUnavailable("connection refused")

    def be_slow() -> None:
        raise CatalogTooSlow("a statement took 30 s")

    for _ in range(3):
        worker._attempt("jobs that ended", fail)
        worker._attempt("heartbeat", fail)
        worker._attempt("old jobs", fail, often=False)
        worker._runner.outage.met("jobs", CatalogUnavailable("the database system is starting up"))
    worker._runner.outage.over("jobs")
    worker._attempt("heartbeat", lambda: None)
    worker._attempt("jobs that ended", lambda: None)
    worker._attempt("old jobs", be_slow, often=False)  # the catalog answers, and this part asks too much
    assert [(line["level"], line["message"]) for line in lines(stream)] == [
        ("warning", "Away: catalog: connection refused"),
        ("info", "Answers again: catalog, after 0 s"),
        ("warning", "A part of the upkeep (old jobs) is left for later: a statement took 30 s"),
    ]


def test_a_part_of_which_it_is_not_known_whether_it_is_ready_has_one_trace(runtime: Runtime) -> None:
    """An orchestrator asks every 10 s."""
    stream, is_broken = written("json"), [True]

    def check(_: Runtime) -> None:
        if is_broken[0]:
            raise KeyError("an inner detail")

    readiness = Readiness({"store": check})
    for broken in (True, True, True, False):
        is_broken[0] = broken
        state = asyncio.run(readiness.look(runtime))
        assert state == {"store": FAULT if broken else "ok"}
        assert ("store" in readiness.reasons()) == broken
    first, last = lines(stream)
    assert (first["level"], "an inner detail" in first["trace"]) == ("error", True)
    assert last["message"] == "Ready again: store"


def look_often(
    web: Within, monkeypatch: pytest.MonkeyPatch, checks: Mapping[str, Callable[[Runtime], None]]
) -> None:
    monkeypatch.setattr(outages, "LOOK_SECONDS", 0.05)
    # Of an attribute of a state that was replaced, nothing would be left: it is no attribute of its own.
    monkeypatch.setitem(web.app.state._state, "outages", outages.Outages(web.runtime, checks))


def test_requests_that_meet_an_outage_share_two_lines(web: Within, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog does not answer for three requests: their answers are known by the line of their request."""
    stream = written("json")
    away = threading.Event()
    away.set()

    def check(runtime: Runtime) -> None:
        if away.is_set():
            raise CatalogUnavailable("it is stopped")

    def refuse(*_: object, **__: object) -> None:
        raise CatalogUnavailable("connection refused")

    look_often(web, monkeypatch, {"catalog": check})
    with monkeypatch.context() as patched:
        patched.setattr(web.runtime.jobs, "list", refuse)
        answers = [web.ask("GET", "/api/jobs") for _ in range(3)]
    assert {answer.status_code for answer in answers} == {503}
    away.clear()
    wait_until(lambda: "Answers again" in stream.getvalue(), "the line of its end")
    written_lines = lines(stream)
    access = {line["request"] for line in written_lines if line["logger"] == "ecluse.access"}
    assert {answer.json()["error"]["reference"] for answer in answers} == access
    (begun, ended) = (line for line in written_lines if line["logger"] == "ecluse.web.outages")
    assert begun["message"] == "Away: catalog: connection refused"
    assert (ended["part"], ended["requests"]) == ("catalog", 3)
    assert not any("trace" in line for line in written_lines)


@pytest.mark.parametrize(
    "error",
    [
        CatalogUnwritable("the disk is full"),
        DiskFull("the disk is full"),
        OSError(errno.ENOSPC, "No space left on device"),
        BucketNotFound("there is no bucket"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_requests_that_meet_a_full_disk_share_two_lines_and_no_trace(
    web: Within, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The checks find nothing, as of a quota they do not: it is away as long as a request meets it."""
    stream = written("json")
    were_met = threading.Event()

    def check(runtime: Runtime) -> None:
        were_met.wait(60)

    def refuse(*_: object, **__: object) -> None:
        raise error

    look_often(web, monkeypatch, dict.fromkeys(("disks", "catalog", "store"), check))
    with monkeypatch.context() as patched:
        patched.setattr(web.runtime.jobs, "list", refuse)
        answers = [web.ask("GET", "/api/jobs") for _ in range(2)]
    assert {answer.json()["error"]["reference"] for answer in answers} <= {
        line["request"] for line in lines(stream) if line["logger"] == "ecluse.access"
    }
    were_met.set()
    wait_until(lambda: "Answers again" in stream.getvalue(), "the line of its end")
    written_lines = lines(stream)
    assert [line["level"] for line in written_lines if line["logger"].startswith("ecluse.web")] == [
        "warning",
        "info",
    ]
    assert not any("trace" in line for line in written_lines)


def test_every_error_of_a_part_that_is_away_has_its_outage() -> None:
    away = (CatalogUnavailable, DiskUnusable, DocumentsUnavailable, JobsUnavailable, StoreUnavailable)
    codes = {kind.code for kind in descendants(EcluseError) if issubclass(kind, away)}
    assert codes == set(outages.OUTAGES)
    assert {check for each in outages.OUTAGES.values() for check in each.checks} <= set(checks_of_web())


def descendants(kind: type[EcluseError]) -> Iterator[type[EcluseError]]:
    for child in kind.__subclasses__():
        yield child
        yield from descendants(child)


def test_a_server_writes_json_where_it_is_asked_to(tmp_path: Path) -> None:
    with running(tmp_path / "home", {"ECLUSE_LOG": "json"}, role="web") as application:
        httpx.get(f"{application.address}/sign-in", timeout=60).raise_for_status()
    objects = [json.loads(line) for line in application.said if line.startswith("{")]
    assert any(line.get("route") == "/sign-in" and line["process"].startswith("web ") for line in objects)
