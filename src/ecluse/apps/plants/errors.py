"""Name the errors that this application raises on purpose; `ecluse.errors` says what each of them has."""

from __future__ import annotations

from ecluse.errors import EcluseError


class PlantsError(EcluseError):
    code, status = "plants_error", 422


class UnreadableImage(PlantsError, ValueError):
    """A file is not an image that can be used; the message says why."""

    code = "unreadable_image"


class UnusableImages(PlantsError, ValueError):
    """There are too few images or labels to learn from."""

    code = "unusable_images"


class TrainingDiverged(PlantsError, ArithmeticError):
    """The loss of a training is no longer a number."""

    code = "training_diverged"


class UnusableCheckpoint(PlantsError, ValueError):
    """What a training kept to go on from is damaged or of another format."""

    code = "unusable_checkpoint"


class TorchMissing(PlantsError, LookupError):
    """Fine-tuning needs torch, which is not installed."""

    code, status = "torch_missing", 501


class PretrainedWeights(PlantsError, ValueError):
    code, status = "pretrained_weights", 500
