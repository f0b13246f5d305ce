"""The servers of a laptop keep their data, guard their keys and leave nothing behind, however they end."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
import pytest

from ecluse.errors import ObjectExists, StoreUnavailable
from ecluse.servers import BUCKETS, LocalServers, running, stop
from ecluse.settings import Settings
from ecluse.storage import ObjectStore, ensure_bucket, open_store
from tests.application import KEPT, run_ecluse
from tests.support.wait import wait_until

pytestmark = pytest.mark.nightly

ANY_PORT = ("--port-s3", "0", "--port-database", "0")


@pytest.fixture
def home() -> Iterator[Path]:
    """A home folder that another user may pass through, as PostgreSQL does where the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="ecluse-servers-"))
    yield folder
    shutil.rmtree(folder)


@dataclass
class Started:
    """A process that holds servers, and what it printed."""

    home: Path
    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)

    def servers(self) -> dict[str, int]:
        """Server → its process, as the locks tell."""
        locks = self.home.glob("servers/*.lock")
        return {lock.stem: int(lock.read_text().strip()) for lock in locks}

    def environment(self) -> dict[str, str]:
        return exported((self.home / "servers" / "environment").read_text())

    def store(self, area: str = "data") -> ObjectStore:
        settings = Settings.from_environment(self.environment(), home=self.home)
        return open_store(str(settings.area_url(area)), settings.access)  # type: ignore[arg-type]

    def wait_until_said(self, words: str) -> None:
        def is_said() -> bool:
            assert self.process.poll() is None, "".join(self.said)
            return words in "".join(self.said)

        wait_until(is_said, lambda: f"{words} in {''.join(self.said)}", 90)


@contextmanager
def started(home: Path, *arguments: str, ready: str = "In another terminal") -> Iterator[Started]:
    environ = {name: os.environ[name] for name in KEPT if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-m", "ecluse", *arguments, "--home", str(home), *ANY_PORT],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    launched = Started(home, process)
    streams = ((process.stdout, launched.printed), (process.stderr, launched.said))
    readers = [
        threading.Thread(target=lambda s=stream, k=kept: k.extend(s), daemon=True) for stream, kept in streams
    ]
    for reader in readers:
        reader.start()
    try:
        launched.wait_until_said(ready)
        yield launched
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        for reader in readers:
            reader.join(10)
        for stream, _ in streams:
            assert stream is not None
            stream.close()


def exported(text: str) -> dict[str, str]:
    """The variables of a file of `export` lines."""
    words = (shlex.split(line)[1] for line in text.splitlines())
    return dict(word.split("=", 1) for word in words)


def processes_of(home: Path) -> list[str]:
    """Every process that names a folder under `home/servers`."""
    commands = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"]))
    return [command for command in commands if f"{home}/servers/" in command]


@pytest.mark.nightly
def test_what_is_stored_and_the_keys_outlast_a_restart(home: Path) -> None:
    folder = home / "servers"
    with LocalServers(folder, s3_port=0, database_port=0) as first:
        settings = Settings.from_environment(first.environment(), home=home)
        open_store(settings.store_url, settings.access).put("kept", b"for long")
        with psycopg.connect(str(settings.database_url).replace("+psycopg", "")) as connection:
            connection.execute("CREATE TABLE kept (what text)")
            connection.execute("INSERT INTO kept VALUES ('for long')")
        keys = (folder / "keys.json").read_text()
    assert running(folder) is None
    with LocalServers(folder, s3_port=0, database_port=0) as second:
        settings = Settings.from_environment(second.environment(), home=home)
        assert open_store(settings.store_url, settings.access).get("kept") == b"for long"
        with psycopg.connect(str(settings.database_url).replace("+psycopg", "")) as connection:
            assert connection.execute("SELECT what FROM kept").fetchall() == [("for long",)]
            superuser = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
            assert superuser.fetchone() == (False,)
        assert (folder / "keys.json").read_text() == keys
    assert processes_of(home) == []


@pytest.mark.nightly
def test_the_application_writes_in_its_buckets_and_makes_none(home: Path) -> None:
    with LocalServers(home / "servers", s3_port=0, database_port=0) as servers:
        settings = Settings.from_environment(servers.environment(), home=home)
        for bucket in BUCKETS.values():
            store = open_store(f"s3://{bucket}", settings.access)
            store.put("a/b", b"1", create_only=True)
            with pytest.raises(ObjectExists):
                store.put("a/b", b"2", create_only=True)
            assert store.list_names("") == ["a"]
            store.delete("a/b")
        with pytest.raises(StoreUnavailable, match="refused"):
            open_store("s3://another", settings.access).put("a", b"1")
        with pytest.raises(StoreUnavailable, match="refused"):
            ensure_bucket("s3://another", settings.access)
        keys = json.loads((home / "servers" / "keys.json").read_text())
        administrator = Settings.from_environment(
            servers.environment()
            | {"S3_ACCESS_KEY": keys["s3_administrator"], "S3_SECRET_KEY": keys["s3_administrator_secret"]},
            home=home,
        ).access
        assert ensure_bucket("s3://another", administrator)  # so none had been made before
        assert not ensure_bucket("s3://another", administrator)


def test_secrets_are_in_a_file_of_their_owner_and_nowhere_else(home: Path) -> None:
    with started(home, "servers", "start") as servers:
        environment = servers.environment()
        shown = "".join(servers.said + servers.printed)
        described = running(home / "servers")
        assert described is not None
        assert described.environment in shown
        printed = exported("".join(servers.printed))
        assert printed["ECLUSE_MODELS_URL"] == "s3://models"
        assert printed.items() < environment.items()
        for path in ("keys.json", "environment", "identities.json", "running.json"):
            assert stat.S_IMODE((home / "servers" / path).stat().st_mode) == 0o600
        assert stat.S_IMODE((home / "servers").stat().st_mode) & 0o007 == 0
        again = run_ecluse(home, {}, "servers", "start", *ANY_PORT)
        assert again.returncode == 1
        assert "run already" in again.stderr
        as_json = run_ecluse(home, {}, "servers", "status", "--json").stdout
        assert json.loads(as_json)["endpoint"] == environment["S3_ENDPOINT"]
        commands = "\n".join(processes_of(home))
        for secret in json.loads((home / "servers" / "keys.json").read_text()).values():
            for text in (shown, again.stderr, as_json, commands):
                assert secret not in text
        for log in (home / "servers").glob("*.log"):
            assert not any(secret in log.read_text() for secret in (environment["S3_SECRET_KEY"],))
        stopped = run_ecluse(home, {}, "servers", "stop", "--json")
        assert json.loads(stopped.stdout) == {"stopped": True}
        assert servers.process.wait(60) == 0
    assert processes_of(home) == []
    assert json.loads(run_ecluse(home, {}, "servers", "stop", "--json").stdout) == {"stopped": False}


@pytest.mark.nightly
def test_a_server_that_dies_is_started_again_even_when_its_leash_was_cut(home: Path) -> None:
    with started(home, "servers", "start") as servers:
        servers.store().put("kept", b"for long")
        before = servers.servers()
        os.kill(before["seaweedfs"], signal.SIGKILL)
        servers.wait_until_said("SeaweedFS ended with code 137; it is started again")
        wait_until(lambda: servers.servers()["seaweedfs"] != before["seaweedfs"], "another SeaweedFS")
        wait_until(lambda: reads(servers.store(), "kept") == b"for long", "what it kept")
        leash = psutil.Process(before["postgresql"]).ppid()
        os.kill(leash, signal.SIGKILL)
        servers.wait_until_said("PostgreSQL ended with code -9; it is started again")
        wait_until(lambda: servers.servers()["postgresql"] != before["postgresql"], "another PostgreSQL")
        wait_until(lambda: connects(servers.environment()["DATABASE_URL"]), "a PostgreSQL that answers")
    assert processes_of(home) == []


@pytest.mark.nightly
def test_a_killed_parent_leaves_no_server_and_the_next_start_waits_for_the_last(home: Path) -> None:
    with started(home, "servers", "start") as servers:
        servers.store().put("kept", b"for long")
        assert len(processes_of(home)) >= 4
        servers.process.kill()
        servers.process.wait()
    with started(home, "servers", "start") as servers:
        assert servers.store().get("kept") == b"for long"
    wait_until(lambda: processes_of(home) == [], "an end of all servers")


def test_the_whole_application_runs_over_them_with_one_command(home: Path) -> None:
    with started(home, "up", "--servers", "--port", "0", ready="Everything is kept in") as application:
        environment = application.environment()
        wait_until(lambda: workers(home, environment) == "ok", "a worker", 90)
        report = json.loads(run_ecluse(home, environment, "doctor", "--json").stdout)
        assert report["status"] == "ok"
        detected = {setting["name"]: setting["value"] for setting in report["detected"]}
        assert (detected["store"], detected["models"]) == ("s3://data", "s3://models")
        assert detected["database"].startswith("postgresql+psycopg://ecluse:…@127.0.0.1:")
    assert not (home / "catalog.db").exists()
    assert processes_of(home) == []
    assert "Traceback" not in "".join(application.said)
    assert any("In another terminal" in line and "servers/environment" in line for line in application.said)


@pytest.mark.nightly
def test_an_environment_that_points_elsewhere_is_not_overruled(home: Path) -> None:
    elsewhere = {"DATABASE_URL": "postgresql://someone:hush-hush@elsewhere/db"}
    done = run_ecluse(home, elsewhere, "up", "--servers", "--port", "0", *ANY_PORT)
    assert done.returncode == 1
    assert "DATABASE_URL is set in the environment" in done.stderr
    assert "hush-hush" not in done.stderr
    assert processes_of(home) == []


def test_a_port_that_is_taken_is_named_with_the_option_that_changes_it(home: Path) -> None:
    with socket.socket() as occupied:
        occupied.bind(("127.0.0.1", 0))
        occupied.listen()
        port = str(occupied.getsockname()[1])
        done = run_ecluse(home, {}, "servers", "start", "--port-s3", port, "--port-database", "0")
    assert done.returncode == 1
    assert f"Port {port} on 127.0.0.1 cannot be used" in done.stderr
    assert "--port-s3" in done.stderr
    assert processes_of(home) == []


def test_servers_that_are_not_installed_are_named_with_the_way_to_install_them(home: Path) -> None:
    """The interpreter the environment was made from has our libraries on its path, but no programs."""
    base = Path(sys._base_executable)  # type: ignore[attr-defined]
    if base.with_name("weed").exists() or base == Path(sys.executable):
        pytest.skip("no interpreter without the servers is at hand")
    path = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [str(base), "-m", "ecluse", "servers", "start", "--home", str(home)],
        env={"PYTHONPATH": path, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert "pip install 'ecluse[servers]'" in done.stderr


def test_stopping_where_none_run_says_so(home: Path) -> None:
    assert stop(home / "servers") is False
    assert running(home / "servers") is None


def reads(store: ObjectStore, key: str) -> bytes | None:
    try:
        return store.get(key)
    except StoreUnavailable:
        return None


def connects(url: str) -> bool:
    try:
        psycopg.connect(url.replace("+psycopg", ""), connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def workers(home: Path, environment: dict[str, str]) -> str:
    report = json.loads(run_ecluse(home, environment, "doctor", "--json").stdout)
    return {check["part"]: str(check["status"]) for check in report["checks"]}["workers"]
