"""Commands and programs that die at a named point, where `ecluse.dying.die_at` stands."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from ecluse.settings import inherited
from tests.application import run_ecluse
from tests.support.wait import wait_until

#: What ends a process.
KILLED = -signal.SIGKILL


def die_in_command(point: str, home: Path, environ: Mapping[str, str], *arguments: str) -> None:
    """Run an `ecluse` command, which dies at this point."""
    done = run_ecluse(home, {**environ, "ECLUSE_DIE_AT": point}, *arguments)
    assert done.returncode == KILLED, f"{point}: {done.stdout}\n{done.stderr}"


def die_in_program(point: str, environ: Mapping[str, str], program: str, *arguments: str) -> None:
    """Run Python code, which dies at this point."""
    variables = inherited(["PYTHONPATH"]) | {**environ, "ECLUSE_DIE_AT": point}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == KILLED, f"{point}: {done.stderr}"


def expect_death(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process has died that was started with ECLUSE_DIE_AT."""
    wait_until(lambda: process.poll() is not None, "a death of the process", 120)
    assert process.returncode == KILLED
