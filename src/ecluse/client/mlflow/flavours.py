"""Make a model of ours of what MLflow keeps in a folder, where that is no pickle: `MLmodel` says what lies in it.

    python -P -m ecluse.client.mlflow.flavours SOURCE TARGET

It runs in a process of its own: what a library reads there is not ours, and it has none of our variables.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ecluse.client.kinds import class_named
from ecluse.errors import EcluseError, InvalidInput, ModelRefused
from ecluse.sentences import _

DESCRIPTION: Final = "MLmodel"
#: The largest `MLmodel` and example that are read (bytes).
_LARGEST: Final = 16 * 1024 * 1024
#: Types of columns in a signature, as Polars calls them.
_TYPES: Final = {"integer": "Int64", "long": "Int64", "double": "Float64", "float": "Float32", "boolean": "Boolean",
                 "string": "String"}  # fmt: skip


@dataclass(frozen=True)
class Converted:
    """What became of a model. `reason`: why it is kept as files alone; None where it answers."""

    flavours: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
    #: The file that the model was made of, within its folder.
    source: str | None = None


def described(folder: Path) -> dict[str, Any]:
    """Return what `MLmodel` says of the model in a folder; nothing where there is none.

    Raises:
        ModelRefused: it is no YAML of this kind.
    """
    import yaml

    file = folder / DESCRIPTION
    if not file.is_file():
        return {}
    if file.stat().st_size > _LARGEST:
        raise ModelRefused(_("%(file)s is too large to be read.", file=DESCRIPTION))
    try:
        said = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ModelRefused(_("%(file)s is damaged.", file=DESCRIPTION)) from error
    if not isinstance(said, dict) or not isinstance(said.get("flavors"), dict):
        raise ModelRefused(_("%(file)s is damaged.", file=DESCRIPTION))
    return said


def as_ours(source: Path, target: Path) -> Converted:
    """Write the model in `source` as a version of ours below `target`, an empty folder, in a process of its own."""
    from ecluse.client.selftest import PATIENCE, VARIABLES
    from ecluse.settings import inherited

    try:
        flavours = tuple(sorted(described(source).get("flavors", {})))
    except ModelRefused as refusal:
        return Converted((), reason=str(refusal))
    if not any(name in _OPENERS for name in flavours):
        return Converted(flavours, reason=_not_served(flavours))
    command = [sys.executable, "-P", "-m", __name__, str(source.resolve()), str(target.resolve())]
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, cwd=target, env=inherited(VARIABLES),
            stdin=subprocess.DEVNULL, timeout=PATIENCE,
        )  # fmt: skip
        said = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return Converted(flavours, reason=_("Reading it took more than %(count)s s.", count=PATIENCE))
    except (ValueError, IndexError):
        return Converted(
            flavours, reason=_("The process that read it ended with code %(value)s.", value=done.returncode)
        )
    if said["reason"] is not None:
        return Converted(flavours, reason=str(said["reason"]))
    return Converted(flavours, said["metadata"], source=said["source"])


def _not_served(flavours: tuple[str, ...]) -> str:
    if not flavours:
        return _("It holds no model of MLflow.")
    return _(
        "MLflow keeps it as %(values)s: a pickle, or what only its own library reads.",
        values=", ".join(flavours),
    )


# In the process of its own


def _converted(source: Path, target: Path) -> dict[str, Any]:
    """Write the model; return the metadata and the file it was made of."""
    from ecluse.client.selftest import problem_of

    said = described(source)
    reasons = []
    for flavour in _OPENERS:
        if flavour not in said["flavors"]:
            continue
        try:
            model, file = _OPENERS[flavour](source, said["flavors"][flavour])
        except (EcluseError, KeyError, ValueError, TypeError, OSError) as error:
            reasons.append(str(error) if isinstance(error, EcluseError) else f"{flavour}: {error}")
            continue
        metadata = _pack(model, source, said, target)
        if (problem := problem_of(target)) is not None:
            return {"reason": problem}
        return {"reason": None, "metadata": metadata, "source": file}
    return {"reason": " ".join(reasons)}


def _pack(model: Any, source: Path, said: Mapping[str, Any], target: Path) -> dict[str, Any]:
    """Write the model with the example in the first form that it answers, else without one."""
    from ecluse.client.package import pack

    for example in (*_examples(source, said), None):
        for file in target.iterdir():
            file.unlink()
        try:
            return dict(pack(model, target, example).metadata)
        except (ModelRefused, InvalidInput):
            if example is None:
                raise
    raise AssertionError  # the last example is None


def _examples(source: Path, said: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the rows that were given as an example, as a table of pandas, of Polars, and as a matrix."""
    import numpy as np
    import polars as pl

    info = said.get("saved_input_example_info") or {}
    file = source / str(info.get("artifact_path", ""))
    if file.parent != source or not file.is_file() or file.stat().st_size > _LARGEST:
        return
    given = json.loads(file.read_bytes())
    types = {each["name"]: each["type"] for each in _signature(said) if "name" in each and "type" in each}
    if isinstance(given, dict) and isinstance(given.get("data"), list) and given.get("columns"):
        names = [str(name) for name in given["columns"]]
        table = pl.DataFrame(
            given["data"], schema=names, orient="row", strict=False, infer_schema_length=None
        )
        table = table.cast(
            {name: getattr(pl, _TYPES[types[name]]) for name in names if types.get(name) in _TYPES}
        )
        try:
            import pandas as pd
        except ModuleNotFoundError:  # a table of Polars is tried next
            pass
        else:
            yield pd.DataFrame({name: table[name].to_numpy() for name in names})
        yield table
        if all(dtype.is_numeric() for dtype in table.dtypes):
            yield table.to_numpy()
        return
    matrix = given.get("inputs", given.get("instances")) if isinstance(given, dict) else given
    if isinstance(matrix, list):
        dtypes = [each["tensor-spec"]["dtype"] for each in _signature(said) if "tensor-spec" in each]
        rows = np.asarray(matrix)
        if rows.ndim == 2 and rows.dtype.kind in "iufb":
            yield rows.astype(dtypes[0]) if len(dtypes) == 1 else rows


def _signature(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    inputs = (said.get("signature") or {}).get("inputs")
    read = json.loads(inputs) if isinstance(inputs, str) else []
    return [each for each in read if isinstance(each, dict)] if isinstance(read, list) else []


def _file(source: Path, name: object) -> Path:
    """Return a file that `MLmodel` names, which lies in the folder itself."""
    file = source / str(name)
    if file.parent.resolve() != source.resolve() or not file.is_file():
        raise ModelRefused(
            _("%(file)s names %(value)s, which is not there.", file=DESCRIPTION, value=repr(name))
        )
    return file


def _last(name: object) -> str:
    return str(name).rpartition(".")[2]


def _xgboost(source: Path, said: Mapping[str, Any]) -> tuple[Any, str]:
    file = _file(source, said["data"])
    from ecluse.client.kinds.xgboost import CLASSES

    model = class_named(_last(said.get("model_class", "Booster")), CLASSES)()
    model.load_model(bytearray(file.read_bytes()))  # which format it is, the library sees from its bytes
    return model, file.name


def _lightgbm(source: Path, said: Mapping[str, Any]) -> tuple[Any, str]:
    file = _file(source, said["data"])
    if file.suffix != ".lgb":
        raise _pickled(file)
    import lightgbm

    return lightgbm.Booster(model_str=file.read_text(encoding="utf-8")), file.name


def _catboost(source: Path, said: Mapping[str, Any]) -> tuple[Any, str]:
    file = _file(source, said["data"])
    from ecluse.client.kinds.catboost import CLASSES

    model = class_named(_last(said.get("model_type", "CatBoost")), CLASSES)()
    model.load_model(str(file), format="cbm")
    return model, file.name


def _onnx(source: Path, said: Mapping[str, Any]) -> tuple[Any, str]:
    file = _file(source, said["data"])
    try:
        import onnx
    except ModuleNotFoundError:  # a graph whose numbers lie in another file is refused when it is packed
        return file, file.name
    graph = onnx.load(str(file))  # with the numbers that lie in a file beside it, from where alone it reads
    outside = any(
        tensor.external_data for tensor in onnx.load(str(file), load_external_data=False).graph.initializer
    )
    return (graph if outside else file), file.name


def _sklearn(source: Path, said: Mapping[str, Any]) -> tuple[Any, str]:
    file = _file(source, said.get("pickled_model", said.get("data")))
    if file.suffix != ".skops":
        raise _pickled(file)
    from ecluse.skops_files import load_safe

    return load_safe(file.read_bytes(), file.name), file.name


def _pickled(file: Path) -> ModelRefused:
    return ModelRefused(
        _("%(file)s is a pickle: to read it is to run what its maker put into it.", file=file.name)
    )


_OPENERS: Final[Mapping[str, Callable[[Path, Mapping[str, Any]], tuple[Any, str]]]] = {
    "xgboost": _xgboost,
    "lightgbm": _lightgbm,
    "catboost": _catboost,
    "onnx": _onnx,
    "sklearn": _sklearn,
}


def _main(source: Path, target: Path) -> dict[str, Any]:
    try:
        return _converted(source, target)
    except EcluseError as error:
        return {"reason": str(error)}
    except Exception as error:  # noqa: BLE001 (of a library that reads the model; who takes it over reads it)
        return {"reason": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    sys.stdout.write(f"\n{json.dumps(_main(Path(sys.argv[1]), Path(sys.argv[2])))}\n")
