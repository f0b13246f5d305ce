"""What is unsafe is not started where other machines reach it, unless whoever starts it answers for that."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.application import KEPT, run_ecluse
from tests.forking import run_forked

pytestmark = pytest.mark.nightly

ANY = "0.0.0.0"  # noqa: S104 (others are to reach it)
HTTPS = {"ECLUSE_PUBLIC_URL": "https://ecluse.example.org"}


def started(home: Path, *arguments: str, role: str = "web", **variables: str) -> tuple[bool, str]:
    """Whether it listens, and what it said until then or until it ended."""
    environ = {name: os.environ[name] for name in KEPT if name in os.environ} | variables
    command = [sys.executable, "-m", "ecluse", role, "--home", str(home), "--port", "0", *arguments]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        try:
            while line := process.stderr.readline():
                said += line
                if "Écluse is at" in line:
                    return True, said
        finally:
            process.terminate()
    assert process.returncode == 1, said
    return False, said


def add_administrator(home: Path) -> None:
    environ = {name: os.environ[name] for name in KEPT if name in os.environ} | {"ECLUSE_HOME": str(home)}
    add = ["users", "add", "a@example.org", "--role", "administrator", "--password"]
    assert run_forked(add, environ, 300, typed="a long password of theirs\n").returncode == 0


@pytest.mark.parametrize("role", ["web", "up"])
def test_each_risk_is_named_with_its_way_out_and_nothing_is_started(tmp_path: Path, role: str) -> None:
    listens, said = started(tmp_path, "--host", ANY, role=role, ECLUSE_OPEN_SIGN_UP="true")
    assert not listens
    for words in (
        "no-https: passwords", "ECLUSE_PUBLIC_URL=https://…", "open-sign-up: anyone", "no-administrator: nobody",
        "ecluse users add EMAIL --role administrator", "listen on 127.0.0.1",
        "ECLUSE_ACCEPT_RISKS=no-https,open-sign-up,no-administrator", "--accept-risk no-https",
    ):  # fmt: skip
        assert words in said
    assert "Traceback" not in said


def test_each_way_out_leads_on(tmp_path: Path) -> None:
    listens, said = started(tmp_path, "--host", ANY)
    assert (listens, "no-https" in said, "no-administrator" in said, "open-sign-up" in said) == (
        False, True, True, False
    )  # fmt: skip
    listens, said = started(tmp_path, "--host", ANY, **HTTPS)
    assert (listens, "no-https" in said, "no-administrator" in said) == (False, False, True)
    add_administrator(tmp_path)
    assert started(tmp_path, "--host", ANY, **HTTPS)[0]
    listens, said = started(tmp_path, "--host", ANY, ECLUSE_OPEN_SIGN_UP="true", **HTTPS)
    assert (listens, "open-sign-up" in said) == (False, True)
    assert started(
        tmp_path, "--host", ANY, ECLUSE_OPEN_SIGN_UP="true", ECLUSE_ACCEPT_RISKS="open-sign-up", **HTTPS
    )[0]


def test_who_answers_for_it_starts_it_and_is_warned(tmp_path: Path) -> None:
    accepted = ("--accept-risk", "no-https", "--accept-risk", "no-administrator")
    listens, said = started(tmp_path, "--host", ANY, *accepted)
    assert listens
    assert "Warning: other machines reach" in said
    assert started(tmp_path, "--host", ANY, ECLUSE_ACCEPT_RISKS="no-https, no-administrator")[0]
    assert not started(tmp_path, "--host", ANY, ECLUSE_ACCEPT_RISKS="no-https")[0]


def test_what_this_machine_alone_reaches_needs_nothing(tmp_path: Path) -> None:
    assert started(tmp_path, ECLUSE_OPEN_SIGN_UP="true")[0]


def test_a_risk_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    wrong = run_ecluse(tmp_path, {"ECLUSE_ACCEPT_RISKS": "everything"}, "doctor")
    assert (wrong.returncode, "no-https, open-sign-up, no-administrator" in wrong.stderr) == (1, True)
