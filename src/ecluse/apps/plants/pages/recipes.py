"""Say what the recipes and networks of a classifier are called, need and take."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from ecluse.apps.plants.recipe import RECIPES, Architecture
from ecluse.web.i18n import Words


@dataclass(frozen=True)
class RecipeText:
    """A recipe in words: what it is called, how long it takes, what it needs."""

    key: str
    name: str
    takes: str
    needs: str
    needs_torch: bool = False


def recipe_texts(say: Words) -> dict[str, RecipeText]:
    """Return each recipe in words, the default first."""
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
            " ".join(
                (
                    say._("It needs torch."),
                    say._("On 400 photographs it was no better than the first recipe."),
                )
            ),
            needs_torch=RECIPES["finetune"].torch,
        ),
    )
    return {text.key: text for text in texts}


def architecture_names(say: Words) -> dict[Architecture, str]:
    """Return each network in words."""
    return {
        "lite0": say._("EfficientNet-Lite0, learned on ImageNet"),
        "resnet18": say._("ResNet-18, from nothing"),
    }


def torch_is_missing() -> bool:
    """Return whether this process finds no torch; it is not imported."""
    return find_spec("torch") is None
