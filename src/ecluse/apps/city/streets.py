"""Name streets and their arcs as people read them."""

from __future__ import annotations

from typing import Any, Final

from ecluse.documents import Body

#: A crossing without a name.
UNNAMED: Final = "…"


def street_name(label: str | None) -> str:
    """Return a label of the source as people read it: `Av_Champs_Elysees` has words."""
    return (label or "").replace("_", " ").strip() or "–"


def stretch_of(arc: Body) -> str:
    """From which crossing to which an arc leads, as `Marne → Musee`; empty where the source names neither.

    Many arcs have the label of one street. Its own name is left out of the names of its crossings.
    """
    ends = [_crossing(arc.get(end), arc.get("label") or "") for end in ("upstream", "downstream")]
    return " → ".join(ends) if any(end != UNNAMED for end in ends) else ""


def _crossing(node: Any, label: str) -> str:
    if not isinstance(node, str) or not node.strip():
        return UNNAMED
    parts = [part for part in node.split("-") if part.casefold() != label.casefold()]
    return street_name("-".join(parts) or node)
