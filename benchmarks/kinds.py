"""Publish a model of every kind with one set of library versions and load it with another: equal to 1e-6?

    python -m benchmarks.kinds FOLDER

FOLDER gets two environments, made by uv, which share no library of a kind: `new` has the newest versions that install,
`before` the newest of the minor version before (of CatBoost, of the release before). Each publishes every kind to a
folder of this machine; the other, and itself, loads them in a fresh process and asks them about 200 rows. What a model
answers is compared with what it answered when it was trained. It exits with 1 where one is refused or differs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from benchmarks.environments import ROOT, installer

#: Distribution → how many numbers of its version the one before has to be below.
LIBRARIES: Final = {
    "scikit-learn": 2, "skops": 2, "xgboost-cpu": 2, "lightgbm": 2, "catboost": 3, "onnxruntime": 2,
}  # fmt: skip
#: Models whose rows are not a matrix of numbers.
FORMS: Final = {"sklearn pipeline": "table", "sklearn texts": "texts", "catboost table": "table"}
#: What the folder of a machine, the converters and the tables of the kinds need besides.
BESIDE: Final = (
    "sqlalchemy", "alembic", "obstore", "babel", "pwdlib[argon2]", "zxcvbn", "pandas", "skl2onnx", "onnxscript",
    "safetensors", "charset-normalizer", "python-multipart", "threadpoolctl", "pydantic", "psycopg[binary]",
)  # fmt: skip
TOLERANCE: Final = 1e-6
#: A network counts with 32 bits, and its graph sums in another order: see docs/guides/own-models.md.
TOLERANCES: Final = {"torch": 1e-5}


def main() -> None:
    """Make the environments, publish and load across them, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--with",
        dest="with_",
        action="append",
        default=[],
        help="A wheel for the first environment, such as torch",
    )
    parser.add_argument(
        "--part", choices=("publish", "load"), help="What an environment does; not for people."
    )
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    if arguments.part:
        done = publish(folder) if arguments.part == "publish" else load(folder)
        print(json.dumps(done))
        return
    folder.mkdir(parents=True, exist_ok=True)
    new = environment(folder / "new", {}, arguments.with_)
    before = environment(folder / "before", {name: below(new[name], LIBRARIES[name]) for name in LIBRARIES})
    versions = {"new": new, "before": before}
    answered = {name: part(folder / name, "publish", folder / f"home-{name}") for name in versions}
    failed = False
    print("| kind | published with | " + " | ".join(f"loaded with {name}" for name in versions) + " |")
    print("|---|---|" + "---|" * len(versions))
    loaded = {
        (writer, reader): part(folder / reader, "load", folder / f"home-{writer}")
        for writer in versions
        for reader in versions
    }
    for kind in answered["new"]:
        for writer in versions:
            if kind not in answered[writer]:  # its library is in the one environment alone
                continue
            cells = []
            for reader in versions:
                cell, is_equal = compared(kind, answered[writer][kind], loaded[writer, reader].get(kind))
                failed |= not is_equal
                cells.append(cell)
            print(f"| {kind} | {words(kind, versions[writer])} | {' | '.join(cells)} |")
    for name, installed in versions.items():
        print(f"\n{name}: " + ", ".join(f"{library} {version}" for library, version in installed.items()))
    sys.exit(failed)


def below(version: str, numbers: int) -> str:
    """Return the bound of the version before: `<1.9` of 1.9.1 by two numbers."""
    return "<" + ".".join(version.split("+")[0].split(".")[:numbers])


def environment(folder: Path, bounds: dict[str, str], beside: Sequence[str] = ()) -> dict[str, str]:
    """Make an environment with the newest libraries within bounds; return their versions."""
    uv = [installer()]
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([*uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
    wanted = [f"{name}{bounds.get(name, '')}" for name in LIBRARIES]
    subprocess.run(
        [
            *uv,
            "pip",
            "install",
            "-q",
            "--upgrade",
            "--python",
            str(python),
            *wanted,
            *BESIDE,
            *beside,
            str(ROOT),
        ],
        check=True,
    )
    listed = subprocess.run(
        [*uv, "pip", "list", "-q", "--format", "json", "--python", str(python)],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    return {each["name"]: each["version"] for each in json.loads(listed) if each["name"] in LIBRARIES}


def part(environment: Path, name: str, home: Path) -> dict[str, Any]:
    """Do a part in an environment, with the code of this checkout."""
    command = [str(environment / "bin" / "python"), "-m", "benchmarks.kinds", str(home), "--part", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{environment.name} could not {name}:\n{done.stderr[-3000:]}")
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


def words(kind: str, installed: dict[str, str]) -> str:
    """Say the versions that are behind a kind."""
    behind = {
        "sklearn": ("scikit-learn", "skops"), "forest": ("scikit-learn", "onnxruntime"), "xgboost": ("xgboost-cpu",),
        "onnx": ("onnxruntime",), "torch": ("onnxruntime",),
    }  # fmt: skip
    names = behind.get(kind.split()[0], (kind.split()[0],))
    return ", ".join(f"{name} {installed[name]}" for name in names)


def compared(kind: str, expected: Any, given: Any) -> tuple[str, bool]:
    """Say how far answers are from what they were, as a share (of 1 where they are smaller)."""
    if isinstance(expected, str) or isinstance(given, str) or given is None:
        return f"refused: {expected if isinstance(expected, str) else given}", False
    if [name for name in expected if name not in given]:
        return f"answers with {', '.join(given)}", False
    largest = 0.0
    for name, values in expected.items():
        for a, b in zip(values, given[name], strict=True):
            if isinstance(a, str | bool) or isinstance(b, str | bool):
                largest = max(largest, 0.0 if a == b else float("inf"))
            else:
                largest = max(largest, abs(a - b) / max(1.0, abs(a)))
    is_equal = largest <= TOLERANCES.get(kind.split()[0], TOLERANCE)
    return ("equal" if largest == 0 else f"{largest:.1e}") + ("" if is_equal else " DIFFERS"), is_equal


# What an environment does


def rows_of() -> dict[str, Any]:
    """Return the rows that models are trained on and asked about, by their form."""
    import numpy as np
    import pandas as pd

    matrix = np.random.default_rng(0).normal(size=(200, 5))
    towns = ["Paris", "Lyon", "Lille", "Nice"] * 50
    return {
        "matrix": matrix,
        "table": pd.DataFrame({"age": np.arange(200), "town": towns, "paid": matrix[:, 0]}),
        "texts": ["good day", "bad day", "good night", "bad night"] * 50,
    }


def models() -> dict[str, Any]:
    """Train a model of every kind, on the rows that `FORMS` names."""
    import catboost
    import lightgbm
    import numpy as np
    import xgboost
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from sklearn.svm import SVC

    matrix, table, texts = rows_of().values()
    numbers = matrix @ [1.0, -2.0, 0.5, 0.0, 3.0]
    classes = np.where(numbers > 1, "high", np.where(numbers < -1, "low", "middle"))
    codes = np.unique(classes, return_inverse=True)[1]
    columns = make_column_transformer((OneHotEncoder(), ["town"]), (StandardScaler(), ["age", "paid"]))
    quiet: dict[str, Any] = {"n_estimators": 20, "verbose": -1}
    cat: dict[str, Any] = {"iterations": 20, "verbose": False, "allow_writing_files": False}
    trained = {
        "sklearn pipeline": make_pipeline(columns, LogisticRegression()).fit(table, codes > 0),
        "sklearn texts": make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0] * 50),
        "sklearn ridge": make_pipeline(StandardScaler(), Ridge()).fit(matrix, numbers),
        "sklearn network": MLPRegressor(hidden_layer_sizes=(8,), max_iter=5000, random_state=0).fit(
            matrix, numbers
        ),
        "sklearn machine": SVC(random_state=0).fit(matrix, classes),
        "forest graph": RandomForestClassifier(20, random_state=0).fit(matrix, classes),
        "xgboost": xgboost.XGBClassifier(n_estimators=20).fit(matrix, codes),
        "xgboost booster": xgboost.train({}, xgboost.DMatrix(matrix, numbers), 20),
        "lightgbm": lightgbm.LGBMClassifier(**quiet).fit(matrix, classes),
        "lightgbm booster": lightgbm.LGBMRegressor(**quiet).fit(matrix, numbers).booster_,
        "catboost": catboost.CatBoostClassifier(**cat).fit(matrix, classes),
        "catboost table": catboost.CatBoostRegressor(**cat, cat_features=["town"]).fit(table, numbers),
    }
    if find_spec("torch"):
        import torch

        torch.manual_seed(0)
        layers = torch.nn.Linear(5, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
        trained["torch"] = torch.nn.Sequential(*layers)
    return trained


def form_of(name: str) -> str:
    """Return the form of the rows of a model."""
    return FORMS.get(name, "matrix")


def publish(home: Path) -> dict[str, Any]:
    """Publish a model of every kind to a folder; return what each answers, or why it was refused."""
    import ecluse
    from ecluse.client.kinds import kind_of
    from ecluse.client.package import answers_of
    from ecluse.errors import EcluseError

    answers: dict[str, Any] = {}
    with ecluse.Client(home=home) as client:
        for name, model in models().items():
            rows = rows_of()[form_of(name)]
            try:
                client.publish(model, name.replace(" ", "-"), example=rows)
                answers[name] = answers_of(kind_of(model), model, rows).to_dict(as_series=False)
            except EcluseError as error:
                answers[name] = str(error)
    return answers


def load(home: Path) -> dict[str, Any]:
    """Load every model of a folder and ask it about its rows; return what each answers, or why it was refused."""
    import ecluse
    from ecluse.errors import EcluseError

    answers: dict[str, Any] = {}
    with ecluse.Client(home=home) as client:
        for published in client.models()["name"].to_list():
            name = published.replace("-", " ")
            try:
                answers[name] = client.predict(published, rows_of()[form_of(name)]).to_dict(as_series=False)
            except EcluseError as error:
                answers[name] = str(error)
    return answers


if __name__ == "__main__":
    main()
