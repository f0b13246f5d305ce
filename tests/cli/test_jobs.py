"""Jobs at the terminal: an administrator shows and stops anyone's, and everyone else their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ecluse.catalog import audit
from ecluse.catalog.tables import JobRow
from ecluse.cli import cli
from ecluse.errors import JobNotFound
from ecluse.runtime import Runtime
from ecluse.sentences import Cell, _
from ecluse.settings import Settings

ADMINISTRATOR = "a@example.org"
OWNER = "b@example.org"
OTHER = "c@example.org"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with an administrator, and two members: one has a job that waits, and says what stands in a cell."""
    with Runtime.open(Settings.from_environment({}, home=tmp_path)) as runtime:
        runtime.accounts.sign_up(ADMINISTRATOR, "a long password")  # the first one administers
        owner, _other = (runtime.accounts.sign_up(each, "a long password") for each in (OWNER, OTHER))
        runtime.jobs.enqueue(
            "score_table", "score_table", owner.id, "Scores", {"secret": "x"}, job_id="theirs"
        )
        with runtime.catalog.write() as transaction:
            row = transaction.query(JobRow).filter_by(id="theirs").one()
            row.message = _("It says %(value)s.", value=Cell("an illness"))
    return tmp_path


def asked(home: Path, *words: str, user: str) -> Result:
    return CliRunner().invoke(cli, ["jobs", *words, "--home", str(home), "--user", user])


def test_an_administrator_shows_the_job_of_another_with_its_owner(home: Path) -> None:
    shown = asked(home, "show", "theirs", user=ADMINISTRATOR)
    assert shown.exit_code == 0, shown.output
    assert OWNER in shown.stdout
    assert "secret" not in shown.stdout
    assert "It says …." in shown.stdout
    own = asked(home, "show", "theirs", user=OWNER)
    assert "an illness" in own.stdout
    assert OWNER not in own.stdout
    refused = asked(home, "show", "theirs", user=OTHER)
    assert isinstance(refused.exception, JobNotFound)


def test_an_administrator_stops_the_job_of_another_and_answers_for_it(home: Path) -> None:
    refused = asked(home, "cancel", "theirs", user=OTHER)
    assert isinstance(refused.exception, JobNotFound)
    stopped = asked(home, "cancel", "theirs", user=ADMINISTRATOR)
    assert stopped.exit_code == 0, stopped.output
    assert "cancelled" in stopped.stdout
    assert OWNER in stopped.stdout
    with (
        Runtime.open(Settings.from_environment({}, home=home)) as runtime,
        runtime.catalog.read() as transaction,
    ):
        noted = audit.entries(transaction, actions=["job.cancel"])
        assert [(entry.subject, email) for entry, email in noted] == [("theirs", ADMINISTRATOR)]


def test_who_has_no_jobs_hears_where_those_of_others_are(home: Path) -> None:
    assert "ecluse jobs everyone" in asked(home, "list", user=ADMINISTRATOR).stderr
    assert "ecluse jobs everyone" in asked(home, "list", "--active", user=ADMINISTRATOR).stderr
    assert asked(home, "list", user=OTHER).stderr.splitlines()[-1] == "No jobs yet."


def test_a_status_that_no_job_has_is_said(home: Path) -> None:
    command = ["jobs", "everyone", "--home", str(home), "--status"]
    assert CliRunner().invoke(cli, [*command, "failed"]).stderr == "No job is failed.\n"
    assert "theirs" in CliRunner().invoke(cli, [*command, "queued"]).stdout
