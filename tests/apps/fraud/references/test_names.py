"""Names of columns mean the same under other cases, words, abbreviations and languages."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.fraud.tables.names import (
    dictionary,
    is_anonymous,
    is_personal,
    is_weak_reason,
    name_reason,
    name_similarity,
    split_words,
)

NAMES = st.one_of(
    st.text(max_size=20),
    st.lists(st.sampled_from(sorted(dictionary().forms)), min_size=1, max_size=4).map("_".join),
)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("oldBalanceOrig", ("old", "balance", "orig")),
        ("Montant Débité", ("montant", "debite")),
        ("BILL_AMT1", ("bill", "amt", "1")),
        ("HTTPStatus", ("http", "status")),
        ("", ()),
    ],
)
def test_names_split_at_cases_separators_and_digits(name: str, words: tuple[str, ...]) -> None:
    assert split_words(name) == words


@pytest.mark.parametrize(
    ("a", "b", "least"),
    [
        ("TransactionAmount", "txn_amt", 0.95),
        ("amount", "montant", 0.95),
        ("date_of_birth", "date_naissance", 0.95),
        ("oldbalanceorg", "ancien_solde_origine", 0.95),
        ("customer_id", "identifiant_client", 0.95),
        ("deductable", "franchise", 0.8),
        ("nb_calls", "number of calls", 0.95),
        ("merchant", "vendeur", 0.7),
        ("loan amount", "mnt_pret", 0.95),
        ("claimamount", "montant du sinistre", 0.95),
    ],
)
def test_words_translations_abbreviations_and_glued_words_are_read(a: str, b: str, least: float) -> None:
    assert name_similarity(a, b) >= least


@pytest.mark.parametrize(
    ("a", "b"), [("age", "gender"), ("V1", "V2"), ("amount", "country"), ("col_1", "amount")]
)
def test_other_meanings_are_not_alike(a: str, b: str) -> None:
    assert name_similarity(a, b) < 0.2


@pytest.mark.parametrize(
    "name", ["V1", "col_3", "Attr5", "feature_12", "x7", "17", "Unnamed: 0", "f", "_", "C13"]
)
def test_names_that_say_nothing_are_anonymous(name: str) -> None:
    assert is_anonymous(name)


@pytest.mark.parametrize("name", ["card1", "addr_2", "amount", "PAY_0", "step", "age", "ip"])
def test_names_that_say_something_are_not_anonymous(name: str) -> None:
    assert not is_anonymous(name)


@pytest.mark.parametrize("name", ["email", "Nom", "PhoneNumber", "adresse_ip", "IBAN", "customer_name"])
def test_names_of_personal_data_are_known(name: str) -> None:
    assert is_personal(name)


@pytest.mark.parametrize(
    ("theirs", "ours", "why"),
    [
        ("montant", "amount", "amount = montant (French)"),
        ("txn_amt", "transaction_amount", "amount = amt (abbreviation)"),
        ("Amount", "amount", "same name"),
        ("V1", "amount", ""),
        ("vendor", "seller", "seller = vendor (same meaning)"),
        ("new_amount", "first_amount", "both say amount"),
    ],
)
def test_the_reason_names_the_words_that_were_taken_for_the_same(theirs: str, ours: str, why: str) -> None:
    assert name_reason(theirs, ours) == why


def test_a_reason_of_related_words_says_that_it_is_weak_and_one_of_synonyms_does_not() -> None:
    related = name_reason("age", "since")
    assert related.startswith("related words alone: ")
    assert is_weak_reason(related)
    assert not any(
        is_weak_reason(why) for why in ("same name", "amount = montant (French)", "same distribution")
    )


@given(NAMES, NAMES)
def test_similarity_is_symmetric_and_a_name_is_like_itself(a: str, b: str) -> None:
    assert name_similarity(a, b) == name_similarity(b, a)
    assert 0.0 <= name_similarity(a, b) <= 1.0
    assert name_similarity(a, a) == 1.0


@pytest.mark.parametrize(
    "name", ["amount" * 20_000, "a1" * 60_000, "_".join(f"w{i}" for i in range(20_000)), "ﷺ" * 9_000]
)
def test_of_a_name_without_end_little_is_read_and_little_is_kept(name: str) -> None:
    tracemalloc.start()
    try:
        is_anonymous(name), is_personal(name), name_reason(name, "amount"), name_similarity(name, "amount")
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(split_words(name)) <= 24
    assert sum(len(word) for word in split_words(name)) <= 200
    assert kept < 1_000_000
    assert peak < 10_000_000
