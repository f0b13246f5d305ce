"""A report that is written every Monday: no model, no table; figures, a table, a file, a drawing."""

from typing import Literal

import polars as pl

from ecluse.app import App, Task

app = App("digest", title="Weekly digest", api=1)


@app.job(schedule="monday 07:00")
def weekly(task: Task, region: Literal["all", "north", "south"] = "all", days: int = 7) -> list:
    """Write what happened in the last days."""
    counts = pl.DataFrame({"day": range(1, days + 1), "visits": [10 * day for day in range(1, days + 1)]})
    task.report(0.5, "counted")
    file = task.folder / "visits.csv"
    counts.write_csv(file)
    return [f"# Visits, {region}", {"in all": counts["visits"].sum()}, counts, file]
