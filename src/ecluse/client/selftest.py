"""Load a model that is to be published in a process of its own, and ask it again: `works on my machine`, tested.

    python -P -m ecluse.client.selftest FOLDER

The new process has none of our variables but those that it needs to start, so that no key is at hand while it loads.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from ecluse.errors import EcluseError, ModelRefused
from ecluse.sentences import _

#: How long a model may take to load and to answer its example (s).
PATIENCE: Final = 600
#: Of the environment, what a process needs to start.
VARIABLES: Final = (
    "PATH", "PYTHONPATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT",
    "OMP_NUM_THREADS",
)  # fmt: skip


def prove(folder: Path) -> None:
    """Load the model below `folder` in a fresh process, and compare its answers with those that were kept.

    Raises:
        ModelRefused: it does not load, does not end, or answers otherwise.
    """
    from ecluse.settings import inherited

    command = [sys.executable, "-P", "-m", "ecluse.client.selftest", str(folder.resolve())]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            check=False,
            cwd=folder,
            env=inherited(VARIABLES),
            stdin=subprocess.DEVNULL,
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired as error:
        raise _refused(_("it took more than %(count)s s", count=PATIENCE)) from error
    try:
        problem = json.loads(done.stdout.splitlines()[-1])["problem"]
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise _refused(_("its process ended with code %(value)s", value=done.returncode)) from error
    if problem is not None:
        raise _refused(str(problem))


def _refused(reason: str) -> ModelRefused:
    return ModelRefused(
        _(
            "Loaded again in a fresh process, the model is another: %(reason)s. Nothing was published. What it uses "
            "must come from an installed package, and be part of its file.",
            reason=reason,
        )
    )


def problem_of(folder: Path) -> str | None:
    """Say why the model below `folder` cannot be used as it was published; None where it can."""
    from ecluse.client.package import ANSWERS, differences, unpack

    try:
        loaded = unpack(folder)
        return differences(folder, loaded) if (folder / ANSWERS).exists() else None
    except EcluseError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 (of a library that loads the model; its publisher reads it)
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    sys.stdout.write(f"\n{json.dumps({'problem': problem_of(Path(sys.argv[1]))})}\n")
