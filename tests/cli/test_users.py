"""Accounts at the terminal: made before anyone reaches a page, changed and removed; no password is an argument."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

from tests.application import KEPT, run_ecluse, running
from tests.forking import run_forked

PASSWORD = "a password of the terminal"


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_ecluse(home, {}, *arguments)


def typed(home: Path, *arguments: str, line: str) -> subprocess.CompletedProcess[str]:
    """A command that reads its stdin."""
    environ = {name: os.environ[name] for name in KEPT if name in os.environ} | {"ECLUSE_HOME": str(home)}
    return run_forked(list(arguments), environ, 300, typed=line)


def test_an_administrator_is_made_with_a_password_from_stdin(tmp_path: Path) -> None:
    add = ("users", "add", "a@example.org", "--role", "administrator", "--password", "--json")
    assert "first line" in typed(tmp_path, *add, line="").stderr
    assert "guessers" in typed(tmp_path, *add, line="password\n").stderr
    made = typed(tmp_path, *add, line=f"{PASSWORD}\n")
    assert json.loads(made.stdout)["role"] == "admin", made.stderr
    assert PASSWORD not in made.stdout + made.stderr
    with running(tmp_path) as app, httpx.Client(base_url=app.address) as client:
        form = {"email": "a@example.org", "password": PASSWORD}
        assert client.post("/sign-in", data=form).headers["location"] == "/"
        assert client.get("/account").status_code == 200
        disabled = run(tmp_path, "users", "disable", "a@example.org")
        assert disabled.returncode == 1
        assert run(tmp_path, "users", "password", "nobody@example.org").returncode == 1


def test_an_invitation_is_made_listed_and_taken_back(tmp_path: Path) -> None:
    def users(*arguments: str, **environ: str) -> Any:
        done = run_ecluse(tmp_path, environ, "users", *arguments, "--json")
        return json.loads(done.stdout) if done.returncode == 0 else done.stderr

    users("add", "a@example.org")
    assert "ECLUSE_SIGN_UP=invitation" in users("invite")
    made = users(
        "invite", "--days", "3", ECLUSE_SIGN_UP="invitation", ECLUSE_PUBLIC_URL="https://e.example.org"
    )
    assert made["link"].startswith("https://e.example.org/sign-up/")
    assert [(row["id"], row["by"]) for row in users("invitations")] == [(made["id"], "a@example.org")]
    assert users("invitations", "--end", made["id"]) == []


def test_accounts_are_changed_and_removed_and_the_log_is_read(tmp_path: Path) -> None:
    def users(*arguments: str) -> object:
        done = run(tmp_path, "users", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    first = run(tmp_path, "users", "add", "a@example.org", "--role", "member")
    assert (first.returncode, "The first account administers" in first.stderr) == (1, True)
    users("add", "a@example.org")
    users("add", "b@example.org", "--role", "member")
    assert users("role", "b@example.org", "administrator")["role"] == "admin"  # type: ignore[index]
    assert users("disable", "a@example.org")["disabled_at"]  # type: ignore[index]
    assert users("enable", "a@example.org")["disabled_at"] is None  # type: ignore[index]
    users("remove", "a@example.org", "--yes")
    assert [row["email"] for row in users("list")] == ["b@example.org"]  # type: ignore[attr-defined]
    log = users("log")
    assert [row["action"] for row in log][:3] == ["user.remove", "user.disable", "user.enable"]
    assert run(tmp_path, "users", "add", "c@example.org", "--admin", "--role", "member").returncode == 1


def test_the_terminal_alone_says_the_secret_of_the_first_account(tmp_path: Path) -> None:
    environ = {name: os.environ[name] for name in KEPT if name in os.environ}
    command = [
        sys.executable,
        "-m",
        "ecluse",
        "web",
        "--host",
        "0.0.0.0",  # noqa: S104 (others are to reach it)
        "--port",
        "0",
        "--home",
        str(tmp_path),
        *("--accept-risk", "no-https", "--accept-risk", "no-administrator"),
    ]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = ""
            while "secret" not in said:
                line = process.stderr.readline()
                assert line, said
                said += line
            address, secret = re.search(r"at (http\S+)/sign-up .*: (\S+)\n", said).groups()  # type: ignore[union-attr]
            with httpx.Client(base_url=address) as client:
                form = {"email": "stranger@example.org", "password": PASSWORD}
                assert client.post("/sign-up", data=form).status_code == 422
                form |= {"email": "owner@example.org", "secret": secret}
                assert client.post("/sign-up", data=form).status_code == 303
                assert "administrator" in client.get("/").text
                assert httpx.get(f"{address}/sign-up", timeout=60).status_code == 403
        finally:
            process.terminate()
    (row,) = json.loads(run(tmp_path, "users", "list", "--json").stdout)
    assert (row["email"], row["role"]) == ("owner@example.org", "admin")


def test_tokens_for_less_are_made_listed_and_ended(tmp_path: Path) -> None:
    def rows(*arguments: str) -> list[dict[str, object]]:
        done = run(tmp_path, "users", "tokens", "admin@localhost", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        listed: list[dict[str, object]] = json.loads(done.stdout)
        return listed

    made = run(
        tmp_path, "token", "--scope", "predict", "--scope", "read", "--model", "churn", "--days", "never"
    )
    assert "churn" in made.stderr
    assert "no name" in run(tmp_path, "token", "--model", "no name").stderr
    assert run(tmp_path, "token", "--name", "all").returncode == 0
    everything, less = rows()
    assert (less["scopes"], less["model"], less["expires_at"]) == ("read predict", "churn", None)
    assert (everything["scopes"], everything["model"], everything["last_used_at"]) == ("manage", None, None)
    assert made.stdout.strip() not in json.dumps(rows())
    assert [row["name"] for row in rows("--end", str(everything["id"]))] == ["terminal"]
    assert rows("--end-all") == []
    assert "No token" in run(tmp_path, "users", "tokens", "admin@localhost", "--end", str(less["id"])).stderr


def test_sessions_are_ended_at_the_terminal(tmp_path: Path) -> None:
    assert (
        typed(tmp_path, "users", "add", "a@example.org", "--password", line=f"{PASSWORD}\n").returncode == 0
    )
    run(tmp_path, "token")
    link = json.loads(run(tmp_path, "users", "link", "a@example.org", "--json").stdout)["sign_in_link"]
    with running(tmp_path) as app, httpx.Client(base_url=app.address) as client:
        assert (
            client.post("/sign-in", data={"email": "a@example.org", "password": PASSWORD}).status_code == 303
        )
        ended = json.loads(run(tmp_path, "users", "end-sessions", "a@example.org", "--json").stdout)
        assert (ended["ended_sessions"], ended["ended_tokens"]) == (1, 0)
        assert client.get("/account").status_code == 401
        assert client.post(f"/sign-in/link/{link.rpartition('/')[2]}").status_code == 422, (
            "unused links end, too"
        )
        assert (
            client.post("/sign-in", data={"email": "a@example.org", "password": PASSWORD}).status_code == 303
        )
    ended = json.loads(run(tmp_path, "users", "end-sessions", "a@example.org", "--tokens", "--json").stdout)
    assert (ended["ended_sessions"], ended["ended_tokens"]) == (1, 1)
    assert "No user" in run(tmp_path, "users", "end-sessions", "nobody@example.org").stderr
