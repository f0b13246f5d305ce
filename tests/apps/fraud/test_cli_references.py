"""`ecluse fraud references`: its words, its JSON, its exit codes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from openpyxl import Workbook

from ecluse.apps.fraud.references.institutions import institution, simulate
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.application import run_ecluse
from tests.described import write_described

pytestmark = pytest.mark.nightly


def run(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run_ecluse(home, {}, "fraud", "references", *map(str, arguments))


def asked(home: Path, *arguments: object, code: int = 0) -> Any:
    done = run(home, *arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads(done.stdout if done.stdout else done.stderr)


def write_workbook(table: pl.DataFrame, file: Path) -> None:
    """A workbook with a cover sheet, and titles above the names."""
    workbook = Workbook()
    cover = workbook.active
    assert cover is not None
    cover.append(["Extract of July"])
    sheet = workbook.create_sheet("Data")
    for row in (["Extract of July"], [], table.columns, *table.rows()):
        sheet.append(list(row))
    workbook.save(file)


@pytest.mark.nightly
def test_a_folder_of_tables_becomes_a_library_that_is_listed_measured_and_removed(
    home: Path, tmp_path: Path
) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    simulate(institution("kestrel_cards")).write_csv(tables / "kestrel_cards.csv")
    write_workbook(simulate(institution("harbour_bank_cards")), tables / "harbour_bank_cards.xlsx")
    (tables / "plain.csv").write_text("a,b\n" + "\n".join(f"{n},{n * n}" for n in range(300)))
    told = asked(home, "import", tables, "--domain", "cards", "--budget", "8", code=1)
    outcomes = {one["name"]: one["outcome"] for one in told["references"]}
    assert outcomes == {"kestrel_cards": "built", "harbour_bank_cards": "built", "plain": "failed"}
    assert "label column" in str(told["references"])
    means = {one["name"]: one["fraud_means"] for one in told["references"] if one["outcome"] == "built"}
    assert means["kestrel_cards"].startswith("Fraud means fraud_flg = Y, ")
    (tables / "plain.csv").unlink()
    again = run(home, "import", tables, "--domain", "cards", "--budget", "8")
    assert again.returncode == 0
    assert again.stdout.splitlines() == [
        "harbour_bank_cards: unchanged",
        f"  {means['harbour_bank_cards']}",
        "  Sheet 2 of 2 is read: 'Data'. The names of the columns stand in row 3.",
        "kestrel_cards: unchanged",
        f"  {means['kestrel_cards']}",
        "  The names of the columns stand in row 1.",
    ]
    listed = asked(home, "list")
    assert [(one["name"], one["domain"], one["matchable"]) for one in listed] == [
        ("harbour_bank_cards", "cards", True),
        ("kestrel_cards", "cards", True),
    ]
    measured = asked(home, "evaluate")
    assert {one["name"]: list(one["scored"]) for one in measured} == {
        "harbour_bank_cards": ["kestrel_cards"],
        "kestrel_cards": ["harbour_bank_cards"],
    }
    assert all(one["transfer_roc_auc"] > 0.7 for one in measured)
    shown = run(home, "show", "kestrel_cards")
    assert "measured on the tables of" in shown.stdout
    assert "sample.parquet" in shown.stdout
    assert means["kestrel_cards"] in shown.stdout
    assert asked(home, "show", "kestrel_cards")["target"] == "fraud_flg"
    assert run(home, "remove", "kestrel_cards", "--yes").stdout == "Removed: kestrel_cards.\n"
    assert [one["name"] for one in asked(home, "list")] == ["harbour_bank_cards"]
    assert not list((home / "store").glob("user_data/*/uploads/*kestrel*")), "the tables are not kept"


def test_a_folder_of_models_becomes_references_too(home: Path, tmp_path: Path) -> None:
    write_described("lumo_wallet", tmp_path / "folders", tmp_path)
    told = asked(home, "import", tmp_path / "folders")
    assert [(one["name"], one["outcome"]) for one in told["references"]] == [("lumo_wallet", "published")]
    assert [one["domain"] for one in asked(home, "list", "--domain", "mobile_money")] == ["mobile_money"]
    assert asked(home, "list", "--domain", "loans") == []


def test_what_cannot_be_done_ends_with_1_and_says_why(home: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "twice").mkdir()
    for ending in ("csv", "parquet"):
        (tmp_path / "twice" / f"a.{ending}").write_text("x")
    for arguments, code in (
        (("import", tmp_path / "empty"), "invalid_input"),
        (("import", tmp_path / "twice"), "invalid_input"),
        (("demo", "--domain", "gambling"), "invalid_input"),
        (("demo", "--budget", "1"), "invalid_input"),
        (("show", "nowhere"), "not_found"),
        (("remove", "nowhere", "--yes"), "not_found"),
        (("evaluate",), "invalid_input"),
        (("evaluate", "nowhere"), "not_found"),
        (("sample", "gambling"), "invalid_input"),
    ):
        assert asked(home, *arguments, code=1)["error"]["code"] == code, arguments
    assert run(home, "remove").returncode == 2
    assert run(home, "list").stdout == ""


def test_only_administrators_change_the_library(home: Path) -> None:
    with Runtime.open(Settings.from_environment({}, home=home)) as runtime:
        runtime.accounts.local_administrator()
        runtime.accounts.sign_up("member@example.org", "a long password")
    for arguments in (("demo",), ("remove", "x", "--yes"), ("evaluate",)):
        refused = asked(home, *arguments, "--user", "member@example.org", code=1)
        assert refused["error"]["code"] == "forbidden"
    assert asked(home, "list", "--user", "member@example.org") == []


def test_a_table_without_labels_is_written_to_try_the_library_with(home: Path, tmp_path: Path) -> None:
    told = asked(home, "sample", "telecom", tmp_path / "out")
    table, truth = pl.read_csv(told["unlabelled"]), pl.read_csv(told["truth"])
    assert Path(told["unlabelled"]).name == "vox_lagoon.csv"
    assert table.height == truth.height
    assert "label" not in table.columns
    assert 0 < truth["is_fraud"].sum() < 0.06 * truth.height
