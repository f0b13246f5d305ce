"""Which sheet and row of an uploaded file are read: shown, asked where in doubt, chosen, and used from then on."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.rows import datasets, labels
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.catalog import work
from ecluse.catalog.tables import User
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime, Worker
from ecluse.settings import Settings
from ecluse.tabular.layout import Layout
from ecluse.work import kinds
from tests.forking import run_forked
from tests.support.wait import wait_until
from tests.web.test_pages import Browser, browser


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home = tmp_path_factory.mktemp("layout") / "home"
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        worker = Worker(opened, kinds())
        worker.start()
        yield opened
        worker.close()


@pytest.fixture(scope="module")
def owner(runtime: Runtime) -> User:
    return runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")


@pytest.fixture
def client(runtime: Runtime, owner: User) -> Browser:
    return browser(runtime, owner)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A cover, and two months of payments with two rows of titles above their names."""
    made = openpyxl.Workbook()
    made.worksheets[0].title = "Cover"
    made.worksheets[0].append(["Payments"])
    for month, rows in (("October", 30), ("November", 20)):
        sheet = made.create_sheet(month)
        sheet.append([f"Payments of {month}"])
        sheet.append(["in EUR"])
        sheet.append(["payment", "amount", "fraud"])
        for number in range(rows):
            sheet.append([f"{month[0]}{number}", 10.25 + number, int(number % 7 == 0)])
    path = tmp_path_factory.mktemp("book") / "payments.xlsx"
    made.save(path)
    return path.read_bytes()


def read_to_its_end(runtime: Runtime, owner: User, dataset_id: str) -> Dataset:
    def look() -> Dataset | None:
        row = workflows.find_dataset(runtime, owner.id, dataset_id)
        return None if row.state == "profiling" else row

    return wait_until(look, "a table that is read")


def upload(runtime: Runtime, owner: User, client: Browser, content: bytes, query: str = "") -> Dataset:
    answer = client.post(f"/api/upload{query}", files={"file": ("payments.xlsx", content)})
    assert answer.status_code == 201, answer.text
    return read_to_its_end(runtime, owner, answer.json()["id"])


def test_the_page_says_what_is_read_shows_the_first_rows_and_takes_another_choice(
    runtime: Runtime, owner: User, client: Browser, book: bytes
) -> None:
    table = upload(runtime, owner, client, book)
    assert (table.rows, [c["name"] for c in table.profile["columns"]]) == (30, ["payment", "amount", "fraud"])  # type: ignore[index]
    page = client.get(f"/fraud/d/{table.id}").text
    assert "sheet 2 of 3: October, names in row 3" in page
    assert "Is this the table you mean?" in page, "November is about as large"
    assert "Payments of October" in page
    layout = client.get(f"/api/datasets/{table.id}").json()["layout"]
    assert (layout["sheet"], layout["header_row"], layout["doubts"]) == ("October", 3, ["sheet"])

    chosen = client.post(f"/fraud/d/{table.id}/layout", data={"sheet": "November", "names": ""})
    assert (chosen.status_code, chosen.headers["location"]) == (303, f"/fraud/d/{table.id}")
    again = read_to_its_end(runtime, owner, table.id)
    assert (again.rows, again.layout["sheet"], again.layout["doubts"]) == (20, "November", [])  # type: ignore[index]

    for row in ("x", "", "0", "-1", "²", "٣", "2001", "9" * 5_000):
        refused = client.post(f"/fraud/d/{table.id}/layout", data={"names": "row", "header_row": row})
        assert (refused.status_code, "cannot hold the names" in refused.text) == (422, True), row
        assert "9" * 100 not in refused.text
    assert client.post(f"/fraud/d/{table.id}/layout", data={"sheet": "x" * 301}).status_code == 422


def test_a_choice_that_cannot_be_read_leaves_the_table_as_it_was(
    runtime: Runtime, owner: User, client: Browser, book: bytes
) -> None:
    table = upload(runtime, owner, client, book, "?sheet=November")
    answer = client.post(f"/api/datasets/{table.id}/layout", json={"sheet": "November", "header_row": 99})
    assert answer.status_code == 202
    after = read_to_its_end(runtime, owner, table.id)
    assert (after.state, after.rows, after.layout) == ("ready", 20, table.layout)
    page = client.get(f"/fraud/d/{table.id}").text
    assert "It could not be read so, and stays as it was." in page
    assert "Row 99 of payments.xlsx holds no names." in page
    assert client.get(f"/fraud/d/{table.id}", {"accept-language": "fr"}).status_code == 200


def test_what_was_used_is_not_read_otherwise(
    runtime: Runtime, owner: User, client: Browser, book: bytes
) -> None:
    table = upload(runtime, owner, client, book)
    with runtime.catalog.write() as transaction:
        labels.put_labels(transaction, owner.id, table.id, {3: 1})
    answer = client.post(f"/api/datasets/{table.id}/layout", json={"header_row": 0})
    assert answer.status_code == 422
    assert "Something was made from payments.xlsx as it is read now" in answer.json()["error"]["message"]
    with pytest.raises(InvalidInput):
        workflows.read_again(runtime, owner.id, table.id, Layout(header_row=0))


def test_of_two_who_choose_at_the_same_moment_one_is_heard(
    opened: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seen a table that is at rest before either writes; no worker runs, so that none has ended by then."""
    user = opened.accounts.sign_up("ines@example.org", "a long password")
    table = workflows.add_table(opened, user.id, "payments.csv", [b"a,b\n1,2\n"])
    with opened.catalog.write() as transaction:
        work.finish(transaction, table.id)
        datasets.dataset_of(transaction, user.id, table.id).layout = {"preview": [["a", "b"]]}
    find, both_have_looked = workflows.find_dataset, threading.Barrier(2)

    def look(*asked: Any) -> Dataset:
        row = find(*asked)
        both_have_looked.wait(30)
        return row

    monkeypatch.setattr(workflows, "find_dataset", look)
    answers = list[str]()

    def choose() -> None:
        try:
            workflows.read_again(opened, user.id, table.id, Layout(header_row=0))
        except InvalidInput as refused:
            answers.append(str(refused))

    threads = [threading.Thread(target=choose) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == ["payments.csv is being read. Wait for the end, then choose."]


def test_another_persons_table_is_not_there(
    runtime: Runtime, owner: User, client: Browser, book: bytes
) -> None:
    table = upload(runtime, owner, client, book)
    stranger = browser(runtime, runtime.accounts.sign_up("other@example.org", "a long password"))
    assert stranger.post(f"/api/datasets/{table.id}/layout", json={}).status_code == 404
    assert stranger.post(f"/fraud/d/{table.id}/layout", data={}).status_code == 404


def test_commands_say_what_they_read_and_take_a_choice(book: bytes, tmp_path: Path) -> None:
    file = tmp_path / "payments.xlsx"
    file.write_bytes(book)
    found = run_forked(["fraud", "analyze", str(file)], os.environ, 60)
    assert "Sheet 2 of 3 is read: 'October'. The names of the columns stand in row 3." in found.stderr
    assert "'November' (23 × 3). To read one of them: --sheet NAME" in found.stderr
    assert "30 rows, 3 columns" in found.stdout
    chosen = run_forked(["fraud", "analyze", str(file), "--sheet", "November"], os.environ, 60)
    assert "20 rows, 3 columns" in chosen.stdout
    both = run_forked(["fraud", "analyze", str(file), "--no-header", "--header-row", "2"], os.environ, 60)
    assert (both.returncode, "contradict each other" in both.stderr) == (1, True)
    plain = tmp_path / "plain.csv"
    plain.write_text("".join(f"T{i},{i}.5,{i % 3}\n" for i in range(9)))
    for words, rows, columns in (([], 9, "column_1"), (["--header-row", "1"], 8, "T0")):
        said = run_forked(["fraud", "analyze", str(plain), *words], os.environ, 60)
        assert f"{rows} rows" in said.stdout
        assert columns in said.stdout
