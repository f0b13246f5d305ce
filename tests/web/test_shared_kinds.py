"""Kinds of things that applications declare: who sees sets of images, tables and their scores, by which door, no more."""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from sqlalchemy import update

from ecluse import models, shares
from ecluse.apps.fraud.rows.datasets import TABLES
from ecluse.apps.fraud.rows.predictions import RESULTS
from ecluse.apps.fraud.rows.tables import Dataset, Prediction
from ecluse.apps.plants import actions, training
from ecluse.apps.plants.jobs import training as training_work
from ecluse.apps.plants.recipe import Options
from ecluse.apps.plants.rows import SETS
from ecluse.apps.plants.splits import split_for
from ecluse.apps.plants.tables import Image, ImageSet, ImageSplit
from ecluse.apps.plants.training import TrainingRequest
from ecluse.catalog import sharing
from ecluse.catalog.tables import Share, new_id, now
from ecluse.cli.session import finish
from ecluse.errors import Forbidden, JobFailed, NotFound
from ecluse.runtime import Runtime, predictions_prefix, uploads_prefix
from ecluse.settings import Settings
from ecluse.shares import Reader
from ecluse.storage import join_key
from ecluse.web.app import make_app
from tests.apps.plants.sets import add_set, learn_last_layer
from tests.web import invented
from tests.web.isolation.things import SCORED
from tests.web.test_organisations_pages import page, someone
from tests.web.test_who_sees import House
from tests.web.within import Within

PERSONAE: Final = (
    "visitor",
    "stranger",
    "owner",
    "administrator",
    "person",
    "colleague",
    "holder",
    "expired",
    "withdrawn",
)
SEES: Final = (401, 404, 200, 404, 200, 200, 200, 404, 404)
CHANGES: Final = (401, 404, 200, 404, 403, 403, 403, 404, 404)
#: Where an image came from: with what opens its store, and a folder of the owner's.
SECRET: Final = "sig=c29tZXRoaW5n"
FOLDER: Final = "attic"


@dataclass
class Shared(House):
    """The owner has a set of images with a rejected file, and a scored table; each is shared in the ways there are."""

    ids: dict[str, str] = field(default_factory=dict)
    image: str = ""
    rejected: str = ""
    split: str = ""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def house(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    home = tmp_path_factory.mktemp("kinds")
    environ = {}
    if request.param == "postgresql":
        environ = {"DATABASE_URL": request.getfixturevalue("new_migrated_url")()}
    with Runtime.open(Settings.from_environment(environ, home=home)) as runtime:
        made = Shared(make_app(runtime), runtime)
        accounts = runtime.accounts
        for name in PERSONAE[1:]:
            user = accounts.add(f"{name}@example.org", admin=name == "administrator")
            made.users[name] = user
            made.tokens[name] = accounts.create_token(user.id, "t", administers=name == "administrator")[0]
        owner = made.users["owner"].id
        accounts.add_organisation(owner, "friends")
        accounts.accept_invitation(made.users["colleague"].id, accounts.invite(owner, "friends", "member")[0])
        _make_set(made, owner)
        made.ids[RESULTS] = scored(runtime, owner).id
        made.ids[TABLES] = uploaded(runtime, owner).id
        for kind, id_ in made.ids.items():
            _share_with_all(made, kind, id_)
        yield made


def _make_set(house: Shared, owner: str) -> None:
    row = add_set(house.runtime, owner, "leaves", each=8)
    rejected = Image(
        id=new_id(), set_id=row.id, user_id=owner, sha256="0" * 64, label="disc", imported_label="disc",
        origin=f"https://store.example.org/{FOLDER}/broken.jpg?{SECRET}", state="rejected", reason="It is none.",
    )  # fmt: skip
    with house.runtime.catalog.write() as transaction:
        transaction.add(rejected)
        stored = (Image.set_id == row.id, Image.label == "disc", Image.state == "valid")
        first = transaction.query(Image).filter(*stored).first()
        assert first is not None
        first.origin = f"https://store.example.org/{FOLDER}/disc.png?{SECRET}"
        house.image, house.rejected, house.ids[SETS] = first.id, rejected.id, row.id
    house.split = split_for(house.runtime, owner, row.id).id


def scored(runtime: Runtime, user_id: str) -> Prediction:
    """A finished scoring of a table that is gone."""
    stored = runtime.data.put(join_key(predictions_prefix(user_id), f"{new_id()}.csv"), SCORED)
    row = Prediction(
        id=new_id(), user_id=user_id, model_name="cards", version="v20250101_000000", status="done",
        key=stored.key, url=runtime.data.url_of(stored.key), size_bytes=stored.size, sha256=stored.sha256,
        rows=40, flagged=3, summary=invented.summary(), finished_at=now(),
    )  # fmt: skip
    with runtime.catalog.write() as transaction:
        transaction.add(row)
    return row


def uploaded(runtime: Runtime, user_id: str) -> Dataset:
    """A table of fraud that was read."""
    content = "transaction_id,amount,is_fraud\n" + "".join(f"T{n},{n}.5,{n % 2}\n" for n in range(40))
    stored = runtime.data.put(join_key(uploads_prefix(user_id), f"{new_id()}.csv"), content.encode())
    row = Dataset(
        id=new_id(), user_id=user_id, filename="cards.csv", key=stored.key, url=runtime.data.url_of(stored.key),
        size_bytes=stored.size, sha256=stored.sha256, state="ready", rows=40, profile=invented.profile(),
    )  # fmt: skip
    with runtime.catalog.write() as transaction:
        transaction.add(row)
    return row


def _share_with_all(house: Shared, kind: str, id_: str) -> None:
    catalog, owner = house.runtime.catalog, house.users["owner"].id

    def give(reader: Reader) -> tuple[shares.Shown, str | None]:
        return shares.share_by_id(catalog, owner, kind, id_, reader, 2)

    give(Reader("person@example.org"))
    give(Reader(organisation="friends"))
    secret = give(Reader())[1]
    assert secret is not None
    assert shares.open_link(catalog, house.users["holder"].id, secret).kind == kind
    over, back = give(Reader("expired@example.org"))[0], give(Reader("withdrawn@example.org"))[0]
    shares.unshare_by_id(catalog, owner, kind, id_, back.id)
    with catalog.write() as transaction:
        transaction.execute(update(Share).where(Share.id == over.id).values(expires_at=now()))


@dataclass(frozen=True)
class Door:
    """A request about a thing of a kind, and what each of `PERSONAE` is answered."""

    kind: str
    method: str
    path: str
    answers: tuple[int, ...] = SEES
    body: Any = None


def _changing(done: int) -> tuple[int, ...]:
    return tuple(done if answer == 200 else answer for answer in CHANGES)


DOORS: Final = (
    Door(SETS, "GET", "/api/plants/sets/{id}"),
    Door(SETS, "GET", "/api/plants/sets/{id}/images"),
    Door(SETS, "GET", "/api/plants/sets/{id}/export"),
    Door(SETS, "GET", "/api/plants/sets/{id}/splits"),
    Door(SETS, "GET", "/api/plants/splits/{split}"),
    Door(SETS, "GET", "/api/plants/images/{image}"),
    Door(SETS, "GET", "/api/plants/images/{image}/thumbnail"),
    Door(SETS, "GET", "/api/plants/images/{image}/file"),
    Door(SETS, "GET", "/api/plants/images/{rejected}", (401, 404, 200, *(404,) * 6)),
    Door(SETS, "PATCH", "/api/plants/sets/{id}/images", CHANGES, {"images": ["none"], "label": "disc"}),
    Door(SETS, "PATCH", "/api/plants/images/{image}", CHANGES, {"label": "disc"}),
    Door(SETS, "POST", "/api/plants/sets/{id}/splits", CHANGES, {"seed": 0}),
    Door(SETS, "POST", "/api/plants/sets/{id}/audit", _changing(202)),
    Door(RESULTS, "GET", "/api/predictions/{id}"),
    Door(RESULTS, "GET", "/api/predictions/{id}/download"),
    Door(RESULTS, "GET", "/api/predictions/{id}/download?alerts=1"),
    Door(
        RESULTS, "GET", "/api/predictions/{id}/budget?alerts=1", (401, 404, 422, 404, 422, 422, 422, 404, 404)
    ),
    Door(TABLES, "GET", "/api/datasets/{id}"),
    Door(TABLES, "GET", "/api/tables/{id}/file?format=csv"),
    Door(TABLES, "GET", "/api/tables/{id}/file"),
    Door(TABLES, "POST", "/api/analyze", body={"dataset": "{id}"}),
    Door(TABLES, "POST", "/api/datasets/{id}/layout", _changing(422), {"header_row": 1}),
    Door(TABLES, "POST", "/api/train", _changing(202), {"dataset": "{id}", "model_name": "new"}),
    Door(TABLES, "GET", "/api/labels?dataset={id}", CHANGES),
    Door(TABLES, "POST", "/api/labels", CHANGES, {"dataset": "{id}", "labels": [{"row": 1, "label": 1}]}),
    Door(TABLES, "GET", "/api/datasets/{id}/matches", _changing(422)),
    Door(TABLES, "PUT", "/api/datasets/{id}/mappings/none", _changing(404), {"columns": {}}),
    *(
        door
        for kind in (SETS, RESULTS, TABLES)
        for door in (
            Door(kind, "GET", f"/api/shares/{kind}/{{id}}", CHANGES),
            Door(kind, "POST", f"/api/shares/{kind}/{{id}}", _changing(201), {"link": True}),
            Door(kind, "DELETE", f"/api/shares/{kind}/{{id}}/none", _changing(404)),
        )
    ),
    # each by the other's name
    Door(RESULTS, "GET", "/api/plants/sets/{id}", (401, *(404,) * 8)),
    Door(SETS, "GET", "/api/predictions/{id}", (401, *(404,) * 8)),
    Door(RESULTS, "GET", "/api/datasets/{id}", (401, *(404,) * 8)),
    Door(TABLES, "GET", "/api/predictions/{id}", (401, *(404,) * 8)),
    Door(TABLES, "GET", f"/api/shares/{RESULTS}/{{id}}", (401, *(404,) * 8)),
    Door(SETS, "GET", f"/api/shares/{RESULTS}/{{id}}", (401, *(404,) * 8)),
)
CELLS: Final = [
    pytest.param(door, who, answer, id=f"{door.method} {door.path} {door.kind} {who}")
    for door in DOORS
    for who, answer in zip(PERSONAE, door.answers, strict=True)
]


@pytest.mark.parametrize(("door", "who", "expected"), CELLS)
def test_each_cell_of_the_table_of_shared_kinds(house: Shared, door: Door, who: str, expected: int) -> None:
    path = door.path.format(
        id=house.ids[door.kind], image=house.image, rejected=house.rejected, split=house.split
    )
    sent = {} if door.body is None else {"json": _filled(door.body, house.ids[door.kind])}
    answer = house.ask(who, door.method, path, **sent)
    assert answer.status_code == expected, answer.text
    if who != "owner":
        for hidden in (SECRET, FOLDER, house.users["owner"].id):
            assert hidden not in answer.text, "where it came from and where it lies is for the owner"


def test_who_reads_a_set_learns_no_more_of_where_its_images_came_from_than_their_names(house: Shared) -> None:
    place = f"/api/plants/sets/{house.ids[SETS]}"
    for who, is_own in (("owner", True), ("person", False)):
        for word, found in ((FOLDER, is_own), ("stripes", True)):
            body = house.ask(who, "GET", f"{place}/images?text={word}").json()
            assert bool(body["total"]) is found, (who, word)
        rejected = house.ask(who, "GET", f"{place}/images?state=rejected").json()
        assert bool(rejected["total"]) is is_own
        detail = house.ask(who, "GET", place).json()
        assert (detail["owner"] is None, bool(detail["rejected_for"])) == (is_own, is_own)
        archive = zipfile.ZipFile(io.BytesIO(house.ask(who, "GET", f"{place}/export").content))
        table = archive.read("manifest.csv").decode("utf-8-sig")
        assert (SECRET in table) is is_own
        assert {row["label"] for row in csv.DictReader(io.StringIO(table))} == {"disc", "stripes"}
        kept = house.ask(who, "GET", f"/api/plants/images/{house.image}/file").headers["cache-control"]
        assert ("no-cache" in kept) is not is_own, "what is taken back is not shown from a browser's memory"


def _filled(body: dict[str, Any], id_: str) -> dict[str, Any]:
    return {name: id_ if value == "{id}" else value for name, value in body.items()}


@pytest.mark.parametrize("kind", [SETS, RESULTS, TABLES])
def test_lists_hold_what_may_be_seen_and_the_condition_says_the_same(house: Shared, kind: str) -> None:
    row: Any = {SETS: ImageSet, RESULTS: Prediction, TABLES: Dataset}[kind]
    for who, expected in zip(PERSONAE[1:], SEES[1:], strict=True):
        body = house.ask(who, "GET", f"/api/shared/{kind}").json()
        listed = [(item["id"], item["owner"]) for item in body["items"]]
        of_other = expected == 200 and who != "owner"
        assert listed == ([(house.ids[kind], "owner")] if of_other else []), who
        reader = house.users[who].id
        with house.runtime.catalog.read() as transaction:
            condition = sharing.visible_rows(kind, row, reader)
            seen = {each.id for each in transaction.query(row).where(condition, row.user_id != reader)}
        assert (seen, body["total"]) == ({id_ for id_, _owner in listed}, len(listed))
    assert house.ask("person", "GET", "/api/shared/things").status_code == 404


def test_a_set_that_is_removed_is_shared_no_more_and_only_its_owner_removes_it(house: Shared) -> None:
    runtime, owner = house.runtime, house.users["owner"].id
    row = add_set(runtime, owner, "passing", each=2)
    _share_with_all(house, SETS, row.id)
    for who in ("person", "colleague", "holder"):
        assert house.ask(who, "DELETE", f"/api/plants/sets/{row.id}").status_code == 403
        with pytest.raises(Forbidden):
            actions.remove_set(runtime, house.users[who].id, row.id)
    assert house.ask("owner", "DELETE", f"/api/plants/sets/{row.id}").status_code == 204
    with runtime.catalog.read() as transaction:
        assert sharing.list_of(transaction, owner, SETS, row.id) == []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each recipe is one that learns in a second."""
    monkeypatch.setattr(training_work, "recipe", lambda name: learn_last_layer)


def test_who_may_read_a_set_trains_on_it_a_model_of_their_own(house: Shared, quick: None) -> None:
    runtime, person = house.runtime, house.users["person"]
    set_id, request = house.ids[SETS], TrainingRequest("mine", options=Options(epochs=2))
    with pytest.raises(NotFound):
        training.start_training(runtime, house.users["stranger"].id, set_id, request)
    run = training.start_training(runtime, person.id, set_id, request)
    finish(runtime, person, run.job_id or "", "Training")
    version = models.resolve(runtime, person.id, "mine")
    assert version.user_id == person.id
    with runtime.catalog.read() as transaction:
        splits = transaction.query(ImageSplit).where(ImageSplit.set_id == set_id).all()
        home = transaction.get_one(ImageSet, set_id)
    assert {split.user_id for split in splits} == {person.id, home.user_id}
    for split in splits:
        assert f"/{split.user_id}/" in split.url, "what it is divided into is kept by who trains"
    shown = house.ask("owner", "GET", f"/api/plants/sets/{set_id}/splits").json()
    assert [split["id"] for split in shown] == [house.split], "the owner is not shown who trains"
    assert house.ask("owner", "GET", "/api/models/mine").status_code == 404


def test_a_training_on_a_set_that_is_shared_no_more_ends(house: Shared, quick: None) -> None:
    runtime, owner, stranger = house.runtime, house.users["owner"].id, house.users["stranger"]
    row = add_set(runtime, owner, "lent", each=8)
    shown, _secret = shares.share_by_id(
        runtime.catalog, owner, SETS, row.id, Reader("stranger@example.org"), 1
    )
    run = training.start_training(runtime, stranger.id, row.id, TrainingRequest("late"))
    shares.unshare_by_id(runtime.catalog, owner, SETS, row.id, shown.id)
    with pytest.raises(JobFailed):
        finish(runtime, stranger, run.job_id or "", "Training")


def test_the_pages_of_what_is_shared(web: Within) -> None:
    (anna, session), (_ben, reading) = someone(web, "anna@kinds.org"), someone(web, "ben@kinds.org")
    images, result = add_set(web.runtime, anna, "meadow", each=3), scored(web.runtime, anna)
    for kind, shelf, own, called in (
        (SETS, "/plants", f"/plants/{images.id}", "meadow"),
        (RESULTS, "/fraud/p", f"/fraud/p/{result.id}", "cards"),
        (TABLES, "/fraud", f"/fraud/d/{uploaded(web.runtime, anna).id}", "cards.csv"),
    ):
        id_ = own.rpartition("/")[2]
        place = f"/sharing/{kind}/{id_}"
        assert page(web, reading, "GET", own)[0] == page(web, reading, "GET", place)[0] == 404
        assert place in page(web, session, "GET", own)[1]
        shown = page(web, session, "GET", place)[1]
        assert (called in shown, f'href="{shelf}"' in shown) == (True, True)
        link = page(web, session, "POST", place, with_whom="link")[1].split("/shared/")[1][:43]
        for language in ("en", "fr"):
            assert called in page(web, reading, "GET", f"/shared/{link}", language)[1]
        assert page(web, reading, "POST", f"/shared/{link}")[0] == 303
        for language in ("en", "fr"):
            status, text = page(web, reading, "GET", own, language)
            assert (status, "@anna" in text, anna in text) == (200, True, False)
            assert "/sharing/" not in text
            assert "/remove" not in text
            assert own in page(web, reading, "GET", shelf, language)[1]
        assert page(web, reading, "GET", place)[0] == 403
        by_link = next(
            each
            for each in shares.shares_by_id(web.runtime.catalog, anna, kind, id_)[1]
            if each.kind == "link"
        )
        assert page(web, session, "POST", f"{place}/{by_link.id}/take-back")[0] == 303
        assert page(web, reading, "GET", own)[0] == 404


def test_who_only_reads_a_set_changes_nothing_on_its_pages(web: Within) -> None:
    (anna, _session), (_ben, reading) = someone(web, "anna@forms.org"), someone(web, "ben@forms.org")
    images = add_set(web.runtime, anna, "meadow", each=3)
    shares.share_by_id(web.runtime.catalog, anna, SETS, images.id, Reader("ben@forms.org"))
    with web.runtime.catalog.read() as transaction:
        image = transaction.query(Image).where(Image.set_id == images.id).first()
    assert image is not None
    place = f"/plants/{images.id}"
    status, text = page(web, reading, "GET", f"{place}/images/{image.id}")
    assert (status, "relabel" in text, "meadow/disc" in text) == (200, False, False)
    assert page(web, reading, "GET", f"/plants/images/{image.id}/thumbnail")[0] == 200
    for path, form in (
        (f"{place}/images", {"do": "exclude", "image": image.id}),
        (f"{place}/images/{image.id}", {"do": "exclude"}),
        (f"{place}/audit", {}),
        (f"{place}/remove", {}),
    ):
        assert page(web, reading, "POST", path, **form)[0] == 403
