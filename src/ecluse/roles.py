"""Name the roles of organisations: what a member or a service account of one may. Everything else reads them here."""

from __future__ import annotations

from typing import Final, Literal

#: What a member of an organisation may: all of it; make and change things; read, download and ask for predictions.
MemberRole = Literal["owner", "member", "viewer"]
ROLES: Final[tuple[MemberRole, ...]] = ("owner", "member", "viewer")
#: The roles of those who make and change what is the organisation's.
MAKING_ROLES: Final[tuple[MemberRole, ...]] = ("owner", "member")
#: What a service account may: make and change what is the organisation's; or read it and ask its models.
ServiceRole = Literal["member", "viewer"]
SERVICE_ROLES: Final[tuple[ServiceRole, ...]] = ("member", "viewer")
