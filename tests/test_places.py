"""The places that the guides for who changes the code name are there, and so are the names in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GUIDES = [
    ROOT / "docs" / "guides" / f"{name}.md" for name in ("change", "change-more", "write-an-application")
]
#: What stands for a name of one's own.
OWN = ("NAME", "…", "<", "/api/", "/openapi")


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_every_place_is_there(guide: Path) -> None:
    quoted = re.findall(r"`([^`\n]+)`", guide.read_text(encoding="utf-8"))
    places = [text for text in quoted if re.fullmatch(r"[\w.-]+/[\w./-]*", text) and not text.startswith(OWN)]
    places = [place for place in places if not any(mark in place for mark in OWN)]
    assert places
    assert [place for place in places if not found(place)] == []
    templates = {path.name for path in (ROOT / "src").rglob("*.html")}
    assert {text for text in quoted if re.fullmatch(r"\w+\.html", text)} <= templates


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_every_name_stands_in_its_place(guide: Path) -> None:
    named = re.findall(r"`([A-Z][A-Za-z_]+)` in `([\w./-]+\.py)`", guide.read_text(encoding="utf-8"))
    assert [(name, place) for name, place in named if name not in text_of(place)] == []


def found(place: str) -> bool:
    return any(
        (folder / place).exists()
        for folder in (ROOT, ROOT / "src" / "ecluse", ROOT / "tests" / "example_app" / "src" / "ecluse_texts")
    )


def text_of(place: str) -> str:
    path = next(
        (file for base in (ROOT, ROOT / "src" / "ecluse") if (file := base / place).exists()), ROOT / place
    )
    return path.read_text(encoding="utf-8") if path.exists() else ""
