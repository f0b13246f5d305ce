"""Answer the rows that another process asks about; see `inference.isolated`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import threadpoolctl

from ecluse.confined import Heard
from ecluse.confined.child import Beside, Standing
from ecluse.model_process.frames import to_wire, types_to_json
from ecluse.model_process.opened import package_in
from ecluse.model_process.steady import steady_answer


def open_model(tell: Heard, data: bytes, *, folder: str, name: str, one_core: bool) -> Standing:
    """Return the version whose files lie below a folder, ready to answer.

    `one_core`: to share out the few rows of a request among cores takes longer than to answer them. Answers do not
    depend on it.

    Raises:
        ModelUnreadable, InvalidInput: see `package_in`.
        ModelRefused: it does not give one answer for each row.
    """
    package = package_in(Path(folder), name)
    if one_core:
        threadpoolctl.threadpool_limits(1, user_api="openmp")
    answer = steady_answer(package)
    dtypes = package.dtypes
    sample, beside = to_wire(package.example.rows)
    description = {
        "schema": package.schema,
        "types": types_to_json(dtypes),
        "sample": sample,
        "joins": answer is not None,
    }

    def answered(asked: Any, sent: bytes) -> Beside:
        rows = (
            pl.DataFrame(asked["rows"], schema=dtypes, orient="row")
            if "rows" in asked
            else pl.read_ipc_stream(sent)
        )
        return Beside(*to_wire((answer or package.answer)(rows)))

    return Standing(description, beside, answered)
