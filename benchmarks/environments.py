"""Make the environments of peers: pinned, once, in the user's cache, never with Écluse's own packages."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent


def make_environment(
    name: str, pins: Sequence[str], *, folder: Path | None = None, settings: Mapping[str, str] | None = None
) -> Path:
    """Return the interpreter of an environment that holds `pins`, made at the first call for them.

    It stands in `folder` (by default that of all peers in the user's cache), and `settings` are given to the installer
    beside the variables of this process. One that was not finished is made anew.
    """
    digest = hashlib.sha256(" ".join(pins).encode()).hexdigest()[:12]
    place = (folder or cache()) / f"{name}-{digest}"
    python, complete = place / "bin" / "python", place / "complete"
    if not complete.exists():
        print(f"installing {', '.join(pins)} into {place}", file=sys.stderr, flush=True)
        uv = installer()
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(place)], check=True)
        install = [uv, "pip", "install", "-q", "--python", str(python), *pins]
        subprocess.run(install, check=True, env={**(settings or {}), **os.environ})
        complete.touch()
    return python


def cache() -> Path:
    """Return the folder of all peers in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ecluse-benchmarks"


def installer(interpreter: Path = Path(sys.executable), root: Path = ROOT) -> str:
    """Return the path of uv: beside the interpreter (`./test`), where `./run` keeps it, else of this machine.

    Raises FileNotFoundError where there is none.
    """
    beside, kept = interpreter.with_name("uv"), root / ".tools" / "bin" / "uv"
    for place in (beside, kept):
        if place.exists():
            return str(place)
    found = shutil.which("uv")
    if found is None:
        raise FileNotFoundError(
            f"uv, which installs the peers, is neither {beside} nor {kept} nor on PATH. ./run installs it."
        )
    return found
