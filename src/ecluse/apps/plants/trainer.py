"""Teach a network epoch by epoch, on one device or as one of several processes. Importing this imports torch."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from ecluse.apps.plants import architectures
from ecluse.apps.plants.architectures import CLASSIFIER
from ecluse.apps.plants.array_cache import ArrayCache
from ecluse.apps.plants.augmentation import order_of
from ecluse.apps.plants.batches import Batch, Pictures, batches
from ecluse.apps.plants.checkpoints import Checkpoint, from_bytes, to_bytes
from ecluse.apps.plants.errors import TrainingDiverged, UnusableCheckpoint
from ecluse.apps.plants.networks import Classifier, initialise, set_state, state_of
from ecluse.apps.plants.plan import Plan
from ecluse.apps.plants.recipe import Callbacks, Epoch, Example, TrainedClassifier, TrainingData
from ecluse.apps.plants.weights import pretrained_state
from ecluse.sentences import _, num

#: Seconds between two reports.
REPORTED_EVERY: Final = 0.5
#: How freely the logistic regression over the features may fit them (scikit-learn's C).
_HEAD_C: Final = 0.1
_MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq")
#: The name of what the network sees of an image before its last layer, where it is kept.
_LOOKED: Final = "features"


class Group:
    """The processes that learn together; this one has the number `rank` of `size`."""

    rank, size = 0, 1

    def sums(self, values: Sequence[float]) -> list[float]:
        """Return each value added up over all processes."""
        return list(values)

    def joined(self, classifier: Classifier) -> nn.Module:
        """Return the network with its gradients averaged over all processes."""
        return classifier

    def level(self, classifier: Classifier) -> None:
        """Give all processes the norms' statistics of the first."""


def train(
    plan: Plan, training_data: TrainingData, callbacks: Callbacks, *, threads: int, group: Group | None = None
) -> TrainedClassifier:
    """Learn on, from what `callbacks` saved of the same training, or from the start.

    Raises:
        TrainingDiverged: the loss is no longer a number.
        UnreadableImage: an image can no longer be read.
    """
    saved = _saved(plan, training_data, callbacks)
    with _settled(plan, int(saved.about["threads"]) if saved is not None else threads) as settled:
        trainer = Trainer(plan, training_data, callbacks, group or Group(), settled)
        if saved is None:
            trainer.start()
        else:
            trainer.go_on(saved)
        return trainer.run()


def _saved(plan: Plan, training_data: TrainingData, callbacks: Callbacks) -> Checkpoint | None:
    """Return the checkpoint of this training; one of another, or a damaged one, is told of and left aside."""
    data = callbacks.saved()
    if data is None:
        return None
    try:
        saved = from_bytes(data)
    except UnusableCheckpoint as error:
        callbacks.report("training", 0.0, _("%(reason)s The training begins again.", reason=error))
        return None
    if _same(saved.about, _about(plan, training_data)):
        return saved
    callbacks.report(
        "training",
        0.0,
        _("%(reason)s The training begins again.", reason=_("The checkpoint is of other images or options.")),
    )
    return None


def _about(plan: Plan, training_data: TrainingData) -> dict[str, Any]:
    """Return what a checkpoint has to agree with; the device may be another."""
    digest = hashlib.sha256()
    for part in (training_data.train, training_data.validation):
        for example in part:
            digest.update(f"{example.sha256} {example.label}\n".encode())
        digest.update(b"\n")
    chosen = {name: value for name, value in plan.to_dict().items() if name != "device"}
    return {"plan": chosen, "labels": list(training_data.labels), "images": digest.hexdigest()}


def _same(saved: Mapping[str, Any], expected: Mapping[str, Any]) -> bool:
    first, second = (
        json.dumps({name: value for name, value in about.items() if name != "threads"}, sort_keys=True)
        for about in (saved, expected)
    )
    return first == second


@contextmanager
def _settled(plan: Plan, threads: int) -> Iterator[int]:
    """torch's settings of the whole process, put back afterwards."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(plan.device == "cpu")
    try:
        yield threads
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])


class Trainer:
    """One training under way."""

    def __init__(
        self, plan: Plan, training_data: TrainingData, callbacks: Callbacks, group: Group, threads: int
    ) -> None:
        self.plan, self.training_data, self.callbacks, self.group, self.threads = (
            plan,
            training_data,
            callbacks,
            group,
            threads,
        )
        self.device = torch.device(plan.device, group.rank) if plan.device == "cuda" else torch.device("cpu")
        self.network = Classifier(
            architectures.network(plan.architecture, plan.width), len(training_data.labels)
        )
        self.pictures = Pictures(plan.transform, plan.augmentation)
        #: Epochs without batches: the one that fits the last layer.
        self.fitted = int(plan.pretrained)
        self.history: list[Epoch] = []
        self.best: Mapping[str, NDArray[Any]] = {}
        self.best_epoch = 0
        self._told = 0.0
        half = torch.bfloat16 if plan.device == "cuda" and torch.cuda.is_bf16_supported() else torch.float16
        self.half = half if plan.device == "cuda" else None
        self.scaler = torch.amp.GradScaler(plan.device, enabled=self.half == torch.float16)

    def start(self) -> None:
        """Weights as they are before any batch; the first epoch of a pretrained network fits its last layer alone."""
        initialise(self.network, self.plan.seed)
        self._prepare()
        if not self.plan.pretrained:
            self._join()
            return
        pretrained = pretrained_state(self.plan.architecture)
        trained = {n: v for n, v in pretrained.items() if not n.startswith(f"{CLASSIFIER}.")}
        own = {n: v for n, v in state_of(self.network).items() if n.startswith(f"{CLASSIFIER}.")}
        set_state(self.network, trained | own)
        first = self._fit_head()
        self._join()
        self._keep(first)

    def go_on(self, saved: Checkpoint) -> None:
        """As it was after the epoch of a checkpoint."""
        set_state(self.network, saved.weights)
        self._prepare()
        self._join()
        self.history, self.best, self.best_epoch = list(saved.history), saved.best, saved.best_epoch
        for name, parameter in self._learned():
            if f"step:{name}" not in saved.optimiser:
                continue  # no batch was learned from so far
            self.optimiser.state[parameter] = {
                moment: torch.from_numpy(saved.optimiser[f"{moment}:{name}"].copy()).to(
                    self.device if moment != "step" else "cpu"
                )
                for moment in _MOMENTS
            }
        self.scaler.load_state_dict(dict(saved.scaler))

    def run(self) -> TrainedClassifier:
        while len(self.history) < self.plan.epochs and not self._over():
            self._keep(self._epoch(len(self.history) + 1))
        return self._learned_by_now()

    def _keep(self, epoch: Epoch) -> None:
        """Note an epoch, its weights where they are the best so far, and all that the next one needs."""
        self.history.append(epoch)
        if epoch.validation_loss <= min(past.validation_loss for past in self.history):
            self.best, self.best_epoch = state_of(self.network), epoch.epoch
        if self.group.rank == 0:
            self.callbacks.epoch(epoch)
            self.callbacks.save(to_bytes(self._checkpoint()))

    def _over(self) -> bool:
        """Return whether what there is is what it ends with."""
        waited = len(self.history) - self.best_epoch
        return bool(self.history) and (waited >= self.plan.patience or self._asked_to_finish())

    def _asked_to_finish(self) -> bool:
        is_asked = self.group.rank == 0 and self.callbacks.asked_to_finish()
        return self.group.sums([float(is_asked)])[0] > 0

    def _epoch(self, epoch: int) -> Epoch:
        """Learn from every image once, then look at the validation images.

        One that is asked to finish goes no further, and is measured as it then is.
        """
        began = time.monotonic()
        groups = self._groups(epoch)
        mine = [self._share(group) for group in groups]
        loaded = batches(
            lambda example: self.pictures.to_learn(example, self.plan.seed, epoch), mine, self._loaders()
        )
        norms_learn(self.network, not self.plan.pretrained)
        loss = right = images_seen = 0.0
        rate = 0.0
        with closing(loaded):
            for number, batch in enumerate(loaded):
                rate = self._rate((epoch - 1 - self.fitted) * len(groups) + number, len(groups))
                weight = 1.0 if len(groups[number]) > self.group.rank else 0.0
                sums = self._step(epoch, number, batch, rate, len(groups[number]), weight)
                loss, right, images_seen = (
                    loss + sums[0],
                    right + sums[1],
                    images_seen + weight * len(batch[1]),
                )
                done = (epoch - 1 + (number + 1) / len(groups)) / self.plan.epochs
                self._report(done, _("Epoch %(number)s of %(count)s", number=epoch, count=self.plan.epochs))
                if self._asked_to_finish():
                    break
        loss, right, images_seen = self.group.sums([loss, right, images_seen])
        validation_loss, validation_accuracy = self._validate(epoch)
        return Epoch(
            epoch, loss / images_seen, right / images_seen, validation_loss, validation_accuracy, rate,
            round(time.monotonic() - began, 3),
        )  # fmt: skip

    def _step(
        self, epoch: int, number: int, batch: Batch, rate: float, total: int, weight: float
    ) -> tuple[float, float]:
        """Learn from a batch; the sum of its cross-entropies, and how many images of it were right."""
        images, labels = self._put(batch)
        for settings in self.optimiser.param_groups:
            settings["lr"] = settings["share"] * rate
        self.optimiser.zero_grad(set_to_none=True)
        with self._autocast():
            logits = self.joined(images, self._kept(epoch, number, len(labels)))
        logits = logits.float()
        smooth = functional.cross_entropy(
            logits, labels, reduction="sum", label_smoothing=self.plan.smoothing
        )
        # Gradients are averaged over the processes: each weighs as many images as it has.
        self.scaler.scale(smooth * (weight * self.group.size / total)).backward()
        self._report_alive()
        self.scaler.unscale_(self.optimiser)
        nn.utils.clip_grad_norm_([p for _, p in self._learned()], self.plan.clipped)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        with torch.no_grad():
            loss = functional.cross_entropy(logits, labels, reduction="sum").item()
            right = (logits.argmax(1) == labels).sum().item()
        if not math.isfinite(loss):
            raise TrainingDiverged(
                _(
                    "The loss is no longer a number in epoch %(number)s. Use a learning rate smaller than "
                    "%(count)s.",
                    number=epoch,
                    count=num(self.plan.learning_rate, "g"),
                )
            )
        return weight * loss, weight * right

    def _validate(self, epoch: int) -> tuple[float, float]:
        """Mean cross-entropy in nats and accuracy over the validation images, without augmentation."""
        self.group.level(self.network)
        logits, labels = self._measured(self.training_data.validation, lambda at: self.network(at))
        loss = functional.cross_entropy(logits, labels, reduction="sum").item()
        right = (logits.argmax(1) == labels).sum().item()
        loss, right, images_seen = self.group.sums([loss, float(right), float(len(labels))])
        if not math.isfinite(loss):
            raise TrainingDiverged(
                _(
                    "The loss is no longer a number in epoch %(number)s. Use a learning rate smaller than "
                    "%(count)s.",
                    number=epoch,
                    count=num(self.plan.learning_rate, "g"),
                )
            )
        return loss / images_seen, right / images_seen

    def _measured(
        self,
        examples: Sequence[Example],
        look: Callable[[torch.Tensor], torch.Tensor],
        until: Callable[[Sequence[torch.Tensor]], bool] = lambda labels: False,
        cache: ArrayCache | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `look` sees in this process's share of images, and their labels, on the CPU.

        Batches of which every image is `kept` are not looked at again; the others are, whole, as a batch may round as a
        whole.
        """
        self.network.eval()
        mine = examples[self.group.rank :: self.group.size]
        size = self.plan.batch_size
        groups = [mine[start : start + size] for start in range(0, len(mine), size)]
        outputs = [torch.empty(0, len(self.training_data.labels))] if not groups else []
        labels = [torch.empty(0, dtype=torch.int64)] if not groups else []
        cached = {} if cache is None else cache.load((example.sha256 for example in mine), _LOOKED)
        ahead = [group for group in groups if not all(example.sha256 in cached for example in group)]
        with closing(batches(self.pictures.to_measure, ahead, self._loaders())) as loaded:
            for group in groups:
                if all(example.sha256 in cached for example in group):
                    outputs.append(
                        torch.from_numpy(np.stack([cached[example.sha256][_LOOKED] for example in group]))
                    )
                    labels.append(torch.tensor([example.label for example in group]))
                else:
                    images, truth = self._put(next(loaded))
                    with torch.no_grad(), self._autocast():
                        features = look(images)
                    outputs.append(features.float().cpu())
                    labels.append(truth.cpu())
                    for example, values in zip(group, outputs[-1].numpy(), strict=True):
                        if cache is not None:
                            cache.keep(example.sha256, **{_LOOKED: values})
                self._report_alive()
                if until(labels):
                    break
        return torch.cat(outputs), torch.cat(labels)

    def _fit_head(self) -> Epoch:
        """Give the last layer what a logistic regression finds over the features as they come: the first epoch.

        One that is asked to finish takes the images it has seen, once each label is among them.
        """
        from sklearn.linear_model import LogisticRegression

        began = time.monotonic()
        self._report(0.0, _("Looking at every image once"))
        alone, self.group = self.group, Group()  # each process looks at all of them
        # Only of the same images in the same order: each batch is then what it was.
        about = json.dumps(
            _about(self.plan, self.training_data)
            | {"torch": torch.__version__, "threads": self.threads, "device": self.plan.device},
            sort_keys=True,
        )
        cache = self.callbacks.cache(f"head-{hashlib.sha256(about.encode()).hexdigest()}")
        features, labels = self._measured(
            self.training_data.train, self.network.features, until=self._seen_enough, cache=cache
        )
        cache.finish()
        self.group = alone
        last = self.network.get_submodule(CLASSIFIER)
        if len(torch.unique(labels)) == len(self.training_data.labels):
            fitted = LogisticRegression(C=_HEAD_C, max_iter=1000).fit(features.numpy(), labels.numpy())
            weight, bias = fitted.coef_, fitted.intercept_
            if len(bias) == 1:
                weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
            head = {f"{CLASSIFIER}.weight": weight, f"{CLASSIFIER}.bias": bias}
            state = state_of(self.network)
            set_state(self.network, state | {name: v.astype(np.float32) for name, v in head.items()})
        with torch.no_grad():
            logits = last(features.to(self.device)).float().cpu()
        loss = functional.cross_entropy(logits, labels).item()
        right = (logits.argmax(1) == labels).double().mean().item()
        validation_loss, validation_accuracy = self._validate(1)
        seconds = round(time.monotonic() - began, 3)
        return Epoch(1, loss, right, validation_loss, validation_accuracy, None, seconds)

    def _seen_enough(self, labels: Sequence[torch.Tensor]) -> bool:
        return self.callbacks.asked_to_finish() and len(torch.unique(torch.cat(list(labels)))) == len(
            self.training_data.labels
        )

    def _prepare(self) -> None:
        """Put the network where it learns, and say what of it does."""
        self.network.to(self.device, memory_format=torch.channels_last)
        if self.plan.pretrained:
            table = self.network.network
            still = [
                table.stem,
                *(step for block in table.blocks[: self.plan.frozen] for step in block.steps),
            ]
            names = {name for convolution in still for name in (convolution.name, convolution.norm)}
            for name, parameter in self.network.named_parameters():
                parameter.requires_grad_(name.rpartition(".")[0] not in names)

    def _join(self) -> None:
        self.joined = self.group.joined(self.network)
        kinds: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for name, parameter in self._learned():
            kinds.setdefault((name.startswith(CLASSIFIER), parameter.ndim > 1), []).append(parameter)
        self.optimiser = torch.optim.AdamW(
            [
                {
                    "params": parameters,
                    "share": 1.0 if last else self.plan.below,
                    # Biases and norms are not held back.
                    "weight_decay": self.plan.weight_decay if decays else 0.0,
                }
                for (last, decays), parameters in kinds.items()
            ],
            lr=self.plan.learning_rate,
        )

    def _learned(self) -> Iterator[tuple[str, nn.Parameter]]:
        return (
            (name, parameter)
            for name, parameter in self.network.named_parameters()
            if parameter.requires_grad
        )

    def _groups(self, epoch: int) -> list[list[Example]]:
        """Return the images of an epoch in its order, a batch of them at a time, over all processes."""
        order = order_of(self.plan.seed, epoch, len(self.training_data.train))
        size = self.plan.batch_size * self.group.size
        return [
            [self.training_data.train[index] for index in order[start : start + size]]
            for start in range(0, len(order), size)
        ]

    def _share(self, group: Sequence[Example]) -> Sequence[Example]:
        """Return this process's part of a batch; where there is none, an image that will not count."""
        return group[self.group.rank :: self.group.size] or group[:1]

    def _rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step: up in a line, down as a cosine to a hundredth."""
        rise = self.plan.warmup * steps
        if step < rise:
            return self.plan.learning_rate * (step + 1) / rise
        share = (step - rise) / max((self.plan.epochs - self.fitted) * steps - rise, 1)
        return self.plan.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)

    def _kept(self, epoch: int, number: int, count: int) -> torch.Tensor | None:
        """Return what dropout leaves of the features, drawn for this batch alone."""
        if not self.plan.dropout:
            return None
        draw = np.random.default_rng([self.plan.seed % 2**64, epoch, number, self.group.rank])
        mask = draw.random((count, self.network.network.features), np.float32) >= self.plan.dropout
        return torch.from_numpy(mask.astype(np.float32) / np.float32(1 - self.plan.dropout)).to(self.device)

    def _put(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = (torch.from_numpy(part) for part in batch)
        if self.plan.device == "cuda":
            images, labels = images.pin_memory(), labels.pin_memory()
        images = images.to(self.device, non_blocking=True, memory_format=torch.channels_last)
        return images, labels.to(self.device, non_blocking=True)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.plan.device, self.half, enabled=self.half is not None)

    def _loaders(self) -> int:
        return 8 if self.plan.device == "cuda" else 2

    def _report(self, fraction: float, message: str) -> None:
        self._fraction, self._message = fraction, message
        self._report_alive()

    _fraction, _message = 0.0, ""

    def _report_alive(self) -> None:
        """Tell how far it is now and then; raises where it is to stop."""
        now = time.monotonic()
        if now - self._told >= REPORTED_EVERY:
            self._told = now
            self.callbacks.report("training", self._fraction, self._message)

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            about=_about(self.plan, self.training_data) | {"threads": self.threads},
            history=self.history,
            best_epoch=self.best_epoch,
            weights=state_of(self.network),
            best=self.best,
            optimiser={
                f"{moment}:{name}": self.optimiser.state[parameter][moment].cpu().numpy()
                for name, parameter in self._learned()
                for moment in self.optimiser.state[parameter]
            },
            scaler=self.scaler.state_dict(),
        )

    def _learned_by_now(self) -> TrainedClassifier:
        plan = self.plan
        return TrainedClassifier(
            architecture=plan.architecture,
            state=self.best,
            transform=plan.transform,
            history=tuple(self.history),
            best_epoch=self.best_epoch,
            device=self._device_name(),
            details={
                "optimiser": "AdamW",
                "epochs": plan.epochs,
                "learning_rate": plan.learning_rate,
                "learning_rate_below": plan.learning_rate * plan.below,
                "weight_decay": plan.weight_decay,
                "label_smoothing": plan.smoothing,
                "dropout": plan.dropout,
                "batch_size": plan.batch_size * self.group.size,
                "pretrained": plan.pretrained,
                "frozen_blocks": plan.frozen,
                "ended_early": len(self.history) < plan.epochs,
                "precision": "float32" if self.half is None else str(self.half).removeprefix("torch."),
                "processes": self.group.size,
                "threads": self.threads,
                "torch": torch.__version__,
            },
        )

    def _device_name(self) -> str:
        return torch.cuda.get_device_name(self.device) if self.plan.device == "cuda" else "cpu"


def norms_learn(network: Classifier, learn: bool) -> None:
    """Put a network into learning; its norms follow each batch only where they do not keep their statistics."""
    network.train()
    if not learn:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
