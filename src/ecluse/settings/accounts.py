"""Decide who may make an account, how secrets of accounts are encrypted, and of whom a second factor is asked."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, get_args
from urllib.parse import parse_qs, urlsplit

from ecluse.addresses import is_loopback_name
from ecluse.errors import SettingsError
from ecluse.settings.mail import MailSettings, read_mail
from ecluse.settings.providers import ProviderSettings, read_providers
from ecluse.settings.values import Secret, flag

KEYS: Final = "ECLUSE_SECRET_KEYS"
WHO: Final = "ECLUSE_SECOND_FACTOR"
SIGN_UP: Final = "ECLUSE_SIGN_UP"
#: The setting of before it: true is open, false is closed.
OPEN_SIGN_UP: Final = "ECLUSE_OPEN_SIGN_UP"
SIGN_UP_PLAN: Final = "ECLUSE_SIGN_UP_PLAN"
#: Who has to have a second factor: nobody, administrators, or everyone.
Obliged = Literal["nobody", "administrators", "everyone"]
OBLIGED: Final[tuple[Obliged, ...]] = get_args(Obliged)
#: Who may make an account: whoever reaches the pages, whoever has an invitation, or nobody but administrators.
SignUp = Literal["open", "invitation", "closed"]
SIGN_UPS: Final[tuple[SignUp, ...]] = get_args(SignUp)
#: Bytes of a key.
KEY_BYTES: Final = 32


@dataclass(frozen=True)
class AccountsSettings:
    """Keys, who has to have a second factor, and by which providers people sign in.

    The first key encrypts, each decrypts. `key_file` holds the key where none is set; None where one has to be set, as
    the catalog is not on this machine, and others that share it would not have the file.
    """

    secret_keys: tuple[Secret, ...] = field(default=(), repr=False)
    key_file: Path | None = None
    second_factor: Obliged = "nobody"
    #: By whom people may sign in, besides Écluse itself.
    providers: tuple[ProviderSettings, ...] = ()
    #: By which server mail is sent; None: none is.
    mail: MailSettings | None = None
    #: None: what the pages are reached by decides, see `ecluse.web.security.admission`.
    sign_up: SignUp | None = None
    #: The plan of an account that a person makes without an invitation; None: no limits.
    sign_up_plan: str | None = None


def read_accounts(env: Mapping[str, str], home: Path, database: str) -> AccountsSettings:
    """Return what is set of accounts; `database` is the address of the catalog.

    Raises:
        SettingsError: a key is none, or it is nobody of whom a second factor could be asked. No message shows a key.
    """
    keys = [key.strip() for key in env.get(KEYS, "").split(",") if key.strip()]
    for number, key in enumerate(keys, 1):
        if not is_key(key):
            raise SettingsError(
                f"{KEYS}: the key in place {number} is none. Make one with: ecluse secret-key. Several stand with "
                "commas between, the one that encrypts first."
            )
    obliged = {name: name for name in OBLIGED}.get(env.get(WHO, "nobody").lower())  # type: ignore[call-overload]
    if obliged is None:
        raise SettingsError(f"{WHO}={env[WHO]} is not known; use {', '.join(OBLIGED[:-1])} or {OBLIGED[-1]}.")
    return AccountsSettings(
        tuple(Secret(key) for key in keys),
        home / "secret.key" if is_on_this_machine(database) else None,
        obliged,
        read_providers(env),
        read_mail(env),
        _read_sign_up(env),
        env.get(SIGN_UP_PLAN, "").strip().lower() or None,
    )


def _read_sign_up(env: Mapping[str, str]) -> SignUp | None:
    """Return who may make an account, by either of the two settings; None where neither is set.

    Raises:
        SettingsError: it is none of `SIGN_UPS`, or the two contradict each other.
    """
    is_open = flag(env, OPEN_SIGN_UP, default=None)
    of_before: SignUp | None = None if is_open is None else "open" if is_open else "closed"
    if SIGN_UP not in env:
        return of_before
    chosen = next((each for each in SIGN_UPS if each == env[SIGN_UP].lower()), None)
    if chosen is None:
        raise SettingsError(
            f"{SIGN_UP}={env[SIGN_UP]} is not known; use {', '.join(SIGN_UPS[:-1])} or {SIGN_UPS[-1]}."
        )
    if of_before not in (None, chosen):
        raise SettingsError(
            f"{SIGN_UP}={env[SIGN_UP]} and {OPEN_SIGN_UP}={env[OPEN_SIGN_UP]} contradict each other. Leave "
            f"{OPEN_SIGN_UP} out."
        )
    return chosen


def is_key(text: str) -> bool:
    """Return whether this is a key: 32 bytes in URL-safe base64."""
    try:
        return len(base64.b64decode(text.encode(), altchars=b"-_", validate=True)) == KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def is_on_this_machine(database: str) -> bool:
    """Return whether a database is a file, or answers on this machine alone."""
    parts = urlsplit(database)
    if parts.scheme.partition("+")[0] == "sqlite":
        return True
    hosts = [parts.hostname or "", *parse_qs(parts.query).get("host", [])]
    return all(not host or host.startswith("/") or is_loopback_name(host) for host in hosts)
