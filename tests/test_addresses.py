"""Every input of a route or a command that could be an address is placed here: a new one has to be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

import click
import pytest
from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from ecluse import web
from ecluse.cli import cli, commands
from ecluse.web import api, health, pages
from ecluse.web.security import upload_addresses

#: Routes that take an address, and who decides on it. All others below take ids, names, texts and numbers.
ADDRESSES: Final = {
    # A member's is their own or listed: `ecluse.apps.plants.sources.stores.importable`.
    ("POST", "/plants/sets"): {"source"},
    # Pages of the web, which are asked without keys and never on a private network: `ecluse.apps.plants.sources.web`.
    ("POST", "/plants/import-urls"): {"urls"},
    # Administrators alone: `ecluse.web.security.Administrator`, and again in `ecluse.upkeep`.
    ("GET", "/migrations/new"): {"source", "destination", "prefix"},
    ("POST", "/migrations"): {"source", "destination", "prefix"},
    # The key of one's own result, looked up among one's rows: `ecluse.apps.fraud.api.predictions`.
    ("GET", "/download_s3_predictions"): {"key"},
    # The address that an upload returned, looked up among one's rows: `ecluse.apps.fraud.rows.datasets.dataset_by_url`.
    ("POST", "/analyze"): {"filepath"},
    ("POST", "/train"): {"filepath"},
    ("POST", "/predict"): {"filepath"},
    ("POST", "/apply_unlabeled"): {"filepath"},
    # A file that the manifest of one's own version lists: `ecluse.models.links`, `ecluse.registry`.
    ("GET", "/models/{name}/{version}/files/{path:path}"): {"path"},
    ("GET", "/models/{name}/{version}/signed"): {"path"},
    ("POST", "/models/{name}/{version}/link"): {"path"},
    # The path of a file within a version of one's own that is to be: `ecluse.registry.files.checked_files`.
    ("POST", "/models/{name}/uploads"): {"path"},
}  # fmt: skip
#: Commands that take an address as text: who gives them is at a machine of this server, and may name any place.
COMMAND_ADDRESSES: Final = {
    "ecluse plants import": {"source"},
    "ecluse city run": {"raw"}, "ecluse city backtest": {"raw"}, "ecluse city demo": {"raw"},
    "ecluse city fetch": {"raw", "portal"}, "ecluse city check": {"place"},
    "ecluse models import": {"prefix"},
    "ecluse migrate plan": {"source", "destination", "prefix"}, "ecluse migrate run": {"places", "prefix"},
    "ecluse storage ls": {"address"}, "ecluse storage du": {"addresses"}, "ecluse storage cp": {"source", "destination"},
    "ecluse storage rm": {"address"}, "ecluse storage sign": {"address"},
    "ecluse documents create": {"place"}, "ecluse documents copy": {"source", "destination"},
    "ecluse documents show": {"key"},
    # Where backups lie, with the keys of this installation; never in a store that is backed up.
    "ecluse backup create": {"url"}, "ecluse backup list": {"url"}, "ecluse backup verify": {"url"},
    # Folders outside the areas whose rows are taken over all the same: who restores vouches for them.
    "ecluse backup restore": {"url", "outside"}, "ecluse backup prune": {"url"}, "ecluse backup schedule set": {"url"},
    "ecluse upgrade check": {"backups"},
    # The server that this person's programs ask, with the token given with it: `ecluse.client.credentials`.
    "ecluse login": {"url"}, "ecluse logout": {"url"},
    # The server that is read, with what it lets in by: `ecluse.client.mlflow.server`.
    "ecluse import mlflow": {"url"},
}  # fmt: skip
#: Names of inputs that are no address of anything stored.
WORDS: Final = frozenset(
    [
        "thing",
        "owner",
        "reader",
        "a",
        "a_from",
        "a_to",
        "backup_id",  # of digits and letters alone, see `backups.places`
        "recipient",  # a public key
        "code",  # of a second factor
        "alert",
        "alias",
        "aliases",
        "answer",
        "application",
        "architecture",
        "at",
        "b",
        "b_from",
        "b_to",
        "budget",
        "columns",
        "content-digest",
        "counter",
        "current",
        "customer",
        "customer_column",
        "dataset",
        "dataset_id",
        "date",
        "day",
        "days",
        "domain",
        "domains",
        "error",
        "egress",
        "email",
        "epochs",
        "exclude",
        "false_alarm",
        "first",
        "fraud_rate",
        "gives_away",
        "goal",
        "goal_value",
        "group",
        "header_row",
        "host",
        "identifier",
        "if-none-match",
        "ids",
        "image",
        "image_id",
        "image_names",
        "images",
        "imported_label",
        "inspection",
        "institution",
        "job",
        "job_id",
        "jobs",
        "judges",
        "keep",
        "kind",
        "kind_or_day",
        "label",
        "last",
        "leave_out",
        "mapped",
        "meta",
        "metadata",
        "metrics",
        "migration_id",
        "prediction_id",
        "target_column",
        "identifier_columns",
        "excluded",
        "experiments",
        "positive_value",
        "corrections",
        "versions",
        "listening",
        "look",
        "role",
        "only",
        "action",
        "end_others",
        "keep_tokens",
        "administers",
        "model",
        "model_name",
        "models",
        "name",
        "names",
        "new",
        "nonce",
        "offered",
        "older_than",
        "origin",
        "ours",
        "outcomes",
        "parameter",
        "parameters",
        "password",
        "plan",
        "positive",
        "q",
        "rate",
        "recipe",
        "reads",
        "reference",
        "references",
        "repeat",
        "run",
        "run_id",
        "run_ids",
        "search",
        "secret",
        "seed",
        "session_id",
        "set",
        "set_id",
        "set_name",
        "sha256",
        "shares",
        "sheet",
        "sort",
        "split_id",
        "start",
        "state",
        "status",
        "stop",
        "storage_bytes",
        "stored",
        "street",
        "suffix",
        "table",
        "tag",
        "tags",
        "target",
        "upload_bytes",
        "text",
        "theirs",
        "theme",
        "time",
        "time_column",
        "to",
        "token_id",
        "scopes",
        "upload",
        "username",
        "trail",
        "version",
        "view",
        "wanted",
        "was",
        "where",
        "without",
        "from",
        "after",
        "handle",
        "member",
        "invitation",
        "link",
        "organisation",
        "service",  # an id, looked up among those of an organisation
        "program",
        "share",
        "with_whom",
    ]
)


def routes(router: APIRouter) -> Iterator[APIRoute]:
    for route in router.routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            yield from routes(route.original_router)  # type: ignore[attr-defined]


def inputs(route: APIRoute) -> dict[str, Any]:
    """What a route takes, by its name in the request, with its type; a body by its fields."""
    found: dict[str, Any] = {}
    for dependant in _all(route.dependant):
        for kind in ("path", "query", "header", "cookie", "body"):
            for one in getattr(dependant, f"{kind}_params"):
                annotation = one.field_info.annotation
                if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                    found |= dict(_fields(annotation))
                else:
                    found[one.alias] = annotation
    return found


def _all(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for one in dependant.dependencies:
        yield from _all(one)


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        inner = [one for one in (field.annotation, *_args(field.annotation)) if isinstance(one, type)]
        for one in inner:
            if issubclass(one, BaseModel):
                yield from _fields(one)
        yield name, field.annotation


def _args(annotation: Any) -> Iterator[Any]:
    for one in get_args(annotation):
        yield one
        yield from _args(one)


def words(names: set[str]) -> set[str]:
    """Those that are no addresses: the words above, and ids, which are looked up among one's rows."""
    return {name for name in names if name in WORDS or name.endswith("_id")}


def is_text(annotation: Any) -> bool:
    """Whether any text can be given: not a choice of words, a number or a file."""
    return annotation is str or str in _args(annotation)


@pytest.mark.parametrize("router", [api.make_router(), pages.make_router(), health.router])
def test_every_text_that_a_route_takes_is_placed(router: APIRouter) -> None:
    for route in routes(router):
        texts = {name for name, annotation in inputs(route).items() if is_text(annotation)}
        for method in route.methods:
            addresses = ADDRESSES.get((method, route.path.removeprefix("/api")), set())
            left = texts - addresses
            assert left == words(left), f"{method} {route.path} takes {sorted(left - words(left))}"
            assert not addresses & WORDS


def test_every_body_that_is_read_by_hand_is_known() -> None:
    """Their fields stand in no signature: files, and beside them the name of a set and a label; `source` as JSON."""
    assert {
        "/api/upload", "/fraud/upload", "/api/plants/sets", "/plants/import", "/api/plants/predict",
        "/api/plants/predict/batch", "/plants/classify", "/api/tables", "/tables/upload",
    } == upload_addresses()  # fmt: skip
    reading = re.compile(r"\.(body|form|stream|json)\(\)")
    folder = Path(web.__file__).parents[1]
    found = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*.py")
        if reading.search(path.read_text()) and not path.is_relative_to(folder / "client")  # it reads answers
    ]
    assert sorted(found) == [
        "apps/hosted/check.py",  # answers of its own requests
        "apps/hosted/sending.py",  # values for a function; ids are looked up by `file_of`
        "apps/plants/api/sets.py",
        "web/api/inference.py",  # rows of values for a model, which name nothing
        "web/api/publishing.py",  # the bytes of a part, which name nothing
        "web/multipart.py",
        "web/open_inference.py",  # tensors for a model, which name nothing
        "web/pages/account.py",  # the fields of the ways to sign in, which name no address
    ]


def test_routes_that_take_an_address_are_there() -> None:
    there = {
        (method, path): set(inputs(route)) | ({"source"} if path == "/plants/sets" else set())
        for router in (api.make_router(), pages.make_router())
        for route in routes(router)
        for path in [route.path.removeprefix("/api")]
        for method in route.methods
    }
    for one, names in ADDRESSES.items():
        assert names <= there[one]


def subcommands(command: click.Command, title: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield title, command
        return
    context = click.Context(command, info_name=title)
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from subcommands(child, f"{title} {name}")


def test_every_text_that_a_command_takes_is_placed() -> None:
    """A path of a file or folder is of the machine that the command is given at, with the rights of who gives it."""
    context, met = click.Context(cli, info_name="ecluse"), dict[str, set[str]]()
    for name in commands():
        top = cli.get_command(context, name)
        assert top is not None
        for title, command in subcommands(top, f"ecluse {name}"):
            texts = {
                str(one.name) for one in command.params if isinstance(one.type, click.types.StringParamType)
            }
            met[title] = addresses = texts & COMMAND_ADDRESSES.get(title, set())
            left = texts - addresses
            assert left == words(left), f"{title} takes {sorted(left - words(left))}"
    assert {title: names for title, names in met.items() if names} == COMMAND_ADDRESSES
