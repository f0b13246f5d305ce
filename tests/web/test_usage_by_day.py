"""What was used day by day is told by the API and drawn on the page, to its owner and to administrators."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ecluse.catalog import daily
from tests.web.test_predict import MATRIX, predict, publish, trained
from tests.web.within import Within


def test_answers_jobs_and_bytes_of_today_are_told_and_drawn(web: Within) -> None:
    assert web.ask("GET", "/api/usage").json() == []
    assert "chart-use" not in web.ask("GET", "/storage").text
    row = publish(web, trained("xgboost"), MATRIX)
    for count in (3, 4):
        assert predict(web, "churn", MATRIX[:count].tolist()).status_code == 200
    web.ask("POST", "/v2/models/churn/infer", json={"inputs": []})  # refused, and not counted
    web.runtime.jobs.enqueue("verify_model", "upkeep", web.user_id, "m", {"name": "m", "version": "v"})
    with web.runtime.catalog.write() as transaction:
        daily.count(transaction)
    (today,) = web.ask("GET", "/api/usage").raise_for_status().json()
    assert today == {
        "day": datetime.now(UTC).date().isoformat(),
        "stored_bytes": row.size_bytes,
        "files": 1,
        "jobs": 1,
        "predictions": 7,
    }
    page = re.sub(r"\\s+", " ", web.ask("GET", "/storage").text)
    assert 'id="chart-use"' in page
    assert "7 rows answered online" in page
    assert web.ask("GET", "/api/administration/usage").status_code == 403
    assert web.ask("GET", "/api/usage?days=0").status_code == 422
