"""Read what the environment says of hosted applications."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ecluse.errors import SettingsError
from ecluse.settings import Section
from ecluse.settings.values import number_of_bytes

VARIABLES: Final[dict[str, str]] = {
    "ECLUSE_APPS": "Files with applications of your own, separated as PATH is, that `up`, `web` and `worker` install "
    "when they begin; what `--app FILE` sets. Default: none",
    "ECLUSE_APP_MAX_BYTES": "Memory that a process of such an application may take, in bytes. Default: half of "
    "the memory "
    "of the machine or container, 1 GiB at least, 8 GiB at most",
    "ECLUSE_APP_SECONDS": "How long such an application may take to answer one request, in seconds. Default: 30",
}


@dataclass(frozen=True)
class HostedSettings:
    """Which files are installed, and what a process of an application may take."""

    files: tuple[Path, ...] = ()
    #: None: as `confined.limits.usual_memory` says of this machine.
    memory: int | None = None
    seconds: float = 30.0


def read(env: Mapping[str, str]) -> HostedSettings:
    """Read the variables of `VARIABLES`. Raises SettingsError for one that cannot be used."""
    files = [part.strip() for part in env.get("ECLUSE_APPS", "").split(os.pathsep)]
    return HostedSettings(
        files=tuple(Path(part) for part in files if part),
        memory=number_of_bytes(env, "ECLUSE_APP_MAX_BYTES", 0) or None,
        seconds=_seconds(env.get("ECLUSE_APP_SECONDS", "30")),
    )


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise SettingsError(
            "ECLUSE_APP_SECONDS is no number of seconds from 1 to 3600. Set it, such as to 30."
        )
    return seconds


SECTION: Final = Section(HostedSettings, VARIABLES, read)
