"""Plans at the terminal: listed, changed, given and taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.application import run_ecluse


def test_plans_are_listed_changed_given_and_taken(tmp_path: Path) -> None:
    def ecluse(*arguments: str) -> Any:
        done = run_ecluse(tmp_path, {}, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    ecluse("users", "add", "a@example.org")
    assert ecluse("users", "plan", "a@example.org")["plan"] is None
    changed = ecluse("plans", "set", "trial", "--models", "5", "--upload", "200MB", "--images", "none")
    assert (changed["models"], changed["upload_bytes"], changed["images"], changed["days"]) == (
        5,
        200_000_000,
        None,
        14,
    )
    given = ecluse("users", "plan", "a@example.org", "trial", "--until", "2027-03-31")
    assert (given["plan"], given["models_most"], given["has_ended"]) == ("trial", 5, False)
    assert given["ends_at"].startswith("2027-03-31T23:59:59")
    assert [(row["name"], row["people"]) for row in ecluse("plans", "list")] == [
        ("trial", 1),
        ("basic", 0),
        ("premium", 0),
        ("enterprise", 0),
    ]
    assert ecluse("users", "plan", "a@example.org", "none")["plan"] is None
    wrong = run_ecluse(tmp_path, {}, "users", "plan", "a@example.org", "gold")
    assert (wrong.returncode, "trial, basic" in wrong.stderr) == (1, True)
    assert run_ecluse(tmp_path, {}, "plans", "set", "trial", "--upload", "much").returncode == 2
