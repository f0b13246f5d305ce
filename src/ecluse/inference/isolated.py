"""Ask a version that a person published, in a process of its own.

Its files were written by whoever published it. What they do to the process that reads them concerns that process and
this version alone: it is ended, requests are told so, and a few seconds later the next one begins it anew.
"""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ecluse.client.kinds import KINDS
from ecluse.confined import Limits
from ecluse.confined.companion import Companion
from ecluse.errors import EcluseError, ModelRefused, ModelStopped, ModelUnreadable, ReaderStopped
from ecluse.inference.ordinary import Rows, Values, framed
from ecluse.later import Later
from ecluse.model_process.frames import from_wire, types_from_json
from ecluse.model_process.opened import checked_columns
from ecluse.sentences import _, num

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")

#: Seconds of processor in which a version is loaded, and answers once; seconds in all, on a machine with other work.
WORK: Final = 60.0
WALL: Final = 900.0
#: Seconds after which a version is loaded again whose process was ended.
PAUSE: Final = 5.0
OPEN: Final = "ecluse.model_process.serving:open_model"


class Isolated:
    """A version that is ready to answer, elsewhere. It is asked by `answer` from a thread, or by `ask` from a loop."""

    def __init__(self, companion: Companion, name: str, kind: str) -> None:
        """Read what the process says of the version. It is checked: its files may have taken it over."""
        self._companion, self._name, self.kind = companion, name, kind
        described = companion.value
        if not isinstance(described, dict) or not {"schema", "types", "joins"} <= described.keys():
            raise ModelUnreadable(_("What %(name)s is cannot be read. Publish it again.", name=name))
        self.dtypes: Mapping[str, pl.DataType] = types_from_json(described["types"])
        if not isinstance(described["schema"], dict):
            raise ModelUnreadable(_("What %(name)s is cannot be read. Publish it again.", name=name))
        checked_columns(described["schema"], list(self.dtypes))
        self.schema: Mapping[str, Any] = described["schema"]
        #: Whether a row is answered the same alone as beside others.
        self.joins = described["joins"] is True
        self._sample = from_wire(described.get("sample"), companion.data)
        #: When its process was over, in seconds of `time.monotonic`, and why.
        self.stopped: tuple[float, ModelStopped] | None = None

    def answer(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return a row for each row; see `Loaded`."""
        try:
            return self._read(self._companion.call(*_sent([rows])), rows.height)
        except ReaderStopped as error:
            raise self._what_stopped(error) from error

    async def ask(self, parts: Sequence[Rows]) -> pl.DataFrame:
        """Return a row for each row of several requests, while the event loop goes on."""
        rows = sum(part.height for part in parts)
        try:
            return self._read(await self._companion.ask(*_sent(parts)), rows)
        except ReaderStopped as error:
            raise self._what_stopped(error) from error

    def sample(self) -> pl.DataFrame | None:
        """Return the first rows of its example."""
        return self._sample

    def close(self) -> None:
        """End its process."""
        self._companion.close()

    def _read(self, came: tuple[Any, bytes], rows: int) -> pl.DataFrame:
        answers = from_wire(*came)
        if answers.height != rows:
            raise ModelUnreadable(
                _("What %(name)s answers cannot be read. Publish it again.", name=self._name)
            )
        return answers

    def _what_stopped(self, error: ReaderStopped) -> EcluseError:
        """Return what is said of an answer that did not come: its process is over, or goes on with other rows."""
        if self._companion.is_open:
            return ModelRefused(
                _reason(error, self._name)
                if error.why == "memory"
                else _(
                    "%(name)s does not answer these rows. Give rows as it was trained on.", name=self._name
                )
            )
        stopped = ModelStopped(_reason(error, self._name), round(PAUSE))
        if self.stopped is None:
            self.stopped = time.monotonic(), stopped
        return stopped


def isolated(folder: Path, name: str, kind: str, *, memory: int, one_core: bool) -> Isolated:
    """Return the version whose files lie below a folder, ready to answer in a process of its own.

    `memory`: the bytes that it may use. `folder` may be removed afterwards.

    Raises:
        ModelUnreadable: its files are damaged, end the process that reads them, or need more than it may use; or it
            answers its example otherwise than when it was published.
        ModelStopped: its process was ended from outside.
        InvalidInput, ModelRefused: it does not answer requests.
    """
    arguments = {"folder": str(folder), "name": name, "one_core": one_core}
    limits = Limits(memory=memory, work=WORK, wall=WALL)
    try:
        companion = Companion(OPEN, arguments, limits=limits, folder=folder, also=KINDS.get(kind))
    except ReaderStopped as error:
        if error.why == "ended":
            raise ModelStopped(_reason(error, name), round(PAUSE)) from error
        raise ModelUnreadable(_unreadable(error, name)) from error
    try:
        return Isolated(companion, name, kind)
    except BaseException:
        companion.close()
        raise


def _sent(parts: Sequence[Rows]) -> tuple[Any, bytes]:
    if all(isinstance(part, Values) for part in parts):
        return {"rows": [row for part in parts if isinstance(part, Values) for row in part.values]}, b""
    file = io.BytesIO()
    framed(parts).write_ipc_stream(file)
    return {}, file.getvalue()


def _reason(error: ReaderStopped, name: str) -> str:
    if error.why == "memory":
        return _(
            "%(name)s needs more than the %(most)s MB of memory that it may use for these rows. Send fewer at a time, "
            "or ask it where you are: ecluse.load.",
            name=name,
            most=num(error.limit // 1_000_000, ","),
        )
    if error.why == "time":
        return _(
            "%(name)s was ended, as it had no answer after %(count)s seconds. Send fewer rows at a time, or ask it "
            "where you are: ecluse.load.",
            name=name,
            count=error.limit,
        )
    if error.why == "crash":
        return _(
            "%(name)s ended its own process on these rows. It is loaded again in a few seconds. Where it goes on so, "
            "ask it where you are (ecluse.load), or publish it with other versions of its libraries.",
            name=name,
        )
    return _(
        "The process of %(name)s was ended by the system. It is loaded again in a few seconds: try again.",
        name=name,
    )


def _unreadable(error: ReaderStopped, name: str) -> str:
    if error.why == "memory":
        return _(
            "To load %(name)s takes more than the %(most)s MB of memory that it may use. Fetch it, and ask it where "
            "you are: ecluse.load. Whoever runs this can allow more: ECLUSE_READER_MAX_BYTES.",
            name=name,
            most=num(error.limit // 1_000_000, ","),
        )
    if error.why == "time":
        return _(
            "%(name)s is not loaded after %(count)s seconds of work. Fetch it, and ask it where you are: ecluse.load.",
            name=name,
            count=error.limit,
        )
    return _(
        "The files of %(name)s end the process that reads them. Publish it again, with the versions of libraries that "
        "this server has.",
        name=name,
    )
