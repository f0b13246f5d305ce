"""Say where a client keeps what is its own: credentials, and runs that wait for a server."""

from __future__ import annotations

import os
from pathlib import Path


def config_folder() -> Path:
    """Return the folder of credentials: `ecluse` in XDG_CONFIG_HOME, else in ~/.config."""
    return _below("XDG_CONFIG_HOME", ".config")


def waiting_folder() -> Path:
    """Return the folder of runs that wait for a server: `ecluse/runs` in XDG_STATE_HOME, else in ~/.local/state."""
    return _below("XDG_STATE_HOME", ".local/state") / "runs"


def uploads_folder() -> Path:
    """Return the folder of notes on versions that are on their way to a server, beside that of runs."""
    return waiting_folder().parent / "uploads"


def _below(variable: str, default: str) -> Path:
    chosen = os.environ.get(variable, "")
    return (Path(chosen) if Path(chosen).is_absolute() else Path.home() / default) / "ecluse"
