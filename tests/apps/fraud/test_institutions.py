"""The simulated institutions of the demonstration library."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import polars as pl
import pytest

from ecluse.apps.fraud.profiling.profile import profile_table
from ecluse.apps.fraud.references.domains import DOMAINS
from ecluse.apps.fraud.references.domains.drawing import column
from ecluse.apps.fraud.references.institutions import (
    Institution,
    institution,
    library,
    outsiders,
    simulate,
    write_labelled,
    write_unlabelled,
)
from ecluse.apps.fraud.tables.columns import infer_columns
from ecluse.errors import InvalidInput
from ecluse.tabular.dataset import open_table


def frauds(one: Institution, frame: pl.DataFrame) -> int:
    spelt = DOMAINS[one.domain].columns["fraud"].values["1"][one.place]
    return int((frame[one.target].cast(pl.String) == spelt).sum())


def test_the_library_holds_forty_institutions_of_eight_domains_and_eight_more_are_outside_of_it() -> None:
    assert len(library()) == 40
    assert {one.domain for one in library()} == set(DOMAINS) == {one.domain for one in outsiders()}
    assert len(DOMAINS) == 8
    assert len({one.name for one in library() + outsiders()}) == 48


@pytest.mark.parametrize("one", library() + outsiders(), ids=lambda one: one.name)
def test_an_institution_has_some_thousand_rows_and_few_frauds(one: Institution) -> None:
    frame = simulate(one)
    assert 4_000 <= frame.height <= 8_000
    assert 0.005 <= frauds(one, frame) / frame.height <= 0.051
    assert frame[one.identifier].n_unique() == frame.height
    assert len(frame.columns) == len(set(frame.columns)) >= 13


@pytest.mark.parametrize("domain", DOMAINS)
def test_relatives_share_few_names_and_are_no_copies(domain: str) -> None:
    frames = [simulate(one) for one in library() if one.domain == domain]
    for one, other in combinations(frames, 2):
        shared = set(one.columns) & set(other.columns)
        assert len(shared) <= 0.3 * len(one.columns)
        assert one.height != other.height


def test_the_same_seed_gives_the_same_table_and_another_seed_another() -> None:
    one = institution("kestrel_cards")
    assert simulate(one).equals(simulate(one))
    assert not simulate(one).equals(simulate(one, seed=1))


def test_the_columns_of_an_institution_read_as_what_they_are() -> None:
    kinds = {spec.name: spec.kind for spec in infer_columns(simulate(institution("credit_riverain")))}
    assert kinds["Date et heure"] == "datetime"
    assert kinds["Montant (centimes)"] == "number"
    assert kinds["Activité du commerce"] == "category"
    assert kinds["N° opération"] == "identifier"


@pytest.mark.nightly
def test_no_other_column_of_an_institution_is_taken_for_its_label(tmp_path: Path) -> None:
    wrong, found = [], 0
    for one in library():
        with open_table(write_labelled(one, tmp_path / f"{one.name}.csv")) as table:
            guess = profile_table(table).guesses.target
        if guess is not None and guess.column != one.target:
            wrong.append((one.name, guess.column))
        found += guess is not None
    assert wrong == []
    assert found > 25


def test_an_unlabelled_table_holds_no_label_and_its_answers_lie_apart(tmp_path: Path) -> None:
    one = institution("cards")
    assert not one.in_library
    written = write_unlabelled(one, tmp_path)
    table, truth = pl.read_csv(written.table), pl.read_csv(written.truth)
    assert one.target not in table.columns
    assert truth.columns == [one.identifier, "is_fraud"]
    assert table[one.identifier].equals(truth[one.identifier])
    assert truth["is_fraud"].sum() == frauds(one, simulate(one))


def test_an_institution_that_does_not_exist_is_refused_with_the_domains() -> None:
    with pytest.raises(InvalidInput, match="mobile_money"):
        institution("nowhere")


def test_a_column_needs_the_names_of_six_institutions() -> None:
    with pytest.raises(ValueError, match="2 names instead of 6"):
        column("amount | montant")
