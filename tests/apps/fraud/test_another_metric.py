"""An invented metric is one line of `METRICS`: it is measured, has an interval, is compared, and is shown."""

from __future__ import annotations

import numpy as np
import pytest

from ecluse.apps.fraud import metrics
from ecluse.apps.fraud.evaluation import metrics as evaluation
from ecluse.apps.fraud.metrics import METRICS, FraudMetric, WeightedRows
from ecluse.apps.fraud.monitoring.comparison import paired_figures
from ecluse.runtime import Runtime
from tests.web import invented
from tests.web.test_pages import browser


def _false_alarms(rows: WeightedRows) -> float:
    legitimate = float(rows.rows[-1] - rows.frauds[-1])
    return (rows.alerts - rows.alert_frauds) / max(legitimate, 1e-12)


FALSE_ALARMS = FraudMetric(
    name="false_alarms", title="False alarms", better="lower", style="share", digits=0,
    measure=lambda rows: rows.counts.fp / max(rows.counts.legitimate, 1), weighted=_false_alarms,
    note="share of legitimate rows flagged",
)  # fmt: skip


@pytest.fixture
def another(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (metrics, evaluation):
        monkeypatch.setattr(module, "METRICS", (*METRICS, FALSE_ALARMS))


@pytest.mark.usefixtures("another")
def test_it_is_measured_with_an_interval_and_compared() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(600) < 0.2).astype(np.int8)
    a, b = (labels * gap + rng.normal(size=600) for gap in (1.0, 2.5))
    low, high = evaluation.bootstrap_intervals(labels, a, 1.5, seed=1)["false_alarms"]
    assert low < evaluation.measure(labels, a, 1.5)["false_alarms"] < high
    figure = paired_figures(labels, a, b, 1.5, 1.5, seed=0)["false_alarms"]
    assert figure.a == evaluation.measure(labels, a, 1.5)["false_alarms"]
    assert figure.interval[0] <= figure.difference <= figure.interval[1]


@pytest.mark.usefixtures("another")
def test_the_page_of_a_version_shows_it_as_a_tile(runtime: Runtime) -> None:
    user = runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")
    rows = invented.rows(user.id)
    version = next(row for row in rows if getattr(row, "report", None))
    version.report = version.report | {"metrics": version.report["metrics"] | {"false_alarms": 0.07}}
    with runtime.catalog.write() as transaction:
        transaction.add_all(rows)
    page = " ".join(browser(runtime, user).get(f"/models/{version.name}/{version.version}").text.split())
    assert "False alarms at threshold" in page
    assert "share of legitimate rows flagged" in page
