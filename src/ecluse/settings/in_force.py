"""Say of every setting what holds and where it comes from, fit to be shown: of secrets nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ecluse.settings.settings import Settings
from ecluse.settings.values import Detected
from ecluse.settings.variables import variables

#: Settings that are shown with their value: the variable, and how they are called in `Settings`.
_SHOWN = {
    "ECLUSE_PUBLIC_URL": "public_url",
    "ECLUSE_OPEN_SIGN_UP": "open_sign_up",
    "ECLUSE_ACCEPT_RISKS": "accepted_risks",
    "ECLUSE_UPLOAD_MAX_BYTES": "upload_max_bytes",
    "ECLUSE_READER_MAX_BYTES": "reader_max_bytes",
    "ECLUSE_CACHE_MAX_BYTES": "cache_max_bytes",
    "ECLUSE_HOME_SHARED": "home_shared",
    "ECLUSE_FETCH_PRIVATE": "fetch_private",
    "ECLUSE_USER": "user",
}


def in_force(settings: Settings, environ: Mapping[str, str] | None = None) -> list[Detected]:
    """List the settings in force: what was detected, those with plain values, then the other variables that are set.

    Of these the names alone: any of them may be a secret.
    """
    env = os.environ if environ is None else environ
    plain = [
        Detected(name, _text(getattr(settings, attribute)), name if env.get(name, "").strip() else "default")
        for name, attribute in _SHOWN.items()
    ]
    others = [
        Detected(name, "…", "environment")
        for name in variables()
        if name not in _SHOWN and env.get(name, "").strip()
    ]
    return [*settings.detected, *plain, *others]


def _text(value: object) -> str:
    if isinstance(value, frozenset):
        return ", ".join(sorted(map(str, value))) or "–"
    if isinstance(value, bool):
        return str(value).lower()
    return "–" if value is None else str(value)
