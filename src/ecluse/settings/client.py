"""Read what a client takes from the environment: the server it asks, and the folders of what is its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

SERVER: Final = "ECLUSE_URL"
TOKEN: Final = "ECLUSE_TOKEN"  # noqa: S105 (the name of a variable)


def chosen_server(environ: Mapping[str, str] | None = None) -> tuple[str, str | None] | None:
    """Return the address of the server that the environment names, and the token it gives; None where it names none."""
    env = os.environ if environ is None else environ
    url = env.get(SERVER, "").strip()
    return (url, env.get(TOKEN, "").strip() or None) if url else None


def names_home(environ: Mapping[str, str] | None = None) -> bool:
    """Return whether the environment names the folder of this machine (ECLUSE_HOME)."""
    env = os.environ if environ is None else environ
    return bool(env.get("ECLUSE_HOME", "").strip())


def config_folder() -> Path:
    """Return the folder of credentials: `ecluse` in XDG_CONFIG_HOME, else in ~/.config."""
    return _below(os.environ.get("XDG_CONFIG_HOME", ""), ".config")


def state_folder() -> Path:
    """Return the folder of what waits for a server: `ecluse` in XDG_STATE_HOME, else in ~/.local/state."""
    return _below(os.environ.get("XDG_STATE_HOME", ""), ".local/state")


def _below(chosen: str, default: str) -> Path:
    return (Path(chosen) if Path(chosen).is_absolute() else Path.home() / default) / "ecluse"
