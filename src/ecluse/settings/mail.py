"""Decide by which server mail is sent, and what it may be sent without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from ecluse.addresses import is_loopback_name
from ecluse.errors import SettingsError
from ecluse.settings.values import Secret, flag, split_address

#: How what is sent is kept from others: TLS from the first byte, TLS that is asked for first, or not at all.
Security = Literal["tls", "starttls", "none"]
_PORTS: Final[dict[Security, int]] = {"tls": 465, "starttls": 587, "none": 25}


@dataclass(frozen=True)
class MailSettings:
    """The server that takes mail, the address it comes from, and what links in it begin with."""

    host: str
    port: int
    security: Security
    sender: str
    links: str
    user: str | None = None
    password: Secret | None = field(default=None, repr=False)


def read_mail(env: Mapping[str, str]) -> MailSettings | None:
    """Return by which server mail is sent; None where none is set.

    Links in mails begin with ECLUSE_PUBLIC_URL, never with what a request says its host is.

    Raises:
        SettingsError: a variable is missing, contradicts another, or would send a password without encryption.
    """
    url = env.get("ECLUSE_SMTP_URL")
    if url is None:
        return None
    parts = split_address("ECLUSE_SMTP_URL", url)
    host = parts.hostname
    if (
        "@" in url
        or parts.scheme not in ("smtp", "smtps")
        or not host
        or parts.path.strip("/")
        or parts.query
    ):
        raise SettingsError(
            "ECLUSE_SMTP_URL is no address of a mail server: write smtp://host:587 (encrypted by STARTTLS) or "
            "smtps://host:465. Name and password stand in ECLUSE_SMTP_USER and ECLUSE_SMTP_PASSWORD."
        )
    for needed, why in (
        ("ECLUSE_MAIL_FROM", "the address that mail comes from, such as ecluse@example.org"),
        (
            "ECLUSE_PUBLIC_URL",
            "the address that links in mails begin with, such as https://ecluse.example.org",
        ),
    ):
        if needed not in env:
            raise SettingsError(f"ECLUSE_SMTP_URL is set but {needed} is not: {why}. Set both, or neither.")
    if ("ECLUSE_SMTP_USER" in env) != ("ECLUSE_SMTP_PASSWORD" in env):
        raise SettingsError("Of ECLUSE_SMTP_USER and ECLUSE_SMTP_PASSWORD one is set. Set both, or neither.")
    plain = is_loopback_name(host) or flag(env, "ECLUSE_SMTP_PLAIN", default=False) is True
    security: Security = "tls" if parts.scheme == "smtps" else "none" if plain else "starttls"
    sender = env["ECLUSE_MAIL_FROM"]
    if sender.count("@") != 1 or not sender.isprintable() or any(sign in sender for sign in ' <>,;:"'):
        raise SettingsError(f"ECLUSE_MAIL_FROM={sender} is no address, such as ecluse@example.org.")
    password = env.get("ECLUSE_SMTP_PASSWORD")
    return MailSettings(
        host=host,
        port=parts.port or _PORTS[security],
        security=security,
        sender=sender,
        links=env["ECLUSE_PUBLIC_URL"].rstrip("/"),
        user=env.get("ECLUSE_SMTP_USER"),
        password=None if password is None else Secret(password),
    )
