"""A password that guessers try first is refused, and no rule of composition is made."""

from __future__ import annotations

import pytest

from ecluse.errors import InvalidInput
from ecluse.passwords import MIN_PASSWORD, checked_password

EMAIL = "ines.moreau@laboratoire.example.org"


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("password", "list"),
        ("PassWord", "list"),
        ("12345678", "list"),
        ("Trustno1", "list"),
        (EMAIL, "e-mail"),
        ("Inès.Moreau", "e-mail"),
        ("laboratoire", "e-mail"),
        ("laboratoire2026!", "e-mail"),
        ("ecluse2026", "service"),
        ("Écluse-1234", "service"),
        ("administrator", "service"),
        ("zzzzzzzzzzzz", "repeats"),
        ("xyxyxyxyxyx", "repeats"),
        ("defghijklmn", "alphabet"),
        ("poiuytreza", "keyboard"),
        ("short", "at least 8"),
    ],
)
def test_what_guessers_try_first_is_refused_with_the_reason(password: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        checked_password(password, EMAIL)


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery staple",
        "un mot de passe à moi",
        "password of my own choosing",  # the whole is compared, no part of it
        "ines likes rowing",
        "88 rue du Fleuve",
        "aaaaaaaaaaab",
        "x" * (MIN_PASSWORD - 1) + "y",
    ],
)
def test_any_other_is_taken_whatever_it_is_made_of(password: str) -> None:
    assert checked_password(password, EMAIL) == password


def test_one_letter_of_the_address_makes_no_password_of_it() -> None:
    assert checked_password("a 7391 5528", "a@b.c") == "a 7391 5528"
