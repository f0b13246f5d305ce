"""Declare pages and operations; what answers one is built when it is first asked for, or described.

The framework builds what answers an address, with all that it depends on, where the address is declared, and again for
each router that takes it in: of some four hundred addresses that is more than half of a start, and a process is asked
for few of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final

from fastapi import APIRouter
from fastapi.params import Depends
from fastapi.routing import APIRoute, request_response
from starlette._utils import get_route_path
from starlette.routing import Match, compile_path
from starlette.types import Scope

from ecluse.web.reads import is_read, reading

_building: Final = threading.RLock()


class DeclaredRoute(APIRoute):
    """An address, its methods and the function that answers; all else is there once it is asked for."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: Sequence[str] | None = None,
        **declared: Any,
    ) -> None:
        """Take the same as the framework's own, which is built of it later."""
        self.path, self.endpoint = path, endpoint
        self._methods = [method.upper() for method in methods or ["GET"]]
        self.methods = {*self._methods}
        self.name = declared.get("name") or endpoint.__name__
        self.include_in_schema = declared.get("include_in_schema", True)
        self._declared = declared
        self._begins = path.partition("{")[0]

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Say whether a request is meant; most of them are not, which their first letters tell."""
        if scope["type"] != "http" or not get_route_path(scope).startswith(self._begins):
            return Match.NONE, {}
        return super().matches(scope)

    def __getattr__(self, name: str) -> Any:
        """Build all that a declaration leaves for later, at the first look at any of it.

        Raises:
            AttributeError: a route has nothing of this name.
        """
        if name.startswith("__") or "_declared" not in self.__dict__:
            raise AttributeError(name)
        if name in ("path_regex", "path_format", "param_convertors"):
            self.path_regex, self.path_format, self.param_convertors = compile_path(self.path)
        else:
            self.build()
        return object.__getattribute__(self, name)

    def build(self) -> None:
        """Build what answers, once."""
        with _building:
            if "app" not in self.__dict__:
                super().__init__(self.path, self.endpoint, methods=self._methods, **self._declared)
                if is_read(self):
                    self.app = request_response(reading(self))

    def below(self, router: APIRouter, *, include_in_schema: bool) -> DeclaredRoute:
        """Return the same as `router` takes it in: below its prefix, with its dependencies, answers and words."""
        declared = self._declared
        return DeclaredRoute(
            router.prefix + self.path,
            self.endpoint,
            methods=self._methods,
            **declared
            | {
                "dependencies": [*router.dependencies, *declared["dependencies"]],
                "responses": {**router.responses, **declared["responses"]},
                "tags": [*router.tags, *declared["tags"]],
                "include_in_schema": include_in_schema and self.include_in_schema,
            },
        )


class Declarations(APIRouter):
    """The addresses of a file, or of all files of a kind. A router of another application is taken in as it is."""

    def __init__(
        self,
        *,
        prefix: str = "",
        tags: Sequence[str] = (),
        dependencies: Sequence[Depends] = (),
        responses: dict[int | str, dict[str, Any]] | None = None,
        include_in_schema: bool = True,
    ) -> None:
        super().__init__(
            prefix=prefix,
            tags=[*tags],
            dependencies=dependencies,
            responses=responses,
            include_in_schema=include_in_schema,
            route_class=DeclaredRoute,
        )

    def take_in(self, router: APIRouter, *, include_in_schema: bool = True) -> None:
        """Add what another declares, at the end."""
        if not isinstance(router, Declarations):
            self.include_router(router, include_in_schema=include_in_schema)
            return
        describes = self.include_in_schema and include_in_schema
        for route in router.routes:
            if isinstance(route, DeclaredRoute):
                route = route.below(self, include_in_schema=describes)
            self.routes.append(route)
