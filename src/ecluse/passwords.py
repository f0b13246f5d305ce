"""Say whether a password may be chosen: long enough, and none that a guesser tries first.

The rules are those of NIST SP 800-63B-4, section 3.1.1.2 (https://pages.nist.gov/800-63-4/sp800-63b.html): "verifiers
SHALL compare the prospective secret against a blocklist that contains known commonly used, expected, or compromised
passwords", such as "context-specific words, such as the name of the service, the username, and derivatives thereof";
"the entire password SHALL be subject to comparison, not substrings"; the answer has to "provide the reason for
rejection"; and no rule of composition. The list of common passwords is that of zxcvbn: 30,000, by how often each was
found in leaks.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from typing import Final

from ecluse.errors import InvalidInput
from ecluse.sentences import _

#: SP 800-63B-4 asks for 15 where a password is all there is, and for 8 beside a second factor; 63B-3 asked for 8.
MIN_PASSWORD: Final = 8
MAX_PASSWORD: Final = 1024
#: Letters of a word of the address that is looked for with other signs around it.
MIN_WORD: Final = 4
#: Names of the service.
_SERVICE: Final = ("ecluse", "admin", "administrator")
#: What people type along a keyboard or an alphabet.
_ROWS: Final = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "azertyuiop",
    "asdfghjkl",
    "qsdfghjklm",
)


def checked_password(password: str, email: str = "") -> str:
    """Return the password, if the account with this address may have it.

    Raises:
        InvalidInput: it is too short or too long, or a guesser tries it first; the message says which.
    """
    if len(password) < MIN_PASSWORD:
        raise InvalidInput(
            _(
                "The password has %(count)s characters; use at least %(least)s.",
                count=len(password),
                least=MIN_PASSWORD,
            )
        )
    if len(password) > MAX_PASSWORD:
        raise InvalidInput(_("The password has more than %(count)s characters.", count=MAX_PASSWORD))
    folded = _folded(password)
    if folded in _common():
        raise InvalidInput(
            _(
                "This password is on the list of those that guessers try first. Use another, such as "
                "four words that have nothing to do with each other."
            )
        )
    if _is_of_context(folded, _folded(email)):
        raise InvalidInput(
            _(
                "This password is the e-mail address or the name of the service, or little more. Use "
                "another, such as four words that have nothing to do with each other."
            )
        )
    if _is_run(folded):
        raise InvalidInput(
            _(
                "This password repeats one character, or follows the keyboard or the alphabet. Use "
                "another, such as four words that have nothing to do with each other."
            )
        )
    return password


@cache
def _common() -> frozenset[str]:
    """Return the common passwords; read once, when the first password is chosen."""
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    return frozenset(FREQUENCY_LISTS["passwords"])


def _is_of_context(password: str, email: str) -> bool:
    """Return whether the password is the address, a part of it or the service's name, apart from digits and signs."""
    context = {email, *re.split(r"[^\w]+", email), email.partition("@")[0], *_SERVICE}
    bare = {letters for part in context if len(letters := _letters(part)) >= MIN_WORD}
    return password in context or (_letters(password) in bare)


def _is_run(password: str) -> bool:
    """Return whether it is one short piece again and again, or a piece of a row of keys or letters, in either
    direction.
    """
    if any(password == (password[:size] * len(password))[: len(password)] for size in (1, 2)):
        return True
    rows = [row * 2 for row in _ROWS]
    return any(password in row or password in row[::-1] for row in rows)


def _folded(text: str) -> str:
    """Without the difference of case and accents."""
    plain = unicodedata.normalize("NFKD", text.strip().casefold())
    return "".join(character for character in plain if not unicodedata.combining(character))


def _letters(text: str) -> str:
    return re.sub(r"[\W\d_]+", "", text)
