"""A whole home is backed up while it is used, and restored elsewhere: everything is there, whatever is killed."""

from __future__ import annotations

import json
import subprocess
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse import backups
from ecluse.backups import Backup, Keys, creating
from ecluse.backups.addresses import Areas
from ecluse.catalog import rows
from ecluse.catalog.database import HEAD
from ecluse.catalog.tables import Base, HomeMove, User, UserTable
from ecluse.errors import BackupError, BackupNotFound, HomeClosed
from ecluse.jobs import JobKind, JobRunner, Task
from ecluse.runtime import Runtime
from ecluse.settings import AREAS, Settings
from tests.application import run_ecluse
from tests.apps.plants.tiny import publish_tiny
from tests.homes import ELSEWHERE, Made, fill_home, objects_of, place, settings_of
from tests.migrating import Sizes
from tests.servers import ObjectServer
from tests.support.deaths import die_in_command
from tests.support.jobs import ended_job
from tests.support.wait import wait_until
from tests.test_moving import use

SMALL = Sizes(models=1, files=1, file_bytes=500, tables=1)


@pytest.fixture
def made(runtime: Runtime, tmp_path: Path) -> Made:
    """The home of `runtime` with something of everything, and a model that answers."""
    made = fill_home(runtime, tmp_path / "made", SMALL)
    publish_tiny(runtime, made.user_id, tmp_path / "tiny")
    return made


@pytest.fixture
def shelf(tmp_path: Path) -> str:
    return (tmp_path / "shelf").as_uri()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Settings:
    return Settings.from_environment({}, home=tmp_path / "elsewhere")


@pytest.fixture
def reports(runtime: Runtime) -> list[str]:
    """The keys of the few objects of a home that has nothing else."""
    keys = [f"city/reports/2025-10-1{number}/report.html" for number in range(5)]
    for number, key in enumerate(keys):
        runtime.data.put(key, b"<p>%d" % number)
    return keys


def back_up(runtime: Runtime, url: str, *, contents: bool = True, keys: Keys | None = None) -> Backup:
    with backups.open_place(runtime, url, keys, make=True) as here:
        return backups.create(runtime, here, contents=contents)


def bring_back(
    settings: Settings, url: str, backup_id: str = "latest", *, keys: Keys | None = None, **more: Any
) -> backups.Restored:
    more = {"outside": [ELSEWHERE]} | more  # where rows of `fill_home` point
    with (
        Runtime.open(settings, moves=True) as runtime,
        backups.open_place(runtime, url, keys) as here,
    ):
        return backups.restore(runtime, here, here.open(backup_id), **more)


def check(runtime: Runtime, url: str, *, keys: Keys | None = None) -> backups.Verification:
    with backups.open_place(runtime, url, keys) as here:
        return backups.verify(here, here.open("latest"))


def differences(home: Runtime, other: Runtime) -> list[str]:
    """What of the rows, the sums and the documents of two homes is not the same, but for where objects are."""
    ours, theirs = Areas.of_stores(home.stores), Areas.of_stores(other.stores)

    def as_there(table: str, row: rows.Row) -> rows.Row:
        return ours.row_there(theirs, table, row)

    listed = list[str]()
    for table in [*rows.tables(), Base.metadata.tables["stored"]]:
        compared = rows.compare(home.catalog.engine, other.catalog.engine, table, as_there)
        assert compared.rows, f"{table.name} is empty, and shows nothing"
        listed += compared.named
    kinds = list(home.documents.kinds())
    assert list(other.documents.kinds()) == kinds
    return listed + [
        kind for kind in kinds if list(home.documents.all(kind)) != list(other.documents.all(kind))
    ]


# There and back


def test_a_laptops_home_is_restored_in_the_cloud_and_from_there_on_a_laptop(
    runtime: Runtime,
    made: Made,
    shelf: str,
    elsewhere: Settings,
    object_server: ObjectServer,
    postgresql_url: str,
    tmp_path: Path,
) -> None:
    before = objects_of(runtime)
    first = back_up(runtime, shelf)
    assert (first.head, first.has_contents, first.encrypted) == (HEAD, True, False)
    assert sum(first.rows.values()) > 100
    assert check(runtime, shelf).passed

    bucket = f"s3://models/{tmp_path.name}"
    names = {"store": "data", "models": "models", "images": "images", "raw": "raw"}
    areas = {f"ECLUSE_{area.upper()}_URL": f"{bucket}/{name}" for area, name in names.items()}
    variables = object_server.environment() | areas
    file = place(tmp_path / "cloud.env", DATABASE_URL=postgresql_url, **variables)
    cloud = settings_of(file, tmp_path / "scratch")
    restored = bring_back(cloud, shelf)
    assert (restored.objects, restored.missing) == (len(before), ())
    with Runtime.open(cloud) as there:
        assert objects_of(there) == before
        assert differences(runtime, there) == []
        second = back_up(there, f"{bucket}/backups")
        assert use(there, made) == "dandelion"

    variables_of_shelf = replace(elsewhere, access=cloud.access)
    bring_back(variables_of_shelf, f"{bucket}/backups", second.id)
    with Runtime.open(variables_of_shelf) as home:
        assert objects_of(home) == before
        assert differences(runtime, home) == []


def test_an_encrypted_backup_is_read_by_its_identity_alone(
    runtime: Runtime, made: Made, shelf: str, elsewhere: Settings, tmp_path: Path
) -> None:
    public, other = (backups.new_identity(tmp_path / name) for name in ("identity", "other"))
    assert (tmp_path / "identity").stat().st_mode & 0o777 == 0o600
    with pytest.raises(BackupError, match="is there already"):
        backups.new_identity(tmp_path / "identity")
    assert public != other
    back_up(runtime, shelf, keys=Keys(recipient=public))
    with runtime.catalog.read() as transaction:
        addresses = [row.email.encode() for row in transaction.query(User)]
    written = [file for file in (tmp_path / "shelf").rglob("*") if file.is_file()]
    assert {file.name for file in written if file.suffix != ".age"} == {
        "begun.json",
        "backup.json",
        "contents.gz",
    }
    assert not any(address in file.read_bytes() for file in written for address in addresses)
    with pytest.raises(BackupError, match="Name the file with the identity"):
        check(runtime, shelf)
    (refusal,) = check(runtime, shelf, keys=Keys(identity=tmp_path / "other")).findings
    assert "does not open it" in refusal
    with pytest.raises(BackupError, match="does not open it"):
        bring_back(elsewhere, shelf, keys=Keys(identity=tmp_path / "other"))
    assert check(runtime, shelf, keys=Keys(identity=tmp_path / "identity")).passed
    bring_back(elsewhere, shelf, keys=Keys(identity=tmp_path / "identity"))
    with Runtime.open(elsewhere) as home:
        assert differences(runtime, home) == []
        assert objects_of(home) == objects_of(runtime)


def test_after_a_change_of_keys_a_new_backup_is_read_by_the_new_identity_alone_and_old_ones_by_theirs(
    runtime: Runtime, reports: list[str], shelf: str, elsewhere: Settings, tmp_path: Path
) -> None:
    pairs = [Keys(backups.new_identity(tmp_path / name), tmp_path / name) for name in ("lost", "new")]
    old, new = (back_up(runtime, shelf, keys=pair) for pair in pairs)
    plain = back_up(runtime, shelf)
    for identity, passes in zip(pairs, ((True, False), (False, True)), strict=True):
        with backups.open_place(runtime, shelf, identity) as here:
            assert tuple(backups.verify(here, each).passed for each in (old, new)) == passes
    assert check(runtime, shelf).id == plain.id
    written = {file: file.read_bytes() for file in (tmp_path / "shelf" / "contents").rglob("*.age")}
    again = back_up(runtime, shelf, keys=pairs[1])
    assert all(file.read_bytes() == data for file, data in written.items()), "what is there stays"
    with backups.open_place(runtime, shelf, pairs[1]) as here:
        assert backups.prune(here, 1).objects > 0
        assert {name.split(".", 1)[1] for name in here.contents()} == {f"{pairs[1].mark}.age"}
        assert backups.verify(here, again).passed
    bring_back(elsewhere, shelf, keys=pairs[1])


def test_an_encrypted_backup_of_before_keys_had_marks_is_read_and_pruned(
    runtime: Runtime, reports: list[str], shelf: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Keys(backups.new_identity(tmp_path / "identity"), tmp_path / "identity")
    with monkeypatch.context() as then:
        then.setattr(Keys, "mark", None)
        old = back_up(runtime, shelf, keys=keys)
    says = tmp_path / "shelf" / "backups" / old.id / "backup.json"
    values = json.loads(says.read_bytes())
    del values["recipient"]
    says.write_text(json.dumps(values | {"format": 1}))
    assert check(runtime, shelf, keys=keys).passed
    back_up(runtime, shelf, keys=keys)
    with backups.open_place(runtime, shelf, keys) as here:
        assert backups.verify(here, here.open(old.id)).passed
        assert backups.prune(here, 1).backups == (old.id,)
        assert {name.split(".", 1)[1] for name in here.contents()} == {f"{keys.mark}.age"}
    assert check(runtime, shelf, keys=keys).passed


@pytest.mark.parametrize("text", ["age1", "AGE-SECRET-KEY-1", "ssh-rsa x", ""])
def test_what_is_no_public_key_is_refused_before_anything_is_written(text: str) -> None:
    with pytest.raises(BackupError, match="is no public key"):
        Keys(recipient=text)


def test_without_their_bytes_objects_have_to_be_in_the_stores(
    runtime: Runtime, made: Made, shelf: str, elsewhere: Settings
) -> None:
    before = objects_of(runtime)
    made_of_rows = back_up(runtime, shelf, contents=False)
    assert made_of_rows.objects == len(before)
    assert not (Path(shelf.removeprefix("file://")) / "contents").exists()
    lost = next(iter(sorted(before)))
    with Runtime.open(elsewhere) as there:
        for area in AREAS:
            store = runtime.stores.area(area)
            for info in store.list():
                if info.key != lost and not (area == "data" and info.key.startswith("raw/")):
                    there.stores.area(area).put(info.key, store.get(info.key))
    restored = bring_back(elsewhere, shelf)
    assert [url.endswith(lost) for url in restored.missing] == [True]
    with Runtime.open(elsewhere) as home:
        assert differences(runtime, home) == []


# While it is used


def test_a_backup_is_of_one_moment_while_people_upload_and_delete(
    runtime: Runtime, made: Made, shelf: str, elsewhere: Settings
) -> None:
    """Each row of the moment has its object, whatever came and went while the backup was made."""
    stop, failures = threading.Event(), list[BaseException]()
    kept = list[str]()

    def work() -> None:
        number = 0
        try:
            while not stop.is_set():
                number += 1
                key = f"user_data/{made.user_id}/tables/t{number}/table.csv"
                stored = runtime.data.put(key, f"a\n{number}\n".encode())
                with runtime.catalog.write() as transaction:
                    row = UserTable(
                        id=f"t{number}", user_id=made.user_id, name="t", rows=1, columns=[], url=runtime.data.url_of(key),
                        sha256=stored.sha256, size_bytes=stored.size,
                    )  # fmt: skip
                    transaction.add(row)
                if number % 3:  # every third one stays
                    kept.append(f"t{number}")
                if len(kept) > 5:
                    gone = kept.pop(0)
                    with runtime.catalog.write() as transaction:
                        transaction.delete(transaction.get_one(UserTable, gone))
                    runtime.data.delete(f"user_data/{made.user_id}/tables/{gone}/table.csv")
                stop.wait(0.02)
        except BaseException as error:
            failures.append(error)
            raise

    busy = threading.Thread(target=work)
    busy.start()
    try:
        wait_until(lambda: failures or len(kept) == 5, "tables that come and go")
        taken = back_up(runtime, shelf)
    finally:
        stop.set()
        busy.join()
    assert not failures
    assert taken.dangling == taken.damaged == ()
    assert taken.deleted, "nothing went while it was made, and this shows nothing"
    bring_back(elsewhere, shelf)
    with Runtime.open(elsewhere) as home:
        with home.catalog.read() as transaction:
            tables = [row for row in transaction.query(UserTable) if row.id.startswith("t")]
        assert tables
        for row in tables:
            place_of = home.stores.locate(row.url)
            assert place_of.store.get(place_of.key) == f"a\n{row.id[1:]}\n".encode()


@pytest.mark.parametrize("what", ["deleted", "replaced"])
def test_what_was_deleted_meanwhile_is_not_restored_and_what_was_replaced_is_read_anew(
    runtime: Runtime, made: Made, shelf: str, elsewhere: Settings, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def put(name: str, key: str) -> dict[str, Any]:
        stored = runtime.data.put(key, key.encode())
        return {"url": runtime.data.url_of(key), "sha256": stored.sha256, "size_bytes": stored.size}

    with runtime.catalog.write() as transaction:
        for name in ("stays", "goes"):
            values = put(name, f"user_data/{made.user_id}/tables/{name}/a.csv")
            transaction.add(UserTable(id=name, user_id=made.user_id, name="t", rows=1, columns=[], **values))
    read_rows, times = creating._Maker._read_rows, list[int]()

    def read_then_change(maker: Any) -> Any:
        moment = read_rows(maker)
        times.append(1)
        if len(times) == 1:
            with runtime.catalog.write() as transaction:
                row = transaction.get_one(UserTable, "goes")
                if what == "deleted":
                    transaction.delete(row)
                else:
                    for name, value in put("goes", f"user_data/{made.user_id}/tables/goes/b.csv").items():
                        setattr(row, name, value)
            runtime.data.delete(f"user_data/{made.user_id}/tables/goes/a.csv")
        return moment

    monkeypatch.setattr(creating._Maker, "_read_rows", read_then_change)
    taken = back_up(runtime, shelf)
    assert len(times) == (1 if what == "deleted" else 2)
    assert taken.dangling == ()
    assert taken.deleted == ((("user_tables", "goes"),) if what == "deleted" else ())
    bring_back(elsewhere, shelf)
    with Runtime.open(elsewhere) as home:
        assert objects_of(home) == objects_of(runtime)
        assert differences(runtime, home) == []


def test_jobs_that_waited_or_ran_go_on_where_they_are_restored(
    runtime: Runtime, made: Made, shelf: str, elsewhere: Settings
) -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def work(context: Any, task: Task, **_: Any) -> None:
        task.step("first", lambda: {"n": 1})
        at_work.set()
        go_on.wait(60)

    kinds = {"work": JobKind(run=work, failed=lambda *_, **__: None, queue="profile", stages={"w": "Work"})}
    runner = JobRunner(runtime.catalog, "tests", kinds, None)
    runner.start()
    try:
        ids = [runtime.jobs.enqueue("work", "profile", made.user_id, "A", {"n": n}) for n in range(2)]
        assert at_work.wait(60)
        back_up(runtime, shelf)
    finally:
        go_on.set()
        runner.close()
    bring_back(elsewhere, shelf)
    with Runtime.open(elsewhere) as home:
        assert [home.jobs.get(made.user_id, each).status for each in ids] == ["queued", "queued"]
        runner = JobRunner(home.catalog, "tests of later", kinds, None)
        runner.start()
        try:
            assert [ended_job(home, made.user_id, each).status for each in ids] == ["done", "done"]
        finally:
            runner.close()


# What is in the way


def test_a_place_that_is_not_empty_or_is_the_homes_own_is_refused(
    runtime: Runtime, made: Made, shelf: str, elsewhere: Settings
) -> None:
    back_up(runtime, shelf)
    with pytest.raises(BackupError, match="is not empty"):
        bring_back(replace(runtime.settings), shelf)
    for area in AREAS:
        with (
            pytest.raises(BackupError, match="shares a part"),
            backups.open_place(runtime, f"{runtime.stores.area(area).url.rstrip('/')}/backups"),
        ):
            pass
    with Runtime.open(elsewhere) as there:
        taken = next(runtime.stores.area("models").list())
        there.stores.area("models").put(taken.key, b"something else")
    with pytest.raises(BackupError, match="with another content"):
        bring_back(elsewhere, shelf)
    with pytest.raises(HomeClosed):
        Runtime.open(elsewhere)


def test_a_backup_of_other_tables_is_refused_with_what_to_install(
    runtime: Runtime, made: Made, shelf: str, elsewhere: Settings
) -> None:
    taken = back_up(runtime, shelf)
    with Runtime.open(elsewhere, moves=True) as there, backups.open_place(there, shelf) as here:
        for other, words in (
            (replace(taken, head="0001"), "tables of version 0001, made by Écluse"),
            (replace(taken, applications={"sound": "0002"}), "application sound of version 0002"),
            (replace(taken, rows=taken.rows | {"sounds": 1}), "no application here knows: sounds"),
        ):
            with pytest.raises(BackupError, match=words):
                backups.restore(there, here, other)
        for added in ({"format": taken.format + 1}, {"weather": "fair"}):
            later = json.loads(taken.to_json()) | {"release": "9.9"} | added
            with pytest.raises(BackupError, match=r"made by Écluse 9\.9, which is newer"):
                Backup.from_json(json.dumps(later).encode())
    with Runtime.open(elsewhere) as there, there.catalog.read() as transaction:
        assert transaction.query(HomeMove).count() == 0


def test_every_damaged_or_missing_file_is_named(
    runtime: Runtime, made: Made, shelf: str, elsewhere: Settings, tmp_path: Path
) -> None:
    taken = back_up(runtime, shelf)
    folder = tmp_path / "shelf"
    files = [file for file in folder.rglob("*.gz") if file.name != "contents.gz"]
    files += [file for file in (folder / "contents").rglob("*") if file.is_file()]
    assert len(files) > 20
    for file in files:
        whole = file.read_bytes()
        for damage in (
            None,
            whole[: len(whole) // 2],
            whole[:-1] + bytes([whole[-1] ^ 1]) if whole else b"x",
        ):
            if damage is None:
                file.unlink()
            elif damage == whole:
                continue
            else:
                file.write_bytes(damage)
            result = check(runtime, shelf)
            assert not result.passed, f"{file.name}, {damage and len(damage)}"
            assert file.name in " ".join(result.findings)
            file.write_bytes(whole)
    assert check(runtime, shelf).passed
    content = next(file for file in (folder / "contents").rglob("*") if file.is_file())
    content.unlink()
    with pytest.raises(BackupError, match=content.name):
        bring_back(elsewhere, shelf, taken.id)
    with pytest.raises(HomeClosed):
        Runtime.open(elsewhere)


def test_an_object_that_is_damaged_at_home_is_named_and_not_in_the_backup(
    runtime: Runtime, made: Made, shelf: str
) -> None:
    store = runtime.stores.area("models")
    key = next(info.key for info in store.list() if info.key.endswith("manifest.json"))
    path = store.local_path(key)
    assert path is not None
    whole = path.read_bytes()
    victim = next(
        info.key for info in store.list() if not info.key.endswith("manifest.json") and info.size > 100
    )
    broken = store.local_path(victim)
    assert broken is not None
    broken.write_bytes(broken.read_bytes()[:-1] + b"?")
    taken = back_up(runtime, shelf)
    assert [url.endswith(victim) for url in taken.damaged] == [True]
    assert path.read_bytes() == whole


# Places


def test_objects_are_kept_once_and_pruned_when_no_backup_needs_them(
    runtime: Runtime, made: Made, shelf: str, tmp_path: Path
) -> None:
    def contents() -> set[str]:
        return {file.name for file in (tmp_path / "shelf" / "contents").rglob("*") if file.is_file()}

    first = back_up(runtime, shelf)
    held = contents()
    key = next(info.key for info in runtime.data.list() if info.key.endswith("report.html"))
    runtime.data.put(key, b"<p>another")
    second = back_up(runtime, shelf)
    assert len(contents() - held) == 1
    assert held <= contents()
    with backups.open_place(runtime, shelf) as here:
        finished, unfinished = here.list()
        assert ([each.id for each in finished], unfinished) == ([second.id, first.id], [])
        pruned = backups.prune(here, 1)
        assert (pruned.backups, pruned.objects) == ((first.id,), 1)
        assert [each.id for each in here.list()[0]] == [second.id]
        with pytest.raises(BackupNotFound):
            here.open(first.id)
        assert backups.verify(here, here.open("latest")).passed
        here.store.put("backups/20990101T000000Z-abcdef/begun.json", b"{}")
        assert [each.id for each in here.list()[1]] == ["20990101T000000Z-abcdef"]
        with pytest.raises(BackupError, match="is under way"):
            backups.prune(here, 1)
    for name in ("../../etc", "latest/../x", "20250101T000000Z-abcdef"):
        with backups.open_place(runtime, shelf) as here, pytest.raises(BackupNotFound):
            here.open(name)


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(allow_nan=False),
            st.text(),
            st.binary(),
            st.datetimes(timezones=st.just(__import__("datetime").UTC)),
            st.dates(),
        ),
    )
)
def test_a_row_is_the_same_after_it_was_a_line(row: dict[str, Any]) -> None:
    line = rows.to_line(row)
    assert "\n" not in line
    read = rows.from_line(line)
    assert read == row
    assert {name: type(value) for name, value in read.items()} == {
        name: type(value) for name, value in row.items()
    }


def test_an_address_goes_to_the_same_area_elsewhere() -> None:
    together: dict[Any, str] = dict.fromkeys(AREAS, "file:///home/store") | {"raw": "file:///home/store/raw"}
    apart: dict[Any, str] = {area: f"s3://bucket/{area}" for area in AREAS}
    ours, theirs = Areas(together), Areas(apart)
    for here, there in (
        ("file:///home/store/user_models/u/m/v1", "s3://bucket/models/user_models/u/m/v1"),
        ("file:///home/store/user_data/u/images/a.png", "s3://bucket/images/user_data/u/images/a.png"),
        ("file:///home/store/user_data/u/t.csv", "s3://bucket/data/user_data/u/t.csv"),
        ("file:///home/store/raw/a.json", "s3://bucket/raw/a.json"),
        ("file:///home/store2/a", "file:///home/store2/a"),
        ("s3://elsewhere/a", "s3://elsewhere/a"),
    ):
        assert ours.moved_to(theirs, here) == there
        assert theirs.moved_to(ours, there) == here


# Commands


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_ecluse(home, {}, "backup", *arguments)


@pytest.mark.nightly
def test_commands_that_are_killed_leave_nothing_that_counts_and_go_on(
    runtime: Runtime, made: Made, tmp_path: Path
) -> None:
    home, shelf, new = runtime.settings.home, str(tmp_path / "a shelf"), tmp_path / "new"
    before = objects_of(runtime)
    assert "is not there" in run(home, "list", "--from", shelf).stderr
    assert not Path(shelf).exists()
    for point in ("backup.written", "backup.finish"):
        die_in_command(point, home, {}, "backup", "create", "--to", shelf, "--objects")
    listed = run(home, "list", "--from", shelf, "--json")
    assert [each["state"] for each in json.loads(listed.stdout)] == ["unfinished", "unfinished"]
    assert run(home, "verify", "latest", "--from", shelf).returncode != 0
    done = run(home, "create", "--to", shelf, "--objects")
    assert done.returncode == 0, done.stderr
    assert "It is not encrypted" in done.stdout
    verified = run(home, "verify", "latest", "--from", shelf)
    assert (verified.returncode, "is whole" in verified.stdout) == (0, True), verified.stderr
    restore = ("restore", "latest", "--from", shelf, "--outside", ELSEWHERE)
    for point in ("restore.object", "restore.rows.users", "restore.rows.jobs", "restore.compare"):
        die_in_command(point, new, {}, "backup", *restore)
        with pytest.raises(HomeClosed):
            Runtime.open(Settings.from_environment({}, home=new))
    done = run(new, *restore)
    assert done.returncode == 0, done.stderr
    with Runtime.open(Settings.from_environment({}, home=new)) as there:
        assert objects_of(there) == before
        assert differences(runtime, there) == []
        assert use(there, made) == "dandelion"
    again = run(new, "restore", "latest", "--from", shelf)
    assert again.returncode != 0
    assert "is not empty" in again.stderr
