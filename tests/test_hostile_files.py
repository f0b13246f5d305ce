"""More than 300 files that were written against their readers: each gets its own clear answer and harms no other."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from ecluse.apps.fraud.actions.uploads import profile_upload, read_upload
from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.pictures import read_picture
from ecluse.confined import Limits, nursery_of, run
from ecluse.errors import EcluseError, ReaderStopped, UnreadableTable
from ecluse.web.i18n import Words
from tests import hostile_files
from tests.application import running
from tests.hostile_files import FAR, ROWS, Hostile, book, shared, sheet, uses
from tests.support.wait import wait_until

pytestmark = pytest.mark.nightly

FRENCH = Words("fr")
MEMORY = 600 << 20
#: What a reader has of its nursery when it begins, beside its own.
INHERITED = 200 << 20


@contextmanager
def peaks() -> Iterator[list[int]]:
    """The most bytes that each reader held that ends meanwhile."""
    held: list[int] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            assert isinstance(record.args, dict)
            held.append(int(record.args["peak"]))

    logger, listener = logging.getLogger("ecluse.confined"), Listener()
    level = logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.DEBUG)
    try:
        yield held
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)


def answers_to(kinds: list[Hostile], read: object) -> dict[str, str]:
    """What is wrong with the answer to each kind; nothing where it is as it is to be."""
    wrong: dict[str, str] = {}
    for one in kinds:
        try:
            read(one)  # type: ignore[operator]
        except (UnreadableTable, UnreadableImage) as refused:
            said = str(refused)
            if one.fate == "read":
                wrong[one.kind] = f"refused: {said}"
            elif (
                not 20 < len(said) < 600
                or "Traceback" in said
                or str(Path(tempfile.gettempdir())) in said
                or "panick" in said
            ):
                wrong[one.kind] = f"not clear: {said}"
            elif FRENCH.phrase(said) == said:
                wrong[one.kind] = f"not in French: {said}"
        except BaseException as error:  # noqa: BLE001 (every other end is one that harms)
            wrong[one.kind] = f"{type(error).__name__}: {error}"
        else:
            if one.fate == "refused":
                wrong[one.kind] = "read"
    return wrong


def test_there_are_more_than_two_hundred_kinds() -> None:
    kinds = [one.kind for one in (*hostile_files.tables(), *hostile_files.images())]
    assert len(kinds) == len(set(kinds)) > 300


def test_every_hostile_table_is_read_or_refused_with_a_sentence_and_within_its_memory(tmp_path: Path) -> None:
    def read(one: Hostile) -> None:
        path = tmp_path / one.filename
        path.write_bytes(one.make())
        profile_upload(path, one.filename, folder=tmp_path, memory=MEMORY)

    kinds = hostile_files.tables()
    with peaks() as held:
        assert answers_to(kinds, read) == {}
    assert len(held) == len(kinds)
    assert max(held) < MEMORY + INHERITED


def test_every_hostile_image_is_read_or_refused_with_a_sentence_and_within_its_memory() -> None:
    kinds = hostile_files.images()
    with peaks() as held:
        assert answers_to(kinds, lambda one: read_picture(one.make(), side=64, whole=True)) == {}
    assert max(held) < MEMORY + INHERITED


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("far", lambda: book(sheet(ROWS + FAR))),
        ("texts", lambda: book(uses("0", 4000), strings=shared("x" * 1_000_000))),
    ],
)
def test_the_guard_of_workbooks_refuses_them_before_they_are_laid_out(
    name: str, content, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / f"{name}.xlsx"
    path.write_bytes(content())
    with peaks() as held, pytest.raises(UnreadableTable, match=r"spans 1,048,576 rows|4\.0 GB of text"):
        read_upload(path, folder=tmp_path, memory=MEMORY)
    assert max(held) < INHERITED


def test_a_table_that_is_read_apart_is_the_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;b\n1;é\n;\n2;\n")
    with read_upload(path, folder=tmp_path) as table:
        assert (table.row_count(), table.columns, table.format.separator) == (2, ("a", "b"), ";")
        assert table.head().rows() == [("1", "é"), ("2", None)]
        assert [batch.height for batch in table.batches(1)] == [1, 1]
    assert sorted(tmp_path.iterdir()) == [path]


# What a reader is


LIMITS = Limits(memory=200 << 20, work=2.0, wall=60.0, written=1 << 20)


def reading(function: str, limits: Limits = LIMITS, **arguments: object) -> object:
    return run(f"tests.readers:{function}", arguments, limits=limits).value


@pytest.mark.parametrize(
    ("function", "why"),
    [
        ("hoard", "memory"),
        ("spin", "time"),
        ("fall", "crash"),
        ("abort", "crash"),
        ("write", "size"),
        ("babble", "memory"),
    ],
)
def test_a_reader_that_takes_too_much_or_falls_is_stopped_alone(function: str, why: str) -> None:
    with pytest.raises(ReaderStopped) as stopped:
        reading(function)
    assert stopped.value.why == why
    assert reading("fine") == "fine"


def test_a_reader_begins_with_what_its_module_would_import_later() -> None:
    nursery_of("tests.readers").close()
    assert reading("is_there") is True


def test_a_reader_that_waits_for_ever_is_ended() -> None:
    with pytest.raises(ReaderStopped) as stopped:
        reading("wait", Limits(memory=200 << 20, wall=1.0))
    assert stopped.value.why == "time"


def test_a_reader_has_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "IDFM_API_KEY"):
        monkeypatch.setenv(name, "secret")
    nursery_of("tests.readers").close()
    environ = reading("environ")
    assert isinstance(environ, dict)
    assert "secret" not in environ.values()
    assert {"PATH", "POLARS_MAX_THREADS"} <= environ.keys()


def test_an_error_of_ours_comes_back_as_itself_and_any_other_as_a_fall() -> None:
    with pytest.raises(UnreadableTable, match="no table"):
        reading("refuse")
    with pytest.raises(ReaderStopped, match="crash"):
        reading("fault")


def test_a_nursery_that_was_killed_is_begun_again_and_a_reader_ends_with_it() -> None:
    first = reading("pids")
    nursery = nursery_of("tests.readers")
    before = nursery.pid
    with pytest.raises(ReaderStopped) as stopped:
        reading("kill_nursery", Limits(memory=200 << 20, wall=60))
    assert stopped.value.why == "ended"
    assert reading("fine") == "fine"
    assert nursery.pid != before
    assert isinstance(first, list)


def test_who_no_longer_wants_an_answer_ends_its_reader(tmp_path: Path) -> None:
    reader = tmp_path / "reader"

    class Cancelled(EcluseError):
        pass

    def heard(fraction: float, message: str) -> None:
        if reader.exists():
            raise Cancelled

    with pytest.raises(Cancelled):
        run(
            "tests.readers:note_and_wait", {"path": str(reader)}, limits=Limits(memory=200 << 20), heard=heard
        )
    wait_until(lambda: not psutil.pid_exists(int(reader.read_text())), "an end of the reader")


# Neighbours


@pytest.mark.nightly
def test_a_neighbours_jobs_run_undisturbed_while_hostile_files_are_read(tmp_path: Path) -> None:
    wanted = (
        "far cell, single quotes",
        "texts: one of 1 MB used 4,000 times",
        "zip: a picture that inflates 1,000 times",
        "gzip: inflates 1,000 times",
        "parquet: a text of 1 MB in 3,000 rows",
        "csv: bytes of no encoding",
    )
    hostile = {one.kind: one for one in hostile_files.tables() if one.kind in wanted}
    assert len(hostile) == len(wanted)
    good = b"amount,is_fraud\n" + b"".join(b"%d,%d\n" % (i % 97, i % 13 == 0) for i in range(3000))
    with (
        running(tmp_path / "home", {"ECLUSE_READER_MAX_BYTES": str(MEMORY)}) as application,
        application.client("stranger@example.org") as stranger,
        application.client("n@example.org") as neighbour,
    ):
        jobs: list[tuple[str, httpx.Client, str]] = []
        for kind, one in hostile.items():
            jobs.append((kind, stranger, sent(stranger, one.filename, one.make())))
            jobs.append(("good", neighbour, sent(neighbour, "good.csv", good)))
        for kind, client, job in jobs:
            ended = application.wait_for_job(client, job)
            if kind == "good":
                assert ended["status"] == "done", ended
            elif hostile[kind].fate == "refused":
                assert ended["status"] == "failed", (kind, ended)
                assert hostile[kind].filename in str(ended["error"]), (kind, ended)
        assert not [line for line in application.said if "started again" in line]


def sent(client: httpx.Client, name: str, content: bytes) -> str:
    answer = client.post("/api/upload", files={"file": (name, content)}).raise_for_status().json()
    return str(answer["job"])
