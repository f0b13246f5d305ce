"""`ecluse city demo` and `ecluse city fetch` write raw data, say what they did, and can be stopped at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from ecluse.apps.city.commands import data as commands
from ecluse.apps.city.demo import write_demo
from ecluse.apps.city.fetch import fetched_sources
from ecluse.apps.city.sample import FIRST
from ecluse.settings import Settings
from ecluse.storage import ObjectStore, open_store
from tests.application import KEPT, run_ecluse
from tests.apps.city.portal import Portal, running_portal
from tests.apps.city.test_fetch import DAY, _fill
from tests.servers import ObjectServer
from tests.support.wait import wait_until

LAST = DAY + timedelta(days=1)


@pytest.fixture
def portal() -> Iterator[Portal]:
    with running_portal(_fill) as result:
        yield result


def city(home: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    done = run_ecluse(home, environ, "city", *arguments)
    assert "fault of ours" not in done.stderr, done.stderr
    return done


def contents(raw: ObjectStore) -> dict[str, bytes]:
    return {info.key: raw.get(info.key) for info in raw.list() if not info.key.startswith("fetch/")}


def test_demo_writes_says_what_comes_next_and_is_removed(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    done = city(
        tmp_path / "home",
        "demo",
        "--days",
        "2",
        "--arcs",
        "20",
        "--from",
        "2025-03-29",
        "--raw",
        str(raw),
        "--json",
    )
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert (facts["first"], facts["last"], facts["arcs"]) == ("2025-03-29", "2025-03-30", 20)
    assert facts["next"] == f"ecluse city run --from 2025-03-29 --to 2025-03-30 --raw {raw}"
    assert "roads of 2025-03-30" in done.stderr
    mine = open_store((tmp_path / "mine").as_uri())
    write_demo(mine, date(2025, 3, 29), 2, arcs=20)
    assert contents(open_store(raw.as_uri())) == contents(mine)
    assert (
        "files of the sample removed" in city(tmp_path / "home", "demo", "--remove", "--raw", str(raw)).stdout
    )
    assert contents(open_store(raw.as_uri())) == {}


def test_demo_in_the_store_of_the_settings_is_the_same_in_an_object_store(
    tmp_path: Path, object_server: ObjectServer
) -> None:
    environ = object_server.environment(uuid.uuid4().hex)
    done = city(tmp_path / "home", "demo", "--days", "1", "--arcs", "20", **environ)
    assert done.returncode == 0, done.stderr
    settings = Settings.from_environment(environ, home=tmp_path / "home")
    remote = open_store(f"{settings.store_url.rstrip('/')}/raw", settings.access)
    local = open_store((tmp_path / "local").as_uri())
    write_demo(local, FIRST, 1, arcs=20)
    assert contents(remote) == contents(local)


def test_demo_beside_other_data_fails_and_says_where_to(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    open_store(raw.as_uri()).put("batch/comptages-routiers-permanents.csv", b"true")
    done = city(tmp_path / "home", "demo", "--raw", str(raw))
    assert done.returncode == 1
    assert "ecluse city demo --raw file:///another/folder" in done.stderr


def test_fetch_downloads_and_says_what_comes_next(tmp_path: Path, portal: Portal) -> None:
    arguments = ("fetch", "--date", str(DAY), "--portal", portal.url, "--raw", str(tmp_path / "raw"))
    sources = [f"--source={name}" for name in ("roads", "bikes", "works")]
    done = city(tmp_path / "home", *arguments, *sources)
    assert done.returncode == 0, done.stderr
    assert "3 fetched." in done.stdout
    assert f"Next: ecluse city run --from {DAY} --to {DAY}" in done.stdout
    again = json.loads(city(tmp_path / "home", *arguments, *sources, "--json").stdout)
    assert [item["outcome"] for item in again["fetched"]] == ["kept"] * 3


def test_fetch_tells_what_failed_and_ends_so(tmp_path: Path, portal: Portal) -> None:
    portal.trouble("comptages-routiers", "page")
    arguments = ("--date", str(DAY), "--portal", portal.url, "--raw", str(tmp_path / "raw"))
    done = city(tmp_path / "home", "fetch", *arguments, "--source", "roads", "--source", "works")
    assert done.returncode == 1
    assert "1 failed, 1 fetched." in done.stdout
    assert "with text/html where text/csv was asked for" in done.stdout
    assert "The same command goes on where this one stopped." in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--from", "2025-10-14"], 2, "Give --date, or --from and --to."),
        (["--source", "disruptions"], 1, "set IDFM_API_KEY"),
        (["--portal", "file:///etc"], 1, "begins with https:// or http://"),
        (["--date", "2125-01-01"], 1, "no period that has passed"),
        (["--from", "2025-10-14", "--to", "2025-10-13"], 1, "no period that has passed"),
    ],
)
def test_fetch_refuses_what_it_cannot_do(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    done = city(tmp_path / "home", "fetch", *arguments)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.nightly
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGKILL])
def test_a_fetch_that_is_stopped_goes_on_from_there(
    tmp_path: Path, portal: Portal, sign: signal.Signals
) -> None:
    first = DAY - timedelta(days=1)
    period = (
        "--from",
        str(first),
        "--to",
        str(LAST),
        "--source",
        "roads",
        "--source",
        "bikes",
        "--portal",
        portal.url,
    )
    environ = {name: value for name, value in os.environ.items() if name in KEPT}
    command = [sys.executable, "-m", "ecluse", "city", "fetch", *period]
    raw = tmp_path / "raw"
    process = subprocess.Popen(
        [*command, "--home", str(tmp_path / "home"), "--raw", str(raw)],
        env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: len(portal.requests) >= 3 or process.poll() is not None, "three requests")
    process.send_signal(sign)
    _, said = process.communicate(timeout=60)
    assert process.returncode == (130 if sign == signal.SIGINT else -signal.SIGKILL), said
    done_before = len(list(open_store(raw.as_uri()).list("fetch")))
    assert 2 <= done_before < 6
    asked = len(portal.requests)
    done = city(tmp_path / "home", "fetch", *period, "--raw", str(raw), "--json")
    assert done.returncode == 0, done.stderr
    outcomes = [item["outcome"] for item in json.loads(done.stdout)["fetched"]]
    assert outcomes.count("kept") == done_before
    assert len(portal.requests) - asked == 6 - done_before
    result = contents(open_store(raw.as_uri()))
    assert (
        sorted(data.count(b"\n") - 1 for key, data in result.items() if key.startswith("batch/")) == [720] * 3
    )
    assert len(result) == 3 + 3 * 24


def test_every_source_that_can_be_fetched_can_be_named() -> None:
    named = next(option for option in commands.fetch.params if option.name == "sources").type
    assert tuple(getattr(named, "choices", ())) == fetched_sources()
