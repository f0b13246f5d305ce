"""Join several fitted models into one: the weighted mean of their log-odds, each kept in its own format."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ecluse.apps.fraud.families import STEM, FittedModel, Floats, Matrix, loader
from ecluse.errors import ModelUnreadable
from ecluse.sentences import _

SUFFIX = ".json"
FORMAT = "ecluse blend 1"
MOST_MEMBERS = 16


@dataclass(frozen=True)
class Member:
    """One model of a blend and its share in the mean."""

    model: FittedModel
    weight: float


class BlendModel:
    """A weighted mean of margins. Contributions are the same mean, so they add up as those of one model."""

    family = "blend"

    def __init__(self, members: tuple[Member, ...]) -> None:
        self.members = members

    @property
    def rounds(self) -> int:
        return sum(member.model.rounds for member in self.members)

    def predict_margin(self, matrix: Matrix) -> Floats:
        margin = np.zeros(len(matrix))
        for member in self.members:
            margin += member.weight * member.model.predict_margin(matrix)
        return margin

    def contributions(self, matrix: Matrix) -> Floats:
        shares = np.zeros((len(matrix), matrix.shape[1] + 1))
        for member in self.members:
            shares += member.weight * member.model.contributions(matrix)
        return shares

    def importances(self) -> Floats:
        parts = [member.weight * member.model.importances() for member in self.members]
        total: Floats = np.sum(parts, axis=0)
        return total / (total.sum() or 1.0)

    def save(self, directory: Path, stem: str = STEM) -> tuple[str, ...]:
        """Write `{stem}.json` with the weights, and each member beside it as `{stem}_1…`."""
        name = stem + SUFFIX
        files: list[str] = []
        listed: list[dict[str, str | float]] = []
        for number, member in enumerate(self.members, start=1):
            written = member.model.save(directory, f"{stem}_{number}")
            files += written
            listed.append({"family": member.model.family, "file": written[0], "weight": member.weight})
        content = {"format": FORMAT, "members": listed}
        (directory / name).write_text(json.dumps(content, indent=1), encoding="utf-8")
        return (name, *files)


def blend(members: list[Member]) -> FittedModel:
    """Return the members as one model, heaviest first; a single one stays what it is."""
    if len(members) == 1:
        return members[0].model
    return BlendModel(tuple(sorted(members, key=lambda member: -member.weight)))


def load(path: Path) -> BlendModel:
    """Read `best_model.json` and its members beside it. Raises ModelUnreadable."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ModelUnreadable(
                _("%(file)s is not a blend of ours. Fetch the version again.", file=path.name)
            )
        listed = [(str(m["family"]), str(m["file"]), float(m["weight"])) for m in content["members"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, ModelUnreadable):
            raise
        raise ModelUnreadable(
            _("%(file)s is damaged: %(error)s. Fetch the version again.", file=path.name, error=repr(error))
        ) from error
    if not 0 < len(listed) <= MOST_MEMBERS or any(kind == "blend" for kind, _, _ in listed):
        raise ModelUnreadable(
            _("%(file)s names members it cannot have. Fetch the version again.", file=path.name)
        )
    # A member lies beside its blend, whatever path its entry asks for.
    members = [Member(loader(kind).load(path.with_name(Path(file).name)), w) for kind, file, w in listed]
    return BlendModel(tuple(members))
