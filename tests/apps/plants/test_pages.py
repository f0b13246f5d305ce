"""The pages of images and of their classifiers, over invented rows."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator

import pytest

from ecluse import tracking
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.http.imports import set_name_of
from ecluse.apps.plants.pages.charts import shaded
from ecluse.apps.plants.pages.sets import View, default_model_name
from ecluse.apps.plants.publication import NOT_CHECKED
from ecluse.apps.plants.sharing import name_of
from ecluse.apps.plants.tables import Image, ImageSet
from ecluse.catalog import runs
from ecluse.catalog.tables import Run, User
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from tests.apps.plants import invented
from tests.web.test_pages import Browser, browser

SET = f"/plants/{invented.SET}"
MODEL = f"/models/meadow/{invented.VERSION}"
PAGES = [
    "/",
    "/plants",
    SET,
    f"{SET}?label=daisy",
    f"{SET}?only=duplicates&state=valid",
    f"{SET}?state=rejected",
    f"{SET}?q=nothing+has+this",
    f"{SET}/images/{invented.image_id(4)}",
    f"{SET}/images/{invented.image_id(900)}",
    MODEL,
    "/models",
    "/models/meadow",
]


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    home = tmp_path_factory.mktemp("home")
    with Runtime.open(Settings.from_environment({}, home=home)) as opened:
        yield opened


@pytest.fixture(scope="module")
def owner(runtime: Runtime) -> User:
    user = runtime.accounts.sign_up("ines@example.org", "a long password", "Inès")
    invented.fill(runtime, user)
    return user


@pytest.fixture(scope="module")
def client(runtime: Runtime, owner: User) -> Browser:
    return browser(runtime, owner)


@pytest.fixture(scope="module")
def stranger(runtime: Runtime, owner: User) -> Browser:
    return browser(runtime, runtime.accounts.sign_up("other@example.org", "a long password"))


def text_of(page: str) -> str:
    plain = re.sub(r"<script.*?</script>|<svg.*?</svg>|<[^>]+>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", plain.replace("\u00a0", " "))


def image(runtime: Runtime, owner: User, number: int) -> Image:
    with runtime.catalog.read() as transaction:
        return images.image_of(transaction, owner.id, invented.image_id(number))


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", ["en", "fr"])
def test_every_page_of_images_is_drawn_in_both_languages(client: Browser, path: str, language: str) -> None:
    answer = client.get(path, headers={"accept-language": language})
    assert answer.status_code == 200, answer.text
    assert f'<html lang="{language}"' in answer.text
    assert len(re.findall("<h1", answer.text)) == 1
    assert "%(" not in answer.text
    ids = re.findall(r'\sid="([^"]+)"', answer.text)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("path", [SET, f"{SET}/images/{invented.image_id(4)}", MODEL, f"{SET}/export.zip"])
def test_images_of_another_person_do_not_exist(stranger: Browser, path: str) -> None:
    assert stranger.get(path).status_code == 404


def test_nothing_of_another_persons_set_can_be_changed(
    runtime: Runtime, owner: User, stranger: Browser
) -> None:
    change = {"do": "exclude", "image": invented.image_id(30)}
    assert stranger.post(f"{SET}/images", data=change).status_code == 404
    assert stranger.post(f"{SET}/images/{invented.image_id(30)}", data=change).status_code == 404
    assert stranger.post(f"{SET}/remove").status_code == 404
    assert stranger.post(f"{SET}/train", data={"name": "mine"}).status_code == 404
    assert image(runtime, owner, 30).state == "valid"


def test_without_images_the_page_offers_the_sample_and_the_import(stranger: Browser) -> None:
    said = stranger.get("/plants").text
    assert "No images yet" in said
    assert 'action="/plants/demo"' in said
    assert 'action="/plants/import"' in said


def test_the_page_of_a_set_says_what_to_check_before_training(client: Browser) -> None:
    said = text_of(client.get(SET).text)
    assert "1 file could not be taken." in said
    assert "1 image came under two labels" in said
    assert "1 label is in doubt" in said
    assert "2 images look nearly the same" in said
    assert "grass has only 10 images" in said
    assert "daisy/cut short.jpg" in said
    assert "The file is not a JPEG, PNG or WebP image." in said


def test_each_picture_says_its_label_and_name_and_has_its_size(client: Browser) -> None:
    shown = re.findall(r"<img [^>]+>", client.get(f"{SET}?label=dandelion").text)
    assert len(shown) == 20
    for picture in shown:
        assert re.search(r'alt="dandelion: \d+\.png"', picture)
        assert 'width="96" height="96" loading="lazy"' in picture


def test_only_a_label_for_which_another_is_suggested_is_doubted(client: Browser) -> None:
    said = text_of(client.get(f"{SET}?label=daisy").text)
    assert said.count("perhaps") == 1
    assert "perhaps grass" in said


def test_a_filter_has_an_address_and_pages(client: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    from ecluse.web.pages import paging

    monkeypatch.setattr(paging, "PAGE_ROWS", 8)
    said = client.get(f"{SET}?label=daisy&state=valid&page=2").text
    assert len(re.findall('name="image"', said)) == 8
    assert f'href="{SET}?label=daisy&amp;state=valid&page=3#gallery"' in said


def test_ticked_images_are_excluded_relabelled_and_taken_back(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    chosen = [invented.image_id(number) for number in (11, 12)]
    body = {"do": "exclude", "image": chosen, "view": "label=daisy&page=7&x=1"}
    answer = client.post(f"{SET}/images", data=body)
    assert (answer.status_code, answer.headers["location"]) == (303, f"{SET}?label=daisy#gallery")
    assert {image(runtime, owner, number).state for number in (11, 12)} == {"excluded"}
    client.post(f"{SET}/images", data={"do": "include", "image": chosen})
    client.post(f"{SET}/images", data={"do": "relabel", "image": chosen, "label": "dandelion"})
    found = image(runtime, owner, 11)
    assert (found.state, found.label, found.imported_label) == ("valid", "dandelion", "daisy")
    client.post(f"{SET}/images", data={"do": "relabel", "image": chosen, "label": "daisy"})


def test_a_change_for_no_image_or_to_no_label_is_refused_in_the_page(client: Browser) -> None:
    nothing = client.post(f"{SET}/images", data={"do": "exclude"})
    assert nothing.status_code == 422
    assert "No image is ticked" in nothing.text
    slash = client.post(f"{SET}/images/{invented.image_id(4)}", data={"do": "relabel", "label": "a/b"})
    assert slash.status_code == 422
    assert 'value="a/b"' in slash.text


def test_the_page_of_an_image_tells_its_doubles_and_doubts(client: Browser) -> None:
    said = text_of(client.get(f"{SET}/images/{invented.image_id(4)}").text)
    assert "say grass" in said
    assert "Part of the split Training" in said
    said = client.get(f"{SET}/images/{invented.image_id(1)}").text
    assert f'href="{SET}/images/{invented.image_id(2)}"' in said
    said = text_of(client.get(f"{SET}/images/{invented.image_id(5)}").text)
    assert "copies/5.png as grass" in said


def test_a_model_says_how_sure_its_accuracy_is_and_what_it_confuses(client: Browser) -> None:
    said = client.get(MODEL).text
    plain = text_of(said)
    assert "56 of 60 test images get their label as this model is served." in plain
    assert "2 get another, 2 are answered “none of these”." in plain
    assert "the likeliest label is right for 57." in plain
    assert "between 84 % and 97 %" in plain
    assert "76 to 99 %" in plain
    assert "Most often: daisy called dandelion, 1 image." in plain
    assert "The image is no longer stored." in plain
    assert f'href="{SET}/images/{invented.image_id(3)}"' in said
    assert f'href="/plants/classify?model=meadow@{invented.VERSION}"' in said
    assert {"chart-loss", "chart-accuracy", "chart-calibration"} <= set(
        re.findall(r'data-chart="([^"]+)"', said)
    )
    assert "outputs differ by 2.4e-06" in plain


def test_the_page_of_a_model_that_was_trained_without_torch_says_that_its_export_was_not_compared(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    export = {"checked_against": NOT_CHECKED, "largest_difference": None, "images": 0}
    invented.publish(runtime, owner, "unchecked", {"export": export})
    said = text_of(client.get(f"/models/unchecked/{invented.VERSION}").text)
    assert "model.onnx, not compared with torch" in said


def test_a_run_names_the_set_it_learned_from(client: Browser) -> None:
    said = client.get("/runs/run").text
    assert f'<a class="filename" href="{SET}">Meadow</a>' in said


def test_a_training_that_is_over_is_judged_by_its_test_images() -> None:
    run = Run(application="plants", metrics={"validation_accuracy": 0.98, "test_accuracy": 0.95})
    figure = tracking.main_metric(run)
    assert figure is not None
    assert (figure.name, figure.value, figure.better) == ("test_accuracy", 0.95, "higher")


def test_an_archive_of_a_set_holds_its_images_by_label(client: Browser) -> None:
    answer = client.get(f"{SET}/export.zip")
    assert answer.headers["content-type"] == "application/zip"
    assert 'filename="Meadow.zip"' in answer.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        pictures = [name for name in names if name.endswith(".png")]
        assert len(pictures) == 49  # one is excluded, one was rejected
        (twentieth,) = [name for name in pictures if name.startswith("dandelion/20")]
        assert archive.read(twentieth) == invented.drawn(20, "dandelion")


def test_several_images_are_uploaded_with_one_label_into_a_new_set(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    files = [("file", (f"{n}.png", invented.drawn(n, "daisy"), "image/png")) for n in (70, 71)]
    answer = client.post(
        "/plants/import",
        headers={"accept": "application/json"},
        data={"set": "Garden", "label": "daisy"},
        files=files,
    )
    assert answer.status_code == 201, answer.text
    place = answer.json()["location"]
    page = client.get(place).text
    assert "Garden" in page
    with runtime.catalog.read() as transaction:
        row = images.set_named(transaction, owner.id, "Garden")
    assert row is not None
    assert row.job_id is not None
    job = runtime.jobs.get(owner.id, row.job_id)
    assert (job.subject["label"], job.subject["set_id"]) == ("daisy", row.id)
    assert f'id="job-{job.id}"' in page
    located = runtime.stores.locate(job.subject["source"]["url"])
    assert len(list(located.store.list(located.key))) == 2


@pytest.mark.parametrize(
    ("label", "image", "reason"),
    [("", True, "Images by themselves have no label"), ("daisy", False, "a.png was not taken")],
)
def test_an_image_that_cannot_be_taken_is_refused_at_once_and_leaves_no_set(
    runtime: Runtime, owner: User, client: Browser, label: str, image: bool, reason: str
) -> None:
    data = invented.drawn(72, "daisy") if image else b"no image"
    form, files = {"set": "Left out", "label": label}, [("file", ("a.png", data, "image/png"))]
    answer = client.post("/plants/import", data=form, files=files)
    assert answer.status_code == 422
    assert reason in answer.text
    assert "--label" not in answer.text
    with runtime.catalog.read() as transaction:
        assert images.set_named(transaction, owner.id, "Left out") is None


def test_an_upload_without_files_or_cut_short_is_refused_and_leaves_nothing(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    empty = client.post("/plants/import", data={"set": "Nothing"}, files=[("file", ("", b""))])
    assert empty.status_code == 422
    assert 'value="Nothing"' in empty.text
    whole = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.zip"\r\n\r\nhalf of'
    headers = {"content-type": "multipart/form-data; boundary=x"}
    cut = client.post("/plants/import", headers=headers, content=whole)
    assert cut.status_code == 422
    assert "ended before the file did" in cut.text
    with runtime.catalog.read() as transaction:
        assert images.set_named(transaction, owner.id, "Nothing") is None
    assert [
        found.key for found in runtime.data.list("") if "images_" in found.key and "half" in found.key
    ] == []


def test_a_set_is_named_after_its_file() -> None:
    names = {"a/Roses and lilies.tar.gz": "Roses and lilies", "C:\\x\\a.zip": "a", ".zip": "images"}
    assert {name: set_name_of(name) for name in names} == names
    assert default_model_name("Été 2025!") == "t-2025"
    assert default_model_name("…") == "plants"


def test_a_picture_is_called_by_the_end_of_where_it_came_from() -> None:
    origins = ["a/b.jpg", "https://example.org/x/r%C3%A9.png?w=1", "leaves.zip!rose/1.jpg", "one.webp"]
    assert [name_of(origin) for origin in origins] == ["b.jpg", "ré.png", "1.jpg", "one.webp"]


def test_shades_follow_the_share_of_the_row() -> None:
    (cells,) = shaded([[0, 1, 99]])
    assert [shade for _, _, shade in cells] == [0, 1, 6]
    assert shaded([[0, 0]]) == [[(0, None, 0), (0, None, 0)]]


def test_what_is_no_part_of_an_address_is_left_out_of_a_view() -> None:
    view = View.of_query("label=a&state=broken&only=suspects&next=//evil")
    assert view.query == "label=a&only=suspects"


def test_a_training_is_asked_for_and_shown_on_the_page_of_its_set(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    body = {"name": "meadow-two", "recipe": "features", "epochs": "7", "seed": "3"}
    answer = client.post(f"{SET}/train", data=body)
    assert answer.status_code == 303, answer.text
    with runtime.catalog.read() as transaction:
        run = runs.run_of(transaction, owner.id, answer.headers["location"].rpartition("/")[2])
    assert (run.name, run.subject["set_id"]) == ("meadow-two", invented.SET)
    assert (run.parameters["epochs"], run.parameters["seed"]) == (7, 3)
    said = client.get(SET).text
    assert f'id="job-{run.job_id}"' in said
    with runtime.catalog.write() as transaction:
        runs.set_running(transaction, run.id)
    assert f'hx-get="/runs/{run.id}/live"' in client.get(SET).text
    client.post(f"/jobs/{run.job_id}/cancel")
    assert f'id="job-{run.job_id}"' not in client.get(SET).text


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"epochs": "many"}, "“many” is no whole number"),
        ({"recipe": "magic"}, "There is no choice “magic”"),
        ({"name": "no/name"}, "no/name"),
        ({"architecture": "resnet18"}, "cannot learn with resnet18"),
    ],
)
def test_a_training_that_cannot_be_is_refused_with_what_was_typed(
    client: Browser, changed: dict[str, str], said: str
) -> None:
    answer = client.post(f"{SET}/train", data={"name": "meadow", "recipe": "features"} | changed)
    assert answer.status_code == 422
    plain = text_of(answer.text).replace("&#34;", "”")
    assert said.replace("“", "”") in plain


def test_the_sample_is_drawn_once_into_a_set_of_leaves(
    runtime: Runtime, owner: User, client: Browser
) -> None:
    first, second = (client.post("/plants/demo").headers["location"] for _ in range(2))
    assert first == second
    drawing = [job for job in runtime.jobs.list(owner.id, active=True) if job.kind == "plants_demo"]
    assert len(drawing) == 1
    assert "Draw · leaves" in text_of(client.get(first).text)
    runtime.jobs.cancel(owner.id, drawing[0].id)


def test_a_set_is_looked_through_again_and_removed(runtime: Runtime, owner: User, client: Browser) -> None:
    assert client.post(f"{SET}/audit").status_code == 303
    (audit,) = [job for job in runtime.jobs.list(owner.id, active=True) if job.kind == "plants_audit"]
    runtime.jobs.cancel(owner.id, audit.id)
    with runtime.catalog.write() as transaction:
        spare = images.add_set(transaction, ImageSet(user_id=owner.id, name="Spare"))
        place = f"/plants/{spare.id}"
    assert client.post(f"{place}/audit").status_code == 422
    assert client.post(f"{place}/remove").headers["location"] == "/plants"
    assert client.get(place).status_code == 404


def test_the_recipe_that_was_no_better_is_behind_more_choices(client: Browser) -> None:
    page = client.get(SET).text
    front, _, behind = page[page.index('id="train"') :].partition("<details")
    assert 'value="finetune"' not in front
    chosen, _, other = behind.partition('value="finetune"')
    assert "checked" in chosen[chosen.index('value="features"') :]
    assert "On 400 photographs it was no better" in other
    sent = client.post(f"{SET}/train", data={"name": "meadow", "recipe": "finetune", "seed": "none"}).text
    assert 'details class="field" open' in sent
