"""`ecluse migrate` plans, runs, verifies and rolls back, for people and for programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ecluse.catalog import journal
from ecluse.migration.hold import Hold
from ecluse.processes import Process
from ecluse.runtime import Runtime
from tests.application import KEPT, run_ecluse
from tests.migrating import Sizes, all_pointers, check_rows, contents, fill
from tests.support.wait import wait_until


@pytest.fixture
def filled(runtime: Runtime) -> Path:
    runtime.accounts.local_administrator()
    fill(runtime)
    return runtime.settings.home


@pytest.fixture
def elsewhere(tmp_path: Path) -> str:
    return f"file://{tmp_path}/elsewhere"


def asked(home: Path, *arguments: str, code: int = 0) -> Any:
    done = run_ecluse(home, {}, "migrate", *arguments, "--json")
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def test_a_migration_is_planned_run_verified_and_rolled_back(
    runtime: Runtime, filled: Path, elsewhere: str
) -> None:
    plan = asked(filled, "plan", "data", elsewhere, "--catalog", "--estimate")
    count, rows = plan["everything"]["objects"], plan["rows"]
    assert (plan["to_copy"]["objects"], plan["estimate"]["objects"]) == (count, count)
    assert len(plan["monthly_costs"]) > 5
    outcome = asked(filled, "run", plan["id"])
    assert (outcome["copied"]["objects"], outcome["rows_switched"]) == (count, rows)
    assert asked(filled, "verify", plan["id"])["objects"] == count
    [listed] = asked(filled, "list")
    assert (listed["id"], listed["state"], listed["done"], listed["rows"]) == (
        plan["id"],
        "done",
        count,
        rows,
    )
    check_rows(runtime)
    back = asked(filled, "rollback", plan["id"], "--yes")
    assert (back["rows_back"], back["removed"]) == (rows, count)
    assert {pointer.url.startswith(elsewhere) for pointer in all_pointers(runtime)} == {False}
    check_rows(runtime)


def test_people_read_what_is_done_and_how_to_go_on(filled: Path, elsewhere: str) -> None:
    planned = run_ecluse(filled, {}, "migrate", "plan", "data", elsewhere, "--estimate")
    assert planned.returncode == 0, planned.stderr
    assert "ecluse migrate run " in planned.stdout
    assert "user_models" in planned.stdout
    assert "--catalog" in planned.stdout
    done = run_ecluse(filled, {}, "migrate", "run", "data", elsewhere)
    assert done.returncode == 0, done.stderr
    assert "ecluse migrate rollback " in done.stdout
    [listed] = [
        line for line in run_ecluse(filled, {}, "migrate", "list").stdout.splitlines()[1:] if " done " in line
    ]
    assert elsewhere[-20:] in listed


def test_a_dry_run_records_nothing(filled: Path, elsewhere: str) -> None:
    assert asked(filled, "plan", "data", elsewhere, "--dry-run")["id"] is None
    assert asked(filled, "list") == []


def test_verify_exits_with_one_and_names_what_it_found(
    runtime: Runtime, filled: Path, elsewhere: str
) -> None:
    outcome = asked(filled, "run", "data", elsewhere)
    runtime.stores.make_folder(elsewhere)
    there = runtime.stores.open(elsewhere)
    key = min(contents(there))
    there.delete(key)
    there.put("stray", b"?")
    found = asked(filled, "verify", outcome["id"], code=1)
    assert (found["missing"], found["different"], found["extra"]) == ([key], [], ["stray"])
    done = run_ecluse(filled, {}, "migrate", "verify", outcome["id"])
    assert (done.returncode, key in done.stdout) == (1, True)
    asked(filled, "run", outcome["id"])
    there.delete("stray")
    asked(filled, "verify", outcome["id"])


def test_what_is_not_done_yet_is_unfinished_and_not_missing(filled: Path, elsewhere: str) -> None:
    plan = asked(filled, "plan", "data", elsewhere)
    count = plan["everything"]["objects"]
    found = asked(filled, "verify", plan["id"], code=1)
    assert (found["objects"], found["unfinished"], found["missing"]) == (0, count, [])
    told = run_ecluse(filled, {}, "migrate", "verify", plan["id"]).stdout
    assert f"ecluse migrate run {plan['id']}" in told


def test_nothing_is_verified_while_a_run_is_at_work(runtime: Runtime, filled: Path, elsewhere: str) -> None:
    plan = asked(filled, "plan", "data", elsewhere)
    hold = Hold(runtime.catalog, plan["id"]).take("running")
    refused = run_ecluse(filled, {}, "migrate", "verify", plan["id"])
    assert refused.returncode == 1
    assert [row["state"] for row in asked(filled, "list")] == ["running"]
    hold.release("stopped", None)


def test_a_run_whose_process_is_gone_is_stopped_and_the_way_on_is_told(
    runtime: Runtime, filled: Path, elsewhere: str
) -> None:
    plan = asked(filled, "plan", "data", elsewhere)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with runtime.catalog.write() as transaction:
        label = replace(Process.current(), pid=gone.pid, started=1).label
        journal.take(transaction, plan["id"], f"process {gone.pid} on a machine ({label} x)", "running")
    told = run_ecluse(filled, {}, "migrate", "list")
    assert f"ecluse migrate run {plan['id']}" in told.stderr
    assert [row["state"] for row in asked(filled, "list")] == ["stopped"]


def test_a_rollback_asks_first(filled: Path, elsewhere: str) -> None:
    outcome = asked(filled, "run", "data", elsewhere, "--catalog")
    asked_for = run_ecluse(filled, {}, "migrate", "rollback", outcome["id"])
    assert asked_for.returncode != 0
    assert "is deleted there" in asked_for.stderr
    assert [row["state"] for row in asked(filled, "list")] == ["done"]


def test_only_administrators_switch_rows(runtime: Runtime, filled: Path, elsewhere: str) -> None:
    member = runtime.accounts.add("member@example.org").email
    done = run_ecluse(filled, {}, "migrate", "plan", "data", elsewhere, "--catalog", "--user", member)
    assert (done.returncode, "does not administer" in done.stderr) == (1, True)
    plan = asked(filled, "plan", "data", elsewhere, "--catalog")
    for verb in ("run", "rollback"):
        more = ("--yes",) if verb == "rollback" else ()
        done = run_ecluse(filled, {}, "migrate", verb, plan["id"], "--user", member, *more)
        assert (done.returncode, "does not administer" in done.stderr) == (1, True)


@pytest.mark.parametrize("arguments", [("run",), ("run", "a", "b", "c"), ("run", "abc", "--catalog")])
def test_a_run_takes_an_id_or_two_places(filled: Path, arguments: tuple[str, ...]) -> None:
    assert run_ecluse(filled, {}, "migrate", *arguments).returncode == 2


@pytest.mark.nightly
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_how_to_go_on(runtime: Runtime, elsewhere: str, stop: signal.Signals) -> None:
    runtime.accounts.local_administrator()
    fill(runtime, Sizes(models=6, files=3, file_bytes=12_000_000, tables=1))
    filled = runtime.settings.home
    plan = asked(filled, "plan", "data", elsewhere, "--catalog")
    process = subprocess.Popen(
        [sys.executable, "-m", "ecluse", "migrate", "run", plan["id"], "--home", str(filled)],
        env={name: os.environ[name] for name in KEPT if name in os.environ},
        stderr=subprocess.PIPE,
        text=True,
    )
    runtime.stores.make_folder(elsewhere)
    there = runtime.stores.open(elsewhere)
    wait_until(lambda: list(there.list()) or process.poll() is not None, "an object there")
    process.send_signal(stop)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"ecluse migrate run {plan['id']}" in said
    [listed] = asked(filled, "list")
    assert listed["state"] == "stopped"
    check_rows(runtime)
    assert asked(filled, "run", plan["id"])["copied_again"] <= 8
    check_rows(runtime)
