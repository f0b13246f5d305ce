"""Make, install, list, check and remove applications in one file, at a terminal."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ecluse.apps.hosted import snapshot as snapshots
from ecluse.apps.hosted.settings import HostedSettings
from ecluse.cli.groups import Group
from ecluse.cli.output import Record, reports, say
from ecluse.cli.session import home_option
from ecluse.errors import InvalidInput
from ecluse.runtime import make_home
from ecluse.sentences import _
from ecluse.settings import Settings

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(cls=Group)
def apps() -> None:
    """Make, install, check and remove applications of your own in one file."""


@apps.command("new")
@click.argument("name")
@click.option("--out", type=_FILE, help="Where to write it. Default: NAME.py")
@reports
def new(name: str, out: Path | None) -> Record:
    """Write an application to begin with: a training, a prediction, a report."""
    file = out or Path(f"{name}.py")
    if file.exists():
        raise InvalidInput(_("%(file)s is there already. Choose another name.", file=str(file)))
    template = Path(__file__).with_name("template.txt").read_text("utf-8")
    from ecluse.app import App

    App(name, api=1)  # a name that cannot be one is refused
    file.write_text(
        template.replace("NAME", name).replace("TITLE", name.replace("_", " ").capitalize()), "utf-8"
    )
    return Record(
        {"file": str(file)},
        f"{file} is written. Try it: ecluse apps check {file}\nThen: ecluse up --app {file}",
    )


@apps.command("install")
@click.argument("file", type=_FILE)
@home_option
@reports
def install(file: Path, home: Path | None) -> Record:
    """Install the application in FILE, or what has changed in it; a copy is kept."""
    settings = Settings.from_environment(home=home)
    make_home(settings.home, shared=settings.home_shared)
    made = snapshots.install(settings.home, file, copy=True, memory=settings.of(HostedSettings).memory)
    return Record(
        _described(made), f"{made.name} is installed. Pages that run show it once they are started again."
    )


@apps.command("list")
@home_option
@reports
def list_apps(home: Path | None) -> Record:
    """List the applications that are installed."""
    every = snapshots.installed(Settings.from_environment(home=home).home)
    lines = [
        f"{each.name}  {each.title}  ({', '.join(each.verbs)})  {each.source.get('from')}" for each in every
    ]
    return Record({"apps": [_described(each) for each in every]}, "\n".join(lines) or "None is installed.")


@apps.command("check")
@click.argument("file", type=_FILE)
@reports
def check_app(file: Path) -> Record:
    """Try on the application in FILE what holds for every one, in a home of its own that is removed afterwards."""
    from ecluse.apps.hosted.check import check

    results = check(file, lambda result: say(f"{result.state:8} {result.name}: {result.detail}"))
    failed = [result for result in results if result.state == "failed"]
    return Record(
        {"checks": [asdict(result) for result in results]},
        f"{len(failed)} of {len(results)} checks failed." if failed else f"{file} holds.",
        failed=bool(failed),
    )


@apps.command("remove")
@click.argument("name")
@home_option
@reports
def remove(name: str, home: Path | None) -> Record:
    """Remove an application; the models, runs and files that people made with it stay theirs."""
    snapshots.remove(Settings.from_environment(home=home).home, name)
    return Record(
        {"removed": name}, f"{name} is removed. Models, runs and files that were made with it stay."
    )


def _described(each: snapshots.Snapshot) -> dict[str, object]:
    return {
        "name": each.name,
        "title": each.title,
        "functions": {verb.name: verb.role for verb in each.verbs.values()},
        "from": each.source.get("from"),
        "installed_at": each.value["installed_at"],
    }
