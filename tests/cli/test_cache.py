"""`ecluse cache` shows, verifies and clears what was downloaded, whatever else is away."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ecluse.storage import Cache, Stored, open_store
from tests.application import run_ecluse

AWAY = {
    "ECLUSE_STORE_URL": "s3://gone",
    "S3_ENDPOINT": "http://127.0.0.1:9",
    "ECLUSE_CACHE_MAX_BYTES": "5000",
}


@pytest.fixture
def fetched(home: Path, tmp_path: Path) -> list[Stored]:
    """Two objects in the cache, of 1,000 and 2,000 bytes; the second is in use."""
    store, cache = open_store("memory://"), Cache(home / "cache", 5000)
    written = [store.put(f"m/{n}", bytes([n]) * n * 1000) for n in (1, 2)]
    cache.copy(store, written[0].key, written[0].sha256, 1000, tmp_path / "1")
    cache.link(store, written[1].key, written[1].sha256, 2000, tmp_path / "2")
    return written


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_ecluse(home, AWAY, "cache", *arguments)


def asked(home: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = run(home, *arguments, "--json")
    assert done.returncode == code, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_show_tells_what_is_kept_and_the_bound(home: Path, fetched: list[Stored]) -> None:
    told = asked(home, "show")
    assert [entry["sha256"] for entry in told["entries"]] == [stored.sha256 for stored in fetched]
    assert [entry["pinned"] for entry in told["entries"]] == [False, True]
    assert (told["used_bytes"], told["max_bytes"]) == (3000, 5000)
    lines = run(home, "show").stdout.splitlines()
    assert lines[0].startswith(fetched[0].sha256[:12])
    assert lines[1].endswith("in use")
    assert lines[2] == f"2 objects, 3000 of at most 5000 bytes in {home / 'cache'}"


def test_verify_names_and_removes_what_is_damaged_and_then_finds_nothing(
    home: Path, fetched: list[Stored]
) -> None:
    assert asked(home, "verify") == {"intact": 2, "bytes": 3000, "corrupt": []}
    digest = fetched[0].sha256
    entry = home / "cache" / "sha256" / digest[:2] / digest
    status = entry.stat()
    entry.chmod(0o644)
    entry.write_bytes(b"x" * 1000)
    os.utime(entry, ns=(status.st_atime_ns, status.st_mtime_ns))
    done = run(home, "verify")
    assert done.returncode == 1
    assert digest in done.stdout
    assert asked(home, "verify") == {"intact": 1, "bytes": 2000, "corrupt": []}


def test_clear_keeps_what_is_in_use(home: Path, fetched: list[Stored], tmp_path: Path) -> None:
    assert asked(home, "clear") == {"removed": 1, "bytes": 1000, "pinned": 1}
    assert "In use and kept: 1." in run(home, "clear").stdout
    (tmp_path / "2").unlink()
    assert asked(home, "clear") == {"removed": 1, "bytes": 2000, "pinned": 0}
    assert asked(home, "show")["entries"] == []


def test_a_cache_that_was_never_used_is_empty(home: Path) -> None:
    assert asked(home, "show")["used_bytes"] == 0
    assert asked(home, "verify")["intact"] == 0
    assert asked(home, "clear")["removed"] == 0
