"""Note what a run is done with: the commit of its code, its program, Python and the libraries that are loaded."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

#: Libraries that a run names, by the module that is loaded: the distribution whose version it is.
_LIBRARIES: Final = {
    "sklearn": "scikit-learn", "xgboost": "xgboost", "lightgbm": "lightgbm", "catboost": "catboost", "torch": "torch",
    "numpy": "numpy", "polars": "polars", "pandas": "pandas", "onnxruntime": "onnxruntime",
}  # fmt: skip
#: How long git may take (s).
_PATIENCE: Final = 5


def surroundings() -> dict[str, str]:
    """Return tags of a run. Arguments of the program are left out: they may hold a secret."""
    tags = {"python": platform.python_version(), "program": Path(sys.argv[0]).name if sys.argv else ""}
    if libraries := _libraries():
        tags["libraries"] = libraries
    if commit := git_commit():
        tags["git_commit"] = commit
    return {name: value for name, value in tags.items() if value}


def _libraries() -> str:
    words = []
    for module, distribution in _LIBRARIES.items():
        if module in sys.modules:
            try:
                words.append(f"{distribution} {version(distribution)}")
            except PackageNotFoundError:  # it came under another name, such as xgboost-cpu
                words.append(f"{distribution} {getattr(sys.modules[module], '__version__', '')}".strip())
    return ", ".join(words)


@functools.cache
def git_commit() -> str | None:
    """Return the commit of the folder that this runs in, with `+changes` where files differ; None outside of git."""
    commit = _git("rev-parse", "HEAD")
    if not commit:
        return None
    return f"{commit}+changes" if _git("status", "--porcelain", "--untracked-files=no") else commit


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, check=True, text=True, timeout=_PATIENCE
        )
    except (OSError, subprocess.SubprocessError):  # no git here, or no repository
        return ""
    return done.stdout.strip()
