"""Say what the recipes of a classifier are called, need and take."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from ecluse.web.i18n import Words


@dataclass(frozen=True)
class RecipeText:
    """A recipe in words: what it is called, how long it takes, what it needs."""

    key: str
    name: str
    takes: str
    needs: str


def recipe_texts(say: Words) -> dict[str, RecipeText]:
    """Each recipe in words, the default first."""
    texts = (
        RecipeText(
            "features",
            say._("Features of a known network"),
            say._("about a minute for 400 images on a CPU."),
            say._("Nothing more is needed."),
        ),
        RecipeText(
            "finetune",
            say._("Fine-tuning"),
            say._("longer: every epoch goes through all images. A graphics card helps."),
            say._("It needs torch."),
        ),
    )
    return {text.key: text for text in texts}


def torch_is_missing() -> bool:
    """Whether this process finds no torch; it is not imported."""
    return find_spec("torch") is None
