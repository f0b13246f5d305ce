"""A deploy while people work: processes of the release before and of this one over one PostgreSQL and one store."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import pytest
from sqlalchemy import create_engine, text

from ecluse.settings import Settings
from tests.application import KEPT, run_ecluse, running
from tests.servers import ObjectServer
from tests.support.jobs import read_table
from tests.support.wait import wait_until

ROOT = Path(__file__).parents[1]
#: Stands for the release before while none has a tag: the last commit whose tables are those of migration 0034.
BEFORE: Final = "d1cf1ad3552573a6f762cb09799b743cbd3969bf"
PEOPLE: Final = 3
#: How many tables each person uploads before, between and after the steps of the deploy.
WORK: Final = 4
ACCOUNT = """
from ecluse.accounts import SESSION_COOKIE
from ecluse.runtime import Runtime
from ecluse.settings import Settings
import json, sys
with Runtime.open(Settings.from_environment()) as runtime:
    made = []
    for number in range(int(sys.argv[1])):
        user = runtime.accounts.sign_up(f"person{number}@example.org", "a long password")
        token = runtime.accounts.create_token(user.id, "tests")[0]
        made.append({"token": token, "session": runtime.accounts.open_session(user.id)})
    print(json.dumps({"cookie": SESSION_COOKIE, "people": made}))
"""


def newest_release() -> str:
    """The commit of the newest tag before this one, or of what stands for the release before."""
    tag = subprocess.run(
        ["git", "describe", "--tags", "--abbrev=0", "HEAD^"], cwd=ROOT, capture_output=True, text=True
    )
    return tag.stdout.strip() if tag.returncode == 0 else BEFORE


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """The sources of the release before."""
    commit = newest_release()
    archive = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, capture_output=True)
    if archive.returncode != 0:
        pytest.skip(
            f"{commit}, the release before, is not in this checkout; fetch its history: git fetch --unshallow"
        )
    folder = tmp_path / "before"
    folder.mkdir()
    subprocess.run(["tar", "-x"], input=archive.stdout, cwd=folder, check=True)
    return folder / "src"


@dataclass
class Load:
    """What people ask for meanwhile, of whichever web processes there are, and what they were answered."""

    people: list[dict[str, str]]
    cookie: str
    addresses: list[str]
    accepted: list[tuple[int, str]] = field(default_factory=list)
    #: (what, status) → how many; an error of the API with its code, an exception in place of a status.
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    stopping: threading.Event = field(default_factory=threading.Event)

    def work(self, person: int) -> None:
        """Upload a table, follow its profile, look at pages; again and again."""
        secrets = self.people[person]
        turns = itertools.count(person)
        with httpx.Client(timeout=60) as client:
            while not self.stopping.is_set():
                number = next(turns)
                table = "\n".join(["amount,label", *(f"{number + n},{n % 2}" for n in range(50))])
                files = {"file": (f"t{person}_{number}.csv", table)}
                answer = self._ask(client, "POST", "/api/upload", secrets, files=files)
                if answer is not None and answer.status_code == 201:
                    self.accepted.append((person, answer.json()["id"]))
                for address in ("/api/datasets", "/api/jobs", "/", "/jobs", "/tables"):
                    self._ask(client, "GET", address, secrets)

    def _ask(
        self, client: httpx.Client, verb: str, address: str, secrets: Mapping[str, str], **more: object
    ) -> httpx.Response | None:
        chosen = self.addresses  # whoever balances the load has taken one that stops out before
        base = chosen[sum(self.answers.values()) % len(chosen)]
        headers = (
            {"authorization": f"Bearer {secrets['token']}"}
            if address.startswith("/api/")
            else {"cookie": f"{self.cookie}={secrets['session']}"}
        )
        try:
            answer = client.request(verb, base + address, headers=headers, **more)  # type: ignore[arg-type]
        except httpx.HTTPError as error:
            self.answers[f"{verb} {address}", repr(error)] += 1
            return None
        status = str(answer.status_code)
        if answer.status_code >= 400 and address.startswith("/api/"):
            status += f" {answer.json()['error']['code']}"
        self.answers[f"{verb} {address}", status] += 1
        return answer

    def go_on(self, rounds: int = WORK) -> None:
        """Wait until each person has uploaded so many more tables: what they asked for before has been answered."""
        before = Counter(person for person, _ in self.accepted)

        def is_done() -> bool:
            now = Counter(person for person, _ in list(self.accepted))
            return all(now[person] >= before[person] + rounds for person in range(len(self.people)))

        wait_until(is_done, lambda: f"{rounds} more tables of each; answers: {self.answers}", 120)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        threads = [
            threading.Thread(target=self.work, args=(number,), daemon=True)
            for number in range(len(self.people))
        ]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.stopping.set()
            for thread in threads:
                thread.join(60)


@contextmanager
def worker(home: Path, environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    variables = {name: os.environ[name] for name in KEPT if name in os.environ} | dict(environ)
    command = [sys.executable, "-m", "ecluse", "worker", "--home", str(home)]
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def accounts_of(environ: Mapping[str, str], home: Path) -> tuple[str, list[dict[str, str]]]:
    """Make people by the code of a release: the name of their cookie, and the token and session of each."""
    variables = {name: os.environ[name] for name in KEPT if name in os.environ} | dict(environ)
    variables["ECLUSE_HOME"] = str(home)
    done = subprocess.run(
        [sys.executable, "-c", ACCOUNT, str(PEOPLE)],
        env=variables,
        capture_output=True,
        text=True,
        check=True,
    )
    made = json.loads(done.stdout)
    return made["cookie"], made["people"]


@pytest.mark.nightly
def test_a_deploy_beside_the_release_before_loses_nothing_and_shows_nobody_an_error(
    before: Path, postgresql_url: str, restartable: ObjectServer, tmp_path: Path
) -> None:
    # A store that no other test asks meanwhile: what is slow or refused is then the deploy's doing.
    new = {**restartable.environment(tmp_path.name), "DATABASE_URL": postgresql_url}
    old = {**new, "PYTHONPATH": str(before)}
    cookie, people = accounts_of(old, tmp_path / "commands")
    engine = create_engine(Settings.from_environment(new).database_url)
    with engine.connect() as connection:
        held = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    with ExitStack() as olds, ExitStack() as news:
        old_worker = olds.enter_context(worker(tmp_path / "old worker", old))
        old_web = olds.enter_context(running(tmp_path / "old web", old, role="web"))
        load = Load(people, cookie, [old_web.address])
        with load.going_on():
            load.go_on()
            looked = run_ecluse(tmp_path / "check", new, "upgrade", "check", "--json")
            assert looked.returncode == 0, looked.stdout
            seen = json.loads(looked.stdout)
            assert (seen["held"], len(seen["workers"])) == (held, 1)
            assert sum(each["count"] for each in seen["connections"] if each["release"] is None) >= 1
            applied = run_ecluse(tmp_path / "apply", new, "upgrade", "apply", "--json")
            assert applied.returncode == 0, applied.stderr
            load.go_on()  # the release before alone, on tables of this one
            new_web = news.enter_context(running(tmp_path / "new web", new, role="web", forked=False))
            news.enter_context(worker(tmp_path / "new worker", new))
            livez = f"{new_web.address}/livez"
            wait_until(
                lambda: httpx.get(livez, timeout=60).status_code == 200, "a new web process that is ready"
            )
            load.addresses = [old_web.address, new_web.address]
            load.go_on(2 * WORK)
            load.addresses = [new_web.address]
            load.go_on(1)  # what the old one has begun to answer ends
            stop(old_worker)
            olds.close()
            load.go_on()
        expect_all_there(load, new_web.address)
    wrong = {key: count for key, count in load.answers.items() if key[1] not in ("200", "201")}
    assert wrong == {}
    assert len(load.accepted) >= 4 * PEOPLE
    with engine.connect() as connection:
        jobs = connection.execute(text("SELECT status, count(*) FROM jobs GROUP BY status")).all()
        doubled = connection.execute(
            text("SELECT count(*) FROM datasets GROUP BY user_id, filename HAVING count(*) > 1")
        ).all()
    engine.dispose()
    assert [tuple(row) for row in jobs] == [("done", len(load.accepted))]
    assert doubled == []
    after = json.loads(run_ecluse(tmp_path / "check", new, "upgrade", "check", "--json").stdout)
    assert (after["steps"], after["problems"]) == ([], [])


def expect_all_there(load: Load, address: str) -> None:
    """Every table that was accepted is read to its end, and given back as it was sent."""
    with httpx.Client(base_url=address, timeout=60) as client:
        for person, table in load.accepted:
            client.headers["authorization"] = f"Bearer {load.people[person]['token']}"
            read_table(client, table)
            shown = client.get(f"/api/datasets/{table}").raise_for_status().json()
            assert (shown["state"], shown["rows"]) == ("ready", 50), shown
