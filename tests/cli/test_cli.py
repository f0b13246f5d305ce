"""Commands answer people, programs and shells."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from ecluse.cli import serve, session
from ecluse.cli.output import harmless
from ecluse.runtime import Runtime, living_workers
from ecluse.settings import Settings
from tests.application import run_ecluse, running
from tests.support.wait import wait_until

needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")


def run(home: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return run_ecluse(home, environ, *arguments)


def test_the_doctor_proves_every_part(tmp_path: Path) -> None:
    done = run(tmp_path / "home", "doctor", "--json")
    assert done.returncode == 0
    told = json.loads(done.stdout)
    lines = [line for line in done.stderr.splitlines() if "Checking" in line]
    assert [line.rpartition(" ")[2] for line in lines[1:]] == [check["part"] for check in told["checks"]]
    assert {check["part"]: check["status"] for check in told["checks"]} == {
        "disks": "ok",
        "store": "ok",
        "catalog": "ok",
        "jobs": "ok",
        "documents": "ok",
        "workers": "none",
        "backups": "none",
        "applications": "ok",
    }
    assert {found["name"] for found in told["detected"]} >= {
        "home",
        "store",
        "database",
        "jobs",
        "documents",
    }


@pytest.mark.nightly
def test_the_doctor_says_which_part_is_away_and_fails(tmp_path: Path) -> None:
    done = run(
        tmp_path / "home",
        "doctor",
        ECLUSE_STORE_URL="s3://gone",
        S3_ENDPOINT="http://127.0.0.1:9",
        S3_ACCESS_KEY="key-id",
        S3_SECRET_KEY="hush-hush",
    )
    assert done.returncode == 1
    assert "http://127.0.0.1:9" in done.stdout
    assert "hush-hush" not in done.stdout + done.stderr


def test_wrong_usage_ends_with_2_and_an_expected_failure_with_1(tmp_path: Path) -> None:
    assert run(tmp_path, "models", "frobnicate").returncode == 2
    assert run(tmp_path, "fraud", "train").returncode == 2
    failed = run(tmp_path, "models", "show", "nothing", "--json")
    assert failed.returncode == 1
    assert json.loads(failed.stdout)["error"]["code"] == "not_found"
    assert "Traceback" not in failed.stderr


def test_a_name_does_not_steer_the_terminal(tmp_path: Path) -> None:
    odd = tmp_path / "a\x1b[31m\u202eb\x9bc"
    odd.mkdir()
    told = run(tmp_path, "city", "run", "--date", "2025-10-14", "--raw", str(odd))
    assert told.returncode == 1
    assert "2025-10-14" in told.stderr
    assert not re.search("[\x1b\u202e\x9b]", told.stderr + told.stdout)
    assert harmless("a\x1b]0;b\x07\n\tc\u202e é日") == "a\\x1b]0;b\\x07\n\tc\\u202e é日"


@pytest.mark.parametrize("place", ["", "s3://name:hush0@bucket/raw"])
def test_a_place_of_raw_data_that_is_none_is_refused_and_shows_no_key(tmp_path: Path, place: str) -> None:
    for command in (
        ["demo", "--days", "1"],
        ["run", "--date", "2025-10-14"],
        ["fetch", "--date", "2025-10-14"],
    ):
        done = run(tmp_path, "city", *command, "--raw", place)
        assert done.returncode == 1
        assert "--raw" in done.stderr
        assert "hush0" not in done.stderr + done.stdout


def test_a_contradiction_in_the_settings_is_told_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "jobs", "list", USE_S3="true", STORAGE_TYPE="local")
    assert done.returncode == 1
    assert "USE_S3=true" in done.stderr


def test_the_doctor_names_the_variables_that_were_used_and_shows_no_password(tmp_path: Path) -> None:
    done = run(
        tmp_path / "home",
        "doctor",
        DATABASE_URL="postgresql://u:hush-hush@127.0.0.1:9/d?connect_timeout=2",
        AWS_S3_BUCKET="gone",
        AWS_ENDPOINT_URL_S3="http://127.0.0.1:9",
        AWS_DEFAULT_REGION="eu-west-3",
    )
    assert done.returncode == 1
    assert "See: ecluse doctor" not in done.stdout  # which is what was typed
    assert done.stdout.count("The catalog") == 1
    assert re.search(r"jobs +FAILED as catalog", done.stdout), done.stdout
    assert "hush-hush" not in done.stdout + done.stderr
    assert "(AWS_ENDPOINT_URL_S3)" in done.stdout
    assert "(AWS_DEFAULT_REGION)" in done.stdout


def test_an_unreadable_database_address_is_told_in_one_line(tmp_path: Path) -> None:
    done = run(tmp_path, "jobs", "list", DATABASE_URL="postgresql://u:hush@h:port/d")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "DATABASE_URL" in done.stderr


def test_the_first_added_user_administers_and_gets_a_link(tmp_path: Path) -> None:
    added = json.loads(run(tmp_path, "users", "add", "a@b.c", "--json").stdout)
    assert added["role"] == "admin"
    assert added["sign_in_link"].startswith("/sign-in/link/")
    assert json.loads(run(tmp_path, "users", "add", "d@e.f", "--json").stdout)["role"] == "member"
    assert json.loads(run(tmp_path, "users", "add", "g@h.i", "--admin", "--json").stdout)["role"] == "admin"
    assert run(tmp_path, "users", "add", "A@b.c").returncode == 1


def test_a_sign_in_link_leads_to_where_the_pages_were_last_started(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert session.last_address(home) is None
    session.note_address(home, "http://127.0.0.1:8123")
    session.note_address(home, "http://127.0.0.1:8124")
    assert session.last_address(home) == "http://127.0.0.1:8124"
    assert [one.name for one in home.iterdir()] == ["address"]


def test_a_port_that_is_taken_is_told_with_the_way_out(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run(tmp_path, "up", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "--port" in done.stderr


def test_answers_leave_at_once() -> None:
    """Without TCP_NODELAY each answer on a connection kept open may wait 40 ms for the one before it."""

    async def accept() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = serve.listen("127.0.0.1", 0)
        async with await asyncio.start_server(look, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            no_delay = await accepted
            writer.close()
            await writer.wait_closed()
        return no_delay

    assert asyncio.run(accept())


@needs_proc
def test_up_stops_cleanly_with_its_worker(tmp_path: Path) -> None:
    with running(tmp_path / "home", forked=False) as application:
        assert application.link.startswith(application.address)
        worker = wait_until(lambda: _children(application.process.pid), "a worker")[0]
        application.process.send_signal(signal.SIGINT)
        assert application.process.wait(60) == 0
    assert "Stopped." in "".join(application.said)
    assert "Traceback" not in "".join(application.said)
    assert not Path(f"/proc/{worker}").exists()


@needs_proc
def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    with running(tmp_path / "home", forked=False) as application:
        worker = wait_until(lambda: _children(application.process.pid), "a worker")[0]
        with Runtime.open(Settings.from_environment({}, home=application.home)) as runtime:
            wait_until(lambda: living_workers(runtime), "a worker that takes jobs")
        application.process.kill()
        application.process.wait()
        wait_until(
            lambda: not Path(f"/proc/{worker}").exists() or _state(worker) == "Z", "an end of the worker"
        )


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
