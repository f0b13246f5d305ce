"""Learn a whole network from images: EfficientNet-Lite0 from what it knows of ImageNet on, or ResNet18 from nothing.

On a CPU the same seed, images and number of threads give the same weights, bit for bit, also when the training was
killed and went on from its checkpoint: what is drawn for an image depends on seed, epoch and image alone, and a
resumed training takes the threads it began with. Another processor, another version of torch or another number of
threads adds numbers up in another order; CUDA does so from run to run.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import Final, Literal

from ecluse.apps.plants.errors import TorchMissing, UnusableImages
from ecluse.apps.plants.plan import PLANS, Plan
from ecluse.apps.plants.recipe import RECIPES, Callbacks, Options, TrainedClassifier, TrainingData
from ecluse.errors import InvalidInput
from ecluse.sentences import _

#: Threads of one training; more gain little on the small batches of a CPU.
MOST_THREADS: Final = 8


def finetune(training_data: TrainingData, options: Options, callbacks: Callbacks) -> TrainedClassifier:
    """Return the recipe: AdamW, a cosine schedule, augmented images, and of all epochs the one with the best
    validation loss.

    The first epoch of a pretrained network fits its last layer alone, by a logistic regression.

    Raises:
        TorchMissing: torch is not installed.
        UnusableImages: the training or the validation part has no image.
        TrainingDiverged: the loss is no longer a number.
        InvalidInput: an option that cannot be, or CUDA asked for where torch sees none.
    """
    require_torch()
    return train_by(plan_for(options), training_data, callbacks)


def plan_for(options: Options) -> Plan:
    """Raise InvalidInput for an impossible option, or for CUDA where torch sees none."""
    plan = replace(
        PLANS[options.architecture or RECIPES["finetune"].architectures[0]],
        seed=options.seed,
        device=_device(options.device),
    )
    for name in ("epochs", "batch_size", "learning_rate"):
        value = getattr(options, name)
        if value is None:
            continue
        if not 0 < value < float("inf"):
            raise InvalidInput(
                _("%(name)s is %(value)s; it has to be greater than 0.", name=name, value=value)
            )
        plan = replace(plan, **{name: value})
    return plan


def train_by(plan: Plan, training_data: TrainingData, callbacks: Callbacks) -> TrainedClassifier:
    """Learn as the plan says: on one device, or on all GPUs where there are several. Raises as `finetune`."""
    import torch

    from ecluse.apps.plants import distributed, trainer

    if not training_data.train or not training_data.validation:
        raise UnusableImages(
            _("There is no image to learn from, or none to validate on. Split the images anew.")
        )
    devices = torch.cuda.device_count() if plan.device == "cuda" else 1
    if devices > 1:
        return distributed.train(plan, training_data, callbacks, devices, threads=_threads())
    return trainer.train(plan, training_data, callbacks, threads=_threads())


def require_torch() -> None:
    """Raise TorchMissing where torch is not installed; the message says how to install it."""
    if find_spec("torch") is None:
        raise TorchMissing(
            _(
                "Fine-tuning needs torch, which is not installed. In a checkout: ./run plants train "
                "--recipe finetune installs it. In an environment of your own: uv pip install "
                '--torch-backend=auto "ecluse[plants]". The recipe features needs no torch.'
            )
        )


def _device(choice: str) -> Literal["cpu", "cuda"]:
    import torch

    if choice == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if choice == "cuda":
        raise InvalidInput(
            _("The device cuda was asked for, but torch sees no GPU. Use the device auto or cpu.")
        )
    return "cpu"


def _threads() -> int:
    """As many as torch would take by itself: OMP_NUM_THREADS, or one for each core; but not too many."""
    import torch

    return min(int(torch.get_num_threads()), MOST_THREADS)
