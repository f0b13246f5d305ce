"""Give what MLflow calls freely a name that can stand here. One that can stay stays; two never become one."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from ecluse.registry import LATEST, is_version
from ecluse.registry.names import NAME

#: The longest name of a model, and of a parameter, a tag or a metric.
_MODEL, _LABEL, _ALIAS = 64, 80, 64
_MARK: Final = 6


def is_kept(name: str) -> bool:
    """Return whether a model may have this name here."""
    return NAME.fullmatch(name) is not None


def model_names(name: str, *, second: str = "") -> Iterator[str]:
    """Yield names that a model or experiment may have here, best first: its own, if that can stay.

    `second` is put behind it in the next; the last ends in a mark of the name itself, which no other has.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    best = re.sub(r"[^A-Za-z0-9._-]+", "-", plain).strip("-._")[:_MODEL] or "model"
    yield name if is_kept(name) else best
    if second:
        yield best[: _MODEL - len(second)] + second
    yield _marked(best, name + second, _MODEL)


def alias_name(alias: str, used: Collection[str]) -> str:
    """Return a name that an alias may have here: itself, if it can stay, else one that is none of `used`."""
    best = re.sub(r"[^a-z0-9._-]+", "-", alias.lower()).strip("-._")[:_ALIAS] or "alias"
    if best == LATEST or is_version(best) or (best != alias and best in used):
        return _marked(best, alias, _ALIAS)
    return best


def labels(names: Iterable[str]) -> dict[str, str]:
    """Return a name for each parameter, tag or metric: itself, if it can stay; a slash becomes a dot."""
    given = sorted(set(names))
    kept = {name: name for name in given if re.fullmatch(r"\w[\w.\- ]{0,79}", name)}
    used = set(kept.values())
    for name in given:
        if name in kept:
            continue
        best = re.sub(r"[^\w.\- ]+", ".", name).lstrip(".- ")[:_LABEL] or "value"
        kept[name] = best if best not in used else _marked(best, name, _LABEL)
        used.add(kept[name])
    return kept


def _marked(best: str, name: str, longest: int) -> str:
    mark = hashlib.sha256(name.encode()).hexdigest()[:_MARK]
    return f"{best[: longest - _MARK - 1]}-{mark}"
