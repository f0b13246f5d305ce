"""Take in the pages and operations of applications, so that none hides what is there already."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts

from ecluse.application import OURS, Application, guarded, leave_out, parts
from ecluse.web.declarations import Declarations


def include_parts(router: Declarations, name: str, *, ours: bool) -> None:
    """Add the routers that applications name in a field: those of our own, or those of others."""
    for application, brought in parts(name):
        if (application.distribution == OURS) is not ours:
            continue
        # Ours are known not to be in each other's way, and to read every address takes time.
        if ours or not (reason := _clash(router, brought)):
            with guarded(application, f"{name} {brought.prefix}"):
                describes = ours or name != "api" or can_describe(application, brought)
                router.take_in(brought, include_in_schema=describes)
        else:
            leave_out(application, f"{name} {brought.prefix}", reason)


def can_describe(application: Application, router: APIRouter) -> bool:
    """Return whether the description of the API can hold a router of an application; if not, it is left out there.

    One operation that cannot be described would leave all of them without a description.
    """
    with guarded(application, f"openapi {router.prefix}"):
        get_openapi(title=application.name, version="1", routes=router.routes)
        return True
    return False


def _clash(router: APIRouter, brought: APIRouter) -> str:
    """Say which address of a router another one has, or keeps from others; nothing where there is none."""
    answered = set(_addresses(router))
    for method, address in _addresses(brought):
        if (method, router.prefix + address) in answered:
            return f"There is {method} {router.prefix}{address} already."
        if not re.match(r"/[^/{]+", address):
            return (
                f'{method} "{address}" would answer what others are asked for: begin with a word of your own.'
            )
    return ""


def _addresses(router: APIRouter) -> Iterator[tuple[str, str]]:
    """List what a router answers: methods, and addresses with each place for a value as `{}`."""
    for route in iter_route_contexts(router.routes):
        address = re.sub(r"\{[^}]*\}", "{}", route.path or "")
        for method in route.methods or ("*",):
            yield method, address
