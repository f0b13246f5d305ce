"""Keep the tokens that a person has signed in with: one file, for its owner alone.

ECLUSE_URL and ECLUSE_TOKEN of the environment win over it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ecluse.errors import InvalidInput, NotSignedIn, SettingsError
from ecluse.sentences import _
from ecluse.settings import chosen_server, config_folder, names_home


@dataclass(frozen=True)
class Credentials:
    """A server and the token for it, which shows itself nowhere."""

    address: str
    token: str = field(repr=False)


def chosen(environ: Mapping[str, str] | None = None) -> Credentials | None:
    """Return the server that programs and commands work at; None where that is the folder of this machine.

    The first that holds: ECLUSE_URL names a server, ECLUSE_HOME a folder; then there is the server signed in to last.

    Raises:
        NotSignedIn: the environment names a server, and there is no token for it.
    """
    return None if chosen_server(environ) is None and names_home(environ) else signed_in(environ)


def signed_in(environ: Mapping[str, str] | None = None) -> Credentials | None:
    """Return the server that the environment names, else the one signed in to last; None where there is none.

    Raises:
        NotSignedIn: the environment names a server, and there is no token for it.
    """
    if named := chosen_server(environ):
        return credentials_for(*named)
    kept = _read()
    current = kept.get("current")
    return credentials_for(current) if isinstance(current, str) else None


def credentials_for(url: str, token: str | None = None) -> Credentials:
    """Return what is needed to ask a server: `token`, or the one that was kept for this address.

    Raises:
        NotSignedIn: there is none.
    """
    address = checked_address(url)
    secret = token or _servers(_read()).get(address)
    if not secret:
        raise NotSignedIn(
            _("There is no token for %(address)s. Sign in: ecluse login %(address)s", address=address)
        )
    return Credentials(address, secret)


def checked_address(url: str) -> str:
    """Return the address of a server without what does not belong to it.

    Raises:
        InvalidInput: it is none, or holds a name or password.
    """
    try:
        parts = urlsplit(url.strip())
        is_plain = parts.username is None and not parts.query and not parts.fragment
        is_address = parts.scheme in ("http", "https") and bool(parts.hostname) and is_plain
        _port = parts.port  # ValueError where it is no number
    except ValueError:  # such as brackets that do not close
        is_address = False
    if not is_address:
        raise InvalidInput(
            _(
                "This is no address of a server. It looks like https://ml.example.org, without a name or password."
            )
        )
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def keep(credentials: Credentials) -> Path:
    """Keep the token of a server, which is the one that programs use from now on; return the file."""
    kept = _read()
    servers = _servers(kept) | {credentials.address: credentials.token}
    return _write({"current": credentials.address, "servers": servers})


def forget(url: str | None = None) -> str | None:
    """Forget the token of a server, or of the one signed in to last; its address, None where there was none."""
    kept = _read()
    address = kept.get("current") if url is None else checked_address(url)
    servers = _servers(kept)
    if not isinstance(address, str) or address not in servers:
        return None
    del servers[address]
    current = None if kept.get("current") == address else kept.get("current")
    _write({"current": current, "servers": servers})
    return address


def file() -> Path:
    """Return where credentials are kept."""
    return config_folder() / "credentials.json"


def _read() -> dict[str, Any]:
    try:
        kept = json.loads(file().read_bytes())
    except FileNotFoundError:  # no one has signed in
        return {}
    except (ValueError, RecursionError) as error:
        raise SettingsError(_("%(file)s is damaged. Remove it, and sign in again.", file=file())) from error
    return kept if isinstance(kept, dict) else {}


def _servers(kept: Mapping[str, Any]) -> dict[str, str]:
    servers = kept.get("servers")
    return dict(servers) if isinstance(servers, dict) else {}


def _write(kept: Mapping[str, Any]) -> Path:
    """Replace the file as a whole; it is never readable by others, not for a moment."""
    target = file()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, hidden = tempfile.mkstemp(dir=target.parent, prefix=".credentials.")  # it makes them 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            json.dump(kept, opened)
        Path(hidden).replace(target)
    except BaseException:
        Path(hidden).unlink(missing_ok=True)
        raise
    return target
