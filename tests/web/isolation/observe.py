"""Print rows of the table of answers with what each who asks is answered: `python -m tests.web.isolation.observe`.

A row is given as in `answers.txt`, its cells left out or not: `GET /api/tables/{table}`. Without any: every row that is
there, its cells as they are answered now.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.web.isolation.house import PERSONS, TOKENS, House, opened
from tests.web.isolation.table import Row, read_rows


async def observe(house: House, row: Row) -> Row:
    """Return a row with its cells as they are answered now."""
    letters = {who: (await house.observe(row, who)).letter for who in (*PERSONS, *TOKENS)}
    return replace(row, persons="".join(map(letters.get, PERSONS)), tokens="".join(map(letters.get, TOKENS)))


def main(lines: list[str]) -> None:
    """Print the rows of these lines, or of the whole table."""
    if lines:
        given = Path(tempfile.mkdtemp()) / "rows.txt"
        given.write_text("\n".join(f"....... .....  {line}" for line in lines))
    rows = read_rows(given) if lines else read_rows()
    with tempfile.TemporaryDirectory() as folder, opened(Path(folder), Path(folder) / "home") as house:
        section = ""
        for row in rows:
            if row.section != section:
                section = row.section
                print(f"\n[{section}]")
            print(asyncio.run(observe(house, row)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
