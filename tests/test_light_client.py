"""`pip install ecluse` alone: what a notebook needs at a server, without the server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ecluse
from tests.application import KEPT, Application, running

ROOT = Path(__file__).parent.parent
#: Distributions of the server that a client does without.
LEFT = (
    "sqlalchemy",
    "fastapi",
    "uvicorn",
    "obstore",
    "scikit-learn",
    "xgboost",
    "onnxruntime",
    "alembic",
    "skops",
)
SESSION = """
import sys, warnings, ecluse
from ecluse.errors import ModelUnreadable, NotSignedIn
with ecluse.Client(*sys.argv[1:3]) as client:
    with client.run("light", rounds=2) as run:
        run.log(1, loss=0.5)
        version = run.publish(sys.argv[3], alias="production")
    client.load("light@production", to=sys.argv[4])
    assert client.models()["name"].to_list() == ["light"]
    assert client.runs("loss < 1")["version"].to_list() == [version.version]
try:
    ecluse.Client(home=sys.argv[4])
except NotSignedIn as error:
    print(error)
print(*(name for name in sys.modules if "." not in name))
"""


#: Commands at a server, and what they say.
COMMANDS = {
    ("models", "publish", "files", "{file}", "--alias", "best"): "files@v",
    ("models", "list", "files"): "best",
    ("models", "list", "--where", "alias=best"): "files",
    ("models", "list", "--help"): "A condition is KEY",
    ("models", "show", "files@best"): "weights.bin",
    ("models", "verify", "files"): "all as published",
    ("models", "alias", "files", "second"): "files@second is v",
    ("models", "download", "files", "{there}"): "all as published",
    ("models", "alias", "files", "best", "--remove"): "removed",
    ("models", "alias", "files", "second", "--remove"): "removed",
    ("models", "delete", "files@latest", "--yes"): "deleted",
    ("runs", "list"): "light",
    ("runs", "list", "--sort", "loss", "--json"): '"value": 0.5',
    ("runs", "show", "{run}"): "rounds",
    ("runs", "compare", "{run}"): "loss",
    ("runs", "send"): "",
}


#: Runs commands in one process where the libraries of the server are hidden.
ONE_AFTER_THE_OTHER = (
    f"import sys\nfor name in {LEFT!r}: sys.modules[name.replace('scikit-learn', 'sklearn')] = None\n"
    """
import io, json
from contextlib import redirect_stderr, redirect_stdout
from ecluse.cli import main
answers = []
for arguments in json.loads(sys.argv[1]):
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as noted:
        try:
            main(arguments)
        except SystemExit as stop:
            answers.append((stop.code, out.getvalue(), noted.getvalue()))
print(json.dumps(answers))
"""
)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with running(tmp_path_factory.mktemp("server") / "home", role="web") as application:
        yield application


def test_commands_at_a_server_need_nothing_of_the_server(application: Application, tmp_path: Path) -> None:
    """With the libraries of the server hidden; what needs them says so."""
    with (
        ecluse.Client(application.address, application.token()) as client,
        client.run("light", rounds=2) as run,
    ):
        run.log(1, loss=0.5)
    (tmp_path / "weights.bin").write_bytes(b"weights")
    words = {"file": tmp_path / "weights.bin", "there": tmp_path / "there", "run": run.id}
    needing = (("models", "list", "--local"), ("runs", "show", run.id, "--local"), ("models", "gc"), ("up",))
    asked = [[word.format(**words) for word in arguments] for arguments in (*COMMANDS, *needing)]
    variables = {name: os.environ[name] for name in KEPT if name in os.environ}
    variables |= {"ECLUSE_URL": application.address, "ECLUSE_TOKEN": application.token()}
    variables |= {"XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", ONE_AFTER_THE_OTHER, json.dumps(asked)],
        capture_output=True, text=True, check=True, cwd=tmp_path, env=variables,
    )  # fmt: skip
    answers = dict(zip((*COMMANDS, *needing), json.loads(done.stdout), strict=True))
    for arguments, expected in COMMANDS.items():
        code, out, noted = answers[arguments]
        assert code == 0, noted
        assert expected in out
    assert (tmp_path / "there" / "weights.bin").read_bytes() == b"weights"
    for arguments in needing:
        code, out, noted = answers[arguments]
        assert (code, 'pip install "ecluse[server]"' in noted, "login" in noted) == (1, True, True), noted


def test_the_client_imports_nothing_of_the_server() -> None:
    """All that a session at a server does, with the libraries of the server hidden."""
    modules = ("sqlalchemy", "alembic", "fastapi", "starlette", "uvicorn", "obstore", "sklearn", "jinja2", "babel",
               "psycopg", "pydantic", "prometheus_client", "PIL", "scipy")  # fmt: skip
    script = (
        f"import sys\nfor name in {modules!r}: sys.modules[name] = None\n"
        "import ecluse, ecluse.client.http, ecluse.client.sending, ecluse.client.fetching, ecluse.client.listing\n"
        "import ecluse.client.package, ecluse.client.answering, ecluse.client.selftest, ecluse.client.kinds.folder\n"
        "import ecluse.cli.login, ecluse.client.kinds.onnx\n"
        "from ecluse.cli import main\n"
        "sys.argv[1:] = ['models', 'list', '--home', '.']\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert 'pip install "ecluse[server]"' in done.stderr


@pytest.mark.nightly
def test_it_publishes_from_an_environment_without_the_server(
    application: Application, tmp_path: Path
) -> None:
    pins = re.findall(
        r"^([a-z0-9][^\\\n]*==[^\\\n]*)", (ROOT / "requirements.lock").read_text(), re.MULTILINE
    )
    (tmp_path / "pins.txt").write_text("\n".join(pins))
    python = tmp_path / "light" / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, str(python.parent.parent)], check=True)
    install = [
        *uv,
        "pip",
        "install",
        "-q",
        "--python",
        str(python),
        "-c",
        str(tmp_path / "pins.txt"),
        str(ROOT),
    ]
    subprocess.run(install, check=True)
    listed = subprocess.run(
        [*uv, "pip", "list", "--python", str(python)], capture_output=True, text=True, check=True
    )
    names = {line.split()[0] for line in listed.stdout.splitlines()[2:]}
    assert names.isdisjoint(LEFT)
    assert len(names) < 30, names
    (tmp_path / "weights.bin").write_bytes(b"weights")
    variables = {name: os.environ[name] for name in KEPT if name in os.environ and name != "PYTHONPATH"}
    variables |= {"XDG_CONFIG_HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(
        [
            str(python), "-c", SESSION, application.address, application.token("light@example.org"),
            str(tmp_path / "weights.bin"), str(tmp_path / "there"),
        ],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "there" / "weights.bin").read_bytes() == b"weights"
    assert 'pip install "ecluse[server]"' in done.stdout
    at = variables | {
        "ECLUSE_URL": application.address,
        "ECLUSE_TOKEN": application.token("light@example.org"),
    }
    for words, expected in (
        (["--help"], "login"),
        (["models", "list"], "light"),
        (["runs", "list"], "light"),
    ):
        command = [str(python.parent / "ecluse"), *words]
        said = subprocess.run(command, capture_output=True, text=True, check=True, env=at).stdout
        assert expected in said
