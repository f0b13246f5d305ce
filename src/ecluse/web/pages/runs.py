"""Show the trainings of every application: a list to sort and filter, one with its curves, several compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Query, Request
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict
from starlette.responses import RedirectResponse, Response

from ecluse import tracking
from ecluse.application import application_named, applications, guarded, parts
from ecluse.catalog import Transaction, runs, sharing
from ecluse.catalog import models as model_rows
from ecluse.catalog.runs import RunFilter
from ecluse.catalog.tables import ModelVersion, Run, User, now
from ecluse.errors import CannotRepeat, InvalidInput, JobNotFound
from ecluse.run_values import SORTED_BY, Direction
from ecluse.runtime import Runtime
from ecluse.shapes import fault
from ecluse.tracking import Figure, Tracked
from ecluse.tracking.kinds import Fact, tracked_runs
from ecluse.web.api.runs import condition_of, ids_of, start_repeat
from ecluse.web.comparison import headline
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.pages.jobs import Progress, progress_of
from ecluse.web.pages.paging import PAGE_ROWS, PageNumber, page_of
from ecluse.web.run_charts import (
    LETTERS,
    compared_charts,
    figure_text,
    main_meaning,
    metric_name,
    run_charts,
)
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import draw, render, words_of

#: The kind of a run that a program began without naming one.
PROGRAM_KIND: Final = "training"
#: How the parameters begin that say how a version was made, beside those that were asked for.
MADE: Final = "made."

router = Declarations()
#: Columns that are sorted from the smallest or the first on.
FIRST_UP: Final = ("name", "application", "kind", "status", "version")


class Asked(BaseModel):
    """What the address of the list asks for; `tag` and `parameter` are NAME=VALUE texts."""

    model_config = ConfigDict(frozen=True, str_strip_whitespace=True)

    application: str = ""
    name: str = ""
    status: str = ""
    tag: str = ""
    parameter: str = ""
    sort: str = "created"
    direction: Direction = "descending"
    page: PageNumber = 1

    def url(self, **changed: str) -> str:
        """Return the address of the list with some of it changed; what is empty or usual is left out."""
        values = self.model_dump(exclude={"page"}) | changed
        usual = Asked().model_dump()
        return "/runs" + (
            f"?{query}" if (query := urlencode({k: v for k, v in values.items() if v != usual[k]})) else ""
        )

    @property
    def narrows(self) -> bool:
        return any((self.application, self.name, self.status, self.tag, self.parameter))

    def selection(self) -> RunFilter:
        """Return which runs are asked for. Raises InvalidInput for a condition that is not NAME=VALUE."""
        return RunFilter(
            application=self.application or None,
            name=self.name or None,
            status=self.status or None,
            tags=condition_of(self.tag),
            parameters=condition_of(self.parameter),
        )


@dataclass(frozen=True)
class Row:
    """A run in a list, with the figure that stands for it, what that means, and the seconds it took so far."""

    run: Run
    figure: tuple[str, str, str] | None
    seconds: float | None


@router.get("/runs")
def list_runs(
    request: Request,
    runtime: RuntimeDep,
    user: CurrentUser,
    asked: Annotated[Asked, Query()],
) -> Response:
    """Show the runs that fulfil what is asked, a page at a time, sorted by a column or by a metric."""
    say = words_of(request)
    sort = asked.sort or "created"
    error, shown, total = None, list[Run](), 0
    with runtime.catalog.read() as transaction:
        try:
            selection = asked.selection()
            list_page = partial(
                runs.list_runs,
                transaction,
                user.user.id,
                selection,
                sort=sort,
                direction=asked.direction,
                limit=PAGE_ROWS,
            )
            shown, total = list_page(offset=(asked.page - 1) * PAGE_ROWS)
            pager = page_of(total, asked.page)
            if pager.page != asked.page:  # it is beyond the last one, which is shown instead
                shown, total = list_page(offset=pager.offset)
        except InvalidInput as refused:
            error, pager = refused, page_of(0, 1)
        models_of_applications = runs.names_of(transaction, user.user.id)
        others, others_total = list[tuple[Run, User]](), 0
        if not asked.narrows and asked.page == 1:
            others, others_total = sharing.runs_of_others(transaction, user.user.id, limit=PAGE_ROWS)
    metric = sort if sort not in SORTED_BY else None
    names = sorted({name for run in shown for name in run.metrics} | ({metric} if metric else set()))
    context = {
        "rows": [Row(run, _shown_figure(run, metric, say), seconds_of(run)) for run in shown],
        "pager": pager,
        "others": others,
        "others_total": others_total,
        "asked": asked,
        "metrics": [(name, metric_name(name, say)) for name in names],
        "metric": metric_name(metric, say) if metric else None,
        "models": sorted({name for _, name in models_of_applications}),
        "with_runs": sorted({application for application, _ in models_of_applications if application}),
        "application_names": application_names(say),
        "kind_names": kind_names(say),
        "error": str(error) if error else None,
        "first_up": FIRST_UP,
    }
    return render(request, "runs.html", context, status=error.status if error else 200)


@router.get("/runs/compare")
def compare_runs(
    request: Request,
    runtime: RuntimeDep,
    user: CurrentUser,
    ids: Annotated[list[str] | None, Query()] = None,
) -> Response:
    """Up to five runs beside each other: their curves, the parameters that differ, their figures."""
    say = words_of(request)
    with runtime.catalog.read() as transaction:
        compared = tracking.compare(transaction, user.user.id, ids_of(ids))
    context = {
        "compared": compared,
        "letters": LETTERS,
        "rows": [Row(run, _shown_figure(run, None, say), seconds_of(run)) for run in compared.runs],
        "figures": compared_charts(compared, say),
        "metric_rows": [
            (metric_name(metric.name, say), metric.name, _figure_texts(metric, say), _best_at(metric))
            for metric in compared.metrics
        ],
        "application_names": application_names(say),
        "kind_names": kind_names(say),
    }
    return render(request, "runs_compare.html", context)


@router.get("/runs/{run_id}")
def show_run(request: Request, run_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """One run, with its curves while they grow."""
    return render(request, "run.html", _context(request, runtime, user.user.id, run_id))


@router.post("/runs/{run_id}/repeat")
def repeat(request: Request, run_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Train again by the record of a run, and go to the run that does."""
    try:
        made = start_repeat(runtime, user.user.id, run_id)
    except CannotRepeat as refused:
        context = _context(request, runtime, user.user.id, run_id) | {"refused": str(refused)}
        return render(request, "run.html", context, status=refused.status)
    return RedirectResponse(f"/runs/{made.id}", status_code=303)


@router.get("/runs/{run_id}/live")
def show_live(request: Request, run_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Draw the part of a page that tells of a run, for the page to put in place of the one it has."""
    return render(request, "_run.html", _context(request, runtime, user.user.id, run_id))


def seconds_of(run: Run) -> float | None:
    """Return how long a run has taken, or takes so far; None before it began."""
    if run.started_at is None:
        return None
    return max(0.0, ((run.finished_at or now()) - run.started_at).total_seconds())


def application_names(say: Words) -> dict[str, str]:
    """Name every application, and what runs are of that belong to none."""
    named = {
        application.name: say._(application.title) for application in applications() if application.title
    }
    return {"": say._("A program of your own")} | named


def kind_names(say: Words) -> dict[str, str]:
    """Name the kinds of trainings there are, in a few words; of two of one name, that of the first application."""
    names: dict[str, str] = {}
    for _application, tracked in parts("runs"):
        for kind, words in tracked.kinds.items():
            names.setdefault(kind, say._(words))
    return {PROGRAM_KIND: say._("Training")} | names


def _context(request: Request, runtime: Runtime, user_id: str, run_id: str) -> dict[str, Any]:
    say = words_of(request)
    with runtime.catalog.read() as transaction:
        tracked = tracking.read(transaction, user_id, run_id)
        run = tracked.run
        is_own = run.user_id == user_id
        may_change = is_own or run.user_id in sharing.makers_of(transaction, user_id)
        owner = None if is_own else sharing.handle_of(transaction, run.user_id)
        # Of what is another's neither what it was made from is told nor what was published: whoever may see that does.
        version = _version_of(transaction, run) if is_own else None
        facts = _facts(transaction, run) if is_own else ()
    progress = _progress(runtime, run, say) if is_own else None
    is_active = run.status in runs.ACTIVE
    return {
        "run": run,
        "aliases": tracked.aliases if may_change else (),
        "version": version,
        "facts": facts,
        "owner": owner,
        "may_change": may_change,
        "run_parts": _drawn_parts(request, run) if is_own else [],
        "seconds": seconds_of(run),
        "main": _main(tracked, version, say),
        "figures": run_charts(tracked.curves, run.application, say),
        "metric_rows": [
            (
                metric_name(each.name, say),
                each.name,
                figure_text(each.value, say),
                main_meaning(each.name, run.application, say),
            )
            for each in tracking.figures_of(run)
        ],
        "parameters": [each for each in sorted(run.parameters.items()) if not each[0].startswith(MADE)],
        "made": _made_of(run),
        "tags": sorted(
            (name, value) for name, value in run.tags.items() if may_change or name != runs.CHECKPOINT
        ),
        "can_repeat": version is not None and _may_repeat(run),
        "repeat_words": tracked_runs(run.application).repeat_words,
        "refused": None,
        "progress": progress,
        "poll": poll_seconds(run) if is_active else None,
        "application_names": application_names(say),
        "kind_names": kind_names(say),
    }


def _made_of(run: Run) -> list[tuple[str, Any]]:
    """List what a training chose by itself, and by what it was made; names without their mark."""
    made = {name.removeprefix(MADE): value for name, value in run.parameters.items() if name.startswith(MADE)}
    made.pop("epochs_are", None)  # a sentence for the report, not a setting
    return sorted(made.items())


def _facts(transaction: Transaction, run: Run) -> Sequence[Fact]:
    """List what a run was made from; nothing where its application fails to say so."""
    application = application_named(run.application)
    if application is None:
        return ()
    with guarded(application, "facts"), transaction.begin_nested():
        facts = tracked_runs(run.application).facts(transaction, run)
        if reason := fault(facts, Sequence[Fact]):
            raise TypeError(reason)
        return facts
    return ()


def _may_repeat(run: Run) -> bool:
    application = application_named(run.application)
    if application is None:
        return False
    with guarded(application, "may_repeat"):
        return tracked_runs(run.application).may_repeat(run)
    return False


def poll_seconds(run: Run) -> int:
    """As often as a job's progress is asked for: every second at first, then every 3 s, then every 10 s."""
    age = (now() - run.created_at).total_seconds()
    return 1 if age < 30 else 3 if age < 300 else 10


def _drawn_parts(request: Request, run: Run) -> list[Markup]:
    """Draw what applications add to the page of a run."""
    drawn = []
    for application in applications():
        if application.run_part:
            with guarded(application, "run_part"):
                drawn.append(draw(request, application.run_part, {"run": run}))
    return drawn


def _progress(runtime: Runtime, run: Run, say: Words) -> Progress | None:
    """Return the progress of the job of a run that has not ended, or came to nothing."""
    if run.job_id is None or run.status == "done":
        return None
    try:
        return progress_of(runtime, runtime.jobs.get(run.user_id, run.job_id), say)
    except JobNotFound:
        return None


def _version_of(transaction: Transaction, run: Run) -> ModelVersion | None:
    """Find what the run published, if that is still there."""
    if run.version is None:
        return None
    return model_rows.find_version(transaction, run.user_id, run.name, run.version)


def _main(tracked: Tracked, version: ModelVersion | None, say: Words) -> tuple[str, str, str] | None:
    """Return the figure a run is judged by: its name, its value, and its interval and meaning."""
    figure = tracked.main
    if figure is None:
        return None
    note = main_meaning(figure.name, tracked.run.application, say)
    interval = _interval(figure, version)
    if interval:
        interval_text = say._("95 %% interval %(range)s", range=say.interval(interval, 3))
        note = f"{interval_text}; {note}" if note else interval_text
    return metric_name(figure.name, say), figure_text(figure.value, say), note


def _interval(figure: Figure, version: ModelVersion | None) -> tuple[float, float] | None:
    """Return the interval that the report of the version gives this figure."""
    if version is None:
        return None
    reported = version.report.get("served" if figure.name == "served_accuracy" else "interval")
    if (
        figure.name in ("accuracy", "test_accuracy", "served_accuracy")
        and isinstance(reported, dict)
        and {"low", "high"} <= reported.keys()
    ):
        return float(reported["low"]), float(reported["high"])
    main = headline(version)
    return main.b_interval if main is not None and main.name == figure.name else None


def _shown_figure(run: Run, metric: str | None, say: Words) -> tuple[str, str, str] | None:
    """Return name, value and meaning of a run's figure in a list: the metric it is sorted by, or its main one."""
    if metric is not None:
        value = run.metrics.get(metric)
        return (
            None
            if value is None
            else (
                metric_name(metric, say),
                figure_text(value, say),
                main_meaning(metric, run.application, say),
            )
        )
    figure = tracking.main_metric(run)
    if figure is None:
        return None
    return (
        metric_name(figure.name, say),
        figure_text(figure.value, say),
        main_meaning(figure.name, run.application, say),
    )


def _figure_texts(setting: tracking.Setting, say: Words) -> list[str | None]:
    return [None if value is None else figure_text(value, say) for value in setting.values]


def _best_at(setting: tracking.Setting) -> int | None:
    """Return the place of the run with the best figure; None where no way is better, or they are all the same."""
    better = tracking.better_way(setting.name)
    values = {at: value for at, value in enumerate(setting.values) if value is not None}
    if better is None or len(set(values.values())) < 2:
        return None
    return (max if better == "higher" else min)(values, key=lambda at: values[at])
