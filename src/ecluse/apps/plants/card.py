"""Write the page that goes with a classifier of images: what it is, what it was measured on, where it fails."""

from __future__ import annotations

from ecluse.apps.plants.demo import SIMULATED
from ecluse.apps.plants.evaluation import in_words, served_in_words
from ecluse.apps.plants.report import ClassifierReport, NoneOfThese

_LEARNED = {
    "features": "A linear layer on what the network learned on ImageNet; the network itself was left as it is",
    "finetune": "A network that was itself trained on these images",
}


def model_card(report: ClassifierReport) -> str:
    """Return the card in Markdown, from the content of `metrics.json`."""
    labels = ", ".join(f"`{label}`" for label in report.labels)
    sections = [
        f"# Classifier of images: {len(report.labels)} labels",
        f"Tells apart {labels}. {_LEARNED[report.recipe or '']} (recipe `{report.recipe}`, network "
        f"`{report.architecture}`, {(report.size_bytes or 0) / 1e6:.1f} MB as it is served).",
        *([f"**Simulated data.** {SIMULATED}"] if report.simulated else []),
        "## Images",
        _images(report),
        "## Figures",
        _figures(report),
        _classes(report),
        "## Other images",
        _others(report),
        "## Limits",
        _limits(report),
        "## How it was made",
        _making(report),
    ]
    return "\n\n".join(sections) + "\n"


def _images(report: ClassifierReport) -> str:
    images = report.images
    lines = ["| label | learned from | chosen by | tested on |", "|---|---:|---:|---:|"]
    lines += [
        f"| {_cell(label)} | {images['train'][label]} | {images['validation'][label]} | {images['test'][label]} |"
        for label in report.labels
    ]
    lines += [
        "",
        "Images that look nearly the same are in one part. The test part was used once, at the end.",
    ]
    return "\n".join(lines)


def _figures(report: ClassifierReport) -> str:
    metrics, calibration, served = report.metrics, report.calibration, report.served
    if calibration is None or served is None or report.interval is None:
        return "Not measured."
    return (
        f"On the test part {served_in_words(served)}. The likeliest label, whether it is given or not: "
        f"{in_words(report.interval)}; the range is a 95 % interval (Wilson). "
        f"Log loss {metrics['log_loss']:.3f} nats, macro F1 {metrics['macro_f1']:.3f}, expected calibration error "
        f"{metrics['expected_calibration_error']:.3f}. Probabilities are divided by a temperature of "
        f"{calibration.temperature:.3f}, fitted on the validation part."
    )


def _classes(report: ClassifierReport) -> str:
    lines = ["| label | precision | recall | F1 |", "|---|---|---|---:|"]
    for class_ in report.classes:
        f1 = "–" if class_.f1 is None else f"{class_.f1:.3f}"
        precision = _share(class_.precision, class_.precision_interval)
        recall = _share(class_.recall, class_.recall_interval)
        lines.append(f"| {_cell(class_.label)} | {precision} | {recall} | {f1} |")
    return "\n".join(lines)


def _share(share: float | None, interval: tuple[float, float] | None) -> str:
    if share is None or interval is None:
        return "–"
    return f"{share:.0%} ({interval[0]:.0%} to {interval[1]:.0%})"


def _others(report: ClassifierReport) -> str:
    accepted = report.none_of_these or NoneOfThese()
    return (
        'An image unlike those it learned from is answered with "none of these". Of the validation images '
        f"{accepted.accepted_validation or 0:.1%} are accepted, of the test images "
        f"{accepted.accepted_test or 0:.1%}. "
        "It is no proof that an accepted image shows one of the labels."
    )


def _limits(report: ClassifierReport) -> str:
    lines = [
        "The figures hold for images like those of the set: same cameras, same places, same seasons. "
        "It looks at the middle of an image, "
        f"{report.image_size} × {report.image_size} pixels of it."
    ]
    lines += ["", *(f"- {warning}" for warning in report.warnings)] if report.warnings else []
    return "\n".join(lines)


def _making(report: ClassifierReport) -> str:
    export, seconds, split = report.export, report.seconds, report.split
    if export is None:
        return "Not known."
    difference = export.largest_difference
    checked = (
        f"ONNX export {export.checked_against}"
        if difference is None
        else f"ONNX export checked against {export.checked_against} on {export.images} test images: "
        f"logits differ by {difference:.1e} at most"
    )
    return (
        f"{report.epochs} epochs, the best of them {report.best_epoch}, in {seconds['training']:.0f} s on "
        f"{report.device}; optimiser {report.optimiser}; seed {report.seed}. Split `{split.id}`, SHA-256 "
        f"`{split.sha256}`; data digest `{report.data_digest}`. {checked}. Made with Écluse "
        f"{report.code_version}."
    )


def _cell(text: str) -> str:
    """Return a label within a table of Markdown."""
    return text.replace("\\", "\\\\").replace("|", "\\|")
