"""Strike an installation, one strike after another, by a seed."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from benchmarks.busy import busy
from tests.nemesis.installation import Installation, Member, resume, suspend

Say = Callable[[str], None]


@dataclass(frozen=True)
class Strike:
    """A way to strike; `weight` says how often beside the others."""

    name: str
    weight: float
    run: Callable[[Nemesis], None]


class Nemesis:
    """What strikes an installation: by chance, until it is over."""

    def __init__(
        self,
        installation: Installation,
        rng: random.Random,
        over: threading.Event,
        say: Say,
        longest_pause: float,
    ) -> None:
        self.installation = installation
        self.rng = rng
        self.over = over
        self.say = say
        #: The longest (s) that anything stands still.
        self.longest_pause = longest_pause

    def pause(self, low: float, high: float) -> None:
        self.over.wait(min(self.rng.uniform(low, high), self.longest_pause))

    def one_worker(self) -> Member:
        return self.rng.choice(self.installation.workers)

    def one_web(self) -> Member:
        return self.rng.choice(self.installation.webs)


def kill_worker(nemesis: Nemesis) -> None:
    member = nemesis.one_worker()
    nemesis.say(f"SIGKILL to {member.name}")
    member.kill()


def kill_web(nemesis: Nemesis) -> None:
    member = nemesis.one_web()
    nemesis.say(f"SIGKILL to {member.name}")
    member.kill()


def deploy(nemesis: Nemesis) -> None:
    """End every process by SIGTERM and start it again, one after another, as a deployment does; of the same release:
    two releases side by side are `tests/test_two_releases.py`.
    """
    nemesis.say("a deployment")
    for member in nemesis.installation.members():
        if nemesis.over.is_set():
            return
        member.take_away()
        member.end(seconds=nemesis.rng.choice([1, 20]))
        member.start()
        member.is_away = False
        nemesis.pause(1, 3)


def stop_worker(nemesis: Nemesis) -> None:
    _stand_still(nemesis, nemesis.one_worker())


def stop_web(nemesis: Nemesis) -> None:
    _stand_still(nemesis, nemesis.one_web())


def _stand_still(nemesis: Nemesis, member: Member) -> None:
    stopped = member.stop()
    began = time.monotonic()
    nemesis.pause(3, 25)
    resume(stopped)
    nemesis.say(f"{member.name} stood still for {time.monotonic() - began:.0f} s")


def freeze(nemesis: Nemesis) -> None:
    """Stop a worker for longer than anyone waits for a machine that is not seen; then let it go on."""
    member = nemesis.rng.choice(nemesis.installation.workers[:2])
    stopped = member.stop()
    began = time.monotonic()
    nemesis.over.wait(nemesis.longest_pause + 15)
    resume(stopped)
    nemesis.say(f"{member.name} stood still for {time.monotonic() - began:.0f} s, past its lease")


def restart_database(nemesis: Nemesis) -> None:
    nemesis.installation.stop_database()
    began = time.monotonic()
    nemesis.pause(2, 10)
    nemesis.installation.start_database()
    nemesis.say(f"PostgreSQL was stopped for {time.monotonic() - began:.0f} s")


def kill_database(nemesis: Nemesis) -> None:
    nemesis.installation.kill_database()
    began = time.monotonic()
    nemesis.pause(1, 5)
    nemesis.installation.start_database()
    nemesis.say(f"PostgreSQL was killed, and away for {time.monotonic() - began:.0f} s")


def hang_database(nemesis: Nemesis) -> None:
    stopped = suspend(nemesis.installation.database_processes())
    began = time.monotonic()
    nemesis.pause(3, 20)
    resume(stopped)
    nemesis.say(f"PostgreSQL hung for {time.monotonic() - began:.0f} s")


def kill_store(nemesis: Nemesis) -> None:
    nemesis.installation.objects.kill()
    began = time.monotonic()
    nemesis.pause(2, 10)
    nemesis.installation.objects.start()
    nemesis.say(f"SeaweedFS was killed, and away for {time.monotonic() - began:.0f} s")


def hang_store(nemesis: Nemesis) -> None:
    import psutil

    process = nemesis.installation.objects.process
    assert process is not None
    stopped = suspend([psutil.Process(process.pid)])
    began = time.monotonic()
    nemesis.pause(3, 20)
    resume(stopped)
    nemesis.say(f"SeaweedFS hung for {time.monotonic() - began:.0f} s")


def fill_disk(nemesis: Nemesis) -> None:
    home = nemesis.installation.disk
    if home is None:
        return
    ballast, began = home / "ballast", time.monotonic()
    until = began + min(nemesis.rng.uniform(5, 20), nemesis.longest_pause)
    try:
        while time.monotonic() < until and not nemesis.over.is_set():
            free = os.statvfs(home)
            with (
                suppress(OSError),
                ballast.open("ab") as file,
            ):  # there is no room left, which is what is wanted
                file.write(b"x" * min(free.f_bavail * free.f_frsize + 1, 4_000_000))
            time.sleep(0.02)
    finally:
        ballast.unlink(missing_ok=True)
    nemesis.say(f"the disk of worker 2 was full for {time.monotonic() - began:.0f} s")


def load(nemesis: Nemesis) -> None:
    began = time.monotonic()
    with busy(4):
        nemesis.pause(5, 20)
    nemesis.say(f"four loops took the processors for {time.monotonic() - began:.0f} s")


STRIKES = {
    strike.name: strike
    for strike in (
        Strike("kill_worker", 4, kill_worker),
        Strike("kill_web", 2, kill_web),
        Strike("deploy", 1, deploy),
        Strike("stop_worker", 2, stop_worker),
        Strike("stop_web", 1, stop_web),
        Strike("freeze", 0.5, freeze),
        Strike("restart_database", 1, restart_database),
        Strike("kill_database", 1, kill_database),
        Strike("hang_database", 1, hang_database),
        Strike("kill_store", 1, kill_store),
        Strike("hang_store", 1, hang_store),
        Strike("fill_disk", 1, fill_disk),
        Strike("load", 1, load),
    )
}


def strike(nemesis: Nemesis, names: list[str], pauses: tuple[float, float], done: dict[str, int]) -> None:
    """Strike until it is over, with a pause of `pauses` seconds between, and count in `done` how often each."""
    weights = [STRIKES[name].weight for name in names]
    while names and not nemesis.over.wait(nemesis.rng.uniform(*pauses)):
        (name,) = nemesis.rng.choices(names, weights)
        STRIKES[name].run(nemesis)
        done[name] = done.get(name, 0) + 1
