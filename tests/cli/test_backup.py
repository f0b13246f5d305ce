"""Backups at the terminal: a place that is away is said at once, and what is said is short."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from ecluse.cli import backup, cli
from ecluse.cli.backup_schedule import _every
from ecluse.errors import StoreSilent

AWAY = {"S3_ENDPOINT": "http://127.0.0.1:1", "S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s"}


def asked(home: Path, *words: str, **environ: str) -> Result:
    return CliRunner(env={"ECLUSE_HOME": str(home), **environ}).invoke(cli, ["backup", *words])


@pytest.mark.parametrize("words", [("create", "--to"), ("list", "--from")])
def test_a_place_that_is_away_is_said_at_the_first_contact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setattr(backup, "LONG_PATIENCE", timedelta(days=1))
    answer = asked(tmp_path, *words, "s3://backups/ecluse", **AWAY)
    assert isinstance(answer.exception, StoreSilent)


def test_stages_of_a_backup_are_said_and_not_each_table(tmp_path: Path) -> None:
    place = str(tmp_path / "place")
    made = asked(tmp_path / "home", "create", "--to", place)
    assert made.exit_code == 0, made.output
    assert len(made.stderr.splitlines()) < 10
    verified = asked(tmp_path / "home", "verify", "latest", "--from", place)
    assert len(verified.stderr.splitlines()) < 5
    restored = asked(tmp_path / "other", "restore", "latest", "--from", place)
    assert restored.exit_code == 0, restored.output
    assert len(restored.stderr.splitlines()) < 10


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (86400, "Every day"),
        (7 * 86400, "Every 7 days"),
        (36 * 3600, "Every 36 hours"),
        (5400, "Every 90 minutes"),
    ],
)
def test_the_time_between_two_backups_is_said_in_words(seconds: int, words: str) -> None:
    assert _every(seconds) == words
