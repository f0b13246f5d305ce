"""Read the providers of OpenID Connect by which people sign in and machines are known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from ecluse.errors import SettingsError
from ecluse.roles import ROLES
from ecluse.sentences import _
from ecluse.settings.values import Detected, Secret, flag, web_address

#: What is read of each provider that ECLUSE_OIDC_PROVIDERS names, with what it does.
VARIABLES: Final[dict[str, str]] = {
    "issuer": "Its address as it writes it into its tokens, such as https://sso.example.org/realms/acme; https, but on "
    "this machine",
    "client_id": "What Écluse is called there",
    "client_secret": "The secret of Écluse there. Default: none, and Écluse is a public client",
    "label": "What people call it. Default: its name",
    "scopes": "What is asked of it, with blanks between. Default: openid email profile",
    "verified_claim": "The claim by which it says that an address is the person's. Default: email_verified",
    "groups_claim": "The claim with the groups of a person. Default: groups",
    "groups_url": "Address with all groups of who signs in, page by page, asked where a token leaves them out, such as "
    "https://graph.microsoft.com/v1.0/me/transitiveMemberOf?$select=id. Default: none, and such a sign-in is refused",
    "groups_field": "What of each group there is its name in the two settings below. Default: id",
    "administrators": "Groups, with commas between, whose people administer this Écluse. Default: none",
    "memberships": "Groups whose people belong to organisations, with commas between, such as "
    "ml=@acme:member,heads=@acme:owner. Default: none",
    "sign_up": "true: who is known to it by a verified address may make an account by signing in; false: nobody. "
    "Default: as the page for making accounts allows",
}
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,29}")
_DEFAULT_SCOPES: Final = "openid email profile"


@dataclass(frozen=True)
class GroupRole:
    """What the people of a group are in an organisation."""

    group: str
    handle: str
    role: str


@dataclass(frozen=True)
class ProviderSettings:
    """A provider of OpenID Connect: `name` stands in addresses, `label` is what people read."""

    name: str
    label: str
    issuer: str
    client_id: str
    client_secret: Secret | None = field(default=None, repr=False)
    scopes: str = _DEFAULT_SCOPES
    verified_claim: str = "email_verified"
    #: None: the page for making accounts decides.
    sign_up: bool | None = None
    groups_claim: str = "groups"
    groups_url: str | None = None
    groups_field: str = "id"
    administrators: frozenset[str] = frozenset()
    memberships: tuple[GroupRole, ...] = ()

    @property
    def maps_groups(self) -> bool:
        """Return whether the groups of a person mean anything here."""
        return bool(self.administrators or self.memberships)


def read_providers(env: Mapping[str, str]) -> tuple[ProviderSettings, ...]:
    """Read every provider that is named, in that order.

    Raises:
        SettingsError: a name cannot be one, or a value is missing or cannot be used.
    """
    names = _listed(env.get("ECLUSE_OIDC_PROVIDERS", ""))
    for name in names:
        if not _NAME.fullmatch(name) or names.count(name) > 1:
            raise SettingsError(
                f"ECLUSE_OIDC_PROVIDERS names {name!r}: write each provider once, in small letters, digits and "
                "hyphens, with commas between, such as keycloak,google."
            )
    return tuple(_read_provider(env, name) for name in names)


def detect_providers(providers: tuple[ProviderSettings, ...]) -> list[Detected]:
    """Say which providers there are, without their secrets."""
    return [
        Detected(
            _("sign-in by %(provider)s", provider=each.name),
            _("%(issuer)s as %(client)s, with a secret", issuer=each.issuer, client=each.client_id)
            if each.client_secret
            else _("%(issuer)s as %(client)s, a public client", issuer=each.issuer, client=each.client_id),
            "ECLUSE_OIDC_PROVIDERS",
        )
        for each in providers
    ]


def _read_provider(env: Mapping[str, str], name: str) -> ProviderSettings:
    variables = {last: variable_of(name, last) for last in VARIABLES}
    values = {last: env[variable] for last, variable in variables.items() if variable in env}
    for last in ("issuer", "client_id"):
        if last not in values:
            raise SettingsError(f"ECLUSE_OIDC_PROVIDERS names {name}, and {variables[last]} is not set.")
    _expect_https(variables["issuer"], values["issuer"])
    if "groups_url" in values:
        _expect_https(variables["groups_url"], values["groups_url"])
    secret = values.get("client_secret")
    scopes = " ".join(values.get("scopes", _DEFAULT_SCOPES).split())
    if "openid" not in scopes.split():
        raise SettingsError(
            f"{variables['scopes']}={scopes} lacks openid, without which nobody is known by it."
        )
    return ProviderSettings(
        name=name,
        label=values.get("label", name)[:100],
        issuer=values["issuer"],
        client_id=values["client_id"],
        client_secret=None if secret is None else Secret(secret),
        scopes=scopes,
        verified_claim=values.get("verified_claim", "email_verified"),
        groups_claim=values.get("groups_claim", "groups"),
        groups_url=values.get("groups_url"),
        groups_field=values.get("groups_field", "id"),
        administrators=frozenset(_listed(values.get("administrators", ""))),
        memberships=tuple(
            _group_role(variables["memberships"], each) for each in _listed(values.get("memberships", ""))
        ),
        sign_up=flag(env, variables["sign_up"], default=None),
    )


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _group_role(name: str, text: str) -> GroupRole:
    """Read GROUP=@ORGANISATION:ROLE. The last of these signs count, as the name of a group may have them."""
    group, _, rest = text.rpartition("=")
    handle, _, role = rest.rpartition(":")
    if not group.strip() or not handle.strip().startswith("@") or role.strip() not in ROLES:
        raise SettingsError(
            f"{name}: {text!r} is none. Write GROUP=@ORGANISATION:ROLE, the role one of {', '.join(ROLES)}."
        )
    return GroupRole(group.strip(), handle.strip().removeprefix("@"), role.strip())


def variable_of(provider: str, last: str) -> str:
    """Return the name of a variable of a provider: ECLUSE_OIDC_KEYCLOAK_ISSUER."""
    return f"ECLUSE_OIDC_{provider}_{last}".upper().replace("-", "_")


def _expect_https(name: str, address: str) -> None:
    """Make sure that what is read from an address cannot be changed on its way; this machine needs no https."""
    parts = urlsplit(web_address(name, address))
    if parts.scheme == "https" or _is_this_machine(parts.hostname or ""):
        return
    raise SettingsError(f"{name}={address} has to begin with https://: whoever it says you are, you are.")


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
