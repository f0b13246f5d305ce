from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points as all_entry_points
from pathlib import Path

import pytest

from ecluse import application, shares
from ecluse.application import GROUP, applications, failures, folders, installed, part, references

#: What is remembered of the installation.
REMEMBERED = (installed, folders)
Install = Callable[[str, str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution with one application: its name, its entry point, the code of its module."""
    monkeypatch.setattr(application, "_failures", {})

    def add(name: str, reference: str, code: str) -> None:
        site = tmp_path / "site"
        information = site / f"{name}-1.0.dist-info"
        information.mkdir(parents=True)
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {reference}\n")
        (site / f"{reference.partition(':')[0]}.py").write_text(code)
        if str(site) not in sys.path:
            monkeypatch.syspath_prepend(str(site))
        forget()

    yield add
    monkeypatch.undo()
    forget()


def forget() -> None:
    for function in REMEMBERED:
        function.cache_clear()


def names() -> list[str]:
    return [owner.name for owner in applications()]


def test_ours_come_in_by_the_door_that_anyone_uses() -> None:
    assert names() == ["fraud", "city", "plants", "mlflow", "hosted"]
    assert {point.name for point in all_entry_points(group=GROUP)} == set(names())
    assert not failures()


def test_what_cannot_be_read_of_an_installation_is_logged_and_leaves_the_rest(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    install(
        "birds",
        "birds_ok:APPLICATION",
        "from ecluse.application import Application as A\nAPPLICATION = A('birds')",
    )
    unreadable = tmp_path / "site" / "moths-1.0.dist-info"
    (unreadable / "entry_points.txt").mkdir(parents=True)
    (tmp_path / "site" / "plain-1.0.dist-info").mkdir()
    (tmp_path / "archive.zip").touch()
    (tmp_path / "circle").symlink_to("circle")
    for name in ("missing", "archive.zip", "circle"):
        monkeypatch.syspath_prepend(str(tmp_path / name))
    forget()
    with caplog.at_level(logging.WARNING, "ecluse.application"):
        assert "birds" in names()
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 2
    assert f"Applications in {tmp_path / 'circle'} are left out" in logged[0]
    assert "Applications of moths are left out" in logged[1]


def test_every_part_of_ours_is_there() -> None:
    broken = [
        reference
        for owner in applications()
        for name, reference in references(owner)
        if part(owner, name, reference) is None
    ]
    assert broken == []


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("APPLICATION = 7", "is a int and not an Application"),
        (
            "from ecluse.application import Application as A\nAPPLICATION = A(name='../x')",
            "cannot be the name",
        ),
        (
            "from ecluse.application import Application as A\nAPPLICATION = A(name='jobs')",
            "cannot be the name",
        ),
        (
            "from ecluse.application import Application as A\nAPPLICATION = A(name='city')",
            "is an application",
        ),
    ],
)
def test_one_that_cannot_be_used_is_listed_with_its_reason_and_takes_nothing_down(
    install: Install, code: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    module = f"birds_{abs(hash(code))}"
    with caplog.at_level(logging.WARNING):
        install("birds", f"{module}:APPLICATION", code)
        for _ in range(2):
            assert names() == ["fraud", "city", "plants", "mlflow", "hosted"]
    (refused,) = failures()
    assert (refused.name, refused.source) == ("birds", "birds")
    assert reason in refused.reason
    assert len(caplog.records) == 1


def test_a_part_that_cannot_be_imported_is_left_out_and_said_once(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    code = (
        "from ecluse.application import Application\n"
        "APPLICATION = Application(name='owls', title='Owls', pages=('owls_application:nothing',))"
    )
    install("owls", "owls_application:APPLICATION", code)
    assert "owls" in names()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            pages = [owner.name for owner, _ in application.parts("pages")]
    assert "owls" not in pages
    assert "city" in pages
    assert [(broken.name, broken.source) for broken in failures()] == [("owls", "owls_application:nothing")]
    assert len(caplog.records) == 1


def test_tables_of_applications_are_known_once_a_catalog_is_open(tmp_path: Path) -> None:
    """The core describes none of them, and rows of its own point at some."""
    script = """
import sys
from ecluse.catalog import Catalog
from ecluse.catalog.tables import Base, ModelVersion, User

OWN = {"reference_models", "datasets", "predictions", "inspections", "labels", "column_mappings", "fraud_trainings"}
OWN |= {"image_sets", "images", "image_splits", "schedules"}
assert not OWN & Base.metadata.tables.keys()
catalog = Catalog(sys.argv[1])
assert OWN <= Base.metadata.tables.keys()
catalog.migrate()
with catalog.write() as transaction:
    transaction.add(User(id="me", email="me@example.org"))
    transaction.flush()
    transaction.add(ModelVersion(user_id="me", name="m", version="v1"))
"""
    subprocess.run([sys.executable, "-c", script, f"sqlite:///{tmp_path / 'catalog.sqlite'}"], check=True)


def test_a_kind_that_is_shared_is_named_after_its_application_and_left_out_where_it_is_none(
    install: Install,
) -> None:
    install(
        "birds",
        "birds_kinds:APPLICATION",
        "from ecluse.application import Application\n"
        "from ecluse.shares import KINDS\n"
        "NESTS, NONE = KINDS['runs'], 'none'\n"
        "APPLICATION = Application('birds', sharable={'nests': 'birds_kinds:NESTS', 'eggs': 'birds_kinds:NONE',"
        " 'more_nests_of_it': 'birds_kinds:NESTS'})",
    )
    assert shares.kinds().keys() - shares.KINDS.keys() >= {"birds_nests", "plants_sets"}
    assert not shares.kinds().keys() & {"birds_eggs", "birds_more_nests_of_it"}
    reasons = " ".join(each.reason for each in failures())
    assert "sharable: birds_more_nests_of_it has more than 16 characters." in reasons
    assert "'none' is of type str and not Kind" in reasons
