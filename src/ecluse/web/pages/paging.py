"""Cut a long list into pages, each with an address, and say which part is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Query

PAGE_ROWS: Final = 50
#: `?page=N`, from 1; a page after the last one shows the last.
PageNumber = Annotated[int, Query(ge=1, le=1_000_000)]


@dataclass(frozen=True)
class Pager:
    """Where a page stands in its list. `total` is None where only the next page is known to exist or not."""

    page: int
    rows: int
    total: int | None
    more: bool

    @property
    def offset(self) -> int:
        """Count the rows of the list that come before this page."""
        return (self.page - 1) * PAGE_ROWS

    @property
    def first(self) -> int:
        return self.offset + 1

    @property
    def last(self) -> int:
        return self.offset + self.rows

    @property
    def needed(self) -> bool:
        """Say whether there is another page."""
        return self.page > 1 or self.more


def page_of(total: int, page: int) -> Pager:
    """Return the page of this number in a list of `total` rows; the last one where there are fewer."""
    page = min(page, max(1, -(-total // PAGE_ROWS)))
    offset = (page - 1) * PAGE_ROWS
    return Pager(page, min(PAGE_ROWS, total - offset), total, total > offset + PAGE_ROWS)
