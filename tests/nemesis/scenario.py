"""Run a scenario: start an installation, let people work while it is struck, wait until it is quiet, and audit."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.nemesis.audit import audit, check_restored, stack_traces, wait_for_quiet
from tests.nemesis.installation import Installation, environment_of, installed, left_behind
from tests.nemesis.people import JOBS, OPERATIONS, Inputs, Ledger, NoAnswer, Person, TimeIsUp, make_inputs
from tests.nemesis.strikes import STRIKES, Nemesis, Say, strike

PEOPLE = ("anna", "ben", "chloe", "dan")


@dataclass(frozen=True)
class Profile:
    """What a scenario is made of. `operations`: how often each, beside the others; `pauses`: seconds between strikes, at
    least and at most; `longest_pause`: seconds that anything stands still at most; `strike_seconds`: how long it is
    struck at most; `settle_seconds`: until when all has to be quiet after the last strike.
    """

    jobs: int
    operations: dict[str, float]
    strikes: list[str]
    pauses: tuple[float, float] = (3, 12)
    longest_pause: float = 30
    settle_seconds: float = 600
    strike_seconds: float = 1800
    workers: int = 3
    restores: bool = False
    at_once: int = 4


QUICK = {
    "count": 6,
    "train_and_score": 3,
    "refuse": 1,
    "cancel": 2,
    "upload_table": 3,
    "delete_table": 2,
    "publish": 1,
    "publish_at_once": 1,
    "publish_and_delete": 1,
    "publish_wrong_bytes": 0.5,
    "log_run": 1,
}
WHOLE = QUICK | {"fraud": 1.2, "plants": 0.6, "city": 0.5}
PROFILES = {
    "short": Profile(
        24,
        QUICK,
        ["kill_worker", "kill_web", "stop_worker", "kill_database", "kill_store", "hang_store"],
        pauses=(2, 6),
        longest_pause=8,
        settle_seconds=900,
        strike_seconds=60,
    ),
    "long": Profile(200, WHOLE, list(STRIKES), longest_pause=125, restores=True),
}


@dataclass
class Outcome:
    """What came of a scenario."""

    findings: list[str]
    strikes: dict[str, int]
    promises: int
    unsure: int
    seconds: float
    notes: list[str] = field(default_factory=list)


def run_scenario(
    profile: Profile,
    seed: int,
    folder: Path,
    *,
    source: Path | None = None,
    quiet: bool = False,
    inputs: Inputs | None = None,
) -> Outcome:
    """Return what came of it. `source`: a tree of Écluse's source that its processes run, instead of this."""
    began = time.monotonic()

    def say(text: str) -> None:
        if not quiet:
            print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    inputs = inputs or make_inputs(folder / "inputs", list(profile.operations))
    with installed(folder, source=source, workers=profile.workers) as installation:
        notes = list(installation.missing)
        settings = Settings.from_environment(environment_of(installation), home=folder / "auditor")
        with Runtime.open(settings) as runtime:
            tokens = sign_up(runtime)
            installation.note_history()
            if "city" in profile.operations:
                make_city(folder, installation)
            installation.start()
            ledger = Ledger()
            people = people_of(
                installation, tokens, ledger, began + profile.strike_seconds + profile.settle_seconds
            )
            say(f"up; {profile.jobs} jobs, seed {seed}")
            nemesis = Nemesis(
                installation, random.Random(seed), threading.Event(), say, profile.longest_pause
            )
            struck: dict[str, int] = {}
            with striking(nemesis, profile, struck, ledger):
                work(people, profile, seed, inputs, say)
            say("the strikes are over")
            left = settle(runtime, installation, people, profile, say)
            findings = [
                *left,
                *audit(runtime, installation.database_url, ledger, people, struck=bool(profile.strikes)),
            ]
            notes += [
                f"refused, and asked again: {what} ({number})" for what, number in ledger.refused.items()
            ]
            for person in people:
                person.close()
            installation.close()
            if profile.restores:
                findings += check_restored(runtime, folder)
                say("a backup of it was restored and compared")
        findings += [f"still runs: {text}" for text in left_behind(folder)]
    notes += list(stack_traces(folder))
    return Outcome(
        findings, struck, len(ledger.promises), len(ledger.unsure), time.monotonic() - began, notes
    )


@contextmanager
def striking(nemesis: Nemesis, profile: Profile, struck: dict[str, int], ledger: Ledger) -> Iterator[None]:
    """Strike beside what is done, for `strike_seconds` at most; a strike that fails is noted as wrong."""

    def keep_striking() -> None:
        try:
            strike(nemesis, profile.strikes, profile.pauses, struck)
        except Exception as error:  # noqa: BLE001 (a scenario that was not struck to its end proves nothing)
            ledger.note_wrong(f"a strike failed: {type(error).__name__}: {error}")

    stopper = threading.Timer(profile.strike_seconds, nemesis.over.set)
    stopper.daemon = True
    striker = threading.Thread(target=keep_striking, daemon=True)
    stopper.start()
    striker.start()
    try:
        yield
    finally:
        nemesis.over.set()
        stopper.cancel()
        striker.join()


def people_of(
    installation: Installation, tokens: Mapping[str, str], ledger: Ledger, until: float
) -> list[Person]:
    """Return the people, once each is answered."""
    people = [Person(name, token, installation.addresses, ledger, until) for name, token in tokens.items()]
    for person in people:
        person.get("/api/me")
    return people


def settle(
    runtime: Runtime, installation: Installation, people: Sequence[Person], profile: Profile, say: Say
) -> list[str]:
    """Repair what was struck, and wait until no job waits or runs; return those that still do."""
    repair(installation)
    ended_at = time.monotonic()
    for person in people:
        person.until = ended_at + profile.settle_seconds
    left = wait_for_quiet(runtime, profile.settle_seconds)
    say(f"quiet after {time.monotonic() - ended_at:.0f} s; now the audit")
    return left


def sign_up(runtime: Runtime) -> dict[str, str]:
    """Make four accounts, the first an administrator's; their tokens by name."""
    accounts, tokens = runtime.accounts, dict[str, str]()
    for name in PEOPLE:
        user = accounts.add(f"{name}@example.org", "", admin=not tokens)
        tokens[name] = accounts.create_token(user.id, "nemesis", administers=not tokens)[0]
    return tokens


def make_city(folder: Path, installation: Installation) -> None:
    from tests.application import run_ecluse

    days = ("--days", "14", "--from", "2025-09-01", "--arcs", "60")
    done = run_ecluse(folder / "auditor", environment_of(installation), "city", "demo", *days)
    assert done.returncode == 0, done.stderr


def work(people: list[Person], profile: Profile, seed: int, inputs: Inputs, say: Say) -> None:
    """Let each person do their operations, some at once, until as many jobs were asked for as there are to be."""
    with ThreadPoolExecutor(len(people) * profile.at_once) as pool:
        asked = []
        for person, name, rng in operations_of(people, profile, seed):
            asked.append((person, name, pool.submit(OPERATIONS[name], person, rng, inputs)))
        ended = 0
        for person, name, one in asked:
            error = one.exception()
            ended += 1
            if ended % 20 == 0:
                say(f"{ended} of {len(asked)} operations")
            if error is None or isinstance(error, NoAnswer):
                continue
            if isinstance(error, TimeIsUp | AssertionError):
                person.ledger.note_wrong(f"{person.name}, {name}: {error}")
            else:
                person.ledger.note_wrong(f"{person.name}, {name}: {type(error).__name__}: {error}")


def operations_of(
    people: list[Person], profile: Profile, seed: int
) -> Iterator[tuple[Person, str, random.Random]]:
    """Yield who does what, with chance of its own; the city is an administrator's."""
    rng, jobs = random.Random(seed), 0
    names, weights = list(profile.operations), list(profile.operations.values())
    for name in names:  # each once at least
        yield (people[0] if name == "city" else rng.choice(people)), name, random.Random(rng.random())
        jobs += JOBS.get(name, 0)
    while jobs < profile.jobs:
        (name,) = rng.choices(names, weights)
        person = people[0] if name == "city" else rng.choice(people)
        yield person, name, random.Random(rng.random())
        jobs += JOBS.get(name, 0)


def repair(installation: Installation) -> None:
    """Put right what a strike was interrupted in, and what it left."""
    from tests.nemesis.installation import resume

    resume(installation.database_processes())
    store = installation.objects.process
    if store is None or store.poll() is not None:
        installation.objects.start()
    else:
        resume([psutil.Process(store.pid)])
    for member in installation.members():
        resume(member.tree())
        if member.is_away:
            member.start()
            member.is_away = False


@contextmanager
def scratch(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="nemesis") as name:
        Path(name).chmod(0o755)
        yield Path(name)
        subprocess.run(["sync"], check=False)
