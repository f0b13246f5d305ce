"""A backup may begin at any moment of a prune, and the other way round: what is finished is whole."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ecluse import backups
from ecluse.backups.places import CONTENTS, new_id
from ecluse.errors import BackupError
from ecluse.runtime import Runtime
from tests.test_backups import back_up

KEY = "city/reports/2025-10-14/report.html"


@pytest.fixture
def shelf(tmp_path: Path) -> str:
    return (tmp_path / "shelf").as_uri()


def test_a_backup_that_is_made_while_a_prune_runs_keeps_what_no_other_needed(
    runtime: Runtime, shelf: str
) -> None:
    made = []
    for text in (b"<p>then", b"<p>now"):
        runtime.data.put(KEY, text)
        made.append(back_up(runtime, shelf).id)

    def begin(_fraction: float, text: str) -> None:
        if text == f"removing {made[0]}":
            runtime.data.put(KEY, b"<p>then")
            made.append(back_up(runtime, shelf).id)

    with backups.open_place(runtime, shelf) as here:
        pruned = backups.prune(here, 1, report=begin)
        last = backups.verify(here, here.open(made[2]))
        assert last.passed, last.findings
        assert (pruned.backups, pruned.objects, pruned.begun) == ((made[0],), 0, made[2])
        assert backups.prune(here, 1).begun is None
        assert backups.verify(here, here.open(made[2])).passed


def test_a_prune_ends_at_the_next_look_when_a_backup_begins(runtime: Runtime, shelf: str) -> None:
    back_up(runtime, shelf)
    begun = new_id(datetime.now(UTC))
    with backups.open_place(runtime, shelf) as here:
        for number in range(60):
            here.store.put(f"{CONTENTS}/00/{number:064x}", b"")

        def begin(_fraction: float, text: str) -> None:
            if text == "removing objects" and f"{CONTENTS}/00/{0:064x}" not in here.contents():
                here.store.put(f"backups/{begun}/begun.json", b"{}")

        pruned = backups.prune(here, 1, report=begin)
        assert (pruned.objects, pruned.begun) == (50, begun)


def test_what_a_prune_removed_that_looked_before_is_written_again_before_the_backup_is_finished(
    runtime: Runtime, shelf: str, tmp_path: Path
) -> None:
    runtime.data.put(KEY, b"<p>then")
    back_up(runtime, shelf)

    def lose(_fraction: float, text: str) -> None:
        if text == "documents":
            for file in (tmp_path / "shelf" / CONTENTS).rglob("*"):
                if file.is_file():
                    file.unlink()

    with backups.open_place(runtime, shelf) as here:
        taken = backups.create(runtime, here, contents=True, report=lose)
        result = backups.verify(here, taken)
        assert result.passed, result.findings

        def lose_all(fraction: float, text: str) -> None:
            lose(fraction, text)
            if text == "documents":
                runtime.data.put(KEY, b"<p>now")

        with pytest.raises(BackupError, match=r"has changed since.*Make another backup"):
            backups.create(runtime, here, contents=True, report=lose_all)
        assert len(here.look().finished) == 2
