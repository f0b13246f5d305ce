"""Sentences keep their message and values wherever they go, and each language says them by its own rules."""

from __future__ import annotations

import copy
import json
import pickle
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecluse.apps.fraud.tables.meaning import meaning_of, require_meaning
from ecluse.confined import Limits, run
from ecluse.errors import InvalidInput, StoreUnavailable
from ecluse.sentences import (
    SENTENCES,
    Cell,
    Sentence,
    _,
    from_json,
    listing,
    ngettext,
    num,
    pack,
    to_json,
    unpack,
    without_cells,
)
from ecluse.web.i18n import Words

FRENCH = Words("fr")
MISSING = _("%(share)s missing", share=num(0.125, ".1%"))


def test_a_sentence_is_its_english_text() -> None:
    sentence = _("%(count)s rows of %(file)s are 100 %% empty", count=num(1204), file="a.csv")
    assert sentence == "1,204 rows of a.csv are 100 % empty"
    assert isinstance(sentence, Sentence)
    assert sentence.values == {"count": "1,204", "file": "a.csv"}
    assert from_json({"message": "%(a)999999999d %s", "values": {"a": 1}}) == "%(a)999999999d %s", (
        "no format of a stranger"
    )
    with pytest.raises(KeyError, match="file"):
        _("No %(file)s")


@pytest.mark.parametrize("kind", [InvalidInput, StoreUnavailable])
def test_the_text_of_an_error_is_the_sentence_that_it_was_raised_with(kind: type[Exception]) -> None:
    said = str(kind(MISSING))
    assert isinstance(said, Sentence)
    assert FRENCH.phrase(said) == "12,5\u00a0% manquant"


def test_numbers_and_sentences_within_a_sentence_are_said_in_the_language() -> None:
    near = [_("%(name)s (near: %(value)s)", name="amount", value="Amount"), "day"]
    lacks = _(
        "%(file)s lacks %(count)s column(s) of the model: %(missing)s. Add, rename or map them.",
        file="1.5.csv",
        count=np.int64(2),
        missing=listing(near),
    )
    assert lacks.startswith("1.5.csv lacks 2 column(s) of the model: amount (near: Amount), day.")
    assert FRENCH.phrase(lacks).startswith(
        "Il manque à 1.5.csv 2 colonne(s) du modèle\u00a0: amount (proche\u00a0: Amount)"
    )
    line = _("Line %(line)s has a NUL byte: the file is not text.", line=num(1_204_000))
    assert "1\u00a0204\u00a0000" in FRENCH.phrase(line)


def test_what_is_no_sentence_is_shown_as_it_is() -> None:
    assert FRENCH.phrase("The moon is full.") == "The moon is full."
    assert FRENCH.phrase(_("The moon is %(share)s full.", share=num(0.5, ".0%"))) == "The moon is 50% full."
    assert Words("en").phrase(MISSING) == "12.5% missing"


VALUES = st.one_of(
    st.text(max_size=8),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False, allow_infinity=False),
    st.builds(num, st.floats(-1e9, 1e9), st.sampled_from([",", ",.2f", ".1%", ".3g", ".0f %"])),
    st.just(MISSING),
    st.builds(listing, st.lists(st.one_of(st.text(max_size=4), st.just(MISSING)), max_size=3)),
)


@given(VALUES)
def test_a_sentence_comes_back_from_json_and_pickle_as_it_was(value: object) -> None:
    sentence = _("%(name)s missing", name=value)
    for back in (
        from_json(json.loads(json.dumps(to_json(sentence)))),
        pickle.loads(pickle.dumps(sentence)),  # noqa: S301 (ours, as processes hand them on)
        copy.deepcopy(sentence),
    ):
        assert back == sentence
        assert to_json(back) == to_json(sentence)
        assert FRENCH.phrase(back) == FRENCH.phrase(sentence)


@pytest.mark.parametrize(
    "made",
    [
        7,
        None,
        [],
        {"message": 7, "values": {}},
        {"message": "%(a)s", "values": {}},
        {"message": "a", "values": {"a": None}},
        {"number": 1.0, "form": ",.999999f"},
        {"number": 10**400, "form": ",.1f"},
        {"number": "1", "form": ","},
        {"parts": 7, "between": ", "},
        {"parts": [], "between": None},
        {"message": "a", "plural": 3, "values": {}, "count": 2},
        {"message": "a", "plural": "b", "values": {}, "count": "2"},
    ],
)
def test_json_of_a_stranger_that_is_no_sentence_is_refused(made: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (whatever it says)
        from_json(made)


def test_a_document_keeps_its_english_and_beside_it_what_its_sentences_are_made_of() -> None:
    document = {"warnings": [MISSING, "plain"], "column": {"reason": MISSING, "share": 0.1}}
    packed = json.loads(json.dumps(pack(document)))
    assert packed.pop(SENTENCES) == [[str(MISSING), to_json(MISSING)]]
    assert packed == document
    back = unpack(json.loads(json.dumps(pack(document))))
    assert back == document
    assert FRENCH.phrase(back["column"]["reason"]) == "12,5\u00a0% manquant"
    assert unpack(json.loads(json.dumps(pack([MISSING])))) == [MISSING]
    assert pack({"a": 1}) == unpack({"a": 1}) == {"a": 1}


@pytest.mark.parametrize("beside", [7, [7], [["a"]], [["a", None]], "text"])
def test_a_document_of_a_stranger_that_was_not_packed_is_refused(beside: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (whatever it says)
        unpack({SENTENCES: beside})


def test_a_sentence_with_a_count_takes_the_form_of_each_language() -> None:
    forms = ("%(count)s row", "%(count)s rows")
    for count, english, french in (
        (0, "0 rows", "0 ligne"),
        (1, "1 row", "1 ligne"),
        (1204, "1,204 rows", "1\u00a0204 lignes"),
    ):
        made = ngettext(*forms, count)
        for sentence in (
            made,
            from_json(json.loads(json.dumps(to_json(made)))),
            pickle.loads(pickle.dumps(made)),  # noqa: S301 (our own)
            copy.copy(made),
        ):
            assert (sentence, FRENCH.phrase(sentence)) == (english, french)


def fail(tell: object, data: bytes) -> None:
    raise InvalidInput(MISSING)


def answer(tell: object, data: bytes) -> dict[str, object]:
    return {"warnings": [MISSING]}


def test_what_a_process_of_its_own_raises_or_answers_keeps_its_sentences() -> None:
    limits = Limits(memory=2 << 30)
    said = run("tests.test_sentences:answer", {}, limits=limits).value
    assert FRENCH.phrase(said["warnings"][0]) == "12,5\u00a0% manquant"
    with pytest.raises(InvalidInput) as refused:
        run("tests.test_sentences:fail", {}, limits=limits)
    assert FRENCH.phrase(str(refused.value)) == "12,5\u00a0% manquant"


@pytest.mark.parametrize(
    "document",
    [
        {SENTENCES: "x"},
        {SENTENCES: 5},
        {SENTENCES: [], "document": 3},
        {"document": _("No model %(name)s.", name="m")},
        {SENTENCES: "x", "why": _("No model %(name)s.", name="m")},
    ],
)
def test_a_persons_key_is_never_taken_for_ours(document: dict[str, Any]) -> None:
    assert unpack(json.loads(json.dumps(pack(document)))) == document


def test_a_cell_is_kept_as_one_and_left_out_for_others() -> None:
    cell = Cell("Anna's IBAN")
    sentence = _("It holds %(values)s.", values=listing([_("a %(value)s", value=cell), "b"]))
    kept = from_json(json.loads(json.dumps(to_json(sentence))))
    assert (kept, without_cells(kept)) == ("It holds a Anna's IBAN, b.", "It holds a …, b.")
    assert without_cells(pickle.loads(pickle.dumps(sentence))) == "It holds a …, b."  # noqa: S301 (made here)
    assert [without_cells(text) for text in (cell, "plain", num(3))] == ["…", "plain", "3"]


def test_what_a_column_holds_is_a_cell() -> None:
    with pytest.raises(InvalidInput, match="Rouen") as refused:
        require_meaning(meaning_of({"Rouen": 0.5, "Lille": 0.3, "Brest": 0.2}, "city"))
    assert "Rouen" not in without_cells(str(refused.value))
    with pytest.raises(InvalidInput, match="Rouen") as refused:
        meaning_of({"Rouen": 0.5, "Lille": 0.5}, "city", "Metz")
    assert not {"Rouen", "Metz"} & set(re.findall(r"\w+", without_cells(str(refused.value))))
