"""Start the whole application as a person would: `ecluse up` in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TextIO

import httpx

from ecluse.accounts import SESSION_COOKIE
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.forking import ForkedProcess, run_forked
from tests.support.jobs import ended_status
from tests.support.wait import wait_until

#: Of the surrounding environment, what a process needs to run at all; no setting of the person who runs the tests.
KEPT = (
    "PYTHONPATH",
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "SYSTEMROOT",
)


class Credentials(httpx.Auth):
    """A token for the API, and a session for pages, which take no token."""

    def __init__(self, token: str, session: str) -> None:
        self._token = token
        self._session = session

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if request.url.path.startswith("/api/"):
            request.headers["authorization"] = f"Bearer {self._token}"
        else:
            kept = request.headers.get("cookie")
            request.headers["cookie"] = "; ".join(filter(None, [kept, f"{SESSION_COOKIE}={self._session}"]))
        yield request


@dataclass
class Application:
    """A running `ecluse up` or `ecluse web`: its address, its one-time link, and what it said so far."""

    home: Path
    environ: dict[str, str]
    process: subprocess.Popen[bytes] | ForkedProcess
    said: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self._find(r"Écluse is at (\S+)")

    @property
    def link(self) -> str:
        return self._find(r"link: (\S+)")

    def client(self, email: str = "person@example.org", *, admin: bool = False) -> httpx.Client:
        """A program with a token of this user, who is made if there is none; then with `admin` an administrator."""
        secret, session = self._credentials(email, admin=admin)
        return httpx.Client(base_url=self.address, auth=Credentials(secret, session), timeout=60)

    def token(self, email: str = "person@example.org") -> str:
        """A token of this user, who is made if there is none."""
        return self._credentials(email, admin=False)[0]

    def token_for(self, email: str, *scopes: str) -> str:
        """A token of this new user with these scopes alone."""
        settings = Settings.from_environment(self.environ, home=self.home)
        with Runtime.open(settings) as runtime:
            user = runtime.accounts.sign_up(email, "a long password")
            return runtime.accounts.create_token(user.id, "tests", scopes=scopes)[0]

    def _credentials(self, email: str, *, admin: bool) -> tuple[str, str]:
        settings = Settings.from_environment(self.environ, home=self.home)
        with Runtime.open(settings) as runtime:
            known = {user.email: user for user in runtime.accounts.everyone()}
            user = known.get(email) or (
                runtime.accounts.add(email, "", admin=True)
                if admin
                else runtime.accounts.sign_up(email, "a long password")
            )
            secret, _ = runtime.accounts.create_token(user.id, "tests", administers=True)
            return secret, runtime.accounts.open_session(user.id)

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one `ecluse` command beside it."""
        return run_ecluse(self.home, self.environ, *arguments)

    def wait_for_job(self, client: httpx.Client, job: str, seconds: float = 180) -> dict[str, object]:
        """The job once it has ended."""
        try:
            return ended_status(client, job, seconds)
        except AssertionError as error:
            error.add_note("".join(self.said))
            raise

    def _find(self, pattern: str) -> str:
        def look() -> re.Match[str] | None:
            found = re.search(pattern, "".join(self.said))
            assert found or self.process.poll() is None, "".join(self.said)
            return found

        return wait_until(look, lambda: f"{pattern} in {''.join(self.said)}")[1]


@contextmanager
def running(
    home: Path,
    environ: Mapping[str, str] | None = None,
    *,
    role: Literal["up", "web"] = "up",
    forked: bool = True,
) -> Iterator[Application]:
    """Run `ecluse up`, or `ecluse web` without a worker, on a free port; stop it with Ctrl-C when the block ends.

    It is forked from a process that has imported it already; a new interpreter starts where `forked` is false, or
    where the environment says what can be imported. Its worker is always a new interpreter.
    """
    variables = {name: os.environ[name] for name in KEPT if name in os.environ} | dict(environ or {})
    arguments = [role, "--home", str(home), "--port", "0"]
    read, write = os.pipe()
    process: subprocess.Popen[bytes] | ForkedProcess
    with open(read, encoding="utf-8") as stderr, open(os.devnull, "r+b") as nothing:
        try:
            if forked and "PYTHONPATH" not in (environ or {}):
                process = ForkedProcess(arguments, variables, (nothing.fileno(), nothing.fileno(), write))
            else:
                command = [sys.executable, "-m", "ecluse", *arguments]
                process = subprocess.Popen(
                    command, env=variables, stdin=nothing, stdout=nothing, stderr=write
                )
        finally:
            os.close(write)
        application = Application(home, variables, process)
        reader = threading.Thread(target=_collect, args=(stderr, application.said), daemon=True)
        reader.start()
        try:
            _ = application.address
            yield application
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            reader.join(5)
            if isinstance(process, ForkedProcess):
                process.close()


def run_ecluse(home: Path, environ: Mapping[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """One `ecluse` command with its own home folder, its output captured."""
    variables = {name: os.environ[name] for name in KEPT if name in os.environ} | dict(environ)
    variables["ECLUSE_HOME"] = str(home)
    return run_forked(list(arguments), variables, timeout=300)


def _collect(stderr: TextIO, lines: list[str]) -> None:
    for line in stderr:
        lines.append(line)
