"""Build an installation with real things of two owners and an organisation, and try one request after another on it.

Every request is answered over the same rows and objects: what one changes is noticed, and put back before the next.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx
from fastapi import FastAPI

from ecluse.accounts import SESSION_COOKIE
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from tests.web.isolation import things
from tests.web.isolation.table import Row, fill

#: Who asks, by letter: nobody who is signed in; a stranger; a viewer, a member and an owner of an organisation; an
#: administrator of the installation; the owner of the things.
PERSONS: Final = {
    "n": "nobody",
    "s": "stranger",
    "v": "viewer",
    "m": "member",
    "o": "owner",
    "a": "administrator",
    "t": "the thing's owner",
}
#: Tokens of the owner of the things, by letter: of each scope, and one for one model.
TOKENS: Final = {"r": "read", "p": "predict", "b": "publish", "g": "manage", "1": "one model"}
#: Tables that note what was tried, and columns that note when something was used.
NOTES: Final = frozenset({"audit_log", "attempts"})
MOMENTS: Final = {("sessions", "last_used_at"), ("api_tokens", "last_used_at"), ("datasets", "last_used_at")}

#: What no two answers have alike: new ids and secrets, moments, and how long something took.
NEVER_TWICE: Final = re.compile(r"[0-9a-z]{16,32}|[\w-]{43}|\d{4}-\d\d-\d\d[T ][\d:.]+|\d{2}:\d{2}(:\d{2})?")

Kept = dict[str, Counter[str]]


@dataclass
class House:
    """An application, the credentials of each who asks, and what it held in the beginning."""

    app: FastAPI
    runtime: Runtime
    things: dict[str, str]
    mine: dict[str, str]
    invented: dict[str, str]
    credentials: dict[str, dict[str, str]]
    marks: tuple[str, ...]
    state: State
    client: httpx.AsyncClient = field(init=False)

    def __post_init__(self) -> None:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=("127.0.0.1", 40000))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")

    async def ask(self, row: Row, who: str, names: dict[str, str] | None = None) -> Observed:
        """Send the request of a row as one who asks; put back what it changed, and say what became of it."""
        path, sent = fill(row, names or self.things, self.mine)
        accept = {} if path.startswith(("/api/", "/v2")) else {"accept": "text/html"}
        answer = await self.client.request(
            row.method, path, headers=sent.pop("headers", {}) | accept | self.credentials.get(who, {}), **sent
        )
        changed = self.state.put_back(objects=row.method not in ("GET", "HEAD"))
        shown = f"{answer.text} {answer.headers.get('location', '')}"
        marks = self.marks if who in ("t", *TOKENS) else (*self.marks, self.things["email"])
        return Observed(
            answer, bool(changed), any(mark in shown for mark in marks), self.is_of_owner(changed)
        )

    async def observe(self, row: Row, who: str) -> Observed:
        """Ask, and where the answer could be an echo of what was sent, or a file that names nobody, ask for a thing
        that nobody has: what is reached is what is not answered so."""
        observed = await self.ask(row, who)
        if observed.status < 400 and self.names_theirs(row):
            other = await self.ask(row, who, self.invented)
            return replace(observed, shows=self.differs(observed, other))
        return observed

    def is_of_owner(self, changed: list[str]) -> bool:
        """Say whether rows or objects are the owner's of the things."""
        return any(self.things["user_id"] in line for line in changed)

    def names_theirs(self, row: Row) -> bool:
        """Say whether a request names a thing that is the owner's."""
        return any(self.things.get(name) != self.invented.get(name) for name in row.names)

    def differs(self, one: Observed, other: Observed) -> bool:
        """Say whether two answers differ in more than the names that were sent."""
        return (one.status, self.plain(one)) != (other.status, self.plain(other))

    def plain(self, observed: Observed) -> str:
        """Return an answer with the names that were sent, and what is never the same twice, taken out."""
        text = f"{observed.answer.headers.get('location', '')} {observed.answer.text}"
        for name, value in sorted(self.things.items(), key=lambda item: -len(item[1])):
            if self.invented[name] != value:
                text = text.replace(value, "…").replace(self.invented[name], "…")
        return NEVER_TWICE.sub("…", text)


@dataclass(frozen=True)
class Observed:
    """What a request came to: whether anything changed, and of the owner's; whether the answer shows what is theirs."""

    answer: httpx.Response
    changed: bool
    shows: bool
    changed_theirs: bool

    @property
    def status(self) -> int:
        return self.answer.status_code

    @property
    def letter(self) -> str:
        """Return the letter of the table for it; "!" for what no request may come to."""
        if self.status == 303 and not self.changed and self.answer.headers["location"].startswith("/sign-in"):
            return "u"
        if self.status < 400:
            return "+" if self.shows or self.changed_theirs else "."
        if self.status == 403:
            return (
                "s"
                if "out_of_scope" in self.answer.text or "This API token is for" in self.answer.text
                else "f"
            )
        return {401: "u", 404: "-", 409: "c", 400: "i", 422: "i"}.get(self.status, "!")


class State:
    """The rows and the objects of an installation as they were in the beginning."""

    def __init__(self, home: Path) -> None:
        self._live = sqlite3.connect(home / "catalog.db", isolation_level=None, timeout=30)
        self._kept = sqlite3.connect(":memory:")
        self._live.backup(self._kept)
        self._seen = self._version()
        self._rows = self._read()
        self._store = home / "store"
        self._listed = self._list()
        self._objects = {path: path.read_bytes() for path, _, _ in self._listed}

    def close(self) -> None:
        self._live.close()
        self._kept.close()

    def put_back(self, *, objects: bool) -> list[str]:
        """Undo what was changed since the last time, of the objects too if asked; the rows and objects that were."""
        rows = self._rows_changed()
        return rows + (self._objects_changed() if objects else [])

    def _rows_changed(self) -> list[str]:
        if self._version() == self._seen:
            return []
        now = self._read()
        lines = [
            line
            for table in now.keys() | self._rows.keys()
            for line in (now[table] - self._rows[table]) + (self._rows[table] - now[table])
        ]
        if lines:
            self._kept.backup(self._live)
        self._seen = self._version()
        return lines

    def _version(self) -> int:
        return int(self._live.execute("PRAGMA data_version").fetchone()[0])

    def _read(self) -> Kept:
        tables = [row[0] for row in self._live.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {table: self._read_table(table) for table in tables if table not in NOTES}

    def _read_table(self, table: str) -> Counter[str]:
        rows = self._live.execute(f'SELECT * FROM "{table}"')
        names = [column[0] for column in rows.description]
        chosen = [at for at, name in enumerate(names) if (table, name) not in MOMENTS]
        return Counter(f"{table} {[row[at] for at in chosen]}" for row in rows)

    def _objects_changed(self) -> list[str]:
        now = self._list()
        changed = {path for path, _, _ in now ^ self._listed}
        for path in changed:
            if path in self._objects:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._objects[path])
            else:
                path.unlink()
        if changed:
            self._listed = self._list()
        return sorted(map(str, changed))

    def _list(self) -> set[tuple[Path, int, int]]:
        """List the objects: where each is, when it was written, its bytes."""
        listed, folders = set(), [str(self._store)]
        while folders:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir():
                        folders.append(entry.path)
                    else:
                        state = entry.stat()
                        listed.add((Path(entry.path), state.st_mtime_ns, state.st_size))
        return listed


@contextmanager
def opened(folder: Path, home: Path) -> Iterator[House]:
    """Build the installation in a folder."""
    with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
        accounts = runtime.accounts
        users = {
            letter: accounts.add(f"{PERSONS[letter].replace(' ', '-').replace(chr(39), '')}@example.org")
            for letter in "asvmot"  # the first account administers
        }
        app = make_app(runtime)
        (folder / "made").mkdir()
        made = things.make(app, runtime, users, folder / "made")
        credentials = {
            letter: {"cookie": f"{SESSION_COOKIE}={accounts.open_session(user.id)}"}
            for letter, user in users.items()
        }
        credentials |= _tokens(runtime, users["t"].id, made.theirs["name"])
        with closing(State(home)) as state:
            yield House(app, runtime, made.theirs, made.mine, made.invented, credentials, made.marks, state)


def _tokens(runtime: Runtime, user_id: str, model: str) -> dict[str, dict[str, str]]:
    create = runtime.accounts.create_token
    scopes: dict[str, dict[str, Any]] = {
        letter: {"model": model} if letter == "1" else {"scopes": [name]} for letter, name in TOKENS.items()
    }
    return {
        letter: {"authorization": f"Bearer {create(user_id, letter, **chosen)[0]}"}
        for letter, chosen in scopes.items()
    }
