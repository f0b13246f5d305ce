"""Install applications that are broken in every way that was found, beside ours: each takes nothing down but itself."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from sqlalchemy import update

from ecluse import application, cli, people, work
from ecluse.application import GROUP, RESERVED, Application, applications, failures, folders, installed
from ecluse.catalog import users
from ecluse.catalog.tables import JobRow, ModelVersion, Run, now
from ecluse.cli import doctor
from ecluse.errors import ApplicationBroken
from ecluse.models import Imported, import_folder
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web import i18n, security, templating
from ecluse.web.app import make_app
from ecluse.web.i18n import Words
from ecluse.web.pages.storage import stored_kinds
from tests.web.routes import routes
from tests.web.within import Within

#: What is remembered of the installation.
REMEMBERED = (
    installed,
    folders,
    work.kinds,
    templating.environment,
    templating.static_url,
    security.upload_addresses,
    i18n._catalogue,
)
START = (
    "from ecluse.application import Application, Command, StoredKind\nfrom ecluse.jobs import JobKind, Link\n"
)
#: The name of an application, what it says of itself, what its module holds besides, and why it is left out.
BROKEN = {
    "badname": ("7, title='Bad'", "", "cannot be the name of an application"),
    "vendor": ("'vendor', title='Vendor'", "", "cannot be the name of an application"),
    "alembic": ("'alembic'", "", "cannot be the name of an application"),
    "badorder": ("'badorder', order='first'", "", "order: 'first' is of type str and not int"),
    "badtitle": ("'badtitle', title='50 %'", "", 'title: "50 %" cannot be filled in'),
    "badaddress": ("'badaddress', title='A', address='javascript:1'", "", "address: "),
    "badtags": ("'badtags', tags=['x']", "", "tags: ['x'] is of type list"),
    "baduploads": ("'baduploads', uploads=7", "", "uploads: 7 is of type int"),
    "badpages": ("'badpages', pages=7", "", "pages: 7 is of type int"),
    "badstored": (
        "'badstored', stored={'models': StoredKind('Mine', 'Mine'), 'x': StoredKind('X', 'X')}",
        "",
        'files of the kind "models" already',
    ),
    "badbraces": ("'badbraces', stored={'y': StoredKind('Y', 'Y', '/y', '/y/{no}')}", "", "cannot be filled"),
    "badrouter": (
        "'badrouter', pages=('MODULE:router',)",
        "router = 7",
        "7 is of type int and not APIRouter",
    ),
    "badruns": ("'badruns', runs='MODULE:RUNS'", "RUNS = {'kinds': 7}", "not TrackedRuns"),
    "badmetrics": ("'badmetrics', metrics='MODULE:METRICS'", "METRICS = ['auc']", "not Metric"),
    "badjobs": (
        "'badjobs', jobs=('MODULE:KINDS',)",
        "KINDS = [1]",
        "jobs: MODULE:KINDS: [1] is of type list",
    ),
    "badkind": (
        "'badkind', jobs=('MODULE:KINDS',)",
        "KINDS = {'k': JobKind(run=print, queue='q', title=7)}",
        "k: title: 7 is of type int",
    ),
    "idle": (
        "'idle', jobs=('MODULE:KINDS',)",
        "KINDS = {'k': JobKind(run=print, queue='q', at_once=0)}",
        "at_once: 0 jobs at once",
    ),
    "samejob": (
        "'samejob', order=1, jobs=('MODULE:KINDS',)",
        "KINDS = {'train': JobKind(run=print, queue='mine')}",
        'There is a kind of job "train" already',
    ),
    "badresult": (
        "'badresult', jobs=('MODULE:KINDS',)",
        "KINDS = {'lost': JobKind(run=print, queue='q', result=lambda t, j: 1 / 0)}",
        "result of lost failed: ZeroDivisionError",
    ),
    "badowned": ("'badowned', owned={'runs': 'MODULE:X', 'z': 'MODULE:X'}", "X = 7", "7 is no class of rows"),
    "badsettings": ("'badsettings', settings='MODULE:S'", "S = 7", "7 is of type int and not Section"),
    "badreading": (
        "'badreading', settings='MODULE:S'",
        "from ecluse.settings import Section\nclass V: pass\nS = Section(V, {}, lambda env: 1 / 0)",
        "settings failed: ZeroDivisionError",
    ),
    "badcommand": (
        "'badcommand', commands={'x': Command(7, 'Line')}",
        "",
        "commands: x: reference: 7 is of type",
    ),
    "samecommand": (
        "'samecommand', order=1, commands={'fraud': Command('MODULE:x', 'Mine')}",
        "",
        '"fraud" already',
    ),
    "nocommand": (
        "'nocommand', commands={'nocommand': Command('MODULE:x', 'L')}",
        "x = 7",
        "7 is of type int",
    ),
    "badhook": (
        "'badhook', web='MODULE:hold'",
        "def hold(app): raise ValueError('hook')",
        "web failed: ValueError",
    ),
    "badcard": (
        "'badcard', title='C', card='MODULE:card'",
        "def card(t, u): return 1 / 0",
        "card failed: ZeroD",
    ),
    "nocard": (
        "'nocard', title='C', card='MODULE:card'",
        "def card(t, u): return {}",
        "card failed: TemplateNotF",
    ),
    "badlatest": (
        "'badlatest', latest='MODULE:latest'",
        "def latest(*a): return [7]",
        "latest failed: TypeError",
    ),
    "badsql": (
        "'badsql', latest='MODULE:latest'",
        "from sqlalchemy import text\ndef latest(t, *a): t.execute(text('SELECT no FROM nothing'))",
        "latest failed: OperationalError",
    ),
    "badpart": ("'badpart', run_part='badpart/none.html'", "", "run_part failed: TemplateNotFound"),
    "badsources": (
        "'badsources', sources='MODULE:f'",
        "def f(*a): return 1 / 0",
        "sources failed: ZeroDivisionError",
    ),
    "badhand": (
        "'badhand', hand_over='MODULE:f'",
        "def f(*a): raise ValueError('kept')",
        "hand_over failed: ValueE",
    ),
    "badshared": (
        "'badshared', shared='MODULE:f'",
        "def f(*a): return 1 / 0",
        "shared failed: ZeroDivisionError",
    ),
    "baddue": (
        "'baddue', due=('MODULE:due',)",
        "from ecluse.errors import InvalidInput\ndef due(r): raise InvalidInput('never')",
        "due failed: InvalidInput: never",
    ),
    "badpage": ("'badpage', model_page='MODULE:f'", "def f(*a): return 1 / 0", "model_page failed: ZeroD"),
    "nopage": (
        "'nopage', model_page='MODULE:f'",
        "from ecluse.web.pages.models import ModelPage\ndef f(*a): return ModelPage('nopage/none.html', {})",
        "model_page failed: TemplateNotFound",
    ),
    "badcomparison": (
        "'badcomparison', model_comparison='MODULE:f'",
        "def f(*a): return {'figures': 7}",
        "model_comparison failed: TypeError",
    ),
    "badfacts": (
        "'badfacts', runs='MODULE:R'",
        "from ecluse.tracking.kinds import TrackedRuns\n"
        "R = TrackedRuns(facts=lambda t, r: [7], may_repeat=lambda r: 1 / 0)",
        "facts failed: TypeError: 7 is of type int and not Fact",
    ),
    "badschema": (
        "'badschema', api=('MODULE:router',)",
        "from collections.abc import Callable\nfrom fastapi import APIRouter\nfrom pydantic import BaseModel\n"
        "class Body(BaseModel):\n    f: Callable[[], int] | None = None\n    x: int = 1\n"
        "router = APIRouter(prefix='/badschema')\n"
        "router.add_api_route('/x', lambda: {}, response_model=Body, response_model_exclude={'f'})",
        "openapi /badschema failed: PydanticInvalidForJsonSchema",
    ),
    "baderror": (
        "'baderror', errors={'not_found': 'MODULE:f', 'run_not_found': 'MODULE:f'}",
        "from ecluse.web.errors import ErrorPage\ndef f(error): return ErrorPage('baderror/none.html', {}, {})",
        "failed: TemplateNotFound",
    ),
    "badfilter": ("'badfilter', filters={'num': 'MODULE:f'}", "f = str", 'a filter "num" already'),
    "sameaddress": (
        "'sameaddress', order=1, api=('MODULE:router',)",
        "from fastapi import APIRouter\nrouter = APIRouter()\nrouter.add_api_route('/models', lambda: {})",
        "There is GET /api/models already",
    ),
    "everything": (
        "'everything', order=1, pages=('MODULE:router',)",
        "from fastapi import APIRouter\nrouter = APIRouter()\nrouter.add_api_route('/{page:path}', lambda: {})",
        "would answer what others are asked for",
    ),
    "nowhere": (
        "'nowhere', pages=('MODULE:router',)",
        "from fastapi import APIRouter\nrouter = APIRouter()\nrouter.add_api_route('', lambda: {})",
        "would answer what others are asked for",
    ),
    "badwords": ("'badwords', title='Words of mine'", "", "messages.po cannot be read"),
    "badplaces": ("'badplaces', title='Places'", "", 'names b, which "%(a)s" does not'),
}
FILES = {
    "broken_vendor/static/htmx.min.js": "alert()",
    "broken_badwords/locale/fr/LC_MESSAGES/messages.po": '<<<<<<< mine\nmsgid "Words of mine"\nmsgstr "x"\n',
    "broken_badplaces/locale/fr/LC_MESSAGES/messages.po": 'msgid ""\nmsgstr ""\n\nmsgid "%(a)s"\nmsgstr "%(b)s"\n',
}


@pytest.fixture(scope="module")
def ours() -> list[Application]:
    return list(applications())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, ours: list[Application]) -> Iterator[Path]:
    """Install them all, until the tests of this module are done."""
    folder = tmp_path_factory.mktemp("site")
    for name, (fields, code, _reason) in BROKEN.items():
        package = folder / f"broken_{name}"
        package.mkdir()
        (package / "__init__.py").touch()
        body = f"{START}{code}\nAPPLICATION = Application({fields})\n".replace(
            "MODULE", f"broken_{name}.application"
        )
        (package / "application.py").write_text(body)
        information = folder / f"{name}-1.0.dist-info"
        information.mkdir()
        (information / "entry_points.txt").write_text(
            f"[{GROUP}]\n{name} = broken_{name}.application:APPLICATION\n"
        )
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(application, "_failures", {})
        patch.syspath_prepend(str(folder))
        for function in REMEMBERED:
            function.cache_clear()
        yield folder
    for name in [name for name in sys.modules if name.startswith("broken_")]:
        del sys.modules[name]
    for function in REMEMBERED:
        function.cache_clear()


@pytest.fixture(scope="module")
def app(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    with Runtime.open(Settings.from_environment({}, home=tmp_path_factory.mktemp("home"))) as runtime:
        yield make_app(runtime)


@pytest.fixture(scope="module")
def web(app: FastAPI, tmp_path_factory: pytest.TempPathFactory) -> Within:
    return Within.enter(app, tmp_path_factory.mktemp("models") / "models")


@pytest.fixture(scope="module")
def used(web: Within) -> Within:
    """Use what loops over the applications: pages, a sweep of a worker, a removal, every part."""
    pages = (
        "/",
        "/?lang=fr",
        "/jobs",
        "/models",
        "/runs",
        "/storage",
        "/account",
        "/fraud",
        "/city",
        "/plants",
    )
    end_job(web, "lost")
    with web.runtime.catalog.write() as transaction:
        version = ModelVersion(
            user_id=web.user_id, name="m", version="1", application="badsources", url="file:///m"
        )
        run = Run(user_id=web.user_id, application="x", kind="y", name="m", status="done")
        of_others = [
            ModelVersion(
                user_id=web.user_id, name=name, version=number, application=name, url=f"file:///{name}"
            )
            for name in ("badpage", "nopage", "badcomparison")
            for number in ("1", "2")
        ]
        version_of_run = ModelVersion(
            user_id=web.user_id, name="made", version="1", application="badfacts", url="file:///made"
        )
        own_run = Run(
            user_id=web.user_id, application="badfacts", kind="y", name="made", version="1", status="done"
        )
        transaction.add_all((run, version, *of_others, version_of_run, own_run))
    named = (f"/runs/{run.id}", f"/runs/{own_run.id}", "/models/m/1")
    for address in (*pages, *named):
        answer = web.ask("GET", address)
        assert answer.status_code == 200, (address, answer.text[-2000:])
    for address in ("/models/badpage/1", "/models/nopage/1", "/models/badcomparison/compare"):
        answer = web.ask("GET", address)
        assert answer.status_code == 200, (address, answer.text[-2000:])
        assert "failed and is left out" in answer.text
    assert web.ask("GET", "/runs/none", headers={"accept": "text/html"}).status_code == 404
    work.reconcile(web.runtime)
    cli.commands()
    web.runtime.accounts.add("leaves@example.org")
    people.remove(web.runtime, "leaves@example.org")
    assert share_a_model(web).problems == ("badshared has not recorded it; the log says why.",)
    for owner in applications():
        for field, reference in application.references(owner):
            application.part(owner, field, reference)
    return web


def share_a_model(web: Within) -> Imported:
    """Import a model for everyone, as an administrator does."""
    folder = web.folder.parent / "shared" / "dataset1"
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"x")
    boss = web.runtime.accounts.add("boss@example.org", admin=True)
    (imported,) = import_folder(web.runtime, boss, folder.parent, prefix="automl_models")
    assert imported.outcome == "published"
    return imported


def end_job(web: Within, kind: str) -> None:
    """Leave a job that is done, as a worker does."""
    job = web.runtime.jobs.enqueue(kind, "q", web.user_id, "Lost", {})
    with web.runtime.catalog.write() as transaction:
        ended = update(JobRow).where(JobRow.id == job)
        transaction.execute(ended.values(status="done", started_at=now(), finished_at=now()))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_application_is_listed_with_its_reason(used: Within, name: str) -> None:
    reasons = [broken.reason for broken in failures() if broken.name == name]
    expected = BROKEN[name][2].replace("MODULE", f"broken_{name}.application")
    assert any(expected in reason for reason in reasons), reasons


def test_what_comes_first_keeps_its_name_and_ours_come_first(used: Within, ours: list[Application]) -> None:
    assert all(owner in applications() for owner in ours)
    assert work.kinds()["train"].queue == "train"
    assert "k" not in work.kinds()
    assert stored_kinds()["models"].title == "Model versions"
    assert stored_kinds()["x"].title == "X"
    assert cli.commands()["fraud"][0] == "ecluse.apps.fraud.commands.main"
    assert dict(users.owned_kinds())["runs"] is Run
    number = templating.environment().from_string("{{ 1234.5|num(1) }}").render(say=Words("fr"))
    assert number == "1\N{NO-BREAK SPACE}234,5"
    assert Words("fr")._("Words of mine") == "Words of mine"
    assert Words("fr")._("Models") == "Modèles"
    assert "m" in {model["name"] for model in used.ask("GET", "/api/models").json()}
    assert used.ask("GET", "/no/such/page").status_code == 404
    described = used.ask("GET", "/openapi.json").json()["paths"]
    assert "/api/models" in described
    assert "/api/badschema/x" not in described
    assert used.ask("GET", "/api/badschema/x").json() == {"x": 1}


def test_what_is_left_out_is_named_by_the_checks_and_readiness_stays(used: Within) -> None:
    answer = used.ask("GET", "/readyz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert set(BROKEN) == set(answer.json()["left_out"])
    assert "badcard: card" in answer.json()["left_out_parts"]
    assert "ZeroDivisionError" not in answer.text
    with pytest.raises(ApplicationBroken) as refused:
        doctor.CHECKS["applications"](used.runtime.settings)
    assert all(f"{name} (" in str(refused.value) for name in BROKEN)
    assert "x = 7" not in str(refused.value)


def test_no_application_takes_a_word_of_the_shell(within_app: FastAPI) -> None:
    """Neither a first word of our pages or of the API, nor a folder of ours that one of the same name would hide."""
    ways = [path.strip("/").split("/") for path in (route.path for route in routes(within_app))]
    words = {way[0] for way in ways} | {way[1] for way in ways if way[0] == "api" and len(way) > 1}
    here = Path(templating.__file__).parent
    for folder in (here / "static", here / "templates"):
        words |= {path.name for path in folder.iterdir() if path.is_dir()}
    own = {application.name for application in applications()}
    possible = {word for word in words if re.fullmatch("[a-z][a-z0-9_]*", word)} - own
    assert possible <= RESERVED
    assert {"vendor", "models", "jobs", "oauth", "usage"} <= possible
    assert set(cli.SHELL) <= RESERVED
