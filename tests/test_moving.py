"""A whole home moves to another database and other stores and back: everything is there, whatever is killed."""

from __future__ import annotations

import asyncio
import html
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, insert, text

from ecluse import moving
from ecluse.accounts import SESSION_COOKIE
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.catalog import Catalog, homes, rows
from ecluse.catalog.tables import Base, HomeMove, User
from ecluse.errors import HomeClosed, MigrationError, MoveRefused, SettingsError
from ecluse.runtime import Runtime
from ecluse.settings import Settings, read_variables
from ecluse.web.app import make_app
from tests.application import run_ecluse
from tests.apps.plants.tiny import YELLOW, photo, publish_tiny
from tests.homes import Made, end_a_job, fill_home, objects_of, place, settings_of
from tests.migrating import Sizes
from tests.servers import ObjectServer
from tests.support.deaths import die_in_command

pytestmark = pytest.mark.nightly

SMALL = Sizes(models=1, files=1, file_bytes=500, tables=1)


@pytest.fixture
def made(runtime: Runtime, tmp_path: Path) -> Made:
    """The home of `runtime` with something of everything."""
    return fill_home(runtime, tmp_path / "made", SMALL)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Settings:
    """A place on this machine that holds nothing."""
    return Settings.from_environment({}, home=tmp_path / "elsewhere")


def moved(source: Settings, destination: Settings, report: moving.Report = lambda *_: None) -> moving.Outcome:
    with moving.opened(source, destination) as both:
        return moving.run(both, report=report)


def differences(home: Runtime, other: Runtime, used: tuple[str, ...] = ()) -> list[str]:
    """What of the rows, the documents and the records of jobs of two homes is not the same."""
    listed = []
    for table in rows.tables():
        compared = rows.compare(home.catalog.engine, other.catalog.engine, table)
        assert compared.rows, f"{table.name} is empty, and shows nothing"
        listed += [] if table.name in used else compared.named
    sums = Base.metadata.tables["stored"]  # counted there by the database itself
    listed += rows.compare(home.catalog.engine, other.catalog.engine, sums).named
    kinds = list(home.documents.kinds())
    assert list(other.documents.kinds()) == kinds
    listed += [kind for kind in kinds if list(home.documents.all(kind)) != list(other.documents.all(kind))]
    return listed


# What a home is


def test_every_table_is_a_part_of_the_home_or_left_for_a_reason() -> None:
    moved = {table.name for table in rows.tables()}
    names = {table.name for table in Base.metadata.sorted_tables}
    assert moved == names - rows.LEFT
    assert names >= rows.LEFT


def test_every_column_with_an_address_is_pointed_anew_or_is_history() -> None:
    """A column that is added later and holds an address has to be dealt with, or to be named here."""
    history = {("migrations", "source"), ("migrations", "destination"), ("migration_rows", "url")}
    origins = {("images", "origin")}
    signs = ("url", "path", "address", "place", "location", "uri")
    columns = {
        (table.name, column.name)
        for table in rows.tables()
        for column in table.columns
        if any(sign in column.name for sign in signs) and not isinstance(column.type, Integer)
    }
    assert columns <= {("files", "url")} | history | origins


# There and back


def test_a_laptops_home_is_used_in_the_cloud_after_two_kills_and_comes_back_equal(
    runtime: Runtime, object_server: ObjectServer, postgresql_url: str, tmp_path: Path
) -> None:
    laptop = runtime.settings.home
    made = fill_home(runtime, tmp_path / "made")
    publish_tiny(runtime, made.user_id, tmp_path / "tiny")
    before = objects_of(runtime)
    runtime.close()
    bucket = f"s3://models/{tmp_path.name}"
    keys = object_server.environment() | {
        "ECLUSE_STORE_URL": f"{bucket}/data",
        "ECLUSE_MODELS_URL": f"{bucket}/models",
        "ECLUSE_IMAGES_URL": f"{bucket}/images",
        "ECLUSE_RAW_URL": f"{bucket}/raw",
    }
    cloud = place(tmp_path / "cloud.env", DATABASE_URL=postgresql_url, **keys)
    for point in ("move.rows.users", "move.copied"):
        die_in_command(point, laptop, {}, "move", "run", "--to", str(cloud))
    done = run_ecluse(laptop, {}, "move", "run", "--to", str(cloud))
    assert done.returncode == 0, done.stderr

    with Runtime.open(settings_of(cloud, tmp_path / "scratch")) as there:
        assert objects_of(there) == before
        assert there.jobs.get(made.user_id, made.job).message == "all was done"
        assert use(there, made) == "dandelion"
        assert not any(store.url.startswith("file:") for store in there.stores.distinct())
        assert there.stores.area("models").exists(
            f"user_models/{made.user_id}/leaves/{version_of(there)}/manifest.json"
        )

    kept = laptop.rename(tmp_path / "kept")
    back = Settings.from_environment({}, home=laptop)
    moved(settings_of(cloud, tmp_path / "scratch"), back)
    with (
        Runtime.open(back) as home,
        Runtime.open(Settings.from_environment({}, home=kept)) as original,
    ):
        assert objects_of(home) == before
        # Who looked in has been there since, and the link that signs in once was used up; both are written down.
        differing = differences(original, home, used=rows.LAST)
        assert [said.rpartition(" ")[0] for said in differing] == ["extra: audit_log"] * 2
        since = [entry.action for entry, _ in home.accounts.log(limit=2)]
        assert sorted(since) == ["token.first_use", "user.sign_in_by_link"]


def use(runtime: Runtime, made: Made) -> str:
    """Come with the session, the token and the link of before, and let the model answer; its label."""
    app = make_app(runtime)

    async def ask() -> str:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        page, token = {"accept": "text/html"}, {"authorization": f"Bearer {made.token}"}
        client = partial(httpx.AsyncClient, transport=transport, base_url="http://a")
        async with client(cookies={SESSION_COOKIE: made.session}) as browser:
            models = await browser.get("/models", headers=page)
            assert models.status_code == 200, models.text
            assert "leaves" in models.text
        async with client() as stranger:
            entered = await stranger.post(f"/sign-in/link/{made.link}", headers=page)
            assert entered.status_code == 303, entered.text
        async with client(headers=token) as program:
            answer = await program.post("/api/plants/predict", files={"file": ("a.jpg", photo(YELLOW))})
            assert answer.status_code == 200, answer.text
            return str(answer.json()["label"])

    return asyncio.run(ask())


def version_of(runtime: Runtime) -> str:
    from ecluse.catalog.tables import ModelVersion

    with runtime.catalog.read() as transaction:
        return transaction.query(ModelVersion).filter_by(name="leaves").one().version


@pytest.mark.nightly
def test_everything_moves_from_one_postgresql_to_another(
    new_postgresql_url: Callable[[], str], tmp_path: Path
) -> None:
    source, destination = (
        settings_of(
            place(
                tmp_path / f"{name}.env", DATABASE_URL=new_postgresql_url(), ECLUSE_HOME=str(tmp_path / name)
            )
        )
        for name in ("one", "other")
    )
    with Runtime.open(source) as runtime:
        made = fill_home(runtime, tmp_path / "made", SMALL)
        moved(source, destination)
        with Runtime.open(destination) as there:
            assert there.jobs.get(made.user_id, made.job).status == "done"
            assert objects_of(there) == objects_of(runtime)
            end_a_job(there, made.user_id)
        with pytest.raises(HomeClosed):
            runtime.accounts.add("late@example.org")


# Killed


POINTS = (
    "move.rows.jobs", "move.rows.datasets", "move.documents", "move.copied", "move.switch", "move.compare",
    "move.compared", "move.arrived",
)  # fmt: skip


def test_a_run_that_is_killed_in_every_phase_goes_on(
    runtime: Runtime, made: Made, elsewhere: Settings, tmp_path: Path
) -> None:
    assert made
    there = place(tmp_path / "elsewhere.env", ECLUSE_HOME=str(elsewhere.home))
    for point in POINTS:
        die_in_command(point, runtime.settings.home, {}, "move", "run", "--to", str(there))
        with pytest.raises(HomeClosed):
            runtime.accounts.add("late@example.org")
        if point != "move.arrived":
            with pytest.raises(HomeClosed), Runtime.open(elsewhere):
                raise AssertionError("people are let in before all is there")
    outcome = moved(runtime.settings, elsewhere)
    assert outcome.left == ()
    with moving.opened(runtime.settings, elsewhere) as both:
        verification = moving.verify(both)
        assert verification.passed, verification.findings
        assert objects_of(both.destination) == objects_of(runtime)
        again = moving.run(both)
    assert again == outcome


# The source stands still


def test_nothing_is_written_at_the_source_once_the_move_has_begun(
    runtime: Runtime, made: Made, elsewhere: Settings
) -> None:
    refused = 0

    def attempt(*_: Any) -> None:
        nonlocal refused
        with runtime.catalog.read() as transaction:
            if homes.open_move(transaction, "out") is None:
                return
        for change in (
            lambda: runtime.accounts.add("late@example.org"),
            lambda: runtime.jobs.enqueue("work", "profile", made.user_id, "late", {}),
            lambda: runtime.documents.put("metrics/zones", "2026-01-01", {}),
        ):
            with pytest.raises(HomeClosed):
                change()
            refused += 1
        assert runtime.accounts.who_has_session(made.session) is not None

    moved(runtime.settings, elsewhere, attempt)
    attempt()
    assert refused > 30
    app = make_app(runtime)

    async def ask() -> list[httpx.Response]:
        headers = {"authorization": f"Bearer {made.token}"}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://a", headers=headers) as client:
            return [
                await client.get("/api/models"),
                await client.post("/api/upload", files={"file": ("t.csv", b"a,b\n1,2\n")}),
                await client.post("/sign-in", data={"email": "a@b.c", "password": "a long one"}),
            ]

    before = objects_of(runtime)
    read, uploaded, _ = asyncio.run(ask())
    assert read.status_code == 200
    assert (uploaded.status_code, uploaded.json()["error"]["code"]) == (503, "home_closed")
    assert "moved on" in uploaded.json()["error"]["message"]
    assert objects_of(runtime) == before


def test_closing_waits_for_the_writes_that_had_begun(postgresql_url: str) -> None:
    catalog = Catalog(Settings.from_environment({"DATABASE_URL": postgresql_url}).database_url)
    catalog.migrate()
    closed = threading.Event()

    def close() -> None:
        with catalog.write(closed=True) as transaction:
            move = HomeMove(id="m", direction="out", state="moving", source={}, destination={}, head="x")
            homes.close(transaction, move)
        closed.set()

    thread = threading.Thread(target=close)
    with catalog.write() as transaction:
        thread.start()
        assert not closed.wait(0.5)
        transaction.add(User(email="in-time@example.org"))
    thread.join(30)
    assert closed.is_set()
    with pytest.raises(HomeClosed), catalog.write():
        raise AssertionError("a write after the home was closed")
    catalog.close()


def test_a_job_that_waits_is_waited_for_or_refused(runtime: Runtime, made: Made, elsewhere: Settings) -> None:
    job = runtime.jobs.enqueue("work", "nobody", made.user_id, "A table", {})
    with moving.opened(runtime.settings, elsewhere) as both:
        with pytest.raises(MoveRefused, match=r"1 job\(s\) wait or run here: A table"):
            moving.run(both)
        runtime.accounts.add("still-open@example.org")

        def end(_: float, message: str) -> None:
            if message.startswith("waiting for"):
                runtime.jobs.cancel(made.user_id, job)

        moving.run(both, wait=True, report=end)
        assert both.destination.jobs.get(made.user_id, job).status == "cancelled"


@pytest.mark.nightly
def test_pages_say_how_and_what_was_moved(runtime: Runtime, made: Made, elsewhere: Settings) -> None:
    moved(runtime.settings, elsewhere)

    def page(home: Runtime, address: str, language: str) -> str:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(make_app(home), raise_app_exceptions=False)
            cookies = {SESSION_COOKIE: made.session}
            async with httpx.AsyncClient(
                transport=transport, base_url="http://a", cookies=cookies
            ) as browser:
                return await browser.get(
                    address, headers={"accept": "text/html", "accept-language": language}
                )

        answer = asyncio.run(ask())
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)

    for address in ("/", "/migrations"):
        assert "It can be read here and is changed there." in page(runtime, address, "en")
        assert "On peut encore le lire ici" in page(runtime, address, "fr")
    assert "Moved from here" in page(runtime, "/migrations", "en")
    with Runtime.open(elsewhere) as there:
        listed = page(there, "/migrations", "fr")
        assert "Transféré ici" in listed
        assert str(elsewhere.home / "catalog.db") in listed
        assert "On peut encore le lire ici" not in listed


# Refused


def test_a_place_that_holds_something_is_refused(runtime: Runtime, made: Made, elsewhere: Settings) -> None:
    with Runtime.open(elsewhere) as there:
        there.accounts.local_administrator()
    with moving.opened(runtime.settings, elsewhere) as both:
        assert any(
            "is not empty: it has audit_log, users" in problem for problem in moving.plan(both).problems
        )
        with pytest.raises(MoveRefused, match="is not empty: it has audit_log, users"):
            moving.run(both)
    runtime.accounts.add("still-open@example.org")


def test_another_content_in_the_way_is_found_before_anything_is_closed(
    runtime: Runtime, made: Made, elsewhere: Settings
) -> None:
    with Runtime.open(elsewhere) as there:
        there.data.put("city/reports/2025-10-14/report.html", b"another city's")
    with (
        moving.opened(runtime.settings, elsewhere) as both,
        pytest.raises(MoveRefused, match="another content"),
    ):
        moving.run(both)
    runtime.accounts.add("still-open@example.org")


def test_tables_of_another_version_are_refused(runtime: Runtime, elsewhere: Settings) -> None:
    with Runtime.open(elsewhere) as there, there.catalog.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0006'"))
    with (
        pytest.raises(MoveRefused, match="tables of version 0006"),
        moving.opened(runtime.settings, elsewhere),
    ):
        raise AssertionError("opened")


def test_a_home_is_not_moved_onto_itself(runtime: Runtime) -> None:
    with pytest.raises(MoveRefused, match="same database"), moving.opened(runtime.settings, runtime.settings):
        raise AssertionError("opened")


def test_what_postgresql_cannot_keep_is_named_before_anything_is_closed(
    runtime: Runtime, postgresql_url: str, tmp_path: Path
) -> None:
    user = runtime.accounts.add("a@example.org")
    with runtime.catalog.write() as transaction:
        transaction.add(
            Dataset(id="d", user_id=user.id, filename="x" * 301, key="k", url="", size_bytes=1, sha256="s")
        )
    home = tmp_path / "there"
    cloud = Settings.from_environment({"DATABASE_URL": postgresql_url}, home=home)
    with (
        moving.opened(runtime.settings, cloud) as both,
        pytest.raises(MoveRefused, match="datasets d: filename holds 301 characters, 300 fit"),
    ):
        moving.run(both)
    runtime.accounts.add("still-open@example.org")


# Back again


def is_empty(place: Runtime) -> bool:
    """Whether no table there has a row that it had not from the beginning."""
    return all(
        rows.is_empty(place.catalog.engine, table) for table in rows.tables() if table.name not in rows.SEEDED
    )


def test_a_rollback_leaves_the_place_empty_and_the_source_open(
    runtime: Runtime, made: Made, elsewhere: Settings
) -> None:
    before = objects_of(runtime)
    moved(runtime.settings, elsewhere)
    with Runtime.open(elsewhere) as there:
        assert there.accounts.who_has_session(made.session) is not None  # who only looks in does not use it
        there.data.put("a/stranger", b"not of the move")
    with moving.opened(runtime.settings, elsewhere) as both:
        undone = moving.rollback(both)
        assert undone.rows > 40
        assert is_empty(both.destination)
        assert list(both.destination.documents.kinds()) == []
        assert list(objects_of(both.destination)) == ["a/stranger"]
    assert objects_of(runtime) == before
    runtime.accounts.add("open-again@example.org")
    assert moved(runtime.settings, elsewhere).left == ()


def test_an_unfinished_move_is_rolled_back(runtime: Runtime, made: Made, elsewhere: Settings) -> None:
    def stop(_: float, message: str) -> None:
        if message == "pointing rows at objects":
            raise KeyboardInterrupt

    with moving.opened(runtime.settings, elsewhere) as both:
        with pytest.raises(KeyboardInterrupt):
            moving.run(both, report=stop)
        moving.rollback(both)
        assert objects_of(both.destination) == {}
        assert is_empty(both.destination)
    runtime.accounts.add("open-again@example.org")


def test_a_place_that_was_used_is_not_removed_and_the_source_can_be_released(
    runtime: Runtime, made: Made, elsewhere: Settings
) -> None:
    moved(runtime.settings, elsewhere)
    with Runtime.open(elsewhere) as there:
        there.accounts.add("new@example.org")
    with moving.opened(runtime.settings, elsewhere) as both:
        with pytest.raises(MoveRefused, match="was used since: extra: "):
            moving.rollback(both)
        assert not moving.verify(both).passed
        moving.release(runtime.catalog)
    for home in (runtime.settings, elsewhere):
        with Runtime.open(home) as opened:
            opened.accounts.add("each-for-itself@example.org")


def test_a_part_of_a_move_is_no_migration_of_its_own(
    runtime: Runtime, made: Made, elsewhere: Settings
) -> None:
    from ecluse import migration
    from ecluse.catalog import journal

    outcome = moved(runtime.settings, elsewhere)
    with Runtime.open(elsewhere) as there:
        assert {row.id for row in migration.list_migrations(there.catalog)} == {
            row.id for row in migration.list_migrations(runtime.catalog)
        }
        with there.catalog.read() as transaction:
            [part] = journal.of_move(transaction, outcome.id)
        with pytest.raises((MigrationError, ValueError), match="part of a move of the whole home"):
            migration.rollback(there.catalog, there.stores, part.id)


# Pieces


def test_numbers_that_postgresql_counts_go_on_behind_those_that_were_copied(postgresql_url: str) -> None:
    url = Settings.from_environment({"DATABASE_URL": postgresql_url}).database_url
    table = Table("counted", MetaData(), Column("id", Integer, primary_key=True))
    engine = create_engine(url)
    with engine.begin() as connection:
        table.create(connection)
        rows.write(connection, table, [{"id": 7}, {"id": 9}])
        rows.set_sequences(connection, [table])
        assert connection.execute(insert(table).returning(table.c.id)).scalar_one() == 10
    engine.dispose()


@pytest.mark.parametrize("line", ["hunter2", "A B=c", "A='open", "A=b c"])
def test_a_file_of_variables_is_refused_without_showing_a_value(line: str, tmp_path: Path) -> None:
    file = tmp_path / "cloud.env"
    file.write_text(f"# a place\n\nexport FIRST='with # and blank'\n{line}\n")
    with pytest.raises(SettingsError, match="line 4") as raised:
        read_variables(file)
    assert line not in str(raised.value)
    file.write_text("export FIRST='with # and blank'\nSECOND=a#b\nTHIRD=\n")
    assert read_variables(file) == {"FIRST": "with # and blank", "SECOND": "a#b", "THIRD": ""}
