"""Compare two versions of a model: their figures with intervals, settings, columns and files.

Pure functions over rows and manifests. Differences are those of the second version against the first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from ecluse.application import known_metrics
from ecluse.catalog.tables import ModelVersion
from ecluse.metrics import Better
from ecluse.registry import LEVELS, Manifest, ManifestFile, fits_float
from ecluse.tracking import main_name

Interval = tuple[float, float]
Verdict = Literal["better", "worse", "overlap"]
#: What of a performance report was chosen or given, rather than measured.
_REPORT_SETTINGS: Final = (
    "target", "positive_value", "family", "params", "goal", "threshold", "fitted_on", "features", "budget_s",
    "seed", "rows", "versions", "recipe", "architecture", "labels", "image_size", "epochs", "best_epoch", "optimiser",
    "device", "data_digest",
)  # fmt: skip
_GROUPS: Final = frozenset({"params", "parameters", "plan"})


@dataclass(frozen=True)
class Figure:
    """One figure of both versions; None where a version lacks it. `better` is where it is better, if known."""

    name: str
    a: float | None
    b: float | None
    a_interval: Interval | None = None
    b_interval: Interval | None = None
    better: Better | None = None

    @property
    def difference(self) -> float | None:
        return None if self.a is None or self.b is None else self.b - self.a

    @property
    def verdict(self) -> Verdict | None:
        """Say what the intervals mean for the second version; None without intervals, or where no way is better."""
        if self.a_interval is None or self.b_interval is None or self.better is None:
            return None
        if self.a_interval[0] <= self.b_interval[1] and self.b_interval[0] <= self.a_interval[1]:
            return "overlap"
        return "better" if (self.b_interval[0] > self.a_interval[1]) == (self.better == "higher") else "worse"


@dataclass(frozen=True)
class Setting:
    """What was chosen for each version, as plain JSON; None where a version does not say."""

    name: str
    a: Any
    b: Any

    @property
    def differs(self) -> bool:
        return bool(self.a != self.b)


@dataclass(frozen=True)
class FilePair:
    """A file that either version has under this path."""

    path: str
    a: ManifestFile | None
    b: ManifestFile | None

    @property
    def differs(self) -> bool:
        return self.a is None or self.b is None or self.a.sha256 != self.b.sha256


@dataclass(frozen=True)
class Comparison:
    """Two versions beside each other. `files` is None where a manifest cannot be read.

    `same_test` says whether both were measured on the same rows; None where that is not known.
    """

    a: ModelVersion
    b: ModelVersion
    figures: tuple[Figure, ...]
    settings: tuple[Setting, ...]
    columns_a: tuple[str, ...]
    columns_b: tuple[str, ...]
    columns_both: int
    files: tuple[FilePair, ...] | None
    same_test: bool | None


def compare(
    a: ModelVersion, b: ModelVersion, manifest_a: Manifest | None, manifest_b: Manifest | None
) -> Comparison:
    """Say what two versions have in common and where they differ."""
    columns_a, columns_b = columns_of(a), columns_of(b)
    both_are_readable = manifest_a is not None and manifest_b is not None
    return Comparison(
        a=a,
        b=b,
        figures=_figures(a, b),
        settings=_settings(a, b),
        columns_a=tuple(sorted(columns_a - columns_b)),
        columns_b=tuple(sorted(columns_b - columns_a)),
        columns_both=len(columns_a & columns_b),
        files=_files(manifest_a, manifest_b) if both_are_readable and manifest_a and manifest_b else None,
        same_test=_same_test(a, b),
    )


def headline(version: ModelVersion) -> Figure | None:
    """Return the figure that stands for a version in a list: the one that its run is judged by."""
    figures = figures_of(version)
    name = main_name(version.application, figures)
    return Figure(name, None, figures[name], None, _interval(version, name), _better(name)) if name else None


def figures_of(version: ModelVersion) -> dict[str, float]:
    """List the figures of a version: measured for its report, or given as numbers with its metadata."""
    measured = version.report.get("metrics")
    if isinstance(measured, Mapping):
        return dict(_numbers(measured))
    figures = dict(_numbers(_mapping(version.details.get("metrics"))))
    for name, value in leaves(version.details):
        group = name.partition(".")[0]
        if _is_number(value) and group not in _GROUPS | {"metrics"}:
            figures.setdefault(name, float(value))
    return figures


def settings_of(version: ModelVersion) -> dict[str, Any]:
    """Return what was chosen or given for a version, by dotted name."""
    report, details = version.report, version.details
    chosen: dict[str, Any] = {name: report[name] for name in _REPORT_SETTINGS if name in report}
    if isinstance(report.get("split"), Mapping):
        chosen["split"] = report["split"].get("kind")
    settings = dict(leaves(chosen))
    for group in _GROUPS:
        if isinstance(details.get(group), Mapping):
            for name, value in leaves(details[group]):
                settings.setdefault(name, value)
    if not report:
        rest = {name: value for name, value in details.items() if name not in _GROUPS | {"metrics"}}
        settings |= {name: value for name, value in leaves(rest) if not _is_number(value)}
    return settings


def columns_of(version: ModelVersion) -> frozenset[str]:
    """Return the columns that a version's features are made from, as far as it says."""
    listed = version.report.get("importances") or []
    return frozenset(str(item["column"]) for item in listed if item.get("column"))


def leaves(value: Mapping[str, Any], prefix: str = "", level: int = 1) -> Iterator[tuple[str, Any]]:
    """Yield the values in nested JSON objects, by dotted name; none deeper than metadata may be today."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            if level < LEVELS:
                yield from leaves(inner, f"{prefix}{name}.", level + 1)
        else:
            yield f"{prefix}{name}", inner


def _figures(a: ModelVersion, b: ModelVersion) -> tuple[Figure, ...]:
    of_a, of_b = figures_of(a), figures_of(b)
    return tuple(
        Figure(name, of_a.get(name), of_b.get(name), _interval(a, name), _interval(b, name), _better(name))
        for name in dict.fromkeys((*of_a, *of_b))
    )


def _settings(a: ModelVersion, b: ModelVersion) -> tuple[Setting, ...]:
    of_a, of_b = settings_of(a), settings_of(b)
    return tuple(Setting(name, of_a.get(name), of_b.get(name)) for name in dict.fromkeys((*of_a, *of_b)))


def _files(a: Manifest, b: Manifest) -> tuple[FilePair, ...]:
    of_a, of_b = ({file.path: file for file in manifest.files} for manifest in (a, b))
    return tuple(FilePair(path, of_a.get(path), of_b.get(path)) for path in sorted(of_a.keys() | of_b.keys()))


def _same_test(a: ModelVersion, b: ModelVersion) -> bool | None:
    """By what the rows are, where both say it: another upload of the same table has the same.

    Of versions of before: the same table cut the same way gives the same test rows; of two uploads that is not known.
    """
    if not a.report or not b.report:
        return None
    if a.report.get("tested_rows") and b.report.get("tested_rows"):
        return bool(a.report["tested_rows"] == b.report["tested_rows"])
    if (a.report.get("rows") or {}).get("test") != (b.report.get("rows") or {}).get("test"):
        return False
    if a.dataset_id is None or b.dataset_id is None:
        return None
    parts = (
        ["target", "split"]
        if (a.report.get("split") or {}).get("kind") == "time"
        else ["target", "split", "seed"]
    )
    if any(a.report.get(part) != b.report.get(part) for part in parts):
        return False
    return True if a.dataset_id == b.dataset_id else None


def _interval(version: ModelVersion, name: str) -> Interval | None:
    bounds = (version.report.get("intervals") or {}).get(name)
    of_images = version.report.get({"accuracy": "interval", "served_accuracy": "served"}.get(name, ""))
    if isinstance(of_images, Mapping):
        bounds = of_images.get("low"), of_images.get("high")
    return (float(bounds[0]), float(bounds[1])) if bounds else None


def _better(name: str) -> Better | None:
    """Return which way a figure gets better; of one that no application knows only the difference is said."""
    metric = known_metrics().get(name)
    return None if metric is None else metric.better


def _mapping(value: Any) -> Mapping[str, Any]:
    """Older versions may have kept a number or a text where figures by name belong."""
    return value if isinstance(value, Mapping) else {}


def _numbers(values: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    return ((name, float(value)) for name, value in leaves(values) if _is_number(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and fits_float(value)
