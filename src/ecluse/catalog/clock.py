"""Ask the database what time it is: the one clock by which leases run and silence is counted.

Clocks of machines differ; that of the database is the same for all who ask. SQLite has none of its own and asks the
machine, which is the same for all who share its file; there, whether a process runs is seen and not counted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from ecluse.catalog.tables import UtcDateTime


class moment(FunctionElement[datetime]):  # noqa: N801 (it is written as a function of SQL is)
    """The database's time now, whenever its transaction began, and so many whole seconds later."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, seconds: int = 0) -> None:
        super().__init__(literal(int(seconds)))


@compiles(moment, "postgresql")
def _postgresql(element: moment, compiler: Any, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


@compiles(moment, "sqlite")
def _sqlite(element: moment, compiler: Any, **options: Any) -> str:
    seconds = compiler.process(element.clauses, **options)
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now', ({seconds}) || ' seconds') || '000')"
