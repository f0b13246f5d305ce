"""Share sets of images at the terminal, here or at a server."""

from __future__ import annotations

from typing import Final

from ecluse.apps.plants.rows import SETS
from ecluse.cli.groups import Group
from ecluse.cli.sharing import add_sharing

_commands: Final = Group("sharing")
add_sharing(_commands, SETS, "SET_ID")
share, shares, unshare = (_commands.commands[name] for name in ("share", "shares", "unshare"))
