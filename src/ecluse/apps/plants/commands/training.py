"""Train a classifier on a set of images, and ask one what images show."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from ecluse import models as published
from ecluse.apps.plants import actions as workflows
from ecluse.apps.plants import training
from ecluse.apps.plants.errors import UnreadableImage
from ecluse.apps.plants.evaluation import in_words, served_in_words
from ecluse.apps.plants.recipe import ARCHITECTURES, RECIPES, Architecture, Options, RecipeName
from ecluse.apps.plants.report import ClassFigures, ExportCheck, read_classifier_report
from ecluse.apps.plants.training import TrainingRequest
from ecluse.catalog import models, runs
from ecluse.cli.output import Record, reports, say
from ecluse.cli.session import acting, finish, home_option, user_option
from ecluse.errors import InvalidInput
from ecluse.runtime import Runtime

if TYPE_CHECKING:
    from ecluse.apps.plants.prediction import Prediction, Predictor
    from ecluse.catalog.tables import ModelVersion, Run, User

#: Pixels of a side of a picture that explains an answer.
EXPLAINED_SIDE: Final = 448


@click.command()
@click.option("--name", help="Name of the model. With --repeat: default, that of the run.")
@click.option(
    "--repeat",
    metavar="RUN",
    help="Do again what a training did, with its split and settings; see: ecluse runs list --application plants",
)
@click.option("--set", "set_name", help="Set of images, by name or id. Default: the one imported last.")
@click.option(
    "--recipe",
    type=click.Choice(list(RECIPES)),
    default="features",
    show_default=True,
    help="features: a linear layer on what a network learned on ImageNet. finetune: the whole network (torch); on 400 "
    "photographs it was no better.",
)
@click.option(
    "--architecture",
    type=click.Choice(ARCHITECTURES),
    help="Network. Default: lite0, EfficientNet-Lite0 with what it learned on ImageNet; resnet18 begins with nothing.",
)
@click.option("--epochs", type=click.IntRange(1, training.MAX_EPOCHS), help="Default: the recipe's own.")
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, training.MAX_SEED),
    help="Of the split and of the training.",
)
@click.option("--learning-rate", type=float, help="Default: the recipe's own.")
@click.option("--batch-size", type=click.IntRange(1, training.MAX_BATCH), help="Default: the recipe's own.")
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto takes a GPU where torch sees one.",
)
@user_option
@home_option
@reports
def train(
    name: str | None,
    repeat: str | None,
    set_name: str | None,
    recipe: RecipeName,
    architecture: Architecture | None,
    epochs: int | None,
    seed: int,
    learning_rate: float | None,
    batch_size: int | None,
    device: Literal["auto", "cpu", "cuda"],
    email: str | None,
    home: Path | None,
) -> Record:
    """Train a classifier on a set of images and publish it. Its figures come from images it has not seen.

    Ctrl-C cancels the training; nothing is published then.
    """
    options = Options(seed, epochs, architecture, learning_rate, batch_size, device)
    if repeat is not None:
        if (set_name, recipe, options) != (None, "features", Options()):
            raise click.UsageError("--repeat takes every setting from the run. Name no other than --name.")
        with acting(home, email) as (runtime, user):
            return repeated(runtime, user, repeat, name)
    if name is None:
        raise click.UsageError("Name the model: --name NAME")
    request = TrainingRequest(name, recipe, options)
    training.check_request(request)
    with acting(home, email) as (runtime, user):
        if set_name is None:
            image_set = workflows.find_set(runtime, user.id)
        else:
            image_set = workflows.find_readable_set(runtime, user.id, set_name)
        if set_name is None:
            say(f"Training on {image_set.name}, the set imported last.")
        run = training.start_training(runtime, user.id, image_set.id, request)
        finish(runtime, user, run.job_id or "", f"Training {name}", _epochs(runtime, run))
        with runtime.catalog.read() as transaction:
            ended = runs.run_of(transaction, user.id, run.id)
            row = models.version_of(transaction, user.id, name, ended.version)
    return Record(_fields(row, image_set.name, run.id), _text(row))


def repeated(runtime: Runtime, user: User, run_id: str, name: str | None = None) -> Record:
    """Train once more what a run trained, and say which files came out the same."""
    run = training.repeat_training(runtime, user.id, run_id, name)
    finish(runtime, user, run.job_id or "", f"Training {run.name}", _epochs(runtime, run))
    with runtime.catalog.read() as transaction:
        ended, before = (runs.run_of(transaction, user.id, id_) for id_ in (run.id, run_id))
        row = models.version_of(transaction, user.id, run.name, ended.version)
    same, other = training.same_files(ended, before)
    fields = _fields(row, ended.tags["set"], run.id) | {"repeats": run_id, "same": same, "different": other}
    lines = [_text(row), f"The same as of run {run_id}, by digest: {', '.join(same) or 'none'}."]
    if other:
        lines.append(f"Not the same: {', '.join(other)}. Those that say how long it took never are.")
    return Record(fields, "\n".join(lines))


def _epochs(runtime: Runtime, run: Run) -> Callable[[], None]:
    """Says each epoch once it is over; call it now and then."""
    reported_at = 0.0

    def look() -> None:
        nonlocal reported_at
        with runtime.catalog.read() as transaction:
            curves = runs.curves_of(transaction, run.id)
        for point in curves.get("validation_loss", []):
            if point.step > reported_at:
                reported_at = point.step
                values = {name: {p.step: p.value for p in points} for name, points in curves.items()}
                say(_epoch_line(point.step, values))

    return look


def _epoch_line(step: int, values: dict[str, dict[int, float]]) -> str:
    loss, accuracy = ([values.get(f"{part}_{metric}", {}).get(step) for part in ("train", "validation")]
                      for metric in ("loss", "accuracy"))  # fmt: skip
    losses = " / ".join("–" if value is None else f"{value:.3f}" for value in loss)
    accuracies = " / ".join("–" if value is None else f"{value:.1%}" for value in accuracy)
    return f"Epoch {step}: loss {losses}, accuracy {accuracies} (training / validation)"


def _fields(row: ModelVersion, set_name: str, run_id: str) -> dict[str, Any]:
    report, content = read_classifier_report(row.report), row.report
    interval = report.interval
    return {
        "name": row.name,
        "version": row.version,
        "recipe": report.recipe,
        "architecture": report.architecture,
        "set": set_name,
        "split": report.split.id,
        "split_sha256": report.split.sha256,
        "as_served": content["served"],
        "test_accuracy": report.metrics["accuracy"],
        "test_accuracy_interval": [interval.low, interval.high] if interval else None,
        "tested": interval.of if interval else None,
        "run": run_id,
        "seconds": report.seconds["total"],
        "training_seconds": report.seconds["training"],
        "size_bytes": report.size_bytes,
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "export": content["export"],
        "warnings": content["warnings"],
    }


def _text(row: ModelVersion) -> str:
    report = read_classifier_report(row.report)
    lines = [
        f"{row.name}@{row.version}, {report.recipe} ({report.architecture}), trained on {report.images_of('train')} "
        f"images in {report.seconds['training']:.0f} s, {report.seconds['total']:.0f} s in all"
    ]
    if report.served is not None:
        lines.append(f"On the test part {served_in_words(report.served)}.")
    if report.interval is not None:
        lines.append(f"The likeliest label, whether it is given or not: {in_words(report.interval)}.")
    lines += [f"  {figures.label:<20} {_class(figures)}" for figures in report.classes]
    lines.append(f"model.onnx has {(report.size_bytes or 0) / 1e6:.1f} MB; {_checked(report.export)}.")
    lines += [f"Check: {warning}" for warning in report.warnings]
    return "\n".join([*lines, f"Next: ecluse plants predict {row.name} IMAGE…"])


def _checked(export: ExportCheck | None) -> str:
    if export is None:
        return "export not checked"
    if export.largest_difference is None:
        return f"export {export.checked_against}"
    return (
        f"export checked against {export.checked_against} on {export.images} images: logits differ by "
        f"{export.largest_difference:.1e} at most"
    )


def _class(figures: ClassFigures) -> str:
    precision, recall = (
        "–" if share is None else f"{share:.1%}" for share in (figures.precision, figures.recall)
    )
    return f"precision {precision:>6}, recall {recall:>6}, {figures.images} images"


@click.command()
@click.argument("model")
@click.argument("files", nargs=-1, required=True, metavar="IMAGE...", type=click.Path(path_type=Path))
@click.option(
    "--explain",
    "explained",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for a picture of each image that shows what spoke for its label.",
)
@user_option
@home_option
@reports
def predict(
    model: str, files: tuple[Path, ...], explained: Path | None, email: str | None, home: Path | None
) -> Record:
    """Ask MODEL (NAME, NAME@VERSION, NAME@ALIAS) what each IMAGE shows.

    A file that cannot be read is named and the others go on; the command then ends with code 1.
    """
    from ecluse.apps.plants.prediction import Predictor

    if explained is not None:
        explained.mkdir(parents=True, exist_ok=True)
    with acting(home, email) as (runtime, user):
        row = published.resolve_readable(runtime, user.id, model)
        if row.application != training.APPLICATION:
            raise InvalidInput(f"{row.name} is no model of images. Name one: ecluse models list")
        with runtime.scratch() as folder:
            published.checkout(runtime, row, folder / "model")
            predictor = Predictor.open(folder / "model")
    answers = [_answer(predictor, file, explained) for file in files]
    took = [answer["milliseconds"] for answer in answers if "error" not in answer]
    failed = len(answers) - len(took)
    fields = {
        "name": row.name,
        "version": row.version,
        "images": answers,
        "unreadable": failed,
        "milliseconds": {"p50": percentile(took, 0.5), "p95": percentile(took, 0.95)},
    }
    return Record(fields, _answers_text(fields), failed=failed > 0)


def _answer(predictor: Predictor, file: Path, explained: Path | None) -> dict[str, Any]:
    """Return what the model says of a file, or why it says nothing; `milliseconds` from the file's bytes to the
    answer.
    """
    try:
        data = file.read_bytes()
        began = time.perf_counter()
        prediction = predictor.predict(data, explain=explained is not None)
    except OSError as error:
        return {"file": file, "error": f"{file} cannot be read: {error.strerror}."}
    except UnreadableImage as error:
        return {"file": file, "error": str(error)}
    milliseconds = 1000 * (time.perf_counter() - began)
    answer: dict[str, Any] = {
        "file": file,
        "label": prediction.label,
        "nearest": prediction.nearest,
        "probability": prediction.probability,
        "probabilities": dict(prediction.probabilities),
        "familiarity": prediction.familiarity,
        "milliseconds": round(milliseconds, 2),
    }
    if explained is not None:
        answer["explanation"] = _explain(predictor, data, prediction, file, explained)
    return answer


def _explain(
    predictor: Predictor, data: bytes, prediction: Prediction, file: Path, folder: Path
) -> Path | None:
    """Return a picture of what spoke for the label, under a name that is not taken in the folder."""
    from ecluse.apps.plants.http.pictures import looked_at

    if prediction.evidence is None:
        return None
    path, number = folder / f"{file.stem}.png", 1
    while path.exists():
        number += 1
        path = folder / f"{file.stem}_{number}.png"
    looked_at(data, predictor.transform, prediction.evidence, EXPLAINED_SIDE).save(path)
    return path


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that so large a share of them does not exceed; None of none."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else None


def _answers_text(fields: dict[str, Any]) -> str:
    lines = [_answer_line(answer) for answer in fields["images"]]
    took = fields["milliseconds"]
    read = len(fields["images"]) - fields["unreadable"]
    end = f"{fields['name']}@{fields['version']}: {read} images"
    if took["p50"] is not None:
        end += f", {took['p50']:.1f} ms each (p50), {took['p95']:.1f} ms (p95)"
    if fields["unreadable"]:
        end += f"; {fields['unreadable']} could not be read"
    return "\n".join([*lines, f"{end}."])


def _answer_line(answer: dict[str, Any]) -> str:
    if "error" in answer:
        return f"{answer['file']}: {answer['error']}"
    if answer["label"] is None:
        return f"{answer['file']}: none of these (nearest: {answer['nearest']}, {answer['probability']:.1%})"
    return f"{answer['file']}: {answer['label']} {answer['probability']:.1%}"
