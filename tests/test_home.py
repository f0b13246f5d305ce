"""A home that cannot be used: what it is and the way out, by command, on pages, from the worker and from the doctor."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text as sql

from ecluse.catalog import Catalog
from ecluse.disks import why_damaged
from ecluse.errors import CatalogDamaged, CatalogUnwritable, JobsUnavailable
from ecluse.runtime import Runtime, expect_sound
from ecluse.settings import Settings
from ecluse.web.i18n import Words
from tests.forking import run_forked
from tests.web.test_pages import browser

ECLUSE = [sys.executable, "-m", "ecluse"]
#: A disk of its own for `$HOME_FOLDER`, in a namespace of its own: nothing outside sees it.
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'
FULL = (
    'cp -r "$0" "$0.copy" && mount -t tmpfs -o size=3m tmpfs "$0" && cp -r "$0.copy/." "$0/" && '
    '{ dd if=/dev/zero of="$0/fill" bs=1k 2>/dev/null; exec "$@"; }'
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("made") / "home"
    Runtime.open(Settings.from_environment({}, home=home)).close()
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "home"))


def on_a_disk(script: str, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command whose home is on such a disk; skipped where this machine lets no one make one."""
    if (
        not shutil.which("unshare")
        or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode
    ):
        pytest.skip("this machine allows no namespace of mounts (unshare -rm)")
    ended = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, home, *ECLUSE, *words, "--home", home],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "mount:" not in ended.stderr
    return ended


def drop_the_right_to_read_all() -> None:
    """Let the rights of files hold for the superuser, too: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH are dropped."""
    for capability in (1, 2):
        ctypes.CDLL(None).prctl(24, capability)


def command(home: Path, *words: str) -> str:
    """What a command that is to fail says, which is one error and no fault of ours."""
    ended = run_forked([*words, "--home", str(home)], os.environ, 60)
    assert ended.returncode == 1, ended.stdout
    return ended.stderr


def test_a_home_on_a_disk_that_can_only_be_read_is_said_to_be_so(home: Path) -> None:
    ended = on_a_disk(READ_ONLY, home, "web", "--port", "0")
    assert ended.returncode == 1
    assert "is on a disk that can only be read. Mount it for writing, or choose another" in ended.stderr
    assert "fault of ours" not in ended.stderr


def test_a_home_on_a_full_disk_is_said_to_be_so(home: Path) -> None:
    ended = on_a_disk(FULL, home, "users", "add", "a@example.org")
    assert ended.returncode == 1
    assert f"The disk that holds {home}/catalog.db is full: 0.0 MB free. Free some room" in ended.stderr


@pytest.mark.parametrize(
    ("script", "said"), [(READ_ONLY, "disk that can only be read"), (FULL, "full")], ids=["read-only", "full"]
)
def test_the_doctor_says_of_every_part_what_keeps_it_from_being_used(
    home: Path, script: str, said: str
) -> None:
    ended = on_a_disk(script, home, "doctor", "--json")
    checks = {check["part"]: check for check in json.loads(ended.stdout)["checks"]}
    assert checks.pop("applications")["status"] == "ok"  # they are installed elsewhere
    assert {name for name, check in checks.items() if check["status"] == "failed"} == set(checks)
    assert all(said in check["detail"] for check in checks.values())


def test_a_home_that_is_not_ours_to_write_names_the_user_and_the_way_out(home: Path) -> None:
    home.chmod(0o500)
    for file in home.glob("*.db*"):
        file.chmod(0o400)
    try:
        ended = subprocess.run(
            [*ECLUSE, "models", "list", "--home", home],
            preexec_fn=drop_the_right_to_read_all, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
    finally:
        home.chmod(0o700)
    assert ended.returncode == 1
    assert "may not be read or written by the user that runs Écluse (" in ended.stderr
    assert "chown -R" in ended.stderr


def test_a_home_below_a_file_or_in_no_place_for_folders_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = command(tmp_path / "file" / "home", "models", "list")
    assert f"{tmp_path}/file/home cannot be a folder: {tmp_path}/file is a file." in said
    if Path("/proc/self").exists():
        assert "/proc/home cannot be used as a folder" in command(Path("/proc/home"), "doctor")


def text(file: Path) -> None:
    file.write_text("no database at all, though it is called so\n" * 20)


def cut_short(file: Path) -> None:
    os.truncate(file, 5_000)


def overwritten(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4_096 : len(content) // 2] = os.urandom(len(content) // 2 - 4_096)
    file.write_bytes(content)


def overwritten_at_the_end(file: Path) -> None:
    """Spoil pages that no start reads: the last ones, of tables and indexes."""
    content = bytearray(file.read_bytes())
    content[-20 * 4_096 :] = os.urandom(20 * 4_096)
    file.write_bytes(content)


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def without_jobs(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("DROP TABLE jobs")
        connection.execute("ALTER TABLE workers DROP COLUMN revision")
    connection.close()


def newer(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.execute("UPDATE compatibility SET oldest = '9999'")
    connection.close()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            text,
            "catalog.db is not a SQLite database: it holds something else. Stop Écluse, move the file away",
        ),
        (cut_short, "catalog.db is damaged ("),
        (overwritten, "catalog.db is damaged ("),
        (without_jobs, "catalog.db lacks what its version has: jobs, workers.revision."),
        (folder, "catalog.db is a folder, and the database is to be a file"),
        (newer, "The catalog is at version 9999, newer than this Écluse"),
    ],
)
def test_a_catalog_that_cannot_be_used_is_named_with_the_way_out(
    home: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(home / "catalog.db")
    error = command(home, *(["worker"] if damage is cut_short else ["models", "list"]))
    assert said in error
    assert "fault of ours" not in error
    assert "sqlalche.me" not in error


@pytest.mark.parametrize("start", ["up", "web", "worker"])
@pytest.mark.parametrize(
    "damage", [text, cut_short, overwritten, overwritten_at_the_end, emptied, without_jobs]
)
def test_a_start_with_a_damaged_catalog_says_so_with_the_way_out_and_writes_nothing(
    home: Path, damage: Callable[[Path], None], start: str
) -> None:
    damage(home / "catalog.db")
    content = (home / "catalog.db").read_bytes()
    beside = sorted(home.glob("catalog.db*"))
    port = () if start == "worker" else ("--port", "0")
    done = run_forked([start, *port, "--home", str(home)], os.environ, 60)
    assert done.returncode == 1
    assert "ecluse backup restore latest --from URL" in done.stderr
    assert str(home / "catalog.db") in done.stderr
    assert "Traceback" not in done.stderr
    assert (home / "catalog.db").read_bytes() == content
    assert sorted(home.glob("catalog.db*")) == beside


@pytest.mark.parametrize("damage", [text, overwritten_at_the_end, emptied])
def test_what_a_start_says_of_a_damaged_catalog_has_a_french_sentence(
    home: Path, damage: Callable[[Path], None]
) -> None:
    damage(home / "catalog.db")
    with pytest.raises(CatalogDamaged) as caught:
        expect_sound(Settings.from_environment({}, home=home))
    french = Words("fr").phrase(str(caught.value))
    assert "Arrêtez Écluse" in french
    assert "ecluse backup restore latest --from URL" in french


def test_a_start_that_was_killed_before_its_first_table_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").touch(mode=0o600)
    expect_sound(Settings.from_environment({}, home=tmp_path))


def test_a_catalog_that_lacks_a_table_or_a_column_is_damaged(catalog: Catalog) -> None:
    catalog.migrate()
    with catalog.write() as transaction:
        transaction.execute(sql("ALTER TABLE jobs DROP COLUMN version"))
        transaction.execute(sql("DROP TABLE recovery_codes"))
    with pytest.raises(
        CatalogDamaged, match=r"lacks .* has: jobs\.version, recovery_codes\..*ecluse backup"
    ) as caught:
        catalog.migrate()
    assert "Arrêtez Écluse" in Words("fr").phrase(str(caught.value))


def test_a_catalog_that_is_gone_while_objects_are_there_is_said_at_the_start_and_nothing_is_removed(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Settings.from_environment({}, home=home)
    (home / "catalog.db").unlink()
    kept = home / "store" / "user_data" / "anna" / "uploads" / "a.csv"
    kept.parent.mkdir(parents=True)
    (kept.parent / ".ecluse-1.part").write_bytes(b"a write that goes on")
    expect_sound(settings)
    assert not caplog.records
    kept.write_bytes(b"a table")
    expect_sound(settings)
    (record,) = caplog.records
    assert f"There is no catalog at {home}/catalog.db, though objects" in record.getMessage()
    assert f"such as {kept}." in record.getMessage()
    assert "ecluse backup restore latest --from URL" in record.getMessage()
    with Runtime.open(settings):
        assert kept.read_bytes() == b"a table"
    caplog.clear()
    expect_sound(settings)
    assert not caplog.records


class AtOnce:
    """A timer whose time is over at the first step of the next statement: the machine decides nothing."""

    def __init__(self, _seconds: float, interrupt: Any) -> None:
        self._connection: sqlite3.Connection = interrupt.__self__

    def start(self) -> None:
        self._connection.set_progress_handler(lambda: 1, 1)

    def cancel(self) -> None: ...

    def join(self) -> None: ...


def test_a_catalog_in_use_is_looked_through_and_a_large_one_no_longer_than_it_may(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.from_environment({}, home=home)
    with Runtime.open(settings) as runtime:
        runtime.accounts.sign_up("anna@example.org", "a long password")  # in the log beside the file
        expect_sound(settings)
    large = home / "large.db"
    with sqlite3.connect(large) as connection:
        connection.execute("CREATE TABLE large (content BLOB)")
        connection.executemany("INSERT INTO large VALUES (?)", [(bytes(10**6),)] * 60)
    connection.close()
    overwritten_at_the_end(large)
    assert "is damaged" in (why_damaged(large, 60.0) or "")
    monkeypatch.setattr(threading, "Timer", AtOnce)
    assert why_damaged(large, 0.0) is None


def test_a_damaged_database_of_the_jobs_of_before_is_named_with_the_way_out(home: Path) -> None:
    text(home / "jobs.db")
    checks = run_forked(["doctor", "--json", "--home", str(home)], os.environ, 60).stdout
    failed = [check["part"] for check in json.loads(checks)["checks"] if check["status"] == "failed"]
    assert failed == ["workers"]
    with pytest.raises(JobsUnavailable, match=r"jobs\.db is not a SQLite database.*backup"):
        Runtime.open(Settings.from_environment({}, home=home))


@pytest.mark.parametrize(
    ("language", "said"), [("en", "The catalog is damaged"), ("fr", "Le catalogue est endommagé")]
)
def test_pages_and_api_say_that_the_catalog_is_damaged(home: Path, language: str, said: str) -> None:
    with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
        client = browser(runtime, runtime.accounts.local_administrator())
        runtime.catalog.close()
        for beside in home.glob("catalog.db-*"):
            beside.unlink()
        text(home / "catalog.db")
        page = client.get("/fraud", headers={"accept": "text/html", "accept-language": language})
        assert (page.status_code, said in page.text) == (503, True)
        assert str(home) not in page.text, "where files lie is for the log and the doctor"
        answer = client.get("/api/datasets", headers={"authorization": "Bearer x"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "catalog_damaged")


def test_a_catalog_without_room_is_said_to_be_unwritable(home: Path) -> None:
    with (
        Runtime.open(Settings.from_environment({}, home=home)) as runtime,
        pytest.raises(CatalogUnwritable, match=r"is full: \S+ MB free\. Free some room"),
        runtime.catalog.write() as transaction,
    ):
        transaction.execute(sql("PRAGMA max_page_count = 1"))
        transaction.execute(sql("CREATE TABLE filler AS SELECT zeroblob(900000)"))
