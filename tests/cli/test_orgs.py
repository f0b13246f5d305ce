"""Organisations at the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.application import run_ecluse


def test_an_organisation_at_the_terminal(tmp_path: Path) -> None:
    def run(*arguments: str) -> Any:
        done = run_ecluse(tmp_path, {}, *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    for email in ("anna@example.org", "ben@example.org"):
        run("users", "add", email)
    anna, ben = ("--user", "anna@example.org"), ("--user", "ben@example.org")
    assert run("orgs", "add", "@acme", "--name", "Acme", *anna)["handle"] == "acme"
    link = run("orgs", "invite", "acme", "--role", "viewer", *anna)["link"]
    assert run("orgs", "join", link, *ben)["role"] == "viewer"
    refused = run_ecluse(tmp_path, {}, "orgs", "join", link, *ben)
    assert refused.returncode == 1
    assert [each["role"] for each in run("orgs", "show", "acme", *ben)] == ["owner", "viewer"]
    assert run("orgs", "role", "acme", "ben@example.org", "member", *anna)["members"] == 2
    refused = run_ecluse(tmp_path, {}, "orgs", "leave", "acme", *anna)
    assert "ecluse orgs hand-over acme" in refused.stderr
    assert run("orgs", "add-service", "acme", "nightly", *anna)["role"] == "viewer"
    assert run("orgs", "service-role", "acme", "nightly", "member", *anna)["role"] == "member"
    made = run("orgs", "service-token", "acme", "nightly", "--scope", "publish", "--scope", "read", *anna)
    assert (made["scopes"], made["token"][:7]) == (["read", "publish"], "ecluse_")
    assert [each["id"] for each in run("orgs", "service-tokens", "acme", "nightly", *anna)] == [made["id"]]
    assert run("orgs", "service-tokens", "acme", "nightly", "--end", made["id"], *anna) == []
    assert [each["name"] for each in run("orgs", "services", "acme", *ben)] == ["nightly"]
    refused = run_ecluse(tmp_path, {}, "orgs", "remove-service", "acme", "nightly", *ben)
    assert (refused.returncode, "Only owners" in refused.stderr) == (1, True)
    assert run("orgs", "remove-service", "acme", "nightly", *anna)["removed"] == "nightly"
    assert run("orgs", "hand-over", "acme", "Ben@example.org", *anna)["role"] == "member"
    assert run("orgs", "leave", "acme", *anna) == {"left": "acme"}
    assert run("orgs", "list", *anna) == []
    assert run("orgs", "end", "acme", "--yes", *ben)["ended"] == "acme"
