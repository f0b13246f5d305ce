"""Say in the reader's language what the core wrote down in English: reasons, warnings, progress, errors.

Jobs store sentences, as they run where no reader is. Each pattern here recognises one kind of sentence; what
no pattern knows is shown as it was written.
"""

from __future__ import annotations

import re
from typing import Final

from ecluse.web.i18n import Words


def N_(message: str) -> str:  # noqa: N802 (the name gettext tools look for)
    """Mark a message for translation without translating it yet."""
    return message


def translated(text: str, say: Words) -> str:
    """The sentence in the reader's language where a pattern knows it, else as it stands."""
    if say.language == "en" or not text:
        return text
    for pattern, message in PATTERNS:
        match = pattern.fullmatch(text)
        if match:
            groups = {name: _number(value or "", say) for name, value in match.groupdict().items()}
            return say._(message, **groups)
    return text


def _number(text: str, say: Words) -> str:
    """A decimal number with this language's comma; anything else as it is."""
    return text.replace(".", ",") if say.language == "fr" and re.fullmatch(r"-?\d+\.\d+", text) else text


#: What the core writes, and the same sentence with its variable parts named.
PATTERNS: Final[tuple[tuple[re.Pattern[str], str], ...]] = ()
