"""What a reader of French meets: marks, counts and words that once came out in English or as codes."""

from datetime import UTC, date, datetime

import numpy as np
import pytest

from ecluse.apps.city.names import disruption_in
from ecluse.apps.fraud.errors import UnusableTarget
from ecluse.apps.fraud.evaluation.split import check_labels
from ecluse.catalog.usage import DayUsage
from ecluse.jobs import Job, JobStatus, title_of
from ecluse.sentences import listing
from ecluse.web.i18n import Words
from ecluse.web.pages.jobs import Ended, grouped
from ecluse.web.pages.runs import kind_names
from ecluse.web.storage_charts import stored_growth

FRENCH = Words("fr")


def test_what_is_rounded_to_zero_has_no_sign() -> None:
    assert (FRENCH.signed(0.3, 0), FRENCH.signed(-0.3, 0), FRENCH.signed(0.6, 0)) == ("0", "0", "+1")


def test_a_list_in_french_has_a_space_before_its_semicolon() -> None:
    assert FRENCH.phrase(listing(["a", "b"], "; ")) == "a\N{NO-BREAK SPACE}; b"


def test_growth_of_one_day_says_it_once() -> None:
    day = date(2025, 11, 23)
    finding = stored_growth([DayUsage(day, {"uploads": 5})], day, {}, FRENCH).finding
    assert finding.count("23") == 1
    assert "premier jour" in finding


def test_one_fraud_is_singular() -> None:
    with pytest.raises(UnusableTarget) as refused:
        check_labels(np.array([1, 0, 0, 0], dtype=np.int8))
    assert FRENCH.phrase(str(refused.value)).startswith("1 ligne sur 4 est une fraude")


@pytest.mark.parametrize("code", ["PERTURBATION", "perturbation"])
def test_causes_of_disruptions_are_said_in_the_language(code: str) -> None:
    assert (disruption_in("en", code), disruption_in("fr", code)) == ("disruption", "perturbation")


def test_a_cause_that_is_not_known_stays() -> None:
    assert disruption_in("en", "GREVE") == "GREVE"


def test_a_job_names_what_is_called_the_same_once() -> None:
    assert (title_of("leaves", "leaves"), title_of("a", "b.csv")) == ("leaves", "a (b.csv)")


def test_titles_that_are_dates_are_written_in_the_language() -> None:
    assert FRENCH.dated("2025-10-14 – 2025-10-21") == "14 oct. 2025 – 21 oct. 2025"
    assert [FRENCH.dated(name) for name in ("20251014", "2025-02-30", "leaves")] == [
        "20251014",
        "2025-02-30",
        "leaves",
    ]


def test_days_that_were_computed_in_a_row_are_one_line_of_the_jobs() -> None:
    def ended(kind: str, status: JobStatus) -> Ended:
        made = datetime.now(UTC)
        job = Job(kind, kind, "", status, "2025-10-14", {}, None, 1.0, "", None, None, made, made, made)
        return Ended(job, 2.0, None)

    days = [ended("city_day", "done")] * 3
    lines = grouped([*days, ended("city_day", "failed"), ended("train", "done"), ended("train", "done")])
    assert [len(line.together) for line in lines] == [3, 0, 0, 0]


def test_the_kind_of_a_run_of_a_program_has_its_word() -> None:
    assert kind_names(FRENCH)["training"] == "Apprentissage"
