"""A backup that somebody changed, or a disk damaged, harms neither the machine nor the backups beside it."""

from __future__ import annotations

import ast
import gzip
import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from ecluse import backups, models, unclaimed
from ecluse.apps.fraud.actions.main import remove_dataset
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.backups import Backup, schedule
from ecluse.catalog.clock import moment
from ecluse.catalog.tables import File, ModelUpload, ObjectNote
from ecluse.errors import BackupError, HomeClosed
from ecluse.models import uploads
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.homes import ELSEWHERE, Made, fill_home
from tests.test_backups import SMALL, back_up, bring_back

pytestmark = pytest.mark.nightly

Line = dict[str, Any]
SOURCES = Path(backups.__file__).parents[1]


@pytest.fixture
def made(runtime: Runtime, tmp_path: Path) -> Made:
    return fill_home(runtime, tmp_path / "made", SMALL)


@pytest.fixture
def shelf(tmp_path: Path) -> str:
    return (tmp_path / "shelf").as_uri()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Settings:
    return Settings.from_environment({}, home=tmp_path / "elsewhere")


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file of the machine that is none of an installation."""
    file = tmp_path / "machine" / "etc" / "passwd"
    file.parent.mkdir(parents=True)
    file.write_text("root")
    return file


def change_part(shelf: Path, backup: Backup, name: str, change: Callable[[Line], Line]) -> None:
    """Change the lines of a part of a backup, and its digest, as whoever may write to the place can."""
    folder = shelf / "backups" / backup.id
    lines = gzip.decompress((folder / name).read_bytes()).decode().splitlines()
    data = gzip.compress("".join(f"{json.dumps(change(json.loads(line)))}\n" for line in lines).encode())
    (folder / name).write_bytes(data)
    says = json.loads((folder / "backup.json").read_bytes())
    says["parts"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    (folder / "backup.json").write_text(json.dumps(says))


def point_at(runtime: Runtime, table_id: str, url: str) -> None:
    with runtime.catalog.write() as transaction:
        rows = update(File).where(File.table_name == Dataset.FILE.table, File.row_id == table_id)
        transaction.execute(rows.values(url=url))


def table_of(runtime: Runtime) -> Dataset:
    with runtime.catalog.read() as transaction:
        return transaction.query(Dataset).where(Dataset.url.startswith("file:")).one()


# Addresses outside


@pytest.mark.parametrize("way", ["", "/../machine/.."])
def test_a_restore_refuses_rows_that_point_outside_the_areas(
    runtime: Runtime, made: Made, shelf: str, elsewhere: Settings, tmp_path: Path, precious: Path, way: str
) -> None:
    taken = back_up(runtime, shelf)
    url = precious.as_uri()
    if way:
        url = f"{runtime.data.url.rstrip('/')}/../{precious.relative_to(tmp_path)}"

    def changed(row: Line) -> Line:
        return row | {"url": url} if row["table_name"] == Dataset.FILE.table else row

    change_part(tmp_path / "shelf", taken, "rows/files.jsonl.gz", changed)
    with pytest.raises(BackupError, match=r"points at file.*passwd, which is in no area.*--outside URL"):
        bring_back(elsewhere, shelf)
    with Runtime.open(elsewhere):  # nothing had begun
        pass


def test_a_restore_takes_rows_that_point_into_a_store_that_is_named(
    runtime: Runtime, made: Made, shelf: str, elsewhere: Settings, precious: Path
) -> None:
    table = table_of(runtime)
    point_at(runtime, table.id, precious.as_uri())
    back_up(runtime, shelf)
    bring_back(elsewhere, shelf, outside=[ELSEWHERE, precious.parent.as_uri()])
    with Runtime.open(elsewhere) as there:
        assert table_of(there).url == precious.as_uri()


def test_a_restore_refuses_rows_that_point_into_a_bucket_that_is_not_named(
    runtime: Runtime, made: Made, shelf: str, elsewhere: Settings
) -> None:
    url = f"s3://of-another/user_data/{made.user_id}/uploads/a.csv"
    point_at(runtime, table_of(runtime).id, url)
    back_up(runtime, shelf)
    with pytest.raises(BackupError, match=rf"points at {url}, which is in no area.*another folder or bucket"):
        bring_back(elsewhere, shelf)
    with Runtime.open(elsewhere):  # nothing had begun
        pass
    bring_back(elsewhere, shelf, outside=[ELSEWHERE, "s3://of-another"])
    with Runtime.open(elsewhere) as there, there.catalog.read() as transaction:
        assert transaction.query(Dataset).where(Dataset.url == url).one()


def test_nothing_outside_the_stores_of_rows_is_removed_with_its_row(
    runtime: Runtime, made: Made, precious: Path, tmp_path: Path
) -> None:
    table = table_of(runtime)
    point_at(runtime, table.id, precious.as_uri())
    remove_dataset(runtime, table.user_id, table.id)
    assert precious.read_text() == "root"
    with runtime.catalog.write() as transaction:
        noted = update(ObjectNote).where(ObjectNote.url == precious.as_uri())
        assert transaction.execute(noted.values(due_at=moment(-1))).rowcount == 1
    unclaimed.clear(runtime)
    assert precious.read_text() == "root"


def test_what_was_stored_before_the_settings_changed_is_removed_with_its_row(
    runtime: Runtime, made: Made, tmp_path: Path
) -> None:
    table = table_of(runtime)
    former = tmp_path / "former" / "user_data" / table.user_id / "uploads" / "a.csv"
    former.parent.mkdir(parents=True)
    former.write_bytes(b"a table")
    point_at(runtime, table.id, former.as_uri())
    remove_dataset(runtime, table.user_id, table.id)
    assert not former.exists()


@pytest.mark.parametrize("is_committed", [False, True])
def test_nothing_outside_the_stores_of_rows_is_removed_with_an_upload_that_was_abandoned(
    runtime: Runtime, made: Made, tmp_path: Path, is_committed: bool
) -> None:
    models.clean_uploads(runtime, timedelta())  # what `fill_home` left
    file = uploads.AnnouncedFile("a.bin", 4, hashlib.sha256(b"data").hexdigest())
    upload = uploads.begin(runtime, made.user_id, "m", uploads.UploadRequest("nonce", (file,)))
    uploads.keep_part(runtime, uploads.part_of(runtime, made.user_id, "m", upload.id, 0, 1), b"data")
    folder = tmp_path / "machine" / "m" / upload.version
    shutil.copytree(next(runtime.settings.home.rglob(upload.version)), folder)
    before = sorted(folder.rglob("*"))
    assert len(before) > 2
    with runtime.catalog.write() as transaction:
        rows = update(File).where(File.table_name == ModelUpload.FILE.table, File.row_id == upload.id)
        transaction.execute(rows.values(url=folder.as_uri()))
        if is_committed:
            transaction.execute(update(ModelUpload).values(committed_at=moment(-1)))
    assert models.clean_uploads(runtime, timedelta()) == 1
    assert sorted(folder.rglob("*")) == before
    assert models.clean_uploads(runtime, timedelta()) == 0


def test_no_function_opens_a_store_at_the_address_of_a_row_and_removes_there() -> None:
    """`Stores.remove`, `remove_below` and `Runtime.registry_to_clear` look whether it is ours first."""
    opens, removes = (
        {"registry_at", "registry_of", "locate", "folder"},
        {"abandon", "clear", "delete", "delete_prefix"},
    )
    bold = [
        f"{path.relative_to(SOURCES)} {function.name}"
        for path in sorted(SOURCES.rglob("*.py"))
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        if all(methods_of(function) & names for names in (opens, removes))
    ]
    assert bold == ["storage/areas.py remove", "storage/areas.py remove_below"]


def methods_of(function: ast.FunctionDef) -> set[str]:
    called = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    return {each.attr for each in called if isinstance(each, ast.Attribute)}


def test_a_backup_whose_objects_are_in_no_area_is_refused(
    runtime: Runtime, made: Made, shelf: str, elsewhere: Settings, tmp_path: Path
) -> None:
    taken = back_up(runtime, shelf)
    change_part(tmp_path / "shelf", taken, "objects.jsonl.gz", lambda line: line | {"area": "../x"})
    with pytest.raises(BackupError, match="names no object of an area"):
        bring_back(elsewhere, shelf)


def test_a_backup_whose_recipient_is_no_mark_is_damaged(runtime: Runtime, shelf: str, tmp_path: Path) -> None:
    taken = back_up(runtime, shelf, contents=False)
    for mark in ("../../etc", "0" * 15, 7):
        says = json.dumps(json.loads(taken.to_json()) | {"recipient": mark})
        (tmp_path / "shelf" / "backups" / taken.id / "backup.json").write_text(says)
        with backups.open_place(runtime, shelf) as here, pytest.raises(BackupError, match="is damaged"):
            here.open(taken.id)


# A restore that failed


def test_a_restore_that_failed_says_so_and_how_to_go_on(
    runtime: Runtime, made: Made, shelf: str, elsewhere: Settings, tmp_path: Path
) -> None:
    first, second = back_up(runtime, shelf), back_up(runtime, shelf)
    lost = next(file for file in (tmp_path / "shelf" / "contents").rglob("*") if file.is_file())
    whole = lost.read_bytes()
    lost.unlink()
    with pytest.raises(BackupError, match=lost.name):
        bring_back(elsewhere, shelf, first.id)
    with pytest.raises(HomeClosed, match=f"ecluse backup restore {first.id} --from {shelf}"):
        Runtime.open(elsewhere)
    with pytest.raises(BackupError, match=f"restore of backup {first.id} has begun.*begin anew with another"):
        bring_back(elsewhere, shelf, second.id)
    lost.write_bytes(whole)
    bring_back(elsewhere, shelf, first.id)
    with Runtime.open(elsewhere):
        pass


# Damage at the place


@pytest.mark.parametrize("damage", ["", "{bad", "[]"])
def test_a_damaged_backup_is_listed_by_its_id_and_hides_no_other(
    runtime: Runtime, made: Made, shelf: str, tmp_path: Path, damage: str
) -> None:
    first, second, third = (back_up(runtime, shelf) for _ in range(3))
    (tmp_path / "shelf" / "backups" / third.id / "backup.json").write_text(damage)
    with backups.open_place(runtime, shelf) as here:
        listed = here.look()
        assert [each.id for each in listed.finished] == [second.id, first.id]
        assert [(each.id, third.id in each.reason) for each in listed.damaged] == [(third.id, True)]
        assert backups.verify(here, here.open("latest")).id == second.id
        with pytest.raises(BackupError, match=f"{third.id} is damaged"):
            here.open(third.id)
        assert backups.prune(here, 1).backups == (first.id,)
        assert backups.verify(here, second).passed
        assert [each.id for each in here.look().damaged] == [third.id]


def test_what_a_damaged_backup_needs_is_not_pruned(
    runtime: Runtime, made: Made, shelf: str, tmp_path: Path
) -> None:
    runtime.data.put("city/reports/2025-10-14/report.html", b"<p>then")
    first = back_up(runtime, shelf)
    runtime.data.put("city/reports/2025-10-14/report.html", b"<p>now")
    back_up(runtime, shelf)
    says = tmp_path / "shelf" / "backups" / first.id / "backup.json"
    whole = says.read_bytes()
    for part, objects in ((True, 0), (False, 0)):
        says.write_bytes(b"")
        names = says.with_name("contents.gz").read_bytes()
        if not part:
            says.with_name("contents.gz").write_bytes(b"")
        with backups.open_place(runtime, shelf) as here:
            assert backups.prune(here, 1).objects == objects
            says.write_bytes(whole)
            says.with_name("contents.gz").write_bytes(names)
            assert backups.verify(here, here.open(first.id)).passed


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("left", [0.0, 0.5])
def test_a_content_that_was_cut_is_written_again_by_the_next_backup(
    runtime: Runtime, made: Made, shelf: str, tmp_path: Path, encrypted: bool, left: float
) -> None:
    identity = tmp_path / "identity"
    keys = backups.Keys(backups.new_identity(identity) if encrypted else None, identity)
    back_up(runtime, shelf, keys=keys)
    contents = [file for file in (tmp_path / "shelf" / "contents").rglob("*") if file.is_file()]
    for file in contents:
        whole = file.read_bytes()
        file.write_bytes(whole[: int(len(whole) * left)])
    with backups.open_place(runtime, shelf, keys) as here:
        assert backups.verify(here, here.open("latest")).wrong == len(contents)
    second = back_up(runtime, shelf, keys=keys)
    with backups.open_place(runtime, shelf, keys) as here:
        result = backups.verify(here, second)
    assert result.passed, result.findings


# Who may read it


def test_a_backup_in_a_folder_is_for_its_owner_alone(
    runtime: Runtime, made: Made, shelf: str, tmp_path: Path
) -> None:
    folder = tmp_path / "shelf"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    back_up(runtime, shelf)
    inside = list(folder.rglob("*"))
    assert len(inside) > 20
    assert {path.stat().st_mode & 0o777 for path in inside if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in inside if path.is_dir()} == {0o700}
    assert folder.stat().st_mode & 0o777 == 0o755


def test_an_address_with_a_key_is_refused_and_not_repeated(runtime: Runtime) -> None:
    with (
        pytest.raises(BackupError, match="carries a name, a password or a key") as refused,
        backups.open_place(runtime, "s3://key:secretvalue@bucket/x"),
    ):
        pass
    assert "secretvalue" not in str(refused.value)


def test_a_schedule_without_a_backup_says_that_others_were_made_by_hand(
    runtime: Runtime, made: Made, shelf: str, tmp_path: Path
) -> None:
    schedule.set_schedule(
        runtime, schedule.Plan((tmp_path / "nightly").as_uri(), 86400, None, None, None, None, False)
    )
    with runtime.catalog.read() as transaction:
        assert "No backup has been made yet" in str(schedule.standing(transaction).words)
    back_up(runtime, shelf)
    with runtime.catalog.read() as transaction:
        assert "Others were made by hand" in str(schedule.standing(transaction).words)
