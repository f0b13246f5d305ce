"""Write docs/reference from the code: settings, thresholds, commands, HTTP API; and the inputs of the city's guide.

`just docs` runs it; a test holds it current.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from ecluse.apps.city.sources import forms
from ecluse.apps.city.sources.forms import describe
from ecluse.apps.city.thresholds import Thresholds
from ecluse.cli import cli, commands
from ecluse.runtime import Runtime
from ecluse.settings import Settings, schemes, variables

TARGET = Path(__file__).parents[1] / "docs" / "reference"
#: A guide one section of which is written from the code; it stands between these marks.
GUIDE = "../guides/city-data.md"
BEGIN, END = "<!-- from the code: just docs -->\n", "<!-- end -->\n"


def pages() -> dict[str, str]:
    """File name → text of every generated page."""
    return {
        "settings.md": _settings(),
        "thresholds.md": _thresholds(),
        "commands.md": _commands(),
        "api.md": _api(),
        GUIDE: _guide(),
    }


def _guide() -> str:
    before, _, rest = (TARGET / GUIDE).read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{describe(forms())}\n{END}{after}"


def _settings() -> str:
    lines = [
        "# Settings",
        "",
        "Read from the environment when a process starts. `ecluse doctor` shows what was decided and why.",
        "",
    ]
    lines += ["| address of a store | where objects lie | signed addresses |", "|---|---|---|"]
    lines += [
        f"| `{scheme.form}` | {scheme.title} | {'yes' if scheme.signs else 'no'} |" for scheme in schemes()
    ]
    lines += ["", "| variable | meaning |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in variables().items()]
    return "\n".join(lines) + "\n"


def _thresholds() -> str:
    lines = [
        "# Thresholds of the city",
        "",
        "The numbers that the rules of a city's day rest on. Those that differ are set by name:",
        "`ECLUSE_CITY_THRESHOLDS=rain=4,wind=40`.",
        "",
        "| name | value | unit | where it comes from |",
        "|---|---|---|---|",
    ]
    for one in fields(Thresholds):
        lines.append(
            f"| `{one.name}` | {one.default:g} | {one.metadata['unit']} | {one.metadata['source']} |"
        )
    return "\n".join(lines) + "\n"


def _commands() -> str:
    lines = [
        "# Commands",
        "",
        "`./run COMMAND …` in a checkout, `ecluse COMMAND …` where the package is installed.",
        "",
    ]
    lines += ["Exit codes: 0 done, 1 expected failure, 2 wrong usage, 130 stopped with Ctrl-C.", ""]
    context = click.Context(cli, info_name="ecluse")
    for name in commands():
        command = cli.get_command(context, name)
        assert command is not None
        for title, one in _leaves(command, f"ecluse {name}"):
            lines += [f"## {title}", "", "```", _help(one, title), "```", ""]
    return "\n".join(lines)


def _leaves(command: click.Command, title: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=title)
        # In the order of their definition; a group that imports its commands when they are run lists them itself.
        for name in list(command.commands) or command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from _leaves(child, f"{title} {name}")
    else:
        yield title, command


def _help(command: click.Command, title: str) -> str:
    command._help_option = None  # kept by click from when it was asked last, perhaps by itself, without -h
    context = click.Context(
        command,
        info_name=title,
        terminal_width=100,
        max_content_width=100,
        help_option_names=["-h", "--help"],
    )
    return command.get_help(context)


def _api() -> str:
    from ecluse.web.app import make_app

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_environment({"ECLUSE_STORE_URL": "memory://"}, home=Path(folder))
        with Runtime.open(settings) as runtime:
            schema: dict[str, Any] = make_app(runtime).openapi()
    lines = [
        "# HTTP API",
        "",
        "The same description as JSON: `GET /openapi.json`.",
        "",
        schema["info"]["description"].strip(),
        "",
    ]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            lines += _operation(path, method, operation, schema["components"]["schemas"])
    return "\n".join(lines)


def _operation(
    path: str, method: str, operation: dict[str, Any], schemas: dict[str, dict[str, Any]]
) -> list[str]:
    lines = [f"## {method.upper()} {path}", "", operation.get("description", operation["summary"]), ""]
    parameters = [
        f"`{p['name']}`{'' if p.get('required') else ' (optional)'}" for p in operation.get("parameters", [])
    ]
    if parameters:
        lines += [f"Parameters: {', '.join(parameters)}", ""]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        lines += _body(kind, content["schema"], schemas)
    for scheme in operation.get("security", []):
        lines += [f"Token: {', '.join(f'`{scope}`' for scope in scheme['token'])}", ""]
    answers = sorted(operation["responses"].items())
    told = "; ".join(f"{status} {answer['description']}" for status, answer in answers)
    return [*lines, f"Answers: {told}", ""]


def _body(kind: str, schema: dict[str, Any], schemas: dict[str, dict[str, Any]]) -> list[str]:
    if "$ref" in schema:
        schema = schemas[schema["$ref"].rsplit("/", 1)[-1]]
    if "properties" not in schema:
        return [f"Body, `{kind}`: the file itself.", ""]
    lines = [f"Body, `{kind}`:", "", "| field | type | default | description |", "|---|---|---|---|"]
    for name, field in schema["properties"].items():
        default = "required" if name in schema.get("required", []) else f"`{_default(field.get('default'))}`"
        lines.append(f"| `{name}` | {_type(field)} | {default} | {field.get('description', '')} |")
    return [*lines, ""]


def _default(value: object) -> str:
    """Write a default as JSON, a whole number without a decimal point."""
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _type(field: dict[str, Any]) -> str:
    """A field's type in words, with its bounds."""
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"])
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        return f"`{field['$ref'].rsplit('/', 1)[1]}`"
    if field["type"] == "array":
        return f"array of {_type(field['items'])}"
    if "binary" in (field.get("format"), field.get("contentEncoding")):
        return "file"
    bounds = [
        f"{word} {field[key]:g}"
        for key, word in (("minimum", "at least"), ("maximum", "at most"))
        if key in field
    ]
    return " ".join([field["type"], ", ".join(bounds)]).strip()


if __name__ == "__main__":
    TARGET.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (TARGET / name).write_text(text)
        print(TARGET / name, file=sys.stderr)
