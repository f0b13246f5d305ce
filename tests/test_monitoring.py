"""What is watched is there: metrics of rules and panels are served, each alert leads to its part of the runbook."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from ecluse.cli import cli
from ecluse.runtime import Runtime
from ecluse.vitals import Figures, Page, counted
from ecluse.web.app import make_app
from ecluse.web.health import _handler
from ecluse.work import kinds
from tests.test_rooms import ask

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "monitoring"
GUIDES = ROOT / "docs" / "guides"
RUNBOOK = GUIDES / "runbook.md"
#: Commands of an application that a guide writes.
MADE_IN_GUIDES = frozenset(["houses"])
#: Words of PromQL that stand where a metric may.
WORDS = frozenset(
    [
        "by",
        "without",
        "on",
        "ignoring",
        "and",
        "or",
        "unless",
        "group_left",
        "group_right",
        "bool",
        "offset",
        "sum",
        "max",
        "min",
        "avg",
        "count",
        "rate",
        "increase",
        "topk",
        "time",
        "histogram_quantile",
    ]
)
#: What every scrape has: https://prometheus.io/docs/concepts/jobs_instances/
OF_PROMETHEUS = frozenset({"up"})


def rules() -> list[dict[str, Any]]:
    read = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))
    return [rule for group in read["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))[
        "panels"
    ]
    return found


def metrics_of(expression: str) -> set[str]:
    """Return the metrics that an expression of PromQL names: words that stand for no label, value or function."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", expression)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    bare = re.sub(r"\b(by|without|on|ignoring)\s*\([^)]*\)", "", bare)
    words = {word for word in re.findall(r"\b[a-zA-Z_][a-zA-Z0-9_]*", bare) if not word.startswith("__")}
    return words - WORDS


def labels_of(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each metric that is chosen by labels, with these."""
    for metric, inner in re.findall(r"([a-zA-Z_][a-zA-Z0-9_]*)\{([^}]*)\}", expression):
        yield metric, set(re.findall(r"([a-zA-Z_][a-zA-Z0-9_]*)\s*[=!]", inner))


def expressions() -> list[str]:
    of_panels = [target["expr"] for panel in panels() for target in panel.get("targets", ())]
    return [rule["expr"] for rule in rules()] + of_panels


@pytest.fixture
def served(runtime: Runtime) -> dict[str, set[str]]:
    """What a web process and a worker serve: each sample with its labels, whether it has a value by now or not."""
    runtime.jobs.prove()
    app = make_app(runtime)
    pages = [ask(app, "GET", "/metrics").text, Page(more=[Figures(runtime)]).write().decode()]
    families = {name for page in pages for name in re.findall(r"^# TYPE (\S+) \S+$", page, re.MULTILINE)}
    found: dict[str, set[str]] = {}
    for registry in (counted(), app.state.metrics.registry):
        for collector in registry._collector_to_names:
            labels = {*getattr(collector, "_labelnames", ())}
            for name in registry._collector_to_names[collector]:
                found.setdefault(name, set()).update(labels)
                if "seconds" in name or "rows" in name:
                    found.setdefault(f"{name}_bucket", set()).update(labels | {"le"})
    for name in families:
        found.setdefault(name, set())
    for page in pages:
        for name, inner in re.findall(r"^([a-z_]+)(?:\{([^}]*)\})? ", page, re.MULTILINE):
            found.setdefault(name, set()).update(re.findall(r"([a-z_]+)=", inner))
    for metric, labels in Figures.LABELS.items():  # of what there is none of now
        found.setdefault(metric, set()).update(labels)
    return found


def test_every_metric_of_rules_and_panels_is_served(served: dict[str, set[str]]) -> None:
    named = {metric for expression in expressions() for metric in metrics_of(expression)}
    assert len(named) > 25
    assert sorted(named - set(served) - OF_PROMETHEUS) == []


def test_every_label_that_chooses_is_one_of_its_metric(served: dict[str, set[str]]) -> None:
    given = {"job", "instance"}  # by Prometheus
    wrong = [
        (metric, labels - served[metric] - given)
        for expression in expressions()
        for metric, labels in labels_of(expression)
        if metric in served and labels - served[metric] - given
    ]
    assert wrong == []


def test_a_figure_that_is_missed_would_be_seen() -> None:
    assert metrics_of('sum by (kind) (rate(ecluse_gone_total{kind="a b"}[5m])) / on (x) up > 0.5') == {"ecluse_gone_total", "up"}  # fmt: skip
    assert list(labels_of('a_total{kind=~"x|y", gone!="z"}')) == [("a_total", {"kind", "gone"})]


def test_every_alert_says_how_bad_it_is_and_leads_to_its_part_of_the_runbook() -> None:
    headings = {
        anchor(line[3:])
        for line in RUNBOOK.read_text(encoding="utf-8").splitlines()
        if line.startswith("## ")
    }
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names)) >= 20
    met = set()
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]
        assert {"summary", "description", "runbook_url"} <= set(rule["annotations"]), rule["alert"]
        page, _, heading = rule["annotations"]["runbook_url"].partition("#")
        assert (ROOT / page).samefile(RUNBOOK)
        assert heading in headings, rule["alert"]
        met.add(heading)
    assert met == headings, "a part of the runbook that no alert leads to"
    named = re.findall(r"\bEcluse\w+", RUNBOOK.read_text(encoding="utf-8"))
    assert set(named) == set(names), "each part names the alerts that lead to it"


def anchor(heading: str) -> str:
    """Return the anchor of a heading, as pages of a repository make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def commands_typed(text: str, *, in_sentences: bool) -> list[str]:
    """The command lines of ours in the blocks of a guide that are to be typed, and between backquotes in sentences.

    Lines that leave something out (`…`) are no whole commands.
    """
    blocks = re.findall(r"```(?:console|sh)\n(.*?)```", text, re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += re.findall(r"^    (ecluse .+[^\\])$", text, re.MULTILINE)
    if in_sentences:
        lines += re.findall(r"`(ecluse [^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = [re.split(r"\s#|[|>&;]", line)[0].strip() for line in lines]
    return [line for line in lines if line.startswith("ecluse ") and "…" not in line]


def expect_parsed(line: str) -> None:
    """Raise what click has against a command line: an unknown command or option, one that is missing, a wrong value."""
    words, said = shlex.split(line)[1:], "ecluse"
    group: click.Command = cli
    while isinstance(group, click.Group) and words and not words[0].startswith("-"):
        word = words.pop(0)
        context = click.Context(group, info_name=said)
        found = group.get_command(context, word)
        if found is None:
            raise click.UsageError(f"no command {word}", context)
        group, said = found, f"{said} {word}"
    if not isinstance(group, click.Group):
        group.make_context(said, words)


@pytest.mark.parametrize("guide", sorted(GUIDES.glob("*.md")), ids=lambda guide: guide.stem)
def test_commands_of_the_guides_are_whole(guide: Path) -> None:
    lines = commands_typed(guide.read_text(encoding="utf-8"), in_sentences=guide == RUNBOOK)
    wrong = []
    for line in lines:
        if line.split()[1] in MADE_IN_GUIDES:
            continue
        try:
            expect_parsed(line)
        except click.ClickException as refusal:
            if isinstance(refusal, click.BadParameter) and isinstance(
                getattr(refusal.param, "type", None), click.Path
            ):
                continue  # a file of the reader
            wrong.append(f"{line}: {refusal.format_message()}")
    assert wrong == []
    assert lines or guide != RUNBOOK


def test_a_command_that_lacks_what_it_needs_is_found() -> None:
    text = (
        "Type `ecluse backup list`, or\n```console\n$ ecluse backup prune --from URL # old ones\nsaid\n```\n"
    )
    typed = commands_typed(text, in_sentences=True)
    assert typed == ["ecluse backup prune --from URL", "ecluse backup list"]
    for line in typed:
        with pytest.raises(click.MissingParameter):
            expect_parsed(line)


def test_requests_that_alarm_are_none_for_health_and_those_that_are_slow_no_files(runtime: Runtime) -> None:
    named = {handler_of(route.endpoint) for route in routes_of(make_app(runtime))}
    (fail, slow) = (
        {name for name in named if re.fullmatch(left_out.group(1), name)}
        for alert in ("EcluseRequestsFail", "EcluseRequestsSlow")
        for rule in rules()
        if rule["alert"] == alert
        for left_out in [re.search(r'handler!~\s*"([^"]+)"', rule["expr"])]
        if left_out is not None
    )
    assert fail == {
        "ecluse.apps.city.api.health",
        "health.endpoint",
        "health.livez",
        "health.readyz",
        "open_inference.live",
        "open_inference.model_ready",
        "open_inference.ready",
    }
    assert fail < slow
    assert {
        "api.models.download_file",
        "api.publishing.send_part",
        "api.tables.upload_table",
        "ecluse.apps.fraud.api.datasets.upload",
        "ecluse.apps.plants.api.sets.import_images",
        "pages.account_data.export",
        "pages.tables.upload",
    } <= slow
    assert len(slow) < len(named) / 5


def handler_of(endpoint: Any) -> str:
    return _handler({"endpoint": endpoint})


def routes_of(router: Any) -> Iterator[Any]:
    """Yield every route that answers, of whatever it is a part."""
    for route in router.routes:
        if hasattr(route, "endpoint"):
            yield route
        elif hasattr(route, "routes"):
            yield from routes_of(route)


def test_the_dashboard_can_be_read_with_any_prometheus() -> None:
    board = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids)) > 20
    (variable,) = [each for each in board["templating"]["list"] if each["type"] == "datasource"]
    assert (variable["name"], variable["query"]) == ("datasource", "prometheus")
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert panel["title"]
        assert panel["targets"], panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(refs) == len(set(refs))
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    places = [
        (x, y)
        for panel in board["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places)), "panels lie over one another"


def test_every_kind_is_counted_from_nought(runtime: Runtime) -> None:
    """Prometheus sees no increase in what appears with its first failure."""
    app = make_app(runtime)
    page = ask(app, "GET", "/metrics").text
    for kind in kinds():
        for rest in (
            'outcome="failed",reason="fault"',
            'outcome="given_up",reason="given_up"',
            'outcome="done",reason=""',
        ):
            assert f'ecluse_jobs_ended_total{{kind="{kind}",{rest}}}' in page
        assert f'ecluse_jobs_taken_over_total{{kind="{kind}"}}' in page


@pytest.fixture
def promtool() -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed; Debian has it in the package prometheus")
    return program


@pytest.mark.nightly
@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", "alerts.yaml"),
        ("test", "rules", "alerts_test.yaml"),
        ("check", "config", "prometheus.yaml"),
    ],
    ids=["rules", "tests of rules", "config"],
)
def test_prometheus_takes_it(promtool: str, command: tuple[str, ...]) -> None:
    done = subprocess.run([promtool, *command], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_scrape_config_and_the_tests_of_rules_are_of_these_rules() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text(encoding="utf-8"))
    assert config["rule_files"] == ["alerts.yaml"]
    assert all(re.match(r"ecluse-(web|worker)$", each["job_name"]) for each in config["scrape_configs"])
    tested = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text(encoding="utf-8"))
    names = {each["alertname"] for test in tested["tests"] for each in test["alert_rule_test"]}
    assert names <= {rule["alert"] for rule in rules()}
    critical = {rule["alert"] for rule in rules() if rule["labels"]["severity"] == "critical"}
    assert len(names & critical) >= 5
