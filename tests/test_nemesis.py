"""The short scenario of the nemesis: what was promised is kept, whatever was killed meanwhile. Its seed is printed."""

from __future__ import annotations

import os
import random
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.nemesis import strikes
from tests.nemesis.installation import Installation, Member
from tests.nemesis.people import Ledger
from tests.nemesis.planted import FAULTS, SHORT, SOURCE
from tests.nemesis.scenario import PROFILES, run_scenario, striking
from tests.nemesis.strikes import Nemesis, Strike
from tests.servers import ObjectServer


def test_what_is_planted_stands_once_in_the_source() -> None:
    changes = [*SHORT, *((fault.file, fault.old, fault.new) for fault in FAULTS)]
    changes += [change for fault in FAULTS for change in fault.also]
    elsewhere = [
        (file, old)
        for file, old, new in changes
        if (SOURCE / "ecluse" / file).read_text(encoding="utf-8").count(old) != 1 or old == new
    ]
    assert elsewhere == []
    assert len({fault.name for fault in FAULTS}) == 30


def test_a_strike_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failed = threading.Event()

    def fail(nemesis: Nemesis) -> None:
        failed.set()
        raise RuntimeError("the database is not there any more")

    monkeypatch.setitem(strikes.STRIKES, "fail", Strike("fail", 1, fail))
    installation = Installation(tmp_path, {}, "", ObjectServer("", [], None), ExitStack())
    nemesis = Nemesis(installation, random.Random(1), threading.Event(), print, 1)
    profile = replace(PROFILES["short"], strikes=["fail"], pauses=(0, 0))
    ledger, struck = Ledger(), dict[str, int]()
    with striking(nemesis, profile, struck, ledger):
        assert failed.wait(10)
    assert ledger.findings == ["a strike failed: RuntimeError: the database is not there any more"]
    assert struck == {}


def test_only_one_starts_a_process_again(tmp_path: Path) -> None:
    member = Member("sleeper", [], {}, tmp_path / "said.log")
    member.before = [sys.executable, "-c", "import time; time.sleep(0.1)"]
    member.start()
    assert member.process is not None
    member.process.wait()
    first = member.process
    member.take_away()
    member.start_again()
    assert member.process is first
    member.is_away = False
    member.start_again()
    assert member.process is not first
    member.end()


@pytest.mark.nightly
@pytest.mark.timeout(1500)
def test_what_was_promised_is_kept_whatever_is_struck(tmp_path_factory: pytest.TempPathFactory) -> None:
    seed = int(os.environ.get("NEMESIS_SEED", "7"))
    folder: Path = tmp_path_factory.mktemp("nemesis")
    folder.chmod(0o755)
    outcome = run_scenario(PROFILES["short"], seed, folder)
    said = "\n".join([f"python -m tests.nemesis --profile short --seed {seed}", *outcome.notes])
    assert outcome.findings == [], said
    assert outcome.promises > 10, said
    assert sum(outcome.strikes.values()) > 0, said
