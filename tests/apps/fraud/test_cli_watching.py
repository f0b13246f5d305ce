"""What the commands that monitor and retrain say: figures with their intervals, and who gets a new version."""

from __future__ import annotations

from ecluse.apps.fraud.commands.monitoring import _monitor_text, _retrained
from ecluse.apps.fraud.rows.tables import Inspection
from tests.apps.fraud.test_monitoring_pages import monitored


def test_each_figure_of_monitoring_is_printed_with_its_interval() -> None:
    text = _monitor_text("payments@v1", monitored(notes=["Of rows."]))
    assert "average precision  0.5000  (95 %: 0.4000 to 0.6000)" in text
    assert "recall             0.6600  (95 %: 0.6000 to 0.7000)" in text
    assert "Check: Of rows." in text


def test_a_version_trained_again_says_what_it_learned_from_and_who_gets_it() -> None:
    counts = {"a": [16_000, 280], "b": [4_000, 44]}
    done = Inspection(model_name="payments", version="v1", other_version="v2", result={"learned": counts})
    text = "\n".join(_retrained(done))
    assert "old                learned from 16000 rows, 280 frauds" in text
    assert "new                learned from 4000 rows, 44 frauds" in text
    assert "payments alone now means v2" in text
    assert "ecluse models alias payments@v1 production" in text
    assert "ecluse models delete payments@v2" in text
