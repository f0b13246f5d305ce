"""The routes of an application, those of included routers too, with who may ask them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant

from ecluse.web import security

#: What is no page and no part of the API, and is the same for everyone.
OF_NOBODY = {"/oauth/token", "/static", "/metrics", "/livez", "/readyz", "/openapi.json", "/api/city/health"}


@dataclass(frozen=True)
class Route:
    methods: tuple[str, ...]
    path: str
    #: What is called for the route, itself and its dependencies, and theirs; nothing of what is mounted.
    dependants: tuple[Dependant, ...]

    @property
    def calls(self) -> frozenset[Any]:
        return frozenset(each.call for each in self.dependants)


def routes(app: FastAPI) -> list[Route]:
    return [
        Route(
            tuple(sorted(getattr(route, "methods", None) or ["GET"])),
            route.path,
            tuple(_dependants(getattr(route, "dependant", None))),
        )
        for route in _walk(app.routes)
    ]


def administers(app: FastAPI) -> set[tuple[str, str]]:
    """What administers, of the API: a token does it only if it was made for that, by an administrator."""
    return {
        (method, route.path)
        for route in routes(app)
        for method in route.methods
        if route.path.startswith("/api/") and security._administrator in route.calls
    }


def _walk(found: Any) -> Iterator[Any]:
    for route in found:
        if hasattr(route, "effective_candidates"):
            yield from _walk(route.effective_candidates())
        else:
            yield route


def _dependants(dependant: Dependant | None) -> Iterator[Dependant]:
    if dependant is not None:
        yield dependant
        for part in dependant.dependencies:
            yield from _dependants(part)
