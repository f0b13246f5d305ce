"""Publish a folder from a process of its own, for tests that run many at once or kill one.

`python -m tests.publisher HOME NAME FOLDER` publishes for the local administrator of this home, as a command does;
with `--bare` into the store itself, without a catalog. It says "ready", waits for a line, and says the version.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

from ecluse.registry import Registry
from ecluse.settings import Settings
from ecluse.storage import Cache, open_store


def main(home: str, name: str, folder: str, bare: bool) -> None:
    settings = Settings.from_environment(home=Path(home))
    if bare:
        registry = Registry(
            open_store(settings.store_url, settings.access), Cache(Path(home) / "cache", 10**8)
        )
        wait()
        published = registry.publish(
            name, Path(folder), created_by="u", nonce=uuid.uuid4().hex, metadata={}
        ).version
    else:
        from ecluse import models
        from ecluse.runtime import Runtime

        with Runtime.open(settings) as runtime:
            user = runtime.accounts.local_administrator()
            wait()
            published = models.publish(runtime, user.id, name, [Path(folder)], metadata={}).version
    print(published, flush=True)


def wait() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def start(
    home: Path, environ: Mapping[str, str], name: str, folder: Path, *, bare: bool = False
) -> subprocess.Popen[str]:
    """A publisher that is ready and waits for `go`."""
    kept = {k: v for k, v in os.environ.items() if k in ("PYTHONPATH", "PATH", "HOME", "TMPDIR")}
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.publisher",
            str(home),
            name,
            str(folder),
            *(["--bare"] if bare else []),
        ],
        env=kept | dict(environ),
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def version(process: subprocess.Popen[str]) -> str:
    """What it said; empty when it was killed before."""
    told, _ = process.communicate(timeout=120)
    return told.strip()


if __name__ == "__main__":
    main(*sys.argv[1:4], bare="--bare" in sys.argv)
