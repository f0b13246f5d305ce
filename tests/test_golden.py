"""What the application offers, as files whose diff a review reads: `./test --golden` writes them anew.

A new route, input or option is seen there: who may ask, and whether the input could be an address of a store, a folder
or the web (`docs/concepts/security.md`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from ecluse.cli import cli
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web import security
from ecluse.web.app import make_app
from tests.web.routes import Route, routes
from tools import reference

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture
def is_rewritten(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.option.golden)


def expect(path: Path, text: str, *, is_rewritten: bool) -> None:
    if is_rewritten:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{path.name}: ./test --golden, then read its diff"


def test_routes(tmp_path: Path, is_rewritten: bool) -> None:
    """Method, path, who may ask (a scope is of the API's tokens), and the names of the inputs beside the path."""
    settings = Settings.from_environment({"ECLUSE_STORE_URL": "memory://"}, home=tmp_path / "home")
    with Runtime.open(settings) as runtime:
        lines = [
            f"{method:6} {route.path}  {who(route)}  {' '.join(inputs(route))}".rstrip()
            for route in routes(make_app(runtime))
            for method in route.methods
        ]
    text = "\n".join(sorted(lines, key=lambda line: line.split()[1::-1]))
    expect(GOLDEN / "routes.txt", f"{text}\n", is_rewritten=is_rewritten)


def who(route: Route) -> str:
    scopes = {security.SCOPES[call].value for call in route.calls if call in security.SCOPES}
    if security._administrator in route.calls:
        return "administrator"
    if security._signed_in not in route.calls:
        return "visitor"
    if security.sessions_alone in route.calls:
        return "person"
    return "+".join(sorted(scopes)) or "any-token"


def inputs(route: Route) -> list[str]:
    """`?name` of the query, `name` of a body; `…` where the body may hold files, which the route reads itself."""
    names = {f"?{each.alias}" for part in route.dependants for each in part.query_params}
    for each in (each for part in route.dependants for each in part.body_params):
        annotation = each.field_info.annotation
        is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        names |= set(annotation.model_fields) if is_model else {each.alias}
    return sorted(names) + ["…"] * (route.path in security.upload_addresses())


def test_commands(is_rewritten: bool) -> None:
    """Each command with its arguments and its options; `--name=` takes a value."""
    lines = [f"{title} {' '.join(parameters(command))}".rstrip() for title, command in leaves(cli, "ecluse")]
    expect(GOLDEN / "commands.txt", "\n".join(lines) + "\n", is_rewritten=is_rewritten)


def leaves(command: click.Command, title: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield title, command
        return
    context = click.Context(command, info_name=title)
    for name in sorted(command.list_commands(context)):
        child = command.get_command(context, name)
        assert child is not None, name
        yield from leaves(child, f"{title} {name}")


def parameters(command: click.Command) -> Iterator[str]:
    for each in command.params:
        if isinstance(each, click.Argument):
            yield each.human_readable_name
    for option in sorted(
        (each for each in command.params if isinstance(each, click.Option)), key=lambda o: o.opts
    ):
        yield "/".join((*option.opts, *option.secondary_opts)) + ("" if option.is_flag else "=")


@pytest.mark.parametrize("name", ["settings.md", "thresholds.md", "commands.md", "api.md", reference.GUIDE])
def test_reference(name: str, is_rewritten: bool) -> None:
    expect(reference.TARGET / name, reference.pages()[name], is_rewritten=is_rewritten)
