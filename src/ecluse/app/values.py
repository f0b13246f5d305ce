"""What the functions of an application are given, and what they return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ecluse.errors import EcluseError, InvalidInput
from ecluse.sentences import _

if TYPE_CHECKING:
    import polars as pl


class Refused(EcluseError, ValueError):
    """Refuse what a person gave, in words for them: `raise Refused("There is no product 'milk'. Known: tea, cocoa.")`.

    They are shown as they are, on pages, at a terminal and by the API (422). Any other error is shown as a fault of
    the application, with the line that raised it.
    """

    code, status = "refused", 422


@dataclass(frozen=True)
class File:
    """A file that a person chose: `path` is where it lies for as long as the function runs, `name` what it is
    called.
    """

    path: Path
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))
        object.__setattr__(self, "name", self.name or self.path.name)

    def read_bytes(self) -> bytes:
        return self.path.read_bytes()

    def read_text(self) -> str:
        return self.path.read_text(encoding="utf-8")


class Table:
    """A table that a person chose: delimited text of any separator and encoding, also gzipped, a workbook, Parquet,
    JSON or Arrow; or a data frame.

    `table.read()` gives it as a data frame of Polars, `table.read().to_pandas()` one of pandas. A column of texts is
    numbers, truth values or dates where every text is one.

    `table: Table = Table.newest` as a parameter, mostly of a job with a schedule, is the table that its person gave the
    application last before the function is called; `= Table.newest("sales-*.csv")` the last of such a name.
    """

    #: The default of a parameter that nobody has to fill in.
    newest: ClassVar[Newest]

    def __init__(self, source: Path | str | pl.DataFrame, name: str = "") -> None:
        self.path = Path(source) if isinstance(source, Path | str) else None
        self.name = name or (self.path.name if self.path else "table")
        self._frame: Any = None if self.path else source

    def read(self) -> pl.DataFrame:
        """Return the whole table.

        Raises:
            UnreadableTable: it is no table, damaged, or without rows or columns.
        """
        import polars as pl

        from ecluse.app.reading import read_table

        if self.path is None:
            frame = self._frame
            return frame if isinstance(frame, pl.DataFrame) else pl.DataFrame(frame)
        return read_table(self.path, self.name)


class Newest(Table):
    """A table that is found when a function begins. `name`: what it is called, * standing for any signs; "": any."""

    def __init__(self, name: str = "") -> None:
        super().__init__(Path(name), name)
        self.name = name

    def __call__(self, name: str) -> Newest:
        """Return what stands for the newest table of a name."""
        return Newest(name)

    def read(self) -> pl.DataFrame:
        """Raise InvalidInput: where a notebook calls the function, it gives a table."""
        raise InvalidInput(
            _('Table.newest is a table within Écluse alone. Here, give one: Table("sales.csv").')
        )


Table.newest = Newest()


@dataclass(frozen=True)
class Model:
    """What a training made: a model of scikit-learn, XGBoost, LightGBM or CatBoost, the path of a graph (`.onnx`),
    or of a folder that `@app.load` reads.

    `example`: a few rows as the model is asked about them. They become the form of the prediction, and the version is
    published only if it answers them in a process of its own. Where `@app.predict` takes single values, it is those by
    their names: `{"text": "…"}`. `metrics`: figures it is judged by.

    `inputs`: rows as the model itself takes them, where `@app.predict` makes other columns of what it is given, or a
    row of a text. A forest is kept as a graph, which is compared with it on these.
    """

    model: Any
    example: Any = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    inputs: Any = None


class Task:
    """Say how a piece of work goes: curves, progress, checkpoints. Outside of Écluse, in a notebook, it only notes.

    A job that is killed begins again: its function is called anew with the same values. What `save` kept is then in
    `saved`, so a function that looks there goes on where it was; one that does not starts over, with curves
    written anew.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = Path(folder) if folder is not None else Path.cwd()
        #: What an earlier attempt at this work saved last; None where there is nothing to go on from.
        self.saved: bytes | None = None
        self.logged: list[tuple[int, dict[str, float]]] = []
        self._send: Callable[[Mapping[str, Any], bytes], None] | None = None

    def log(self, step: int, /, **metrics: float) -> None:
        """Keep figures of a step (an epoch, a round): they are the curves of the run."""
        figures = {name: float(value) for name, value in metrics.items()}
        if self._send is None:
            self.logged.append((int(step), figures))
        else:
            self._send({"log": [int(step), figures]}, b"")

    def report(self, fraction: float, message: str = "") -> None:
        """Say how much of the work is done, 0 to 1, and in words what is being done."""
        if self._send is not None:
            self._send({"report": [min(max(float(fraction), 0.0), 1.0), str(message)[:300]]}, b"")

    def save(self, data: bytes) -> None:
        """Keep a checkpoint in place of the last one: `saved` of the next attempt. No pickle: JSON, Parquet, arrays."""
        if self._send is None:
            self.saved = bytes(data)
        else:
            self._send({"save": True}, bytes(data))

    def follow(self, send: Callable[[Mapping[str, Any], bytes], None]) -> None:
        """Send what is said to whoever runs this work."""
        self._send = send
