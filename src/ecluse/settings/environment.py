"""Read files of variables, and set those of this process and of the processes that it starts."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from ecluse.errors import SettingsError
from ecluse.settings.values import TRUE

_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def shows_traces(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether a fault of ours is to be shown with its traceback (`ECLUSE_TRACE`)."""
    env = os.environ if environ is None else environ
    return env.get("ECLUSE_TRACE", "").strip().lower() in TRUE


def read_variables(path: Path) -> dict[str, str]:
    """Return the variables of a file such as `cloud.env`: NAME=value, one a line, as a shell reads them.

    Raises:
        SettingsError: it cannot be read, or a line sets nothing; no message shows a value.
    """
    try:
        lines = path.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(
            f"{path} cannot be read: {said}. Name a file with lines such as DATABASE_URL=…"
        ) from None
    variables: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        assignment = line.strip().removeprefix("export ").strip()
        if not assignment or assignment.startswith("#"):
            continue
        name, divider, value = assignment.partition("=")
        try:
            parts = shlex.split(value)
        except ValueError:
            parts = ["", ""]
        if not divider or not _VARIABLE.fullmatch(name) or len(parts) > 1:
            raise SettingsError(
                f"{path}, line {number}, sets no variable. Write NAME=value; a value with blanks stands in quotes."
            )
        variables[name] = parts[0] if parts else ""
    return variables


def inherited(names: Iterable[str]) -> dict[str, str]:
    """Return those of these variables that this process has, for a process that it starts and that is to have no
    others.
    """
    return {name: os.environ[name] for name in names if name in os.environ}


def surrounding(*, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the variables of this process but those that begin so, for a process that it starts."""
    return {name: value for name, value in os.environ.items() if not name.startswith(without)}


def replace_variables(variables: Mapping[str, str | None], *, without: tuple[str, ...]) -> None:
    """Set variables for this process and those it starts; None, and all others that begin so, are unset."""
    for name in [name for name in os.environ if name.startswith(without) or name in variables]:
        del os.environ[name]
    os.environ.update({name: value for name, value in variables.items() if value is not None})


def adopt(variables: Mapping[str, str]) -> None:
    """Set variables for this process and those it starts.

    Raises:
        SettingsError: one of them is set to something else; which is meant, only the person can say.
    """
    for name, value in variables.items():
        if (current := os.environ.get(name, "").strip()) and current != value:
            raise SettingsError(
                f"{name} is set in the environment and points elsewhere. Unset it, or leave --servers out."
            )
    os.environ.update(variables)
