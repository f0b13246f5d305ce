"""Refuse to start where strangers could do harm, unless whoever starts it answers for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ecluse.accounts import LOCAL_EMAIL
from ecluse.catalog import users
from ecluse.errors import SettingsError
from ecluse.settings import RISKS

if TYPE_CHECKING:
    from ecluse.runtime import Runtime

accept_option = click.option(
    "--accept-risk",
    "accepted",
    multiple=True,
    metavar="RISK",
    type=click.Choice(RISKS),
    help=f"Start all the same where other machines reach it: {', '.join(RISKS)}. Default: ECLUSE_ACCEPT_RISKS",
)


def risks(runtime: Runtime, host: str) -> dict[str, str]:
    """Return what is unsafe about listening at an address, by its name in `RISKS`, each with the way out.

    Nothing is where this machine alone reaches it. That https is in front is known by `ECLUSE_PUBLIC_URL`.
    """
    from ecluse.web.security import is_exposed, is_local

    if is_local(host):
        return {}
    settings, there = runtime.settings, {}
    if is_exposed(host, settings.public_url):
        there["no-https"] = (
            "passwords and data would travel without https, readable. Put a proxy with a certificate in front and set "
            "ECLUSE_PUBLIC_URL=https://…"
        )
    if settings.accounts.sign_up == "open":
        there["open-sign-up"] = (
            "anyone who reaches it could make an account. Leave ECLUSE_OPEN_SIGN_UP and ECLUSE_SIGN_UP out, and an "
            "administrator makes them; or set ECLUSE_SIGN_UP=invitation"
        )
    with runtime.catalog.read() as transaction:
        has_administrator = users.has_claimed_administrator(transaction, LOCAL_EMAIL)
    if not has_administrator:
        there["no-administrator"] = (
            "nobody administers it yet. Make that account here first: "
            "ecluse users add EMAIL --role administrator --password"
        )
    return there


def expect_safe(runtime: Runtime, host: str, accepted: tuple[str, ...] = ()) -> None:
    """Make sure that nothing is unsafe about listening at an address, or is accepted by the settings or by name.

    Raises:
        SettingsError: something is.
    """
    there = risks(runtime, host)
    answered = {*accepted, *runtime.settings.accepted_risks}
    if not (left := {name: why for name, why in there.items() if name not in answered}):
        return
    lines = "\n".join(f"  {name}: {why}." for name, why in left.items())
    names = ",".join(name for name in RISKS if name in there)
    raise SettingsError(
        f"Other machines would reach Écluse at {host}, and it is not started as it is:\n{lines}\n"
        f"Or listen on 127.0.0.1. To start all the same, and answer for it: ECLUSE_ACCEPT_RISKS={names} "
        f"(or {' '.join(f'--accept-risk {name}' for name in left)})."
    )
