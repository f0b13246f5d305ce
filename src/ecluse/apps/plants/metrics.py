"""List the metrics of classifiers of images: their words, and which way each gets better."""

from __future__ import annotations

from typing import Final

from ecluse.metrics import Metric
from ecluse.sentences import N_

METRICS: Final = (
    Metric(name="served_accuracy", title=N_("Right as served"), better="higher", style="share", digits=0),
    Metric(name="accuracy", title=N_("Accuracy"), better="higher", style="share", digits=0),
    Metric(name="macro_f1", title=N_("Mean F1 of the labels"), better="higher", digits=2),
    Metric(name="log_loss", title=N_("Log loss, 0 is best"), better="lower", digits=3),
    Metric(
        name="expected_calibration_error",
        title=N_("Calibration error"),
        better="lower",
        style="share",
        digits=1,
    ),
)
