"""A client and a server: signing in, being away, and going on where something broke off."""

from __future__ import annotations

import doctest
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import ecluse
from ecluse.client import credentials, outbox, server
from ecluse.client.places import uploads_folder, waiting_folder
from ecluse.errors import InvalidInput, NotSignedIn, ServerAway, ServerRefused, SettingsError
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import KEPT, Application, run_ecluse, running
from tests.faults import Fault, FaultProxy, fault_proxy
from tests.forking import run_forked


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    with running(tmp_path_factory.mktemp("server") / "home", role="web") as application:
        yield application


@pytest.fixture(scope="module")
def token(application: Application) -> str:
    return application.token()


@pytest.fixture(autouse=True)
def private_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what a person has signed in to out of the tests, and the tests out of that."""
    for variable in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    for variable in ("ECLUSE_URL", "ECLUSE_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(server, "PATIENCE", 5.0)


@pytest.fixture
def proxy(application: Application) -> Iterator[FaultProxy]:
    with fault_proxy(application.address) as proxy:
        yield proxy


def command(application: Application, *arguments: str) -> tuple[int, str]:
    places = {
        name: os.environ[name] for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", *KEPT) if name in os.environ
    }
    done = run_ecluse(application.home.parent / "other", places, *arguments)
    return done.returncode, done.stdout + done.stderr


def test_signing_in_checks_the_token_and_keeps_it_for_its_owner_alone(
    application: Application, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NotSignedIn, match="does not know this token"):
        ecluse.login(application.address, "wrong")
    assert not credentials.file().exists()
    client = ecluse.login(f"{application.address}/", token)
    assert stat.S_IMODE(credentials.file().stat().st_mode) == 0o600
    assert ecluse.Client().address == client.address == application.address
    assert token not in repr(client) + repr(credentials.chosen()) + "".join(capsys.readouterr())
    with pytest.raises(NotSignedIn, match="ecluse login http://elsewhere"):
        ecluse.Client("http://elsewhere")
    assert credentials.forget() == application.address
    assert credentials.chosen() is None
    credentials.file().write_text("{")
    with pytest.raises(SettingsError, match="damaged"):
        ecluse.Client()
    ecluse.client.use(None)


def test_the_environment_wins_over_what_was_signed_in_to(
    application: Application, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ecluse.client.use(ecluse.login(application.address, token))
    monkeypatch.setenv("ECLUSE_URL", "https://other.example.org/")
    with pytest.raises(NotSignedIn, match=r"other\.example\.org"):
        ecluse.Client()
    monkeypatch.setenv("ECLUSE_TOKEN", "its own")
    assert credentials.chosen() == credentials.Credentials("https://other.example.org", "its own")
    ecluse.client.use(None)


def test_the_example_of_signing_in_holds(
    application: Application, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"ecluse": ecluse, "address": application.address, "token": token}
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder(recurse=False).find(ecluse.login, "login", globs=places):
        runner.run(test)
    ecluse.client.use(None)
    assert runner.summarize(verbose=False) == (0, 1), capsys.readouterr().out


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ml.example.org",
        "ftp://ml.example.org",
        "https://me:secret@ml.example.org",
        "http://[x",
        "https://x/?a",
    ],
)
def test_what_is_no_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidInput, match="no address") as error:
        ecluse.login(url, "token")
    assert "secret" not in str(error.value)


def test_what_is_no_ecluse_is_said_to_be(application: Application) -> None:
    with pytest.raises(ServerRefused, match="does not answer /api/me as Écluse does"):
        ecluse.login(f"{application.address}/static", "token")
    with pytest.raises(ServerAway, match="does not answer"):
        ecluse.login("http://127.0.0.1:9", "token")


def test_a_run_goes_on_while_the_server_is_away_and_is_sent_at_its_end(
    application: Application, token: str, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "FLUSH_SECONDS", 0.0)
    with ecluse.Client(proxy.endpoint, token) as client:
        proxy.rate(1.0, [Fault.RESET])
        with client.run("sent-at-its-end", rounds=3) as run:
            for step in range(3):
                run.log(step, loss=3 - step)
            assert run.id is None
            with pytest.raises(ServerAway, match="nothing was published"):
                run.publish(__file__)
            proxy.clear()
        (kept,) = client.runs(name="sent-at-its-end").to_dicts()
        assert (kept["status"], kept["loss"], kept["rounds"]) == ("done", 1.0, 3)
    assert list(waiting_folder().iterdir()) == []


def test_a_run_whose_server_stayed_away_is_sent_by_a_command_and_once(
    application: Application, token: str, proxy: FaultProxy
) -> None:
    with ecluse.Client(proxy.endpoint, token) as client:
        proxy.rate(1.0, [Fault.RESET])
        with client.run("sent-later") as run:
            run.log(1, loss=0.5)
        proxy.clear()
        assert client.runs(name="sent-later").is_empty()
        (file,) = waiting_folder().iterdir()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert token not in file.read_text()
        copy = file.read_bytes()
        code, said = command(application, "runs", "send")
        assert (code, "ecluse login URL" in said) == (1, True)
        ecluse.login(proxy.endpoint, token)
        code, said = command(application, "runs", "send", "--json")
        assert (code, len(json.loads(said))) == (0, 1), said
        (kept,) = client.runs(name="sent-later").to_dicts()
        assert (kept["status"], kept["loss"]) == ("done", 0.5)
        assert list(waiting_folder().iterdir()) == []
        file.write_bytes(
            copy[: copy.rindex(b'{"end"')] + b'{"end": {"sta'
        )  # its program was killed while it wrote
        file.write_bytes(file.read_bytes().replace(b'"process": "', b'"process": "999999'))
        code, said = command(application, "runs", "send")
        assert client.runs(name="sent-later").height == 1, said
    ecluse.client.use(None)


def test_a_run_that_is_refused_is_named_with_its_file_and_stops_no_other(
    application: Application, token: str, proxy: FaultProxy
) -> None:
    ecluse.login(proxy.endpoint, token)
    with ecluse.Client() as client:
        proxy.rate(1.0, [Fault.RESET])
        for name in ("refused", "in-part", "whole"):
            with client.run(name) as run:
                run.log(1, loss=0.5)
                run.tags(why="once")
        proxy.clear()
        files = sorted(waiting_folder().iterdir(), key=lambda file: file.stat().st_mtime)
        edited = {0: ('"refused"', '"no name"'), 1: ('"why"', '"checkpoint"')}  # by an older client
        for number, (before, after) in edited.items():
            files[number].write_text(files[number].read_text().replace(before, after))
        (waiting_folder() / "0.jsonl").write_text("{\n")
        elsewhere = files[2].read_text().replace(proxy.endpoint, "https://other.example.org")
        (waiting_folder() / "1.jsonl").write_text(elsewhere)
        for names in (["whole", "in-part"], []):  # what was refused is said again
            code, said = command(application, "runs", "send")
            assert code == 1
            assert f"{files[0]} was refused: 'no name' cannot be a model name" in said
            assert "0.jsonl is damaged" in said
            assert "1 run for https://other.example.org" in said
            assert ("in-part" in names) == (
                f"{files[1].with_suffix('.refused')} was refused: The tag" in said
            )
        kept = {row["name"]: (row["status"], row["loss"]) for row in client.runs().to_dicts()}
        assert kept.items() >= {"whole": ("done", 0.5), "in-part": ("done", 0.5)}.items()
        assert {file.name for file in waiting_folder().iterdir()} == {
            files[0].name, "0.jsonl", "1.jsonl", files[1].with_suffix(".refused").name,
        }  # fmt: skip
    ecluse.client.use(None)


def test_a_run_goes_on_where_its_token_is_not_known_any_more(
    application: Application, token: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(outbox, "FLUSH_SECONDS", 0.0)
    with pytest.raises(NotSignedIn), ecluse.Client(application.address, "wrong") as client:
        client.run("forgotten")
    assert list(waiting_folder().iterdir()) == []
    with ecluse.Client(application.address, token) as client:
        with client.run("forgotten") as run:
            client._backend._server._http.headers["authorization"] = "Bearer wrong"  # type: ignore[attr-defined]
            run.log(1, loss=0.5)
        assert "does not know this token" in caplog.text
        assert len(list(waiting_folder().iterdir())) == 1


def test_a_version_goes_on_where_its_publisher_broke_off_both_ways(
    application: Application, token: str, proxy: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files").mkdir()
    content = os.urandom(20 << 20)  # three parts
    (tmp_path / "files" / "weights.bin").write_bytes(content)
    (tmp_path / "files" / "empty").touch()
    with ecluse.Client(proxy.endpoint, token) as client:
        monkeypatch.setattr(server, "PATIENCE", 0.0)
        proxy.plan(Fault.RESET_IN_REQUEST, when=lambda request: request.path.endswith("/parts/3"), times=10)
        with pytest.raises(ServerAway):
            client.publish(tmp_path / "files", "weights", alias="production")
        assert client.models(name=None).filter(name="weights").is_empty()
        proxy.clear()
        version = client.publish(tmp_path / "files", "weights", alias="production")
        parts = [
            request.path[-7:]
            for request in proxy.requests
            if request.method == "PUT" and "/files/1/" in request.path
        ]
        assert parts == ["parts/3"]
        assert list(uploads_folder().iterdir()) == []
        again = client.publish(tmp_path / "files", "weights")
        assert again.version != version.version

        broken = proxy.plan(Fault.TRUNCATE, when=lambda request: request.path.endswith("weights.bin"))
        with pytest.raises(ServerAway):
            client.load("weights@production", to=tmp_path / "there")
        assert not (tmp_path / "there" / "weights.bin").exists(), broken
        client.load("weights@production", to=tmp_path / "there")
        ranges = [r.headers.get("range") for r in proxy.requests if r.path.endswith("weights.bin")]
        assert ranges[0] is None
        assert ranges[-1] is not None
        assert ranges[-1].startswith("bytes=")
    assert (tmp_path / "there" / "weights.bin").read_bytes() == content
    assert {path.name for path in (tmp_path / "there").iterdir()} == {"weights.bin", "empty", "ecluse.json"}


def test_a_file_that_is_changed_on_its_way_is_not_kept(
    application: Application, token: str, proxy: FaultProxy, tmp_path: Path
) -> None:
    (tmp_path / "file.bin").write_bytes(os.urandom(1000))
    with ecluse.Client(proxy.endpoint, token) as client:
        client.publish(tmp_path / "file.bin", "changed")
        proxy.plan(Fault.CORRUPT, when=lambda request: request.path.endswith("file.bin"))
        with pytest.raises(ecluse.errors.DigestMismatch, match="not kept"):
            client.load("changed", to=tmp_path / "there")
        assert "file.bin" not in {path.name for path in (tmp_path / "there").iterdir()}
        client.load("changed", to=tmp_path / "there")
    assert (tmp_path / "there" / "file.bin").read_bytes() == (tmp_path / "file.bin").read_bytes()


def test_commands_work_at_the_server_that_was_signed_in_to_and_say_so(
    application: Application, token: str, tmp_path: Path
) -> None:
    places = {name: os.environ[name] for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME")}
    here = {name: os.environ[name] for name in KEPT if name in os.environ} | places

    def run(*arguments: str, **variables: str) -> tuple[int, str, str]:
        done = run_forked(list(arguments), here | variables, timeout=300)
        return done.returncode, done.stdout, done.stderr

    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "weights.bin").write_bytes(b"weights")
    home = ("--home", str(tmp_path / "home"))
    at, of_this_machine = f"At {application.address}.", "of this machine, not at"
    ecluse.login(application.address, token)
    code, said, noted = run(
        "models", "publish", "mine", str(tmp_path / "files"),
        "--meta", "auc=0.8", "--alias", "production", "--alias", "best",
    )  # fmt: skip
    assert (code, at in noted, f"bytes at {application.address}" in said) == (0, True, True), noted
    code, said, noted = run("models", "list", "mine", "--json")
    (row,) = json.loads(said)
    assert (row["aliases"], row["figures"], at in noted) == ("best, production", "auc 0.8", True)
    assert json.loads(run("models", "list", "--where", "auc>0.9", "--json")[1]) == []
    code, said, noted = run("models", "download", "mine@best", str(tmp_path / "there"))
    assert (code, (tmp_path / "there" / "weights.bin").read_bytes()) == (0, b"weights"), noted
    assert "weights.bin" in run("models", "show", "mine@best")[1]
    with ecluse.Client() as client, client.run("mine", rounds=3) as tracked:
        tracked.log(1, loss=0.5)
    code, said, noted = run(
        "runs", "list", "--name", "mine", "--sort", "loss", "--parameter", "rounds=3", "--json"
    )
    (row,) = json.loads(said)
    assert (row["value"], row["status"], at in noted) == (0.5, "done", True)

    assert "ecluse up" in run("models", "list", *home)[2], "it makes no home to read"
    with Runtime.open(Settings.from_environment({}, home=tmp_path / "home")):
        pass
    local = run("models", "list", *home)
    assert (local[0], "No models yet" in local[2], application.address in local[2]) == (0, True, False)
    for arguments in (
        ("models", "list"),
        ("jobs", "list"),
    ):  # a folder that the environment names
        assert application.address not in run(*arguments, ECLUSE_HOME=home[1])[2]
    variables = {"ECLUSE_HOME": home[1], "ECLUSE_URL": application.address, "ECLUSE_TOKEN": token}
    assert at in run("models", "list", **variables)[2]
    assert of_this_machine in run("models", "list", "--local", **variables)[2]
    assert of_this_machine in run("jobs", "list", **variables)[2]
    ecluse.client.use(None)


def test_one_person_cannot_load_what_is_anothers(
    application: Application, token: str, tmp_path: Path
) -> None:
    (tmp_path / "file.bin").write_bytes(b"mine")
    with ecluse.Client(application.address, token) as mine:
        mine.publish(tmp_path / "file.bin", "private")
    with ecluse.Client(application.address, application.token("other@example.org")) as other:
        with pytest.raises(ecluse.errors.ModelNotFound):
            other.load("private", to=tmp_path / "there")
        assert other.models().is_empty()
        assert other.runs().is_empty()
