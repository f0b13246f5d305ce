"""Compare all pages and all answers of the API of a home, as two versions of Écluse give them.

    python -m benchmarks.same_pages dump HOME before.json     # with the one version, on a copy of the home
    python -m benchmarks.same_pages dump HOME after.json      # with the other, on another copy
    python -m benchmarks.same_pages compare before.json after.json

`dump` asks as the first account of the home: every GET of the API with all ids, names, versions and days that other
answers mention, and every page that a link leads to, in English and in French. Opening a home migrates it: give it a
copy. `compare` prints what is gone, what is new and what differs, and how many of each.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")  # of another version's libraries

from fastapi.testclient import TestClient  # noqa: E402

from ecluse.accounts import SESSION_COOKIE  # noqa: E402
from ecluse.runtime import Runtime  # noqa: E402
from ecluse.settings import Settings  # noqa: E402
from ecluse.web.app import make_app  # noqa: E402

STARTS = ("/", "/fraud", "/models", "/runs", "/jobs", "/storage", "/city", "/plants", "/account", "/users")
#: Pages to read in each language, and combinations of values to try for an address with parameters.
MOST_PAGES = {"en": 400, "fr": 400}
MOST_COMBINATIONS = 80
#: Answers that say how long ago something was differ from run to run.
AGO = re.compile(r"\b\d+ (s|min|h|seconds?|minutes?|hours?) ago\b|il y a \d+ \w+")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("dump", "compare"))
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    given = parser.parse_args()
    if given.command == "dump":
        answers = dump(given.first)
        given.second.write_text(json.dumps(answers, indent=1, sort_keys=True, default=str))
        print(len(answers), "answers:", dict(Counter(status for status, _ in answers.values())))
    else:
        sys.exit(1 if compare(_read(given.first), _read(given.second)) else 0)


def dump(home: Path) -> dict[str, tuple[int, Any]]:
    """Return the status and content of every answer, by language or method and address."""
    answers: dict[str, tuple[int, Any]] = {}
    with Runtime.open(Settings.from_environment(home=home)) as runtime:
        user = min(runtime.accounts.everyone(), key=lambda user: user.created_at)
        token, _ = runtime.accounts.create_token(user.id, "same pages", administers=True)
        session = runtime.accounts.open_session(user.id)
        app = make_app(runtime, listens_here=True)
        with TestClient(
            app, base_url="http://127.0.0.1", raise_server_exceptions=False, follow_redirects=False
        ) as client:
            answers |= _dump_api(client, {"authorization": f"Bearer {token}"})
            for language in MOST_PAGES:
                answers |= _dump_pages(client, language, session)
    return answers


def _dump_api(client: TestClient, headers: dict[str, str]) -> dict[str, tuple[int, Any]]:
    answers: dict[str, tuple[int, Any]] = {}
    paths = client.get("/openapi.json", headers=headers).raise_for_status().json()["paths"]
    gets = [path for path, methods in paths.items() if "get" in methods]
    values: dict[str, set[str]] = {}
    for path in (path for path in gets if "{" not in path):
        answer = client.get(path, headers=headers)
        answers[f"GET {path}"] = (answer.status_code, _body(answer))
        _collect(answers[f"GET {path}"][1], "", values)
    for path in (path for path in gets if "{" in path):
        for address in itertools.islice(_addresses(path, values), MOST_COMBINATIONS):
            answer = client.get(address, headers=headers)
            if answer.status_code != 404:
                answers[f"GET {address}"] = (answer.status_code, _body(answer))
    return answers


def _body(answer: Any) -> Any:
    if "json" in answer.headers.get("content-type", ""):
        return answer.json()
    return [hashlib.sha256(answer.content).hexdigest(), len(answer.content)]


def _collect(body: Any, key: str, values: dict[str, set[str]]) -> None:
    """Note each short text of an answer under the name of its field."""
    if isinstance(body, dict):
        for name, value in body.items():
            if isinstance(value, str) and len(value) < 80:
                values.setdefault(name, set()).add(value)
            _collect(value, name, values)
    elif isinstance(body, list):
        for value in body[:50]:
            _collect(value, key, values)


def _addresses(path: str, values: dict[str, set[str]]) -> Iterator[str]:
    """Fill the parameters of a path with what other answers mentioned."""

    def mentioned(*fields: str) -> list[str]:
        return sorted(set().union(*(values.get(field, set()) for field in fields)))

    ids = mentioned("id", "dataset_id", "run_id", "job_id", "job", "prediction_id", "set_id", "model_id")
    choices = {
        **dict.fromkeys(("version", "a", "b"), mentioned("version", "latest")),
        **dict.fromkeys(
            ("name", "model", "model_name", "kind", "table"), mentioned("name", "model_name", "model")
        ),
        **dict.fromkeys(("day", "date"), mentioned("day", "date", "latest_day")[-5:]),
    }
    names = re.findall(r"{(\w+)(?::path)?}", path)
    for combination in itertools.product(*(choices.get(name, ids) for name in names)):
        filled = iter(combination)
        yield re.sub(r"{\w+(?::path)?}", lambda _, filled=filled: next(filled), path)


class _Page(HTMLParser):
    """The words of a page and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style", "template")
        if tag == "a" and (link := dict(attrs).get("href")):
            self.links.append(link.partition("#")[0])

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style", "template")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words += data.split()


def _dump_pages(client: TestClient, language: str, session: str) -> dict[str, tuple[int, Any]]:
    answers: dict[str, tuple[int, Any]] = {}
    headers = {"accept-language": language, "cookie": f"{SESSION_COOKIE}={session}; zone=Europe/Paris"}
    waiting, seen = list(STARTS), set[str]()
    while waiting and len(seen) < MOST_PAGES[language]:
        address = waiting.pop(0)
        if (
            address in seen
            or not re.match(r"/(?!/|static/|api/)", address)
            or re.search(r"(lang|theme)=|sign-out", address)
        ):
            continue
        seen.add(address)
        answer = client.get(address, headers=headers)
        if "text/html" not in answer.headers.get("content-type", ""):
            answers[f"{language} {address}"] = (
                answer.status_code,
                answer.headers.get("location", _body(answer)),
            )
            continue
        page = _Page()
        page.feed(answer.text)
        waiting += page.links
        answers[f"{language} {address}"] = (answer.status_code, " ".join(page.words))
    return answers


def compare(before: dict[str, Any], after: dict[str, Any]) -> int:
    """Print what is gone, new and different; return how many answers are gone or have another status."""
    gone = sorted(before.keys() - after.keys())
    for name in gone:
        print("gone:", name)
    for name in sorted(after.keys() - before.keys()):
        print("new:", name)
    other_status, other_content = [], []
    for name in sorted(before.keys() & after.keys()):
        if before[name][0] != after[name][0]:
            other_status.append(name)
            print(f"status: {name}: {before[name][0]}, then {after[name][0]}")
        elif (was := _comparable(before[name])) != (is_now := _comparable(after[name])):
            other_content.append(name)
            at = next((k for k, (a, b) in enumerate(zip(was, is_now, strict=False)) if a != b), len(was))
            print(
                f"differs: {name}\n  - {was[max(0, at - 60) : at + 100]}\n  + {is_now[max(0, at - 60) : at + 100]}"
            )
    print(
        f"{len(before)} answers before, {len(after)} after: {len(gone)} gone, {len(other_status)} with another "
        f"status, {len(other_content)} with another content."
    )
    return len(gone) + len(other_status)


def _comparable(answer: Any) -> str:
    return AGO.sub("… ago", json.dumps(answer[1], sort_keys=True, ensure_ascii=False))


def _read(path: Path) -> dict[str, Any]:
    answers: dict[str, Any] = json.loads(path.read_text())
    return answers


if __name__ == "__main__":
    main()
