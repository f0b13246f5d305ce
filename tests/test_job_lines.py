"""What there is to say of a job is kept with it: once, for who may see the job, in words of ours."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select

from ecluse.catalog import Catalog, job_lines, jobs
from ecluse.catalog.jobs_of_everyone import failures, jobs_of_everyone
from ecluse.catalog.tables import JobLine
from ecluse.errors import CatalogUnavailable, InvalidInput, JobNotFound, JobWaits, StoreUnavailable
from ecluse.jobs import Job, JobKind, JobRunner, Jobs, JobStatus, Task, title_of
from ecluse.jobs import task as tasks
from ecluse.runtime import Runtime
from ecluse.sentences import N_, Cell, Sentence, _, listing, num
from ecluse.web.pages.jobs import Ended, grouped
from tests.accounts import account
from tests.application import KEPT
from tests.support.wait import wait_until

SECRET = "hush-hush"


def said(catalog: Catalog, job_id: str) -> list[tuple[str, str]]:
    with catalog.read() as transaction:
        return [(line.level, str(line.said)) for line in job_lines.of_job(transaction, job_id)]


def run(catalog: Catalog, kind: JobKind, job_id: str = "j" * 32) -> str:
    """Queue a job of this kind and let a worker do it."""
    account(catalog, "anna")
    Jobs(catalog).enqueue("work", "q", "anna", "A title", {}, job_id=job_id)
    runner = JobRunner(catalog, "w1", {"work": kind}, None)
    runner.start()
    try:
        wait_until(lambda: not Jobs(catalog).goes_on(job_id), "the end of a job")
    finally:
        runner.close()
    return job_id


def test_a_job_says_when_it_begins_its_stages_and_how_it_ended(catalog: Catalog) -> None:
    def work(context: object, task: Task) -> None:
        task.report("read", 0.1, f"{SECRET} of a cell")
        task.report("read", 0.2)
        task.report("odd %(stage)s", 0.3)
        task.report("learn", 0.5)

    kind = JobKind(run=work, queue="q", stages={"read": N_("Read"), "learn": N_("Learn")})
    job_id = run(catalog, kind)
    assert said(catalog, job_id) == [
        ("info", "A worker begins."),
        ("info", "Stage: Read"),
        ("info", "Stage: odd %(stage)s"),
        ("info", "Stage: Learn"),
        ("info", "It is done."),
    ]
    with catalog.read() as transaction:
        lines = job_lines.of_job(transaction, job_id)
    assert [line.number for line in lines] == sorted({line.number for line in lines})
    assert isinstance(lines[1].said, Sentence), "a page says it in the reader's language"
    assert isinstance(lines[1].said.values["stage"], Sentence)
    assert [line.at for line in lines] == sorted(line.at for line in lines)


def test_a_fault_of_ours_shows_no_trace_and_a_failure_its_reason(catalog: Catalog) -> None:
    def fault(context: object, task: Task) -> None:
        raise ValueError(f"{SECRET} in a trace")

    def failure(context: object, task: Task) -> None:
        raise JobNotFound(_("What was asked for is gone."))

    text = said(catalog, run(catalog, JobKind(run=fault, queue="q")))
    assert text[-1][0] == "warning"
    assert "fault of ours" in text[-1][1]
    assert SECRET not in str(text)
    text = said(catalog, run(catalog, JobKind(run=failure, queue="q"), "k" * 32))
    assert text[-1] == ("warning", "It failed: What was asked for is gone.")


def test_cells_of_a_table_are_for_its_owner_alone(catalog: Catalog, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def failure(context: object, task: Task) -> None:
        held = [_('"%(value)s" (%(share)s)', value=Cell(SECRET), share=num(0.5, ".0%"))]
        raise InvalidInput(_("The column %(column)s holds %(values)s.", column="city", values=listing(held)))

    job_id = run(catalog, JobKind(run=failure, queue="q"))
    shown = 'The column city holds "…" (50%).'
    assert said(catalog, job_id)[-1] == ("warning", f"It failed: {shown}")
    assert shown in caplog.text
    assert SECRET not in caplog.text
    with catalog.read() as transaction:
        ((row, _email),) = jobs_of_everyone(transaction, limit=10)
        (reason,) = failures(transaction)
    assert (row.error, reason.example) == (shown, shown)
    error = Jobs(catalog).get("anna", job_id).error
    assert error == f'The column city holds "{SECRET}" (50%).', "its owner reads all of it"


def test_what_is_in_the_way_is_said_once(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "FIRST_PAUSE", 0.01)
    calls: list[None] = []

    def away() -> None:
        calls.append(None)
        if len(calls) < 3:
            raise StoreUnavailable(f"http://{SECRET} does not answer")

    def work(context: object, task: Task) -> None:
        task.step("read", away)

    text = said(catalog, run(catalog, JobKind(run=work, queue="q")))
    assert text[1:-1] == [("warning", "A store or a database does not answer; it is tried again.")] * 2
    assert SECRET not in str(text)


def test_a_job_that_waits_for_others_says_so_no_more_than_once(catalog: Catalog) -> None:
    waits: list[None] = []

    def work(context: object, task: Task) -> None:
        waits.append(None)
        if len(waits) < 4:
            raise JobWaits("waits for others", 0)

    text = said(catalog, run(catalog, JobKind(run=work, queue="q")))
    assert text == [("info", "A worker begins."), ("info", "It is done.")]


def test_put_off_for_one_reason_is_one_line(catalog: Catalog) -> None:
    account(catalog, "anna")
    job_id = Jobs(catalog).enqueue("work", "q", "anna", "A title", {})
    for reason in ("full", "full", "full", "away"):
        with catalog.write() as transaction:
            (claim,) = jobs.claim(transaction, "w1", {"work": 1}, "q", 1)
            assert jobs.put_off(transaction, job_id, claim.fence, 0, reason)
    assert [text for level, text in said(catalog, job_id) if level == "warning"] == ["full", "away"]


def test_take_over_and_giving_up_are_said(catalog: Catalog) -> None:
    account(catalog, "anna")
    job_id = Jobs(catalog).enqueue("work", "q", "anna", "A title", {})
    for _attempt in range(jobs.MAX_LOSSES):
        with catalog.write() as transaction:
            assert jobs.claim_one(transaction, "w1", {"work": 1}, job_id)
        with catalog.write() as transaction:
            jobs.take_from(transaction, "w1")
    text = said(catalog, job_id)
    assert text[:3] == [
        ("info", "A worker begins."),
        ("warning", "The worker process ended while it ran this job."),
        ("info", "A worker goes on."),
    ]
    assert text[-1] == ("warning", str(jobs.given_up_words()))
    assert len(text) == 2 * jobs.MAX_LOSSES + 1


def test_handing_back_and_cancelling_are_said(catalog: Catalog) -> None:
    account(catalog, "anna")
    job_id = Jobs(catalog).enqueue("work", "q", "anna", "A title", {})
    with catalog.write() as transaction:
        jobs.claim(transaction, "w1", {"work": 1}, "q", 1)
    with catalog.write() as transaction:
        assert jobs.hand_back(transaction, "w1") == 1
    Jobs(catalog).cancel("anna", job_id)
    assert [text for _level, text in said(catalog, job_id)] == [
        "A worker begins.",
        "The worker stops; another one goes on.",
        "It was cancelled.",
    ]


def test_the_last_thousand_stay_and_go_with_the_job(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_lines, "MOST", 20)
    account(catalog, "anna")
    job_id, other = (Jobs(catalog).enqueue("work", "q", "anna", "A title", {}) for _n in range(2))
    for number in range(50):
        with catalog.write() as transaction:
            job_lines.note(transaction, job_id, f"line {number} {'x' * 5000}")
            job_lines.note(transaction, other, "of another")
    text = said(catalog, job_id)
    assert len(text) == 20
    assert (text[0][1][:7], text[-1][1][:7]) == ("line 30", "line 49")
    assert all(len(line) <= job_lines.LONGEST + 1 for _level, line in text)
    with catalog.write() as transaction:
        jobs.forget(transaction, [job_id])
    with catalog.read() as transaction:
        left = transaction.scalar(select(func.count()).select_from(JobLine).where(JobLine.job_id == job_id))
        assert (left, len(job_lines.of_job(transaction, other))) == (0, 20)


def test_a_line_that_cannot_be_kept_stops_no_job(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise CatalogUnavailable("away")

    monkeypatch.setattr(job_lines, "note", refuse)

    def work(context: object, task: Task) -> None:
        task.note("in the way")

    text = said(catalog, run(catalog, JobKind(run=work, queue="q")))
    assert text[-1] == ("info", "It is done.")


def test_lines_are_of_who_may_see_the_job_and_follow_each_other(runtime: Runtime) -> None:
    admin = runtime.accounts.sign_up("admin@example.org", "a long password")
    anna = runtime.accounts.sign_up("anna@example.org", "a long password")
    job_id = runtime.jobs.enqueue("none", "q", anna.id, "A title", {})
    with runtime.catalog.write() as transaction:
        job_lines.note(transaction, job_id, "first")
    log = runtime.jobs.lines(anna.id, job_id)
    assert ([line.said for line in log.lines], log.is_all) == (["first"], False)
    with pytest.raises(JobNotFound):
        runtime.jobs.lines(admin.id, job_id)
    command = [sys.executable, "-m", "ecluse", "jobs", "logs", job_id, "--home", str(runtime.settings.home)]
    environment = {name: os.environ[name] for name in KEPT if name in os.environ}

    def asked(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *words], env=environment, capture_output=True, text=True, check=False, timeout=60
        )

    shown = asked("--user", anna.email)
    assert shown.stdout.rstrip().endswith("UTC  warning  first"), shown.stderr
    refused = asked("--user", runtime.accounts.sign_up("b@example.org", "a long password").email)
    assert (refused.returncode, refused.stdout) == (1, "")
    ending = threading.Timer(3.0, lambda: runtime.jobs.cancel(anna.id, job_id))
    ending.start()
    followed = asked("--follow", "--json", "--user", admin.email)
    ending.join()
    assert [json.loads(line)["said"] for line in followed.stdout.splitlines()] == [
        "first",
        "It was cancelled.",
    ]
    last = log.lines[-1].number
    after = runtime.jobs.lines(anna.id, job_id, after=last)
    assert ([str(line.said) for line in after.lines], after.is_all) == (["It was cancelled."], True)


def test_days_that_were_computed_in_a_row_are_one_line_of_the_jobs() -> None:
    def ended(kind: str, status: JobStatus) -> Ended:
        made = datetime.now(UTC)
        job = Job(kind, kind, "", status, "2025-10-14", {}, None, 1.0, "", None, None, made, made, made)
        return Ended(job, 2.0, None)

    days = [ended("city_day", "done")] * 3
    lines = grouped([*days, ended("city_day", "failed"), ended("train", "done"), ended("train", "done")])
    assert [len(line.together) for line in lines] == [3, 0, 0, 0]
    assert (title_of("leaves", "leaves"), title_of("a", "b.csv")) == ("leaves", "a (b.csv)")
