"""A place may have the backups of several homes: each is told from the others, and keeps its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ecluse import backups, upgrading
from ecluse.backups import Backup
from ecluse.cli import cli
from ecluse.errors import BackupError
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.test_backups import back_up, bring_back


@pytest.fixture
def shelf(tmp_path: Path) -> str:
    return (tmp_path / "shelf").as_uri()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Runtime]:
    with Runtime.open(Settings.from_environment({}, home=tmp_path / "other")) as opened:
        yield opened


def ids(runtime: Runtime, shelf: str) -> set[str]:
    with backups.open_place(runtime, shelf) as here:
        return {each.id for each in here.look().finished}


def run(runtime: Runtime, *arguments: str) -> Any:
    arguments = ("backup", *arguments, "--home", str(runtime.settings.home), "--json")
    done = CliRunner(env={"ECLUSE_URL": ""}).invoke(cli, arguments)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def latest(runtime: Runtime, shelf: str) -> Backup:
    with backups.open_place(runtime, shelf) as here:
        return backups.choose(here, "latest", backups.owner_of(runtime))


def test_prune_by_hand_removes_those_of_this_home_alone_unless_all_are_meant(
    runtime: Runtime, other: Runtime, shelf: str
) -> None:
    theirs = [back_up(other, shelf, contents=False).id for _ in range(2)]
    ours = [back_up(runtime, shelf, contents=False).id for _ in range(2)]
    done = run(runtime, "prune", "--keep", "1", "--from", shelf)
    assert (done["backups"], done["others"]) == ([ours[0]], 2)
    listed = run(runtime, "list", "--from", shelf)
    assert {each["id"]: each["own"] for each in listed} == {ours[1]: True} | dict.fromkeys(theirs, False)
    done = run(runtime, "prune", "--keep", "1", "--all-homes", "--from", shelf)
    assert (set(done["backups"]), done["others"]) == (set(theirs), 0)
    assert ids(runtime, shelf) == {ours[1]}


def test_the_latest_is_of_this_home_or_of_the_one_that_the_place_has_backups_of(
    runtime: Runtime, other: Runtime, shelf: str, tmp_path: Path
) -> None:
    ours = back_up(runtime, shelf, contents=False).id
    assert latest(other, shelf).id == ours, "there is no other home that could be meant"
    assert upgrading.check(other.settings, backups=shelf).backup is None
    theirs = back_up(other, shelf, contents=False).id
    assert (latest(runtime, shelf).id, latest(other, shelf).id) == (ours, theirs)
    seen = upgrading.check(runtime.settings, backups=shelf).backup
    assert seen is not None
    assert seen.id == ours
    third = Settings.from_environment({}, home=tmp_path / "third")
    with Runtime.open(third, moves=True) as empty, pytest.raises(BackupError, match="2 homes") as asked:
        latest(empty, shelf)
    assert all(name in str(asked.value) for name in (ours, theirs))
    bring_back(third, shelf, theirs)


def test_backups_of_before_an_address_changed_are_still_this_homes(
    runtime: Runtime, other: Runtime, shelf: str, tmp_path: Path
) -> None:
    theirs = back_up(other, shelf, contents=False).id
    first = back_up(runtime, shelf, contents=False).id
    variables = {"ECLUSE_STORE_URL": (tmp_path / "another store").as_uri()}
    moved = Settings.from_environment(variables, home=runtime.settings.home)
    runtime.close()
    with Runtime.open(moved) as home, backups.open_place(home, shelf) as here:
        second = back_up(home, shelf, contents=False).id
        pruned = backups.prune(here, 1, owner=backups.owner_of(home))
        assert (pruned.backups, pruned.others) == ((first,), 1)
        assert ids(home, shelf) == {second, theirs}
