"""Say where a client keeps what waits for a server: runs, and notes on versions that are on their way."""

from __future__ import annotations

from pathlib import Path

from ecluse.settings import state_folder


def waiting_folder() -> Path:
    """Return the folder of runs that wait for a server."""
    return state_folder() / "runs"


def uploads_folder() -> Path:
    """Return the folder of notes on versions that are on their way to a server, beside that of runs."""
    return state_folder() / "uploads"


def imports_folder() -> Path:
    """Return the folder of what is on its way from another server, such as that of MLflow."""
    return state_folder() / "imports"
