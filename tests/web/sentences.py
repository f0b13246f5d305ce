"""Gather the English sentences of the core from its source, for tests that say them in another language."""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import ecluse

ROOT = Path(ecluse.__file__).parent
CORE = (
    "accounts",
    "catalog",
    "apps/city",
    "conditions.py",
    "documents",
    "apps/fraud",
    "inference",
    "jobs",
    "migration",
    "apps/mlflow/exporting.py",
    "apps/mlflow/jobs.py",
    "models",
    "apps/plants",
    "registry",
    "runtime.py",
    "storage",
    "tables.py",
    "tabular",
    "tracking",
    "upkeep.py",
    "work.py",
)
#: What a variable part of a sentence is taken to be: a name, or a number where it is formatted as one.
NAME, NUMBER = "C7", "7"
#: The cards and the plots travel with the model's files and are English, as they are; migrations and SQL are for
#: databases; the columns of simulated institutions are named as these name them. Of the city, a backtest, the look at
#: raw data and what thresholds mean are said to a terminal alone, the parts of the demo invent raw data, the forms of raw
#: files are for the guide, and the tidy table of the report is English.
DEMO = ("bikes", "days", "disruptions", "base_map", "roads", "weather", "works")
LEFT_OUT = (
    "apps/fraud/training/request.py",  # help of the command and of the API, which are English
    *(
        f"apps/{wing}/{part}.py"
        for wing in ("city", "fraud", "plants", "mlflow")
        for part in ("application", "settings")
    ),
    *(
        f"apps/{wing}/{part}"
        for wing in ("city", "fraud", "plants")
        for part in ("api", "commands", "http", "pages")
    ),
    "apps/fraud/metrics.py",  # the words of the card
    "apps/fraud/scoring/formats.py",  # media types
    "apps/fraud/training/card.py",
    "apps/fraud/ensembles/card.py",
    "apps/fraud/evaluation/plots.py",
    "apps/fraud/references/domains",
    "apps/plants/card.py",
    "apps/plants/demo",
    "catalog/migrations",
    "apps/city/backtest.py",
    "apps/city/check.py",
    *(f"apps/city/demo/{part}.py" for part in DEMO),
    "apps/city/report.py",
    "apps/city/sources/forms.py",
    "apps/city/thresholds.py",
    "inference/metrics.py",  # for who watches the server, in English
    "storage/schemes",  # settings, as in settings.py: for the operator, in English
)
LOGGED = {
    "Troubles",
    "leave_out",
    "debug",
    "info",
    "warning",
    "error",
    "exception",
    "text",
    "exec_driver_sql",
    "compile",
}
#: What is declared of raw files is for the guide, and what a city lacks without a source for a terminal; the tidy table
#: of the city's report has English names and units. All are English.
DECLARED = {"Column", "Figure", "Form", "ReportTable", "Source", "Stamp", "figure"}
#: What is marked for translation is checked with the messages of the pages.
MARKED = {"N_", "ngettext"}


def sentences() -> dict[str, str]:
    """Every sentence in the code of the core → where it stands. One with alternatives counts once for each."""
    found: dict[str, str] = {}
    for part in CORE:
        for path in sorted((ROOT / part).rglob("*.py")) or [ROOT / part]:
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(LEFT_OUT):
                for line, text in _strings(ast.parse(path.read_text(encoding="utf-8"))):
                    if is_sentence(text):
                        found.setdefault(text, f"{name}:{line}")
    return found


def is_sentence(text: str) -> bool:
    """Whether a string holds at least two words, one of them a word and no part that varies."""
    return bool(re.search(r"\S \S", text.strip()) and words(text)) and not re.match(
        r"[%^(|\\-]|SELECT|PRAGMA", text
    )


def words(text: str) -> set[str]:
    """The words of a text in small letters; no names, codes or quoted values."""
    return set(re.findall(r"(?<![\w./\"'-])[a-zàâçéèêëîïôûùœ]{3,}(?![\w./=])", text))


def _strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(tree, ast.Expr) and isinstance(tree.value, ast.Constant):
        return  # a docstring
    if isinstance(tree, ast.Call) and _called(tree.func) in LOGGED | DECLARED | MARKED:
        return
    if isinstance(tree, ast.Call) and _called(tree.func) in ("_", "N_", "ngettext"):
        for keyword in tree.keywords:
            yield from _strings(keyword)
        return
    if isinstance(tree, ast.Constant | ast.JoinedStr | ast.BinOp) and (texts := _texts(tree)):
        yield from ((tree.lineno, text) for text in texts)
        if not isinstance(tree, ast.JoinedStr):
            return
    for child in ast.iter_child_nodes(tree):
        if not (isinstance(tree, ast.JoinedStr) and isinstance(child, ast.Constant)):
            yield from _strings(child)


def _texts(node: ast.AST) -> list[str]:
    """What an expression may say; nothing where it is not written as text."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return ["".join(parts) for parts in itertools.product(*map(_texts, node.values))]
    if isinstance(node, ast.FormattedValue):
        return _texts(node.value) or [_stand_in(node)]
    if isinstance(node, ast.IfExp):
        return (_texts(node.body) or [NAME]) + (_texts(node.orelse) or [NAME])
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _texts(node.left), _texts(node.right)
        return [a + b for a in left or [NAME] for b in right or [NAME]] if left or right else []
    return []


def _stand_in(node: ast.FormattedValue) -> str:
    form = ast.unparse(node.format_spec)[2:-1] if node.format_spec else ""
    return f"{NUMBER}%" if form.endswith("%") else NUMBER if re.search(r"[,fgd]", form) else NAME


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
