"""Write tables that a spreadsheet may open: no text of theirs is run as a formula."""

from __future__ import annotations

import re
from typing import Final

import polars as pl

#: What begins a formula, its full-width forms too, which some spreadsheets take for the plain ones.
_RISKY: Final = r"^[=+\-@＝＋－＠\t\r\n]"
_RISKY_INSIDE: Final = r"([;\t]\s*)([=+\-@＝＋－＠])"
_PLAIN: Final = r"^[+-]?\d+([.,]\d+)?$"


def neutralise_formulas(frame: pl.DataFrame) -> pl.DataFrame:
    """Prefix with ' the text that a spreadsheet would run: = + - @, tab or return first (OWASP).

    Also behind a semicolon or a tab within it, where many spreadsheets begin a cell. Column names too, which stay
    distinct. Text that is a plain number, such as "-12.5", is left as it is.
    """
    text = pl.col(pl.String)
    dangerous = text.str.contains(_RISKY) & ~text.str.contains(_PLAIN)
    inside = text.str.replace_all(_RISKY_INSIDE, "${1}'${2}")
    safe = frame.with_columns(pl.when(dangerous).then(pl.lit("'") + inside).otherwise(inside).name.keep())
    renamed: dict[str, str] = {}
    # Names that are safe keep what they are called; the others make way for them.
    harmless_names = {name for name in frame.columns if _harmless(name) == name}
    for name in frame.columns:
        if name not in harmless_names:
            free = _harmless(name)
            while free in harmless_names:
                free = f"'{free}"
            renamed[name] = free
            harmless_names.add(free)
    return safe.rename(renamed)


def _harmless(name: str) -> str:
    inside = re.sub(_RISKY_INSIDE, r"\1'\2", name)
    return f"'{inside}" if re.search(_RISKY, name) else inside


def harmless_text(text: str) -> str:
    """Return the text of a cell, with ' before what a spreadsheet would run, as `neutralise_formulas` does."""
    return text if re.fullmatch(_PLAIN, text) else _harmless(text)
