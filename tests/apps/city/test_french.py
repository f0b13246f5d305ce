"""The French of the city is written as French is: with its apostrophe, and blanks that do not break before high marks."""

from __future__ import annotations

import re

from babel.messages.pofile import read_po

from ecluse.web.i18n import FOLDER


def test_apostrophes_are_curved_and_no_mark_begins_a_line() -> None:
    with (FOLDER / "fr" / "LC_MESSAGES" / "city.po").open("rb") as file:
        messages = [message.string for message in read_po(file) if message.id]
    texts = [text for string in messages for text in ((string,) if isinstance(string, str) else string)]
    assert len(texts) > 500
    assert [text for text in texts if re.search(r"[^\W\d]'[^\W\d%«]", text)] == []
    assert [text for text in texts if re.search(r"[^\s\u00a0\u202f] ?[;?!»](?!\S)| :(?!\S)|« ", text)] == []
