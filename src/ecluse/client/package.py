"""Turn a model into the files of a version, and the files into the model again.

Beside the files of its kind a version holds `ecluse.json` (the kind, the libraries, the schema of the example) and,
where an example was given, its first rows and what the model answered: `example.parquet`, `answers.parquet`. Whoever
loads the model can ask it again, as `selftest` does before a version is committed.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ecluse.client.kinds import TOLERANCE, Answers, Kind, kind_named, kind_of
from ecluse.errors import InvalidInput, ModelRefused, ModelUnreadable
from ecluse.sentences import _

if TYPE_CHECKING:
    import polars as pl

    from ecluse.client.frames import Table

CARD: Final = "ecluse.json"
EXAMPLE: Final = "example.parquet"
ANSWERS: Final = "answers.parquet"
FORMAT: Final = 1
#: Rows of an example that are kept with the version. Its schema is of all that were given.
EXAMPLE_ROWS: Final = 100
#: The largest card that is read (bytes).
_LARGEST_CARD: Final = 16 * 1024 * 1024
#: Columns that the metadata name; the card has them all.
_NAMED_COLUMNS: Final = 200


@dataclass(frozen=True)
class Packed:
    """The files of a version to be: `folder` was written for it, `paths` is all that is published."""

    folder: Path
    paths: tuple[Path, ...]
    metadata: Mapping[str, Any]
    is_answering: bool


@dataclass(frozen=True)
class Loaded:
    """A model that was made from its files. `schema` is None where it was published without an example."""

    model: Any
    kind: Kind
    schema: Mapping[str, Any] | None = None
    form: Mapping[str, Any] = field(default_factory=dict)


def pack(model: Any, folder: Path, example: Any = None, *, keeps_example: bool = True) -> Packed:
    """Write the files of a model below an empty folder. `keeps_example`: the rows, and what it answers to them, too.

    Raises:
        ModelRefused: it cannot be kept without a pickle, or does not answer the example.
        InvalidInput: there is no such file, or the example is none.
    """
    asked = kind_of(model)
    kind, details = _save(model, asked, folder, example)
    card: dict[str, Any] = {
        "format": FORMAT,
        "kind": kind.name,
        "details": details,
        "python": platform.python_version(),
        "libraries": _libraries(*asked.packages, *kind.packages),
    }
    metadata = {name: card[name] for name in ("kind", "python", "libraries")}
    if kind is not asked:
        metadata["made_of"] = card["made_of"] = f"{type(model).__module__}.{type(model).__qualname__}"
    if kind.name == "folder":
        source = Path(model)
        if not source.exists():
            raise InvalidInput(_("%(file)s does not exist.", file=source))
        if example is not None:
            raise InvalidInput(_("A folder of files answers nothing. Publish it without an example."))
        _write_card(folder, card)
        return Packed(folder, (source, folder), metadata, False)
    if example is not None and keeps_example:
        card |= _keep_example(model, asked, folder, example)
        names = [column["name"] for column in card["schema"]["columns"]]
        metadata["columns"] = names[:_NAMED_COLUMNS]
    _write_card(folder, card)
    return Packed(folder, (folder,), metadata, example is not None and keeps_example)


def _save(model: Any, kind: Kind, folder: Path, example: Any) -> tuple[Kind, dict[str, Any]]:
    """Write the files of a model, as its kind or, where that refuses it, as a graph; return which, and its details."""
    try:
        return kind, dict(kind.save(model, folder, example))
    except ModelRefused as refusal:
        if not kind.is_convertible:
            raise
        if example is None:
            raise _refused_twice(
                refusal,
                _("Give an example, and it is published as a graph that answers alike: example=X."),
            ) from refusal
        from ecluse.client.frames import given_back, table_of
        from ecluse.client.kinds import conversion

        def compare(graph: Any, rows: Table) -> str | None:
            given = given_back(rows)
            return first_difference(answers_of(as_graph, graph, given), answers_of(kind, model, given))

        as_graph = kind_named("onnx")
        try:
            graph = conversion.converted(model, table_of(example), compare)
        except ModelRefused as second:
            raise _refused_twice(refusal, second) from second
        return as_graph, dict(as_graph.save(graph, folder, example))


def _refused_twice(first: ModelRefused, second: object) -> ModelRefused:
    return ModelRefused(
        _(
            "%(reason)s %(way)s LightGBM, XGBoost and CatBoost have formats of their own for trees, and take columns "
            "of categories without an encoder before them; any graph is "
            'published by its file: publish("model.onnx", …).',
            reason=str(first),
            way=str(second),
        )
    )


def _write_card(folder: Path, card: Mapping[str, Any]) -> None:
    text = json.dumps(card, ensure_ascii=False, allow_nan=False, indent=1)
    (folder / CARD).write_text(text, encoding="utf-8")


def _libraries(*packages: str) -> dict[str, str]:
    versions = {}
    for package in dict.fromkeys((*packages, "numpy")):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # it came under another name, such as xgboost-cpu
            continue
    return versions


def _keep_example(model: Any, kind: Kind, folder: Path, example: Any) -> dict[str, Any]:
    from ecluse.client.frames import given_back, table_of
    from ecluse.client.schema import schema_of

    whole = table_of(example)
    kept = whole.head(EXAMPLE_ROWS)
    answers = answers_of(kind, model, given_back(kept))
    kept.rows.write_parquet(folder / EXAMPLE)
    answers.write_parquet(folder / ANSWERS)
    return {"schema": schema_of(whole), "form": {"form": kept.form, "details": dict(kept.details)}}


def answers_of(kind: Kind, model: Any, rows: Any) -> pl.DataFrame:
    """Return what a model answers to rows, one row for each.

    Raises:
        ModelRefused: it fails, or does not give one answer for each row.
    """
    import polars as pl

    if kind.answer is None:
        raise ModelRefused(
            _("A version of the kind %(kind)s answers nothing. Load its files: load(…, to=FOLDER).", kind=kind.name)
        )  # fmt: skip
    try:
        answers: Answers = kind.answer(model, rows)
        return pl.DataFrame({name: _plain(values) for name, values in answers.items()})
    except (ModelRefused, InvalidInput):
        raise
    except Exception as error:
        raise ModelRefused(
            _(
                "The model does not answer these rows (%(what)s: %(reason)s). Give rows as it was trained on.",
                what=type(error).__name__,
                reason=str(error)[:500],
            )
        ) from error


def _plain(values: Any) -> Any:
    return values.tolist() if values.dtype.kind in "OUS" else values


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of a version whose files lie below `folder`; files that came without one are a folder.

    Raises:
        ModelUnreadable: it is damaged, or of a later Écluse.
    """
    file = folder / CARD
    if not file.is_file():
        return {"format": FORMAT, "kind": "folder", "details": {}}
    card: Any
    try:
        card = json.loads(file.read_bytes()) if file.stat().st_size <= _LARGEST_CARD else None
    except (ValueError, RecursionError) as error:
        raise _damaged(CARD) from error
    parts = (card.get("kind"), card.get("details"), card.get("format")) if isinstance(card, dict) else ()
    if [type(part) for part in parts] != [str, dict, int]:
        raise _damaged(CARD)
    if card["format"] > FORMAT:
        raise ModelUnreadable(
            _("The version was published by a later Écluse. Update this one: pip install -U ecluse")
        )
    return dict(card)


def _damaged(file: str) -> ModelUnreadable:
    return ModelUnreadable(_("%(file)s is damaged. Fetch the version again.", file=file))


def unpack(folder: Path) -> Loaded:
    """Make the model whose files lie below `folder`.

    Raises:
        ModelUnreadable: they are damaged, or name what is not made from a file.
    """
    card = read_card(folder)
    kind = kind_named(card["kind"])
    try:
        model = kind.load(folder, card["details"])
    except FileNotFoundError as error:
        missing = Path(error.filename or "").name
        raise ModelUnreadable(
            _("A file of the version is missing: %(file)s. Fetch the version again.", file=missing)
        ) from error
    return Loaded(model, kind, card.get("schema"), card.get("form") or {})


def example_of(folder: Path, loaded: Loaded) -> Table:
    """Return the rows that were kept with a version.

    Raises:
        ModelUnreadable: they are damaged.
    """
    from ecluse.client.frames import Table

    form, details = loaded.form.get("form"), loaded.form.get("details")
    if not isinstance(form, str) or not isinstance(details, dict):
        raise ModelUnreadable(_("The example of the version is damaged. Fetch the version again."))
    return Table(_read(folder / EXAMPLE), form, details)


def differences(folder: Path, loaded: Loaded) -> str | None:
    """Say where a model answers its own example otherwise than it did when it was published; None where it does not."""
    from ecluse.client.frames import given_back

    expected = _read(folder / ANSWERS)
    answers = answers_of(loaded.kind, loaded.model, given_back(example_of(folder, loaded)))
    return first_difference(answers, expected, loaded.kind.tolerance)


def first_difference(
    answers: pl.DataFrame, expected: pl.DataFrame, tolerance: float = TOLERANCE
) -> str | None:
    """Say the first answer that differs from what was expected; None where none does."""
    if answers.columns != expected.columns or answers.height != expected.height:
        return _(
            "it answers with %(given)s; before it was %(values)s",
            given=", ".join(answers.columns),
            values=", ".join(expected.columns),
        )
    for name in expected.columns:
        row = _first_difference(answers[name], expected[name], tolerance)
        if row is not None:
            return _(
                "%(name)s of row %(number)s is %(value)s; before it was %(before)s",
                name=name,
                number=row,
                value=str(answers[name][row]),
                before=str(expected[name][row]),
            )
    return None


def _read(file: Path) -> pl.DataFrame:
    import polars as pl

    try:
        return pl.read_parquet(file)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _damaged(file.name) from error


def _first_difference(given: pl.Series, expected: pl.Series, tolerance: float) -> int | None:
    """Return the number of the first row that differs; numbers by the tolerance, all else exactly."""
    import numpy as np

    if not (expected.dtype.is_numeric() and given.dtype.is_numeric()):
        pairs = zip(given.to_list(), expected.to_list(), strict=True)
        return next((number for number, (a, b) in enumerate(pairs) if a != b), None)
    a, b = given.to_numpy().astype(float), expected.to_numpy().astype(float)
    with np.errstate(invalid="ignore"):  # of two infinities
        near = np.abs(a - b) <= tolerance * np.maximum(1.0, np.abs(b))
    same = near | (a == b) | (np.isnan(a) & np.isnan(b))
    return None if same.all() else int(np.argmin(same))
