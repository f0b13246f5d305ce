"""A table is recognised under other names, and refused where it means something else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecluse.apps.fraud.references.index import ReferenceIndex
from ecluse.apps.fraud.references.matching import GATE, match_names, match_table
from ecluse.apps.fraud.tables.columns import ColumnSpec
from ecluse.apps.fraud.tables.names import name_similarity
from ecluse.apps.fraud.tables.sketches import ColumnSketch, sketch_columns
from tests.apps.fraud.references.drawing import NAMES, TABLES, payments, reference, sketches

FRENCH = {
    "amount": "montant",
    "customer_age": "age_client",
    "country": "pays",
    "merchant_category": "categorie_commercant",
    "balance_before": "solde_avant",
    "calls_per_day": "appels_par_jour",
}
SHORT = {
    "amount": "amt",
    "customer_age": "cust_age",
    "country": "ctry",
    "merchant_category": "mrch_cat",
    "balance_before": "bal_bef",
    "calls_per_day": "nb_calls_day",
}
OPAQUE = {name: f"col_{place}" for place, name in enumerate(FRENCH)}
INDEX = ReferenceIndex.of([reference("bank", payments(1))])


@pytest.mark.parametrize("names", [{}, FRENCH, SHORT, OPAQUE], ids=["same", "French", "short", "opaque"])
def test_a_table_is_recognised_under_other_names(names: dict[str, str]) -> None:
    result = match_table(payments(2, names), INDEX)
    assert not result.abstain
    assert result.matches[0].reference == "bank"
    found = {pair.ours: pair.theirs for pair in result.matches[0].columns}
    assert found == {name: names.get(name, name) for name in FRENCH}
    assert result.matches[0].missing == ()


def test_other_units_are_recognised_by_names() -> None:
    result = match_table(payments(2, FRENCH, scale=655.957), INDEX)
    assert {pair.theirs: pair.ours for pair in result.matches[0].columns}["montant"] == "amount"
    assert not result.abstain


def test_the_result_says_why_in_plain_json() -> None:
    said = match_table(payments(2, FRENCH), INDEX).to_dict()
    assert said["abstain"] is False
    assert said["reason"] == "bank means the same"
    (match,) = said["matches"]
    assert set(match) == {"reference", "similarity", "domain", "columns", "missing"}
    whys = {pair["ours"]: pair["why"] for pair in match["columns"]}
    assert whys["amount"] == "amount = montant (French)"
    assert match_table(payments(2, OPAQUE), INDEX).matches[0].columns[0].why == "same distribution"


def dates(name: str, first: float, days: float) -> ColumnSketch:
    quantiles = tuple(np.log1p(first + np.linspace(0, days * 86_400, 21)))
    return ColumnSketch(name, "datetime", 0.0, 0.0, 1.0, 0.0, 1.0, quantiles=quantiles)


def test_the_only_date_of_a_table_that_is_known_is_that_of_the_reference() -> None:
    ours = [*payments(1), dates("trx_dt", 1.70e9, 90)]
    index = ReferenceIndex.of([replace(reference("bank", ours), importance={"amount": 1.0, "trx_dt": 0.3})])
    payment, birth = dates("instant", 1.75e9, 60), dates("instant", 3e8, 12_000)
    match = match_table([*payments(2, FRENCH), payment], index).matches[0]
    assert [(pair.theirs, pair.why) for pair in match.columns if pair.ours == "trx_dt"] == [
        ("instant", "the only date left")
    ]
    assert match_table([*payments(2, FRENCH), birth], index).matches[0].missing == ("trx_dt",)
    two = [*payments(2, FRENCH), payment, replace(payment, name="second")]
    assert match_table(two, index).matches[0].missing == ("trx_dt",)


def test_a_table_of_another_meaning_is_refused_and_the_nearest_is_shown() -> None:
    names = {"amount": "voltage", "customer_age": "room_count", "country": "meter_brand"}
    names |= {"merchant_category": "seal_state", "balance_before": "kwh_index", "calls_per_day": "outages"}
    result = match_table(payments(3, names), INDEX)
    assert result.abstain
    assert all(match.similarity < GATE for match in result.matches)


def test_one_column_in_common_is_no_match() -> None:
    ours = [column for column in payments(1) if column.name in ("amount", "country")]
    facts = replace(reference("bank", ours), importance={"amount": 1.0})
    theirs = [column for column in payments(2) if column.name == "amount"]
    assert match_table(theirs, ReferenceIndex.of([facts])).abstain


def test_an_empty_library_abstains() -> None:
    result = match_table(payments(1), ReferenceIndex.of([]))
    assert (result.abstain, result.reason, result.matches) == (True, "The library holds no reference.", ())


def test_missing_columns_lower_the_similarity_by_their_importance() -> None:
    facts = replace(reference("bank", payments(1)), importance=dict.fromkeys(FRENCH, 1.0) | {"country": 3.0})
    index = ReferenceIndex.of([facts])
    whole = match_table(payments(2), index).matches[0].similarity
    without = [column for column in payments(2) if column.name != "country"]
    found = match_table(without, index).matches[0]
    assert found.missing == ("country",)
    assert whole - found.similarity == pytest.approx(3 / 8, abs=0.02)


def test_corrections_override_what_was_found() -> None:
    settled: dict[str, str | None] = {"montant": "balance_before", "pays": None}
    match = match_table(payments(2, FRENCH), INDEX, corrections={"bank": settled}).matches[0]
    pairs = {pair.theirs: pair for pair in match.columns}
    assert (pairs["montant"].ours, pairs["montant"].why) == ("balance_before", "corrected by you")
    assert "pays" not in pairs
    assert "country" in match.missing


def test_a_column_that_nothing_stands_for_is_left_empty_and_the_table_s_own_stays_free() -> None:
    second = replace(named(payments(2, FRENCH), "montant"), name="montant_net")
    table = [*payments(2, FRENCH), second]
    match = match_table(table, INDEX, refused={"bank": {"amount"}}).matches[0]
    assert "amount" in match.missing
    assert not {"montant", "montant_net"} & {pair.theirs for pair in match.columns if pair.ours == "amount"}
    both = ReferenceIndex.of([reference("bank", [*payments(1), replace(second, name="fee_amount")])])
    free = match_table(payments(2, FRENCH), both, refused={"bank": {"amount"}}).matches[0]
    assert {pair.ours for pair in free.columns if pair.theirs == "montant"} == {"fee_amount"}


def test_a_reference_that_is_named_is_compared_however_many_are_nearer() -> None:
    near = [reference(f"near_{number}", payments(1)) for number in range(30)]
    far = reference("far", [one for one in payments(1) if one.name not in ("amount", "country")])
    index = ReferenceIndex.of([*near, replace(far, columns=(*far.columns, dates("opened", 1e9, 900)))])
    assert "far" not in {one.name for one in index.search(payments(2, FRENCH))}
    found = match_table(payments(2, FRENCH), index, only=["far"])
    assert [match.reference for match in found.matches] == ["far"]
    assert not found.abstain
    assert match_table(payments(2), index, only=[]).matches == ()


def test_a_pair_that_is_worth_nothing_is_none() -> None:
    match = match_names(["merchant_name_first", "amount"], INDEX).matches[0]
    assert [pair.ours for pair in match.columns] == ["amount"]
    assert "merchant_category" in match.missing


def named(table: list[ColumnSketch], name: str) -> ColumnSketch:
    return next(one for one in table if one.name == name)


def components(seed: int, skewed: bool) -> list[list[ColumnSketch]]:
    """Both halves of a table of ten anonymous columns."""
    draw = np.random.default_rng(seed)
    columns = [draw.normal(0, width, 6_000) for width in draw.uniform(0.5, 3, 10)]
    if skewed:
        columns = [np.exp(column) - draw.uniform(0, 3) for column in columns]
    frame = pl.DataFrame({f"V{place}": column for place, column in enumerate(columns)})
    specs = [ColumnSpec(name, "number") for name in frame.columns]
    return [list(sketch_columns(frame.gather_every(2, part), specs)) for part in (0, 1)]


def test_halves_of_an_anonymous_table_match_where_its_columns_have_shapes_of_their_own() -> None:
    first, second = components(1, skewed=True)
    result = match_table(second, ReferenceIndex.of([reference("components", first)]))
    assert not result.abstain
    assert all(pair.theirs == pair.ours for pair in result.matches[0].columns)


@pytest.mark.parametrize("skewed", [True, False])
def test_anonymous_tables_of_other_origin_do_not_match(skewed: bool) -> None:
    index = ReferenceIndex.of([reference("components", components(1, skewed)[0])])
    for seed in range(2, 8):
        assert match_table(components(seed, skewed)[0], index).abstain


@pytest.mark.parametrize("seed", [2, 4, 5])
def test_few_rows_under_names_that_say_nothing_are_recognised_where_columns_are_distinct(seed: int) -> None:
    result = match_table(payments(seed, OPAQUE, rows=100), INDEX)
    assert not result.abstain
    assert all(OPAQUE[pair.ours] == pair.theirs for pair in result.matches[0].columns)
    strangers = ReferenceIndex.of([reference("components", components(1, skewed=True)[0])])
    assert match_table(payments(seed, OPAQUE, rows=100), strangers).abstain


def flags(seed: int, names: dict[str, str]) -> list[ColumnSketch]:
    """Ten columns of yes and no, the first of 3 % yes, each next of 10 % more."""
    draw = np.random.default_rng(seed)
    drawn = {f"flag_{k}": (draw.random(4_000) < 0.03 + 0.1 * k).astype(float).tolist() for k in range(10)}
    return [numbers(names.get(name, name), values) for name, values in drawn.items()]


def test_yes_and_no_follow_where_distinct_columns_make_the_table_known() -> None:
    hidden = {f"flag_{k}": f"c{k + 10}" for k in range(10)}
    index = ReferenceIndex.of([reference("bank", [*payments(1), *flags(1, {})])])
    result = match_table([*payments(2, OPAQUE), *flags(2, hidden)], index)
    assert not result.abstain
    assert {pair.ours: pair.theirs for pair in result.matches[0].columns} == OPAQUE | hidden
    assert match_table(flags(2, hidden), index).abstain
    others = [replace(one, name=f"x{place}") for place, one in enumerate(components(3, skewed=True)[0])]
    assert match_table([*others, *flags(2, hidden)], index).abstain


def test_names_alone_match_and_anonymous_names_do_not() -> None:
    result = match_names(list(FRENCH.values()), INDEX)
    assert {pair.theirs: pair.ours for pair in result.matches[0].columns} == {v: k for k, v in FRENCH.items()}
    facts = reference("components", [replace(column, name=OPAQUE[column.name]) for column in payments(1)])
    assert match_names(list(OPAQUE.values()), ReferenceIndex.of([facts])).abstain


@settings(max_examples=60, deadline=None)
@given(TABLES, st.randoms(use_true_random=False))
def test_a_table_matched_with_itself_in_another_order_maps_each_column_to_itself(
    table: list[ColumnSketch], order: object
) -> None:
    shuffled = list(table)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    result = match_table(shuffled, ReferenceIndex.of([reference("itself", table)]))
    for match in result.matches:
        assert all(pair.theirs == pair.ours for pair in match.columns)
    assert result == match_table(shuffled, ReferenceIndex.of([reference("itself", table)]))


@settings(max_examples=60, deadline=None)
@given(TABLES, TABLES, sketches(st.just("zzyzx qwrtp")))
def test_a_column_like_none_of_the_reference_does_not_raise_the_similarity(
    table: list[ColumnSketch], ours: list[ColumnSketch], stray: ColumnSketch
) -> None:
    named = [replace(column, name=f"amount {column.name}") for column in ours]
    index = ReferenceIndex.of([reference("ours", named)])
    before = match_table(table, index)
    after = match_table([*table, replace(stray, kind="text", quantiles=(), top=())], index)
    assert [m.similarity for m in after.matches] == [m.similarity for m in before.matches]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(NAMES, min_size=2, max_size=6, unique=True), st.lists(NAMES, min_size=2, max_size=6, unique=True)
)
def test_a_library_compares_names_as_a_pair_of_names_is_compared(mine: list[str], theirs: list[str]) -> None:
    from ecluse.apps.fraud.references.likeness import name_similarities as _name_similarities
    from ecluse.apps.fraud.tables.names import is_anonymous, split_words

    found = _name_similarities(mine, theirs)
    for row, a in enumerate(mine):
        for column, b in enumerate(theirs):
            if not (is_anonymous(a) or is_anonymous(b) or split_words(a) == split_words(b)):
                assert found[row, column] == pytest.approx(name_similarity(a, b), abs=1e-5)


def test_of_a_table_of_very_many_columns_those_that_tell_most_are_compared() -> None:
    table = payments(3)
    noise = [
        replace(table[0], quantiles=(), kind="constant", name=f"col_{number}") for number in range(1_500)
    ]
    index = ReferenceIndex.of([reference("payments", payments(1))])
    alone, among = match_table(table, index), match_table([*noise, *table], index)
    assert not among.abstain
    assert [(one.ours, one.theirs) for one in among.matches[0].columns] == [
        (one.ours, one.theirs) for one in alone.matches[0].columns
    ]
    names = [one.name for one in (*noise, *table)]
    assert match_names(names, index) == match_names([one.name for one in table], index)
    settled = match_table([*noise, *table], index, corrections={"payments": {"col_1400": "amount"}})
    assert {one.ours: one.theirs for one in settled.matches[0].columns}["amount"] == "col_1400"


def numbers(name: str, values: list[float]) -> ColumnSketch:
    spec = ColumnSpec(name=name, kind="number")
    return sketch_columns(pl.DataFrame({name: values}), [spec])[0]


def test_an_amount_never_stands_for_a_yes_or_no_nor_a_country_for_whether_it_is_abroad() -> None:
    flag = numbers("transfer_to_receiver", [0.0, 1.0] * 500)
    amount = numbers("transfer_to_receiver_balance", [float(value) for value in range(1000)])
    abroad = numbers("is_country", [0.0, 0.0, 0.0, 1.0] * 250)
    country = next(one for one in payments(1) if one.name == "country")
    sizes = next(one for one in payments(1) if one.name == "amount")
    rest = [one for one in payments(1) if one.name not in ("country", "amount")]
    for mine, ours in ((amount, flag), (flag, amount), (country, abroad), (abroad, country), (sizes, flag)):
        facts = reference("bank", [*rest, ours])
        match = match_table([*rest, mine], ReferenceIndex.of([facts])).matches[0]
        assert ours.name in match.missing, (mine.name, ours.name)
    slight = numbers("amount", [0.0, 1.0] * 500)  # a slice of a table: the very same name may stand
    named = match_table([*rest, slight], ReferenceIndex.of([reference("bank", [*rest, sizes])])).matches[0]
    assert "amount" in {pair.ours for pair in named.columns}
    kept = match_table([*rest, flag], ReferenceIndex.of([reference("bank", [*rest, flag])])).matches[0]
    assert kept.missing == ()


def test_references_that_are_not_used_are_told_beside_those_that_are() -> None:
    one, two, three, *_ = payments(1)
    whole = [reference(f"bank_{place}", payments(1)) for place in range(4)]
    part = replace(
        reference("poor", payments(1)),
        columns=(one, two, three, *(numbers(f"odd_{n}", [1.0, 2.0, 5.0] * 300) for n in range(5))),
    )
    part = replace(part, importance={column.name: 1.0 for column in part.columns})
    found = match_table(payments(2), ReferenceIndex.of([*whole, part]))
    assert len(found.matches) == 3
    assert {match.reference for match in found.below} == {*(one.name for one in whole), "poor"} - {
        match.reference for match in found.matches
    }
    assert min(match.similarity for match in found.below) < GATE
