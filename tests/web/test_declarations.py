"""Pages and operations are declared at once, and built when they are first asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.routing import APIRoute

from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from ecluse.web.declarations import Declarations, DeclaredRoute
from ecluse.web.errors import answers


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    with Runtime.open(Settings.from_environment({}, home=tmp_path)) as runtime:
        yield make_app(runtime)


def declared(app: FastAPI) -> list[DeclaredRoute]:
    return [route for route in app.routes if isinstance(route, DeclaredRoute)]


def ask(app: Any, method: str, path: str) -> httpx.Response:
    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return await client.request(method, path)

    return asyncio.run(answer())


def test_a_start_builds_no_page_and_no_operation_but_what_is_asked_for(app: FastAPI) -> None:
    assert len(declared(app)) > 300
    assert ask(app, "GET", "/readyz").status_code == 200
    assert [route.path for route in declared(app) if "app" in vars(route)] == ["/readyz"]


def test_every_page_and_operation_that_is_declared_can_be_built(app: FastAPI) -> None:
    for route in declared(app):
        assert route.dependant.call is route.endpoint, route.path


def stop() -> None:
    raise HTTPException(418)


def item(name: str, size: Annotated[int, Depends(lambda: 7)]) -> dict[str, Any]:
    return {"name": name, "size": size}


def rows() -> Declarations:
    inner = Declarations(prefix="/rows", tags=["rows"])
    inner.get("/{name}", responses=answers(404))(item)
    inner.post("/{name}", include_in_schema=False)(item)
    return inner


def test_what_is_taken_in_stands_below_with_what_the_router_adds() -> None:
    outer = Declarations(prefix="/api", tags=["all"], dependencies=[Depends(stop)], responses=answers(401))
    outer.take_in(rows())
    app, plain = FastAPI(), FastAPI()
    app.router.routes.extend(outer.routes)
    framework = APIRouter(prefix="/api", tags=["all"], dependencies=[Depends(stop)], responses=answers(401))
    framework.include_router(rows())
    plain.include_router(framework)
    assert app.openapi() == plain.openapi()
    assert list(app.openapi()["paths"]["/api/rows/{name}"]) == ["get"]
    assert ask(app, "GET", "/api/rows/a").status_code == 418


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/rows/a", 200), ("HEAD", "/rows/a", 405), ("PUT", "/rows/a", 405), ("GET", "/rowsa", 404)],
)
def test_a_declared_address_answers_as_the_framework_would(method: str, path: str, status: int) -> None:
    app, plain = FastAPI(), FastAPI()
    app.router.routes.extend(rows().routes)
    plain.include_router(rows())
    answer, expected = ask(app, method, path), ask(plain, method, path)
    assert (answer.status_code, answer.content) == (expected.status_code, expected.content)
    assert answer.status_code == status


def test_a_router_of_another_application_is_taken_in_as_it_is() -> None:
    other = APIRouter(prefix="/texts")
    other.get("/{name}")(item)
    outer = Declarations(prefix="/api")
    outer.take_in(other)
    app = FastAPI()
    app.router.routes.extend(outer.routes)
    assert ask(app, "GET", "/api/texts/a").json() == {"name": "a", "size": 7}
    assert not any(isinstance(route, APIRoute) and route.path == "/texts/{name}" for route in app.routes)
