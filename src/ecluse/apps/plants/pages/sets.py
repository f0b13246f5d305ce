"""Show one set of images, what to check in it and its gallery; relabel, exclude, train, hand out and remove."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, TypeVar, get_args
from urllib.parse import parse_qsl, quote, urlencode

from fastapi import Depends, Form, Query, Request
from pydantic import BaseModel
from starlette.responses import RedirectResponse, Response

from ecluse.apps.plants import actions as workflows
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.audit import start_audit
from ecluse.apps.plants.errors import UnusableImages
from ecluse.apps.plants.http.stored_images import send_set
from ecluse.apps.plants.pages.overview import plant_jobs
from ecluse.apps.plants.pages.pictures import Shown, shown
from ecluse.apps.plants.pages.recipes import architecture_names, recipe_texts, torch_is_missing
from ecluse.apps.plants.recipe import ARCHITECTURES, RECIPES, Architecture, Options, RecipeName
from ecluse.apps.plants.rows import Counts, Filter, State
from ecluse.apps.plants.sharing import seen, seen_summary
from ecluse.apps.plants.tables import ImageSet
from ecluse.apps.plants.training import TrainingRequest, start_training
from ecluse.catalog import Transaction, runs, sharing
from ecluse.catalog.tables import Run
from ecluse.errors import EcluseError, InvalidInput
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.web.declarations import Declarations
from ecluse.web.i18n import Words
from ecluse.web.pages.paging import PageNumber, Pager, page_of
from ecluse.web.security import CurrentUser, RuntimeDep
from ecluse.web.templating import render, words_of

router = Declarations()
Only = Literal["", "duplicates", "contested", "suspects"]
Choice = TypeVar("Choice", RecipeName, Architecture)
#: Images of each label, and labels, that the unfiltered gallery shows.
OF_EACH: Final = 12
LABELS_SHOWN: Final = 24
REJECTED_SHOWN: Final = 10
RUNS_SHOWN: Final = 6
#: What a filtered gallery is sorted by.
ORDERS: Final[dict[Only, images.Order]] = {
    "duplicates": "group",
    "contested": "group",
    "suspects": "suspicion",
}
#: Runs of the user among which those of a set are looked for, the newest.
RUNS_LOOKED_AT: Final = 200
#: A label is rare with fewer images: of the test part, a single one then counts for much.
RARE: Final = 20
#: Labels are out of balance where one has so many times the images of another.
UNBALANCED: Final = 4
TORCH_MISSING: Final = _(
    "Fine-tuning needs torch, which is not installed. In a checkout: ./run plants train "
    "--recipe finetune installs it. In an environment of your own: uv pip install "
    '--torch-backend=auto "ecluse[plants]". The recipe features needs no torch.'
)
Field = Annotated[str, Form()]


@dataclass(frozen=True)
class View:
    """Which images the gallery shows, as its address says it."""

    label: str = ""
    state: Literal["", State] = ""
    only: Only = ""
    text: str = ""
    page: int = 1

    @property
    def filtered(self) -> bool:
        return bool(self.label or self.state or self.only or self.text)

    @property
    def rejected(self) -> bool:
        return self.state == "rejected"

    @property
    def query(self) -> str:
        """Return the address of this view without its page."""
        named = {"label": self.label, "state": self.state, "only": self.only, "q": self.text}
        return urlencode({name: value for name, value in named.items() if value})

    def filter(self) -> Filter:
        return Filter(
            label=self.label or None,
            states=(self.state,) if self.state else ("valid", "excluded"),
            duplicates=self.only == "duplicates",
            contested=self.only == "contested",
            suspects=self.only == "suspects",
            text=self.text,
        )

    @classmethod
    def of_query(cls, query: str) -> View:
        """Return the view that a form came from; what is no part of an address of ours is left out."""
        named = dict(parse_qsl(query[:1000]))
        state, only = named.get("state", ""), named.get("only", "")
        return cls(
            label=named.get("label", "")[:100],
            state=state if state in get_args(State) else "",  # type: ignore[arg-type]
            only=only if only in get_args(Only) else "",  # type: ignore[arg-type]
            text=named.get("q", "")[:100],
        )


@dataclass(frozen=True)
class Check:
    """Something to look at before training, and where."""

    text: str
    href: str | None = None


@dataclass(frozen=True)
class TrainForm:
    """The training form as it is shown. `open`: whether more than a name was chosen."""

    name: str
    recipe: str = "features"
    epochs: str = ""
    seed: str = ""
    architecture: str = ""

    @property
    def open(self) -> bool:
        return self.recipe != "features" or bool(self.epochs or self.seed or self.architecture)


def sent_form(
    name: Field = "",
    recipe: Field = "features",
    epochs: Field = "",
    seed: Field = "",
    architecture: Field = "",
) -> TrainForm:
    """Return the fields of the training form."""
    return TrainForm(*(text.strip()[:100] for text in (name, recipe, epochs, seed, architecture)))


def asked_view(
    label: Annotated[str, Query(max_length=100)] = "",
    state: Literal["", "valid", "excluded", "rejected"] = "",
    only: Only = "",
    q: Annotated[str, Query(max_length=100)] = "",
    page: PageNumber = 1,
) -> View:
    """Return the view that an address asks for."""
    return View(label, state, only, q, page)


@router.get("/plants/{set_id}")
def show_set(
    request: Request,
    set_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    view: Annotated[View, Depends(asked_view)],
) -> Response:
    """One set with its gallery: a few images of each label, or a page of those that a filter lets through."""
    return _set_page(request, runtime, _readable(runtime, user.user.id, set_id), view, user.user.id)


class DecisionForm(BaseModel):
    """What to do with the images that are ticked; `view` is the gallery as it was."""

    do: Literal["exclude", "include", "relabel"]
    image: list[str] = []
    label: str = ""
    view: str = ""


@router.post("/plants/{set_id}/images")
def decide(
    request: Request,
    set_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    form: Annotated[DecisionForm, Form()],
) -> Response:
    """Exclude, include or relabel the images that are ticked, then show the gallery as it was."""
    row, shown_view = _set(runtime, user.user.id, set_id), View.of_query(form.view)
    try:
        change(runtime, user.user.id, row.id, form.image, form.do, form.label)
    except InvalidInput as error:
        return _set_page(request, runtime, row, shown_view, user.user.id, error=error)
    return RedirectResponse(f"/plants/{row.id}?{shown_view.query}#gallery", 303)


@router.post("/plants/{set_id}/train")
def train(
    request: Request,
    set_id: str,
    runtime: RuntimeDep,
    user: CurrentUser,
    form: Annotated[TrainForm, Depends(sent_form)],
) -> Response:
    """Queue a training and show how it goes; the form again when a choice cannot be used."""
    row = _readable(runtime, user.user.id, set_id)
    try:
        run = start(runtime, user.user.id, row, form)
    except (InvalidInput, UnusableImages) as error:
        return _set_page(request, runtime, row, View(), user.user.id, form=form, error=error)
    return RedirectResponse(f"/runs/{run}", 303)


@router.post("/plants/{set_id}/audit")
def look_through(request: Request, set_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Look for duplicates and doubtful labels again."""
    row = _set(runtime, user.user.id, set_id)
    try:
        start_audit(runtime, user.user.id, row.id)
    except InvalidInput as error:
        return _set_page(request, runtime, row, View(), user.user.id, error=error)
    return RedirectResponse(f"/plants/{row.id}", 303)


@router.post("/plants/{set_id}/remove")
def remove(request: Request, set_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Delete the set and its images; the models made from it stay."""
    row = _set(runtime, user.user.id, set_id)
    try:
        workflows.remove_set(runtime, user.user.id, row.id)
    except InvalidInput as error:
        return _set_page(request, runtime, row, View(), user.user.id, error=error)
    return RedirectResponse("/plants", 303)


@router.get("/plants/{set_id}/export.zip")
def export(set_id: str, runtime: RuntimeDep, user: CurrentUser) -> Response:
    """Send the images of the set that are in use, in a folder for each label."""
    return send_set(runtime, _readable(runtime, user.user.id, set_id), user.user.id)


def change(
    runtime: Runtime,
    user_id: str,
    set_id: str,
    chosen: Sequence[str],
    do: Literal["exclude", "include", "relabel"],
    label: str,
) -> None:
    """Do to images of a set what a form asks for. Raises InvalidInput."""
    if not chosen:
        raise InvalidInput(_("No image is ticked. Tick those that the change is for."))
    if do == "relabel":
        workflows.relabel(runtime, user_id, set_id, chosen, label)
    else:
        state: Literal["valid", "excluded"] = "excluded" if do == "exclude" else "valid"
        workflows.set_state(runtime, user_id, set_id, chosen, state)


def checks_of(place: str, counts: Counts, doubts: dict[Only, int], say: Words) -> list[Check]:
    """Return what of a set to look at before training, worst first. `doubts`: how many images each filter lets
    through.
    """
    checks = []
    if rejected := sum(counts.rejected.values()):
        text = say.ngettext(
            "%(count)s file could not be taken.", "%(count)s files could not be taken.", rejected
        )
        checks.append(Check(text, f"{place}?state=rejected#gallery"))
    if number := doubts["contested"]:
        text = say.ngettext(
            "%(count)s image came under two labels, or looks like one of another label.",
            "%(count)s images came under two labels, or look like one of another label.",
            number,
        )
        checks.append(Check(text, f"{place}?only=contested#gallery"))
    if number := doubts["suspects"]:
        text = say.ngettext(
            "%(count)s label is in doubt: models that have not seen the image say another.",
            "%(count)s labels are in doubt: models that have not seen the image say another.",
            number,
        )
        checks.append(Check(text, f"{place}?only=suspects#gallery"))
    if number := doubts["duplicates"]:
        text = say.ngettext(
            "%(count)s image looks nearly the same as another; they stay on one side of the split.",
            "%(count)s images look nearly the same as another; they stay on one side of the split.",
            number,
        )
        checks.append(Check(text, f"{place}?only=duplicates#gallery"))
    return checks + _balance(place, counts, say)


def _balance(place: str, counts: Counts, say: Words) -> list[Check]:
    if len(counts.valid) < 2:
        return []
    least, most = (pick(counts.valid, key=counts.valid.__getitem__) for pick in (min, max))
    few, many = counts.valid[least], counts.valid[most]
    if few < RARE:
        text = say.ngettext(
            "%(label)s has only %(count)s image, so its test figures will be vague.",
            "%(label)s has only %(count)s images, so its test figures will be vague.",
            few,
            label=least,
        )
        return [Check(text, f"{place}?label={quote(least)}#gallery")]
    if many >= UNBALANCED * few:
        text = say._(
            "%(most)s has %(many)s images and %(least)s %(few)s: the rare label is named less often.",
            most=most,
            many=say.num(many),
            least=least,
            few=say.num(few),
        )
        return [Check(text, f"{place}?label={quote(least)}#gallery")]
    return []


def default_model_name(name: str) -> str:
    """Return a model's name after that of a set: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "plants"


def _set(runtime: Runtime, user_id: str, set_id: str) -> ImageSet:
    with runtime.catalog.read() as transaction:
        return images.set_of(transaction, user_id, set_id)


def _readable(runtime: Runtime, user_id: str, set_id: str) -> ImageSet:
    with runtime.catalog.read() as transaction:
        return images.readable_set(transaction, user_id, set_id)


def _set_page(
    request: Request,
    runtime: Runtime,
    row: ImageSet,
    view: View,
    reader_id: str,
    *,
    form: TrainForm | None = None,
    error: EcluseError | None = None,
) -> Response:
    say, is_own = words_of(request), row.user_id == reader_id
    place = f"/plants/{row.id}"
    summary = seen_summary(workflows.summary_of(runtime, row.user_id, row), is_own=is_own)
    counts = summary.counts
    with runtime.catalog.read() as transaction:
        doubts = _doubts(transaction, row)
        only_rejected = seen(Filter(states=("rejected",)), is_own=is_own)
        rejected = images.list_images(transaction, row.user_id, row.id, only_rejected, limit=REJECTED_SHOWN)
        reasons = images.reasons(transaction, row.user_id, row.id) if is_own else []
        split = images.newest_split(transaction, row.user_id, row.id)
        trainings = _trainings(transaction, row, reader_id)
        owner = None if is_own else sharing.handle_of(transaction, row.user_id)
    groups, pictures, pager = _gallery(runtime, row, counts, view, is_own=is_own)
    context = {
        "image_set": row,
        "owner": owner,
        "counts": counts,
        "labels": [
            (label, counts.valid.get(label, 0), counts.excluded.get(label, 0)) for label in counts.labels
        ],
        "size": summary.size,
        "running": plant_jobs(runtime, reader_id, say, row.id),
        "checks": checks_of(place, counts, doubts, say),
        "reasons": reasons,
        "rejected": [shown(file) for file in rejected],
        "rejected_total": sum(counts.rejected.values()),
        "view": view,
        "groups": groups,
        "pictures": pictures,
        "pager": pager,
        "split": split,
        "parts": part_names(say),
        "split_labels": sorted({label for part in split.counts.values() for label in part}) if split else [],
        "recipes": list(recipe_texts(say).values()),
        "architectures": architecture_names(say),
        "torch_missing": torch_is_missing(),
        "form": form or TrainForm(default_model_name(row.name)),
        "runs": trainings[:RUNS_SHOWN],
        "learning": next((run.id for run in trainings if run.status == "running"), None),
        "error": str(error) if error else None,
    }
    return render(request, "plants/set.html", context, status=error.status if error else 200)


def _doubts(transaction: Transaction, row: ImageSet) -> dict[Only, int]:
    """Return how many images in use each filter lets through."""
    return {
        only: images.count_images(transaction, row.user_id, row.id, View(state="valid", only=only).filter())
        for only in get_args(Only)
        if only
    }


def _trainings(transaction: Transaction, row: ImageSet, user_id: str) -> list[Run]:
    """Return those of this set among the newest of the user, newest first."""
    filter_ = runs.RunFilter(application="plants")
    rows, _rest = runs.list_runs(transaction, user_id, filter_, limit=RUNS_LOOKED_AT)
    return [run for run in rows if run.subject.get("set_id") == row.id]


def part_names(say: Words) -> dict[str, str]:
    """Return what to call the parts of a split."""
    return {"train": say._("Training"), "validation": say._("Validation"), "test": say._("Test")}


def _gallery(
    runtime: Runtime, row: ImageSet, counts: Counts, view: View, *, is_own: bool
) -> tuple[list[tuple[str, int, list[Shown]]], list[Shown], Pager | None]:
    """Return a few images of each label, or one page of those that the view asks for."""
    with runtime.catalog.read() as transaction:
        if not view.filtered:
            groups = []
            for label in counts.labels[:LABELS_SHOWN]:
                filter_ = Filter(label=label)
                rows = images.list_images(transaction, row.user_id, row.id, filter_, limit=OF_EACH)
                total = counts.valid.get(label, 0) + counts.excluded.get(label, 0)
                groups.append((label, total, [shown(image) for image in rows]))
            return groups, [], None
        filter_, order = seen(view.filter(), is_own=is_own), ORDERS.get(view.only, "origin")
        pager = page_of(images.count_images(transaction, row.user_id, row.id, filter_), view.page)
        rows = images.list_images(
            transaction, row.user_id, row.id, filter_, order=order, limit=pager.rows, offset=pager.offset
        )
        return [], [shown(image) for image in rows], pager


def start(runtime: Runtime, user_id: str, row: ImageSet, form: TrainForm) -> str:
    """Queue the training that a form asks for; the id of its run.

    Raises:
        InvalidInput, UnusableImages: a choice cannot be used, or the set cannot.
    """
    recipe = _one_of(tuple(RECIPES), form.recipe)
    if RECIPES[recipe].torch and torch_is_missing():
        raise InvalidInput(TORCH_MISSING)
    options = Options(
        seed=_whole(form.seed) or 0,
        epochs=_whole(form.epochs),
        architecture=_one_of(ARCHITECTURES, form.architecture) if form.architecture else None,
    )
    request = TrainingRequest(form.name, recipe, options)
    return start_training(runtime, user_id, row.id, request).id


def _one_of(choices: Sequence[Choice], text: str) -> Choice:
    """Return the one of these that a field names."""
    for choice in choices:
        if choice == text:
            return choice
    raise InvalidInput(_('There is no choice "%(value)s". Choose one of the form.', value=text[:40]))


def _whole(text: str) -> int | None:
    """Return the whole number of a field; None for an empty one."""
    if not text:
        return None
    if not re.fullmatch(r"\d{1,9}", text):
        raise InvalidInput(_('"%(value)s" is no whole number.', value=text))
    return int(text)
