"""Tell an orchestrator whether a process lives and is ready, and Prometheus what it does.

A web process and a worker answer alike: `/livez`, `/readyz`, `/metrics`. What each counts itself is in `instruments`;
what is the same for all, as it stands in the catalog, is read there at a scrape by any of them (`figures`).
"""

from ecluse.vitals.asking import Answer, Question
from ecluse.vitals.doors import Doors, may_read, serve_beside
from ecluse.vitals.figures import Figures
from ecluse.vitals.instruments import Page, counted, expect
from ecluse.vitals.readiness import ANSWERS_WITHIN, NO_ANSWER, Readiness, checks_of_web, checks_of_worker

__all__ = [
    "ANSWERS_WITHIN",
    "NO_ANSWER",
    "Answer",
    "Doors",
    "Figures",
    "Page",
    "Question",
    "Readiness",
    "checks_of_web",
    "checks_of_worker",
    "counted",
    "expect",
    "may_read",
    "serve_beside",
]
